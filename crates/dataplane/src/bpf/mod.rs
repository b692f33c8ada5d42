//! IP in IP without the kernel's `ipip`: `tunl0` as a veth end, and two BPF programs that do the rest.
//!
//! The programs are `bpf/programs/tunnel.c`. They run without the agent: filters hold programs, programs hold
//! maps, and a restarted agent finds them again through the filters' names, which carry a hash of the programs'
//! object. Only other programs are replaced, each in one step. Outer packets in fragments, outer options and
//! ICMP about outer packets are not handled.

mod abi;
mod pair;
mod program;
mod tc;
mod tunnel;

pub(crate) use pair::PEER;
pub use tunnel::BpfTunnel;
