//! Address families and the `(length, prefix)` encoding of destinations (RFC 4271 §4.3, RFC 4760 §5).

use super::reader::Reader;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// An address family with its subsequent identifier, as MP-BGP numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Family {
    /// Address Family Identifier.
    pub afi: u16,
    /// Subsequent Address Family Identifier.
    pub safi: u8,
}

impl Family {
    /// IPv4 unicast, the one family this speaker carries.
    pub const IPV4_UNICAST: Family = Family { afi: 1, safi: 1 };
    /// IPv6 unicast, which the codec reads and writes.
    pub const IPV6_UNICAST: Family = Family { afi: 2, safi: 1 };

    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Family> {
        Some(Family { afi: reader.u16()?, safi: reader.u8()? })
    }

    pub(super) fn encode(self, out: &mut Vec<u8>) {
        out.extend(self.afi.to_be_bytes());
        out.push(self.safi);
    }
}

/// A list of destinations that cannot be told apart any more (RFC 7606 §5.3): a length beyond the family's
/// bits, or a prefix that the field cuts off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidNetwork;

/// Reads the next length and its octets, padded with zeroes to an address of `N` octets.
fn prefix<const N: usize>(reader: &mut Reader<'_>) -> Option<(u8, [u8; N])> {
    let bits = reader.u8()?;
    let mut octets = [0; N];
    octets.get_mut(..usize::from(bits).div_ceil(8))?.copy_from_slice(reader.take(usize::from(bits).div_ceil(8))?);
    Some((bits, octets))
}

/// Reads a whole field of IPv4 prefixes; bits beyond a prefix's length are cleared.
pub(super) fn decode_ipv4(field: &[u8]) -> Result<Vec<Ipv4Net>, InvalidNetwork> {
    let mut reader = Reader::new(field);
    let mut prefixes = Vec::new();
    while !reader.is_empty() {
        let (bits, octets) = prefix::<4>(&mut reader).ok_or(InvalidNetwork)?;
        prefixes.push(Ipv4Net::new(octets.into(), bits).map_err(|_| InvalidNetwork)?.trunc());
    }
    Ok(prefixes)
}

/// Reads a whole field of IPv6 prefixes; bits beyond a prefix's length are cleared.
pub(super) fn decode_ipv6(field: &[u8]) -> Result<Vec<Ipv6Net>, InvalidNetwork> {
    let mut reader = Reader::new(field);
    let mut prefixes = Vec::new();
    while !reader.is_empty() {
        let (bits, octets) = prefix::<16>(&mut reader).ok_or(InvalidNetwork)?;
        prefixes.push(Ipv6Net::new(octets.into(), bits).map_err(|_| InvalidNetwork)?.trunc());
    }
    Ok(prefixes)
}

/// Appends one prefix: its length and as many octets as that needs.
pub(super) fn encode(prefix: IpNet, out: &mut Vec<u8>) {
    let bits = prefix.prefix_len();
    let count = usize::from(bits).div_ceil(8);
    out.push(bits);
    match prefix {
        IpNet::V4(prefix) => out.extend(&prefix.network().octets()[..count]),
        IpNet::V6(prefix) => out.extend(&prefix.network().octets()[..count]),
    }
}

/// Octets that [`encode`] takes for a prefix.
pub(crate) fn encoded_len(prefix: &Ipv4Net) -> usize {
    1 + usize::from(prefix.prefix_len()).div_ceil(8)
}
