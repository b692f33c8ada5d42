//! Removes what the iptables driver, or Calico in iptables mode, left behind.
//!
//! Rules of `iptables-nft` are nftables rules and ipset speaks nfnetlink too, so both are removed here without
//! any program. Only if the legacy interface has tables is `iptables-legacy-save` asked, once.

use super::abi::{ipset, subsystem};
use super::actual::read_generation;
use super::removal::{self, Removal};
use super::socket::{Family, Message, Refusal, Socket};
use super::wire::{Attributes, Parsed};
use super::{failed, is_unsupported};
use crate::rules::ipset::{Release, is_our_set};
use crate::rules::iptables::{Backend, sweep_legacy};
use crate::rules::model::Table;
use crate::rules::{RulesError, calico};
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
            writes += sweep_iptables(socket)? + sweep_legacy()?;
        }
        if *self != OtherDriver::Gone {
            let release = if writes > 0 { Release::Soon } else { Release::No };
            let mut left = 0;
            for (set, outcome) in sweep_sets(socket, release, is_our_set)? {
                match outcome {
                    Ok(()) => writes += 1,
                    Err(error) => {
                        left += 1;
                        warn!(set, %error, "set stays");
                    }
                }
            }
            *self = if left == 0 { OtherDriver::Gone } else { OtherDriver::SetsInUse };
        }
        Ok(writes)
    }
}

/// Removes what is ours from the IPv4 tables of `iptables-nft`.
pub(super) fn sweep_iptables(socket: &mut Socket) -> Result<usize, RulesError> {
    let (mut chains, mut writes) = (BTreeSet::new(), 0);
    for table in Table::ALL {
        let removal = sweep_table(socket, Family::Ipv4, table)?;
        writes += removal.writes;
        chains.extend(removal.chains);
    }
    calico::tell_of_sweep(Backend::Nft.words(), &chains, writes);
    Ok(writes)
}

/// Removes what is ours from a table of `iptables-nft`; returns what was done.
pub(super) fn sweep_table(socket: &mut Socket, family: Family, table: Table) -> Result<Removal, RulesError> {
    let (family_name, table) = (family.name(), table.name());
    for _ in 0..ATTEMPTS {
        let generation = read_generation(socket)?;
        let removal = removal::plan(socket, family, table)
            .map_err(failed(format!("read nftables table {family_name} {table}")))?;
        if removal.writes == 0 {
            return Ok(removal);
        }
        debug!(table, chains = removal.writes, "removing rules of iptables");
        match socket.commit(&removal.batch, generation) {
            Ok(()) => return Ok(removal),
            Err(Refusal::Stale) => {}
            Err(Refusal::Request(operation, source)) => return Err(failed(operation)(source)),
        }
    }
    Err(RulesError::Unsettled { what: format!("rules of {family_name} iptables table {table}"), rounds: ATTEMPTS })
}

/// Destroys the sets of the given names and says of each whether it is gone: one that a rule names stays.
pub(super) fn sweep_sets(
    socket: &mut Socket,
    release: Release,
    is_ours: impl Fn(&str) -> bool,
) -> Result<Vec<(String, io::Result<()>)>, RulesError> {
    let ours: Vec<String> = set_names(socket)?.into_iter().filter(|name| is_ours(name)).collect();
    let destroy = |name: String| {
        let request = about_sets(ipset::DESTROY, version().text(ipset::SET_NAME, &name));
        let outcome = release.wait(|| socket.execute(&request));
        (name, outcome)
    };
    Ok(ours.into_iter().map(destroy).collect())
}

/// Names the kernel's sets; a kernel without ipset has none.
pub(super) fn set_names(socket: &mut Socket) -> Result<Vec<String>, RulesError> {
    let request = about_sets(ipset::LIST, version().number(ipset::FLAGS, ipset::NAMES_ONLY));
    match socket.dump(&request) {
        Ok(listed) => Ok(listed.iter().filter_map(|bytes| Parsed::new(bytes).text(ipset::SET_NAME)).collect()),
        Err(error) if is_unsupported(&error) => Ok(Vec::new()),
        Err(error) => Err(failed("read the names of ipset's sets")(error)),
    }
}

fn version() -> Attributes {
    Attributes::default().raw(ipset::PROTOCOL, &[ipset::PROTOCOL_VERSION])
}

fn about_sets(kind: u8, body: Attributes) -> Message {
    Message { subsystem: subsystem::IPSET, family: Family::Ipv4, kind, flags: 0, body }
}
