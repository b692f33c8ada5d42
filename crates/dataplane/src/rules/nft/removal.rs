//! What of a table of `iptables-nft` is ours, and the batch that removes it.
//!
//! Our rules go from the kernel's chains, then the content of our chains, then these; a chain of ours that somebody
//! else's chain leads to is only emptied. What `iptables-nft` made for our rules goes too: the kernel's chains that held
//! no others, and a table in which nothing else is.

use super::abi::{chain, message, rule, set, table as table_abi};
use super::actual::{about, chains, rules};
use super::compile::{Chain, CompiledRule};
use super::expression::Expression;
use super::socket::{Batch, Family, Socket};
use super::wire::{Attributes, Parsed};
use crate::rules::iptables::is_our_chain;
use crate::rules::{calico, hash};
use std::collections::BTreeSet;
use std::io;

/// `NF_ACCEPT`: the policy of a chain that does nothing.
const ACCEPT: u32 = 1;

/// The removal of all that is ours in one table.
#[derive(Clone, Debug, Default)]
pub(super) struct Removal {
    pub(super) batch: Batch,
    /// How many rules of others' chains, and chains, are removed or emptied.
    pub(super) writes: usize,
    /// All chains of ours.
    pub(super) chains: BTreeSet<String>,
    /// Chains of ours that are only emptied, since others' rules lead to them.
    pub(super) held: BTreeSet<String>,
}

/// Plans the removal from one of the tables of `iptables-nft`.
pub(super) fn plan(socket: &mut Socket, family: Family, table: &str) -> io::Result<Removal> {
    let chains = chains(socket, family, table)?;
    let shared: BTreeSet<&str> =
        chains.iter().filter(|(_, chain)| chain.base.is_some()).map(|(name, _)| name.as_str()).collect();
    let ours: Vec<&str> = chains.iter().map(|(name, _)| name.as_str()).filter(|name| is_our_chain(name)).collect();
    calico::warn_of_policy(ours.iter().copied());
    let mut removal = Removal { batch: Batch::of(family), ..Removal::default() };
    removal.chains.extend(ours.iter().map(|name| (*name).to_owned()));
    let (mut led_to, mut filled, mut emptied, mut used) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (handle, chain, content) in rules(socket, family, table)? {
        if is_our_chain(&chain) {
            filled.insert(chain);
        } else if shared.contains(chain.as_str()) && is_ours(&content) {
            let body = rule_in(table, &chain).long(rule::HANDLE, handle);
            removal.batch.push(message::DEL_RULE, 0, body, format!("delete a rule of iptables chain {chain}"));
            removal.writes += 1;
            emptied.insert(chain);
        } else {
            led_to.extend(target(&content));
            used.insert(chain);
        }
    }
    for name in ours.iter().filter(|name| filled.contains(**name)) {
        removal.batch.push(message::DEL_RULE, 0, rule_in(table, name), format!("empty iptables chain {name}"));
        removal.writes += 1;
    }
    for name in &ours {
        if led_to.contains(*name) {
            removal.held.insert((*name).to_owned());
            continue;
        }
        removal.batch.push(message::DEL_CHAIN, 0, chain_in(table, name), format!("delete iptables chain {name}"));
        removal.writes += 1;
    }
    let is_idle = |name: &str, chain: &Chain| {
        chain.base.as_ref().is_some_and(|base| base.policy == ACCEPT) && !used.contains(name)
    };
    for (name, _) in chains.iter().filter(|(name, chain)| emptied.contains(name) && is_idle(name, chain)) {
        removal.batch.push(message::DEL_CHAIN, 0, chain_in(table, name), format!("delete iptables chain {name}"));
    }
    let nothing_else = chains.iter().all(|(name, chain)| is_our_chain(name) || is_idle(name, chain));
    if removal.writes > 0 && nothing_else && !has_sets(socket, family, table)? {
        removal.batch = Batch::of(family);
        let body = Attributes::default().text(table_abi::NAME, table);
        removal.batch.push(message::DEL_TABLE, 0, body, format!("delete iptables table {table}"));
    }
    Ok(removal)
}

fn has_sets(socket: &mut Socket, family: Family, table: &str) -> io::Result<bool> {
    let sets = socket.dump(&about(family, message::GET_SET, Attributes::default().text(set::TABLE, table)))?;
    let named = |bytes: &Vec<u8>| {
        let one = Parsed::new(bytes);
        one.text(set::TABLE).as_deref() == Some(table) && one.number(set::FLAGS).unwrap_or(0) & set::ANONYMOUS == 0
    };
    Ok(sets.iter().any(named))
}

fn chain_in(table: &str, chain: &str) -> Attributes {
    Attributes::default().text(chain::TABLE, table).text(chain::NAME, chain)
}

fn rule_in(table: &str, chain: &str) -> Attributes {
    Attributes::default().text(rule::TABLE, table).text(rule::CHAIN, chain)
}

fn is_ours(rule: &CompiledRule) -> bool {
    rule.comment.as_ref().is_some_and(|comment| comment.starts_with(hash::PREFIX))
        || target(rule).is_some_and(|target| is_our_chain(&target))
}

fn target(rule: &CompiledRule) -> Option<String> {
    rule.expressions.iter().find_map(|step| match step {
        Expression::Verdict(_, target) => target.clone(),
        Expression::Meta(_)
        | Expression::SetMeta(_)
        | Expression::Tracking(_)
        | Expression::Payload { .. }
        | Expression::Routing { .. }
        | Expression::Bitwise { .. }
        | Expression::Compare(..)
        | Expression::Lookup(..)
        | Expression::VerdictOf(_)
        | Expression::Counter
        | Expression::Load(_)
        | Expression::Masquerade(_)
        | Expression::SourceNat(_)
        | Expression::Other(_) => None,
    })
}
