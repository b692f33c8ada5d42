//! Interface addresses.

#![expect(clippy::wildcard_enum_match_arm, reason = "netlink attributes are an open set")]

use super::{Cause, Error, Link, Netlink};
use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
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
    fn parse(message: &AddressMessage) -> Option<Address> {
        let mut address = None;
        let mut local = None;
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Address(ip) => address = Some(*ip),
                AddressAttribute::Local(ip) => local = Some(*ip),
                _ => {}
            }
        }
        // on a point-to-point link IFA_ADDRESS is the other end
        let ip = local.or(address)?;
        Some(Address {
            link: message.header.index,
            net: IpNet::new(ip, message.header.prefix_len).ok()?,
            link_scope: message.header.scope == AddressScope::Link,
        })
    }
}

impl Netlink {
    /// Lists the addresses of the namespace, both families.
    pub fn addresses(&mut self) -> Result<Vec<Address>, Error> {
        self.list_addresses(AddressMessage::default()).map_err(|cause| cause.during("list addresses"))
    }

    /// Lists a link's IPv4 addresses, whatever other links have.
    pub fn addresses_of(&mut self, link: &Link) -> Result<Vec<Address>, Error> {
        let mut filter = AddressMessage::default();
        filter.header.family = AddressFamily::Inet;
        filter.header.index = link.index;
        self.list_addresses(filter).map_err(|cause| cause.during(format!("list addresses of {}", link.name)))
    }

    fn list_addresses(&mut self, filter: AddressMessage) -> Result<Vec<Address>, Cause> {
        self.dump(RouteNetlinkMessage::GetAddress(filter), |reply| match reply {
            RouteNetlinkMessage::NewAddress(message) => Address::parse(message),
            _ => None,
        })
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
