//! The packet rules of IPv4 as they are compared: chains with their rules in order, sets and maps with their members.

use super::listing::Listing;
use super::recorded::Rules;
use crate::compare::lines;
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// The tables of iptables; nft has one table, and these in the names of its chains.
pub(super) const TABLES: [&str; 4] = ["raw", "mangle", "filter", "nat"];
/// What the names of our IPv4 sets start with.
const SETS: &str = "cali40";

/// Packet rules without their hashes and counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Packet {
    /// Rules by the names of their chains, as nft has them: `filter-cali-FORWARD`.
    pub(super) chains: BTreeMap<String, Vec<String>>,
    /// Members by the names of sets, and of nft's maps.
    pub(super) sets: BTreeMap<String, BTreeSet<String>>,
}

impl Packet {
    /// Picks them out of what was printed.
    pub(super) fn of(rules: Rules, saved: &Listing, sets: &Listing, ruleset: &Listing) -> Packet {
        match rules {
            Rules::Iptables => Packet::iptables(saved, sets),
            Rules::Nftables => Packet::nftables(ruleset),
        }
    }

    fn iptables(saved: &Listing, sets: &Listing) -> Packet {
        let mut packet = Packet::default();
        for table in TABLES {
            for (chain, lines) in saved.table(table) {
                let rules: Vec<String> = lines.iter().skip(1).map(|rule| without_hash(rule)).collect();
                // the kernel's own chains are there as soon as anybody has looked
                if !rules.is_empty() || lines.first().is_some_and(|policy| policy == "-") {
                    packet.chains.insert(format!("{table}-{chain}"), rules);
                }
            }
        }
        for (name, lines) in sets.table("").filter(|(name, _)| name.starts_with(SETS)) {
            let start = format!("add {name} ");
            let members = lines.iter().filter_map(|line| line.strip_prefix(&start)).map(str::to_owned);
            packet.sets.insert(name.clone(), members.collect());
        }
        packet
    }

    fn nftables(ruleset: &Listing) -> Packet {
        let mut packet = Packet::default();
        for (object, lines) in ruleset.table("ip calico") {
            match object.split_once(' ') {
                Some(("chain", name)) => {
                    packet.chains.insert(name.to_owned(), lines.iter().map(|rule| without_hash(rule)).collect());
                }
                Some(("set" | "map", name)) => {
                    let members = lines.iter().filter_map(|line| line.strip_prefix("element ")).map(str::to_owned);
                    packet.sets.insert(name.to_owned(), members.collect());
                }
                _ => {}
            }
        }
        packet
    }

    /// Says what differs in ours: chains, their rules, and members.
    pub(super) fn differences(&self, ours: &Packet) -> Vec<String> {
        let chains = uneven("chain", &self.chains, &ours.chains, |recorded, ours| {
            (recorded != ours).then(|| lines(&recorded.join("\n"), &ours.join("\n")))
        });
        let sets = uneven("set", &self.sets, &ours.sets, |recorded, ours| {
            let joined = |set: &BTreeSet<String>| set.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
            (recorded != ours).then(|| lines(&joined(recorded), &joined(ours)))
        });
        chains.into_iter().chain(sets).collect()
    }
}

/// Says of named things which are only on one side, and how the others differ.
fn uneven<T>(
    what: &str,
    recorded: &BTreeMap<String, T>,
    ours: &BTreeMap<String, T>,
    differ: impl Fn(&T, &T) -> Option<String>,
) -> Vec<String> {
    let names: BTreeSet<&String> = recorded.keys().chain(ours.keys()).collect();
    let told = |name: &String| match (recorded.get(name), ours.get(name)) {
        (Some(theirs), Some(own)) => differ(theirs, own).map(|lines| format!("{what} {name}:\n{lines}")),
        (Some(_), None) => Some(format!("{what} {name}: recorded, not ours")),
        (None, Some(_)) => Some(format!("{what} {name}: ours, not recorded")),
        (None, None) => None,
    };
    names.into_iter().filter_map(told).collect()
}

/// A rule without the hash in its comment.
pub(super) fn without_hash(rule: &str) -> String {
    static HASH: LazyLock<Regex> = LazyLock::new(|| {
        let iptables = r#"-m comment --comment "?cali:[\w-]{16}"? "#;
        let nft = r#" comment "cali:[\w-]{16};?""#;
        let nft_before_a_comment = r"cali:[\w-]{16}; ";
        Regex::new(&format!("{iptables}|{nft}|{nft_before_a_comment}")).expect("a valid expression")
    });
    HASH.replace(rule, "").into_owned()
}
