//! Path attributes as values (RFC 4271 §5, RFC 1997, RFC 4456, RFC 4360, RFC 6793, RFC 8092).
//!
//! [`Attributes`] is what the RIB stores and compares; how a list of attributes is read, and what is wrong with
//! a bad one, is in `attribute/decode.rs`; how it is written, in `attribute/encode.rs`.

mod decode;
mod encode;

pub(super) use decode::scan;
pub(super) use encode::{NextHop, encode, encode_reach, encode_unreach};

use model::Asn;
use std::net::Ipv4Addr;

/// Type codes, as IANA numbers them.
pub(super) mod code {
    pub(in crate::wire) const ORIGIN: u8 = 1;
    pub(in crate::wire) const AS_PATH: u8 = 2;
    pub(in crate::wire) const NEXT_HOP: u8 = 3;
    pub(in crate::wire) const MULTI_EXIT_DISC: u8 = 4;
    pub(in crate::wire) const LOCAL_PREF: u8 = 5;
    pub(in crate::wire) const ATOMIC_AGGREGATE: u8 = 6;
    pub(in crate::wire) const AGGREGATOR: u8 = 7;
    pub(in crate::wire) const COMMUNITIES: u8 = 8;
    pub(in crate::wire) const ORIGINATOR_ID: u8 = 9;
    pub(in crate::wire) const CLUSTER_LIST: u8 = 10;
    pub(in crate::wire) const MP_REACH_NLRI: u8 = 14;
    pub(in crate::wire) const MP_UNREACH_NLRI: u8 = 15;
    pub(in crate::wire) const EXTENDED_COMMUNITIES: u8 = 16;
    pub(in crate::wire) const AS4_PATH: u8 = 17;
    pub(in crate::wire) const AS4_AGGREGATOR: u8 = 18;
    pub(in crate::wire) const LARGE_COMMUNITIES: u8 = 32;
}

/// Bits of the attribute flags octet.
pub(super) mod flag {
    pub(in crate::wire) const OPTIONAL: u8 = 0x80;
    pub(in crate::wire) const TRANSITIVE: u8 = 0x40;
    pub(in crate::wire) const PARTIAL: u8 = 0x20;
    pub(in crate::wire) const EXTENDED_LENGTH: u8 = 0x10;
}

/// How a route came into BGP; smaller is preferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Interior to the originating AS.
    #[default]
    Igp,
    /// Learned from EGP.
    Egp,
    /// Learned some other way.
    Incomplete,
}

/// A part of an AS path; never empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    /// AS numbers in the order the route crossed them, latest first.
    Sequence(Vec<Asn>),
    /// AS numbers without order, from aggregation.
    Set(Vec<Asn>),
}

impl Segment {
    fn asns(&self) -> &[Asn] {
        match self {
            Segment::Sequence(asns) | Segment::Set(asns) => asns,
        }
    }

    /// A set counts as one (RFC 4271 §9.1.2.2 a).
    fn hops(&self) -> usize {
        match self {
            Segment::Sequence(asns) => asns.len(),
            Segment::Set(_) => 1,
        }
    }
}

/// The ASes a route crossed.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct AsPath(pub Vec<Segment>);

impl AsPath {
    /// Length as the decision process counts it.
    pub fn hops(&self) -> usize {
        self.0.iter().map(Segment::hops).sum()
    }

    /// How often an AS is in the path.
    pub fn count(&self, asn: Asn) -> usize {
        self.0.iter().flat_map(Segment::asns).filter(|crossed| **crossed == asn).count()
    }

    /// The AS the route was received from; `None` inside the local AS or behind a set.
    pub fn neighbor(&self) -> Option<Asn> {
        match self.0.first()? {
            Segment::Sequence(asns) => asns.first().copied(),
            Segment::Set(_) => None,
        }
    }

    /// Returns the path with an AS in front (RFC 4271 §5.1.2 b).
    pub fn prepended(&self, asn: Asn) -> AsPath {
        let mut segments = self.0.clone();
        match segments.first_mut() {
            Some(Segment::Sequence(asns)) if asns.len() < 255 => asns.insert(0, asn),
            Some(Segment::Sequence(_) | Segment::Set(_)) | None => segments.insert(0, Segment::Sequence(vec![asn])),
        }
        AsPath(segments)
    }
}

/// Who aggregated a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Aggregator {
    /// Its AS.
    pub asn: Asn,
    /// Its BGP Identifier.
    pub identifier: Ipv4Addr,
}

/// A standard community (RFC 1997).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Community(pub u32);

impl Community {
    /// The route stays inside the AS.
    pub const NO_EXPORT: Community = Community(0xffff_ff01);
    /// The route goes to no other peer.
    pub const NO_ADVERTISE: Community = Community(0xffff_ff02);
    /// The route stays inside the AS, confederation or not.
    pub const NO_EXPORT_SUBCONFED: Community = Community(0xffff_ff03);
}

/// An optional transitive attribute this speaker does not know, passed on as it came.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unrecognized {
    /// Type code.
    pub code: u8,
    /// Value.
    pub value: Vec<u8>,
}

/// The attributes of a route, without the family-specific reachability.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attributes {
    /// ORIGIN.
    pub origin: Origin,
    /// AS_PATH, with four-octet numbers restored.
    pub as_path: AsPath,
    /// NEXT_HOP, also when it came inside MP_REACH_NLRI.
    pub next_hop: Ipv4Addr,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// ATOMIC_AGGREGATE is present.
    pub atomic_aggregate: bool,
    /// AGGREGATOR.
    pub aggregator: Option<Aggregator>,
    /// COMMUNITIES.
    pub communities: Vec<Community>,
    /// ORIGINATOR_ID: who brought the route into this AS, as a route reflector noted it.
    pub originator_id: Option<Ipv4Addr>,
    /// CLUSTER_LIST: which reflectors' clusters the route crossed.
    pub cluster_list: Vec<Ipv4Addr>,
    /// Extended communities, uninterpreted.
    pub extended_communities: Vec<[u8; 8]>,
    /// Large communities, uninterpreted.
    pub large_communities: Vec<[u8; 12]>,
    /// Unknown ones, by type code.
    pub unrecognized: Vec<Unrecognized>,
}

impl Attributes {
    /// Makes the attributes of a route that this AS originates.
    pub fn local(next_hop: Ipv4Addr) -> Attributes {
        Attributes {
            origin: Origin::Igp,
            as_path: AsPath::default(),
            next_hop,
            med: None,
            local_pref: None,
            atomic_aggregate: false,
            aggregator: None,
            communities: Vec::new(),
            originator_id: None,
            cluster_list: Vec::new(),
            extended_communities: Vec::new(),
            large_communities: Vec::new(),
            unrecognized: Vec::new(),
        }
    }
}
