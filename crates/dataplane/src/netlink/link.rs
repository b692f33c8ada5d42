//! Links: listing, the veth pair born with each end in its place, and the few changes we make.

use super::message::{Message, Unread, attributes, head, number, text};
use super::{Cause, Error, Listing, Netlink};
use model::Mtu;
use model::name::IfName;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{
    InfoData, InfoIpTunnel, InfoKind, InfoVeth, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::{IpProtocol, RouteNetlinkMessage};
use nix::errno::Errno;
use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// What the host's end of every workload's veth has, so that pods' neighbour entries outlive it.
    pub const WORKLOAD: MacAddress = MacAddress([0xee; 6]);

    /// Reads six hexadecimal octets with colons between.
    pub fn parse(text: &str) -> Option<MacAddress> {
        let octets: Option<Vec<u8>> = text.split(':').map(|octet| u8::from_str_radix(octet, 16).ok()).collect();
        octets?.try_into().ok().map(MacAddress)
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A link as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name.
    pub name: IfName,
    /// Its MTU.
    pub mtu: Mtu,
    /// Its Ethernet address, if it has one.
    pub mac: Option<MacAddress>,
    /// The index of the link it hangs on; of a veth its other end's, in whatever namespace that is.
    pub other_end: Option<u32>,
    /// The index of the link that it is a part of: a bridge, a bond, a VRF.
    pub controller: Option<u32>,
    /// Whether its packets have Ethernet headers; not so the loopback's.
    pub ethernet: bool,
    /// The driver's kind (`veth`, `ipip`, …); empty for hardware and the loopback.
    pub kind: String,
    /// Whether an operator set it up.
    pub admin_up: bool,
    /// Whether it also works: carrier and peer included.
    pub running: bool,
}

impl Link {
    /// Tells whether packets can leave through the link.
    pub fn is_up(&self) -> bool {
        self.admin_up && self.running
    }

    /// Reads a link out of what the kernel says of it; nothing if the message is of something else.
    fn read(message: &Message<'_>) -> Result<Option<Link>, Unread> {
        if message.kind != libc::RTM_NEWLINK {
            return Ok(None);
        }
        // struct ifinfomsg: family, type, index, flags, change
        let (header, rest) = head::<16>(message.body).map_err(|why| why.of("a link"))?;
        let word = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (index, flags) = (word(4), LinkFlags::from_bits_retain(word(8)));
        let ethernet = u16::from_ne_bytes([header[2], header[3]]) == libc::ARPHRD_ETHER;
        Link::of(index, flags, ethernet, rest).map(Some).map_err(|why| why.of(format_args!("link {index}")))
    }

    fn of(index: u32, flags: LinkFlags, ethernet: bool, rest: &[u8]) -> Result<Link, Unread> {
        let (mut name, mut mtu, mut mac, mut other_end, mut kind) = (None, None, None, None, String::new());
        let mut controller = None;
        for attribute in attributes(rest) {
            let (number_of, value) = attribute?;
            match number_of {
                libc::IFLA_IFNAME => name = Some(text(number_of, value)?).filter(|name| !name.is_empty()),
                libc::IFLA_MTU => mtu = Some(number(number_of, value)?),
                libc::IFLA_ADDRESS => mac = value.try_into().ok().map(MacAddress),
                libc::IFLA_LINK => other_end = Some(number(number_of, value)?),
                libc::IFLA_MASTER => controller = Some(number(number_of, value)?),
                libc::IFLA_LINKINFO => {
                    for part in attributes(value) {
                        let (number_of, value) = part?;
                        if number_of == libc::IFLA_INFO_KIND {
                            kind = text(number_of, value)?;
                        }
                    }
                }
                _ => {}
            }
        }
        let missing = |what: &str| Unread(format!("no {what}"));
        Ok(Link {
            index,
            name: IfName(name.ok_or_else(|| missing("name"))?),
            mtu: Mtu(mtu.ok_or_else(|| missing("mtu"))?),
            mac,
            other_end,
            controller,
            ethernet,
            kind,
            admin_up: flags.contains(LinkFlags::Up),
            running: flags.contains(LinkFlags::Running),
        })
    }
}

/// A veth pair to be made, this end in the socket's namespace.
#[derive(Clone, Debug)]
pub struct Veth {
    /// The name of this end.
    pub name: IfName,
    /// The Ethernet address of this end; the kernel's choice if none.
    pub mac: Option<MacAddress>,
    /// The name of the other end.
    pub peer_name: IfName,
    /// The Ethernet address of the other end; the kernel's choice if none.
    pub peer_mac: Option<MacAddress>,
    /// The transmit queue length of the other end; the kernel's default if none.
    pub peer_queue_length: Option<u32>,
    /// MTU of both ends.
    pub mtu: Mtu,
    /// Transmit and receive queues of both ends.
    pub queues: u32,
}

impl Netlink {
    /// Lists the links of the namespace that can be read.
    pub fn links(&mut self) -> Result<Vec<Link>, Error> {
        Ok(self.list_links()?.objects)
    }

    /// Lists the links of the namespace, and tells whether all could be read.
    pub fn list_links(&mut self) -> Result<Listing<Link>, Error> {
        let mut request = LinkMessage::default();
        // counters are most of a link's attributes, and nobody here reads them
        request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        self.list(RouteNetlinkMessage::GetLink(request), Link::read).map_err(|cause| cause.during("list links"))
    }

    /// Finds a link by name.
    ///
    /// # Errors
    ///
    /// Also one that is there and cannot be read: it is not absent.
    pub fn link(&mut self, name: &IfName) -> Result<Option<Link>, Error> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.0.clone()));
        match self.ask(RouteNetlinkMessage::GetLink(message), Link::read) {
            Ok(link) => Ok(Some(link)),
            Err(Cause::Refused { errno: Errno::ENODEV, .. }) => Ok(None),
            Err(cause) => Err(cause.during(format!("find link {name}"))),
        }
    }

    /// Creates a veth pair; the other end is born in the namespace `peer_namespace`, or in this one.
    ///
    /// Creating both ends where they stay costs well under a millisecond; moving one costs an RCU grace period.
    pub fn create_veth(&mut self, veth: &Veth, peer_namespace: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        let end = |name: &IfName, mac: Option<MacAddress>| {
            let mut message = LinkMessage::default();
            message.attributes = vec![
                LinkAttribute::IfName(name.0.clone()),
                LinkAttribute::Mtu(veth.mtu.0),
                LinkAttribute::NumTxQueues(veth.queues),
                LinkAttribute::NumRxQueues(veth.queues),
            ];
            message.attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
            message
        };
        let mut peer = end(&veth.peer_name, veth.peer_mac);
        peer.attributes.extend(veth.peer_queue_length.map(LinkAttribute::TxQueueLen));
        peer.attributes.extend(peer_namespace.map(|fd| LinkAttribute::NetNsFd(fd.as_raw_fd())));
        let mut message = end(&veth.name, veth.mac);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        self.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
            .map_err(|cause| cause.during(format!("create veth pair {} and {}", veth.name, veth.peer_name)))
    }

    /// Creates an IPIP device like the `tunl0` that comes with the kernel's module.
    ///
    /// It has no endpoints: where packets go is the routes' business. It takes any inner protocol, and the outer header
    /// does not forbid fragmentation where the inner one allows it, which a device made by hand does.
    pub fn create_ipip(&mut self, name: &IfName) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        let any = IpProtocol::from(0);
        message.attributes = vec![
            LinkAttribute::IfName(name.0.clone()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::IpIp),
                LinkInfo::Data(InfoData::IpTunnel(vec![InfoIpTunnel::Protocol(any), InfoIpTunnel::PMtuDisc(false)])),
            ]),
        ];
        self.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
            .map_err(|cause| cause.during(format!("create ipip device {name}")))
    }

    /// Sets a link administratively up.
    pub fn set_link_up(&mut self, link: &Link) -> Result<(), Error> {
        self.set_flags(link, LinkFlags::Up, LinkFlags::Up, "up")
    }

    /// Sets a link administratively down.
    pub fn set_link_down(&mut self, link: &Link) -> Result<(), Error> {
        self.set_flags(link, LinkFlags::empty(), LinkFlags::Up, "down")
    }

    /// Switches address resolution on the link off, and with it the kernel's own neighbour entries.
    pub fn set_link_noarp(&mut self, link: &Link) -> Result<(), Error> {
        self.set_flags(link, LinkFlags::Noarp, LinkFlags::Noarp, "noarp")
    }

    fn set_flags(&mut self, link: &Link, flags: LinkFlags, mask: LinkFlags, word: &str) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        message.header.index = link.index;
        message.header.flags = flags;
        message.header.change_mask = mask;
        self.change(RouteNetlinkMessage::SetLink(message), 0)
            .map_err(|cause| cause.during(format!("set link {} {word}", link.name)))
    }

    /// Sets a link's MTU.
    pub fn set_link_mtu(&mut self, link: &Link, mtu: Mtu) -> Result<(), Error> {
        self.set_attribute(link, LinkAttribute::Mtu(mtu.0), format!("mtu {}", mtu.0))
    }

    /// Sets a link's Ethernet address.
    pub fn set_link_mac(&mut self, link: &Link, mac: MacAddress) -> Result<(), Error> {
        self.set_attribute(link, LinkAttribute::Address(mac.0.to_vec()), format!("address {mac}"))
    }

    fn set_attribute(&mut self, link: &Link, attribute: LinkAttribute, words: String) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        message.header.index = link.index;
        message.attributes.push(attribute);
        self.change(RouteNetlinkMessage::SetLink(message), 0)
            .map_err(|cause| cause.during(format!("set link {} {words}", link.name)))
    }

    /// Deletes a link, and with a veth its peer.
    pub fn delete_link(&mut self, link: &Link) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        message.header.index = link.index;
        self.change(RouteNetlinkMessage::DelLink(message), 0)
            .map_err(|cause| cause.during(format!("delete link {}", link.name)))
    }
}
