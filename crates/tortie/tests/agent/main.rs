//! The node agent: the built binary in hosts made of network and mount namespaces, with a datastore of their own.
//!
//! ```text
//!  n1 192.168.10.1 eth0 ─┐                 every host: its own /run, /var/lib, /var/log
//!  n2 192.168.10.2 eth0 ─┼─ br0, the wire
//!  …                     ─┘                 tortie store: a unix socket that all of them see
//! ```
//!
//! The kernel is read with `ip`, sessions over the agents' control sockets, packets are counted by `ping`. Everything
//! needs root.

mod address;
mod adopt;
mod bird;
mod calico;
mod cleanup;
mod clock;
mod cluster;
mod datastore;
mod filters;
mod heal;
mod host;
mod mesh;
mod mtu;
mod open_files;
mod password;
mod peers;
mod policy;
mod reflector;
mod refusals;
mod reporting;
mod restart;
mod status;
mod trace;
