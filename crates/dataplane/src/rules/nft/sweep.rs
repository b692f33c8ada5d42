//! Removes what the iptables driver, or Calico in iptables mode, left behind.
//!
//! Rules of `iptables-nft` are nftables rules and ipset speaks nfnetlink too, so both are removed here without
//! any program. Only if the legacy interface has tables is `iptables-legacy-save` asked, once.

use super::abi::{chain, ipset, message, rule, subsystem};
use super::actual::{chains, read_generation, rules};
use super::compile::CompiledRule;
use super::expression::Expression;
use super::failed;
use super::socket::{Batch, Message, Refusal, Socket};
use super::wire::{Attributes, Parsed};
use crate::rules::ipset::{Release, is_our_set};
use crate::rules::iptables::{Backend, Tables, is_our_chain};
use crate::rules::model::{Ruleset, Table};
use crate::rules::{RulesError, hash, legacy};
use std::collections::BTreeSet;
use std::io;
use tracing::{debug, warn};

/// How often a ruleset that changes meanwhile is looked through again.
const ATTEMPTS: usize = 10;

/// What of iptables and ipset may still be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum OtherDriver {
    /// Rules and sets: nobody has looked.
    #[default]
    Unknown,
    /// Sets that some rule of others names.
    SetsInUse,
    /// Nothing.
    Gone,
}

impl OtherDriver {
    /// Looks for what may still be there and removes it; returns how many chains and sets were removed.
    pub(super) fn sweep(&mut self, socket: &mut Socket) -> Result<usize, RulesError> {
        let mut writes = 0;
        if *self == OtherDriver::Unknown {
            for table in Table::ALL {
                writes += sweep_table(socket, table.name())?;
            }
            if legacy::has_tables() {
                match Tables::new(Backend::Legacy).apply(&Ruleset::default()) {
                    Ok(removed) => writes += removed,
                    Err(error @ RulesError::MissingTool { .. }) => warn!(%error, "legacy tables stay as they are"),
                    Err(error) => return Err(error),
                }
            }
        }
        if *self != OtherDriver::Gone {
            let release = if writes > 0 { Release::Soon } else { Release::No };
            let (destroyed, left) = sweep_sets(socket, release);
            writes += destroyed;
            *self = if left == 0 { OtherDriver::Gone } else { OtherDriver::SetsInUse };
        }
        Ok(writes)
    }
}

/// Removes our chains and what leads to them from a table of `iptables-nft`.
fn sweep_table(socket: &mut Socket, table: &str) -> Result<usize, RulesError> {
    for _ in 0..ATTEMPTS {
        let generation = read_generation(socket)?;
        let (batch, writes) = removal(socket, table).map_err(failed(format!("read nftables table ip {table}")))?;
        if writes == 0 {
            return Ok(0);
        }
        debug!(table, chains = writes, "removing rules of iptables");
        match socket.commit(&batch, generation) {
            Ok(()) => return Ok(writes),
            Err(Refusal::Stale) => {}
            Err(Refusal::Request(operation, source)) => return Err(failed(operation)(source)),
        }
    }
    Err(RulesError::Unsettled { what: format!("rules of iptables table {table}"), rounds: ATTEMPTS })
}

/// Plans the removal: our rules in the kernel's chains, then the content of our chains, then these; those that
/// somebody else's chain leads to are only emptied.
fn removal(socket: &mut Socket, table: &str) -> io::Result<(Batch, usize)> {
    let chains = chains(socket, table)?;
    let shared: BTreeSet<&str> =
        chains.iter().filter(|(_, chain)| chain.base.is_some()).map(|(name, _)| name.as_str()).collect();
    let ours: Vec<&str> = chains.iter().map(|(name, _)| name.as_str()).filter(|name| is_our_chain(name)).collect();
    let (mut batch, mut writes) = (Batch::default(), 0);
    let (mut held, mut filled) = (BTreeSet::new(), BTreeSet::new());
    for (handle, chain, content) in rules(socket, table)? {
        if is_our_chain(&chain) {
            filled.insert(chain);
        } else if shared.contains(chain.as_str()) {
            if is_ours(&content) {
                let body = rule_in(table, &chain).long(rule::HANDLE, handle);
                batch.push(message::DEL_RULE, 0, body, format!("delete a rule of iptables chain {chain}"));
                writes += 1;
            }
        } else {
            held.extend(target(&content));
        }
    }
    for name in ours.iter().filter(|name| filled.contains(**name)) {
        batch.push(message::DEL_RULE, 0, rule_in(table, name), format!("empty iptables chain {name}"));
        writes += 1;
    }
    for name in ours.iter().filter(|name| !held.contains(**name)) {
        let body = Attributes::default().text(chain::TABLE, table).text(chain::NAME, name);
        batch.push(message::DEL_CHAIN, 0, body, format!("delete iptables chain {name}"));
        writes += 1;
    }
    Ok((batch, writes))
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
        | Expression::Payload { .. }
        | Expression::AddressType(_)
        | Expression::Compare(..)
        | Expression::Lookup(..)
        | Expression::Counter
        | Expression::Load(_)
        | Expression::Masquerade(_)
        | Expression::SourceNat(_)
        | Expression::Other(_) => None,
    })
}

/// Destroys our sets; a kernel without ipset has none, and one that somebody's rule names stays. Returns how many
/// were destroyed and how many stay.
fn sweep_sets(socket: &mut Socket, release: Release) -> (usize, usize) {
    let request = |kind, body: Attributes| Message { subsystem: subsystem::IPSET, kind, flags: 0, body };
    let version = || Attributes::default().raw(ipset::PROTOCOL, &[ipset::PROTOCOL_VERSION]);
    let names = version().number(ipset::FLAGS, ipset::NAMES_ONLY);
    let (mut destroyed, mut left) = (0, 0);
    for bytes in socket.dump(&request(ipset::LIST, names)).unwrap_or_default() {
        let Some(name) = Parsed::new(&bytes).text(ipset::SET_NAME).filter(|name| is_our_set(name)) else { continue };
        let destroy = request(ipset::DESTROY, version().text(ipset::SET_NAME, &name));
        match release.wait(|| socket.execute(&destroy)) {
            Ok(()) => destroyed += 1,
            Err(error) => {
                left += 1;
                warn!(set = name, %error, "set stays");
            }
        }
    }
    (destroyed, left)
}
