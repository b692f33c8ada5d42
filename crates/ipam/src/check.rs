//! Whether the books are right: every address in use is allocated once, every allocation is in use, and blocks,
//! handles and affinities agree with each other.
//!
//! [`Snapshot`] reads everything that matters, [`check`] judges it and is pure. Mending is left to the operator.
//! Calico's own check looks at leaks, at addresses without allocation and at handles; what it does not look at
//! (double allocation, counts, the inside of blocks, affinities) is judged here too.

pub(crate) mod allocation;
mod books;
mod snapshot;
mod user;

pub use allocation::Allocation;
pub use books::Miscount;
pub use snapshot::{HandleRecord, Snapshot};
pub use user::{User, UserKind};

use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// Every allocation, by address.
    pub allocations: BTreeMap<IpAddr, Vec<Allocation>>,
    /// Who uses which address.
    pub users: BTreeMap<IpAddr, Vec<User>>,
    /// Allocated, but used by nobody.
    pub leaked: Vec<IpAddr>,
    /// Used without an allocation, in no enabled pool.
    pub outside_pools: Vec<IpAddr>,
    /// Used without an allocation, in an enabled pool.
    pub unallocated: Vec<IpAddr>,
    /// Used by more than one.
    pub shared: Vec<IpAddr>,
    /// Allocated more than once, in blocks that overlap.
    pub doubled: Vec<IpAddr>,
    /// Used by another than the one it is allocated to; with it, to whom it is allocated.
    pub misheld: Vec<(IpAddr, String)>,
    /// How many handles hold what they should.
    pub good_handles: usize,
    /// Handles that hold nothing.
    pub idle_handles: Vec<HandleRecord>,
    /// Handles that hold addresses in blocks, but do not exist.
    pub missing_handles: Vec<String>,
    /// Handles that count another number of addresses than they hold.
    pub miscounted: Vec<Miscount>,
    /// What is wrong inside blocks or between them, one sentence each.
    pub block_faults: Vec<String>,
    /// Where blocks and affinities disagree, one sentence each.
    pub affinity_faults: Vec<String>,
    /// Addresses of nodes and endpoints that cannot be read, one sentence each.
    pub unreadable: Vec<String>,
}

impl Findings {
    /// How many problems there are.
    pub fn problems(&self) -> usize {
        [
            self.leaked.len(),
            self.outside_pools.len(),
            self.unallocated.len(),
            self.shared.len(),
            self.doubled.len(),
            self.misheld.len(),
            self.idle_handles.len(),
            self.missing_handles.len(),
            self.miscounted.len(),
            self.block_faults.len(),
            self.affinity_faults.len(),
            self.unreadable.len(),
        ]
        .iter()
        .sum()
    }

    /// Whether an allocated address is used.
    pub fn in_use(&self, address: IpAddr) -> bool {
        self.users.contains_key(&address)
    }
}

/// Judges a snapshot.
pub fn check(snapshot: &Snapshot) -> Findings {
    let mut findings = Findings::default();
    for allocation in allocation::all(&snapshot.blocks) {
        findings.allocations.entry(allocation.address).or_default().push(allocation);
    }
    let (users, unreadable) = user::all(snapshot, findings.allocations.values().flatten());
    for user in users {
        findings.users.entry(user.address).or_default().push(user);
    }
    findings.unreadable = unreadable;
    compare(&mut findings, &snapshot.active_pools());
    books::handles(snapshot, &mut findings);
    findings.block_faults = books::blocks(&snapshot.blocks);
    let nodes: BTreeSet<&str> = snapshot.nodes.iter().map(|node| node.metadata.name.as_str()).collect();
    findings.affinity_faults = books::affinities(&snapshot.blocks, &snapshot.affinities, &nodes);
    findings
}

/// Compares allocations with users.
fn compare(findings: &mut Findings, pools: &[IpNet]) {
    for (address, allocations) in &findings.allocations {
        let users = findings.users.get(address).map(Vec::as_slice).unwrap_or_default();
        if users.is_empty() {
            findings.leaked.push(*address);
        }
        if allocations.len() > 1 {
            findings.doubled.push(*address);
        }
        let stranger = |user: &User| allocations.iter().find_map(|allocation| user.is_stranger_to(allocation));
        findings.misheld.extend(users.iter().filter_map(stranger).map(|holder| (*address, holder)));
    }
    for (address, users) in &findings.users {
        if users.len() > 1 {
            findings.shared.push(*address);
        }
        if findings.allocations.contains_key(address) {
            continue;
        }
        if pools.iter().any(|pool| pool.contains(address)) {
            findings.unallocated.push(*address);
        } else {
            findings.outside_pools.push(*address);
        }
    }
}

#[cfg(test)]
mod tests;
