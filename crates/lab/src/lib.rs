//! A cluster of network namespaces on one machine, for the demo, for tests and for learning.
//!
//! A lab is a tree of processes under one supervisor, which is process 1 of a PID namespace of its own: when it
//! ends, the kernel ends everything below it, and with the processes go the namespaces and mounts they held.
//! What is left is one run directory. Nothing of a lab is visible in the machine's root namespaces but processes
//! and that directory.
//!
//! ```text
//!  lab supervisor (wire: bridges, router, store)
//!   ├── internet            the host outside
//!   ├── k8s-m   init ── agent, pods
//!   ├── k8s-w1  init ── agent, pods
//!   ├── tor     init ── bird, or another router's programs
//!   └── …
//! ```
//!
//! When the first process of a host ends, killed or not, the supervisor boots the host again, as a machine that lost its
//! power: with an empty kernel, its folder in the run directory as its disk, and its pods in new sandboxes.
//!
//! The lab wires links with iproute2 and knows nothing of the dataplane: what it builds is the machines that a
//! cluster runs on, and pods attached by whatever CNI plugin is installed on a node.

mod cni;
mod control;
pub mod exec;
pub mod init;
mod isolate;
mod lab;
mod modules;
mod mount;
pub mod pod;
mod process;
mod pty;
mod ready;
mod reaper;
mod router;
mod rundir;
mod service;
pub mod topology;
mod wire;

pub use lab::{
    Agents, Applied, Down, Lab, NodeStatus, Outcome, Progress, RouterStatus, Status, StoreStatus, UpOptions,
};
pub use rundir::LabName;
