//! What a node's BGP speaker should do: whom to talk to, and what to announce.

use crate::Asn;
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// A node's wanted BGP configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peering {
    /// The node's AS.
    pub local_as: Asn,
    /// The node's BGP identifier and session address.
    pub address: Ipv4Addr,
    /// TCP port to listen on.
    pub listen_port: u16,
    /// Peers by address.
    pub peers: BTreeMap<Ipv4Addr, Peer>,
    /// Own prefixes to announce: blocks, and single addresses borrowed from other nodes' blocks.
    pub originate: BTreeSet<Ipv4Net>,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its AS.
    pub remote_as: Asn,
    /// The TCP port it listens on.
    pub port: u16,
    /// Whether this side waits for the peer to connect.
    pub passive: bool,
    /// Where the peer comes from.
    pub source: PeerSource,
}

/// Which configuration asks for a peer; decides its name and type in status output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerSource {
    /// The node-to-node mesh.
    Mesh,
    /// A BGPPeer for all nodes.
    Global,
    /// A BGPPeer for this node.
    Node,
}
