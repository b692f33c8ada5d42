//! Loc-RIB: the best route of every prefix.

use super::decision::{self, Candidate};
use ipnet::Ipv4Net;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The best route of a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Best {
    /// Our own, which wins over anything a peer announces.
    Local,
    /// A peer's.
    Learned(Candidate),
}

impl Best {
    /// Whether two routes came in one message of one peer, or are both our own: then they are announced alike.
    pub(crate) fn is_alike(&self, other: &Best) -> bool {
        match (self, other) {
            (Best::Local, Best::Local) => true,
            (Best::Learned(one), Best::Learned(two)) => {
                Arc::ptr_eq(&one.attributes, &two.attributes) && Arc::ptr_eq(&one.source, &two.source)
            }
            (Best::Local, Best::Learned(_)) | (Best::Learned(_), Best::Local) => false,
        }
    }
}

/// The chosen routes.
#[derive(Debug, Default)]
pub(crate) struct LocRib(BTreeMap<Ipv4Net, Best>);

impl LocRib {
    /// Chooses anew for one prefix; tells whether the choice changed.
    pub(crate) fn decide(
        &mut self,
        prefix: Ipv4Net,
        originated: bool,
        candidates: impl Iterator<Item = Candidate>,
    ) -> bool {
        let best = if originated { Some(Best::Local) } else { decision::best(candidates).map(Best::Learned) };
        if self.0.get(&prefix) == best.as_ref() {
            return false;
        }
        match best {
            Some(best) => self.0.insert(prefix, best),
            None => self.0.remove(&prefix),
        };
        true
    }

    pub(crate) fn get(&self, prefix: &Ipv4Net) -> Option<&Best> {
        self.0.get(prefix)
    }

    pub(crate) fn prefixes(&self) -> impl Iterator<Item = Ipv4Net> {
        self.0.keys().copied()
    }
}
