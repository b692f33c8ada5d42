//! The calculation graph: a datastore's events in, a node's desired state out.
//!
//! Pure: nothing here reads a clock, a file, the environment or a socket. The output is a function of what the
//! datastore holds, never of the order in which it came: an object that is missing, unreadable or contradictory
//! leaves out what depends on it and nothing else. Follows Calico's Felix and confd (dataplane reference §3.7,
//! control reference §3.3, §3.4).

mod graph;
mod peering;
mod reporting;
mod settings;
mod status;
mod tables;
mod unenforced;
mod unread;

pub use graph::{Graph, Output};
pub use reporting::{Endpoint, Reporting, Totals};
pub use unenforced::CLOSING_KINDS;
