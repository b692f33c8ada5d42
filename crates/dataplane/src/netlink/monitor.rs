//! What changes in the kernel's links, addresses, routes, filters and parameters, as it happens.
//!
//! A hint, never the truth: the kernel drops notifications when nobody reads them in time, does not announce IPv4
//! routes that vanish with their link, and says of a parameter only that one of its link's has changed, and only of
//! some (`forwarding`, `proxy_arp`, `proxy_ndp`, `rp_filter`; that IPv6 has been turned on for a link, but not off).
//! Whoever listens lists the objects again.

use super::listener::{Heard, Listener, Protocol};
use super::message::{Message, attributes, number};
use super::{Cause, Error};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};

/// `RTNLGRP_LINK`, `RTNLGRP_TC`, `RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV4_ROUTE`, `RTNLGRP_IPV4_RULE`,
/// `RTNLGRP_IPV6_IFINFO`, `RTNLGRP_IPV4_NETCONF`, `RTNLGRP_IPV6_NETCONF`.
const GROUPS: [u32; 8] = [1, 4, 5, 7, 8, 12, 24, 25];
/// `NETCONFA_IFINDEX`, behind the address family and its padding.
const PARAMETER_LINK: u16 = 1;
/// `AF_INET6`, the family of what is said of a link's IPv6.
const IPV6: u8 = 10;

/// Something that changed in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// A link appeared, changed its state, or is gone.
    Link,
    /// An IPv4 address came or went.
    Address,
    /// Someone else changed an IPv4 route, or a rule that says which table is asked.
    Route,
    /// Someone else changed a traffic filter or a queueing discipline.
    Filter,
    /// A parameter of the link with this index changed; of all links, or of those to come, if none.
    Parameter(Option<u32>),
    /// Notifications were lost: anything may have changed.
    Overrun,
}

/// A socket that hears of links, addresses, routes, filters and parameters.
pub struct Monitor {
    listener: Listener,
    own_port: u32,
}

impl Monitor {
    /// Listens in the calling thread's network namespace, deaf to changes of routes and filters by the socket
    /// `own_port`. What is not read waits in a buffer of the given size, and is lost beyond it.
    pub fn open(own_port: u32, buffer: usize) -> Result<Monitor, Error> {
        match Listener::open(Protocol::Route, &GROUPS, buffer) {
            Ok(listener) => Ok(Monitor { listener, own_port }),
            Err(error) => Err(Cause::Socket(error).during("listen for changes in the kernel")),
        }
    }

    /// Returns what was heard since the last call, each change once, without waiting.
    pub fn read(&mut self) -> Result<BTreeSet<Change>, Error> {
        let mut changes = BTreeSet::new();
        match self.listener.read(|announcement| changes.extend(change(announcement, self.own_port))) {
            Ok(Heard::Everything) => {}
            Ok(Heard::NotAll) => drop(changes.insert(Change::Overrun)),
            Err(error) => return Err(Cause::Socket(error).during("hear of changes in the kernel")),
        }
        Ok(changes)
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

fn change(announcement: &Message<'_>, own_port: u32) -> Option<Change> {
    let others = announcement.port != own_port;
    match announcement.kind {
        libc::RTM_NEWLINK | libc::RTM_DELLINK if announcement.body.first() == Some(&IPV6) => {
            ipv6_link(announcement.body).map(|link| Change::Parameter(Some(link)))
        }
        libc::RTM_NEWLINK | libc::RTM_DELLINK => Some(Change::Link),
        libc::RTM_NEWADDR | libc::RTM_DELADDR => Some(Change::Address),
        libc::RTM_NEWROUTE | libc::RTM_DELROUTE | libc::RTM_NEWRULE | libc::RTM_DELRULE => {
            others.then_some(Change::Route)
        }
        libc::RTM_NEWQDISC | libc::RTM_DELQDISC | libc::RTM_NEWTFILTER | libc::RTM_DELTFILTER => {
            others.then_some(Change::Filter)
        }
        libc::RTM_NEWNETCONF => Some(Change::Parameter(parameter_link(announcement.body))),
        _ => None,
    }
}

/// Finds whose IPv6 a message is about: `struct ifinfomsg` has the index behind family, padding and type.
fn ipv6_link(body: &[u8]) -> Option<u32> {
    body.get(4..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

/// Finds whose parameters a message is about; a negative index stands for all links, or for those to come.
fn parameter_link(body: &[u8]) -> Option<u32> {
    let (_, value) = attributes(body.get(4..)?).map_while(Result::ok).find(|(kind, _)| *kind == PARAMETER_LINK)?;
    number(PARAMETER_LINK, value).ok()?.cast_signed().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::super::message::messages;
    use super::super::message::tests::raw;
    use super::*;

    fn message(kind: u16, port: u32, body: &[u8]) -> Vec<u8> {
        raw(kind, 0, 0, port, body)
    }

    /// `struct netconfmsg` of IPv4, then `NETCONFA_FORWARDING` (2) and `NETCONFA_IFINDEX` (1).
    fn parameters_of(link: i32) -> Vec<u8> {
        let mut body = vec![2, 0, 0, 0, 8, 0, 2, 0, 1, 0, 0, 0, 8, 0, 1, 0];
        body.extend(link.to_ne_bytes());
        body
    }

    #[test]
    fn a_datagram_may_hold_several_messages() {
        let mut datagram = message(libc::RTM_NEWROUTE, 7, &[0; 12]);
        datagram.extend(message(libc::RTM_NEWROUTE, 8, &[0; 12]));
        datagram.extend(message(libc::RTM_NEWNETCONF, 0, &parameters_of(5)));
        datagram.extend(message(libc::RTM_NEWNETCONF, 0, &parameters_of(-1)));
        datagram.extend(message(libc::RTM_NEWLINK, 0, &[10, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
        datagram.extend(message(libc::RTM_NEWLINK, 0, &[0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
        datagram.extend(message(libc::RTM_DELTFILTER, 7, &[]));
        datagram.extend(message(libc::RTM_NEWNEIGH, 0, &[]));
        datagram.extend([9, 0, 0, 0]);
        let changes: Vec<Change> = messages(&datagram).filter_map(|one| change(&one, 8)).collect();
        let parameter = Change::Parameter;
        let of_links = [parameter(Some(5)), parameter(None), parameter(Some(6)), Change::Link];
        assert_eq!(changes, [&[Change::Route][..], &of_links, &[Change::Filter]].concat());
    }

    #[test]
    fn nonsense_is_no_change() {
        for body in [&[][..], &[2, 0, 0, 0], &[2, 0, 0, 0, 0, 0, 0, 0], &[2, 0, 0, 0, 8, 0, 1, 0, 1]] {
            assert_eq!(parameter_link(body), None, "{body:?}");
        }
    }
}
