//! Typed reads of IPAM's objects, and transactions that may lose a race.

use crate::Ipam;
use crate::owner::Owner;
use api::event::{Entry, Key, Object, Revision, Unreadable};
use api::ipam::{Affinity, AffinityState, Block, Config, Handle};
use datastore::{Error, Listing, Retry, Scope, Write};
use ipnet::IpNet;

/// A value and the revision it was read at.
#[derive(Clone, Debug)]
pub(crate) struct Stored<T> {
    pub(crate) value: T,
    pub(crate) revision: Revision,
}

/// What of a list can be read, in key order, and what cannot.
#[derive(Clone, Debug)]
pub(crate) struct Partial<T> {
    pub(crate) found: Vec<T>,
    pub(crate) unreadable: Vec<Unreadable>,
}

impl<T> Partial<T> {
    pub(crate) fn of(listing: Listing, read: impl FnMut(Entry) -> Option<T>) -> Self {
        Partial { found: listing.entries.into_iter().filter_map(read).collect(), unreadable: listing.unreadable }
    }
}

/// The block that a key is about: a block's own, or the one an affinity claims.
pub(crate) fn block_of(key: &Key) -> Option<IpNet> {
    match key {
        Key::Block(block) | Key::Affinity { block, .. } => Some(*block),
        Key::Resource { .. } | Key::Handle(_) | Key::IpamConfig | Key::Ready => None,
    }
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    /// All is written, and at this revision; without a write there is none.
    Done(Option<Revision>),
    /// Another writer was faster, and nothing is written.
    Overtaken,
}

impl Commit {
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Commit::Done(_))
    }
}

impl Ipam<'_> {
    pub(crate) async fn read_block(&self, cidr: IpNet) -> Result<Option<Stored<Block>>, Error> {
        Ok(self.read(&Key::Block(cidr)).await?.and_then(as_block))
    }

    /// Every block.
    pub(crate) async fn read_blocks(&self) -> Result<Partial<Stored<Block>>, Error> {
        let (listing, _) = self.store.list(&Scope::Blocks).await?;
        Ok(Partial::of(listing, as_block))
    }

    /// The owner's affinities, in key order; an error names one that cannot be read.
    pub(crate) async fn read_affinities(&self, owner: &Owner) -> Result<Vec<IpNet>, Error> {
        let (listing, _) = self.store.list(&Scope::AffinitiesOf(owner.kind, owner.name.clone())).await?;
        Ok(listing.whole()?.into_iter().filter_map(as_affinity).map(|(_, block, _)| block).collect())
    }

    /// Everybody's affinities.
    pub(crate) async fn read_all_affinities(&self) -> Result<Partial<(Owner, IpNet)>, Error> {
        let (listing, _) = self.store.list(&Scope::Affinities).await?;
        Ok(Partial::of(listing, |entry| as_affinity(entry).map(|(owner, block, _)| (owner, block))))
    }

    pub(crate) async fn read_handle(&self, id: &str) -> Result<Option<Stored<Handle>>, Error> {
        Ok(self.read(&Key::Handle(id.to_owned())).await?.and_then(as_handle))
    }

    pub(crate) async fn read(&self, key: &Key) -> Result<Option<Entry>, Error> {
        match self.store.get(key).await {
            Ok(entry) => Ok(Some(entry)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes all or nothing.
    pub(crate) async fn commit(&self, writes: &[Write]) -> Result<Commit, Error> {
        if writes.is_empty() {
            return Ok(Commit::Done(None));
        }
        match self.store.transact(writes).await {
            Ok(revision) => Ok(Commit::Done(Some(revision))),
            Err(error) if error.retry() == Retry::AfterReading => {
                tracing::debug!(%error, "overtaken by another writer");
                Ok(Commit::Overtaken)
            }
            Err(error) => Err(error),
        }
    }
}

/// How a transaction changes a block's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// The owner had it already.
    Kept,
    /// The block is new, or was nobody's.
    Taken,
}

/// The write that makes an affinity confirmed, if one is needed.
///
/// Whoever takes a block writes the affinity too, even if it was confirmed already: somebody may just be deleting an
/// affinity that no block answers to, and one of the two must fail.
pub(crate) fn confirm(
    owner: &Owner,
    block: IpNet,
    known: Option<&Stored<Affinity>>,
    ownership: Ownership,
) -> Option<Write> {
    let confirmed = Object::Affinity(Affinity { state: AffinityState::Confirmed, deleted: false });
    match known {
        None => Some(Write::Create(owner.key(block), confirmed)),
        Some(affinity) if affinity.value.state == AffinityState::Confirmed && ownership == Ownership::Kept => None,
        Some(affinity) => Some(Write::Update(owner.key(block), confirmed, affinity.revision.clone())),
    }
}

/// The write that stores a block: at the revision it was read at, or for the first time.
pub(crate) fn put_block(block: Block, revision: Option<Revision>) -> Write {
    let key = Key::Block(block.cidr);
    match revision {
        Some(revision) => Write::Update(key, Object::Block(block), revision),
        None => Write::Create(key, Object::Block(block)),
    }
}

pub(crate) fn as_block(entry: Entry) -> Option<Stored<Block>> {
    let Object::Block(value) = entry.object else { return None };
    Some(Stored { value, revision: entry.revision })
}

pub(crate) fn as_affinity(entry: Entry) -> Option<(Owner, IpNet, Stored<Affinity>)> {
    let Key::Affinity { owner_type, owner, block } = entry.key else { return None };
    let Object::Affinity(value) = entry.object else { return None };
    Some((Owner { kind: owner_type, name: owner }, block, Stored { value, revision: entry.revision }))
}

pub(crate) fn as_handle(entry: Entry) -> Option<Stored<Handle>> {
    let Object::Handle(value) = entry.object else { return None };
    Some(Stored { value, revision: entry.revision })
}

pub(crate) fn as_config(entry: Entry) -> Option<Stored<Config>> {
    let Object::IpamConfig(value) = entry.object else { return None };
    Some(Stored { value, revision: entry.revision })
}
