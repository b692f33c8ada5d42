//! Removes every packet rule of ours from this network namespace: both drivers', and Calico's of both address families.
//!
//! Nothing is known but what the kernel shows, and nothing stops at a failure. Programs are asked only where the
//! legacy interface has tables, whose format is theirs.

use super::abi::{message, table as table_abi};
use super::actual::{Presence, presence_of, read_generation};
use super::socket::{Batch, Family, Refusal, Socket};
use super::sweep::{sweep_sets, sweep_table};
use super::wire::Attributes;
use super::{ROUNDS, TABLE, failed, is_unsupported};
use crate::rules::ipset::{IPV6_PREFIXES, Release, is_our_set};
use crate::rules::iptables::{Backend, Tables};
use crate::rules::model::{Ruleset, Table};
use crate::rules::{RulesError, legacy};

/// nftables' tables that are ours by name. Calico makes the last two: Tortie's agent keeps no IPv6 rules.
pub(super) const TABLES: [(Family, &str); 3] =
    [(Family::Ipv4, TABLE), (Family::Ipv6, TABLE), (Family::Arp, "calico-arp")];
/// `MAX_ERRNO`.
const LAST_ERRNO: i32 = 4095;

/// Removes chains, rules, tables and sets of ours; tells `removed` of each kind that goes, and returns what stays.
pub(in crate::rules) fn purge(removed: &mut dyn FnMut(String)) -> Vec<RulesError> {
    let mut left = Vec::new();
    let mut release = Release::No;
    let mut socket = match Socket::open().map_err(failed("open an nfnetlink socket")) {
        Ok(socket) => socket,
        Err(error) => return vec![error],
    };
    for (family, name) in TABLES {
        match delete_table(&mut socket, family, name) {
            Ok(Presence::Absent) => {}
            Ok(Presence::Present | Presence::Unusable) => {
                removed(format!("nftables table {} {name}", family.name()));
            }
            Err(error) => left.push(error),
        }
    }
    for family in [Family::Ipv4, Family::Ipv6] {
        for table in Table::ALL {
            let words = format!("iptables table {} of family {}", table.name(), family.name());
            match sweep_table(&mut socket, family, table) {
                Ok(removal) => {
                    if removal.writes > 0 {
                        removed(format!("our chains and rules of {words}"));
                        release = Release::Soon;
                    }
                    left.extend(
                        removal.held.into_iter().map(|chain| RulesError::InUse {
                            what: format!("chain {chain} of {words}, which is empty"),
                        }),
                    );
                }
                Err(error) => left.push(error),
            }
        }
    }
    for (backend, is_there) in
        [(Backend::Legacy, legacy::has_tables()), (Backend::LegacyIpv6, legacy::has_ipv6_tables())]
    {
        let apply = |is_there| if is_there { Tables::new(backend).apply(&Ruleset::default()) } else { Ok(0) };
        match is_there.and_then(apply) {
            Ok(0) => {}
            Ok(_) => {
                removed(format!("our chains and rules of {}", backend.words()));
                release = Release::Soon;
            }
            Err(error) => left.push(error),
        }
    }
    let is_ours = |name: &str| is_our_set(name) || IPV6_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let swept = sweep_sets(&mut socket, release, is_ours).unwrap_or_else(|error| {
        left.push(error);
        Vec::new()
    });
    for (name, outcome) in swept {
        match outcome {
            Ok(()) => removed(format!("set {name}")),
            // ipset's own numbers lie above the kernel's: the set is in use
            Err(error) if error.raw_os_error().is_some_and(|number| number > LAST_ERRNO) => {
                left.push(RulesError::InUse { what: format!("set {name}") });
            }
            Err(error) => left.push(failed(format!("destroy set {name}"))(error)),
        }
    }
    left
}

/// Deletes a table with all its content; returns whether it was there.
fn delete_table(socket: &mut Socket, family: Family, name: &str) -> Result<Presence, RulesError> {
    let words = format!("nftables table {} {name}", family.name());
    let presence = match presence_of(socket, family, name) {
        Err(error) if is_unsupported(&error) => Presence::Absent,
        presence => presence.map_err(failed(format!("read {words}")))?,
    };
    if presence == Presence::Absent {
        return Ok(presence);
    }
    let mut batch = Batch::of(family);
    batch.push(message::DEL_TABLE, 0, Attributes::default().text(table_abi::NAME, name), format!("delete {words}"));
    for _ in 0..ROUNDS {
        let generation = read_generation(socket)?;
        match socket.commit(&batch, generation) {
            Ok(()) => return Ok(presence),
            Err(Refusal::Stale) => {}
            Err(Refusal::Request(operation, source)) => return Err(failed(operation)(source)),
        }
    }
    Err(RulesError::Unsettled { what: words, rounds: ROUNDS })
}
