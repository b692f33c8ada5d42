//! A small blocking rtnetlink client.
//!
//! One [`Netlink`] is one socket; it acts on the network namespace its thread was in when it was opened, wherever
//! the thread goes afterwards. Requests are strict (the kernel refuses what it does not understand), refusals
//! carry errno and the kernel's own explanation, and many requests travel in one write with a result for each.
//! The typed calls are beside it: [`Link`], [`Address`], [`RouteEntry`], [`Neighbour`], and [`Monitor`] for what others change.

mod address;
mod link;
mod listener;
mod message;
mod monitor;
mod neighbour;
mod path;
mod patience;
mod removal;
mod route;
mod socket;

pub use address::Address;
pub use link::{Link, MacAddress, Veth};
pub use listener::MONITOR_BUFFER;
pub(crate) use listener::{Heard, Listener, Protocol};
pub(crate) use message::attributes;
pub use monitor::{Change, Monitor};
pub use neighbour::Neighbour;
pub use path::Path;
pub(crate) use patience::Patience;
pub use patience::set_patience;
pub use route::{NextHop, RouteEntry, RouteKey, RouteKind};
pub use socket::{Cause, Error, Listing, Netlink};

#[cfg(test)]
pub(crate) use socket::tests::{answer_refused, with_kernel};
