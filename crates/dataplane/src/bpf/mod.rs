//! IP in IP without the kernel's `ipip`: `tunl0` as a veth end, and two BPF programs that do the rest.
//!
//! The programs are `bpf/programs/tunnel.c`. They run without the agent: filters hold programs, programs hold
//! maps, and a restarted agent finds them again through the filters' names, which carry a hash of the programs'
//! object. Only other programs are replaced, each in one step. Two things take the agent: outer packets that came
//! in fragments or with options (`relay`), and routers' complaints about the size of outer packets (`relay` too; what
//! follows from them for routes is `crate::paths`).

mod abi;
mod decapsulate;
mod load;
mod offload;
mod pair;
mod program;
mod relay;
mod tc;
mod tunnel;

pub(crate) use pair::PEER;
pub use tunnel::BpfTunnel;
