//! What clients do, and the book of what they were given.

use super::schedule::Stepped;
use crate::calico::Calico;
use crate::cluster::{net, request};
use datastore::Error;
use datastore::memory::Memory;
use futures::FutureExt;
use ipam::block::Holder;
use ipam::{
    AssignIp, AssignIpError, AutoAssignError, ClaimError, Clock, Condition, Ipam, LetGoError, Owner, Release,
    ReleaseError,
};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Mutex;

/// A program that makes calls one after the other.
pub(crate) type Client = Vec<Call>;

/// One call of IPAM, or what Calico would do.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    /// Any addresses for a handle on a host; there are enough.
    Assign { host: &'static str, handle: String, count: usize },
    /// Any addresses for a handle on a host, as far as there are.
    TryAssign { host: &'static str, handle: String, count: usize },
    /// One given address.
    AssignIp { host: &'static str, handle: String, address: IpAddr },
    /// Everything of a handle.
    Release { handle: String },
    /// One address, if the handle holds it; `None` releases the first that the handle was given.
    ReleaseFirst { handle: String },
    /// All blocks of a host.
    LetGo { host: &'static str, condition: Condition },
    /// Every block of a range.
    Claim { host: &'static str, cidr: &'static str },
    /// Everybody's blocks of a pool.
    LetGoOfPool { cidr: &'static str },
    /// Calico's steps: claim a block and assign one address from it.
    Calico { host: &'static str, handle: String, cidr: &'static str },
    /// Calico's steps: release a handle's address in a block.
    CalicoRelease { host: &'static str, handle: String, cidr: &'static str },
}

impl Call {
    pub(crate) fn is_calicos(&self) -> bool {
        matches!(self, Call::Calico { .. } | Call::CalicoRelease { .. })
    }

    /// The handle of which the call may change what it holds.
    fn handle(&self) -> Option<&String> {
        match self {
            Call::Assign { handle, .. }
            | Call::TryAssign { handle, .. }
            | Call::AssignIp { handle, .. }
            | Call::Release { handle }
            | Call::ReleaseFirst { handle }
            | Call::Calico { handle, .. }
            | Call::CalicoRelease { handle, .. } => Some(handle),
            Call::LetGo { .. } | Call::Claim { .. } | Call::LetGoOfPool { .. } => None,
        }
    }
}

/// What the clients know.
#[derive(Clone, Default)]
pub(crate) struct Ledger {
    /// Addresses that were given and not asked back, and their handles.
    pub(crate) held: BTreeMap<IpAddr, String>,
    /// Handles of which it is open what they hold: of calls under way, of clients that stopped, or had no answer.
    pub(crate) doubtful: BTreeSet<String>,
    /// Handles that are held by several clients: what they hold is never certain.
    pub(crate) shared: BTreeSet<String>,
    /// What must not happen.
    pub(crate) faults: Vec<String>,
}

impl Ledger {
    /// The book of those who hold what a store says.
    pub(crate) fn of(memory: &Memory) -> Self {
        let snapshot = Ipam::new(memory, &Later).snapshot().now_or_never().expect("the store in memory does not wait");
        let allocations = ipam::check::check(&snapshot.unwrap()).allocations;
        let held = allocations.into_values().flatten();
        let held = held.map(|allocation| (allocation.address, allocation.handle.unwrap_or_default())).collect();
        Ledger { held, ..Ledger::default() }
    }

    fn begin(&mut self, call: &Call) {
        let Some(handle) = call.handle() else { return };
        if !self.doubtful.insert(handle.clone()) {
            self.shared.insert(handle.clone());
            self.held.retain(|_, holder| holder != handle);
        }
    }

    fn give(&mut self, handle: &str, addresses: impl Iterator<Item = IpAddr>) {
        if self.shared.contains(handle) {
            return;
        }
        for address in addresses {
            if let Some(other) = self.held.insert(address, handle.to_owned()) {
                self.faults.push(format!("{address} was given to {handle}, and {other} has it"));
            }
        }
    }

    fn take(&mut self, handle: &str) {
        self.held.retain(|_, holder| holder != handle);
    }

    fn settle(&mut self, call: &Call) {
        if let Some(handle) = call.handle().filter(|handle| !self.shared.contains(*handle)) {
            self.doubtful.remove(handle);
        }
    }
}

/// A moment after which a block that was claimed at [`crate::cluster::EPOCH`] may be taken from its owner.
const NOW: i128 = crate::cluster::EPOCH as i128 + 3_600_000_000_000;

/// The clock of the clients: it stands.
pub(crate) struct Later;

impl Clock for Later {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanosecond(NOW).unwrap()
    }
}

/// Makes a client's calls. A client whose datastore is away goes on with the next call.
pub(crate) async fn perform(client: &Client, store: &Stepped, ledger: &Mutex<Ledger>) {
    for call in client {
        ledger.lock().unwrap().begin(call);
        match make(call, store, ledger).await {
            Ok(()) => ledger.lock().unwrap().settle(call),
            Err(Failure::Away) => {}
            Err(Failure::Wrong(reason)) => ledger.lock().unwrap().faults.push(format!("{call:?}: {reason}")),
        }
    }
}

enum Failure {
    Away,
    Wrong(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if let Error::Unavailable(_) = error { Failure::Away } else { Failure::Wrong(error.to_string()) }
    }
}

macro_rules! failure {
    ($($error:ident),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                if let $error::Store(error) = error { error.into() } else { Failure::Wrong(error.to_string()) }
            }
        }
    )*};
}

