//! Neighbour entries of IPv4.

use super::message::{Message, Unread, address, attributes, head};
use super::{Error, MacAddress, Netlink};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::{IpAddr, Ipv4Addr};

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
    /// Reads a neighbour out of what the kernel says of it; nothing if it is of no IPv4 address.
    fn read(message: &Message<'_>) -> Result<Option<Neighbour>, Unread> {
        if message.kind != libc::RTM_NEWNEIGH {
            return Ok(None);
        }
        // struct ndmsg: family and padding, index, state, flags, type
        let (header, rest) = head::<12>(message.body).map_err(|why| why.of("a neighbour"))?;
        let [_, _, _, _, a, b, c, d, e, f, _, _] = header;
        let (link, state) = (u32::from_ne_bytes([a, b, c, d]), u16::from_ne_bytes([e, f]));
        let of_link = |why: Unread| why.of(format_args!("a neighbour on link {link}"));
        let (mut ip, mut mac) = (None, None);
        for attribute in attributes(rest) {
            let (kind, value) = attribute.map_err(of_link)?;
            match kind {
                libc::NDA_DST => ip = Some(address(kind, value).map_err(of_link)?),
                libc::NDA_LLADDR => mac = value.try_into().ok().map(MacAddress),
                _ => {}
            }
        }
        let Some(IpAddr::V4(address)) = ip else { return Ok(None) };
        Ok(Some(Neighbour { link, address, mac, permanent: state == libc::NUD_PERMANENT }))
    }
}

impl Netlink {
    /// Lists the IPv4 neighbours of the namespace.
    pub fn neighbours(&mut self) -> Result<Vec<Neighbour>, Error> {
        let mut request = NeighbourMessage::default();
        request.header.family = AddressFamily::Inet;
        let listed = self.list(RouteNetlinkMessage::GetNeighbour(request), Neighbour::read);
        listed.map(|listing| listing.objects).map_err(|cause| cause.during("list neighbours"))
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
