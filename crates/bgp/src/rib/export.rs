//! What a peer is told about a route: whether, and with which attributes (RFC 4271 §§5.1, 9.1.3, 9.2.1; RFC 4456
//! §§6–8 for what goes from one internal peer to another).

use super::decision::DEFAULT_LOCAL_PREF;
use super::loc::Best;
use crate::filter;
use crate::wire::PeerType;
use crate::wire::attribute::{Attributes, Community};
use model::Asn;
use model::filter::Operation;
use model::peering::NextHopMode;
use std::net::{Ipv4Addr, SocketAddr};

/// A peer routes are announced to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) peer: SocketAddr,
    pub(crate) peer_type: PeerType,
    pub(crate) next_hop: NextHopMode,
    /// Our address on the session.
    pub(crate) local_address: Ipv4Addr,
    pub(crate) local_as: Asn,
    /// LOCAL_PREF of our own routes.
    pub(crate) local_pref: u32,
    /// Our cluster, if we are a route reflector.
    pub(crate) cluster_id: Option<Ipv4Addr>,
    /// Whether the peer is a client of ours.
    pub(crate) client: bool,
}

/// Makes the attributes a route is announced with, changed as the peer's export filters say; `None` if this peer does
/// not get it.
///
/// Our own AS comes before what a filter puts in front of the path, so that the path begins with the peer's neighbor.
pub(crate) fn export(best: &Best, target: Target, operations: &[Operation]) -> Option<Attributes> {
    let mut attributes = match best {
        Best::Local => Attributes::local(target.local_address),
        Best::Learned(route) => {
            let source = &route.source;
            if source.peer == target.peer || !may_leave(&route.attributes.communities, target.peer_type) {
                return None;
            }
            let mut attributes = Attributes::clone(&route.attributes);
            if (source.peer_type, target.peer_type) == (PeerType::Internal, PeerType::Internal) {
                let cluster = target.cluster_id.filter(|_| source.client || target.client)?;
                attributes.originator_id.get_or_insert(source.identifier);
                attributes.cluster_list.insert(0, cluster);
            }
            let replaced = match target.next_hop {
                NextHopMode::Auto => target.peer_type == PeerType::External,
                NextHopMode::Self_ => true,
                NextHopMode::Keep => false,
            };
            if replaced {
                attributes.next_hop = target.local_address;
            }
            attributes
        }
    };
    filter::change(&mut attributes, operations);
    match target.peer_type {
        PeerType::Internal => {
            let unsaid = if *best == Best::Local { target.local_pref } else { DEFAULT_LOCAL_PREF };
            attributes.local_pref.get_or_insert(unsaid);
        }
        PeerType::External => {
            attributes.as_path = attributes.as_path.prepended(target.local_as);
            attributes.local_pref = None;
            attributes.originator_id = None;
            attributes.cluster_list = Vec::new();
            if matches!(best, Best::Learned(_)) {
                attributes.med = None; // §5.1.4: not passed on to a third AS
            }
        }
    }
    Some(attributes)
}

/// Obeys the well-known communities (RFC 1997).
fn may_leave(communities: &[Community], peer: PeerType) -> bool {
    !communities.iter().any(|community| match *community {
        Community::NO_ADVERTISE => true,
        Community::NO_EXPORT | Community::NO_EXPORT_SUBCONFED => peer == PeerType::External,
        _ => false,
    })
}

#[cfg(test)]
mod tests;
