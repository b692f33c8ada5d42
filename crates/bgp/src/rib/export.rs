//! What a peer is told about a route: whether, and with which attributes (RFC 4271 §§5.1, 9.1.3, 9.2.1).

use super::decision::DEFAULT_LOCAL_PREF;
use super::loc::Best;
use crate::config::NextHopMode;
use crate::wire::PeerType;
use crate::wire::attribute::{Attributes, Community};
use model::Asn;
use std::net::{IpAddr, Ipv4Addr};

/// A peer routes are announced to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) peer: IpAddr,
    pub(crate) peer_type: PeerType,
    pub(crate) next_hop: NextHopMode,
    /// Our address on the session.
    pub(crate) local_address: Ipv4Addr,
    pub(crate) local_as: Asn,
}

/// Makes the attributes a route is announced with; `None` if this peer does not get it.
pub(crate) fn export(best: &Best, target: Target) -> Option<Attributes> {
    let mut attributes = match best {
        Best::Local => Attributes::local(target.local_address),
        Best::Learned(route) => {
            let internal = (route.peer_type, target.peer_type) == (PeerType::Internal, PeerType::Internal);
            if route.peer == target.peer || internal || !may_leave(&route.attributes.communities, target.peer_type) {
                return None;
            }
            let mut attributes = Attributes::clone(&route.attributes);
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
    match target.peer_type {
        PeerType::Internal => {
            attributes.local_pref.get_or_insert(DEFAULT_LOCAL_PREF);
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
