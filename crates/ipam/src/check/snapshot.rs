//! Everything that a check looks at, as of one moment.

use crate::owner::Owner;
use crate::pool::Pool;
use crate::stored::as_affinity;
use crate::{Ipam, answers};
use api::event::{Key, Object, Revision, Unreadable};
use api::ipam::{AffinityState, Block, Handle};
use api::kind::{NodeSpec, WorkloadEndpointSpec};
use api::{Kind, Resource, Typed};
use datastore::{Error, Query, Scope};
use ipnet::IpNet;

/// A stored handle.
#[derive(Clone, Debug, PartialEq)]
pub struct HandleRecord {
    /// Its ID.
    pub id: String,
    /// The revision it was read at.
    pub revision: Revision,
    /// What it counts.
    pub handle: Handle,
}

/// Everything that a check looks at.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Every block, in key order.
    pub blocks: Vec<Block>,
    /// Every affinity.
    pub affinities: Vec<(Owner, IpNet, AffinityState)>,
    /// Every handle, by ID.
    pub handles: Vec<HandleRecord>,
    /// Every pool, by name.
    pub pools: Vec<Pool>,
    /// Every node.
    pub nodes: Vec<Typed<NodeSpec>>,
    /// Every workload endpoint.
    pub endpoints: Vec<Typed<WorkloadEndpointSpec>>,
    /// What of all that cannot be read.
    pub unreadable: Vec<Unreadable>,
}

impl Snapshot {
    /// The ranges of the pools that are not disabled.
    pub fn active_pools(&self) -> Vec<IpNet> {
        self.pools.iter().filter(|pool| pool.enabled).map(|pool| pool.cidr).collect()
    }
}

impl Ipam<'_> {
    /// Reads everything that a check looks at, as of one moment.
    ///
    /// What is just being added or deleted may look wrong then: an address is allocated before its endpoint is there.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        let all = |scope| Query::List(scope);
        let mut answers = self
            .ask(&[
                answers::pools(),
                answers::blocks(),
                all(Scope::Affinities),
                all(Scope::Handles),
                all(Scope::Kind(Kind::Node)),
                all(Scope::Kind(Kind::WorkloadEndpoint)),
            ])
            .await?;
        let (pools, blocks) = (answers.pools(), answers.blocks());
        let mut unreadable = [pools.unreadable, blocks.unreadable].concat();
        let blocks = blocks.found.into_iter().map(|stored| stored.value).collect();
        let mut snapshot = Snapshot { pools: pools.found, blocks, ..Snapshot::default() };
        let mut entries = || {
            let listing = answers.next();
            unreadable.extend(listing.unreadable);
            listing.entries
        };
        let affinities = entries().into_iter().filter_map(as_affinity);
        snapshot.affinities.extend(affinities.map(|(owner, block, affinity)| (owner, block, affinity.value.state)));
        for entry in entries() {
            let (Key::Handle(id), Object::Handle(handle)) = (entry.key, entry.object) else { continue };
            snapshot.handles.push(HandleRecord { id, revision: entry.revision, handle });
        }
        for entry in entries() {
            let Object::Resource(Resource::Node(node)) = entry.object else { continue };
            snapshot.nodes.push(*node);
        }
        for entry in entries() {
            let Object::Resource(Resource::WorkloadEndpoint(endpoint)) = entry.object else { continue };
            snapshot.endpoints.push(*endpoint);
        }
        snapshot.unreadable = unreadable;
        Ok(snapshot)
    }
}
