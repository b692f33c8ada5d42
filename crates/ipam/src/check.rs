//! Whether the books are right: every address in use is allocated once, every allocation is in use, and blocks,
//! handles and affinities agree with each other.
//!
//! [`Snapshot`] reads everything that matters, [`check`] judges it and is pure. Mending is left to the operator.
//! Calico's own check looks at leaks, at addresses without allocation and at handles; what it does not look at
//! (double allocation, counts, the inside of blocks, affinities) is judged here too.

pub(crate) mod allocation;
mod books;
mod snapshot;
mod unknown;
mod user;

pub use allocation::Allocation;
pub use books::Miscount;
pub use snapshot::{HandleRecord, Snapshot};
pub use user::{User, UserKind};

use api::Unreadable;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use unknown::Unknown;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// Every allocation, by address.
    pub allocations: BTreeMap<IpAddr, Vec<Allocation>>,
    /// Who uses which address.
    pub users: BTreeMap<IpAddr, Vec<User>>,
    /// Allocated, but used by nobody.
    pub leaked: Vec<IpAddr>,
    /// Allocated, and used by nobody who can be read; there is somebody who cannot.
    pub undecided: Vec<IpAddr>,
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
    /// Objects that cannot be read. Nothing is judged by what they may say.
    pub unread: Vec<Unreadable>,
}

impl Findings {
    /// Whether something was not judged, since what somebody says or has cannot be read: nothing may be freed by it.
    pub fn is_blind(&self) -> bool {
        !self.unread.is_empty() || !self.unreadable.is_empty()
    }

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
            self.unread.len(),
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
    findings.unread = snapshot.unreadable.clone();
    let unknown = Unknown::of(snapshot);
    compare(&mut findings, &snapshot.active_pools(), &unknown);
    books::handles(snapshot, &unknown, &mut findings);
    findings.block_faults = books::blocks(&snapshot.blocks);
    findings.affinity_faults = books::affinities(snapshot, &unknown);
    findings
}

/// Compares allocations with users.
fn compare(findings: &mut Findings, pools: &[IpNet], unknown: &Unknown<'_>) {
    let more_users = unknown.users() || !findings.unreadable.is_empty();
    for (address, allocations) in &findings.allocations {
        let users = findings.users.get(address).map(Vec::as_slice).unwrap_or_default();
        match users {
            [] if more_users => findings.undecided.push(*address),
            [] => findings.leaked.push(*address),
            [_, ..] => {}
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
        if findings.allocations.contains_key(address) || unknown.holder(*address) {
            continue;
        }
        if pools.iter().any(|pool| pool.contains(address)) {
            findings.unallocated.push(*address);
        } else if !unknown.pools() {
            findings.outside_pools.push(*address);
        }
    }
}

#[cfg(test)]
mod tests;
