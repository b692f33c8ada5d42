//! What a node's BGP speaker should do: whom to talk to, and what to announce.

use crate::Asn;
use crate::filter::Rule;
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// A node's wanted BGP configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peering {
    /// The node's AS.
    pub local_as: Asn,
    /// The node's session address, and its BGP identifier where nothing else is set.
    pub address: Ipv4Addr,
    /// TCP port to listen on.
    pub listen_port: u16,
    /// Whether to listen on [`Peering::address`] alone.
    pub listen: Listen,
    /// The node's cluster, if it is a route reflector.
    pub cluster_id: Option<Ipv4Addr>,
    /// Metric of the node's own routes, which peers see as a preference.
    pub metric: u32,
    /// Peers by address and the TCP port they listen on.
    pub peers: BTreeMap<SocketAddrV4, Peer>,
    /// Gateways towards peers that are to be reached by one.
    pub gateways: BTreeMap<Ipv4Addr, Ipv4Addr>,
    /// Own prefixes to announce: blocks, and single addresses borrowed from other nodes' blocks.
    pub originate: BTreeSet<Ipv4Net>,
    /// Pools whose routes are passed on from one peer to another.
    pub pools: BTreeSet<Ipv4Net>,
    /// Pools whose routes are kept out of BGP.
    pub withheld: BTreeSet<Ipv4Net>,
}

/// Where to listen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listen {
    /// On every address.
    #[default]
    Everywhere,
    /// On the node's address.
    NodeAddress,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its AS.
    pub remote_as: Asn,
    /// The AS this node pretends to be in towards it; else the node's.
    pub local_as: Option<Asn>,
    /// Whether this side waits for the peer to connect.
    pub passive: bool,
    /// Where the peer comes from.
    pub source: PeerSource,
    /// The address this node opens connections from.
    pub from: SourceAddress,
    /// What becomes of the next hop of routes announced to it.
    pub next_hop: NextHopMode,
    /// Whether it is a client of this node as route reflector.
    pub reflector_client: bool,
    /// How often this node's AS may be in the path of a route that it announces.
    pub allowed_local_as: u32,
    /// How often keepalives go out; else a third of the hold time.
    pub keepalive_time: Option<Duration>,
    /// How long it keeps this node's routes while the agent restarts; else BGP's default.
    pub restart_time: Option<Duration>,
    /// How many hops away it may be, checked by TTL (GTSM).
    pub ttl_security: Option<u8>,
    /// Where its TCP-MD5 password is.
    pub password: Option<SecretKey>,
    /// Why there must be no session with it, one line: something that protects this node from it does not act.
    pub held_down: Option<String>,
    /// Which of its routes are taken, and how changed.
    pub import: Vec<Rule>,
    /// Which routes it is told, and how changed.
    pub export: Vec<Rule>,
}

impl Peer {
    /// A peer at its defaults.
    pub fn new(remote_as: Asn, source: PeerSource) -> Peer {
        Peer {
            remote_as,
            local_as: None,
            passive: false,
            source,
            from: SourceAddress::Node,
            next_hop: NextHopMode::Auto,
            reflector_client: false,
            allowed_local_as: 0,
            keepalive_time: None,
            restart_time: None,
            ttl_security: None,
            password: None,
            held_down: None,
            import: Vec::new(),
            export: Vec::new(),
        }
    }
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

/// The address a node opens connections from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceAddress {
    /// The node's own.
    #[default]
    Node,
    /// Whichever the kernel chooses.
    Any,
}

/// What becomes of a route's next hop on the way to a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NextHopMode {
    /// This node towards other ASes, unchanged within the own (RFC 4271 §5.1.3).
    #[default]
    Auto,
    /// Always this node.
    Self_,
    /// Always unchanged.
    Keep,
}

/// One key of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretKey {
    /// The secret.
    pub name: String,
    /// The key in it.
    pub key: String,
    /// Whether there is no password if the secret is missing.
    pub optional: bool,
}
