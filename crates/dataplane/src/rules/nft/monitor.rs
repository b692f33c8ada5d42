//! What is done to packet rules, as it happens, by whomever.
//!
//! nftables announces each object of a batch and then the ruleset's new generation. Only our own table counts, and
//! of the tables of `iptables-nft` our chains and the kernel's own: other programs write theirs all day. A driver
//! knows by the generation whether it has read its part since. `iptables-legacy` and `ipset` announce nothing.

use super::TABLE;
use super::abi::{IPV4, chain, generation, message, rule, subsystem, table};
use super::socket::SUBHEADER;
use super::wire::Parsed;
use crate::netlink::{Heard, Listener, Protocol};
use crate::rules::iptables::is_our_chain;
use crate::rules::model::{Hook, Table};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// `NFNLGRP_NFTABLES`.
const GROUP: u32 = 7;

/// Something that was done to packet rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// The nftables driver's table was touched; the ruleset has this generation since.
    Nftables(u32),
    /// A chain that the iptables driver writes to was touched; the ruleset has this generation since.
    Iptables(u32),
    /// Announcements were lost: anything may have changed.
    Overrun,
}

/// A socket that hears of packet rules.
pub struct Monitor {
    listener: Listener,
    /// What the batch under way has touched; its end brings the generation.
    touched: BTreeSet<Concern>,
}

/// Whose business a touched object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Concern {
    Nftables,
    Iptables,
}

impl Monitor {
    /// Listens in the calling thread's network namespace; fails where the kernel has no nftables.
    pub fn open(buffer: usize) -> io::Result<Monitor> {
        Ok(Monitor { listener: Listener::open(Protocol::Netfilter, &[GROUP], buffer)?, touched: BTreeSet::new() })
    }

    /// Returns what was heard since the last call, the latest of each kind, without waiting.
    pub fn read(&mut self) -> io::Result<Vec<Change>> {
        let Monitor { listener, touched } = self;
        let (mut nftables, mut iptables) = (None, None);
        let heard = listener.read(|announcement| {
            let Some(attributes) = announcement.body.get(SUBHEADER..) else { return };
            let [subsystem, kind] = announcement.kind.to_be_bytes();
            if subsystem != subsystem::NFTABLES {
                return;
            }
            let attributes = Parsed::new(attributes);
            if kind != message::NEW_GENERATION {
                touched.extend(concern(kind, announcement.body[0], &attributes));
            } else if let Some(generation) = attributes.number(generation::ID) {
                for concern in std::mem::take(touched) {
                    match concern {
                        Concern::Nftables => nftables = Some(Change::Nftables(generation)),
                        Concern::Iptables => iptables = Some(Change::Iptables(generation)),
                    }
                }
            }
        })?;
        let lost = (heard == Heard::NotAll).then_some(Change::Overrun);
        Ok([nftables, iptables, lost].into_iter().flatten().collect())
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// Decides whose business an object is.
fn concern(kind: u8, family: u8, attributes: &Parsed<'_>) -> Option<Concern> {
    // the name of its table is the first attribute of every object, and of the table itself
    let name = attributes.text(table::NAME).filter(|_| family == IPV4)?;
    if name == TABLE {
        return Some(Concern::Nftables);
    }
    if Table::ALL.iter().all(|table| table.name() != name) {
        return None;
    }
    let chain = match kind {
        message::NEW_CHAIN | message::DEL_CHAIN => attributes.text(chain::NAME)?,
        message::NEW_RULE | message::DEL_RULE => attributes.text(rule::CHAIN)?,
        message::NEW_TABLE | message::DEL_TABLE => return Some(Concern::Iptables),
        _ => return None,
    };
    let is_kernels = Hook::ALL.iter().any(|hook| hook.name() == chain);
    (is_kernels || is_our_chain(&chain)).then_some(Concern::Iptables)
}

/// Whether a reading of the ruleset at generation `read` shows what was done up to generation `change`; the counter
/// may wrap.
pub(in crate::rules) fn shows(read: u32, change: u32) -> bool {
    read.wrapping_sub(change).cast_signed() >= 0
}

#[cfg(test)]
mod tests {
    use super::super::wire::Attributes;
    use super::*;

    #[test]
    fn a_reading_shows_what_came_before_it() {
        assert!(shows(7, 7) && shows(8, 7) && shows(2, u32::MAX));
        assert!(!shows(7, 8) && !shows(u32::MAX, 2));
    }

    #[test]
    fn only_ours_counts() {
        let of = |kind, family, attributes: Attributes| concern(kind, family, &Parsed::new(attributes.bytes()));
        let named = |table: &str| Attributes::default().text(1, table);
        assert_eq!(of(message::DEL_TABLE, 2, named("calico")), Some(Concern::Nftables));
        assert_eq!(of(message::NEW_ELEMENTS, 2, named("calico")), Some(Concern::Nftables));
        assert_eq!(of(message::DEL_TABLE, 10, named("calico")), None, "the table of IPv6");
        assert_eq!(of(message::DEL_TABLE, 2, named("office")), None);
        assert_eq!(of(message::DEL_TABLE, 2, named("nat")), Some(Concern::Iptables));
        for (chain, expect) in [
            ("cali-nat-outgoing", Some(Concern::Iptables)),
            ("POSTROUTING", Some(Concern::Iptables)),
            ("KUBE-SERVICES", None),
        ] {
            assert_eq!(of(message::DEL_RULE, 2, named("nat").text(2, chain)), expect, "a rule in {chain}");
            assert_eq!(of(message::NEW_CHAIN, 2, named("nat").text(3, chain)), expect, "chain {chain}");
            assert_eq!(of(message::DEL_RULE, 2, named("office").text(2, chain)), None, "a rule in another's {chain}");
        }
    }
}
