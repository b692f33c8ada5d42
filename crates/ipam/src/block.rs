//! Arithmetic on one block: who holds which of its addresses. Pure.
//!
//! Addresses are handed out first in, first out: from the head of `unallocated`, and freed ones join its tail.
//! Holders with the same handle and attributes share one entry of `attributes`; entries nobody refers to are
//! dropped and the indexes closed up, as Calico's writers do, so that either may go on where the other stopped.

use crate::start::{nth_address, number, with_prefix};
use api::ipam::{Attribute, Block};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Who is to hold addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// The handle by which the addresses are found again.
    pub handle: Option<String>,
    /// `pod`, `namespace`, `node`, `timestamp`, `type`.
    pub attributes: BTreeMap<String, String>,
}

/// Whether the release forgets the sequence number at which an address was given out.
///
/// Calico keeps it on a release by handle and forgets it on one by address. A kept one does no harm: the next
/// assignment overwrites it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequence {
    /// Leave it.
    Keep,
    /// Remove it.
    Forget,
}

/// Why an address cannot be assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssignError {
    /// Somebody holds it.
    #[error("Address already assigned in block")]
    Taken,
    /// The block does not contain it.
    #[error("address is not in the block")]
    Outside,
}

/// Makes a block with every address free.
pub fn new(cidr: IpNet, affinity: &str, claim_time: &str, sequence_number: u64) -> Block {
    let size = 1_usize << (cidr.max_prefix_len() - cidr.prefix_len());
    Block {
        cidr: cidr.trunc(),
        affinity: Some(affinity.to_owned()),
        affinity_claim_time: Some(claim_time.to_owned()),
        allocations: vec![None; size],
        unallocated: (0..size).collect(),
        attributes: Vec::new(),
        sequence_number,
        sequence_number_for_allocation: BTreeMap::new(),
        deleted: false,
        host_affinity: None,
    }
}

/// The owner, `host:NODE` or `virtual:NAME`; also where Calico 2 kept it.
pub fn owner(block: &Block) -> Option<&str> {
    block.affinity.as_deref().or(block.host_affinity.as_deref())
}

/// The address of an ordinal.
pub fn address(block: &Block, ordinal: usize) -> IpAddr {
    nth_address(block.cidr, ordinal as u128)
}

/// The ordinal of an address of the block.
pub fn ordinal(block: &Block, address: IpAddr) -> Option<usize> {
    let offset = block.cidr.contains(&address).then(|| number(address) - number(block.cidr.network()))?;
    usize::try_from(offset).ok().filter(|ordinal| *ordinal < block.allocations.len())
}

/// How many addresses are free and not reserved.
pub fn free(block: &Block, reserved: &[IpNet]) -> usize {
    block.unallocated.iter().filter(|ordinal| !is_reserved(block, **ordinal, reserved)).count()
}

/// Whether nobody holds any address.
pub fn is_empty(block: &Block) -> bool {
    block.allocations.iter().all(Option::is_none)
}

/// Who holds an ordinal.
pub fn holder(block: &Block, ordinal: usize) -> Option<&Attribute> {
    block.attributes.get((*block.allocations.get(ordinal)?)?)
}

/// The ordinals that a handle holds, ascending.
pub fn held_by(block: &Block, handle: &str) -> Vec<usize> {
    let held = |ordinal: &usize| handle_of(block, *ordinal) == Some(handle);
    (0..block.allocations.len()).filter(held).collect()
}

/// The handle that holds an ordinal, as far as it counts: up to the first carriage return.
pub fn handle_of(block: &Block, ordinal: usize) -> Option<&str> {
    holder(block, ordinal)?.handle_id.as_deref().map(trim_handle)
}

/// Cuts a handle at its first carriage return, which old Windows nodes left in it.
pub fn trim_handle(handle: &str) -> &str {
    handle.split('\r').next().unwrap_or_default()
}

/// Assigns up to `wanted` addresses from the head of the free list; they carry the block's prefix length.
///
/// Reserved addresses are passed over and keep their place. The sequence number grows if anything was assigned.
pub fn assign(block: &mut Block, wanted: usize, holder: &Holder, reserved: &[IpNet]) -> Vec<IpNet> {
    let open = block.unallocated.iter().copied().filter(|ordinal| !is_reserved(block, *ordinal, reserved));
    let chosen: Vec<usize> = open.take(wanted).collect();
    take(block, &chosen, holder);
    chosen.iter().map(|ordinal| with_prefix(address(block, *ordinal), block.cidr.prefix_len())).collect()
}

/// Assigns the given address.
pub fn assign_address(block: &mut Block, address: IpAddr, holder: &Holder) -> Result<(), AssignError> {
    let ordinal = ordinal(block, address).ok_or(AssignError::Outside)?;
    if block.allocations[ordinal].is_some() {
        return Err(AssignError::Taken);
    }
    take(block, &[ordinal], holder);
    Ok(())
}

/// Releases ordinals: each that is held joins the tail of the free list, in the given order.
pub fn release(block: &mut Block, ordinals: &[usize], sequence: Sequence) {
    let mut released = false;
    for &ordinal in ordinals {
        let Some(slot) = block.allocations.get_mut(ordinal) else { continue };
        if slot.take().is_none() {
            continue;
        }
        released = true;
        block.unallocated.push(ordinal);
        if sequence == Sequence::Forget {
            block.sequence_number_for_allocation.remove(&ordinal.to_string());
        }
    }
    if released {
        drop_unused_attributes(block);
        block.sequence_number = block.sequence_number.wrapping_add(1);
    }
}

/// Takes the block from its owner; addresses stay with their holders.
pub fn disown(block: &mut Block) {
    block.affinity = None;
    block.host_affinity = None;
    block.affinity_claim_time = None;
    block.sequence_number = block.sequence_number.wrapping_add(1);
}

fn take(block: &mut Block, ordinals: &[usize], holder: &Holder) {
    if ordinals.is_empty() {
        return;
    }
    let index = attribute_index(block, holder);
    for ordinal in ordinals {
        block.allocations[*ordinal] = Some(index);
        block.sequence_number_for_allocation.insert(ordinal.to_string(), block.sequence_number);
    }
    let taken: BTreeSet<usize> = ordinals.iter().copied().collect();
    block.unallocated.retain(|ordinal| !taken.contains(ordinal));
    block.sequence_number = block.sequence_number.wrapping_add(1);
}

fn attribute_index(block: &mut Block, holder: &Holder) -> usize {
    let entry = Attribute {
        handle_id: holder.handle.clone(),
        secondary: Some(holder.attributes.clone()),
        alternate_owner_attrs: None,
    };
    let found = block.attributes.iter().position(|attribute| *attribute == entry);
    found.unwrap_or_else(|| {
        block.attributes.push(entry);
        block.attributes.len() - 1
    })
}

fn drop_unused_attributes(block: &mut Block) {
    let used: BTreeSet<usize> = block.allocations.iter().flatten().copied().collect();
    let closed_up: BTreeMap<usize, usize> = used.iter().enumerate().map(|(new, old)| (*old, new)).collect();
    let mut index = 0..;
    block.attributes.retain(|_| index.next().is_some_and(|index| used.contains(&index)));
    for slot in block.allocations.iter_mut().flatten() {
        *slot = closed_up[slot];
    }
}

fn is_reserved(block: &Block, ordinal: usize, reserved: &[IpNet]) -> bool {
    let address = address(block, ordinal);
    reserved.iter().any(|net| net.contains(&address))
}

#[cfg(test)]
mod tests;
