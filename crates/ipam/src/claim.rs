//! Claiming blocks: the next free one of a pool for an assignment, or a given range.

use crate::affinity::{Claims, Condition, LetGoError};
use crate::answers;
use crate::auto_assign::AutoAssignError;
use crate::block;
use crate::owner::Owner;
use crate::pool::Pool;
use crate::search::{Halt, Search};
use crate::start::PoolBlocks;
use crate::stored::{Ownership, Partial, Stored, block_of, confirm, put_block};
use crate::{ATTEMPTS, Ipam, clock};
use api::Unreadable;
use api::ipam::{Affinity, Block};
use datastore::{Error, Write};
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// An empty block is left to its owner for so long after the claim, for its first address may be on the way.
const RECLAIM_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// Why a range cannot be claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// No enabled pool contains the range.
    #[error("the requested CIDR ({0}) is not within any configured pools")]
    NotInPool(IpNet),
    /// The range is smaller than one block of its pool.
    #[error("the requested CIDR ({cidr}) is smaller than a block of pool {pool} (/{block_size})")]
    TooSmall {
        /// The range.
        cidr: IpNet,
        /// The pool.
        pool: String,
        /// Prefix length of the pool's blocks.
        block_size: u8,
    },
    /// Other writers were faster, every time.
    #[error("claim block {0}: other writers were faster {ATTEMPTS} times")]
    Contended(IpNet),
    /// The datastore failed.
    #[error(transparent)]
    Store(#[from] Error),
}

/// What came of an attempt to claim one block more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// The owner has it, and addresses were assigned from it.
    Block,
    /// There is none to be had.
    Nothing,
    /// The owner has as many as it may.
    AtLimit,
}

/// Every block there is.
pub(crate) struct Blocks {
    pub(crate) found: BTreeMap<IpNet, Stored<Block>>,
    /// Blocks that cannot be read, or whose affinity for the owner cannot: nothing of them is touched.
    barred: Vec<IpNet>,
}

impl Blocks {
    /// Blocks as read, and the owner's affinities that cannot be read.
    pub(crate) fn of(blocks: Partial<Stored<Block>>, affinities: &[Unreadable]) -> Self {
        let unreadable = blocks.unreadable.iter().chain(affinities);
        Blocks {
            barred: unreadable.filter_map(|unreadable| block_of(&unreadable.key)).collect(),
            found: blocks.found.into_iter().map(|stored| (stored.value.cidr, stored)).collect(),
        }
    }

    /// Whether any address of a range may be of a block that is not to be touched.
    pub(crate) fn is_barred(&self, range: IpNet) -> bool {
        self.barred.iter().any(|barred| barred.contains(&range) || range.contains(barred))
    }
}

