//! Nodes, BGPConfigurations and BGPPeers to the speaker's peers and announcements (control reference §3.3, §3.4).

use crate::tables::Tables;
use api::kind::BgpPeerSpec;
use api::resource::Typed;
use ipnet::{IpNet, Ipv4Net};
use model::Asn;
use model::desired::Pool;
use model::peering::{Peer, PeerSource, Peering};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// The port BGP listens on where none is set.
const BGP_PORT: u16 = 179;

/// A node as a possible peer.
struct Speaker {
    address: Ipv4Addr,
    asn: Asn,
    port: u16,
    reflector: bool,
}

/// Builds the speaker's configuration; none while the node has no IPv4 address.
pub(crate) fn peering(tables: &Tables, node: &str) -> Option<Peering> {
    let own = speaker(tables, node)?;
    let mut peers = BTreeMap::new();
    for spec in tables.bgp_peers.values().filter(|spec| spec.node.is_empty() && spec.node_selector.is_empty()) {
        add_explicit(tables, &mut peers, spec, PeerSource::Global, &own);
    }
    for spec in tables.bgp_peers.values().filter(|spec| selects(tables, spec, node)) {
        add_explicit(tables, &mut peers, spec, PeerSource::Node, &own);
    }
    if mesh_enabled(tables) && !own.reflector {
        for name in tables.nodes.keys().filter(|name| *name != node) {
            let Some(other) = speaker(tables, name).filter(|other| !other.reflector) else { continue };
            if other.address == own.address {
                continue;
            }
            let passive = other.address.to_string() > own.address.to_string();
            let peer = Peer { remote_as: other.asn, port: other.port, passive, source: PeerSource::Mesh };
            peers.entry(other.address).or_insert(peer);
        }
    }
    let originate = originated(tables, node);
    Some(Peering { local_as: own.asn, address: own.address, listen_port: own.port, peers, originate })
}

/// Whether every node peers with every other.
fn mesh_enabled(tables: &Tables) -> bool {
    let default = tables.bgp_configurations.get("default");
    default.and_then(|spec| spec.node_to_node_mesh_enabled).unwrap_or(true)
}

/// The cluster's AS.
fn cluster_as(tables: &Tables) -> Asn {
    let default = tables.bgp_configurations.get("default");
    default.and_then(|spec| spec.as_number).map_or(Asn::DEFAULT, Asn)
}

fn speaker(tables: &Tables, node: &str) -> Option<Speaker> {
    let bgp = tables.nodes.get(node)?.spec.bgp.as_ref()?;
    let address = bgp.ipv4_address.split('/').next()?.parse().ok()?;
    let port = |name: &str| tables.bgp_configurations.get(name).and_then(|spec| spec.listen_port);
    Some(Speaker {
        address,
        asn: bgp.as_number.map_or_else(|| cluster_as(tables), Asn),
        port: port(&format!("node.{node}")).or_else(|| port("default")).unwrap_or(BGP_PORT),
        reflector: !bgp.route_reflector_cluster_id.is_empty(),
    })
}

fn selects(tables: &Tables, spec: &BgpPeerSpec, node: &str) -> bool {
    if !spec.node.is_empty() {
        return spec.node == node;
    }
    !spec.node_selector.is_empty() && matches(tables, &spec.node_selector, node)
}

/// Whether a selector picks a node; one that does not parse picks none.
fn matches(tables: &Tables, selector: &str, node: &str) -> bool {
    let Some(labels) = tables.nodes.get(node).map(|node| &node.metadata.labels) else { return false };
    api::selector::Selector::parse(selector).is_ok_and(|selector| selector.matches(labels))
}

/// Adds the peers that a BGPPeer names: by address, or every node that its `peerSelector` picks.
fn add_explicit(
    tables: &Tables,
    peers: &mut BTreeMap<Ipv4Addr, Peer>,
    spec: &BgpPeerSpec,
    source: PeerSource,
    own: &Speaker,
) {
    let mut add = |address: Ipv4Addr, remote_as: Asn, port: u16, passive: bool| {
        if address != own.address {
            peers.entry(address).or_insert(Peer { remote_as, port, passive, source });
        }
    };
    if !spec.peer_selector.is_empty() {
        for name in tables.nodes.keys().filter(|name| matches(tables, &spec.peer_selector, name)) {
            let Some(other) = speaker(tables, name) else { continue };
            add(other.address, other.asn, other.port, other.address.to_string() > own.address.to_string());
        }
        return;
    }
    let (host, port) = match spec.peer_ip.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()),
        None => (spec.peer_ip.as_str(), None),
    };
    let Ok(address) = host.parse::<Ipv4Addr>() else { return };
    let asn = spec.as_number.map_or_else(|| cluster_as(tables), Asn);
    let node =
        tables.nodes.keys().filter_map(|name| speaker(tables, name)).find(|n| n.address == address && n.asn == asn);
    let passive = node.is_some() && source == PeerSource::Global && address.to_string() > own.address.to_string();
    let port = port.or(node.map(|node| node.port)).unwrap_or(BGP_PORT);
    add(address, asn, port, passive);
}

/// The node's confirmed blocks, and its workloads' addresses outside them, less pools kept out of BGP.
///
/// A borrowed address is announced only while its pool is enabled (control reference §3.4, steps 1, 5 and 8).
fn originated(tables: &Tables, node: &str) -> BTreeSet<Ipv4Net> {
    let pools: Vec<(Ipv4Net, Pool)> = tables.pools.values().filter_map(Typed::to_model).collect();
    let pool_of = |prefix: &Ipv4Net| pools.iter().find(|(cidr, _)| cidr.contains(prefix)).map(|(_, pool)| pool);
    let mut prefixes: BTreeSet<Ipv4Net> =
        tables.affinities.iter().filter(|(_, owner)| owner == node).map(|(block, _)| *block).collect();
    prefixes.retain(|block| !pool_of(block).is_some_and(|pool| pool.disable_bgp_export));
    let borrowed: Vec<Ipv4Net> = tables
        .endpoints
        .values()
        .flat_map(|endpoint| &endpoint.ip_networks)
        .filter_map(|network| match network.parse() {
            Ok(IpNet::V4(network)) => Some(network),
            Ok(IpNet::V6(_)) | Err(_) => None,
        })
        .filter(|address| !tables.affinities.iter().any(|(block, owner)| owner == node && block.contains(address)))
        .filter(|address| pool_of(address).is_some_and(|pool| !pool.disabled && !pool.disable_bgp_export))
        .collect();
    prefixes.extend(borrowed);
    prefixes
}
