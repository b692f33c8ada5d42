//! BGPPeers: the peers they name, and the peers back that the named nodes get (control reference §3.3).
//!
//! Three passes, of which an earlier one wins: peers of every node, peers of this node, and peers back. A BGPPeer with
//! `reversePeering: Auto` makes the nodes it leads to peer with the nodes it starts from, so that one object describes
//! both ends of a session.

use super::filters::{self, Filters};
use super::{BGP_PORT, Speaker, cluster_as, dials, secret, time};
use crate::tables::Tables;
use api::kind::BgpPeerSpec;
use model::Asn;
use model::peering::{NextHopMode, Peer, PeerSource, SourceAddress};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

/// What the BGPPeers come to for a node.
pub(super) struct Explicit {
    pub(super) peers: BTreeMap<SocketAddrV4, Peer>,
    pub(super) gateways: BTreeMap<Ipv4Addr, Ipv4Addr>,
}

/// Where `peerIP` points.
struct Named {
    address: IpAddr,
    port: Option<u16>,
}

impl Explicit {
    pub(super) fn read(
        tables: &Tables,
        speakers: &BTreeMap<String, Speaker>,
        own: &Speaker,
        problems: &mut Vec<String>,
    ) -> Explicit {
        let mut reading = Reading {
            tables,
            speakers,
            own,
            problems,
            found: Explicit { peers: BTreeMap::new(), gateways: BTreeMap::new() },
        };
        let is_global = |spec: &BgpPeerSpec| spec.node.is_empty() && spec.node_selector.is_empty();
        for (name, spec) in tables.bgp_peers.iter().filter(|(_, spec)| is_global(spec)) {
            reading.forward(name, spec, PeerSource::Global);
        }
        for (name, spec) in tables.bgp_peers.iter().filter(|(_, spec)| !is_global(spec)) {
            if reading.starts_from(spec, &own.name) {
                reading.forward(name, spec, PeerSource::Node);
            }
        }
        for (name, spec) in &tables.bgp_peers {
            if spec.reverse_peering.as_deref() != Some("Manual") && reading.leads_to_own(spec) {
                reading.back(name, spec);
            }
        }
        reading.found
    }
}

struct Reading<'a> {
    tables: &'a Tables,
    speakers: &'a BTreeMap<String, Speaker>,
    own: &'a Speaker,
    problems: &'a mut Vec<String>,
    found: Explicit,
}

