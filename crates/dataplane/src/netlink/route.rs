//! Routes of the main table.
//!
//! [`RouteEntry`] says as much of a route as is needed to tell two apart and to decide whose it is. What it cannot
//! say (several next hops, next-hop objects, lightweight tunnels) reads as [`NextHop::Other`] and is never written.

use super::message::{Message, Unread, address, attributes, head, number, odd};
use super::{Error, Link, Netlink};
use ipnet::IpNet;
use model::{Mtu, RouteProtocol};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteScope, RouteType,
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

    /// Tells whether packets fare the same by another route, whoever made it.
    pub fn does_as(&self, other: &RouteEntry) -> bool {
        let same = |route: &RouteEntry| (route.key, route.kind, route.next_hop, route.source, route.mtu);
        same(self) == same(other)
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

    /// Reads a route out of what the kernel says of it; nothing if the main table does not have it.
    fn read(message: &Message<'_>) -> Result<Option<RouteEntry>, Unread> {
        let Some(parts) = Parts::read(message)? else { return Ok(None) };
        if parts.table != u32::from(RouteHeader::RT_TABLE_MAIN) {
            return Ok(None);
        }
        let kind = match parts.kind {
            libc::RTN_UNICAST => RouteKind::Unicast,
            libc::RTN_BLACKHOLE => RouteKind::Blackhole,
            number => RouteKind::Other(number),
        };
        let next_hop = match (parts.gateway, parts.link) {
            _ if parts.is_other => NextHop::Other,
            // IPv6 hangs every dropping route on the loopback
            _ if kind != RouteKind::Unicast => NextHop::None,
            (None, None) => NextHop::None,
            (None, Some(link)) => NextHop::Link(link),
            (Some(gateway), Some(link)) => {
                NextHop::Gateway { gateway, link, onlink: parts.flags.contains(RouteFlags::Onlink) }
            }
            (Some(_), None) => NextHop::Other,
        };
        let key = RouteKey { prefix: parts.prefix, metric: parts.metric };
        let (protocol, source, mtu) = (parts.protocol, parts.source, parts.mtu);
        Ok(Some(RouteEntry { key, protocol, kind, next_hop, source, mtu }))
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
        let listed = self.list(RouteNetlinkMessage::GetRoute(request), RouteEntry::read);
        listed.map(|listing| listing.objects).map_err(|cause| cause.during("list routes of table main"))
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

/// `RTA_VIA`: a gateway of another family.
const VIA: u16 = 18;
/// `RTA_ENCAP`: a lightweight tunnel.
const ENCAPSULATION: u16 = 22;
/// `RTA_NH_ID`: a next-hop object.
const NEXT_HOP_OBJECT: u16 = 30;
/// `RTAX_MTU`, among the metrics.
const MTU: u16 = 2;
/// Where `struct rta_cacheinfo` has the time left.
const EXPIRES: usize = 8;

/// What the kernel says of a route, as far as anybody here looks.
pub(super) struct Parts {
    prefix: IpNet,
    table: u32,
    protocol: RouteProtocol,
    /// The number of its type.
    pub(super) kind: u8,
    flags: RouteFlags,
    pub(super) gateway: Option<IpAddr>,
    pub(super) link: Option<u32>,
    source: Option<IpAddr>,
    metric: u32,
    pub(super) mtu: Option<Mtu>,
    /// In ticks; zero for good.
    pub(super) expires: u32,
    /// Whether it has something that [`NextHop`] cannot say.
    is_other: bool,
}

impl Parts {
    /// Nothing if the message is of something else than a route of IPv4 or IPv6.
    pub(super) fn read(message: &Message<'_>) -> Result<Option<Parts>, Unread> {
        if message.kind != libc::RTM_NEWROUTE {
            return Ok(None);
        }
        // struct rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type, flags
        let (header, rest) = head::<12>(message.body).map_err(|why| why.of("a route"))?;
        let [family, length, _, tos, table, protocol, _, kind, a, b, c, d] = header;
        let any = match i32::from(family) {
            libc::AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            libc::AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return Ok(None),
        };
        let of_route = |why: Unread| why.of(format_args!("a route of table {table} and protocol {protocol}"));
        let mut parts = Parts {
            prefix: IpNet::new(any, length).map_err(|error| of_route(Unread(error.to_string())))?,
            table: table.into(),
            protocol: RouteProtocol(protocol),
            kind,
            flags: RouteFlags::from_bits_retain(u32::from_ne_bytes([a, b, c, d])),
            gateway: None,
            link: None,
            source: None,
            metric: 0,
            mtu: None,
            expires: 0,
            is_other: tos != 0,
        };
        for attribute in attributes(rest) {
            attribute.and_then(|(kind, value)| parts.take(kind, value)).map_err(of_route)?;
        }
        Ok(Some(parts))
    }

    fn take(&mut self, kind: u16, value: &[u8]) -> Result<(), Unread> {
        match kind {
            libc::RTA_DST => {
                let prefix = IpNet::new(address(kind, value)?, self.prefix.prefix_len());
                self.prefix = prefix.map_err(|error| Unread(error.to_string()))?;
            }
            libc::RTA_GATEWAY => self.gateway = Some(address(kind, value)?),
            libc::RTA_PREFSRC => self.source = Some(address(kind, value)?),
            libc::RTA_OIF => self.link = Some(number(kind, value)?),
            libc::RTA_PRIORITY => self.metric = number(kind, value)?,
            libc::RTA_TABLE => self.table = number(kind, value)?,
            libc::RTA_METRICS => {
                for metric in attributes(value) {
                    let (kind, value) = metric?;
                    if kind == MTU {
                        self.mtu = Some(Mtu(number(kind, value)?));
                    }
                }
            }
            libc::RTA_CACHEINFO => {
                let time = value.get(EXPIRES..).and_then(<[u8]>::first_chunk);
                self.expires = u32::from_ne_bytes(*time.ok_or_else(|| odd(kind, value))?);
            }
            libc::RTA_MULTIPATH | NEXT_HOP_OBJECT | ENCAPSULATION | VIA => self.is_other = true,
            _ => {}
        }
        Ok(())
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
    use super::super::message::messages;
    use super::super::message::tests::{attribute, raw};
    use super::*;
    use netlink_packet_core::Emitable;

    /// Reads a message of a body.
    fn read(body: &[u8]) -> Result<Option<RouteEntry>, Unread> {
        let datagram = raw(libc::RTM_NEWROUTE, 2, 1, 0, body);
        RouteEntry::read(&messages(&datagram).next().expect("a message"))
    }

    #[test]
    fn what_nobody_looks_at_may_have_any_form() {
        // struct rtmsg of 10.1.2.0/26, table main, protocol bird, unicast
        let header = [2, 26, 0, 0, 254, 12, 0, 1, 0, 0, 0, 0];
        let parts = [attribute(1, &[10, 1, 2, 0]), attribute(5, &[192, 0, 2, 7]), attribute(4, &[3, 0, 0, 0])].concat();
        // RTA_PREF (20) of four octets, RTA_FLOW (11) of two, and one of a kernel to come
        let odd = [attribute(20, &[0; 4]), attribute(11, &[0; 2]), attribute(77, &[1; 3])].concat();
        let route = read(&[&header[..], &parts, &odd].concat()).expect("read").expect("of table main");
        assert_eq!(route.to_string(), "10.1.2.0/26 via 192.0.2.7 dev if3 proto 12");
        let cut = read(&[&header[..], &attribute(1, &[10, 1, 2]), &parts].concat());
        let told = "a route of table 254 and protocol 12: attribute 1 of 3 octets has an unknown form";
        assert_eq!(cut, Err(Unread(told.to_owned())));
        assert_eq!(read(&header[..7]), Err(Unread("a route: 7 octets where 12 begin it".to_owned())));
    }

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
                let message = route.message();
                let mut body = vec![0; message.buffer_len()];
                message.emit(&mut body);
                assert_eq!(read(&body), Ok(Some(route)));
            }
        }
    }
}
