//! Adj-RIB-In: the routes one peer announced, as import policy left them.

use crate::wire::attribute::Attributes;
use ipnet::Ipv4Net;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Whether a route's announcement survived a restart of its peer unconfirmed (RFC 4724 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freshness {
    Fresh,
    Stale,
}

/// The routes of one peer.
#[derive(Debug, Default)]
pub(crate) struct AdjRibIn(BTreeMap<Ipv4Net, (Arc<Attributes>, Freshness)>);

impl AdjRibIn {
    /// Takes an announcement, which replaces an earlier one of the prefix (RFC 4271 §3.1).
    pub(crate) fn announce(&mut self, prefix: Ipv4Net, attributes: Arc<Attributes>) {
        self.0.insert(prefix, (attributes, Freshness::Fresh));
    }

    /// Takes a withdrawal, also of a prefix that was never announced.
    pub(crate) fn withdraw(&mut self, prefix: &Ipv4Net) {
        self.0.remove(prefix);
    }

    pub(crate) fn get(&self, prefix: &Ipv4Net) -> Option<&Arc<Attributes>> {
        self.0.get(prefix).map(|(attributes, _)| attributes)
    }

    /// How many routes there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Marks everything stale. What is stale already goes, so that a peer which keeps restarting does not keep
    /// routes for ever (RFC 4724 §4.2); those prefixes are returned.
    pub(crate) fn mark_stale(&mut self) -> Vec<Ipv4Net> {
        let gone = self.sweep();
        for (_, freshness) in self.0.values_mut() {
            *freshness = Freshness::Stale;
        }
        gone
    }

    pub(crate) fn has_stale(&self) -> bool {
        self.0.values().any(|(_, freshness)| *freshness == Freshness::Stale)
    }

    /// Removes what is still stale.
    pub(crate) fn sweep(&mut self) -> Vec<Ipv4Net> {
        let stale = self.0.extract_if(.., |_, (_, freshness)| *freshness == Freshness::Stale);
        stale.map(|(prefix, _)| prefix).collect()
    }

    /// Removes everything.
    pub(crate) fn clear(&mut self) -> Vec<Ipv4Net> {
        std::mem::take(&mut self.0).into_keys().collect()
    }
}
