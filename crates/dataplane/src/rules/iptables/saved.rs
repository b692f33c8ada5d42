//! What `iptables-save` prints, taken apart far enough to tell ours from others' and right from wrong.

use crate::rules::hash;
use crate::rules::model::Table;
use std::collections::BTreeMap;

/// Prefixes of chain names that belong to us: Calico's, of all times.
const OURS: [&str; 8] = ["cali-", "califw-", "calitw-", "califh-", "calith-", "calipi-", "calipo-", "felix-"];

/// The kernel's tables as read.
pub(super) type Saved = BTreeMap<Table, BTreeMap<String, Chain>>;

/// A chain as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) owner: Owner,
    pub(super) rules: Vec<SavedRule>,
}

/// Whose a chain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The kernel's own: others' rules and ours stand side by side.
    Kernel,
    /// Ours, by its name.
    Ours,
    /// Somebody else's.
    Foreign,
}

/// A rule as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SavedRule {
    /// The rule after `-A CHAIN`, as printed, with its quotes.
    pub(super) text: String,
    /// The rule's words without its hash comment.
    pub(super) words: Vec<String>,
    /// The hash in our comment, if it has one.
    pub(super) hash: Option<String>,
    /// The chain or target it jumps or goes to.
    pub(super) target: Option<String>,
}

impl SavedRule {
    fn parse(text: &str) -> SavedRule {
        let mut words = split(text);
        let comment = words.windows(4).position(|four| {
            four[0] == "-m" && four[1] == "comment" && four[2] == "--comment" && four[3].starts_with(hash::PREFIX)
        });
        let hash = comment.map(|at| {
            let comment = words.drain(at..at + 4).next_back().expect("the window has four words");
            comment[hash::PREFIX.len()..].to_owned()
        });
        let target = words.windows(2).find(|two| two[0] == "-j" || two[0] == "-g").map(|two| two[1].clone());
        SavedRule { text: text.to_owned(), words, hash, target }
    }

    /// Whether a rule in one of the kernel's chains is ours.
    pub(super) fn is_ours(&self) -> bool {
        self.hash.is_some() || self.target.as_deref().is_some_and(is_our_chain)
    }
}

/// Whether a chain of that name is ours.
pub(in crate::rules) fn is_our_chain(name: &str) -> bool {
    OURS.iter().any(|prefix| name.starts_with(prefix))
}

/// Takes the output of `iptables-save` apart; tables that cannot hold rules of ours are left out.
pub(super) fn parse(text: &str) -> Saved {
    let mut saved = Saved::new();
    let mut table = None;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = Table::ALL.into_iter().find(|table| table.name() == name);
            continue;
        }
        let Some(chains) = table.map(|table| saved.entry(table).or_default()) else { continue };
        if let Some(declaration) = line.strip_prefix(':') {
            let mut words = declaration.split(' ');
            let (Some(name), Some(policy)) = (words.next(), words.next()) else { continue };
            let owner = match policy {
                "-" if is_our_chain(name) => Owner::Ours,
                "-" => Owner::Foreign,
                _ => Owner::Kernel,
            };
            chains.insert(name.to_owned(), Chain { owner, rules: Vec::new() });
        } else if let Some((name, rule)) = line.strip_prefix("-A ").and_then(|rest| rest.split_once(' '))
            && let Some(chain) = chains.get_mut(name)
        {
            chain.rules.push(SavedRule::parse(rule));
        }
    }
    saved
}

/// Splits a rule into words; quotes hold a word together and a backslash takes the next character as it is.
fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.get_or_insert_default().extend(characters.next()),
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_quoted_text_whole() {
        for (text, expect) in [
            ("-m comment --comment \"a b\" -j X", vec!["-m", "comment", "--comment", "a b", "-j", "X"]),
            (r#"--comment "say \"hi\"" -j X"#, vec!["--comment", "say \"hi\"", "-j", "X"]),
            (r#"--comment "" -j X"#, vec!["--comment", "", "-j", "X"]),
        ] {
            assert_eq!(split(text), expect, "{text}");
        }
    }

    #[test]
    fn owners_are_told_by_policy_and_name() {
        let saved = parse(
            "*nat\n:POSTROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:cali-fip-snat - [0:0]\n\
             -A POSTROUTING -m comment --comment \"cali:0i8pjzKKPyA34aQD\" -j cali-POSTROUTING\n\
             -A POSTROUTING -s 10.0.0.0/8 -j MASQUERADE\nCOMMIT\n*security\n:INPUT ACCEPT [0:0]\nCOMMIT\n",
        );
        let nat = &saved[&Table::Nat];
        assert_eq!(nat["POSTROUTING"].owner, Owner::Kernel);
        assert_eq!(nat["KUBE-SERVICES"].owner, Owner::Foreign);
        assert_eq!(nat["cali-fip-snat"].owner, Owner::Ours);
        let rules = &nat["POSTROUTING"].rules;
        assert_eq!(rules[0].hash.as_deref(), Some("0i8pjzKKPyA34aQD"));
        assert_eq!(rules[0].words, ["-j", "cali-POSTROUTING"]);
        assert!(rules[0].is_ours());
        assert!(!rules[1].is_ours());
        assert_eq!(saved.len(), 1);
    }
}
