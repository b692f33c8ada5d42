//! Interface addresses.

use super::message::{Message, Unread, address, attributes, head};
use super::{Cause, Error, Link, Listing, Netlink};
use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

/// An address on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The link's index.
    pub link: u32,
    /// The address itself, with the length of the subnet it stands for.
    pub net: IpNet,
    /// Whether it is good on its link only (`scope link`, IPv6 link-local).
    pub link_scope: bool,
}

impl Address {
    /// Reads an address out of what the kernel says of it; nothing if the message is of something else.
    fn read(message: &Message<'_>) -> Result<Option<Address>, Unread> {
        if message.kind != libc::RTM_NEWADDR {
            return Ok(None);
        }
        // struct ifaddrmsg: family, prefix length, flags, scope, index
        let (header, rest) = head::<8>(message.body).map_err(|why| why.of("an address"))?;
        let [_, prefix_length, _, scope, a, b, c, d] = header;
        let link = u32::from_ne_bytes([a, b, c, d]);
        let of_link = |why: Unread| why.of(format_args!("an address of link {link}"));
        let (mut remote, mut local) = (None, None);
        for attribute in attributes(rest) {
            let (kind, value) = attribute.map_err(of_link)?;
            match kind {
                libc::IFA_ADDRESS => remote = Some(address(kind, value).map_err(of_link)?),
                libc::IFA_LOCAL => local = Some(address(kind, value).map_err(of_link)?),
                _ => {}
            }
        }
        // on a point-to-point link IFA_ADDRESS is the other end
        let ip = local.or(remote).ok_or_else(|| of_link(Unread("none in it".to_owned())))?;
        let net = IpNet::new(ip, prefix_length).map_err(|error| of_link(Unread(error.to_string())))?;
        Ok(Some(Address { link, net, link_scope: scope == libc::RT_SCOPE_LINK }))
    }
}

impl Netlink {
    /// Lists the addresses of the namespace, both families.
    pub fn addresses(&mut self) -> Result<Vec<Address>, Error> {
        self.list_addresses().map(|listing| listing.objects)
    }

    /// Lists the addresses of the namespace, both families, and tells whether all could be read.
    pub fn list_addresses(&mut self) -> Result<Listing<Address>, Error> {
        self.dump_addresses(AddressMessage::default()).map_err(|cause| cause.during("list addresses"))
    }

    /// Lists a link's IPv4 addresses, whatever other links have.
    pub fn addresses_of(&mut self, link: &Link) -> Result<Vec<Address>, Error> {
        let mut filter = AddressMessage::default();
        filter.header.family = AddressFamily::Inet;
        filter.header.index = link.index;
        let listing = self.dump_addresses(filter);
        listing.map(|listing| listing.objects).map_err(|cause| cause.during(format!("list addresses of {}", link.name)))
    }

    fn dump_addresses(&mut self, filter: AddressMessage) -> Result<Listing<Address>, Cause> {
        self.list(RouteNetlinkMessage::GetAddress(filter), Address::read)
    }

    /// Adds an address to a link.
    pub fn add_address(&mut self, link: &Link, net: IpNet) -> Result<(), Error> {
        self.change(RouteNetlinkMessage::NewAddress(message(link.index, net)), NLM_F_CREATE | NLM_F_EXCL)
            .map_err(|cause| cause.during(format!("add address {net} to {}", link.name)))
    }

    /// Removes an address from a link.
    pub fn delete_address(&mut self, link: &Link, net: IpNet) -> Result<(), Error> {
        self.change(RouteNetlinkMessage::DelAddress(message(link.index, net)), 0)
            .map_err(|cause| cause.during(format!("remove address {net} from {}", link.name)))
    }
}

fn message(link: u32, net: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = match net {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    };
    message.header.prefix_len = net.prefix_len();
    message.header.index = link;
    message.attributes.push(AddressAttribute::Local(net.addr()));
    message.attributes.push(AddressAttribute::Address(net.addr()));
    message
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::{attribute, raw};
    use super::super::socket::tests::{answer, with_kernel};

    /// `struct ifaddrmsg` of an IPv4 address of link 2, and its attributes.
    fn address(attributes: &[u8]) -> Vec<u8> {
        [&[2, 24, 0x80, 0, 2, 0, 0, 0], attributes].concat()
    }

    #[test]
    fn an_address_that_cannot_be_read_is_not_absent() {
        let (mut netlink, kernel) = with_kernel(0);
        let local = |octets: [u8; 4]| attribute(libc::IFA_LOCAL, &octets);
        let mut datagram = raw(libc::RTM_NEWADDR, 2, 1, 0, &address(&local([192, 0, 2, 7])));
        datagram.extend(raw(libc::RTM_NEWADDR, 2, 1, 0, &address(&[])));
        datagram.extend(raw(3, 2, 1, 0, &[0; 4]));
        answer(&kernel, &datagram);
        let listing = netlink.list_addresses().expect("listed");
        assert_eq!(listing.objects.iter().map(|it| it.net.to_string()).collect::<Vec<_>>(), ["192.0.2.7/24"]);
        assert!(!listing.complete);
    }
}
