//! Reading path attributes, each mistake answered as RFC 7606 §§3–7 revises it.
//!
//! [`scan`] walks the whole list even past a fault, because the reachability attributes must be found before
//! the routes of a bad UPDATE can be withdrawn. Only what leaves the destinations unreadable resets the session.

use super::{Aggregator, AsPath, Attributes, Community, Origin, Segment, Unrecognized, code, flag};
use crate::wire::nlri::{self, Family};
use crate::wire::notification::{Notification, Reason};
use crate::wire::reader::Reader;
use crate::wire::update::{Fault, MpReach, MpUnreach, Reachability, Remedy};
use crate::wire::{AsWidth, Context, PeerType};
use model::Asn;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

/// What a list of attributes holds.
#[derive(Default)]
pub(in crate::wire) struct Scan {
    origin: Option<Origin>,
    as_path: Option<AsPath>,
    as4_path: Option<AsPath>,
    next_hop: Option<Ipv4Addr>,
    med: Option<u32>,
    local_pref: Option<u32>,
    atomic_aggregate: bool,
    aggregator: Option<Aggregator>,
    as4_aggregator: Option<Aggregator>,
    communities: Vec<Community>,
    originator_id: Option<Ipv4Addr>,
    cluster_list: Vec<Ipv4Addr>,
    extended_communities: Vec<[u8; 8]>,
    large_communities: Vec<[u8; 12]>,
    unrecognized: Vec<Unrecognized>,
    /// MP_REACH_NLRI of a family the codec knows.
    pub(in crate::wire) reach: Option<MpReach>,
    /// MP_UNREACH_NLRI of a family the codec knows.
    pub(in crate::wire) unreach: Option<MpUnreach>,
    /// What was wrong, in order.
    pub(in crate::wire) faults: Vec<Fault>,
}

/// Reads a list of attributes.
///
/// # Errors
///
/// The NOTIFICATION to close the session with, where RFC 7606 keeps that.
pub(in crate::wire) fn scan(list: &[u8], context: Context) -> Result<Scan, Notification> {
    let mut scan = Scan::default();
    let mut seen = BTreeSet::new();
    let mut reader = Reader::new(list);
    while !reader.is_empty() {
        let Some(raw) = Raw::read(&mut reader) else {
            // RFC 7606 §4: an attribute that overruns the list; the NLRI behind the list is still readable
            scan.fault(0, Remedy::TreatAsWithdraw, "an attribute overruns the attribute list");
            break;
        };
        if !seen.insert(raw.code) {
            // RFC 7606 §3 g
            if matches!(raw.code, code::MP_REACH_NLRI | code::MP_UNREACH_NLRI) {
                return Err(Reason::MALFORMED_ATTRIBUTE_LIST.into());
            }
            scan.fault(raw.code, Remedy::Discard, "attribute repeated");
            continue;
        }
        scan.attribute(&raw, context)?;
    }
    scan.merge_as4(context);
    Ok(scan)
}

/// One attribute before its value is looked at.
struct Raw<'a> {
    flags: u8,
    code: u8,
    value: &'a [u8],
}

impl<'a> Raw<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let (flags, code) = (reader.u8()?, reader.u8()?);
        let length = if flags & flag::EXTENDED_LENGTH != 0 { reader.u16()? } else { reader.u8()?.into() };
        Some(Raw { flags, code, value: reader.take(length.into())? })
    }

    /// The attribute as it came, which some NOTIFICATIONs carry (RFC 4271 §6.3).
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.flags, self.code];
        if self.flags & flag::EXTENDED_LENGTH != 0 {
            bytes.extend((self.value.len() as u16).to_be_bytes());
        } else {
            bytes.push(self.value.len() as u8);
        }
        bytes.extend(self.value);
        bytes
    }

    fn ipv4(&self) -> Option<Ipv4Addr> {
        <[u8; 4]>::try_from(self.value).ok().map(Ipv4Addr::from)
    }

    fn u32(&self) -> Option<u32> {
        <[u8; 4]>::try_from(self.value).ok().map(u32::from_be_bytes)
    }

    /// Items of a fixed size; at least one.
    fn items<const N: usize>(&self) -> Option<Vec<[u8; N]>> {
        let (items, rest) = self.value.as_chunks::<N>();
        (rest.is_empty() && !items.is_empty()).then(|| items.to_vec())
    }
}