/// A block that an owner may take.
pub(crate) enum Candidate<'b> {
    /// Does not exist yet.
    Absent(IpNet),
    /// Exists, and is the owner's or nobody's.
    Open(&'b Stored<Block>),
    /// Another's, empty for long enough.
    Idle(&'b Stored<Block>),
}

impl Search<'_, '_> {
    /// Claims the next block in the owner's order and assigns from it.
    ///
    /// Other processes of the owner may have claimed blocks since its affinities were read; those count for the
    /// limit, and what is free in them comes first.
    pub(crate) async fn claim(&mut self, pools: &[&Pool], limit: usize) -> Result<Claimed, Halt> {
        let mut passed_over = BTreeSet::new();
        for _ in 0..ATTEMPTS {
            let queries = vec![answers::blocks(), answers::affinities(self.owner)];
            let mut answers = self.ask_with_handle(queries).await?;
            let (blocks, affinities) = (answers.blocks(), answers.affinities());
            let blocks = Blocks::of(blocks, &affinities.unreadable);
            let affinities: BTreeMap<IpNet, Stored<Affinity>> = affinities.found.into_iter().collect();
            let candidate = self.candidate(pools, &blocks, &passed_over);
            let is_own = matches!(candidate, Some(Candidate::Open(stored)) if self.owns(&stored.value));
            if !is_own && self.count_owned(pools, &blocks, &affinities) >= limit {
                return Ok(Claimed::AtLimit);
            }
            let (mut block, revision) = match candidate {
                None => return Ok(Claimed::Nothing),
                Some(Candidate::Idle(stored)) => {
                    passed_over.extend(self.reclaim(stored).await?);
                    continue;
                }
                Some(Candidate::Absent(cidr)) => (self.fresh_block(cidr), None),
                Some(Candidate::Open(stored)) => (stored.value.clone(), Some(stored.revision.clone())),
            };
            let cidr = block.cidr;
            let ownership = if revision.is_some() && self.owns(&block) { Ownership::Kept } else { Ownership::Taken };
            self.adopt(&mut block);
            let taken = block::assign(&mut block, self.missing(), &self.holder, self.reserved());
            if taken.is_empty() {
                passed_over.insert(cidr);
                continue;
            }
            let writes = confirm(self.owner, cidr, affinities.get(&cidr), ownership).into_iter().collect();
            if self.put(block, revision, taken, writes).await?.is_done() {
                tracing::info!(owner = %self.owner, block = %cidr, "claimed a block");
                return Ok(Claimed::Block);
            }
        }
        Err(self.contended().into())
    }

    /// How many blocks of the pools are the owner's, or would be if its claim were finished.
    fn count_owned(&self, pools: &[&Pool], blocks: &Blocks, affinities: &BTreeMap<IpNet, Stored<Affinity>>) -> usize {
        let is_owned = |cidr: &&IpNet| {
            pools.iter().any(|pool| pool.cidr.contains(*cidr))
                && blocks.found.get(*cidr).is_none_or(|stored| self.owns(&stored.value))
        };
        affinities.keys().filter(is_owned).count()
    }

    pub(crate) fn candidate<'b>(
        &self,
        pools: &[&Pool],
        blocks: &'b Blocks,
        passed_over: &BTreeSet<IpNet>,
    ) -> Option<Candidate<'b>> {
        let mut idle = None;
        for pool in pools {
            let walk = self.walk(pool);
            let mut place = 0;
            while place < walk.len() {
                let cidr = walk.at(place);
                if let Some(reserved) = self.reserved().iter().find(|net| net.contains(&cidr)) {
                    place = walk.after(place, *reserved);
                    continue;
                }
                place += 1;
                match blocks.found.get(&cidr) {
                    _ if passed_over.contains(&cidr) || blocks.is_barred(cidr) => {}
                    None => return Some(Candidate::Absent(cidr)),
                    Some(stored) if self.is_open(&stored.value) => return Some(Candidate::Open(stored)),
                    Some(stored) if idle.is_none() && self.is_idle(&stored.value) => idle = Some(stored),
                    Some(_) => {}
                }
            }
        }
        idle.map(Candidate::Idle)
    }

    /// Whether a block is the owner's with addresses left, or nobody's and empty.
    fn is_open(&self, block: &Block) -> bool {
        let vacant = block::owner(block).is_none() && block::is_empty(block);
        (vacant || self.owns(block)) && block::free(block, self.reserved()) > 0
    }

    fn is_idle(&self, block: &Block) -> bool {
        let claimed: Option<Timestamp> = block.affinity_claim_time.as_deref().and_then(|time| time.parse().ok());
        let old = claimed.is_some_and(|claimed| self.ipam.clock.now().duration_since(claimed) >= RECLAIM_AFTER);
        old && block::is_empty(block) && !self.owns(block)
    }

    /// Makes nobody's block the owner's; to be written with the assignment.
    fn adopt(&self, block: &mut Block) {
        if block::owner(block).is_none() {
            block.affinity = Some(self.owner.to_string());
            block.affinity_claim_time = Some(clock::rfc3339(self.ipam.clock.now()));
        }
    }

    /// Takes an idle block from its owner; returns the block if that did not succeed.
    async fn reclaim(&self, stored: &Stored<Block>) -> Result<Option<IpNet>, AutoAssignError> {
        let block = &stored.value;
        let Some(other) = block::owner(block).and_then(Owner::parse) else { return Ok(Some(block.cidr)) };
        match self.ipam.let_go(&other, block.cidr, Condition::Empty, Some(block.sequence_number)).await {
            Ok(()) => {
                tracing::info!(owner = %other, block = %block.cidr, by = %self.owner, "reclaimed an empty block");
                Ok(None)
            }
            Err(LetGoError::Store(error)) => Err(error.into()),
            Err(error) => {
                tracing::debug!(owner = %other, block = %block.cidr, %error, "could not reclaim a block");
                Ok(Some(block.cidr))
            }
        }
    }
}

impl Ipam<'_> {
    /// Claims every block of a range for an owner, and says which are the owner's and which are another's.
    pub async fn claim_affinity(&self, cidr: IpNet, owner: &Owner) -> Result<Claims, ClaimError> {
        let cidr = cidr.trunc();
        self.config().await?;
        let pools = self.read_pools().await?.found;
        let pool = enclosing(&pools, cidr)?;
        let blocks = PoolBlocks::new(cidr, pool.block_size);
        if blocks.count() == 0 {
            return Err(ClaimError::TooSmall { cidr, pool: pool.name.clone(), block_size: pool.block_size });
        }
        let mut claims = Claims::default();
        for block in blocks.iter() {
            match self.claim_block(block, owner).await? {
                true => claims.claimed.push(block),
                false => claims.failed.push(block),
            }
        }
        Ok(claims)
    }

    async fn claim_block(&self, cidr: IpNet, owner: &Owner) -> Result<bool, ClaimError> {
        for _ in 0..ATTEMPTS {
            let queries = [answers::pools(), answers::affinity(owner, cidr), answers::block(cidr)];
            let mut answers = self.ask(&queries).await?;
            let pools = answers.pools().found;
            let pool = enclosing(&pools, cidr)?;
            if pool.block_size != cidr.prefix_len() {
                return Err(ClaimError::NotInPool(cidr));
            }
            let (affinity, stored) = (answers.affinity()?, answers.block()?);
            let ownership = if stored.is_some() { Ownership::Kept } else { Ownership::Taken };
            let mut writes: Vec<Write> = confirm(owner, cidr, affinity.as_ref(), ownership).into_iter().collect();
            match stored {
                None => writes.push(put_block(self.fresh_block(cidr, owner), None)),
                Some(stored) if block::owner(&stored.value) == Some(owner.to_string().as_str()) => {
                    if !writes.is_empty() {
                        let mut block = stored.value;
                        block.sequence_number = block.sequence_number.wrapping_add(1);
                        writes.push(put_block(block, Some(stored.revision)));
                    }
                }
                Some(_) => return Ok(false),
            }
            if !writes.is_empty() {
                writes.push(pool.expect());
            }
            if self.commit(&writes).await?.is_done() {
                return Ok(true);
            }
        }
        Err(ClaimError::Contended(cidr))
    }
}

/// The enabled pool that a range lies in.
fn enclosing(pools: &[Pool], range: IpNet) -> Result<&Pool, ClaimError> {
    let mut enabled = pools.iter().filter(|pool| pool.enabled);
    enabled.find(|pool| pool.cidr.contains(&range)).ok_or(ClaimError::NotInPool(range))
}
