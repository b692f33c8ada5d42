//! Neighbour entries of IPv4.

#![expect(clippy::wildcard_enum_match_arm, reason = "netlink attributes are an open set")]

use super::{Error, MacAddress, Netlink};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::Ipv4Addr;

/// An IPv4 neighbour entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The link's index.
    pub link: u32,
    /// The neighbour's address.
    pub address: Ipv4Addr,
    /// Its Ethernet address, if it is known.
    pub mac: Option<MacAddress>,
    /// Whether someone wrote it to stay, so that the kernel never asks.
    pub permanent: bool,
}

impl Neighbour {
    fn parse(message: &NeighbourMessage) -> Option<Neighbour> {
        let address = message.attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(*ip),
            _ => None,
        })?;
        let permanent = message.header.state == NeighbourState::Permanent;
        let mac = message.attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok().map(MacAddress),
            _ => None,
        });
        Some(Neighbour { link: message.header.ifindex, address, mac, permanent })
    }
}

impl Netlink {
    /// Lists the IPv4 neighbours of the namespace.
    pub fn neighbours(&mut self) -> Result<Vec<Neighbour>, Error> {
        let mut request = NeighbourMessage::default();
        request.header.family = AddressFamily::Inet;
        self.dump(RouteNetlinkMessage::GetNeighbour(request), |reply| match reply {
            RouteNetlinkMessage::NewNeighbour(message) => Neighbour::parse(message),
            _ => None,
        })
        .map_err(|cause| cause.during("list neighbours"))
    }

    /// Deletes a neighbour entry; the kernel asks anew when it next needs the neighbour.
    pub fn delete_neighbour(&mut self, neighbour: &Neighbour) -> Result<(), Error> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = neighbour.link;
        message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(neighbour.address)));
        self.change(RouteNetlinkMessage::DelNeighbour(message), 0)
            .map_err(|cause| cause.during(format!("delete neighbour {} dev if{}", neighbour.address, neighbour.link)))
    }
}
