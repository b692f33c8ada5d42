//! The difference between our table as read and as it should be, as one batch.
//!
//! A chain that differs is emptied and filled again, a set gains and loses intervals, both in the same batch, so
//! packets see the old rules or the new ones and nothing between. What cannot be changed in place (a hook's
//! priority, a set's type) makes the whole table anew, in one batch as well.

use super::TABLE;
use super::abi::{chain, element, expression, message, rule, set, table};
use super::actual::{Actual, ActualSet, Presence};
use super::compile::{Chain, CompiledRule, Content, Interval};
use super::expression::Expression;
use super::socket::{APPEND, Batch, CREATE};
use super::wire::Attributes;
use std::collections::BTreeSet;

/// A nested list must stay under 64 KiB: 32 octets an element.
const CHUNK: usize = 1500;

/// A batch, and how many objects it writes or removes.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub(super) batch: Batch,
    pub(super) writes: usize,
}

/// How a table that differs is put right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Repair {
    /// Object by object.
    #[default]
    InPlace,
    /// As a whole.
    Rebuild,
}

/// Plans what turns `actual` into `desired`; `repair` only counts if they differ.
pub(super) fn plan(desired: &Content, actual: &Actual, repair: Repair) -> Plan {
    let can_stay = actual.presence != Presence::Unusable && can_change_in_place(desired, actual);
    let mut plan = Plan::default();
    if can_stay {
        plan.fill(desired, actual);
    }
    if !can_stay || (repair == Repair::Rebuild && plan.writes > 0 && actual.presence == Presence::Present) {
        plan = Plan::default();
        plan.delete_table();
        plan.fill(desired, &Actual::default());
    }
    plan
}

/// Plans the removal of the table.
pub(super) fn removal() -> Plan {
    let mut plan = Plan::default();
    plan.delete_table();
    plan.writes = 1;
    plan
}

fn can_change_in_place(desired: &Content, actual: &Actual) -> bool {
    let chains = desired
        .chains
        .iter()
        .all(|(name, chain)| actual.chains.get(name).is_none_or(|actual| actual.base == chain.base));
    chains && desired.sets.keys().all(|name| actual.sets.get(name) != Some(&ActualSet::Other))
}

impl Plan {
    fn delete_table(&mut self) {
        let body = Attributes::default().text(table::NAME, TABLE);
        self.batch.push(message::DEL_TABLE, 0, body, format!("delete nftables table ip {TABLE}"));
    }

    /// Empties chains before sets change, makes sets and chains before rules name them, and deletes sets before
    /// chains, since a map may lead to a chain.
    fn fill(&mut self, desired: &Content, actual: &Actual) {
        if actual.presence == Presence::Absent {
            let body = Attributes::default().text(table::NAME, TABLE).number(table::FLAGS, 0);
            self.batch.push(message::NEW_TABLE, CREATE, body, format!("create nftables table ip {TABLE}"));
            self.writes += 1;
        }
        let stale = |name: &&String| !desired.chains.contains_key(*name);
        let differ = |(name, chain): &(&String, &Chain)| actual.chains.get(*name) != Some(*chain);
        let changed: Vec<(&String, &Chain)> = desired.chains.iter().filter(differ).collect();
        for name in changed.iter().map(|(name, _)| *name).chain(actual.chains.keys().filter(stale)) {
            if actual.chains.get(name).is_some_and(|chain| !chain.rules.is_empty()) {
                self.empty_chain(name);
            }
        }
        for (id, (name, intervals)) in (1..).zip(&desired.sets) {
            self.set(id, name, intervals, actual.sets.get(name));
        }
        for (name, chain) in &changed {
            if !actual.chains.contains_key(*name) {
                self.create_chain(name, chain);
            }
        }
        for (name, chain) in &changed {
            self.writes += 1;
            for rule in &chain.rules {
                self.add_rule(name, rule);
            }
        }
        for name in actual.sets.keys().filter(|name| !desired.sets.contains_key(*name)) {
            let body = Attributes::default().text(set::TABLE, TABLE).text(set::NAME, name);
            self.batch.push(message::DEL_SET, 0, body, format!("delete nftables set {name}"));
            self.writes += 1;
        }
        for name in actual.chains.keys().filter(stale) {
            let body = Attributes::default().text(chain::TABLE, TABLE).text(chain::NAME, name);
            self.batch.push(message::DEL_CHAIN, 0, body, format!("delete nftables chain {name}"));
            self.writes += 1;
        }
    }

