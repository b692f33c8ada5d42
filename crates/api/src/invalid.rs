//! What is wrong with an object, in the words that Calico's clients use.

use std::fmt;

/// One field that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field's name as Calico prints it, such as `IPPool.Spec.CIDR`.
    pub field: String,
    /// Its value; none where the value says nothing, as with two fields that exclude each other.
    pub value: Option<String>,
    /// Why it was refused.
    pub reason: String,
}

/// Every problem of one object, in the order found.
///
/// Prints as `error with field F = 'V' (REASON)`, or as a list under `error with the following fields:`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invalid {
    problems: Vec<Problem>,
}

impl Invalid {
    /// A single problem.
    pub fn field(field: &str, value: &str, reason: &str) -> Self {
        let mut invalid = Invalid::default();
        invalid.push(field, value, reason);
        invalid
    }

    /// Adds a problem with a field's value.
    pub fn push(&mut self, field: &str, value: &str, reason: &str) {
        let value = Some(value.to_owned());
        self.problems.push(Problem { field: field.to_owned(), value, reason: reason.to_owned() });
    }

    /// Adds a problem that no single value explains.
    pub fn push_bare(&mut self, field: &str, reason: &str) {
        self.problems.push(Problem { field: field.to_owned(), value: None, reason: reason.to_owned() });
    }

    /// Adds a failed check of Calico's, known by its tag.
    pub fn push_tag(&mut self, field: &str, value: &str, tag: &str) {
        self.push(field, value, &format!("Reason: failed to validate Field: {field} because of Tag: {tag} "));
    }

    /// Checks a value against the only ones allowed, and names them.
    pub fn one_of(&mut self, field: &str, tag: &str, path: &str, value: &str, allowed: &[&str]) {
        if !value.is_empty() && !allowed.contains(&value) {
            self.push_tag(field, value, tag);
            let quoted: Vec<String> = allowed.iter().map(|word| format!("{word:?}")).collect();
            self.push_bare(path, &format!("supported values: {}", quoted.join(", ")));
        }
    }

    /// The problems found.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// An error if there is any problem.
    pub fn into_result(self) -> Result<(), Invalid> {
        if self.problems.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl std::error::Error for Invalid {}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [problem] = self.problems.as_slice() {
            return write!(f, "error with field {problem}");
        }
        writeln!(f, "error with the following fields:")?;
        self.problems.iter().try_for_each(|problem| writeln!(f, "-  {problem}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} = '{value}' ({})", self.field, self.reason),
            None => write!(f, "{} ({})", self.field, self.reason),
        }
    }
}
