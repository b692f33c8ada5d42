//! Releasing addresses, by address or by handle.
//!
//! A block and the handles concerned change in one transaction. A block that becomes empty stays with its owner,
//! unless it has none, or its pool does not select the owner.

use crate::block::{self, Sequence};
use crate::owner::Owner;
use crate::pool::Pool;
use crate::stored::{Stored, block_of, put_block};
use crate::{ATTEMPTS, Ipam, answers, handle};
use api::event::{Key, OwnerType, Revision};
use api::ipam::{Block, Handle};
use datastore::{Error, Retry, Write};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The most blocks that one transaction changes; etcd takes 128 operations.
const BLOCKS_PER_TRANSACTION: usize = 100;

/// An address to release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The address.
    pub address: IpAddr,
    /// Release it only if this handle holds it.
    pub handle: Option<String>,
    /// Release it only if it was given out at this sequence number.
    pub sequence: Option<u64>,
}

impl Release {
    /// Releases an address whoever holds it.
    pub fn of(address: IpAddr) -> Self {
        Release { address, handle: None, sequence: None }
    }
}

/// Why addresses were not released.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// Another handle holds the address.
    #[error("update conflict: {address}: held by handle {}, not {expected}", found.as_deref().unwrap_or("<none>"))]
    OtherHandle {
        /// The address.
        address: IpAddr,
        /// The handle named in the request.
        expected: String,
        /// The handle that holds it.
        found: Option<String>,
    },
    /// The address has been given out anew.
    #[error("update conflict: {address}: given out at sequence number {}, not {expected}", found.unwrap_or_default())]
    OtherSequence {
        /// The address.
        address: IpAddr,
        /// The number named in the request.
        expected: u64,
        /// The number in the block.
        found: Option<u64>,
    },
    /// There is no such handle.
    #[error("resource does not exist: IPAMHandle({0})")]
    NoSuchHandle(String),
    /// Other writers were faster, every time.
    #[error("release addresses of {0}: other writers were faster {ATTEMPTS} times")]
    Contended(String),
    /// The datastore failed.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Ipam<'_> {
    /// Releases addresses; returns those that nobody held.
    ///
    /// A mismatch of handle or sequence number leaves that whole block as it is; the other blocks are done all
    /// the same, and the first problem is returned.
    pub async fn release_ips(&self, releases: &[Release]) -> Result<Vec<IpAddr>, ReleaseError> {
        let pools = self.read_pools().await?.found;
        let mut by_block: BTreeMap<IpNet, Vec<&Release>> = BTreeMap::new();
        let mut unassigned = Vec::new();
        for release in releases {
            match self.locate(&pools, release.address).await? {
                Some(block) => by_block.entry(block).or_default().push(release),
                None => unassigned.push(release.address),
            }
        }
        let mut problem = None;
        for (cidr, releases) in by_block {
            match self.release_from_block(cidr, &releases).await {
                Ok(outcome) => {
                    unassigned.extend(outcome.unassigned);
                    if let Some(owner) = outcome.emptied {
                        self.let_go_after_release(cidr, &owner, Some(&pools)).await;
                    }
                }
                Err(error) => problem = problem.or(Some(error)),
            }
        }
        problem.map_or(Ok(unassigned), Err)
    }

    /// Releases those of some addresses that are held on a node; what others hold by now stays. Returns them.
    ///
    /// Does nothing where a block of one of them cannot be read: the error names it.
    pub async fn release_held_on(&self, node: &str, addresses: &[IpAddr]) -> Result<Vec<IpAddr>, ReleaseError> {
        for _ in 0..ATTEMPTS {
            let (allocations, unreadable) = self.allocations().await?;
            let holds = |cidr: &IpNet| addresses.iter().any(|address| cidr.contains(address));
            if let Some(one) = unreadable.into_iter().find(|it| block_of(&it.key).is_some_and(|cidr| holds(&cidr))) {
                return Err(Error::from(one).into());
            }
            let held = allocations.into_iter().filter(|it| it.node == node && addresses.contains(&it.address));
            let releases: Vec<Release> =
                held.map(|it| Release { address: it.address, handle: it.handle, sequence: it.sequence }).collect();
            match self.release_ips(&releases).await {
                // given out anew since: look again whose it is
                Err(ReleaseError::OtherHandle { .. } | ReleaseError::OtherSequence { .. }) => {}
                Err(error) => return Err(error),
                Ok(gone) => {
                    let all = releases.into_iter().map(|release| release.address);
                    return Ok(all.filter(|address| !gone.contains(address)).collect());
                }
            }
        }
        Err(ReleaseError::Contended(format!("node {node}")))
    }

    async fn release_from_block(&self, cidr: IpNet, releases: &[&Release]) -> Result<Outcome, ReleaseError> {
        for _ in 0..ATTEMPTS {
            // the handles named are most likely those that hold
            let named: BTreeSet<&str> = releases.iter().filter_map(|release| release.handle.as_deref()).collect();
            let mut queries = vec![answers::block(cidr)];
            queries.extend(named.iter().map(|id| answers::handle(block::trim_handle(id))));
            let mut answers = self.ask(&queries).await?;
            let Some(stored) = answers.block()? else {
                let unassigned = releases.iter().map(|release| release.address).collect();
                return Ok(Outcome { unassigned, emptied: None });
            };
            let mut stored_handles: BTreeMap<&str, Option<Stored<Handle>>> = BTreeMap::new();
            for id in &named {
                stored_handles.insert(block::trim_handle(id), answers.handle()?);
            }
            let mut block = stored.value;
            let mut unassigned = Vec::new();
            let mut ordinals = Vec::new();
            let mut handles: BTreeMap<String, usize> = BTreeMap::new();
            for release in releases {
                match held_as_expected(&block, release)? {
                    Some(ordinal) if !ordinals.contains(&ordinal) => {
                        ordinals.push(ordinal);
                        if let Some(handle) = block::handle_of(&block, ordinal) {
                            *handles.entry(handle.to_owned()).or_default() += 1;
                        }
                    }
                    _ => unassigned.push(release.address),
                }
            }
            if ordinals.is_empty() {
                return Ok(Outcome { unassigned, emptied: None });
            }
            block::release(&mut block, &ordinals, Sequence::Forget);
            let mut writes = Vec::new();
            for (id, count) in handles {
                let handle = match stored_handles.remove(id.as_str()) {
                    Some(read) => read,
                    None => self.read_handle(&id).await?,
                };
                writes.extend(handle.map(|handle| handle::subtract(&id, handle, &[(cidr, count)])));
            }
            let emptied = emptied_owner(&block);
            writes.push(put_or_delete(block, stored.revision));
            if self.commit(&writes).await?.is_done() {
                return Ok(Outcome { unassigned, emptied });
            }
        }
        Err(ReleaseError::Contended(cidr.to_string()))
    }

    /// Releases every address of a handle; returns them.
    ///
    /// What the handle names without holding it is left: another writer may be between its two steps. Blocks that
    /// cannot be read keep their addresses, and the handle what it counts there; the error names the first of them.
    pub async fn release_by_handle(&self, handle: &str) -> Result<Vec<IpAddr>, ReleaseError> {
        let id = block::trim_handle(handle);
        let no_such = || ReleaseError::NoSuchHandle(id.to_owned());
        let mut stored = self.read_handle(id).await?.ok_or_else(no_such)?;
        let mut released = Vec::new();
        let mut settled = BTreeSet::new();
        let mut unread = None;
        let mut overtaken = 0;
        loop {
            let named = stored.value.block.keys().filter_map(|block| block.parse::<IpNet>().ok());
            let open: Vec<IpNet> = named.filter(|cidr| !settled.contains(cidr)).collect();
            let some = &open[..open.len().min(BLOCKS_PER_TRANSACTION)];
            if some.is_empty() {
                break;
            }
            let batch = self.batch(id, some).await?;
            settled.extend(batch.without.iter().copied());
            unread = unread.or(batch.unread);
            if batch.taken.is_empty() {
                continue;
            }
            let mut writes = batch.writes;
            writes.push(handle::subtract(id, stored, &batch.taken));
            if self.commit(&writes).await?.is_done() {
                released.extend(batch.addresses);
                settled.extend(batch.taken.iter().map(|(cidr, _)| *cidr));
                for (cidr, owner) in batch.emptied {
                    self.let_go_after_release(cidr, &owner, None).await;
                }
                if some.len() == open.len() {
                    break;
                }
            } else {
                overtaken += 1;
                if overtaken == ATTEMPTS {
                    return Err(ReleaseError::Contended(format!("handle {id}")));
                }
            }
            match self.read_handle(id).await? {
                Some(read) => stored = read,
                None => break,
            }
        }
        unread.map_or(Ok(released), |error| Err(error.into()))
    }

    /// Deletes a handle that holds nothing, if it is still at a revision; returns whether it was.
    pub async fn delete_handle(&self, id: &str, revision: &Revision) -> Result<bool, Error> {
        match self.store.delete(&Key::Handle(id.to_owned()), Some(revision)).await {
            Ok(()) => Ok(true),
            Err(error) if error.retry() == Retry::AfterReading => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Prepares the release of a handle's addresses in some blocks.
    async fn batch(&self, id: &str, cidrs: &[IpNet]) -> Result<Batch, Error> {
        let queries: Vec<_> = cidrs.iter().map(|cidr| answers::block(*cidr)).collect();
        let mut answers = self.ask(&queries).await?;
        let mut batch = Batch::default();
        for cidr in cidrs {
            let stored = match answers.block() {
                Ok(stored) => stored,
                Err(error) => {
                    batch.without.push(*cidr);
                    batch.unread.get_or_insert(error);
                    continue;
                }
            };
            let held = stored.map(|stored| (block::held_by(&stored.value, id), stored));
            let Some((ordinals, stored)) = held.filter(|(ordinals, _)| !ordinals.is_empty()) else {
                batch.without.push(*cidr);
                continue;
            };
            let mut block = stored.value;
            batch.addresses.extend(ordinals.iter().map(|ordinal| block::address(&block, *ordinal)));
            batch.taken.push((*cidr, ordinals.len()));
            block::release(&mut block, &ordinals, Sequence::Keep);
            batch.emptied.extend(emptied_owner(&block).map(|owner| (*cidr, owner)));
            batch.writes.push(put_or_delete(block, stored.revision));
        }
        Ok(batch)
    }

    /// The block that holds an address: by the pools, enabled or not; of an address of no pool, by the blocks.
    pub(crate) async fn locate(&self, pools: &[Pool], address: IpAddr) -> Result<Option<IpNet>, Error> {
        if let Some(block) = pools.iter().find_map(|pool| pool.blocks().containing(address)) {
            return Ok(Some(block));
        }
        let blocks = self.read_blocks().await?;
        let readable = blocks.found.into_iter().map(|stored| stored.value.cidr);
        let mut all = readable.chain(blocks.unreadable.iter().filter_map(|unreadable| block_of(&unreadable.key)));
        Ok(all.find(|cidr| cidr.contains(&address)))
    }

    async fn let_go_after_release(&self, block: IpNet, owner: &Owner, pools: Option<&[Pool]>) {
        let mut queries = vec![answers::node(&owner.name)];
        if pools.is_none() {
            queries.push(answers::pools());
        }
        let answers = self.ask(&queries).await;
        let (mut answers, labels) = match answers.and_then(|mut answers| Ok((answers.node_labels()?, answers))) {
            Ok((Some(labels), answers)) => (answers, labels),
            Ok((None, _)) => return tracing::debug!(%block, %owner, "keeping an empty block: its owner is not there"),
            Err(error) => return tracing::debug!(%block, %error, "keeping an empty block"),
        };
        let read;
        let pools = match pools {
            Some(pools) => pools,
            None => {
                read = answers.pools().found;
                &read
            }
        };
        self.let_go_if_deselected(owner, block, pools, &labels).await;
    }
}

/// A transaction's worth of a release by handle.
#[derive(Default)]
struct Batch {
    writes: Vec<Write>,
    /// How many addresses of which block.
    taken: Vec<(IpNet, usize)>,
    addresses: Vec<IpAddr>,
    /// Blocks that become empty, and their owners.
    emptied: Vec<(IpNet, Owner)>,
    /// Blocks in which the handle holds nothing, or that cannot be read.
    without: Vec<IpNet>,
    /// Why one of them cannot be read.
    unread: Option<Error>,
}

/// What became of the addresses of one block.
struct Outcome {
    unassigned: Vec<IpAddr>,
    /// The owner of a block that became empty.
    emptied: Option<Owner>,
}

/// The ordinal to release, if the address is held; an error if it is not held as the request expects.
fn held_as_expected(block: &Block, release: &Release) -> Result<Option<usize>, ReleaseError> {
    let address = release.address;
    let held = |ordinal: &usize| block.allocations[*ordinal].is_some();
    let Some(ordinal) = block::ordinal(block, address).filter(held) else { return Ok(None) };
    if let Some(expected) = release.handle.as_deref().map(block::trim_handle) {
        let found = block::handle_of(block, ordinal);
        if found != Some(expected) {
            let (expected, found) = (expected.to_owned(), found.map(str::to_owned));
            return Err(ReleaseError::OtherHandle { address, expected, found });
        }
    }
    if let Some(expected) = release.sequence {
        let found = block.sequence_number_for_allocation.get(&ordinal.to_string()).copied();
        if found != Some(expected) {
            return Err(ReleaseError::OtherSequence { address, expected, found });
        }
    }
    Ok(Some(ordinal))
}

fn emptied_owner(block: &Block) -> Option<Owner> {
    let owner = block::owner(block).filter(|_| block::is_empty(block)).and_then(Owner::parse)?;
    (owner.kind == OwnerType::Host).then_some(owner)
}

/// An empty block without an owner is of no use to anybody.
fn put_or_delete(block: Block, revision: Revision) -> Write {
    if block::is_empty(&block) && block::owner(&block).is_none() {
        Write::Delete(Key::Block(block.cidr), revision)
    } else {
        put_block(block, Some(revision))
    }
}
