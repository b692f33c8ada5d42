//! Packet rules against a real kernel: programmed, broken by hand, healed.
//!
//! Each test has network namespaces of its own. What the kernel holds is asked of `iptables-save`, `ipset` and
//! `nft`, never of the code under test.

mod guards;
mod iptables;
mod nftables;
mod policy;
mod standing;
mod support;
mod traffic;
