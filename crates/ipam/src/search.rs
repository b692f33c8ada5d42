//! The search for addresses of one family.
//!
//! Three sources, in this order: blocks the owner has; a block it claims; and, unless affinity is strict, free
//! addresses of other owners' blocks. Each gain is one transaction over affinity, block and handle, after one read of
//! them; a transaction that another writer overtakes costs one more of both.

use crate::answers::{self, Answers};
use crate::auto_assign::{AutoAssign, AutoAssignError, Cluster, Family};
use crate::block::{self, Holder};
use crate::claim::Claimed;
use crate::handle::HandleCursor;
use crate::owner::Owner;
use crate::pool::{Chooser, Pool};
use crate::start::{Seed, Walk};
use crate::stored::{Commit, Ownership, Partial, Stored, block_of, confirm, put_block};
use crate::{ATTEMPTS, Condition, Ipam, clock};
use api::event::{Key, Revision, Unreadable};
use api::ipam::{Affinity, AffinityState, Block};
use datastore::{Error, Query, Write};
use ipnet::IpNet;
use std::collections::BTreeMap;

/// The most blocks a host may own when neither the request nor the configuration says.
const DEFAULT_MAX_BLOCKS: usize = 20;

/// How many of an owner's blocks are read at once.
const BLOCKS_PER_READ: usize = 32;

/// Why a search stops.
pub(crate) enum Halt {
    /// The pools are not what it began with: these they are.
    PoolsChanged(Vec<Pool>),
    /// It failed.
    Failed(AutoAssignError),
}

impl From<AutoAssignError> for Halt {
    fn from(error: AutoAssignError) -> Self {
        Halt::Failed(error)
    }
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Halt::Failed(error.into())
    }
}

/// The search for addresses of one family.
pub(crate) struct Search<'s, 'h> {
    pub(crate) ipam: &'s Ipam<'s>,
    pub(crate) request: &'s AutoAssign,
    pub(crate) owner: &'s Owner,
    pub(crate) cluster: &'s Cluster,
    pub(crate) holder: Holder,
    pub(crate) cursor: &'s mut HandleCursor<'h>,
    pub(crate) family: Family,
    pub(crate) wanted: usize,
    pub(crate) gained: Vec<IpNet>,
}

