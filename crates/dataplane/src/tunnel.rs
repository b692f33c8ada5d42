//! What an IPIP tunnel device has to do, whoever does it: the kernel's `ipip` or [`crate::bpf`].
//!
//! The device's address is given by the caller, by netlink, in both forms alike; so are the routes into it.

use crate::netlink;
use ipnet::Ipv4Net;
use model::Mtu;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

/// The tunnel as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelSpec {
    /// The device's MTU.
    pub mtu: Mtu,
    /// This node's address: source of what is sent, and the only destination accepted.
    pub own_address: Ipv4Addr,
    /// Indexes of the links by which outer packets may come in, and whether only those may that the route back to
    /// their sender leaves by. By which they leave is the routes' business.
    pub links: BTreeMap<u32, bool>,
    /// Pods' prefixes behind other nodes: where a packet is sent, longest prefix first.
    pub peers: BTreeMap<Ipv4Net, Ipv4Addr>,
    /// Every node's address: whose packets are accepted.
    pub hosts: BTreeSet<Ipv4Addr>,
    /// Who else's are, without being a node of the cluster.
    pub external_nodes: BTreeSet<Ipv4Net>,
}

impl TunnelSpec {
    /// Lists the prefixes whose packets are accepted; of the node's own address nobody else has any to send.
    pub fn senders(&self) -> BTreeSet<Ipv4Net> {
        let nodes = self.hosts.iter().filter(|host| **host != self.own_address);
        nodes.map(|host| Ipv4Net::from(*host)).chain(self.external_nodes.iter().map(Ipv4Net::trunc)).collect()
    }
}

/// An IPIP tunnel named `tunl0` in the calling thread's network namespace.
pub trait Tunnel {
    /// Makes device and forwarding agree with `spec`; the device is up when this returns.
    ///
    /// Cheap when nothing changed, and called at every resync: a device or program removed by hand comes back.
    fn ensure(&mut self, netlink: &mut netlink::Netlink, spec: &TunnelSpec) -> Result<(), TunnelError>;

    /// Takes the tunnel away; succeeds where there is none.
    fn remove(&mut self, netlink: &mut netlink::Netlink) -> Result<(), TunnelError>;

    /// Returns a descriptor that becomes readable when [`Tunnel::serve`] has work.
    ///
    /// None where the kernel does it all; may be another one after every other call.
    fn wakes(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Does, without waiting, what the device leaves to its process.
    fn serve(&mut self) -> Heard {
        Heard::Nothing
    }
}

/// What a tunnel's process heard from the routers on its paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Heard {
    /// Nothing that changes how packets are sent.
    #[default]
    Nothing,
    /// Packets to a node were too large for the path.
    NarrowPath,
    /// That it can hear no more, until [`Tunnel::ensure`] mends that.
    Deaf,
}

/// Why the tunnel is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The kernel refused a change to the device.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// A program or map could not be loaded, attached or filled.
    #[error("{what}: {reason}")]
    Program {
        /// The action and its object.
        what: String,
        /// The loader's words.
        reason: String,
    },
}
