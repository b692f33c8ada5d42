//! Adj-RIB-In: the routes one peer announced, before its import filters.

use crate::wire::attribute::Attributes;
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The routes of one peer.
#[derive(Debug, Default)]
pub(crate) struct AdjRibIn {
    routes: BTreeMap<Ipv4Net, Arc<Attributes>>,
    /// Those whose announcement survived a restart of the peer unconfirmed (RFC 4724 §4.2).
    stale: BTreeSet<Ipv4Net>,
}

impl AdjRibIn {
    /// Takes an announcement, which replaces an earlier one of the prefix (RFC 4271 §3.1).
    pub(crate) fn announce(&mut self, prefix: Ipv4Net, attributes: Arc<Attributes>) {
        self.routes.insert(prefix, attributes);
        self.stale.remove(&prefix);
    }

    /// Takes a withdrawal, also of a prefix that was never announced.
    pub(crate) fn withdraw(&mut self, prefix: &Ipv4Net) {
        self.routes.remove(prefix);
        self.stale.remove(prefix);
    }

    pub(crate) fn get(&self, prefix: &Ipv4Net) -> Option<&Arc<Attributes>> {
        self.routes.get(prefix)
    }

    /// The prefixes of all routes.
    pub(crate) fn prefixes(&self) -> impl Iterator<Item = Ipv4Net> {
        self.routes.keys().copied()
    }

    /// How many routes there are.
    pub(crate) fn len(&self) -> usize {
        self.routes.len()
    }

    /// Marks everything stale.
    pub(crate) fn mark_stale(&mut self) {
        self.stale = self.routes.keys().copied().collect();
    }

    pub(crate) fn has_stale(&self) -> bool {
        !self.stale.is_empty()
    }

    /// Removes what is still stale.
    pub(crate) fn sweep(&mut self) -> Vec<Ipv4Net> {
        let stale: Vec<Ipv4Net> = std::mem::take(&mut self.stale).into_iter().collect();
        for prefix in &stale {
            self.routes.remove(prefix);
        }
        stale
    }

    /// Removes everything.
    pub(crate) fn clear(&mut self) -> Vec<Ipv4Net> {
        self.stale.clear();
        std::mem::take(&mut self.routes).into_keys().collect()
    }
}
