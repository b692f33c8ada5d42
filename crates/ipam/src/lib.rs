//! Address management: which node owns which block of a pool, and who holds which address.
//!
//! [`start`] and [`block`] are arithmetic without IO, clock or randomness. [`Ipam`] is the compare-and-swap loop
//! over a [`datastore::Store`]: it reads, decides, and writes everything that belongs together (affinity, block,
//! handle) in one transaction, so that a process that dies leaves nothing half-done. On the same datastore
//! Calico's own writers may be at work, who take several steps: what they leave between two steps (an affinity
//! `pending` or `pendingDeletion`, a handle ahead of its block) is understood and finished. The rules are those of
//! Calico v3.32.
//!
//! IPv4 and IPv6 are the same code. Nothing is cached between calls.

pub mod block;
pub mod check;
pub mod pool;
pub mod start;
pub mod tunnel;
pub mod usage;

mod affinity;
mod answers;
mod assign_ip;
mod auto_assign;
mod claim;
mod clock;
mod config;
mod go_rand;
mod go_rand_table;
mod handle;
mod owner;
mod query;
mod release;
mod room;
mod search;
mod stored;

pub use affinity::{Claims, Condition, LetGoError};
pub use assign_ip::{AssignIp, AssignIpError};
pub use auto_assign::{Assigned, AutoAssign, AutoAssignError, Family, Prepared, Shortage};
pub use claim::ClaimError;
pub use clock::{Clock, SystemClock, attribute_timestamp};
pub use config::ConfigError;
pub use owner::Owner;
pub use query::LookupError;
pub use release::{Release, ReleaseError};

use datastore::Store;

/// How often an operation starts again because another writer was faster.
const ATTEMPTS: usize = 100;

/// Address management over one datastore.
#[derive(Clone, Copy)]
pub struct Ipam<'a> {
    store: &'a dyn Store,
    clock: &'a dyn Clock,
}

impl<'a> Ipam<'a> {
    /// Address management over `store`, with the time that `clock` tells.
    pub fn new(store: &'a dyn Store, clock: &'a dyn Clock) -> Self {
        Ipam { store, clock }
    }
}
