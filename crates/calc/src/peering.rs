//! Nodes, BGPConfigurations and BGPPeers to the speaker's peers and announcements (control reference §3.3, §3.4).
//!
//! Here is the node itself and the mesh; `explicit` reads BGPPeers, `announced` says what the node tells its peers.

mod announced;
mod explicit;
mod filters;

use crate::tables::Tables;
use api::kind::BgpPassword;
use explicit::Explicit;
use ipnet::Ipv4Net;
use model::Asn;
use model::peering::{Listen, Peer, PeerSource, Peering, SecretKey};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// The port BGP listens on where none is set.
const BGP_PORT: u16 = 179;
/// Metric of routes where `ipv4NormalRoutePriority` is not set.
const NORMAL_METRIC: u32 = 1024;

/// A node as a possible peer.
#[derive(Clone, Debug)]
struct Speaker {
    name: String,
    address: Ipv4Addr,
    asn: Asn,
    port: u16,
    /// Its cluster, as written, if it is a route reflector.
    cluster: Option<String>,
}

impl Speaker {
    fn socket(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address, self.port)
    }
}

/// Builds the speaker's configuration; none while the node has no IPv4 address.
pub(crate) fn peering(tables: &Tables, node: &str, problems: &mut Vec<String>) -> Option<Peering> {
    let speakers = speakers(tables);
    let own = speakers.get(node)?;
    let cluster_id = own.cluster.as_ref().and_then(|id| match id.parse() {
        Ok(id) => Some(id),
        Err(_) => {
            problems
                .push(format!("node {node}: routeReflectorClusterID {id:?} is no IPv4 address; nothing is reflected"));
            None
        }
    });
    let explicit = Explicit::read(tables, &speakers, own, problems);
    let mut peers = explicit.peers;
    for (address, peer) in mesh(tables, &speakers, own, problems) {
        peers.entry(address).or_insert(peer);
    }
    let default = tables.bgp_configurations.get("default");
    let bound = setting(tables, node, |spec| spec.bind_mode.as_deref()).is_some_and(|mode| mode == "NodeIP");
    let announced = announced::announced(tables);
    Some(Peering {
        local_as: own.asn,
        address: own.address,
        listen_port: own.port,
        listen: if bound { Listen::NodeAddress } else { Listen::Everywhere },
        cluster_id,
        metric: default.and_then(|spec| spec.ipv4_normal_route_priority).unwrap_or(NORMAL_METRIC),
        peers,
        gateways: explicit.gateways,
        originate: announced.originate,
        pools: announced.pools,
        withheld: announced.withheld,
    })
}

/// Every other node that has an address of another and, like this one, reflects nothing.
///
/// Of two nodes the one with the lexically larger address dials.
fn mesh(
    tables: &Tables,
    speakers: &BTreeMap<String, Speaker>,
    own: &Speaker,
    problems: &mut Vec<String>,
) -> BTreeMap<SocketAddrV4, Peer> {
    let default = tables.bgp_configurations.get("default");
    let enabled = default.and_then(|spec| spec.node_to_node_mesh_enabled).unwrap_or(true);
    if !enabled || own.cluster.is_some() {
        return BTreeMap::new();
    }
    let password = default.and_then(|spec| secret(spec.node_mesh_password.as_ref()));
    let restart_time = default.and_then(|spec| spec.node_mesh_max_restart_time.as_deref());
    let restart_time =
        restart_time.and_then(|text| time(text, "BGPConfiguration default: nodeMeshMaxRestartTime", problems));
    let others = speakers.values().filter(|other| other.address != own.address && other.cluster.is_none());
    let peer = |other: &Speaker| Peer {
        passive: dials(other.address, own.address),
        password: password.clone(),
        restart_time,
        ..Peer::new(other.asn, PeerSource::Mesh)
    };
    others.map(|other| (other.socket(), peer(other))).collect()
}

/// Whether the first of two nodes opens the connection between them: addresses compare as text, as Calico does.
fn dials(first: Ipv4Addr, second: Ipv4Addr) -> bool {
    first.to_string() > second.to_string()
}

/// A BGP setting of a node: its own configuration's, else the cluster's.
fn setting<'a, T>(
    tables: &'a Tables,
    node: &str,
    read: impl Fn(&'a api::kind::BgpConfigurationSpec) -> Option<T>,
) -> Option<T> {
    let layer = |name: &str| tables.bgp_configurations.get(name).and_then(&read);
    layer(&format!("node.{node}")).or_else(|| layer("default"))
}

/// The cluster's AS.
fn cluster_as(tables: &Tables) -> Asn {
    let default = tables.bgp_configurations.get("default");
    default.and_then(|spec| spec.as_number).map_or(Asn::DEFAULT, Asn)
}

/// The nodes that have an IPv4 address, by name.
fn speakers(tables: &Tables) -> BTreeMap<String, Speaker> {
    let speaker = |name: &String| {
        let bgp = tables.nodes[name].spec.bgp.as_ref()?;
        Some(Speaker {
            name: name.clone(),
            address: bgp.ipv4_address.split('/').next()?.parse().ok()?,
            asn: bgp.as_number.map_or_else(|| cluster_as(tables), Asn),
            port: setting(tables, name, |spec| spec.listen_port).unwrap_or(BGP_PORT),
            cluster: Some(bgp.route_reflector_cluster_id.clone()).filter(|id| !id.is_empty()),
        })
    };
    tables.nodes.keys().filter_map(|name| Some((name.clone(), speaker(name)?))).collect()
}

/// Where a password is, if a secret is named.
fn secret(password: Option<&BgpPassword>) -> Option<SecretKey> {
    let reference = password?.secret_key_ref.as_ref()?;
    let optional = reference.optional == Some(true);
    Some(SecretKey { name: reference.name.clone(), key: reference.key.clone(), optional })
}

/// Reads a time, rounded to seconds as BIRD takes them.
fn time(text: &str, field: &str, problems: &mut Vec<String>) -> Option<Duration> {
    match api::duration::parse(text) {
        Ok(time) => Some(Duration::from_secs(time.as_secs_f64().round() as u64)),
        Err(reason) => {
            problems.push(format!("{field} {text:?}: {reason}; the default applies"));
            None
        }
    }
}

/// The pools' CIDRs that fit a condition.
fn pools(tables: &Tables, fits: impl Fn(&model::desired::Pool) -> bool) -> impl Iterator<Item = Ipv4Net> {
    let pools = tables.pools.values().filter_map(api::resource::Typed::to_model);
    pools.filter(move |(_, pool)| fits(pool)).map(|(cidr, _)| cidr)
}
