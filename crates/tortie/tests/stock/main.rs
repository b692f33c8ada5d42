//! A cluster in which one node has the BPF tunnel and the others the kernel's own `ipip`: both are one wire.
//!
//! ```text
//!  k8s-m  (kernel) ─┐
//!  k8s-w1 (BPF)     ┼─ 192.168.10.0/24 ─ router ─ 192.168.20.0/24 ─ k8s-w0 (kernel)
//!  k8s-w2 (kernel) ─┘
//! ```
//!
//! What is expected of the BPF end is what the kernel's end did in the same run. Needs root, a kernel with `ipip`, and
//! `net.core.fb_tunnels_only_for_init_net=1`, without which every namespace is born with a `tunl0` that stays;
//! `tools/test-stock` boots such a kernel.

#[path = "../e2e/cluster.rs"]
#[expect(dead_code, reason = "the end-to-end tests use the rest")]
mod cluster;
mod mixed;
mod packets;
mod path_mtu;
#[path = "../e2e/traffic.rs"]
mod traffic;
mod wire;
