//! Routes of the main table.
//!
//! [`RouteEntry`] says as much of a route as is needed to tell two apart and to decide whose it is. What it cannot
//! say (several next hops, next-hop objects, lightweight tunnels) reads as [`NextHop::Other`] and is never written.

#![expect(clippy::wildcard_enum_match_arm, reason = "netlink attributes are an open set")]

use super::{Error, Link, Netlink};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::{Mtu, RouteProtocol};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What distinguishes routes of one table to the kernel: a second one of the same key replaces or is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteKey {
    /// The destination.
    pub prefix: IpNet,
    /// The metric: of two routes to one destination the lower is used.
    pub metric: u32,
}

/// A route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteEntry {
    /// Destination and metric.
    pub key: RouteKey,
    /// Who made it.
    pub protocol: RouteProtocol,
    /// What becomes of packets.
    pub kind: RouteKind,
    /// Where they go.
    pub next_hop: NextHop,
    /// The source address the kernel prefers for packets of its own.
    pub source: Option<IpAddr>,
    /// The largest packet, where it is not the link's MTU that says it.
    pub mtu: Option<Mtu>,
}

/// A route's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// Forwards.
    Unicast,
    /// Drops without a word.
    Blackhole,
    /// Anything else that others wrote, by the kernel's number; what we write has a variant of its own.
    Other(u8),
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// Nowhere: the route's kind says it all.
    None,
    /// Straight out of a link, by index.
    Link(u32),
    /// To a gateway behind a link.
    Gateway {
        /// The gateway's address.
        gateway: IpAddr,
        /// The link's index.
        link: u32,
        /// Whether the gateway counts as on the link whatever its address.
        onlink: bool,
    },
    /// Something this type cannot say.
    Other,
}

impl NextHop {
    /// Returns the index of the one link packets leave by.
    pub fn link(&self) -> Option<u32> {
        match self {
            NextHop::Link(link) | NextHop::Gateway { link, .. } => Some(*link),
            NextHop::None | NextHop::Other => None,
        }
    }
}

/// Writes the route as `ip route` does where it cannot name links: `dev if7`.
impl fmt::Display for RouteEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe(|index| format!("if{index}")))
    }
}

impl RouteEntry {
    /// Describes a route straight out of a link, metric 0.
    pub fn link(prefix: IpNet, link: u32, protocol: RouteProtocol) -> RouteEntry {
        RouteEntry {
            key: RouteKey { prefix, metric: 0 },
            protocol,
            kind: RouteKind::Unicast,
            next_hop: NextHop::Link(link),
            source: None,
            mtu: None,
        }
    }

    /// Writes the route as `ip route` does, with the links' names.
    pub fn describe(&self, link_name: impl Fn(u32) -> String) -> String {
        let kind = match self.kind {
            RouteKind::Unicast => String::new(),
            RouteKind::Blackhole => "blackhole ".to_owned(),
            RouteKind::Other(number) => format!("type {number} "),
        };
        let next_hop = match self.next_hop {
            NextHop::None => String::new(),
            NextHop::Link(link) => format!(" dev {}", link_name(link)),
            NextHop::Gateway { gateway, link, onlink } => {
                format!(" via {gateway} dev {}{}", link_name(link), if onlink { " onlink" } else { "" })
            }
            NextHop::Other => " with several next hops".to_owned(),
        };
        let metric = if self.key.metric == 0 { String::new() } else { format!(" metric {}", self.key.metric) };
        let mtu = self.mtu.map(|mtu| format!(" mtu {}", mtu.0)).unwrap_or_default();
        format!("{kind}{}{next_hop} proto {}{metric}{mtu}", self.key.prefix, self.protocol.0)
    }

