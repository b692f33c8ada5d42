//! Writing path attributes, in the order of their type codes (RFC 4271 §5).

use super::{AsPath, Attributes, Segment, code, flag};
use crate::wire::nlri::{self, Family};
use crate::wire::update::{MpReach, MpUnreach, Reachability};
use crate::wire::{AsWidth, Context};
use ipnet::IpNet;
use model::Asn;

/// Whether NEXT_HOP is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::wire) enum NextHop {
    /// The UPDATE announces routes in its NLRI field.
    Written,
    /// It announces routes in MP_REACH_NLRI alone, which has its own (RFC 4760 §3).
    Omitted,
}

const WELL_KNOWN: u8 = flag::TRANSITIVE;
const OPTIONAL: u8 = flag::OPTIONAL;
const OPTIONAL_TRANSITIVE: u8 = flag::OPTIONAL | flag::TRANSITIVE;

/// Appends every attribute a route has.
pub(in crate::wire) fn encode(attributes: &Attributes, next_hop: NextHop, context: Context, out: &mut Vec<u8>) {
    let two = context.as_width == AsWidth::Two;
    append(out, WELL_KNOWN, code::ORIGIN, &[attributes.origin as u8]);
    append(out, WELL_KNOWN, code::AS_PATH, &as_path(&attributes.as_path, context.as_width));
    if next_hop == NextHop::Written {
        append(out, WELL_KNOWN, code::NEXT_HOP, &attributes.next_hop.octets());
    }
    if let Some(med) = attributes.med {
        append(out, OPTIONAL, code::MULTI_EXIT_DISC, &med.to_be_bytes());
    }
    if let Some(preference) = attributes.local_pref {
        append(out, WELL_KNOWN, code::LOCAL_PREF, &preference.to_be_bytes());
    }
    if attributes.atomic_aggregate {
        append(out, WELL_KNOWN, code::ATOMIC_AGGREGATE, &[]);
    }
    if let Some(aggregator) = attributes.aggregator {
        let mut value = Vec::new();
        asn(aggregator.asn, context.as_width, &mut value);
        value.extend(aggregator.identifier.octets());
        append(out, OPTIONAL_TRANSITIVE, code::AGGREGATOR, &value);
    }
    let communities: Vec<u8> = attributes.communities.iter().flat_map(|item| item.0.to_be_bytes()).collect();
    append_list(out, OPTIONAL_TRANSITIVE, code::COMMUNITIES, &communities);
    if let Some(originator) = attributes.originator_id {
        append(out, OPTIONAL, code::ORIGINATOR_ID, &originator.octets());
    }
    let clusters: Vec<u8> = attributes.cluster_list.iter().flat_map(|item| item.octets()).collect();
    append_list(out, OPTIONAL, code::CLUSTER_LIST, &clusters);
    append_list(out, OPTIONAL_TRANSITIVE, code::EXTENDED_COMMUNITIES, attributes.extended_communities.as_flattened());
    if two && attributes.as_path.0.iter().flat_map(Segment::asns).any(|asn| asn.0 > u16::MAX.into()) {
        append(out, OPTIONAL_TRANSITIVE, code::AS4_PATH, &as_path(&attributes.as_path, AsWidth::Four));
    }
    if let Some(aggregator) = attributes.aggregator.filter(|aggregator| two && aggregator.asn.0 > u16::MAX.into()) {
        let mut value = aggregator.asn.0.to_be_bytes().to_vec();
        value.extend(aggregator.identifier.octets());
        append(out, OPTIONAL_TRANSITIVE, code::AS4_AGGREGATOR, &value);
    }
    append_list(out, OPTIONAL_TRANSITIVE, code::LARGE_COMMUNITIES, attributes.large_communities.as_flattened());
    for unknown in &attributes.unrecognized {
        append(out, OPTIONAL_TRANSITIVE | flag::PARTIAL, unknown.code, &unknown.value);
    }
}

/// Appends MP_REACH_NLRI.
pub(in crate::wire) fn encode_reach(reach: &MpReach, out: &mut Vec<u8>) {
    let mut value = Vec::new();
    match reach {
        MpReach::Ipv4Unicast { next_hop, prefixes } => {
            Family::IPV4_UNICAST.encode(&mut value);
            value.push(4);
            value.extend(next_hop.octets());
            value.push(0);
            prefixes.iter().for_each(|prefix| nlri::encode(IpNet::V4(*prefix), &mut value));
        }
        MpReach::Ipv6Unicast { next_hop, link_local, prefixes } => {
            Family::IPV6_UNICAST.encode(&mut value);
            value.push(if link_local.is_some() { 32 } else { 16 });
            value.extend(next_hop.octets());
            value.extend(link_local.iter().flat_map(|address| address.octets()));
            value.push(0);
            prefixes.iter().for_each(|prefix| nlri::encode(IpNet::V6(*prefix), &mut value));
        }
    }
    append(out, OPTIONAL, code::MP_REACH_NLRI, &value);
}

/// Appends MP_UNREACH_NLRI.
pub(in crate::wire) fn encode_unreach(unreach: &MpUnreach, out: &mut Vec<u8>) {
    let mut value = Vec::new();
    match unreach {
        Reachability::Ipv4Unicast(prefixes) => {
            Family::IPV4_UNICAST.encode(&mut value);
            prefixes.iter().for_each(|prefix| nlri::encode(IpNet::V4(*prefix), &mut value));
        }
        Reachability::Ipv6Unicast(prefixes) => {
            Family::IPV6_UNICAST.encode(&mut value);
            prefixes.iter().for_each(|prefix| nlri::encode(IpNet::V6(*prefix), &mut value));
        }
    }
    append(out, OPTIONAL, code::MP_UNREACH_NLRI, &value);
}

fn append(out: &mut Vec<u8>, flags: u8, code: u8, value: &[u8]) {
    match u8::try_from(value.len()) {
        Ok(length) => out.extend([flags, code, length]),
        Err(_) => {
            out.extend([flags | flag::EXTENDED_LENGTH, code]);
            out.extend((value.len() as u16).to_be_bytes());
        }
    }
    out.extend(value);
}

/// Appends an attribute that an empty list does not have.
fn append_list(out: &mut Vec<u8>, flags: u8, code: u8, value: &[u8]) {
    if !value.is_empty() {
        append(out, flags, code, value);
    }
}

fn asn(asn: Asn, width: AsWidth, out: &mut Vec<u8>) {
    match width {
        AsWidth::Two => out.extend(u16::try_from(asn.0).unwrap_or(Asn::TRANS.0 as u16).to_be_bytes()),
        AsWidth::Four => out.extend(asn.0.to_be_bytes()),
    }
}

fn as_path(path: &AsPath, width: AsWidth) -> Vec<u8> {
    let mut value = Vec::new();
    for segment in &path.0 {
        let kind = match segment {
            Segment::Set(_) => 1,
            Segment::Sequence(_) => 2,
        };
        for asns in segment.asns().chunks(255) {
            value.extend([kind, asns.len() as u8]);
            asns.iter().for_each(|number| asn(*number, width, &mut value));
        }
    }
    value
}
