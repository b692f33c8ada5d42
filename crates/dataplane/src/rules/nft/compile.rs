//! From a [`Ruleset`] to the objects of one nftables table: base chains, chains, rules, sets of intervals.

use super::abi::expression as abi;
use super::expression::Expression;
use super::text;
use crate::rules::hash;
use crate::rules::model::{Action, End, Hook, Match, Rule, Ruleset, Scope, Sense, Table};
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};

const INTERFACE_NAME: usize = 16;
const ADDRESS: u32 = 4;
/// Where the source address stands in an IPv4 header; the destination follows.
const SOURCE_OFFSET: u32 = 12;
const ACCEPT: u32 = 1;

/// The content of our table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) sets: BTreeMap<String, BTreeSet<Interval>>,
    pub(super) chains: BTreeMap<String, Chain>,
}

/// A chain and its rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// Where packets enter; `None` if only by a jump.
    pub(super) base: Option<Base>,
    pub(super) rules: Vec<CompiledRule>,
}

/// How a chain hangs in the kernel's packet path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) kind: String,
    pub(super) hook: u32,
    pub(super) priority: i32,
    pub(super) policy: u32,
}

/// A rule: its comment and its steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CompiledRule {
    pub(super) comment: Option<String>,
    pub(super) expressions: Vec<Expression>,
}

/// Addresses from `start` up to, not including, `end`; `None` is the end of all addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Interval {
    pub(super) start: u32,
    pub(super) end: Option<u32>,
}

impl From<&Ipv4Net> for Interval {
    fn from(prefix: &Ipv4Net) -> Self {
        Interval { start: prefix.network().into(), end: u32::from(prefix.broadcast()).checked_add(1) }
    }
}

/// Works out the content of the table.
pub(super) fn compile(ruleset: &Ruleset) -> Content {
    let mut content = Content::default();
    for (name, prefixes) in &ruleset.sets {
        content.sets.insert(name.0.clone(), intervals(prefixes));
    }
    for table in ruleset.chains.keys().map(|(table, _)| *table).collect::<BTreeSet<_>>() {
        for (hook, base) in base_chains(table) {
            let name = text::chain(table, hook.name());
            content.chains.insert(name, Chain { base: Some(base), rules: Vec::new() });
        }
    }
    for ((table, hook), hooked) in &ruleset.hooks {
        let name = text::chain(*table, hook.name());
        let appends = format!("{name}{}", hash::APPENDS);
        let mut compiled = rules(*table, &name, &hooked.inserted);
        compiled.extend(rules(*table, &appends, &hooked.appended));
        content.chains.entry(name).or_default().rules = compiled;
    }
    for ((table, chain), list) in &ruleset.chains {
        let name = text::chain(*table, &chain.0);
        let rules = rules(*table, &name, list);
        content.chains.insert(name, Chain { base: None, rules });
    }
    content
}

/// The base chains of a table, with Calico's priorities: address translation on output and departure comes after
/// that of others.
fn base_chains(table: Table) -> Vec<(Hook, Base)> {
    let base = |hook: Hook, kind: &str, priority| {
        let number = match hook {
            Hook::Prerouting => 0,
            Hook::Input => 1,
            Hook::Forward => 2,
            Hook::Output => 3,
            Hook::Postrouting => 4,
        };
        (hook, Base { kind: kind.to_owned(), hook: number, priority, policy: ACCEPT })
    };
    match table {
        Table::Raw => vec![base(Hook::Prerouting, "filter", -300), base(Hook::Output, "filter", -300)],
        Table::Mangle => vec![
            base(Hook::Prerouting, "filter", -150),
            base(Hook::Input, "filter", -150),
            base(Hook::Forward, "filter", -150),
            base(Hook::Output, "route", -150),
            base(Hook::Postrouting, "filter", -150),
        ],
        Table::Nat => vec![
            base(Hook::Prerouting, "nat", -100),
            base(Hook::Input, "nat", -100),
            base(Hook::Output, "nat", 110),
            base(Hook::Postrouting, "nat", 110),
        ],
        Table::Filter => {
            vec![base(Hook::Input, "filter", 0), base(Hook::Forward, "filter", 0), base(Hook::Output, "filter", 0)]
        }
    }
}

