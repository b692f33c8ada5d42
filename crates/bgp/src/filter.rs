//! An operator's filters: what of a route a rule looks at, and what it changes (control reference §3.4).
//!
//! As in Calico's BIRD: all conditions of a rule must hold, the first rule that matches ends it, and what no rule decides
//! goes on to what there is without filters.

use crate::config::HIGHEST_LOCAL_PREF;
use crate::rib::DEFAULT_LOCAL_PREF;
use crate::wire::PeerType;
use crate::wire::attribute::{self, AsPath, Attributes, Segment};
use ipnet::Ipv4Net;
use model::Asn;
use model::filter::{Community, Operation, Rule, Session, Verdict};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// A route as rules see it.
pub(crate) struct Route<'a> {
    pub(crate) prefix: Ipv4Net,
    pub(crate) attributes: &'a Attributes,
    /// Whether a peer taught it.
    pub(crate) from_peer: bool,
    /// The kind of session that the rules are those of.
    pub(crate) session: PeerType,
    /// LOCAL_PREF where the attributes have none.
    pub(crate) unsaid_local_pref: u32,
    /// Which interface leads to it, if one does.
    pub(crate) interface: Option<&'a str>,
}

/// What the first rule that matches says; none where no rule matches.
pub(crate) fn judge<'a>(rules: &'a [Rule], route: &Route<'_>) -> Option<&'a Verdict> {
    rules.iter().find(|rule| matches(rule, route)).map(|rule| &rule.verdict)
}

/// What import rules make of a route: none where it is refused, nothing new where it stays as it is.
pub(crate) enum Imported {
    Refused,
    Unchanged,
    Changed(Attributes),
}

/// Judges a route that a peer teaches; what no rule decides is taken.
pub(crate) fn import(rules: &[Rule], route: &Route<'_>) -> Imported {
    match judge(rules, route) {
        None => Imported::Unchanged,
        Some(Verdict::Reject) => Imported::Refused,
        Some(Verdict::Accept(operations)) if operations.is_empty() => Imported::Unchanged,
        Some(Verdict::Accept(operations)) => {
            let mut attributes = route.attributes.clone();
            change(&mut attributes, operations);
            Imported::Changed(attributes)
        }
    }
}

/// Changes a route's attributes.
pub(crate) fn change(attributes: &mut Attributes, operations: &[Operation]) {
    for operation in operations {
        match operation {
            Operation::AddCommunity(Community::Standard(asn, value)) => {
                let community = standard(*asn, *value);
                if !attributes.communities.contains(&community) {
                    attributes.communities.push(community);
                }
            }
            Operation::AddCommunity(Community::Large(administrator, one, two)) => {
                let community = large(*administrator, *one, *two);
                if !attributes.large_communities.contains(&community) {
                    attributes.large_communities.push(community);
                }
            }
            Operation::PrependAsPath(asns) => {
                let path = &attributes.as_path;
                attributes.as_path = asns.iter().rev().fold(path.clone(), |path, asn| path.prepended(*asn));
            }
            Operation::SetPriority(priority) => {
                attributes.local_pref = Some(HIGHEST_LOCAL_PREF.saturating_sub(*priority));
            }
        }
    }
}

fn matches(rule: &Rule, route: &Route<'_>) -> bool {
    let Route { prefix, attributes, from_peer, session, unsaid_local_pref, interface } = route;
    let session_fits = rule.session.is_none_or(|wanted| match wanted {
        Session::Internal => *session == PeerType::Internal,
        Session::External => *session == PeerType::External,
    });
    let has = |community: Community| match community {
        Community::Standard(asn, value) => attributes.communities.contains(&standard(asn, value)),
        Community::Large(administrator, one, two) => {
            attributes.large_communities.contains(&large(administrator, one, two))
        }
    };
    let local_pref = attributes.local_pref.unwrap_or(*unsaid_local_pref);
    session_fits
        && rule.destination.is_none_or(|destination| destination.matches(prefix))
        && (!rule.from_peers || *from_peer)
        && rule.interface.as_ref().is_none_or(|pattern| interface.is_some_and(|name| fits(pattern, name)))
        && rule.community.is_none_or(has)
        && begins(&attributes.as_path, &rule.as_path_prefix)
        && rule.priority.is_none_or(|priority| HIGHEST_LOCAL_PREF.checked_sub(priority) == Some(local_pref))
}

fn standard(asn: u16, value: u16) -> attribute::Community {
    attribute::Community(u32::from(asn) << 16 | u32::from(value))
}

fn large(administrator: u32, one: u32, two: u32) -> [u8; 12] {
    let mut octets = [0; 12];
    for (part, number) in octets.chunks_mut(4).zip([administrator, one, two]) {
        part.copy_from_slice(&number.to_be_bytes());
    }
    octets
}

/// Whether a path begins with these, the latest first. A set fits a number that is in it.
fn begins(path: &AsPath, wanted: &[Asn]) -> bool {
    let mut steps = path.0.iter().flat_map(|segment| match segment {
        Segment::Sequence(asns) => asns.iter().map(std::slice::from_ref).collect::<Vec<_>>(),
        Segment::Set(asns) => vec![asns.as_slice()],
    });
    wanted.iter().all(|asn| steps.next().is_some_and(|step| step.contains(asn)))
}

/// Whether a name fits a pattern, in which `*` is any text.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = name.find(part) else { return false };
        name = &name[at + part.len()..];
    }
    name.ends_with(end)
}

/// The interface whose network has an address: the longest prefix counts.
pub(crate) fn interface_to(interfaces: &BTreeMap<Ipv4Net, String>, address: Ipv4Addr) -> Option<&str> {
    let host = Ipv4Net::from(address);
    let covering = (0..=32).rev().filter_map(|length| Ipv4Net::new(host.addr(), length).ok());
    covering.map(|net| net.trunc()).find_map(|net| interfaces.get(&net)).map(String::as_str)
}

/// A route that a peer teaches, as its import rules see it.
pub(crate) fn taught<'a>(
    prefix: Ipv4Net,
    attributes: &'a Attributes,
    session: PeerType,
    interfaces: &'a BTreeMap<Ipv4Net, String>,
) -> Route<'a> {
    let interface = interface_to(interfaces, attributes.next_hop);
    Route { prefix, attributes, from_peer: true, session, unsaid_local_pref: DEFAULT_LOCAL_PREF, interface }
}

#[cfg(test)]
mod tests;
