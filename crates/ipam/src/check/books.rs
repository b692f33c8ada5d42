//! Whether handles, blocks and affinities agree with each other.

use super::unknown::Unknown;
use super::user::WINDOWS_HANDLE;
use super::{Findings, Snapshot};
use crate::block::{self, trim_handle};
use crate::owner::Owner;
use api::event::OwnerType;
use api::ipam::{AffinityState, Block};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A handle that counts another number of addresses in a block than it holds there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miscount {
    /// The handle.
    pub handle: String,
    /// The block.
    pub block: String,
    /// How many addresses the handle counts.
    pub counted: u64,
    /// How many addresses of the block it holds.
    pub held: u64,
}

impl fmt::Display for Miscount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Miscount { handle, block, counted, held } = self;
        write!(f, "{handle} counts {counted} IPs in block {block}, but holds {held}")
    }
}

/// Judges the handles.
///
/// What a handle counts in a block that cannot be read is not judged.
pub(super) fn handles(snapshot: &Snapshot, unknown: &Unknown<'_>, findings: &mut Findings) {
    let mut held: BTreeMap<&str, BTreeMap<String, u64>> = BTreeMap::new();
    for allocation in findings.allocations.values().flatten() {
        let Some(handle) = allocation.handle.as_deref().map(trim_handle) else { continue };
        *held.entry(handle).or_default().entry(allocation.block.to_string()).or_default() += 1;
    }
    let mut known = BTreeSet::from([WINDOWS_HANDLE]);
    for record in &snapshot.handles {
        let id = trim_handle(&record.id);
        known.insert(id);
        let is_unknown = |block: &str| block.parse().is_ok_and(|block| unknown.block(block));
        if !held.contains_key(id) && record.handle.block.keys().any(|block| is_unknown(block)) {
            findings.good_handles += 1;
            continue;
        }
        let Some(held) = held.get(id) else {
            findings.idle_handles.push(record.clone());
            continue;
        };
        findings.good_handles += 1;
        let blocks: BTreeSet<&String> = held.keys().chain(record.handle.block.keys()).collect();
        for block in blocks.into_iter().filter(|block| !is_unknown(block)) {
            let count = |counts: &BTreeMap<String, u64>| counts.get(block).copied().unwrap_or_default();
            let (counted, held) = (count(&record.handle.block), count(held));
            if counted != held {
                let (handle, block) = (record.id.clone(), block.clone());
                findings.miscounted.push(Miscount { handle, block, counted, held });
            }
        }
    }
    let missing = held.keys().filter(|id| !known.contains(*id) && !unknown.handle(id));
    findings.missing_handles = missing.map(|id| (*id).to_owned()).collect();
}

/// Judges each block by itself, and whether blocks overlap.
pub(super) fn blocks(blocks: &[Block]) -> Vec<String> {
    let mut faults: Vec<String> = blocks.iter().flat_map(inside).collect();
    let mut ranges: Vec<IpNet> = blocks.iter().map(|block| block.cidr).collect();
    ranges.sort_by_key(|range| (range.network(), range.prefix_len()));
    let mut outer: Option<IpNet> = None;
    for range in ranges {
        match outer.filter(|outer| outer.contains(&range)) {
            Some(outer) => faults.push(format!("block {range} lies in block {outer}")),
            None => outer = Some(range),
        }
    }
    faults
}

fn inside(block: &Block) -> Vec<String> {
    let cidr = block.cidr;
    let mut faults = Vec::new();
    let size = 1_u128.checked_shl(u32::from(cidr.max_prefix_len() - cidr.prefix_len())).unwrap_or(u128::MAX);
    if block.allocations.len() as u128 != size {
        faults.push(format!("block {cidr} records {} addresses instead of {size}", block.allocations.len()));
        return faults;
    }
    let mut free = BTreeSet::new();
    for ordinal in &block.unallocated {
        match block.allocations.get(*ordinal) {
            None => faults.push(format!("block {cidr} offers the address number {ordinal}, which it does not have")),
            Some(Some(_)) => {
                let address = block::address(block, *ordinal);
                faults.push(format!("block {cidr} offers {address}, which is allocated"));
            }
            Some(None) if !free.insert(*ordinal) => {
                faults.push(format!("block {cidr} offers {} twice", block::address(block, *ordinal)));
            }
            Some(None) => {}
        }
    }
    for (ordinal, slot) in block.allocations.iter().enumerate() {
        let address = || block::address(block, ordinal);
        match slot {
            None if !free.contains(&ordinal) => {
                faults.push(format!("block {cidr} neither allocates nor offers {}", address()));
            }
            Some(index) if *index >= block.attributes.len() => {
                faults.push(format!("block {cidr} does not say who holds {}", address()));
            }
            None | Some(_) => {}
        }
    }
    faults
}

/// Compares the blocks' owners with the affinities.
///
/// An affinity that is pending, or pending deletion, is a step of another writer's and right either way.
pub(super) fn affinities(snapshot: &Snapshot, unknown: &Unknown<'_>) -> Vec<String> {
    let Snapshot { blocks, affinities, .. } = snapshot;
    let nodes: BTreeSet<&str> = snapshot.nodes.iter().map(|node| node.metadata.name.as_str()).collect();
    let owners: BTreeMap<IpNet, Option<&str>> = blocks.iter().map(|block| (block.cidr, block::owner(block))).collect();
    let claims: BTreeSet<(String, IpNet)> =
        affinities.iter().map(|(owner, block, _)| (owner.to_string(), *block)).collect();
    let mut faults = Vec::new();
    for (block, owner) in &owners {
        let is_unknown = |owner: &str| Owner::parse(owner).is_some_and(|owner| unknown.affinity(&owner, *block));
        let claimless = owner.filter(|owner| !claims.contains(&((*owner).to_owned(), *block)) && !is_unknown(owner));
        if let Some(owner) = claimless {
            faults.push(format!("block {block} names {owner} as its owner, who has no affinity for it"));
        }
    }
    for (owner, block, state) in affinities {
        let name = owner.name.as_str();
        if owner.kind == OwnerType::Host && !nodes.contains(name) && !unknown.node(name) {
            faults.push(format!("{owner} has an affinity for block {block}, but there is no such node"));
        }
        let settled = match state {
            AffinityState::Confirmed => true,
            AffinityState::Pending | AffinityState::PendingDeletion => false,
        };
        match owners.get(block) {
            _ if !settled || unknown.block(*block) => {}
            None => faults.push(format!("{owner} has an affinity for block {block}, which does not exist")),
            Some(named) if *named != Some(owner.to_string().as_str()) => {
                let named = named.unwrap_or("nobody");
                faults.push(format!("{owner} has an affinity for block {block}, which names {named} as its owner"));
            }
            Some(_) => {}
        }
    }
    faults
}
