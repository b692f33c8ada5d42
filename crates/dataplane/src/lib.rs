//! Desired state into kernel: reconcilers, netlink, packet rules, BPF.
//!
//! Each reconciler compares what [`model::desired::Desired`] asks for with what the kernel has, knows its own
//! objects by their looks alone, and writes the difference. Nothing here has seen a resource or a datastore.
//! Everything is blocking and acts on the network namespace of the calling thread.

pub mod bpf;
pub mod netlink;
pub mod netns;
pub mod podnet;
pub mod rules;
pub mod sysctl;
pub mod tunnel;
