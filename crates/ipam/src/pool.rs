//! Pools as IPAM sees them, and which of them an address may come from.

use crate::Ipam;
use crate::auto_assign::{AutoAssignError, Family};
use crate::start::PoolBlocks;
use crate::stored::Partial;
use crate::tunnel::Tunnel;
use api::event::{Entry, Key, Object, Revision, Unreadable};
use api::kind::IpPoolSpec;
use api::selector::Selector;
use api::{Kind, Resource, Typed};
use datastore::{Error, Listing, Scope, Write, layout};
use ipnet::IpNet;
use std::collections::BTreeMap;

/// What an address is for; a pool may be closed to some uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Use {
    /// A pod or container.
    #[default]
    Workload,
    /// A node's tunnel device.
    Tunnel,
    /// A service of type LoadBalancer.
    LoadBalancer,
}

impl Use {
    /// The word in `allowedUses`.
    pub fn name(self) -> &'static str {
        match self {
            Use::Workload => "Workload",
            Use::Tunnel => "Tunnel",
            Use::LoadBalancer => "LoadBalancer",
        }
    }
}

/// An IPPool with its defaults filled in.
#[derive(Clone, Debug)]
pub struct Pool {
    /// The resource's name.
    pub name: String,
    /// The pool's range.
    pub cidr: IpNet,
    /// Prefix length of its blocks.
    pub block_size: u8,
    /// Whether it may give out addresses at all: not disabled, not being deleted, not refused by its status.
    pub enabled: bool,
    revision: Revision,
    spec: IpPoolSpec,
}

impl Pool {
    /// Reads a resource; the error says what is wrong with its CIDR.
    pub fn new(resource: &Typed<IpPoolSpec>) -> Result<Self, String> {
        let spec = &resource.spec;
        let cidr: IpNet = spec.cidr.parse().map_err(|error| format!("spec.cidr {:?}: {error}", spec.cidr))?;
        let default_size = if cidr.max_prefix_len() == 32 { 26 } else { 122 };
        Ok(Pool {
            name: resource.metadata.name.clone(),
            cidr: cidr.trunc(),
            block_size: spec.block_size.unwrap_or(default_size),
            enabled: !spec.disabled
                && resource.metadata.deletion_timestamp.is_none()
                && !resource.status.as_ref().is_some_and(refuses_allocation),
            revision: Revision(resource.metadata.resource_version.clone()),
            spec: spec.clone(),
        })
    }

    /// The pools of a list, in the order of their names. One whose CIDR cannot be read counts as unreadable.
    pub(crate) fn all(listing: Listing) -> Partial<Pool> {
        let mut pools = Partial { found: Vec::new(), unreadable: listing.unreadable };
        for Entry { key, object, .. } in listing.entries {
            let Object::Resource(Resource::IPPool(resource)) = object else { continue };
            match Pool::new(&resource) {
                Ok(pool) => pools.found.push(pool),
                Err(reason) => pools.unreadable.push(Unreadable { key, reason }),
            }
        }
        pools.found.sort_by(|a, b| a.name.cmp(&b.name));
        for Unreadable { key, reason } in &pools.unreadable {
            tracing::warn!(key = %layout::path(key), reason, "a pool that cannot be read gives out no address");
        }
        pools
    }

    /// Makes a transaction fail if the pool is not as it was read: deleted, disabled, for others.
    pub(crate) fn expect(&self) -> Write {
        Write::Expect(Key::global(Kind::IPPool, &self.name), Some(self.revision.clone()))
    }

    /// Whether two lists are of the same pools, unchanged.
    pub(crate) fn are_unchanged(before: &[Pool], now: &[Pool]) -> bool {
        let same = |(one, other): (&Pool, &Pool)| one.name == other.name && one.revision == other.revision;
        before.len() == now.len() && before.iter().zip(now).all(same)
    }

    /// The pool's blocks.
    pub fn blocks(&self) -> PoolBlocks {
        PoolBlocks::new(self.cidr, self.block_size)
    }

    /// Whether addresses for this use may come from the pool.
    pub fn allows(&self, wanted: Use) -> bool {
        match self.spec.allowed_uses.as_slice() {
            [] => wanted != Use::LoadBalancer,
            allowed => allowed.iter().any(|word| word == wanted.name()),
        }
    }

