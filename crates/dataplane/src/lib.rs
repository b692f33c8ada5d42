//! Desired state into kernel: reconcilers, netlink, packet rules, BPF.
//!
//! Each reconciler compares what [`model::desired::Desired`] asks for with what the kernel has, knows its own
//! objects by their looks alone, and writes the difference. Nothing here has seen a resource or a datastore.
//! Everything is blocking and acts on the network namespace of the calling thread.
//!
//! The agent gives [`run()`] a thread and talks to it through a [`mailbox`](mailbox()); the CNI plugin uses
//! [`podnet`] alone.

pub mod apply;
pub mod bpf;
mod children;
pub mod cleanup;
pub mod delta;
mod draft;
pub mod ipip;
pub mod links;
mod mailbox;
mod mtu;
pub mod netlink;
pub mod netns;
mod paths;
pub mod podnet;
pub mod routes;
pub mod rules;
mod run;
mod status;
pub mod sysctl;
pub mod tunnel;

pub use apply::{Affected, BgpDaemon, Config, Dataplane, Failure, Outcome, read_retained};
pub use children::give_children_open_files;
pub use ipip::{TunnelChoice, TunnelForm, TunnelStatus};
pub use mailbox::{Input, Mailbox, Sender, mailbox};
pub use run::{Status, run};
