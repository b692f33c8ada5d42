//! What can be compared before and after a call.

/// Facts about a kernel or a datastore, one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State(Vec<String>);

impl FromIterator<String> for State {
    fn from_iter<T: IntoIterator<Item = String>>(lines: T) -> Self {
        State(lines.into_iter().collect())
    }
}

impl State {
    /// Both states.
    pub(crate) fn and(mut self, other: State) -> State {
        self.0.extend(other.0);
        self
    }

    /// Leaves out the lines that start like this.
    pub(crate) fn without(mut self, start: &str) -> State {
        self.0.retain(|line| !line.starts_with(start));
        self
    }

    /// Demands that the state is what it was; `why` says what happened in between.
    pub(crate) fn is_still(&self, before: &State, why: &str) {
        let only = |these: &[String], those: &[String]| -> Vec<String> {
            these.iter().filter(|line| !those.contains(line)).cloned().collect()
        };
        let (gone, new) = (only(&before.0, &self.0), only(&self.0, &before.0));
        assert!(self == before, "{why}\ngone:\n{}\nnew:\n{}", gone.join("\n"), new.join("\n"));
    }
}
