//! How the kernel would reach an IPv4 address, all tables and rules considered, and what fits through.

#![expect(clippy::wildcard_enum_match_arm, reason = "netlink attributes are an open set")]

use super::route::{ip, mtu};
use super::{Error, Netlink, NextHop};
use model::Mtu;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::Ipv4Addr;
use std::time::Duration;

/// The kernel tells times in ticks of `USER_HZ`, 100 a second.
const TICK: Duration = Duration::from_millis(10);

/// What a path carries, where the kernel knows of a limit beside the link's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathMtu {
    /// The largest packet.
    pub mtu: Mtu,
    /// How long the kernel believes it; none where a route says it for good.
    pub expires_in: Option<Duration>,
}

impl Netlink {
    /// Asks how the kernel would reach an address.
    pub fn reach(&mut self, address: Ipv4Addr) -> Result<NextHop, Error> {
        let Some(message) = self.look_up(address)? else { return Ok(NextHop::None) };
        let mut next_hop = (None, None);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Gateway(address) => next_hop.0 = ip(address),
                RouteAttribute::Oif(link) => next_hop.1 = Some(*link),
                _ => {}
            }
        }
        Ok(match next_hop {
            (Some(gateway), Some(link)) => NextHop::Gateway { gateway, link, onlink: false },
            (None, Some(link)) => NextHop::Link(link),
            (_, None) => NextHop::None,
        })
    }

    /// Asks what the path to an address carries: what routers on it taught the kernel, else what its route says.
    pub fn path_mtu(&mut self, address: Ipv4Addr) -> Result<Option<PathMtu>, Error> {
        let message = match self.look_up(address) {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(None),
            // there is no path
            Err(error) if error.errno().is_some() => return Ok(None),
            Err(error) => return Err(error),
        };
        let expires = message.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::CacheInfo(cache) => Some(cache.expires),
            _ => None,
        });
        let expires_in = expires.filter(|ticks| *ticks > 0).map(|ticks| TICK * ticks);
        Ok(mtu(&message.attributes).map(|mtu| PathMtu { mtu, expires_in }))
    }

    /// Returns the kernel's choice of a route; `None` if it is one that does not forward.
    fn look_up(&mut self, address: Ipv4Addr) -> Result<Option<RouteMessage>, Error> {
        let mut request = RouteMessage::default();
        request.header.address_family = AddressFamily::Inet;
        request.header.destination_prefix_length = 32;
        request.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(address)));
        match self.query(RouteNetlinkMessage::GetRoute(request)) {
            Ok(RouteNetlinkMessage::NewRoute(message)) if message.header.kind == RouteType::Unicast => {
                Ok(Some(message))
            }
            Ok(_) => Ok(None),
            Err(cause) => Err(cause.during(format!("look up the route to {address}"))),
        }
    }
}