    /// Whether a node with these labels may use the pool.
    pub fn selects_node(&self, labels: &BTreeMap<String, String>) -> bool {
        self.selects("nodeSelector", &self.spec.node_selector, labels)
    }

    /// Whether `ipipMode` or `vxlanMode` asks for the tunnel.
    pub fn encapsulates(&self, tunnel: Tunnel) -> bool {
        let mode = match tunnel {
            Tunnel::Ipip => &self.spec.ipip_mode,
            Tunnel::Vxlan | Tunnel::VxlanV6 => &self.spec.vxlan_mode,
        };
        !mode.is_empty() && mode != "Never"
    }

    fn selects_namespace(&self, labels: &BTreeMap<String, String>) -> bool {
        self.selects("namespaceSelector", &self.spec.namespace_selector, labels)
    }

    fn is_automatic(&self) -> bool {
        self.spec.assignment_mode != "Manual"
    }

    /// An empty selector selects all; one that cannot be read selects nothing.
    fn selects(&self, field: &str, selector: &str, labels: &BTreeMap<String, String>) -> bool {
        if selector.trim().is_empty() {
            return true;
        }
        match Selector::parse(selector) {
            Ok(selector) => selector.matches(labels),
            Err(error) => {
                tracing::warn!(pool = self.name, field, selector, %error, "pool selects nothing: its selector cannot be read");
                false
            }
        }
    }
}

/// Whether a status has the condition `Allocatable` = `False`.
fn refuses_allocation(status: &serde_json::Value) -> bool {
    let conditions = status.get("conditions").and_then(serde_json::Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Allocatable" && condition["status"] == "False")
}

/// What the choice of pools depends on besides the pools.
pub(crate) struct Chooser<'r> {
    pub(crate) family: Family,
    /// The CIDRs asked for, of any family.
    pub(crate) requested: Option<&'r [IpNet]>,
    pub(crate) wanted: Use,
    pub(crate) node: &'r str,
    pub(crate) node_labels: &'r BTreeMap<String, String>,
    pub(crate) namespace_labels: &'r BTreeMap<String, String>,
}

impl Chooser<'_> {
    /// The pools an address may come from, in the order of their names.
    pub(crate) fn choose<'p>(&self, pools: &'p [Pool]) -> Result<Vec<&'p Pool>, AutoAssignError> {
        let enabled = || pools.iter().filter(|pool| pool.enabled && Family::of(pool.cidr) == self.family);
        let requested: Vec<IpNet> = self.requested.unwrap_or_default().iter().map(IpNet::trunc).collect();
        let requested: Vec<IpNet> = requested.into_iter().filter(|cidr| Family::of(*cidr) == self.family).collect();
        if let Some(missing) = requested.iter().find(|cidr| !enabled().any(|pool| pool.cidr == **cidr)) {
            return Err(AutoAssignError::PoolNotEnabled { cidr: *missing });
        }
        let qualified: Vec<&Pool> = enabled().filter(|pool| pool.blocks().count() > 0).collect();
        if qualified.is_empty() {
            return Err(AutoAssignError::NoQualifiedPool);
        }
        let selected: Vec<&Pool> = if requested.is_empty() {
            let selects = |pool: &&Pool| {
                pool.is_automatic()
                    && pool.selects_node(self.node_labels)
                    && pool.selects_namespace(self.namespace_labels)
            };
            qualified.into_iter().filter(selects).collect()
        } else {
            qualified.into_iter().filter(|pool| requested.contains(&pool.cidr)).collect()
        };
        if selected.is_empty() {
            return Err(AutoAssignError::NoConfiguredPool { node: self.node.to_owned() });
        }
        let usable: Vec<&Pool> = selected.into_iter().filter(|pool| pool.allows(self.wanted)).collect();
        if usable.is_empty() {
            return Err(AutoAssignError::NoPoolForUse { wanted: self.wanted.name() });
        }
        Ok(usable)
    }
}

impl Ipam<'_> {
    /// Every pool, in the order of their names.
    pub(crate) async fn read_pools(&self) -> Result<Partial<Pool>, Error> {
        let (listing, _) = self.store.list(&Scope::Kind(Kind::IPPool)).await?;
        Ok(Pool::all(listing))
    }
}
