//! The BPF tunnel between nodes in network namespaces, against the kernel.
//!
//! Expected header fields are those of the kernel's ipip device in its default mode (`ip_tunnel_xmit` with
//! `ttl inherit`, `tos 0`, `nopmtudisc`) and of RFC 6040; captures are tcpdump's, filters are read by `tc`.

mod lab;
mod lifecycle;
mod nested;
mod packet;
mod path_mtu;
mod traffic;
mod uplinks;
mod wire;
