//! Assigning any free addresses to a holder on a node.
//!
//! Three sources, in this order: blocks the node owns; a block it claims; and, unless affinity is strict, free
//! addresses of other nodes' blocks. Each gain is one transaction over affinity, block and handle. If the
//! operation fails half-way, what it had already gained is given back.

use crate::block::{self, Holder};
use crate::handle::HandleCursor;
use crate::owner::Owner;
use crate::pool::{Chooser, Pool, Use};
use crate::release::Release;
use crate::start::{Seed, Walk};
use crate::stored::{Commit, Stored, confirm, put_block};
use crate::{ATTEMPTS, Condition, Ipam, clock};
use api::event::{Key, Object};
use api::ipam::{Affinity, AffinityState, Block, Config};
use api::{Kind, Resource};
use datastore::{Error, Write};
use futures::try_join;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::fmt;

/// The most blocks a host may own when neither the request nor the configuration says.
const DEFAULT_MAX_BLOCKS: usize = 20;

/// A request for any addresses.
#[derive(Clone, Debug, Default)]
pub struct AutoAssign {
    /// How many IPv4 addresses.
    pub num_v4: usize,
    /// How many IPv6 addresses.
    pub num_v6: usize,
    /// The handle they are to be found by.
    pub handle: Option<String>,
    /// Attributes kept with them: `pod`, `namespace`, `node`, `timestamp`, `type`.
    pub attrs: BTreeMap<String, String>,
    /// The node they are for; not used with [`Use::LoadBalancer`].
    pub host: String,
    /// Take them from these pools alone, whatever the pools' selectors say; a family without an entry is not bound.
    pub pools: Option<Vec<IpNet>>,
    /// What they are for.
    pub use_: Use,
    /// The most blocks the host may own in the pools concerned; 0 leaves it to the configuration.
    pub max_blocks: usize,
    /// Labels of the holder's namespace, for the pools' `namespaceSelector`.
    pub namespace_labels: BTreeMap<String, String>,
    /// Ranges out of which nothing is given: the cluster's IPReservations.
    pub reserved: Vec<IpNet>,
}

/// Addresses assigned, each with its block's prefix length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assigned {
    /// IPv4 addresses.
    pub v4: Vec<IpNet>,
    /// IPv6 addresses.
    pub v6: Vec<IpNet>,
    /// The families of which there were too few.
    pub shortages: Vec<Shortage>,
}

