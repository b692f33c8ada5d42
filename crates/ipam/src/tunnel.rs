//! The address of a node's tunnel device.
//!
//! It comes from the pools that use the tunnel and are open to the node, and is held by a handle of the node's
//! own, so that a node that died between getting an address and noting it finds it again. Writing the address
//! into the Node is the caller's part.

use crate::Ipam;
use crate::auto_assign::{AutoAssign, AutoAssignError, Family, Shortage};
use crate::pool::{Pool, Use};
use crate::query::LookupError;
use crate::release::{Release, ReleaseError};
use crate::stored::Partial;
use api::event::{Key, Object};
use api::kind::NodeSpec;
use api::{Kind, Resource, Typed};
use datastore::Error;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A kind of tunnel device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    /// `tunl0`.
    Ipip,
    /// `vxlan.calico`.
    Vxlan,
    /// `vxlan-v6.calico`.
    VxlanV6,
}

impl Tunnel {
    /// The handle that holds the address on a node.
    pub fn handle(self, node: &str) -> String {
        let kind = match self {
            Tunnel::Ipip => "ipip",
            Tunnel::Vxlan => "vxlan",
            Tunnel::VxlanV6 => "vxlan-v6",
        };
        format!("{kind}-tunnel-addr-{node}")
    }

    /// The attribute `type` of the address.
    pub fn attribute(self) -> &'static str {
        match self {
            Tunnel::Ipip => "ipipTunnelAddress",
            Tunnel::Vxlan => "vxlanTunnelAddress",
            Tunnel::VxlanV6 => "vxlanV6TunnelAddress",
        }
    }

    fn family(self) -> Family {
        match self {
            Tunnel::Ipip | Tunnel::Vxlan => Family::V4,
            Tunnel::VxlanV6 => Family::V6,
        }
    }

    /// The address that the Node names.
    fn noted(self, node: &NodeSpec) -> Option<IpAddr> {
        let text = match self {
            Tunnel::Ipip => node.bgp.as_ref().map(|bgp| bgp.ipv4_ipip_tunnel_addr.as_str()),
            Tunnel::Vxlan => Some(node.ipv4_vxlan_tunnel_addr.as_str()),
            Tunnel::VxlanV6 => Some(node.ipv6_vxlan_tunnel_addr.as_str()),
        };
        text?.parse().ok()
    }
}

/// Why a node has no tunnel address although a pool asks for one.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The pools have none left.
    #[error(transparent)]
    Shortage(Shortage),
    /// None could be assigned.
    #[error(transparent)]
    Assign(#[from] AutoAssignError),
    /// One that must go could not be released.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// What the node has could not be found out.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The datastore failed, or the node is not in it.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Makes sure that a node has exactly one address for a tunnel, or none where no pool asks for the tunnel.
///
/// Returns the address to be noted in the Node. The one it has is kept while it is the node's and inside an
/// eligible pool, or may be inside one that cannot be read.
pub async fn ensure_tunnel_address(ipam: &Ipam<'_>, node: &str, tunnel: Tunnel) -> Result<Option<IpAddr>, TunnelError> {
    let resource = ipam.read_node(node).await?;
    let Partial { found: pools, unreadable } = ipam.read_pools().await?;
    let eligible: Vec<IpNet> =
        pools.iter().filter(|pool| is_eligible(pool, &resource, tunnel)).map(|pool| pool.cidr).collect();
    let handle = tunnel.handle(node);
    let attrs =
        BTreeMap::from([("node".to_owned(), node.to_owned()), ("type".to_owned(), tunnel.attribute().to_owned())]);

    let held: Vec<IpAddr> = match ipam.ips_by_handle(&handle).await {
        Ok(addresses) => addresses.iter().map(IpNet::addr).collect(),
        Err(LookupError::NoSuchHandle(_)) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let noted = tunnel.noted(&resource.spec);
    let mut kept = None;
    let candidates = noted.iter().chain(held.iter().filter(|address| Some(**address) != noted));
    for address in candidates {
        let may_stay = || {
            let readable = pools.iter().find(|pool| pool.cidr.contains(address)).map(|pool| pool.cidr);
            readable.map_or(!unreadable.is_empty(), |pool| eligible.contains(&pool))
        };
        if kept.is_none() && may_stay() && ipam.is_held_with(*address, &attrs).await? {
            kept = Some(*address);
        }
    }
    let surplus = held.into_iter().filter(|address| Some(*address) != kept);
    let releases: Vec<Release> =
        surplus.map(|address| Release { address, handle: Some(handle.clone()), sequence: None }).collect();
    if !releases.is_empty() {
        tracing::info!(node, ?tunnel, ?releases, "releasing tunnel addresses");
        ipam.release_ips(&releases).await?;
    }
    if kept.is_some() || eligible.is_empty() {
        return Ok(kept);
    }

    let (num_v4, num_v6) = match tunnel.family() {
        Family::V4 => (1, 0),
        Family::V6 => (0, 1),
    };
    let request = AutoAssign {
        num_v4,
        num_v6,
        handle: Some(handle),
        attrs,
        host: node.to_owned(),
        pools: Some(eligible),
        use_: Use::Tunnel,
        ..AutoAssign::default()
    };
    let assigned = ipam.auto_assign(&request).await?;
    let address = assigned.v4.first().or(assigned.v6.first()).map(IpNet::addr);
    match assigned.shortages.into_iter().next() {
        Some(shortage) => Err(TunnelError::Shortage(shortage)),
        None => Ok(address),
    }
}

fn is_eligible(pool: &Pool, node: &Typed<NodeSpec>, tunnel: Tunnel) -> bool {
    pool.enabled
        && Family::of(pool.cidr) == tunnel.family()
        && pool.encapsulates(tunnel)
        && pool.allows(Use::Tunnel)
        && pool.selects_node(&node.metadata.labels)
}

impl Ipam<'_> {
    async fn read_node(&self, node: &str) -> Result<Typed<NodeSpec>, Error> {
        let key = Key::global(Kind::Node, node);
        let entry = self.store.get(&key).await?;
        let Object::Resource(Resource::Node(node)) = entry.object else {
            return Err(Error::NotFound(format!("Node({node})")));
        };
        Ok(*node)
    }

    /// Whether an address is assigned with at least these attributes.
    async fn is_held_with(&self, address: IpAddr, attrs: &BTreeMap<String, String>) -> Result<bool, LookupError> {
        let attribute = match self.attributes_of(address).await {
            Ok(attribute) => attribute,
            Err(LookupError::NotAssigned(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        let held = attribute.secondary.unwrap_or_default();
        Ok(attrs.iter().all(|(name, value)| held.get(name) == Some(value)))
    }
}
