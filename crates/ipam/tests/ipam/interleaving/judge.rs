//! What must hold after every step, and what must be possible when all clients have ended.
//!
//! Tortie's own writes are whole, so blocks, handles and affinities agree after every one of them, whoever stops and
//! wherever. Of Calico's steps these may be left, each of which is understood and finished by whoever comes next:
//! an affinity `pending` with or without its block, a block whose owner's affinity is `pending`, or was deleted before
//! the block was made, and a handle that counts more than it holds; never less, and never an address that is held and
//! not counted.

use super::call::{Call, Client, Later, Ledger};
use crate::cluster::request;
use datastore::memory::Memory;
use futures::FutureExt;
use ipam::check::{Findings, check};
use ipam::{Condition, Ipam, Owner, ReleaseError};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What a judgement depends on: what is stored, who was given what, and of whom that is open.
type Evidence = (BTreeMap<String, String>, BTreeMap<IpAddr, String>, BTreeSet<String>);

/// Looks at the datastore and the clients' book; at what looks the same only once.
#[derive(Default)]
pub(crate) struct Judge {
    /// Whether Calico writes too.
    calico: bool,
    moments: BTreeSet<Evidence>,
    ends: BTreeSet<Evidence>,
}

/// A future over the store in memory alone never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing here waits")
}

fn evidence(memory: &Memory, ledger: &Ledger) -> Evidence {
    (memory.dump(), ledger.held.clone(), ledger.doubtful.clone())
}

fn findings(memory: &Memory) -> Findings {
    check(&now(Ipam::new(memory, &Later).snapshot()).expect("the store in memory answers"))
}

fn ensure(holds: bool, reason: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(reason()) }
}

impl Judge {
    pub(crate) fn new(clients: &[Client]) -> Self {
        Judge { calico: clients.iter().flatten().any(Call::is_calicos), ..Judge::default() }
    }

    /// Judges the state between two steps: no address twice, none lost, and the books agree.
    pub(crate) fn moment(&mut self, memory: &Memory, ledger: &Ledger) -> Result<(), String> {
        ensure(ledger.faults.is_empty(), || ledger.faults.join("; "))?;
        if !self.moments.insert(evidence(memory, ledger)) {
            return Ok(());
        }
        let findings = findings(memory);
        self.books(&findings)?;
        for (address, handle) in &ledger.held {
            let holders: Vec<Option<&str>> =
                findings.allocations.get(address).into_iter().flatten().map(|it| it.handle.as_deref()).collect();
            ensure(holders == [Some(handle.as_str())], || {
                format!("{address} was given to {handle}, but is held by {holders:?}")
            })?;
        }
        for allocation in findings.allocations.values().flatten() {
            let handle = allocation.handle.as_deref().unwrap_or_default();
            let known = ledger.held.get(&allocation.address).is_some_and(|holder| holder == handle);
            ensure(known || ledger.doubtful.contains(handle), || {
                format!("{} is held by {handle}, which does not know of it", allocation.address)
            })?;
        }
        Ok(())
    }

    /// Judges the state when all clients have ended: everything can be released, and then everything assigned.
    pub(crate) fn end(&mut self, memory: &Memory, ledger: &Ledger) -> Result<(), String> {
        if !self.ends.insert(evidence(memory, ledger)) {
            return Ok(());
        }
        let memory = memory.fork();
        let ipam = Ipam::new(&memory, &Later);
        let handles: BTreeSet<&String> = ledger.held.values().chain(&ledger.doubtful).collect();
        for handle in handles {
            let held = |address: &IpAddr| ledger.held.get(address) == Some(handle);
            let released = match now(ipam.release_by_handle(handle)) {
                Ok(released) => released,
                Err(ReleaseError::NoSuchHandle(_)) => Vec::new(),
                Err(error) => return Err(format!("release {handle} after all: {error}")),
            };
            let missing: Vec<&IpAddr> =
                ledger.held.keys().filter(|address| held(address) && !released.contains(address)).collect();
            ensure(missing.is_empty(), || format!("{handle} should have held {missing:?}"))?;
        }
        for host in ["n1", "n2", "n3"] {
            let kept = now(ipam.release_host_affinities(&Owner::host(host), Condition::Empty));
            let kept = kept.map_err(|error| format!("let go of {host}'s blocks after all: {error}"))?;
            ensure(kept.is_empty(), || format!("{host} keeps {kept:?} after all"))?;
        }
        let findings = findings(&memory);
        ensure(findings.allocations.is_empty(), || format!("held after all: {:?}", findings.allocations))?;
        self.books(&findings)?;
        self.fill(&memory)
    }

    /// Every address of the pool can be assigned, on any host.
    fn fill(&self, memory: &Memory) -> Result<(), String> {
        let ipam = Ipam::new(memory, &Later);
        let snapshot = now(ipam.snapshot()).map_err(|error| error.to_string())?;
        let open = snapshot.pools.iter().filter(|pool| pool.selects_node(&BTreeMap::new()));
        let size: usize = open.map(|pool| 1 << (pool.cidr.max_prefix_len() - pool.cidr.prefix_len())).sum();
        let mut got = BTreeSet::new();
        for (host, share) in [("n1", 1), ("n2", 1), ("n3", size - 2)] {
            let assigned = now(ipam.auto_assign(&request(host, &format!("{host}-after-all"), share)));
            let assigned = assigned.map_err(|error| format!("assign after all: {error}"))?;
            ensure(assigned.shortages.is_empty(), || format!("after all: {}", assigned.shortages[0]))?;
            got.extend(assigned.v4.iter().map(ipnet::IpNet::addr));
        }
        ensure(got.len() == size, || format!("after all {} of {size} addresses could be assigned", got.len()))?;
        self.books(&findings(memory))
    }

    fn books(&self, findings: &Findings) -> Result<(), String> {
        ensure(findings.doubled.is_empty(), || format!("held twice: {:?}", findings.doubled))?;
        ensure(findings.block_faults.is_empty(), || findings.block_faults.join("; "))?;
        ensure(findings.missing_handles.is_empty(), || format!("no handle {:?}", findings.missing_handles))?;
        let behind = findings.miscounted.iter().find(|count| !self.calico || count.counted < count.held);
        ensure(behind.is_none(), || behind.map(ToString::to_string).unwrap_or_default())?;
        let left_by_calico = |fault: &&String| self.calico && fault.ends_with("who has no affinity for it");
        let faults: Vec<&String> = findings.affinity_faults.iter().filter(|fault| !left_by_calico(fault)).collect();
        ensure(faults.is_empty(), || format!("{faults:?}"))?;
        ensure(self.calico || findings.idle_handles.is_empty(), || format!("idle: {:?}", findings.idle_handles))
    }
}
