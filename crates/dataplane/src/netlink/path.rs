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

/// By which link packets to an address leave, and what the path carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The link's index; of several paths the one that the kernel takes for these two addresses.
    pub link: u32,
    /// The largest packet, where the kernel knows of a limit beside the link's own.
    pub mtu: Option<Mtu>,
    /// How long the kernel believes that; none where a route says it for good.
    pub expires_in: Option<Duration>,
}

impl Netlink {
    /// Asks how the kernel would reach an address.
    pub fn reach(&mut self, address: Ipv4Addr) -> Result<NextHop, Error> {
        let Some(route) = self.look_up(None, address)? else { return Ok(NextHop::None) };
        Ok(match (route.gateway, route.link) {
            (Some(gateway), Some(link)) => NextHop::Gateway { gateway, link, onlink: false },
            (None, Some(link)) => NextHop::Link(link),
            (_, None) => NextHop::None,
        })
    }

    /// Asks for the path from an address of this node's to another's: what routers on it taught the kernel, else what
    /// its route says. `None` if there is no path.
    pub fn path(&mut self, from: Ipv4Addr, to: Ipv4Addr) -> Result<Option<Path>, Error> {
        let route = match self.look_up(Some(from), to) {
            Ok(Some(route)) => route,
            Ok(None) => return Ok(None),
            Err(error) if error.errno().is_some() => return Ok(None),
            Err(error) => return Err(error),
        };
        let expires_in = Some(route.expires).filter(|ticks| *ticks > 0).map(|ticks| TICK * ticks);
        Ok(route.link.map(|link| Path { link, mtu: route.mtu, expires_in }))
    }

    /// Returns the kernel's choice of a route; `None` if it is one that does not forward.
    fn look_up(&mut self, from: Option<Ipv4Addr>, address: Ipv4Addr) -> Result<Option<Parts>, Error> {
        let mut request = RouteMessage::default();
        request.header.address_family = AddressFamily::Inet;
        request.header.destination_prefix_length = 32;
        request.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(address)));
        if let Some(from) = from {
            request.header.source_prefix_length = 32;
            request.attributes.push(RouteAttribute::Source(RouteAddress::Inet(from)));
        }
        let route = self.ask(RouteNetlinkMessage::GetRoute(request), Parts::read);
        let route = route.map_err(|cause| cause.during(format!("look up the route to {address}")))?;
        Ok((route.kind == libc::RTN_UNICAST).then_some(route))
    }
}
