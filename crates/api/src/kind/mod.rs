//! The `spec` of each kind, one file each.
//!
//! A new field goes where Calico's type has it, since that is the order in which it is stored and printed; then, where
//! they apply: `apply_defaults`, `check` (with Calico's words), `idle_fields` while nothing acts on it, `to_model` for
//! what reaches a kernel. Its column in calicoctl's tables is in the binary's `ctl::column`.

mod bgp_configuration;
mod bgp_peer;
mod cluster_information;
mod felix_configuration;
mod ip_pool;
mod ip_reservation;
mod node;
mod profile;
mod rule;
mod tier;
mod workload_endpoint;

#[cfg(test)]
mod testing;

pub use bgp_configuration::*;
pub use bgp_peer::*;
pub use cluster_information::*;
pub use felix_configuration::*;
pub use ip_pool::*;
pub use ip_reservation::*;
pub use node::*;
pub use profile::*;
pub use rule::*;
pub use tier::*;
pub use workload_endpoint::*;