fn rules(table: Table, chain: &str, rules: &[Rule]) -> Vec<CompiledRule> {
    let hashes = hash::chain(chain, rules.iter().map(|rule| text::rule(table, rule)));
    let compiled = rules.iter().zip(hashes).map(|(rule, hash)| CompiledRule {
        comment: Some(format!("{}{hash};", hash::PREFIX)),
        expressions: expressions(table, rule),
    });
    compiled.collect()
}

fn expressions(table: Table, rule: &Rule) -> Vec<Expression> {
    let mut expressions: Vec<Expression> = rule.matches.iter().flat_map(condition).collect();
    expressions.push(Expression::Counter);
    expressions.extend(action(table, &rule.action));
    expressions
}

fn condition(condition: &Match) -> Vec<Expression> {
    match condition {
        Match::OutInterface(name) => {
            let mut padded = name.0.as_bytes().to_vec();
            padded.resize(INTERFACE_NAME, 0);
            vec![Expression::Meta(abi::META_OUT_INTERFACE_NAME), Expression::Compare(Sense::Is, padded)]
        }
        Match::InSet(end, sense, set) => {
            let offset = match end {
                End::Source => SOURCE_OFFSET,
                End::Destination => SOURCE_OFFSET + ADDRESS,
            };
            vec![Expression::Payload { offset, length: ADDRESS }, Expression::Lookup(*sense, set.0.clone())]
        }
        Match::Local(end, sense, scope) => {
            let end = match end {
                End::Source => abi::FIB_SOURCE,
                End::Destination => abi::FIB_DESTINATION,
            };
            let scope = match scope {
                Scope::Node => 0,
                Scope::OutInterface => abi::FIB_OUT_INTERFACE,
            };
            let local = abi::FIB_LOCAL.to_ne_bytes().to_vec();
            vec![Expression::AddressType(end | scope), Expression::Compare(*sense, local)]
        }
    }
}

fn action(table: Table, action: &Action) -> Vec<Expression> {
    match action {
        Action::Jump(chain) => vec![Expression::Verdict(abi::JUMP, Some(text::chain(table, &chain.0)))],
        Action::Masquerade => vec![Expression::Masquerade(abi::NAT_FULLY_RANDOM)],
        Action::Snat(address) => vec![
            Expression::Load(address.octets().to_vec()),
            Expression::SourceNat(abi::NAT_MAP_ADDRESSES | abi::NAT_FULLY_RANDOM),
        ],
    }
}

/// Intervals must not overlap, so a prefix inside another one is left out.
fn intervals(prefixes: &BTreeSet<Ipv4Net>) -> BTreeSet<Interval> {
    let mut broadest: Option<Ipv4Net> = None;
    let mut intervals = BTreeSet::new();
    for prefix in prefixes {
        if broadest.is_none_or(|broadest| !broadest.contains(prefix)) {
            intervals.insert(Interval::from(prefix));
            broadest = Some(*prefix);
        }
    }
    intervals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covered_prefixes_are_left_out_and_the_last_one_is_open() {
        let prefixes = ["10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/32", "255.255.255.0/24"];
        let prefixes = prefixes.iter().map(|text| text.parse().expect("a literal prefix")).collect();
        let expect = [
            Interval { start: 0x0a00_0000, end: Some(0x0b00_0000) },
            Interval { start: 0x0b00_0000, end: Some(0x0b00_0001) },
            Interval { start: 0xffff_ff00, end: None },
        ];
        assert_eq!(intervals(&prefixes), BTreeSet::from(expect));
    }
}
