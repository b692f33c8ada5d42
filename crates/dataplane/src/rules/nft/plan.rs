//! The difference between our table as read and as it should be, as one batch.
//!
//! A chain that differs is emptied and filled again, a set gains and loses intervals, both in the same batch, so
//! packets see the old rules or the new ones and nothing between. What cannot be changed in place (a hook's
//! priority, a set's type) makes the whole table anew, in one batch as well.

use super::TABLE;
use super::abi::{chain, element, expression, message, rule, set, table};
use super::actual::{Actual, ActualSet, Presence};
use super::compile::{Chain, CompiledRule, Content, Interval, LINK_NAME, SetContent, padded};
use super::expression::Expression;
use super::socket::{APPEND, Batch, CREATE};
use super::wire::Attributes;
use crate::rules::model::Family;
use std::collections::{BTreeMap, BTreeSet};

/// A nested list must stay under 64 KiB.
const CHUNK: usize = 60_000;

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
    let sets = desired.sets.iter().all(|(name, set)| match actual.sets.get(name) {
        None => true,
        Some(ActualSet::Known(actual)) => actual.is_like(set),
        Some(ActualSet::Other) => false,
    });
    chains && sets
}

impl Plan {
    fn delete_table(&mut self) {
        let body = Attributes::default().text(table::NAME, TABLE);
        self.batch.push(message::DEL_TABLE, 0, body, format!("delete nftables table ip {TABLE}"));
    }

    /// Empties chains before sets change, makes chains before maps lead to them and both before rules name them, and
    /// deletes sets before chains, since a map may lead to a chain.
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
        for (name, chain) in &changed {
            if !actual.chains.contains_key(*name) {
                self.create_chain(name, chain);
            }
        }
        for (id, (name, content)) in (1..).zip(&desired.sets) {
            self.set(id, name, Keys::of(desired.family), content, actual.sets.get(name));
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

    fn set(&mut self, id: u32, name: &str, keys: Keys, desired: &SetContent, actual: Option<&ActualSet>) {
        let present = match actual {
            Some(ActualSet::Known(content)) => Some(content),
            Some(ActualSet::Other) | None => None,
        };
        if present == Some(desired) {
            return;
        }
        if actual.is_none() {
            self.create_set(id, name, keys, desired);
        }
        self.writes += 1;
        let (gone, new) = keys.difference(desired, present);
        self.elements(name, message::DEL_ELEMENTS, 0, gone);
        self.elements(name, message::NEW_ELEMENTS, CREATE, new);
    }

    fn create_set(&mut self, id: u32, name: &str, keys: Keys, content: &SetContent) {
        let body = Attributes::default().text(set::TABLE, TABLE).text(set::NAME, name);
        let addresses = |body: Attributes, flags| {
            body.number(set::FLAGS, flags).number(set::KEY_TYPE, keys.kind).number(set::KEY_LENGTH, number(keys.length))
        };
        let body = match content {
            SetContent::Intervals(_) => addresses(body, set::INTERVAL),
            SetContent::Addresses(_) => addresses(body, 0),
            SetContent::Chains(_) => body
                .number(set::FLAGS, set::MAP)
                .number(set::KEY_TYPE, set::LINK_NAME)
                .number(set::KEY_LENGTH, number(LINK_NAME))
                .number(set::DATA_TYPE, set::VERDICT)
                .raw(set::USER_DATA, &set::KEYS_IN_HOST_ORDER),
        };
        let body = body.number(set::ID, id);
        self.batch.push(message::NEW_SET, CREATE, body, format!("create nftables set {name}"));
    }

    fn elements(&mut self, set: &str, kind: u8, flags: u16, elements: Vec<Attributes>) {
        let mut list = Attributes::default();
        let mut rest = elements.into_iter().peekable();
        while let Some(one) = rest.next() {
            list = list.nest(rule::LIST_ELEMENT, &one);
            if list.bytes().len() > CHUNK || rest.peek().is_none() {
                let list = std::mem::take(&mut list);
                let body = Attributes::default().text(element::TABLE, TABLE).text(element::SET, set);
                let operation = format!("change the elements of nftables set {set}");
                self.batch.push(kind, flags, body.nest(element::LIST, &list), operation);
            }
        }
    }
}

/// Addresses of a family as keys of a set.
#[derive(Clone, Copy, Debug)]
struct Keys {
    kind: u32,
    /// Octets.
    length: usize,
}

impl Keys {
    fn of(family: Family) -> Keys {
        match family {
            Family::Ipv4 => Keys { kind: set::IPV4_ADDRESS, length: 4 },
            Family::Ipv6 => Keys { kind: set::IPV6_ADDRESS, length: 16 },
        }
    }

    /// What must go from a set and what must come, element by element.
    fn difference(self, desired: &SetContent, present: Option<&SetContent>) -> (Vec<Attributes>, Vec<Attributes>) {
        match (desired, present) {
            (SetContent::Intervals(desired), Some(SetContent::Intervals(present))) => {
                (self.bounds(present.difference(desired)), self.bounds(desired.difference(present)))
            }
            (SetContent::Intervals(desired), _) => {
                let mut new = self.bounds(desired.iter());
                if desired.first().is_some_and(|first| first.start > 0) {
                    new.insert(0, self.address(0).number(element::FLAGS, element::INTERVAL_END));
                }
                (Vec::new(), new)
            }
            (SetContent::Addresses(desired), present) => {
                let nothing = BTreeSet::new();
                let present = if let Some(SetContent::Addresses(present)) = present { present } else { &nothing };
                let gone = present.difference(desired).map(|number| self.address(*number));
                (gone.collect(), desired.difference(present).map(|number| self.address(*number)).collect())
            }
            (SetContent::Chains(desired), present) => {
                let nothing = BTreeMap::new();
                let present = if let Some(SetContent::Chains(present)) = present { present } else { &nothing };
                let gone = present.iter().filter(|(link, chain)| desired.get(*link) != Some(*chain));
                let new = desired.iter().filter(|(link, chain)| present.get(*link) != Some(*chain));
                let gone = gone.map(|(link, _)| keyed(&padded(link)));
                (gone.collect(), new.map(|(link, chain)| leads(link, chain)).collect())
            }
        }
    }

    fn bounds<'a>(self, intervals: impl Iterator<Item = &'a Interval>) -> Vec<Attributes> {
        let both = |interval: &Interval| {
            let end = interval.end.map(|end| self.address(end).number(element::FLAGS, element::INTERVAL_END));
            [Some(self.address(interval.start)), end]
        };
        intervals.flat_map(both).flatten().collect()
    }

    fn address(self, number: u128) -> Attributes {
        let bytes = number.to_be_bytes();
        keyed(&bytes[bytes.len() - self.length..])
    }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).expect("the length of a key")
}

fn leads(link: &str, chain: &str) -> Attributes {
    let verdict = Attributes::default()
        .number(expression::VERDICT_CODE, expression::GOTO.cast_unsigned())
        .text(expression::VERDICT_CHAIN, chain);
    let data = Attributes::default().nest(expression::DATA_VERDICT, &verdict);
    keyed(&padded(link)).nest(element::DATA, &data)
}

fn keyed(key: &[u8]) -> Attributes {
    let key = Attributes::default().raw(expression::DATA_VALUE, key);
    Attributes::default().nest(element::KEY, &key)
}
