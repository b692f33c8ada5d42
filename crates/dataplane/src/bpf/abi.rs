//! The mirror of `bpf/abi/tunnel.h`: keys and values of the tunnel programs' maps.
//!
//! Addresses are octets in network order. A map whose sizes differ from these is refused when it is opened.

use aya::Pod;
use aya::maps::lpm_trie::Key;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// An IPv4 address as the programs read it from a packet.
pub(super) type Address = [u8; 4];

/// `struct tunnel_config`: the one entry of the map `tunnel_config`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) node: Address,
    pub(super) tunnel: u32,
    pub(super) tunnel_mac: [u8; 6],
    pub(super) unused: [u8; 2],
}

// SAFETY: plain integers and bytes in C layout, without padding (4 + 4 + 6 + 2), valid in any bit pattern.
unsafe impl Pod for Config {}

/// Bit of a value of the map `tunnel_links`: the link's reverse path filter is strict.
pub(super) const LINK_STRICT: u32 = 1;
/// Bit of a value of the map `tunnel_links`: the link's `clsact` is of our making.
pub(super) const LINK_QDISC: u32 = 2;

/// `struct tunnel_prefix`: a key of the maps `tunnel_prefixes` and `tunnel_senders`.
pub(super) fn prefix_key(prefix: &Ipv4Net) -> Key<Address> {
    Key::new(u32::from(prefix.prefix_len()), prefix.network().octets())
}

/// Reads such a key; `None` if its length is not one of IPv4's.
pub(super) fn prefix_of(key: &Key<Address>) -> Option<Ipv4Net> {
    let length = u8::try_from(key.prefix_len()).ok()?;
    Ipv4Net::new(Ipv4Addr::from(key.data()), length).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{offset_of, size_of};

    #[test]
    fn config_is_laid_out_as_in_the_header() {
        assert_eq!(size_of::<Config>(), 16);
        assert_eq!(offset_of!(Config, tunnel), 4);
        assert_eq!(offset_of!(Config, tunnel_mac), 8);
    }

    #[test]
    fn prefixes_survive_the_map_key() {
        for text in ["0.0.0.0/0", "172.16.142.0/24", "172.16.94.7/32"] {
            let prefix: Ipv4Net = text.parse().expect("a literal prefix");
            assert_eq!(prefix_of(&prefix_key(&prefix)), Some(prefix), "{text}");
        }
        assert_eq!(prefix_of(&Key::new(33, [10, 0, 0, 1])), None);
    }
}
