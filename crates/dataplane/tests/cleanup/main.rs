//! What a cleaned node's kernel holds: what it held before there was an agent.
//!
//! ```text
//!  192.168.10.10 eth0 ─── wire, another namespace
//!  cali1, cali2 ───────── two pods' interfaces, made as the CNI plugin makes them
//! ```
//!
//! The kernel is read with the machine's own tools, once before anything of ours and once after. Needs root.

#[path = "../common/mod.rs"]
mod common;

mod half;
mod leftovers;
mod node;
mod whole;
