//! What an operator decides: who we are and whom we talk to.

use crate::wire::PeerType;
use model::Asn;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// The speaker's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Our AS.
    pub local_as: Asn,
    /// Our BGP Identifier; unique in the AS, usually the node's address.
    pub router_id: Ipv4Addr,
    /// Peers by address.
    pub peers: BTreeMap<IpAddr, PeerConfig>,
    /// TCP port the shell listens on; the speaker itself has no use for it. Default 179.
    pub listen_port: u16,
    /// How long peers keep our routes while we restart, and how long we keep those found at the start.
    /// Default 120 s; whole seconds, at most 4095.
    pub restart_time: Duration,
}

impl Config {
    /// Makes a configuration without peers, the rest at its defaults.
    pub fn new(local_as: Asn, router_id: Ipv4Addr) -> Config {
        Config { local_as, router_id, peers: BTreeMap::new(), listen_port: 179, restart_time: Duration::from_secs(120) }
    }

    /// Tells an internal peer from an external one.
    pub(crate) fn peer_type(&self, peer: &PeerConfig) -> PeerType {
        if peer.remote_as == self.local_as { PeerType::Internal } else { PeerType::External }
    }
}

/// Where a peer comes from, as `node status` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerKind {
    /// The node-to-node mesh.
    Mesh,
    /// A BGPPeer for every node.
    Global,
    /// A BGPPeer for some nodes.
    Node,
}

/// What becomes of NEXT_HOP on the way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NextHopMode {
    /// Ourselves towards external peers, unchanged towards internal ones (RFC 4271 §5.1.3).
    #[default]
    Auto,
    /// Always ourselves.
    Self_,
    /// Always unchanged.
    Keep,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// The AS it must be in.
    pub remote_as: Asn,
    /// Our end of a connection we open; the kernel chooses if `None`.
    pub local_address: Option<IpAddr>,
    /// TCP port it listens on. Default 179.
    pub port: u16,
    /// Whether only the peer opens connections. Default no.
    pub passive: bool,
    /// Hold time we propose; zero turns keepalives off. Default 240 s.
    pub hold_time: Duration,
    /// Where it comes from.
    pub kind: PeerKind,
    /// Whether routes outlive a restart, its and ours (RFC 4724). Default yes.
    pub graceful_restart: bool,
    /// What becomes of NEXT_HOP.
    pub next_hop: NextHopMode,
}

impl PeerConfig {
    /// Makes a peer at its defaults.
    pub fn new(remote_as: Asn, kind: PeerKind) -> PeerConfig {
        PeerConfig {
            remote_as,
            local_address: None,
            port: 179,
            passive: false,
            hold_time: Duration::from_secs(240),
            kind,
            graceful_restart: true,
            next_hop: NextHopMode::Auto,
        }
    }

    /// Whether a session made for `self` also serves `other`: only what `status` shows differs.
    pub(crate) fn same_session(&self, other: &PeerConfig) -> bool {
        *self == PeerConfig { kind: self.kind, ..other.clone() }
    }
}