    fn parse(message: &RouteMessage) -> Option<RouteEntry> {
        let header = &message.header;
        let any = match header.address_family {
            AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return None,
        };
        let (mut destination, mut gateway, mut link, mut source) = (any, None, None, None);
        let (mut metric, mut table, mut other) = (0, u32::from(header.table), header.tos != 0);
        let mtu = mtu(&message.attributes);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(address) => destination = ip(address)?,
                RouteAttribute::Gateway(address) => gateway = ip(address),
                RouteAttribute::PrefSource(address) => source = ip(address),
                RouteAttribute::Oif(index) => link = Some(*index),
                RouteAttribute::Priority(value) => metric = *value,
                RouteAttribute::Table(value) => table = *value,
                RouteAttribute::MultiPath(_)
                | RouteAttribute::NhId(_)
                | RouteAttribute::Encap(_)
                | RouteAttribute::Via(_) => other = true,
                _ => {}
            }
        }
        if table != u32::from(RouteHeader::RT_TABLE_MAIN) {
            return None;
        }
        let kind = match header.kind {
            RouteType::Unicast => RouteKind::Unicast,
            RouteType::BlackHole => RouteKind::Blackhole,
            kind => RouteKind::Other(kind.into()),
        };
        let next_hop = match (gateway, link) {
            _ if other => NextHop::Other,
            // IPv6 hangs every dropping route on the loopback
            _ if kind != RouteKind::Unicast => NextHop::None,
            (None, None) => NextHop::None,
            (None, Some(link)) => NextHop::Link(link),
            (Some(gateway), Some(link)) => {
                NextHop::Gateway { gateway, link, onlink: header.flags.contains(RouteFlags::Onlink) }
            }
            (Some(_), None) => NextHop::Other,
        };
        let prefix = match destination {
            IpAddr::V4(ip) => IpNet::V4(Ipv4Net::new(ip, header.destination_prefix_length).ok()?),
            IpAddr::V6(ip) => IpNet::V6(Ipv6Net::new(ip, header.destination_prefix_length).ok()?),
        };
        let protocol = RouteProtocol(header.protocol.into());
        Some(RouteEntry { key: RouteKey { prefix, metric }, protocol, kind, next_hop, source, mtu })
    }

    fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        let header = &mut message.header;
        header.address_family = family(&self.key.prefix);
        header.destination_prefix_length = self.key.prefix.prefix_len();
        header.table = RouteHeader::RT_TABLE_MAIN;
        header.protocol = self.protocol.0.into();
        header.kind = match self.kind {
            RouteKind::Unicast => RouteType::Unicast,
            RouteKind::Blackhole => RouteType::BlackHole,
            RouteKind::Other(number) => number.into(),
        };
        let attributes = &mut message.attributes;
        attributes.push(RouteAttribute::Destination(self.key.prefix.addr().into()));
        attributes.extend((self.key.metric != 0).then_some(RouteAttribute::Priority(self.key.metric)));
        attributes.extend(self.source.map(|source| RouteAttribute::PrefSource(source.into())));
        attributes.extend(self.mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu.0)])));
        match self.next_hop {
            NextHop::None | NextHop::Other => {}
            NextHop::Link(link) => {
                header.scope = RouteScope::Link;
                attributes.push(RouteAttribute::Oif(link));
            }
            NextHop::Gateway { gateway, link, onlink } => {
                if onlink {
                    header.flags = RouteFlags::Onlink;
                }
                attributes.push(RouteAttribute::Gateway(gateway.into()));
                attributes.push(RouteAttribute::Oif(link));
            }
        }
        message
    }

    /// Asks to add the route where none of its key is, or else be refused with EEXIST.
    pub fn add_request(&self) -> (RouteNetlinkMessage, u16) {
        (RouteNetlinkMessage::NewRoute(self.message()), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Asks to put the route in the place of the one with the same key, without a moment between.
    pub fn replace_request(&self) -> (RouteNetlinkMessage, u16) {
        (RouteNetlinkMessage::NewRoute(self.message()), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Asks to delete this route and no other: next hop and protocol have to agree.
    pub fn delete_request(&self) -> (RouteNetlinkMessage, u16) {
        let mut message = self.message();
        // matches any scope; those of others are not ours to guess
        message.header.scope = RouteScope::NoWhere;
        (RouteNetlinkMessage::DelRoute(message), 0)
    }
}

impl Netlink {
    /// Lists the IPv4 routes of the main table.
    pub fn routes(&mut self) -> Result<Vec<RouteEntry>, Error> {
        self.list_routes(AddressFamily::Inet, None)
    }

    /// Lists the routes of the main table, of both families, that lead out of one link.
    pub fn routes_over(&mut self, link: &Link) -> Result<Vec<RouteEntry>, Error> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            routes.extend(self.list_routes(family, Some(link.index))?);
        }
        // a kernel may answer with more than it was asked for
        routes.retain(|route| route.next_hop.link() == Some(link.index));
        Ok(routes)
    }

    /// Lists the routes of the main table to exactly this destination.
    pub fn routes_to(&mut self, prefix: IpNet) -> Result<Vec<RouteEntry>, Error> {
        let mut routes = self.list_routes(family(&prefix), None)?;
        routes.retain(|route| route.key.prefix == prefix);
        Ok(routes)
    }

    fn list_routes(&mut self, family: AddressFamily, link: Option<u32>) -> Result<Vec<RouteEntry>, Error> {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        request.header.table = RouteHeader::RT_TABLE_MAIN;
        request.attributes.extend(link.map(RouteAttribute::Oif));
        self.dump(RouteNetlinkMessage::GetRoute(request), |reply| match reply {
            RouteNetlinkMessage::NewRoute(message) => RouteEntry::parse(message),
            _ => None,
        })
        .map_err(|cause| cause.during("list routes of table main"))
    }

    /// Adds a route; refused with EEXIST if there is one of the same destination and metric.
    pub fn add_route(&mut self, route: &RouteEntry) -> Result<(), Error> {
        let (message, flags) = route.add_request();
        self.change(message, flags).map_err(|cause| cause.during(format!("add route {route}")))
    }

    /// Adds a route, or replaces the one of the same destination and metric.
    pub fn replace_route(&mut self, route: &RouteEntry) -> Result<(), Error> {
        let (message, flags) = route.replace_request();
        self.change(message, flags).map_err(|cause| cause.during(format!("replace route {route}")))
    }

    /// Deletes a route.
    pub fn delete_route(&mut self, route: &RouteEntry) -> Result<(), Error> {
        let (message, flags) = route.delete_request();
        self.change(message, flags).map_err(|cause| cause.during(format!("delete route {route}")))
    }
}

/// Finds the MTU among a route's metrics.
pub(super) fn mtu(attributes: &[RouteAttribute]) -> Option<Mtu> {
    let metrics = attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Metrics(metrics) => Some(metrics),
        _ => None,
    })?;
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) => Some(Mtu(*mtu)),
        _ => None,
    })
}

pub(super) fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

fn family(prefix: &IpNet) -> AddressFamily {
    match prefix {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_the_same() {
        let prefix = |text: &str| text.parse::<IpNet>().expect(text);
        let gateway = |onlink| NextHop::Gateway { gateway: "192.0.2.7".parse().expect("an address"), link: 4, onlink };
        for (kind, next_hop) in [
            (RouteKind::Unicast, NextHop::Link(3)),
            (RouteKind::Unicast, gateway(false)),
            (RouteKind::Unicast, gateway(true)),
            (RouteKind::Blackhole, NextHop::None),
            (RouteKind::Other(RouteType::Unreachable.into()), NextHop::None),
            (RouteKind::Other(RouteType::Prohibit.into()), NextHop::None),
        ] {
            for (cidr, metric, source, mtu) in [
                ("10.1.2.0/26", 0, None, None),
                ("10.1.2.3/32", 1024, Some("192.0.2.1".parse().expect("an address")), Some(Mtu(1380))),
            ] {
                let key = RouteKey { prefix: prefix(cidr), metric };
                let route = RouteEntry { key, protocol: RouteProtocol(80), kind, next_hop, source, mtu };
                assert_eq!(RouteEntry::parse(&route.message()), Some(route));
            }
        }
    }
}