impl Reading<'_> {
    /// Whether a BGPPeer gives peers to a node.
    fn starts_from(&self, spec: &BgpPeerSpec, node: &str) -> bool {
        match (spec.node.as_str(), spec.node_selector.as_str()) {
            ("", "") => true,
            ("", selector) => self.matches(selector, node),
            (named, _) => named == node,
        }
    }

    /// Whether a BGPPeer leads to this node.
    fn leads_to_own(&self, spec: &BgpPeerSpec) -> bool {
        if !spec.peer_selector.is_empty() {
            return self.matches(&spec.peer_selector, &self.own.name);
        }
        named(&spec.peer_ip)
            .is_some_and(|named| self.node_at(&named, spec).is_some_and(|node| node.name == self.own.name))
    }

    /// Adds the peers that a BGPPeer names: by address, or every node that its `peerSelector` picks.
    fn forward(&mut self, name: &str, spec: &BgpPeerSpec, source: PeerSource) {
        if !spec.peer_selector.is_empty() {
            let picked = self.speakers.values().filter(|speaker| self.matches(&spec.peer_selector, &speaker.name));
            for speaker in picked.cloned().collect::<Vec<_>>() {
                self.add(name, spec, speaker.socket(), Peer::new(speaker.asn, source), Some(&speaker));
            }
            return;
        }
        let Some(named) = named(&spec.peer_ip) else { return };
        let IpAddr::V4(address) = named.address else {
            self.problems.push(format!(
                "bgppeer {name}: peerIP {} is left out: BGP over IPv6 is not supported yet",
                spec.peer_ip
            ));
            return;
        };
        let node = self.node_at(&named, spec).cloned();
        let port = named.port.or(node.as_ref().map(|node| node.port)).unwrap_or(BGP_PORT);
        let mut peer = Peer::new(self.remote_as(spec), source);
        peer.local_as = spec.local_as_number.map(Asn);
        peer.passive = source == PeerSource::Global && node.is_some() && dials(address, self.own.address);
        self.add(name, spec, SocketAddrV4::new(address, port), peer, node.as_ref());
        if let Ok(gateway) = spec.reachable_by.parse()
            && address != self.own.address
        {
            self.found.gateways.entry(address).or_insert(gateway);
        }
    }

    /// Adds a peer back to every node that a BGPPeer starts from.
    fn back(&mut self, name: &str, spec: &BgpPeerSpec) {
        let starts = self.speakers.values().filter(|speaker| self.starts_from(spec, &speaker.name));
        for speaker in starts.cloned().collect::<Vec<_>>() {
            let asn = spec.local_as_number.map_or(speaker.asn, Asn);
            self.add(name, spec, speaker.socket(), Peer::new(asn, PeerSource::Node), Some(&speaker));
        }
    }

    /// Adds a peer with the settings of its BGPPeer, unless there is one of that address and port; `node` is the node
    /// at its other end.
    fn add(&mut self, name: &str, spec: &BgpPeerSpec, socket: SocketAddrV4, mut peer: Peer, node: Option<&Speaker>) {
        if *socket.ip() == self.own.address || self.found.peers.contains_key(&socket) {
            return;
        }
        let internal = peer.remote_as == peer.local_as.unwrap_or(self.own.asn);
        let other_cluster = node.and_then(|node| node.cluster.as_ref());
        peer.reflector_client = internal && self.own.cluster.is_some() && other_cluster != self.own.cluster.as_ref();
        peer.next_hop = match spec.next_hop_mode.as_deref() {
            Some("Self") => NextHopMode::Self_,
            Some("Keep") => NextHopMode::Keep,
            _ if spec.keep_original_next_hop && !internal => NextHopMode::Keep,
            _ => NextHopMode::Auto,
        };
        peer.from = match spec.source_address.as_deref() {
            Some("None") => SourceAddress::Any,
            _ => SourceAddress::Node,
        };
        peer.allowed_local_as = spec.num_allowed_local_as_numbers.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        peer.ttl_security = spec.ttl_security.filter(|hops| *hops > 0);
        peer.password = secret(spec.password.as_ref());
        let mut time = |text: &Option<String>, field: &str| {
            time(text.as_deref()?, &format!("bgppeer {name}: {field}"), self.problems).filter(|time| !time.is_zero())
        };
        peer.restart_time = time(&spec.max_restart_time, "maxRestartTime");
        peer.keepalive_time = time(&spec.keepalive_time, "keepaliveTime");
        match filters::read(&spec.filters, self.tables) {
            Ok(Filters { import, export }) => (peer.import, peer.export) = (import, export),
            Err(reason) => {
                let why = format!("bgppeer {name}: {reason}, so there is no session");
                if !self.problems.contains(&why) {
                    self.problems.push(why.clone());
                }
                peer.held_down = Some(why);
            }
        }
        self.found.peers.insert(socket, peer);
    }

    /// The AS a BGPPeer with `peerIP` expects.
    fn remote_as(&self, spec: &BgpPeerSpec) -> Asn {
        spec.as_number.filter(|asn| *asn != 0).map_or_else(|| cluster_as(self.tables), Asn)
    }

    /// Finds the node that `peerIP` and `asNumber` point at.
    fn node_at(&self, named: &Named, spec: &BgpPeerSpec) -> Option<&Speaker> {
        let asn = self.remote_as(spec);
        self.speakers.values().find(|speaker| {
            named.address == speaker.address && asn == speaker.asn && named.port.is_none_or(|port| port == speaker.port)
        })
    }

    /// Whether a selector picks a node; one that does not parse picks none.
    fn matches(&self, selector: &str, node: &str) -> bool {
        let Some(labels) = self.tables.nodes.get(node).map(|node| &node.metadata.labels) else { return false };
        api::selector::Selector::parse(selector).is_ok_and(|selector| selector.matches(labels))
    }
}

/// Reads `ADDRESS`, `IPV4:PORT` or `[IPV6]:PORT`.
fn named(text: &str) -> Option<Named> {
    let alone = text.parse().map(|address| Named { address, port: None });
    let with_port = || text.parse::<SocketAddr>().map(|at| Named { address: at.ip(), port: Some(at.port()) });
    alone.ok().or_else(|| with_port().ok())
}
