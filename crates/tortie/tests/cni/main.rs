//! The CNI plugin, called as a container runtime calls it: the built binary, under its CNI names, in network
//! namespaces of its own, with a datastore of its own.
//!
//! ```text
//!  node's namespace                          pod's namespace
//!  tortie store (unix socket)
//!  calico, calico-ipam ── cali… ──────────── eth0
//! ```
//!
//! What is expected is what Calico v3.32.1 answered, stored and left in the kernel for the same calls. The kernel is
//! read with `ip`, the datastore with `etcdctl`. Everything needs root.

mod add;
mod attachments;
mod bad_input;
mod chain;
mod check;
mod common;
mod conflist;
mod del;
mod failures;
mod gc;
mod order;
mod parallel;
mod process;
mod status;
mod upstream;
mod versions;
