//! What an operator decides: who we are and whom we talk to.

use crate::policy::Passing;
use crate::wire::PeerType;
use ipnet::Ipv4Net;
use model::Asn;
use model::filter::Rule;
use model::peering::NextHopMode;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// LOCAL_PREF of metric zero. Calico says a kernel metric `m` as LOCAL_PREF 2147483647 − `m`, and the other way round,
/// so that the lower metric is preferred (control reference §3.4).
pub(crate) const HIGHEST_LOCAL_PREF: u32 = 2_147_483_647;
/// The metric that Calico gives a route of which nothing else is said.
pub(crate) const NORMAL_METRIC: u32 = 1024;

/// The speaker's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Our AS.
    pub local_as: Asn,
    /// Our BGP Identifier; unique in the AS, usually the node's address.
    pub router_id: Ipv4Addr,
    /// Peers by address and the TCP port they listen on.
    pub peers: BTreeMap<SocketAddr, PeerConfig>,
    /// TCP port the shell listens on; the speaker itself has no use for it. Default 179.
    pub listen_port: u16,
    /// How long peers keep our routes while we restart, and how long we keep those found at the start.
    /// Default 120 s; whole seconds, at most 4095.
    pub restart_time: Duration,
    /// Metric of our own routes, which peers see as LOCAL_PREF 2147483647 less this. Default 1024.
    pub metric: u32,
    /// Our cluster, if we are a route reflector (RFC 4456).
    pub cluster_id: Option<Ipv4Addr>,
    /// Which of the routes that peers teach us are told to other peers. Default all.
    pub passing: Passing,
    /// The host's networks, and the interface of each, for filters that ask for one.
    pub interfaces: BTreeMap<Ipv4Net, String>,
}

impl Config {
    /// Makes a configuration without peers, the rest at its defaults.
    pub fn new(local_as: Asn, router_id: Ipv4Addr) -> Config {
        Config {
            local_as,
            router_id,
            peers: BTreeMap::new(),
            listen_port: 179,
            restart_time: Duration::from_secs(120),
            metric: NORMAL_METRIC,
            cluster_id: None,
            passing: Passing::All,
            interfaces: BTreeMap::new(),
        }
    }

    /// The AS we are in towards a peer.
    pub(crate) fn local_as(&self, peer: &PeerConfig) -> Asn {
        peer.local_as.unwrap_or(self.local_as)
    }

    /// Tells an internal peer from an external one.
    pub(crate) fn peer_type(&self, peer: &PeerConfig) -> PeerType {
        if peer.remote_as == self.local_as(peer) { PeerType::Internal } else { PeerType::External }
    }

    /// LOCAL_PREF of our own routes.
    pub(crate) fn local_pref(&self) -> u32 {
        HIGHEST_LOCAL_PREF.saturating_sub(self.metric)
    }

    /// What a session cannot survive a change of.
    pub(crate) fn identity(&self) -> (Asn, Ipv4Addr, Option<Ipv4Addr>) {
        (self.local_as, self.router_id, self.cluster_id)
    }

    /// What is announced, and how, beyond the peers' own settings.
    pub(crate) fn announcing(&self) -> (u32, &Passing) {
        (self.metric, &self.passing)
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

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// The AS it must be in.
    pub remote_as: Asn,
    /// The AS we pretend to be in towards it; else our own.
    pub local_as: Option<Asn>,
    /// Our end of a connection we open; the kernel chooses if `None`.
    pub local_address: Option<IpAddr>,
    /// Whether only the peer opens connections. Default no.
    pub passive: bool,
    /// Hold time we propose; zero turns keepalives off. Default 240 s.
    pub hold_time: Duration,
    /// How often keepalives are sent, if more often than thrice in the hold time. Default thrice.
    pub keepalive_time: Option<Duration>,
    /// Where it comes from.
    pub kind: PeerKind,
    /// Whether routes outlive a restart, its and ours (RFC 4724). Default yes.
    pub graceful_restart: bool,
    /// How long it keeps our routes while we restart; else [`Config::restart_time`].
    pub restart_time: Option<Duration>,
    /// What becomes of NEXT_HOP.
    pub next_hop: NextHopMode,
    /// Whether it is a client of ours as route reflector; needs [`Config::cluster_id`].
    pub reflector_client: bool,
    /// How often our AS may be in the path of a route that it announces. Default never.
    pub allowed_local_as: u32,
    /// TCP-MD5 key (RFC 2385), for the shell; none for no signatures.
    pub password: Option<Password>,
    /// GTSM (RFC 5082), for the shell: how many hops away it may be; none for no check.
    pub ttl_security: Option<u8>,
    /// Why no session may be had with it, one line; the session stays Idle.
    pub obstacle: Option<String>,
    /// Which of its routes are taken, and how changed; what no rule decides is taken.
    pub import: Vec<Rule>,
    /// Which routes it is told, and how changed; what no rule decides goes by [`Config::passing`].
    pub export: Vec<Rule>,
}

/// A TCP-MD5 key; it is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub Vec<u8>);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl PeerConfig {
    /// Makes a peer at its defaults.
    pub fn new(remote_as: Asn, kind: PeerKind) -> PeerConfig {
        PeerConfig {
            remote_as,
            local_as: None,
            local_address: None,
            passive: false,
            hold_time: Duration::from_secs(240),
            keepalive_time: None,
            kind,
            graceful_restart: true,
            restart_time: None,
            next_hop: NextHopMode::Auto,
            reflector_client: false,
            allowed_local_as: 0,
            password: None,
            ttl_security: None,
            obstacle: None,
            import: Vec::new(),
            export: Vec::new(),
        }
    }

    /// Whether a session made for `self` also serves `other`: only filters, and what `status` shows, differ.
    pub(crate) fn same_session(&self, other: &PeerConfig) -> bool {
        let filters = (self.import.clone(), self.export.clone());
        *self == PeerConfig { kind: self.kind, import: filters.0, export: filters.1, ..other.clone() }
    }
}
