//! Letting go of blocks: of one, of all of a host, of all in a pool.

use crate::block;
use crate::owner::Owner;
use crate::stored::{block_of, put_block};
use crate::{ATTEMPTS, Ipam, answers};
use api::event::Key;
use datastore::{Error, Write};
use ipnet::IpNet;

/// When a block may be let go of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// When nobody holds an address of it.
    Empty,
    /// In any case: the holders keep their addresses, and the block has no owner.
    Any,
}

/// Blocks of a range, by whether they could be claimed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// The claimant's.
    pub claimed: Vec<IpNet>,
    /// Another's.
    pub failed: Vec<IpNet>,
}

/// Why a block's affinity was not released.
#[derive(Debug, thiserror::Error)]
pub enum LetGoError {
    /// The block has another owner.
    #[error("block {block} is claimed by {owner}")]
    Claimed {
        /// The block.
        block: IpNet,
        /// Its owner.
        owner: String,
    },
    /// Somebody holds an address of the block.
    #[error("block {0} is not empty")]
    NotEmpty(IpNet),
    /// The block is not what the caller saw.
    #[error("block {0} has changed")]
    Changed(IpNet),
    /// Other writers were faster, every time.
    #[error("release the affinity of block {0}: other writers were faster {ATTEMPTS} times")]
    Contended(IpNet),
    /// The datastore failed.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Ipam<'_> {
    /// Releases an owner's affinity for a block: an empty block is deleted, another one stays without an owner.
    ///
    /// With a sequence number, only if the block still has it.
    pub async fn let_go(
        &self,
        owner: &Owner,
        cidr: IpNet,
        condition: Condition,
        sequence: Option<u64>,
    ) -> Result<(), LetGoError> {
        for _ in 0..ATTEMPTS {
            let mut answers = self.ask(&[answers::affinity(owner, cidr), answers::block(cidr)]).await?;
            let affinity = answers.affinity()?;
            let mut writes: Vec<Write> = Vec::new();
            writes.extend(affinity.map(|affinity| Write::Delete(owner.key(cidr), affinity.revision)));
            let mut problem = None;
            let stored = answers.block()?;
            if !writes.is_empty() {
                // somebody of the same owner may be claiming the block, in several steps
                let seen = stored.as_ref().map(|stored| stored.revision.clone());
                writes.push(Write::Expect(Key::Block(cidr), seen));
            }
            if let Some(stored) = stored {
                let (mut block, revision) = (stored.value, stored.revision);
                if sequence.is_some_and(|sequence| sequence != block.sequence_number) {
                    return Err(LetGoError::Changed(cidr));
                }
                let mine = owner.to_string();
                match block::owner(&block) {
                    Some(other) if other != mine => {
                        problem = Some(LetGoError::Claimed { block: cidr, owner: other.to_owned() });
                    }
                    None => {}
                    Some(_) if block::is_empty(&block) => writes.push(Write::Delete(Key::Block(cidr), revision)),
                    Some(_) if condition == Condition::Empty => return Err(LetGoError::NotEmpty(cidr)),
                    Some(_) => {
                        block::disown(&mut block);
                        writes.push(put_block(block, Some(revision)));
                    }
                }
            }
            if self.commit(&writes).await?.is_done() {
                return problem.map_or(Ok(()), Err);
            }
        }
        Err(LetGoError::Contended(cidr))
    }

    /// Releases all affinities of a host; returns the blocks that [`Condition::Empty`] let it keep.
    pub async fn release_host_affinities(&self, owner: &Owner, condition: Condition) -> Result<Vec<IpNet>, LetGoError> {
        let mut kept = Vec::new();
        for block in self.read_affinities(owner).await? {
            match self.let_go(owner, block, condition, None).await {
                Ok(()) | Err(LetGoError::Claimed { .. }) => {}
                Err(LetGoError::NotEmpty(block)) => kept.push(block),
                Err(error) => return Err(error),
            }
        }
        Ok(kept)
    }

    /// Releases everybody's affinities for blocks of a pool, again until there are none.
    ///
    /// Does nothing where a block or an affinity of the pool cannot be read: the error names it.
    pub async fn release_pool_affinities(&self, pool: IpNet) -> Result<(), LetGoError> {
        for _ in 0..ATTEMPTS {
            let affinities = self.read_all_affinities().await?;
            let unreadable = affinities.unreadable.into_iter().chain(self.read_blocks().await?.unreadable);
            if let Some(one) = unreadable.into_iter().find(|one| is_within(&one.key, pool)) {
                return Err(Error::from(one).into());
            }
            let mut affinities = affinities.found;
            affinities.retain(|(_, block)| pool.contains(block));
            if affinities.is_empty() {
                return Ok(());
            }
            for (owner, block) in affinities {
                match self.let_go(&owner, block, Condition::Any, None).await {
                    Ok(()) | Err(LetGoError::Claimed { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Err(LetGoError::Contended(pool))
    }
}

fn is_within(key: &Key, pool: IpNet) -> bool {
    block_of(key).is_some_and(|block| pool.contains(&block))
}
