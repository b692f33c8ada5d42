//! Calico's selector language: `rack == "1" && has(gpu)` over an object's labels (dataplane reference §3.8).
//!
//! `!=` and `not in` hold where the label is absent; every other operator fails there. An empty selector is
//! `all()`. `global()` parses and matches everything: what it means is the business of whoever allows it.

mod parse;

use std::collections::{BTreeMap, BTreeSet};

/// A parsed selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(Node);

/// Why a text is not a selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid selector {text:?}: {reason} at character {position}")]
pub struct SelectorError {
    /// The text.
    pub text: String,
    /// What is wrong.
    pub reason: &'static str,
    /// Where, counted from 1.
    pub position: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    All,
    Global,
    Has(String),
    Label(String, Test),
    Not(Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
}

/// What is asked of one label's value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Equal(String),
    NotEqual(String),
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Contains(String),
    StartsWith(String),
    EndsWith(String),
}

impl Selector {
    /// Parses a selector; an empty or blank one selects everything.
    pub fn parse(text: &str) -> Result<Selector, SelectorError> {
        parse::parse(text).map(Selector)
    }

    /// Whether the labels satisfy the selector.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.matches(labels)
    }

    /// Whether `global()` occurs anywhere.
    pub fn mentions_global(&self) -> bool {
        self.0.mentions_global()
    }
}

impl Node {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Node::All | Node::Global => true,
            Node::Has(label) => labels.contains_key(label),
            Node::Label(label, test) => test.holds(labels.get(label).map(String::as_str)),
            Node::Not(inner) => !inner.matches(labels),
            Node::And(all) => all.iter().all(|node| node.matches(labels)),
            Node::Or(any) => any.iter().any(|node| node.matches(labels)),
        }
    }

    fn mentions_global(&self) -> bool {
        match self {
            Node::Global => true,
            Node::All | Node::Has(_) | Node::Label(..) => false,
            Node::Not(inner) => inner.mentions_global(),
            Node::And(nodes) | Node::Or(nodes) => nodes.iter().any(Node::mentions_global),
        }
    }
}

impl Test {
    fn holds(&self, value: Option<&str>) -> bool {
        match self {
            Test::Equal(expected) => value == Some(expected),
            Test::NotEqual(expected) => value != Some(expected),
            Test::In(set) => value.is_some_and(|value| set.contains(value)),
            Test::NotIn(set) => !value.is_some_and(|value| set.contains(value)),
            Test::Contains(part) => value.is_some_and(|value| value.contains(part)),
            Test::StartsWith(part) => value.is_some_and(|value| value.starts_with(part)),
            Test::EndsWith(part) => value.is_some_and(|value| value.ends_with(part)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_matches() {
        let node = labels(&[("rack", "1"), ("zone", "eu-west"), ("in", "x"), ("kubernetes.io/os", "linux")]);
        for (text, expect) in [
            ("", true),
            (" \t", true),
            ("all()", true),
            ("!all()", false),
            ("has(rack)", true),
            ("has(row)", false),
            ("rack == '1'", true),
            ("rack==\"2\"", false),
            ("rack != '2'", true),
            ("rack != '1'", false),
            ("row != '1'", true),
            ("row == '1'", false),
            ("rack in {'1', '2'}", true),
            ("rack in {}", false),
            ("rack not in {'1'}", false),
            ("rack notin {'2'}", true),
            ("row not in {'1'}", true),
            ("zone contains 'u-w'", true),
            ("zone starts with 'eu'", true),
            ("zone startswith 'west'", false),
            ("zone ends   with 'west'", true),
            ("row contains ''", false),
            ("rack == '1' && zone == 'eu-west'", true),
            ("rack == '2' || zone == 'eu-west' && has(in)", true),
            ("(rack == '2' || zone == 'eu-west') && has(row)", false),
            ("!has(row)", true),
            ("!!has(row)", false),
            ("!(rack == '1')", false),
            ("in == 'x'", true),
            ("in in {'x'}", true),
            ("kubernetes.io/os == 'linux'", true),
        ] {
            let selector = Selector::parse(text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(selector.matches(&node), expect, "{text:?}");
        }
    }

    #[test]
    fn what_does_not_parse() {
        for text in [
            "a =",
            "a",
            "a == b",
            "a == 'b",
            "has (a)",
            "has(a",
            "has()",
            "a in {'b'",
            "a in {'b' 'c'}",
            "a in 'b'",
            "a not 'b'",
            "(a == 'b'",
            "a == 'b')",
            "a == 'b' &&",
            "&& a == 'b'",
            "a == 'b' c == 'd'",
            "a & b",
            "a$ == 'b'",
            "!",
        ] {
            assert!(Selector::parse(text).is_err(), "{text:?}");
        }
        let long = format!("{} == 'x'", "l".repeat(513));
        assert!(Selector::parse(&long).is_err(), "a label of 513 characters");
        let deep = format!("{}has(a){}", "(".repeat(100_000), ")".repeat(100_000));
        assert!(Selector::parse(&deep).is_err(), "a depth that would exhaust the stack");
    }

    #[test]
    fn an_error_says_where() {
        let error = Selector::parse("has(a) && b").expect_err("no operator after b");
        assert_eq!(
            error.to_string(),
            "invalid selector \"has(a) && b\": expected an operator after a label at character 12"
        );
    }

    #[test]
    fn global_is_found_anywhere() {
        assert!(Selector::parse("!(has(a) || global())").expect("a selector").mentions_global());
        assert!(!Selector::parse("a == 'global()'").expect("a selector").mentions_global());
    }
}