/// What the Optional and Transitive flags of a known attribute must be.
fn expected_flags(code: u8) -> Option<u8> {
    match code {
        code::ORIGIN | code::AS_PATH | code::NEXT_HOP | code::LOCAL_PREF | code::ATOMIC_AGGREGATE => {
            Some(flag::TRANSITIVE)
        }
        code::AGGREGATOR
        | code::COMMUNITIES
        | code::EXTENDED_COMMUNITIES
        | code::AS4_PATH
        | code::AS4_AGGREGATOR
        | code::LARGE_COMMUNITIES => Some(flag::OPTIONAL | flag::TRANSITIVE),
        code::MULTI_EXIT_DISC
        | code::ORIGINATOR_ID
        | code::CLUSTER_LIST
        | code::MP_REACH_NLRI
        | code::MP_UNREACH_NLRI => Some(flag::OPTIONAL),
        _ => None,
    }
}

impl Scan {
    fn fault(&mut self, code: u8, remedy: Remedy, reason: &'static str) {
        self.faults.push(Fault { code, remedy, reason });
    }

    /// Notes a fault unless the value could be read.
    fn checked<T>(&mut self, raw: &Raw<'_>, value: Option<T>, remedy: Remedy, reason: &'static str) -> Option<T> {
        if value.is_none() {
            self.fault(raw.code, remedy, reason);
        }
        value
    }

    fn attribute(&mut self, raw: &Raw<'_>, context: Context) -> Result<(), Notification> {
        let kind = raw.flags & (flag::OPTIONAL | flag::TRANSITIVE);
        let reachability = matches!(raw.code, code::MP_REACH_NLRI | code::MP_UNREACH_NLRI);
        match expected_flags(raw.code) {
            // RFC 7606 §3 c; the destinations are read all the same, to be withdrawn
            Some(expected) if kind != expected => {
                self.fault(raw.code, Remedy::TreatAsWithdraw, "attribute flags conflict with the type");
                if !reachability {
                    return Ok(());
                }
            }
            Some(_) => {}
            None if kind & flag::OPTIONAL == 0 => return Err(Reason::UNRECOGNIZED_WELL_KNOWN.with(raw.bytes())),
            None => {
                if kind & flag::TRANSITIVE != 0 {
                    self.unrecognized.push(Unrecognized { code: raw.code, value: raw.value.to_vec() });
                }
                return Ok(());
            }
        }
        let external = context.peer == PeerType::External;
        match raw.code {
            code::ORIGIN => {
                let origin = match raw.value {
                    [0] => Some(Origin::Igp),
                    [1] => Some(Origin::Egp),
                    [2] => Some(Origin::Incomplete),
                    _ => None,
                };
                self.origin = self.checked(raw, origin, Remedy::TreatAsWithdraw, "invalid ORIGIN");
            }
            code::AS_PATH => {
                let path = as_path(raw.value, context.as_width);
                self.as_path = self.checked(raw, path, Remedy::TreatAsWithdraw, "malformed AS_PATH");
            }
            code::NEXT_HOP => {
                self.next_hop = self.checked(raw, raw.ipv4(), Remedy::TreatAsWithdraw, "NEXT_HOP is not 4 octets");
            }
            code::MULTI_EXIT_DISC => {
                self.med = self.checked(raw, raw.u32(), Remedy::TreatAsWithdraw, "MULTI_EXIT_DISC is not 4 octets");
            }
            code::LOCAL_PREF | code::ORIGINATOR_ID | code::CLUSTER_LIST if external => {
                self.fault(raw.code, Remedy::Discard, "attribute does not cross AS borders");
            }
            code::LOCAL_PREF => {
                self.local_pref = self.checked(raw, raw.u32(), Remedy::TreatAsWithdraw, "LOCAL_PREF is not 4 octets");
            }
            code::ATOMIC_AGGREGATE => {
                let empty = raw.value.is_empty().then_some(());
                self.atomic_aggregate =
                    self.checked(raw, empty, Remedy::Discard, "ATOMIC_AGGREGATE has a value").is_some();
            }
            code::AGGREGATOR => {
                let aggregator = aggregator(raw.value, context.as_width);
                self.aggregator = self.checked(raw, aggregator, Remedy::Discard, "AGGREGATOR has a wrong length");
            }
            code::AS4_PATH if context.as_width == AsWidth::Two => {
                let path = as_path(raw.value, AsWidth::Four);
                self.as4_path = self.checked(raw, path, Remedy::Discard, "malformed AS4_PATH");
            }
            code::AS4_AGGREGATOR if context.as_width == AsWidth::Two => {
                let aggregator = aggregator(raw.value, AsWidth::Four);
                self.as4_aggregator = self.checked(raw, aggregator, Remedy::Discard, "AS4_AGGREGATOR is not 8 octets");
            }
            code::AS4_PATH | code::AS4_AGGREGATOR => {
                // RFC 6793 §6: not from a speaker of four-octet numbers
                self.fault(raw.code, Remedy::Discard, "attribute is for two-octet speakers only");
            }
            code::COMMUNITIES => {
                let items = raw
                    .items()
                    .map(|items| items.into_iter().map(|item| Community(u32::from_be_bytes(item))).collect());
                let items = self.checked(raw, items, Remedy::TreatAsWithdraw, "COMMUNITIES has a wrong length");
                self.communities = items.unwrap_or_default();
            }
            code::ORIGINATOR_ID => {
                let reason = "ORIGINATOR_ID is not 4 octets";
                self.originator_id = self.checked(raw, raw.ipv4(), Remedy::TreatAsWithdraw, reason);
            }
            code::CLUSTER_LIST => {
                let items = raw.items().map(|items| items.into_iter().map(|item: [u8; 4]| item.into()).collect());
                let items = self.checked(raw, items, Remedy::TreatAsWithdraw, "CLUSTER_LIST has a wrong length");
                self.cluster_list = items.unwrap_or_default();
            }
            code::EXTENDED_COMMUNITIES => {
                let reason = "extended communities have a wrong length";
                let items = self.checked(raw, raw.items(), Remedy::TreatAsWithdraw, reason);
                self.extended_communities = items.unwrap_or_default();
            }
            code::LARGE_COMMUNITIES => {
                let reason = "large communities have a wrong length";
                let items = self.checked(raw, raw.items(), Remedy::TreatAsWithdraw, reason);
                self.large_communities = items.unwrap_or_default();
            }
            code::MP_REACH_NLRI => self.reach = mp_reach(raw)?,
            code::MP_UNREACH_NLRI => self.unreach = mp_unreach(raw)?,
            _ => unreachable!("expected_flags knows only the codes above"),
        }
        Ok(())
    }