    fn empty_chain(&mut self, name: &str) {
        let body = Attributes::default().text(rule::TABLE, TABLE).text(rule::CHAIN, name);
        self.batch.push(message::DEL_RULE, 0, body, format!("empty nftables chain {name}"));
    }

    fn create_chain(&mut self, name: &str, chain: &Chain) {
        let mut body = Attributes::default().text(chain::TABLE, TABLE).text(chain::NAME, name);
        if let Some(base) = &chain.base {
            let hook = Attributes::default()
                .number(chain::HOOK_NUMBER, base.hook)
                .number(chain::HOOK_PRIORITY, base.priority.cast_unsigned());
            body = body.nest(chain::HOOK, &hook).number(chain::POLICY, base.policy).text(chain::TYPE, &base.kind);
        }
        self.batch.push(message::NEW_CHAIN, CREATE, body, format!("create nftables chain {name}"));
    }

    fn add_rule(&mut self, chain: &str, rule: &CompiledRule) {
        let mut body = Attributes::default()
            .text(rule::TABLE, TABLE)
            .text(rule::CHAIN, chain)
            .nest(rule::EXPRESSIONS, &Expression::encode_all(&rule.expressions));
        if let Some(comment) = &rule.comment {
            let length = u8::try_from(comment.len() + 1).expect("a comment has at most 128 characters");
            let data = [&[rule::COMMENT, length], comment.as_bytes(), &[0]].concat();
            body = body.raw(rule::USER_DATA, &data);
        }
        self.batch.push(message::NEW_RULE, CREATE | APPEND, body, format!("add a rule to nftables chain {chain}"));
    }

    fn set(&mut self, id: u32, name: &str, desired: &BTreeSet<Interval>, actual: Option<&ActualSet>) {
        let nothing = BTreeSet::new();
        let present = match actual {
            Some(ActualSet::Intervals(intervals)) => intervals,
            Some(ActualSet::Other) | None => &nothing,
        };
        if actual.is_none() {
            self.create_set(id, name);
        } else if present == desired {
            return;
        }
        self.writes += 1;
        let bounds = |intervals: &mut dyn Iterator<Item = &Interval>| -> Vec<(u32, u32)> {
            intervals
                .flat_map(|interval| [Some((interval.start, 0)), interval.end.map(|end| (end, element::INTERVAL_END))])
                .flatten()
                .collect()
        };
        self.elements(name, message::DEL_ELEMENTS, 0, &bounds(&mut present.difference(desired)));
        let mut added = bounds(&mut desired.difference(present));
        if actual.is_none() && desired.first().is_some_and(|first| first.start > 0) {
            added.insert(0, (0, element::INTERVAL_END));
        }
        self.elements(name, message::NEW_ELEMENTS, CREATE, &added);
    }

    fn create_set(&mut self, id: u32, name: &str) {
        let body = Attributes::default()
            .text(set::TABLE, TABLE)
            .text(set::NAME, name)
            .number(set::FLAGS, set::INTERVAL)
            .number(set::KEY_TYPE, set::IPV4_ADDRESS)
            .number(set::KEY_LENGTH, 4)
            .number(set::ID, id);
        self.batch.push(message::NEW_SET, CREATE, body, format!("create nftables set {name}"));
    }

    fn elements(&mut self, set: &str, kind: u8, flags: u16, bounds: &[(u32, u32)]) {
        for chunk in bounds.chunks(CHUNK) {
            let list = chunk.iter().fold(Attributes::default(), |list, (key, flags)| {
                let key = Attributes::default().number(expression::DATA_VALUE, *key);
                let mut one = Attributes::default().nest(element::KEY, &key);
                if *flags != 0 {
                    one = one.number(element::FLAGS, *flags);
                }
                list.nest(rule::LIST_ELEMENT, &one)
            });
            let body =
                Attributes::default().text(element::TABLE, TABLE).text(element::SET, set).nest(element::LIST, &list);
            self.batch.push(kind, flags, body, format!("change the elements of nftables set {set}"));
        }
    }
}
