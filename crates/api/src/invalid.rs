//! What is wrong with an object, in the words that Calico's clients use.
//!
//! Calico looks twice: by its Go types, then by the schema and the CEL rules of its CRDs. So what breaks both is told
//! twice, and all that the schema finds comes last.

use crate::word::Word;
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

/// A rule of a kind's schema about more than one field.
pub struct SchemaRule<T: 'static> {
    /// The rule in CEL, on `self`.
    pub cel: &'static str,
    /// What is said of what breaks it.
    pub message: &'static str,
    /// Kubernetes' word for the kind of mistake; empty for the usual one.
    pub reason: &'static str,
    /// The same rule in code.
    pub holds: fn(&T) -> bool,
}

/// Every problem of one object: what its types refuse in the order found, then what its schema refuses.
///
/// Prints as `error with field F = 'V' (REASON)`, or as a list under `error with the following fields:`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invalid {
    problems: Vec<Problem>,
    schema: Vec<Problem>,
    /// The place of the first one that Calico's decoder refuses: such an object is none.
    undecodable: Option<usize>,
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

    /// Adds a problem for which Calico's decoder refuses the whole document; `field` is a path such as `spec.port`.
    pub fn undecodable(&mut self, field: &str, value: &str, reason: &str) {
        self.undecodable.get_or_insert(self.problems.len());
        self.push(field, value, reason);
    }

    /// The first problem for which Calico's decoder refuses the whole document.
    pub fn first_undecodable(&self) -> Option<&Problem> {
        self.problems.get(self.undecodable?)
    }

    /// Adds a problem that no single value explains.
    pub fn push_bare(&mut self, field: &str, reason: &str) {
        self.problems.push(Problem { field: field.to_owned(), value: None, reason: reason.to_owned() });
    }

    /// Adds a failed check of Calico's, known by its tag.
    pub fn push_tag(&mut self, field: &str, value: &str, tag: &str) {
        self.push(field, value, &format!("Reason: failed to validate Field: {field} because of Tag: {tag} "));
    }

    /// Adds a problem that the schema finds at a path such as `spec.ingress[0].action`.
    pub fn schema(&mut self, path: &str, reason: &str) {
        self.schema.push(Problem { field: path.to_owned(), value: None, reason: reason.to_owned() });
    }

    /// Adds a problem for a text that is not as the schema's pattern wants it.
    pub fn schema_pattern(&mut self, path: &str, pattern: &str) {
        self.schema(path, &format!("{path} in body should match '{pattern}'"));
    }

    /// Adds a problem for a word that is none of the schema's.
    pub fn schema_words(&mut self, path: &str, words: &[&str]) {
        self.schema(path, &supported(words));
    }

    /// Adds a problem for each of the schema's rules that what is at `path` breaks.
    pub fn schema_rules<T>(&mut self, path: &str, value: &T, rules: &[SchemaRule<T>]) {
        for rule in rules.iter().filter(|rule| !(rule.holds)(value)) {
            self.schema(path, rule.message);
        }
    }

    /// Checks a value against the only ones allowed, and names them; nothing is refused where there is none.
    pub fn one_of(&mut self, field: &str, tag: &str, path: &str, value: &str, allowed: &[&str]) {
        if !value.is_empty() {
            self.required_one_of(field, tag, path, value, allowed);
        }
    }

    /// Checks a word against the schema alone.
    pub fn schema_word<W: Word>(&mut self, path: &str, word: &W) {
        if !W::WORDS.contains(&word.as_str()) {
            self.schema(path, &supported(W::WORDS));
        }
    }

    /// As [`Invalid::one_of`], where one of them must be given.
    pub fn required_one_of(&mut self, field: &str, tag: &str, path: &str, value: &str, allowed: &[&str]) {
        if !allowed.contains(&value) {
            self.push_tag(field, value, tag);
            self.schema(path, &supported(allowed));
        }
    }

    /// Checks a word; nothing is refused where there is none.
    pub fn word<W: Word>(&mut self, field: &str, tag: &str, path: &str, word: &W) {
        self.one_of(field, tag, path, word.as_str(), W::WORDS);
    }

    /// The problems found.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().chain(&self.schema)
    }

    /// An error if there is any problem.
    pub fn into_result(self) -> Result<(), Invalid> {
        if self.problems().next().is_none() { Ok(()) } else { Err(self) }
    }
}

fn supported(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("supported values: {}", quoted.join(", "))
}

impl std::error::Error for Invalid {}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problems: Vec<&Problem> = self.problems().collect();
        if let [problem] = problems.as_slice() {
            return write!(f, "error with field {problem}");
        }
        writeln!(f, "error with the following fields:")?;
        problems.iter().try_for_each(|problem| writeln!(f, "-  {problem}"))
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
