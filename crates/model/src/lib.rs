//! Tortie's vocabulary: identities, units, and the state each node wants.
//!
//! Nothing here does IO, reads a clock or knows a resource's YAML. The control side (`calc`, `bgp`) produces
//! these types, the kernel side (`dataplane`) consumes them; neither sees the other.

pub mod desired;
pub mod filter;
pub mod name;
pub mod peering;

use std::fmt;

/// An autonomous system number (RFC 6793: four octets).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asn(pub u32);

impl Asn {
    /// Calico's default AS number, used where neither the node nor BGPConfiguration names one.
    pub const DEFAULT: Asn = Asn(64512);
    /// AS_TRANS, which stands for a four-octet number towards a two-octet speaker (RFC 6793 §9).
    pub const TRANS: Asn = Asn(23456);
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A link's MTU in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mtu(pub u32);

/// A route's origin as the kernel records it (rtnetlink `rtm_protocol`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteProtocol(pub u8);

impl RouteProtocol {
    /// `boot`: what the CNI plugin writes, as Calico's does.
    pub const BOOT: RouteProtocol = RouteProtocol(3);
    /// `bird`: what BGP taught, as operators' scripts know it.
    pub const BIRD: RouteProtocol = RouteProtocol(12);
    /// What the agent itself makes.
    pub const FELIX: RouteProtocol = RouteProtocol(80);
}
