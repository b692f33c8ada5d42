//! Who uses addresses: nodes, workload endpoints, and what can only be taken at its word.

use super::allocation::Allocation;
use super::snapshot::Snapshot;
use crate::block::trim_handle;
use api::Typed;
use api::kind::{NodeSpec, WorkloadEndpointSpec};
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;

/// The handle of the addresses that Windows keeps of every block.
pub(super) const WINDOWS_HANDLE: &str = "windows-reserved-ipam-handle";

/// The attribute `type` of a service's address.
const LOAD_BALANCER: &str = "LoadBalancer";

/// Somebody who uses an address.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// The address.
    pub address: IpAddr,
    /// Who.
    pub kind: UserKind,
}

/// A kind of user.
#[derive(Clone, Debug, PartialEq)]
pub enum UserKind {
    /// A node, for a tunnel device.
    Node(String),
    /// A workload endpoint.
    Workload {
        /// `NAMESPACE/NAME`.
        name: String,
        /// The node it is on, or empty.
        node: String,
        /// `NAMESPACE/POD` of a pod, else empty.
        pod: String,
        /// The container, or empty.
        container: String,
    },
    /// A service; services are not read, so the allocation is believed.
    Service(String),
    /// Windows, which keeps some addresses of every block.
    Windows,
}

/// As reports name a user.
impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            UserKind::Node(name) => write!(f, "Node({name})"),
            UserKind::Workload { name, .. } => write!(f, "Workload({name})"),
            UserKind::Service(name) => write!(f, "Service({name})"),
            UserKind::Windows => f.write_str("Reserved for Windows"),
        }
    }
}

impl User {
    /// To whom the address is allocated, if that is not this user.
    ///
    /// What an allocation does not tell is no contradiction.
    pub(super) fn is_stranger_to(&self, allocation: &Allocation) -> Option<String> {
        let holder = |what: &str, own: &str| {
            let given = allocation.attribute(what).filter(|_| !own.is_empty())?;
            (given != own).then(|| format!("{what} {given}"))
        };
        match &self.kind {
            UserKind::Node(name) => holder("node", name).or_else(|| pod_of(allocation).map(|pod| format!("pod {pod}"))),
            UserKind::Workload { node, pod, container, .. } => {
                let tunnel = allocation.attribute("type").filter(|kind| kind.ends_with("TunnelAddress"));
                let tunnel = tunnel.map(|kind| format!("{kind} of node {}", allocation.node));
                tunnel
                    .or_else(|| holder("node", node))
                    .or_else(|| pod_of(allocation).filter(|given| !pod.is_empty() && given != pod))
                    .or_else(|| other_container(allocation, container))
            }
            UserKind::Service(_) | UserKind::Windows => None,
        }
    }
}

fn pod_of(allocation: &Allocation) -> Option<String> {
    let pod = allocation.attribute("pod")?;
    Some(format!("{}/{pod}", allocation.attribute("namespace").unwrap_or_default()))
}

/// The handle, if it is that of another container: a handle ends in its container.
///
/// A virtual machine's handle does not: it outlives containers.
fn other_container(allocation: &Allocation, container: &str) -> Option<String> {
    let handle = trim_handle(allocation.handle.as_deref()?);
    let machine = ["vmi-name", "vmi-uid", "vm-uid"].iter().any(|name| allocation.attribute(name).is_some());
    let own = container.is_empty() || machine || handle.ends_with(&format!(".{container}")) || handle == container;
    (!own).then(|| format!("handle {handle}"))
}

/// Every user, and which addresses cannot be read.
pub(super) fn all<'a>(
    snapshot: &Snapshot,
    allocations: impl Iterator<Item = &'a Allocation>,
) -> (Vec<User>, Vec<String>) {
    let mut users = Vec::new();
    let mut unreadable = Vec::new();
    let mut add = |text: &str, kind: UserKind| match address(text) {
        Some(address) => users.push(User { address, kind }),
        None => {
            let owner = User { address: IpAddr::from([0; 4]), kind };
            unreadable.push(format!("{owner} has the address {text:?}, which cannot be read"));
        }
    };
    for node in &snapshot.nodes {
        for text in tunnel_addresses(&node.spec) {
            add(text, UserKind::Node(node.metadata.name.clone()));
        }
    }
    for endpoint in &snapshot.endpoints {
        for text in &endpoint.spec.ip_networks {
            add(text, workload(endpoint));
        }
    }
    for allocation in allocations {
        if allocation.handle.as_deref() == Some(WINDOWS_HANDLE) {
            users.push(User { address: allocation.address, kind: UserKind::Windows });
        } else if allocation.attribute("type") == Some(LOAD_BALANCER) {
            let service = allocation.attribute("service").unwrap_or_default();
            let name = format!("{}/{service}", allocation.attribute("namespace").unwrap_or_default());
            users.push(User { address: allocation.address, kind: UserKind::Service(name) });
        }
    }
    (users, unreadable)
}

fn tunnel_addresses(node: &NodeSpec) -> impl Iterator<Item = &str> {
    let wireguard = node.wireguard.as_ref();
    let texts = [
        Some(node.ipv4_vxlan_tunnel_addr.as_str()),
        Some(node.ipv6_vxlan_tunnel_addr.as_str()),
        wireguard.map(|wireguard| wireguard.interface_ipv4_address.as_str()),
        wireguard.map(|wireguard| wireguard.interface_ipv6_address.as_str()),
        node.bgp.as_ref().map(|bgp| bgp.ipv4_ipip_tunnel_addr.as_str()),
    ];
    texts.into_iter().flatten().filter(|text| !text.is_empty())
}

fn workload(endpoint: &Typed<WorkloadEndpointSpec>) -> UserKind {
    let (metadata, spec) = (&endpoint.metadata, &endpoint.spec);
    let within = |name: &str| format!("{}/{name}", metadata.namespace);
    UserKind::Workload {
        name: within(&metadata.name),
        node: spec.node.clone(),
        pod: if spec.pod.is_empty() { String::new() } else { within(&spec.pod) },
        container: spec.container_id.clone(),
    }
}

/// Reads an address with or without a prefix length.
fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| text.parse().ok().map(|net: IpNet| net.addr()))
}