impl<'s> Search<'s, '_> {
    /// Gains what it can, and says why if that is too little.
    ///
    /// Stops at the first read that shows other pools than it knows: to be begun again with them. A write between the
    /// change and that read fails.
    pub(crate) async fn run(&mut self) -> Result<Vec<String>, Halt> {
        let pools = self.pools()?;
        let of_family = self.cluster.affinities.iter().filter(|(block, _)| Family::of(*block) == self.family);
        let (own, strays): (Vec<_>, Vec<_>) =
            of_family.cloned().partition(|(block, _)| pools.iter().any(|pool| pool.cidr.contains(block)));
        for (block, _) in strays {
            self.ipam.let_go_if_deselected(self.owner, block, &self.cluster.pools, &self.cluster.node_labels).await;
        }

        let mut owned = 0;
        for some in own.chunks(BLOCKS_PER_READ) {
            if self.missing() == 0 {
                return Ok(Vec::new());
            }
            owned += self.take_from_own(some).await?;
        }
        let limit = self.block_limit();
        while self.missing() > 0 {
            if owned >= limit {
                return Ok(self.limit_reached(limit)?);
            }
            if !self.cluster.config.auto_allocate_blocks {
                break;
            }
            match self.claim(&pools, limit).await? {
                Claimed::Block => owned += 1,
                Claimed::Nothing => break,
                Claimed::AtLimit => return Ok(self.limit_reached(limit)?),
            }
        }
        if self.missing() > 0 && !self.cluster.config.strict_affinity {
            self.borrow(&pools).await?;
        }
        if self.missing() == 0 { Ok(Vec::new()) } else { Ok(self.explain(&pools).await?) }
    }

    /// The pools the addresses may come from.
    pub(crate) fn pools(&self) -> Result<Vec<&'s Pool>, AutoAssignError> {
        let chooser = Chooser {
            family: self.family,
            requested: self.request.pools.as_deref(),
            wanted: self.request.use_,
            node: &self.owner.name,
            node_labels: &self.cluster.node_labels,
            namespace_labels: &self.request.namespace_labels,
        };
        chooser.choose(&self.cluster.pools)
    }

    /// How many addresses are still wanted.
    pub(crate) fn missing(&self) -> usize {
        self.wanted - self.gained.len()
    }

    /// Assigns from blocks the owner has affinities for, as far as addresses are wanted.
    ///
    /// Returns how many of those looked at are the owner's.
    async fn take_from_own(&mut self, own: &[(IpNet, Stored<Affinity>)]) -> Result<usize, Halt> {
        let queries = own.iter().map(|(cidr, _)| answers::block(*cidr)).collect();
        let mut answers = self.ask_with_handle(queries).await?;
        let blocks: Vec<_> = own.iter().map(|_| answers.block()).collect();
        let mut owned = 0;
        for ((cidr, affinity), stored) in own.iter().zip(blocks) {
            if self.missing() == 0 {
                break;
            }
            match stored {
                Ok(stored) => owned += usize::from(self.take_from(*cidr, affinity.clone(), stored).await?),
                Err(error) => tracing::warn!(owner = %self.owner, %error, "going round a block"),
            }
        }
        Ok(owned)
    }

    /// Assigns from a block the owner has an affinity for; finishes the claim if its writer stopped half-way.
    ///
    /// Returns whether the block is the owner's.
    async fn take_from(
        &mut self,
        cidr: IpNet,
        mut affinity: Stored<Affinity>,
        mut stored: Option<Stored<Block>>,
    ) -> Result<bool, Halt> {
        for _ in 0..ATTEMPTS {
            if let Some(stored) = stored.as_ref().filter(|stored| !self.owns(&stored.value)) {
                tracing::info!(owner = %self.owner, block = %cidr, "dropping an affinity for another's block");
                let expected = Write::Expect(Key::Block(cidr), Some(stored.revision.clone()));
                let delete = Write::Delete(self.owner.key(cidr), affinity.revision.clone());
                self.ipam.commit(&[delete, expected]).await?;
                return Ok(false);
            }
            let (mut block, revision, ownership) = match stored {
                Some(stored) => (stored.value, Some(stored.revision), Ownership::Kept),
                None => (self.fresh_block(cidr), None, Ownership::Taken),
            };
            let taken = block::assign(&mut block, self.missing(), &self.holder, self.reserved());
            let unconfirmed = affinity.value.state != AffinityState::Confirmed;
            if taken.is_empty() && !unconfirmed {
                return Ok(true);
            }
            if taken.is_empty() {
                // whoever was letting go of the block must see that it changed
                block.sequence_number = block.sequence_number.wrapping_add(1);
            }
            let writes: Vec<Write> = confirm(self.owner, cidr, Some(&affinity), ownership).into_iter().collect();
            if self.put(block, revision, taken, writes).await?.is_done() {
                return Ok(true);
            }
            let queries = vec![answers::block(cidr), answers::affinity(self.owner, cidr)];
            let mut answers = self.ask_with_handle(queries).await?;
            match (answers.block(), answers.affinity()) {
                (Ok(read), Ok(Some(also))) => (stored, affinity) = (read, also),
                (_, Ok(None)) => return Ok(false),
                (Err(error), _) | (_, Err(error)) => {
                    tracing::warn!(owner = %self.owner, %error, "going round a block");
                    return Ok(false);
                }
            }
        }
        Err(self.contended().into())
    }

    /// Assigns from existing blocks whoever owns them, in the order in which the owner would claim them.
    async fn borrow(&mut self, pools: &[&Pool]) -> Result<(), Halt> {
        let blocks = self.ask_with_handle(vec![answers::blocks()]).await?.blocks().found;
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

    async fn take_borrowed(&mut self, known: Stored<Block>) -> Result<(), Halt> {
        let cidr = known.value.cidr;
        let mut stored = known;
        for _ in 0..ATTEMPTS {
            let taken = block::assign(&mut stored.value, self.missing(), &self.holder, self.reserved());
            if taken.is_empty() || self.put(stored.value, Some(stored.revision), taken, Vec::new()).await?.is_done() {
                return Ok(());
            }
            match self.ask_with_handle(vec![answers::block(cidr)]).await?.block() {
                Ok(Some(read)) => stored = read,
                Ok(None) => return Ok(()),
                Err(error) => {
                    tracing::warn!(owner = %self.owner, %error, "going round a block");
                    return Ok(());
                }
            }
        }
        Err(self.contended().into())
    }

    /// Reads what is asked for, the pools, and the handle if it has to be read.
    pub(crate) async fn ask_with_handle(&mut self, mut queries: Vec<Query>) -> Result<Answers, Halt> {
        // their answers come first, so that the caller takes its own in its own order
        let first = std::iter::once(answers::pools()).chain(self.cursor.query());
        queries.splice(0..0, first);
        let mut answers = self.ipam.ask(&queries).await?;
        let pools = answers.pools().found;
        self.cursor.learn(&mut answers)?;
        if Pool::are_unchanged(&self.cluster.pools, &pools) { Ok(answers) } else { Err(Halt::PoolsChanged(pools)) }
    }

    /// Writes a block with the handle's share of it, and whatever else belongs to the same transaction.
    pub(crate) async fn put(
        &mut self,
        block: Block,
        revision: Option<Revision>,
        taken: Vec<IpNet>,
        mut writes: Vec<Write>,
    ) -> Result<Commit, Error> {
        writes.extend(self.cluster.pools.iter().find(|pool| pool.cidr.contains(&block.cidr)).map(Pool::expect));
        writes.extend(self.cursor.add(block.cidr, taken.len()));
        writes.push(put_block(block, revision));
        let commit = self.ipam.commit(&writes).await?;
        self.cursor.settle(&commit);
        if commit.is_done() {
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
        &self.cluster.reserved
    }

    pub(crate) fn contended(&self) -> AutoAssignError {
        AutoAssignError::Contended { family: self.family, owner: self.owner.to_string() }
    }

    /// The smaller of the request's limit and the configuration's, if any is set.
    pub(crate) fn block_limit(&self) -> usize {
        let configured = usize::try_from(self.cluster.config.max_blocks_per_host).unwrap_or_default();
        let set = [self.request.max_blocks, configured].into_iter().filter(|limit| *limit > 0);
        set.min().unwrap_or(DEFAULT_MAX_BLOCKS)
    }

    pub(crate) fn limit_reached(&self, limit: usize) -> Result<Vec<String>, AutoAssignError> {
        if self.gained.is_empty() {
            return Err(AutoAssignError::BlockLimit { owner: self.owner.to_string(), limit });
        }
        Ok(vec![format!("need to allocate a block but could not: limit of {limit} blocks reached for {}", self.owner)])
    }

    /// Says for each pool why it has no more.
    pub(crate) async fn explain(&self, pools: &[&Pool]) -> Result<Vec<String>, AutoAssignError> {
        let Partial { found: blocks, unreadable } = self.ipam.read_blocks().await?;
        let config = &self.cluster.config;
        let mut reasons = Vec::new();
        if config.strict_affinity {
            reasons.push("No more free affine blocks and strict affinity enabled".to_owned());
        }
        if !config.auto_allocate_blocks {
            reasons.push("automatic allocation of blocks is disabled".to_owned());
        }
        for Unreadable { key, reason } in unreadable {
            let block = block_of(&key).filter(|block| pools.iter().any(|pool| pool.cidr.contains(block)));
            reasons.extend(block.map(|block| format!("block {block} cannot be read: {reason}")));
        }
        for pool in pools {
            let of_pool = blocks.iter().filter(|stored| pool.blocks().index_of(stored.value.cidr).is_some());
            let count = of_pool.clone().count();
            let free: usize = of_pool.map(|stored| block::free(&stored.value, self.reserved())).sum();
            let is_reserved = |net: &IpNet| pool.cidr.contains(net) || net.contains(&pool.cidr);
            let state = match free {
                0 if self.reserved().iter().any(is_reserved) => "all assigned or reserved".to_owned(),
                0 => "all assigned".to_owned(),
                _ => format!("{free} free in blocks of others"),
            };
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