    /// Restores four-octet numbers that a two-octet speaker could not carry in place (RFC 6793 §4.2.3).
    fn merge_as4(&mut self, context: Context) {
        if context.as_width == AsWidth::Four {
            return;
        }
        if let (Some(two), Some(four)) = (self.aggregator, self.as4_aggregator.take()) {
            if two.asn != Asn::TRANS {
                return; // an old speaker aggregated again: both AS4 attributes are out of date
            }
            self.aggregator = Some(four);
        }
        // more numbers in AS4_PATH than in AS_PATH: an old speaker shortened the path, which leaves it alone
        if let (Some(two), Some(four)) = (&self.as_path, self.as4_path.take())
            && let Some(extra) = two.hops().checked_sub(four.hops())
        {
            self.as_path = Some(AsPath(leading(two, extra).into_iter().chain(four.0).collect()));
        }
    }

    /// Makes the attributes of announced routes, the next hop being NEXT_HOP or that of an MP_REACH_NLRI.
    ///
    /// # Errors
    ///
    /// Names the well-known mandatory attribute that is missing (RFC 7606 §3 d: treat-as-withdraw).
    pub(in crate::wire) fn attributes(&self, mp_next_hop: Option<Ipv4Addr>) -> Result<Attributes, Fault> {
        let missing = |code, reason| Fault { code, remedy: Remedy::TreatAsWithdraw, reason };
        Ok(Attributes {
            origin: self.origin.ok_or(missing(code::ORIGIN, "ORIGIN is missing"))?,
            as_path: self.as_path.clone().ok_or(missing(code::AS_PATH, "AS_PATH is missing"))?,
            next_hop: mp_next_hop.or(self.next_hop).ok_or(missing(code::NEXT_HOP, "NEXT_HOP is missing"))?,
            med: self.med,
            local_pref: self.local_pref,
            atomic_aggregate: self.atomic_aggregate,
            aggregator: self.aggregator,
            communities: self.communities.clone(),
            originator_id: self.originator_id,
            cluster_list: self.cluster_list.clone(),
            extended_communities: self.extended_communities.clone(),
            large_communities: self.large_communities.clone(),
            unrecognized: self.unrecognized.clone(),
        })
    }
}

