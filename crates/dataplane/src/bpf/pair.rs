//! The veth pair `tunl0` and `tunl0p`: made, compared and removed over rtnetlink.
//!
//! Operators and routes see `tunl0`; `tunl0p` only hands packets to the encap program. Neither answers ARP nor
//! has an IPv6 address. The names say what is ours: a veth end called either way is, and makes room if it has lost
//! the other; a device of another kind is not, and stays.

#![expect(clippy::wildcard_enum_match_arm, reason = "netlink attributes are an open set")]

use crate::netlink::{Cause, Error, Link, MacAddress, Netlink, Veth};
use model::Mtu;
use model::name::{IPIP_DEVICE, IfName};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkMessage};
use nix::errno::Errno;

/// The end that only the encap program serves.
pub(crate) const PEER: &str = "tunl0p";
/// Locally administered, then the letters of the name.
pub(super) const TUNNEL_MAC: MacAddress = MacAddress(*b"\x0atunl0");
pub(super) const PEER_MAC: MacAddress = MacAddress(*b"\x0atunlp");

/// Both ends.
pub(super) struct Pair {
    pub(super) tunnel: End,
    pub(super) peer: End,
}

/// One end as the kernel has it.
pub(super) struct End {
    pub(super) link: Link,
    noarp: bool,
    ipv6: Ipv6Addresses,
}

/// Whether the kernel gives a link IPv6 addresses by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ipv6Addresses {
    Generated,
    Never,
}

/// What the names stand for.
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// Our pair.
    Pair(Box<Pair>),
    /// One of our names on a veth whose other end has not the other.
    Stray(Link),
    /// Another kind of device.
    Other(Link),
}

/// Looks for the pair.
pub(super) fn find(netlink: &mut Netlink) -> Result<Found, Error> {
    let (tunnel, peer) = match (netlink.link(&IfName::from(IPIP_DEVICE))?, netlink.link(&IfName::from(PEER))?) {
        (None, None) => return Ok(Found::Nothing),
        (Some(other), _) | (None, Some(other)) if other.kind != "veth" => return Ok(Found::Other(other)),
        (Some(stray), None) | (None, Some(stray)) => return Ok(Found::Stray(stray)),
        (Some(tunnel), Some(peer)) => (tunnel, peer),
    };
    if other_end(netlink, &tunnel)? != Some(peer.index) {
        return Ok(Found::Stray(tunnel));
    }
    let pair = Pair { tunnel: inspect(netlink, tunnel)?, peer: inspect(netlink, peer)? };
    Ok(Found::Pair(Box::new(pair)))
}

/// Makes the pair, down.
pub(super) fn create(netlink: &mut Netlink, mtu: Mtu) -> Result<(), Error> {
    let veth = Veth {
        name: IfName::from(IPIP_DEVICE),
        mac: Some(TUNNEL_MAC),
        peer_name: IfName::from(PEER),
        peer_mac: Some(PEER_MAC),
        peer_queue_length: None,
        mtu,
        queues: 1,
    };
    netlink.create_veth(&veth, None)
}

impl Pair {
    fn ends(&self) -> [(&End, MacAddress); 2] {
        [(&self.peer, PEER_MAC), (&self.tunnel, TUNNEL_MAC)]
    }

    /// Says whether both ends are as [`Pair::settle`] leaves them.
    pub(super) fn is_settled(&self, mtu: Mtu) -> bool {
        self.ends().into_iter().all(|(end, mac)| {
            end.link.mac == Some(mac)
                && end.link.mtu == mtu
                && end.link.admin_up
                && end.noarp
                && end.ipv6 == Ipv6Addresses::Never
        })
    }

    /// Brings both ends to their MACs, MTU and flags, and up; what is right is not written.
    pub(super) fn settle(&self, netlink: &mut Netlink, mtu: Mtu) -> Result<(), Error> {
        for (End { link, noarp, ipv6 }, mac) in self.ends() {
            // before the link comes up: an address made then would stay
            if *ipv6 == Ipv6Addresses::Generated {
                generate_no_addresses(netlink, link)?;
            }
            if link.mac != Some(mac) {
                netlink.set_link_mac(link, mac)?;
            }
            if link.mtu != mtu {
                netlink.set_link_mtu(link, mtu)?;
            }
            if !noarp {
                netlink.set_link_noarp(link)?;
            }
            if !link.admin_up {
                netlink.set_link_up(link)?;
            }
        }
        Ok(())
    }
}

/// Reads what [`Link`] does not tell.
fn attributes(netlink: &mut Netlink, link: &Link) -> Result<LinkMessage, Error> {
    match netlink.query(RouteNetlinkMessage::GetLink(to(link))) {
        Ok(RouteNetlinkMessage::NewLink(message)) => Ok(message),
        Ok(_) => Err(Cause::Unreadable("not a link".to_owned()).during(format!("read link {}", link.name))),
        Err(cause) => Err(cause.during(format!("read link {}", link.name))),
    }
}

fn other_end(netlink: &mut Netlink, link: &Link) -> Result<Option<u32>, Error> {
    Ok(attributes(netlink, link)?.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Link(index) => Some(*index),
        _ => None,
    }))
}

fn inspect(netlink: &mut Netlink, link: Link) -> Result<End, Error> {
    let message = attributes(netlink, &link)?;
    let ipv6 = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::AfSpecUnspec(families) => Some(ipv6_addresses(families)),
        _ => None,
    });
    Ok(End { link, noarp: message.header.flags.contains(LinkFlags::Noarp), ipv6: ipv6.unwrap_or(Ipv6Addresses::Never) })
}

/// Without IPv6 in the kernel there is no such part, and no address.
fn ipv6_addresses(families: &[AfSpecUnspec]) -> Ipv6Addresses {
    let mode = families.iter().find_map(|family| match family {
        AfSpecUnspec::Inet6(parts) => parts.iter().find_map(|part| match part {
            AfSpecInet6::AddrGenMode(mode) => Some(*mode),
            _ => None,
        }),
        _ => None,
    });
    match mode {
        None | Some(In6AddrGenMode::None) => Ipv6Addresses::Never,
        Some(_) => Ipv6Addresses::Generated,
    }
}

fn generate_no_addresses(netlink: &mut Netlink, link: &Link) -> Result<(), Error> {
    let mut message = to(link);
    let never = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    message.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![never])]));
    match netlink.change(RouteNetlinkMessage::SetLink(message), 0) {
        Ok(()) | Err(Cause::Refused { errno: Errno::EAFNOSUPPORT, .. }) => Ok(()),
        Err(cause) => Err(cause.during(format!("set link {} addrgenmode none", link.name))),
    }
}

fn to(link: &Link) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = link.index;
    message
}