/// Fewer addresses than requested could be assigned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Assigned {assigned} out of {requested} requested {family} addresses; {}", reasons.join("; "))]
pub struct Shortage {
    /// The family concerned.
    pub family: Family,
    /// How many were assigned.
    pub assigned: usize,
    /// How many were requested.
    pub requested: usize,
    /// Why there are no more.
    pub reasons: Vec<String>,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of a network.
    pub fn of(net: IpNet) -> Family {
        match net {
            IpNet::V4(_) => Family::V4,
            IpNet::V6(_) => Family::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// Why no address was assigned. The texts are those an operator knows from Calico.
#[derive(Debug, thiserror::Error)]
pub enum AutoAssignError {
    /// A pool was asked for that is not there or not open.
    #[error("the given pool ({cidr}) does not exist, or is not enabled")]
    PoolNotEnabled {
        /// The pool asked for.
        cidr: IpNet,
    },
    /// The family has no open pool.
    #[error("cannot find a qualified ippool")]
    NoQualifiedPool,
    /// No open pool selects the node and the namespace.
    #[error("no configured Calico pools for node {node}")]
    NoConfiguredPool {
        /// The node.
        node: String,
    },
    /// No selected pool is open to the use.
    #[error("cannot find a qualified ippool, no pools match the required use {wanted}")]
    NoPoolForUse {
        /// The use.
        wanted: &'static str,
    },
    /// The host owns as many blocks as it may, and all are full.
    #[error("cannot allocate new block due to per host block limit: {owner} has {limit}, all full")]
    BlockLimit {
        /// The owner of the blocks.
        owner: String,
        /// The limit.
        limit: usize,
    },
    /// Other writers were faster, every time.
    #[error("assign {family} addresses for {owner}: other writers were faster {ATTEMPTS} times")]
    Contended {
        /// The family.
        family: Family,
        /// The owner of the blocks.
        owner: String,
    },
    /// The datastore failed, or the node is not in it.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Ipam<'_> {
    /// Assigns addresses: all that were asked for, or those there are with the [`Shortage`] that says why.
    ///
    /// On an error nothing stays assigned.
    pub async fn auto_assign(&self, request: &AutoAssign) -> Result<Assigned, AutoAssignError> {
        let owner = match request.use_ {
            Use::Workload | Use::Tunnel => Owner::host(&request.host),
            Use::LoadBalancer => Owner::load_balancer(),
        };
        let cluster = self.read_cluster(&owner, request).await?;
        let handle = request.handle.as_deref().map(block::trim_handle);
        let mut cursor = HandleCursor::new(handle);
        let mut gained = [Vec::new(), Vec::new()];
        let mut shortages = Vec::new();
        for (index, (family, wanted)) in
            [(Family::V4, request.num_v4), (Family::V6, request.num_v6)].into_iter().enumerate()
        {
            if wanted == 0 {
                continue;
            }
            let mut search = Search {
                ipam: self,
                request,
                owner: &owner,
                cluster: &cluster,
                holder: Holder { handle: handle.map(str::to_owned), attributes: request.attrs.clone() },
                cursor: &mut cursor,
                family,
                wanted,
                gained: Vec::new(),
            };
            let outcome = search.run().await;
            gained[index] = search.gained;
            match outcome {
                Ok(reasons) if gained[index].len() < wanted => {
                    shortages.push(Shortage { family, assigned: gained[index].len(), requested: wanted, reasons });
                }
                Ok(_) => {}
                Err(error) => {
                    self.give_back(gained.concat(), handle).await;
                    return Err(error);
                }
            }
        }
        let [v4, v6] = gained;
        Ok(Assigned { v4, v6, shortages })
    }

    async fn read_cluster(&self, owner: &Owner, request: &AutoAssign) -> Result<Cluster, Error> {
        let node_labels = async {
            match request.use_ {
                Use::Workload | Use::Tunnel => self.read_node_labels(&request.host).await,
                Use::LoadBalancer => Ok(BTreeMap::new()),
            }
        };
        let (node_labels, config, pools, affinities) =
            try_join!(node_labels, self.config(), self.read_pools(), self.read_affinities(owner))?;
        Ok(Cluster { config, pools, node_labels, affinities })
    }

    pub(crate) async fn read_node_labels(&self, node: &str) -> Result<BTreeMap<String, String>, Error> {
        let entry = self.store.get(&Key::global(Kind::Node, node)).await?;
        let Object::Resource(Resource::Node(node)) = entry.object else { return Ok(BTreeMap::new()) };
        Ok(node.metadata.labels)
    }

    async fn give_back(&self, addresses: Vec<IpNet>, handle: Option<&str>) {
        let releases: Vec<Release> = addresses
            .iter()
            .map(|net| Release { address: net.addr(), handle: handle.map(str::to_owned), sequence: None })
            .collect();
        if let Err(error) = self.release_ips(&releases).await {
            tracing::warn!(?addresses, %error, "addresses of a failed request stay assigned");
        }
    }
}

/// What a request depends on, read at once and once.
struct Cluster {
    config: Config,
    pools: Vec<Pool>,
    node_labels: BTreeMap<String, String>,
    affinities: Vec<(IpNet, Stored<Affinity>)>,
}

/// The search for addresses of one family.
pub(crate) struct Search<'s, 'h> {
    pub(crate) ipam: &'s Ipam<'s>,
    request: &'s AutoAssign,
    pub(crate) owner: &'s Owner,
    cluster: &'s Cluster,
    pub(crate) holder: Holder,
    pub(crate) cursor: &'s mut HandleCursor<'h>,
    pub(crate) family: Family,
    pub(crate) wanted: usize,
    pub(crate) gained: Vec<IpNet>,
}

impl Search<'_, '_> {
    /// Gains what it can, and says why if that is too little.
    async fn run(&mut self) -> Result<Vec<String>, AutoAssignError> {
        let chooser = Chooser {
            family: self.family,
            requested: self.request.pools.as_deref(),
            wanted: self.request.use_,
            node: &self.owner.name,
            node_labels: &self.cluster.node_labels,
            namespace_labels: &self.request.namespace_labels,
        };
        let pools = chooser.choose(&self.cluster.pools)?;
        let of_family = self.cluster.affinities.iter().filter(|(block, _)| Family::of(*block) == self.family);
        let (own, strays): (Vec<_>, Vec<_>) =
            of_family.partition(|(block, _)| pools.iter().any(|pool| pool.cidr.contains(block)));
        for (block, _) in strays {
            self.ipam.let_go_if_deselected(self.owner, *block, &self.cluster.pools, &self.cluster.node_labels).await;
        }

        let mut owned = 0;
        for (block, affinity) in own {
            if self.missing() == 0 {
                return Ok(Vec::new());
            }
            owned += usize::from(self.take_from_own(*block, affinity.clone()).await?);
        }
        let limit = self.block_limit();
        while self.missing() > 0 {
            if owned >= limit {
                return self.limit_reached(limit);
            }
            if !self.cluster.config.auto_allocate_blocks || !self.claim(&pools).await? {
                break;
            }
            owned += 1;
        }
        if self.missing() > 0 && !self.cluster.config.strict_affinity {
            self.borrow(&pools).await?;
        }
        if self.missing() == 0 { Ok(Vec::new()) } else { self.explain(&pools).await }
    }

    /// How many addresses are still wanted.
    pub(crate) fn missing(&self) -> usize {
        self.wanted - self.gained.len()
    }

    /// Assigns from a block the owner has an affinity for; finishes the claim if its writer stopped half-way.
    ///
    /// Returns whether the block is the owner's.
    async fn take_from_own(&mut self, cidr: IpNet, known: Stored<Affinity>) -> Result<bool, AutoAssignError> {
        let mut affinity = known;
        for _ in 0..ATTEMPTS {
            let stored = self.ipam.read_block(cidr).await?;
            if stored.as_ref().is_some_and(|stored| !self.owns(&stored.value)) {
                tracing::info!(owner = %self.owner, block = %cidr, "dropping an affinity for another's block");
                self.ipam.commit(&[Write::Delete(self.owner.key(cidr), affinity.revision.clone())]).await?;
                return Ok(false);
            }
            let (mut block, revision) = match stored {
                Some(stored) => (stored.value, Some(stored.revision)),
                None => (self.fresh_block(cidr), None),
            };
            let taken = block::assign(&mut block, self.missing(), &self.holder, &self.request.reserved);
            let unconfirmed = affinity.value.state != AffinityState::Confirmed;
            if taken.is_empty() && !unconfirmed {
                return Ok(true);
            }
            if taken.is_empty() {
                // whoever was letting go of the block must see that it changed
                block.sequence_number = block.sequence_number.wrapping_add(1);
            }
            let writes: Vec<Write> = confirm(self.owner, cidr, Some(&affinity)).into_iter().collect();
            if self.put(block, revision, taken, writes).await? == Commit::Done {
                return Ok(true);
            }
            match self.ipam.read_affinity(self.owner, cidr).await? {
                Some(read) => affinity = read,
                None => return Ok(false),
            }
        }
        Err(self.contended())
    }

    /// Assigns from existing blocks whoever owns them, in the order in which the owner would claim them.
    async fn borrow(&mut self, pools: &[&Pool]) -> Result<(), AutoAssignError> {
        let blocks = self.ipam.read_blocks().await?;
        for pool in pools {
            let walk = self.walk(pool);
            let placed = blocks.iter().filter_map(|stored| Some((walk.place_of(stored.value.cidr)?, stored)));
            let ordered: BTreeMap<u128, &Stored<Block>> = placed.collect();
            for stored in ordered.into_values() {
                if self.missing() == 0 {
                    return Ok(());
                }
                self.take_borrowed(stored.clone()).await?;
            }
        }
        Ok(())
    }

    async fn take_borrowed(&mut self, known: Stored<Block>) -> Result<(), AutoAssignError> {
        let cidr = known.value.cidr;
        let mut stored = known;
        for _ in 0..ATTEMPTS {
            let taken = block::assign(&mut stored.value, self.missing(), &self.holder, &self.request.reserved);
            if taken.is_empty()
                || self.put(stored.value, Some(stored.revision), taken, Vec::new()).await? == Commit::Done
            {
                return Ok(());
            }
            match self.ipam.read_block(cidr).await? {
                Some(read) => stored = read,
                None => return Ok(()),
            }
        }
        Err(self.contended())
    }

    /// Writes a block with the handle's share of it, and whatever else belongs to the same transaction.
    pub(crate) async fn put(
        &mut self,
        block: Block,
        revision: Option<api::Revision>,
        taken: Vec<IpNet>,
        mut writes: Vec<Write>,
    ) -> Result<Commit, Error> {
        writes.extend(self.cursor.add(self.ipam, block.cidr, taken.len()).await?);
        writes.push(put_block(block, revision));
        let commit = self.ipam.commit(&writes).await?;
        if !taken.is_empty() {
            self.cursor.spent();
        }
        if commit == Commit::Done {
            self.gained.extend(taken);
        }
        Ok(commit)
    }

    /// The owner's order of a pool's blocks.
    pub(crate) fn walk(&self, pool: &Pool) -> Walk {
        let seed = if pool.block_size == pool.cidr.max_prefix_len() {
            Seed::of_moment(clock::nanoseconds(self.ipam.clock.now()) as i64)
        } else {
            Seed::of_host(&self.owner.name)
        };
        pool.blocks().walk(seed)
    }

    /// A block claimed by the owner at this moment.
    pub(crate) fn fresh_block(&self, cidr: IpNet) -> Block {
        self.ipam.fresh_block(cidr, self.owner)
    }

    pub(crate) fn owns(&self, block: &Block) -> bool {
        block::owner(block) == Some(self.owner.to_string().as_str())
    }

    pub(crate) fn reserved(&self) -> &[IpNet] {
        &self.request.reserved
    }

    pub(crate) fn contended(&self) -> AutoAssignError {
        AutoAssignError::Contended { family: self.family, owner: self.owner.to_string() }
    }

    /// The smaller of the request's limit and the configuration's, if any is set.
    fn block_limit(&self) -> usize {
        let configured = usize::try_from(self.cluster.config.max_blocks_per_host).unwrap_or_default();
        let set = [self.request.max_blocks, configured].into_iter().filter(|limit| *limit > 0);
        set.min().unwrap_or(DEFAULT_MAX_BLOCKS)
    }

    fn limit_reached(&self, limit: usize) -> Result<Vec<String>, AutoAssignError> {
        if self.gained.is_empty() {
            return Err(AutoAssignError::BlockLimit { owner: self.owner.to_string(), limit });
        }
        Ok(vec![format!("need to allocate a block but could not: limit of {limit} blocks reached for {}", self.owner)])
    }

    /// Says for each pool why it has no more.
    async fn explain(&self, pools: &[&Pool]) -> Result<Vec<String>, AutoAssignError> {
        let blocks = self.ipam.read_blocks().await?;
        let config = &self.cluster.config;
        let mut reasons = Vec::new();
        if config.strict_affinity {
            reasons.push("No more free affine blocks and strict affinity enabled".to_owned());
        }
        if !config.auto_allocate_blocks {
            reasons.push("automatic allocation of blocks is disabled".to_owned());
        }
        for pool in pools {
            let of_pool = blocks.iter().filter(|stored| pool.blocks().index_of(stored.value.cidr).is_some());
            let count = of_pool.clone().count();
            let free: usize = of_pool.map(|stored| block::free(&stored.value, self.reserved())).sum();
            let state = if free == 0 { "all assigned".to_owned() } else { format!("{free} free in blocks of others") };
            reasons.push(format!(
                "pool {} ({}) has no free address for {}: {count} blocks of {}, {state}",
                pool.name,
                pool.cidr,
                self.owner,
                1_u128 << (pool.cidr.max_prefix_len() - pool.block_size),
            ));
        }
        Ok(reasons)
    }
}

impl Ipam<'_> {
    /// A block claimed by `owner` at this moment.
    pub(crate) fn fresh_block(&self, cidr: IpNet, owner: &Owner) -> Block {
        let now = self.clock.now();
        block::new(cidr, &owner.to_string(), &clock::rfc3339(now), clock::nanoseconds(now))
    }

    /// Lets go of an empty block if its pool is open but does not select the node; problems are only logged.
    pub(crate) async fn let_go_if_deselected(
        &self,
        owner: &Owner,
        block: IpNet,
        pools: &[Pool],
        node_labels: &BTreeMap<String, String>,
    ) {
        let pool = pools.iter().find(|pool| pool.enabled && pool.cidr.contains(&block));
        if pool.is_none_or(|pool| pool.selects_node(node_labels)) {
            return;
        }
        if let Err(error) = self.let_go(owner, block, Condition::Empty, None).await {
            tracing::debug!(%owner, %block, %error, "keeping a block of a pool that does not select the node");
        }
    }
}
