//! The difference between what was read and what should be there, as input for `iptables-restore`.
//!
//! A chain of ours is right if it holds exactly our rules, told by their hash comments and their words; else it
//! is emptied and filled again as a whole. Of a kernel's chain only our own rules are moved or removed, each by
//! its text, never by its number, which another program may have changed since.

use super::saved::{Chain, Owner, Saved, SavedRule};
use super::text::{Line, Lines};
use crate::rules::model::{Placement, Table};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Rules that this version of iptables prints in words of its own: hash to the text read after we wrote it.
pub(super) type Learned = BTreeMap<String, String>;

/// What to feed to `iptables-restore`, and how many chains it touches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) input: String,
    pub(super) writes: usize,
    /// Chains of ours that are emptied or deleted for good.
    pub(super) removed: Vec<String>,
}

/// Compares every table and plans one transaction for each that differs.
pub(super) fn plan(desired: &BTreeMap<Table, Lines>, placement: Placement, saved: &Saved, learned: &Learned) -> Plan {
    let mut plan = Plan::default();
    let nothing = (Lines::default(), BTreeMap::new());
    for table in Table::ALL {
        let desired = desired.get(&table).unwrap_or(&nothing.0);
        let chains = saved.get(&table).unwrap_or(&nothing.1);
        let comparison = Comparison { desired, chains, placement, learned };
        let (body, writes) = comparison.transaction();
        plan.removed.extend(comparison.unwanted().map(|(name, _)| name.clone()));
        if writes > 0 {
            let _ = write!(plan.input, "*{}\n{body}COMMIT\n", table.name());
            plan.writes += writes;
        }
    }
    plan
}

/// Whether a rule as read is the one that was to be written.
pub(super) fn is_right(rule: &SavedRule, line: &Line, learned: &Learned) -> bool {
    rule.hash.as_ref() == Some(&line.hash)
        && (is_same(&rule.words, &line.saved) || learned.get(&line.hash) == Some(&rule.text))
}

/// Whether two rules are the same: a protocol is a number, or a name that its iptables knows.
fn is_same(read: &[String], expected: &[String]) -> bool {
    let protocol = |word: &str| match word {
        "ipencap" | "ipip" | "ip-encap" => "4".to_owned(),
        "udp" => "17".to_owned(),
        other => other.to_owned(),
    };
    let canonical = |words: &[String]| -> Vec<String> {
        let before = std::iter::once("").chain(words.iter().map(String::as_str));
        words
            .iter()
            .zip(before)
            .map(|(word, before)| if before == "-p" { protocol(word) } else { word.clone() })
            .collect()
    };
    read.len() == expected.len() && canonical(read) == canonical(expected)
}

struct Comparison<'a> {
    desired: &'a Lines,
    chains: &'a BTreeMap<String, Chain>,
    placement: Placement,
    learned: &'a Learned,
}

impl Comparison<'_> {
    /// One table's input without its first and last line: chains are declared, which empties them, before rules
    /// jump to them, and deleted after nothing does.
    fn transaction(&self) -> (String, usize) {
        let (mut declare, mut fill, mut delete) = (String::new(), String::new(), String::new());
        let mut writes = 0;
        for (name, lines) in &self.desired.chains {
            if self.chains.get(name).is_some_and(|chain| self.all_right(&chain.rules, lines)) {
                continue;
            }
            writes += 1;
            let _ = writeln!(declare, ":{name} - [0:0]");
            for line in lines {
                let _ = writeln!(fill, "-A {name} {}", line.restore());
            }
        }
        for (name, rules) in self.shared() {
            let hook = self.hook(&name, rules);
            writes += usize::from(!hook.is_empty());
            fill.push_str(&hook);
        }
        let held = self.held();
        for (name, chain) in self.unwanted() {
            if !held.contains(name.as_str()) {
                let _ = writeln!(delete, "-X {name}");
            } else if chain.rules.is_empty() {
                continue;
            }
            writes += 1;
            let _ = writeln!(declare, ":{name} - [0:0]");
        }
        (declare + &fill + &delete, writes)
    }

    /// Chains of ours that should not be there.
    fn unwanted(&self) -> impl Iterator<Item = (&String, &Chain)> {
        self.chains
            .iter()
            .filter(|(name, chain)| chain.owner == Owner::Ours && !self.desired.chains.contains_key(*name))
    }

    fn all_right(&self, rules: &[SavedRule], lines: &[Line]) -> bool {
        rules.len() == lines.len() && rules.iter().zip(lines).all(|(rule, line)| is_right(rule, line, self.learned))
    }

    /// The kernel's chains that hold rules of ours or should.
    fn shared(&self) -> BTreeMap<String, &[SavedRule]> {
        let there = self.chains.iter().filter(|(_, chain)| chain.owner == Owner::Kernel);
        let mut shared: BTreeMap<String, &[SavedRule]> =
            self.desired.hooks.keys().map(|name| ((*name).to_owned(), [].as_slice())).collect();
        shared.extend(there.map(|(name, chain)| (name.clone(), chain.rules.as_slice())));
        shared
    }

    /// What puts our rules of one kernel chain in their places; empty if they are.
    fn hook(&self, name: &str, rules: &[SavedRule]) -> String {
        let (inserted, appended) = self.desired.hooks.get(name).map(|(a, b)| (&a[..], &b[..])).unwrap_or_default();
        let top = match self.placement {
            Placement::Top => inserted.len(),
            Placement::Bottom => 0,
        };
        let lines: Vec<Line> = inserted.iter().chain(appended).cloned().collect();
        let ours: Vec<&SavedRule> = rules.iter().filter(|rule| rule.is_ours()).collect();
        let middle = rules.len().saturating_sub(lines.len() - top);
        let in_place = rules.len() >= lines.len()
            && ours.len() == lines.len()
            && rules[..top]
                .iter()
                .chain(&rules[middle..])
                .zip(&lines)
                .all(|(rule, line)| is_right(rule, line, self.learned));
        let mut input = String::new();
        if in_place {
            return input;
        }
        for rule in ours {
            let _ = writeln!(input, "-D {name} {}", rule.text);
        }
        for line in lines[..top].iter().rev() {
            let _ = writeln!(input, "-I {name} 1 {}", line.restore());
        }
        for line in &lines[top..] {
            let _ = writeln!(input, "-A {name} {}", line.restore());
        }
        input
    }

    /// Chains that somebody else's chain jumps to: those cannot be deleted, only emptied.
    fn held(&self) -> BTreeSet<&str> {
        let foreign = self.chains.values().filter(|chain| chain.owner == Owner::Foreign);
        foreign.flat_map(|chain| &chain.rules).filter_map(|rule| rule.target.as_deref()).collect()
    }
}
