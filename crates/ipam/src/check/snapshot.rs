//! Everything that a check looks at, as of one moment.

use crate::Ipam;
use crate::owner::Owner;
use crate::pool::Pool;
use crate::stored::as_affinity;
use api::event::{Key, Object, Revision};
use api::ipam::{AffinityState, Block, Handle};
use api::kind::{NodeSpec, WorkloadEndpointSpec};
use api::{Kind, Resource, Typed};
use datastore::{Error, Scope};
use ipnet::IpNet;

/// How often everything is read until it is as of one moment.
const READINGS: usize = 5;

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
    /// Whether nothing changed while it was read. If not, what was being added or deleted may look wrong.
    pub settled: bool,
}

impl Snapshot {
    /// The ranges of the pools that are not disabled.
    pub fn active_pools(&self) -> Vec<IpNet> {
        self.pools.iter().filter(|pool| pool.enabled).map(|pool| pool.cidr).collect()
    }
}

impl Ipam<'_> {
    /// Reads everything that a check looks at, anew until the datastore stood still meanwhile, five times at most.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        let mut snapshot = Snapshot::default();
        for _ in 0..READINGS {
            snapshot = self.read_snapshot().await?;
            if snapshot.settled {
                break;
            }
        }
        Ok(snapshot)
    }

    async fn read_snapshot(&self) -> Result<Snapshot, Error> {
        let mut snapshot = Snapshot::default();
        let (nodes, first) = self.store.list(&Scope::Kind(Kind::Node)).await?;
        for entry in nodes {
            let Object::Resource(Resource::Node(node)) = entry.object else { continue };
            snapshot.nodes.push(*node);
        }
        snapshot.pools = self.read_pools().await?;
        snapshot.blocks = self.blocks().await?;
        let (affinities, _) = self.store.list(&Scope::Affinities).await?;
        let affinities = affinities.into_iter().filter_map(as_affinity);
        snapshot.affinities.extend(affinities.map(|(owner, block, affinity)| (owner, block, affinity.value.state)));
        let (handles, _) = self.store.list(&Scope::Handles).await?;
        for entry in handles {
            let (Key::Handle(id), Object::Handle(handle)) = (entry.key, entry.object) else { continue };
            snapshot.handles.push(HandleRecord { id, revision: entry.revision, handle });
        }
        let (endpoints, last) = self.store.list(&Scope::Kind(Kind::WorkloadEndpoint)).await?;
        for entry in endpoints {
            let Object::Resource(Resource::WorkloadEndpoint(endpoint)) = entry.object else { continue };
            snapshot.endpoints.push(*endpoint);
        }
        snapshot.settled = first == last;
        Ok(snapshot)
    }
}