failure!(AutoAssignError, AssignIpError, ClaimError, LetGoError, ReleaseError);

async fn make(call: &Call, store: &Stepped, ledger: &Mutex<Ledger>) -> Result<(), Failure> {
    let ipam = Ipam::new(store, &Later);
    match call {
        Call::Assign { host, handle, count } | Call::TryAssign { host, handle, count } => {
            let assigned = ipam.auto_assign(&request(host, handle, *count)).await?;
            ledger.lock().unwrap().give(handle, assigned.v4.iter().map(ipnet::IpNet::addr));
            match assigned.shortages.first() {
                Some(shortage) if matches!(call, Call::Assign { .. }) => Err(Failure::Wrong(shortage.to_string())),
                _ => Ok(()),
            }
        }
        Call::AssignIp { host, handle, address } => {
            let holder = Holder { handle: Some(handle.clone()), ..Holder::default() };
            let request = AssignIp { address: *address, holder, host: (*host).to_owned() };
            match ipam.assign_ip(&request).await {
                Ok(()) => ledger.lock().unwrap().give(handle, [*address].into_iter()),
                Err(AssignIpError::AlreadyAssigned(_)) => {}
                Err(error) => return Err(error.into()),
            }
            Ok(())
        }
        Call::Release { handle } => {
            ledger.lock().unwrap().take(handle);
            match ipam.release_by_handle(handle).await {
                Ok(_) | Err(ReleaseError::NoSuchHandle(_)) => Ok(()),
                Err(error) => Err(error.into()),
            }
        }
        Call::ReleaseFirst { handle } => {
            let held = |ledger: &Ledger| {
                let mut held = ledger.held.iter().filter(|(_, holder)| *holder == handle);
                held.next().map(|(address, _)| *address)
            };
            let Some(address) = held(&ledger.lock().unwrap()) else { return Ok(()) };
            ledger.lock().unwrap().held.remove(&address);
            let release = Release { address, handle: Some(handle.clone()), sequence: None };
            match ipam.release_ips(&[release]).await {
                // somebody else released it, and it was given out anew
                Ok(_) | Err(ReleaseError::OtherHandle { .. }) => Ok(()),
                Err(error) => Err(error.into()),
            }
        }
        Call::LetGo { host, condition } => {
            ipam.release_host_affinities(&Owner::host(host), *condition).await?;
            Ok(())
        }
        Call::Claim { host, cidr } => {
            ipam.claim_affinity(net(cidr), &Owner::host(host)).await?;
            Ok(())
        }
        Call::LetGoOfPool { cidr } => Ok(ipam.release_pool_affinities(net(cidr)).await?),
        Call::Calico { host, handle, cidr } => {
            let calico = Calico { store, host };
            if calico.claim(net(cidr)).await {
                let got = calico.assign(net(cidr), handle).await;
                ledger.lock().unwrap().give(handle, got.iter().map(ipnet::IpNet::addr));
            }
            Ok(())
        }
        Call::CalicoRelease { host, handle, cidr } => {
            ledger.lock().unwrap().take(handle);
            Calico { store, host }.release(net(cidr), handle).await;
            Ok(())
        }
    }
}