/// Returns the first `hops` of a path.
fn leading(path: &AsPath, mut hops: usize) -> Vec<Segment> {
    let mut segments = Vec::new();
    for segment in &path.0 {
        if hops == 0 {
            break;
        }
        let taken = segment.hops().min(hops);
        segments.push(match segment {
            Segment::Sequence(asns) => Segment::Sequence(asns[..taken].to_vec()),
            Segment::Set(asns) => Segment::Set(asns.clone()),
        });
        hops -= taken;
    }
    segments
}

/// Reads AS path segments; `None` for an unknown type, an empty segment or a wrong length (RFC 7606 §7.2).
fn as_path(value: &[u8], width: AsWidth) -> Option<AsPath> {
    let mut reader = Reader::new(value);
    let mut segments = Vec::new();
    while !reader.is_empty() {
        let (kind, count) = (reader.u8()?, reader.u8()?);
        let asns: Vec<Asn> = (0..count)
            .map(|_| match width {
                AsWidth::Two => reader.u16().map(|asn| Asn(asn.into())),
                AsWidth::Four => reader.u32().map(Asn),
            })
            .collect::<Option<_>>()?;
        segments.push(match (kind, count) {
            (1, 1..) => Segment::Set(asns),
            (2, 1..) => Segment::Sequence(asns),
            _ => return None,
        });
    }
    Some(AsPath(segments))
}

fn aggregator(value: &[u8], width: AsWidth) -> Option<Aggregator> {
    let mut reader = Reader::new(value);
    let asn = match width {
        AsWidth::Two => Asn(reader.u16()?.into()),
        AsWidth::Four => Asn(reader.u32()?),
    };
    let identifier = Ipv4Addr::from(reader.u32()?);
    reader.is_empty().then_some(Aggregator { asn, identifier })
}

/// Reads MP_REACH_NLRI (RFC 4760 §3); `None` for a family the codec does not know, which nobody negotiated.
fn mp_reach(raw: &Raw<'_>) -> Result<Option<MpReach>, Notification> {
    // RFC 7606 §7.11: with a wrong next hop length the destinations cannot be found
    let malformed = || Reason::OPTIONAL_ATTRIBUTE.with(raw.bytes());
    let mut reader = Reader::new(raw.value);
    let family = Family::decode(&mut reader).ok_or_else(malformed)?;
    let length = reader.u8().ok_or_else(malformed)?;
    let next_hop = reader.take(length.into()).ok_or_else(malformed)?;
    let _reserved = reader.u8().ok_or_else(malformed)?;
    let field = reader.rest();
    match family {
        Family::IPV4_UNICAST => {
            let next_hop = <[u8; 4]>::try_from(next_hop).map_err(|_| malformed())?.into();
            let prefixes = nlri::decode_ipv4(field).map_err(|_| Reason::INVALID_NETWORK)?;
            Ok(Some(MpReach::Ipv4Unicast { next_hop, prefixes }))
        }
        Family::IPV6_UNICAST => {
            let (addresses, rest) = next_hop.as_chunks::<16>();
            let addresses: Vec<Ipv6Addr> = addresses.iter().map(|octets| (*octets).into()).collect();
            let (next_hop, link_local) = match addresses[..] {
                [global] if rest.is_empty() => (global, None),
                [global, link_local] if rest.is_empty() => (global, Some(link_local)),
                _ => return Err(malformed()),
            };
            let prefixes = nlri::decode_ipv6(field).map_err(|_| Reason::INVALID_NETWORK)?;
            Ok(Some(MpReach::Ipv6Unicast { next_hop, link_local, prefixes }))
        }
        _ => Ok(None),
    }
}

/// Reads MP_UNREACH_NLRI (RFC 4760 §4); `None` for a family the codec does not know.
fn mp_unreach(raw: &Raw<'_>) -> Result<Option<MpUnreach>, Notification> {
    let mut reader = Reader::new(raw.value);
    let family = Family::decode(&mut reader).ok_or_else(|| Reason::OPTIONAL_ATTRIBUTE.with(raw.bytes()))?;
    let field = reader.rest();
    match family {
        Family::IPV4_UNICAST => {
            Ok(Some(Reachability::Ipv4Unicast(nlri::decode_ipv4(field).map_err(|_| Reason::INVALID_NETWORK)?)))
        }
        Family::IPV6_UNICAST => {
            Ok(Some(Reachability::Ipv6Unicast(nlri::decode_ipv6(field).map_err(|_| Reason::INVALID_NETWORK)?)))
        }
        _ => Ok(None),
    }
}
