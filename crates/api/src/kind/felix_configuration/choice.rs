//! FelixConfiguration's parameters that have one of a few words.

use super::parameter::ParameterType;
use crate::invalid::Invalid;
use serde_json::{Value, json};

/// Words of which a parameter has one, and who in Calico looks after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The words, in the order in which the schema names them.
    pub words: &'static [&'static str],
    /// The words of the schema's pattern, which takes them in any case and takes none.
    pub pattern: Option<&'static str>,
    /// Whether the schema lists them.
    pub listed: bool,
    /// The tag of the check in Go; it wants their case.
    pub tag: Option<&'static str>,
}

/// Words that the schema lists.
pub(super) const fn listed(words: &'static [&'static str]) -> ParameterType {
    ParameterType::Choice(Choice { words, pattern: None, listed: true, tag: None })
}

/// Words that the schema lists, and Go checks.
pub(super) const fn checked(words: &'static [&'static str], tag: &'static str) -> ParameterType {
    ParameterType::Choice(Choice { words, pattern: None, listed: true, tag: Some(tag) })
}

/// Words of a pattern.
pub(super) const fn any_case(words: &'static [&'static str], pattern: &'static str) -> ParameterType {
    ParameterType::Choice(Choice { words, pattern: Some(pattern), listed: false, tag: None })
}

/// Words of a pattern, which Go checks.
pub(super) const fn tagged(words: &'static [&'static str], pattern: &'static str, tag: &'static str) -> ParameterType {
    ParameterType::Choice(Choice { words, pattern: Some(pattern), listed: false, tag: Some(tag) })
}

impl Choice {
    /// What the schema says of it.
    pub(super) fn schema(&self) -> Value {
        let mut schema = json!({"type": "string"});
        if self.listed {
            schema["enum"] = json!(self.words);
        }
        if let Some(pattern) = self.pattern {
            schema["pattern"] = format!("^(?i)({pattern})?$").into();
        }
        schema
    }

    /// Reports a text that is none of the words; `name_in_go` is the field's.
    pub(super) fn check(&self, name: &str, name_in_go: &str, text: &str, invalid: &mut Invalid) {
        let path = format!("spec.{name}");
        let Choice { words, pattern, listed, tag } = *self;
        let is_word = words.contains(&text);
        let is_word_of_any_case = words.iter().any(|word| word.eq_ignore_ascii_case(text));
        // Go's checks leave out what is empty, and so does the pattern
        if let Some(tag) = tag
            && !text.is_empty()
            && !is_word
        {
            invalid.push_tag(name_in_go, text, tag);
        }
        if let Some(pattern) = pattern
            && !text.is_empty()
            && !is_word_of_any_case
        {
            invalid.schema_pattern(&path, &format!("^(?i)({pattern})?$"));
        }
        if listed && !text.is_empty() && !is_word {
            invalid.schema_words(&path, words);
        }
    }
}
