//! The decision process (RFC 4271 §9.1, with the steps RFC 4456 §9 adds for reflected routes).

use crate::wire::PeerType;
use crate::wire::attribute::Attributes;
use std::cmp::Reverse;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// LOCAL_PREF of a route that has none.
pub(crate) const DEFAULT_LOCAL_PREF: u32 = 100;

/// Who announced routes; all of a session's share one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) peer: SocketAddr,
    /// Its BGP Identifier.
    pub(crate) identifier: Ipv4Addr,
    pub(crate) peer_type: PeerType,
    /// Whether it is a client of ours as route reflector.
    pub(crate) client: bool,
}

/// A route that may become the best of its prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) attributes: Arc<Attributes>,
    pub(crate) source: Arc<Source>,
}

impl Candidate {
    /// LOCAL_PREF, for a route that has none too.
    pub(crate) fn local_pref(&self) -> u32 {
        self.attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF)
    }

    /// Smaller is better, up to the step where MED comes in.
    fn before_med(&self) -> impl Ord + use<> {
        (Reverse(self.local_pref()), self.attributes.as_path.hops(), self.attributes.origin)
    }

    /// Smaller is better, from the step after MED. Interior cost is the kernel's to know, and equal here.
    fn after_med(&self) -> impl Ord + use<> {
        (
            self.source.peer_type == PeerType::Internal,
            self.attributes.originator_id.unwrap_or(self.source.identifier),
            self.attributes.cluster_list.len(),
            self.source.peer,
        )
    }

    /// Whether `self` loses to `other` by MED, which compares only routes from one neighboring AS (§9.1.2.2 c);
    /// a missing MED is the lowest.
    fn loses_by_med(&self, other: &Candidate) -> bool {
        self.attributes.as_path.neighbor() == other.attributes.as_path.neighbor()
            && self.attributes.med.unwrap_or(0) > other.attributes.med.unwrap_or(0)
    }
}

/// Chooses the best route of a prefix.
pub(crate) fn best(mut candidates: impl Iterator<Item = Candidate>) -> Option<Candidate> {
    let first = candidates.next()?;
    let Some(second) = candidates.next() else { return Some(first) };
    let mut candidates: Vec<Candidate> = [first, second].into_iter().chain(candidates).collect();
    let least = candidates.iter().map(Candidate::before_med).min()?;
    candidates.retain(|candidate| candidate.before_med() == least);
    let survives = |candidate: &&Candidate| !candidates.iter().any(|other| candidate.loses_by_med(other));
    candidates.iter().filter(survives).min_by_key(|candidate| candidate.after_med()).cloned()
}

#[cfg(test)]
mod tests;
