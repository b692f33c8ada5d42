//! How the kernel would reach an IPv4 address, all tables and rules considered, and what fits through.

use super::route::Parts;
use super::{Error, Netlink, NextHop};
use model::Mtu;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
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
        let Some(route) = self.look_up(address)? else { return Ok(NextHop::None) };
        Ok(match (route.gateway, route.link) {
            (Some(gateway), Some(link)) => NextHop::Gateway { gateway, link, onlink: false },
            (None, Some(link)) => NextHop::Link(link),
            (_, None) => NextHop::None,
        })
    }

    /// Asks what the path to an address carries: what routers on it taught the kernel, else what its route says.
    pub fn path_mtu(&mut self, address: Ipv4Addr) -> Result<Option<PathMtu>, Error> {
        let route = match self.look_up(address) {
            Ok(Some(route)) => route,
            Ok(None) => return Ok(None),
            // there is no path
            Err(error) if error.errno().is_some() => return Ok(None),
            Err(error) => return Err(error),
        };
        let expires_in = Some(route.expires).filter(|ticks| *ticks > 0).map(|ticks| TICK * ticks);
        Ok(route.mtu.map(|mtu| PathMtu { mtu, expires_in }))
    }

    /// Returns the kernel's choice of a route; `None` if it is one that does not forward.
    fn look_up(&mut self, address: Ipv4Addr) -> Result<Option<Parts>, Error> {
        let mut request = RouteMessage::default();
        request.header.address_family = AddressFamily::Inet;
        request.header.destination_prefix_length = 32;
        request.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(address)));
        let route = self.ask(RouteNetlinkMessage::GetRoute(request), Parts::read);
        let route = route.map_err(|cause| cause.during(format!("look up the route to {address}")))?;
        Ok((route.kind == libc::RTN_UNICAST).then_some(route))
    }
}
