//! The `spec` of each kind, one file each.

mod bgp_configuration;
mod bgp_peer;
mod cluster_information;
mod felix_configuration;
mod ip_pool;
mod node;
mod profile;
mod tier;
mod workload_endpoint;

#[cfg(test)]
mod testing;

pub use bgp_configuration::*;
pub use bgp_peer::*;
pub use cluster_information::*;
pub use felix_configuration::*;
pub use ip_pool::*;
pub use node::*;
pub use profile::*;
pub use tier::*;
pub use workload_endpoint::*;
