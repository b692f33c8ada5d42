//! Our own restart (RFC 4724 §4.1): routes a predecessor left in the kernel, until the peers have spoken.
//!
//! The RFC defers route selection; here a route that a peer announces takes effect at once, and one that no peer
//! has announced yet stays as it was found. Retained routes have no attributes and are never announced.

use ipnet::Ipv4Net;
use model::desired::{Hop, Learned};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// Routes found at the start, and whom we wait for.
#[derive(Debug)]
pub(super) struct Retention {
    routes: Learned,
    /// Peers whose End-of-RIB is to come.
    awaited: BTreeSet<SocketAddr>,
    /// Those of them that do not restart themselves: what they will announce is still to be passed on, before the
    /// End-of-RIB of whom it is passed on to.
    deferring: BTreeSet<SocketAddr>,
}

impl Retention {
    /// Starts to wait for the configured peers; `None` if nothing was found.
    pub(super) fn new(routes: &Learned, peers: impl Iterator<Item = SocketAddr>) -> Option<Retention> {
        let awaited: BTreeSet<SocketAddr> = peers.collect();
        (!routes.is_empty()).then(|| Retention { routes: routes.clone(), deferring: awaited.clone(), awaited })
    }

    pub(super) fn hop(&self, prefix: &Ipv4Net) -> Option<Hop> {
        self.routes.get(prefix).copied()
    }

    pub(super) fn is_over(&self) -> bool {
        self.awaited.is_empty()
    }

    pub(super) fn deferring(&self) -> impl Iterator<Item = &SocketAddr> {
        self.deferring.iter()
    }

    /// Waits for one more peer.
    pub(super) fn await_peer(&mut self, peer: SocketAddr) {
        self.awaited.insert(peer);
        self.deferring.insert(peer);
    }

    /// A peer came up that restarts too: it may be waiting for us (RFC 4724 §4.1).
    pub(super) fn restarts_too(&mut self, peer: SocketAddr) {
        self.deferring.remove(&peer);
    }

    /// A peer sent its End-of-RIB, or was removed: what led to it and was not announced again is gone. Returns
    /// the prefixes to decide anew.
    pub(super) fn heard(&mut self, peer: SocketAddr) -> Vec<Ipv4Net> {
        self.awaited.remove(&peer);
        self.deferring.remove(&peer);
        let led_there = self.routes.extract_if(.., |_, hop| IpAddr::V4(hop.gateway) == peer.ip());
        led_there.map(|(prefix, _)| prefix).collect()
    }

    /// Ends it all.
    pub(super) fn into_prefixes(self) -> impl Iterator<Item = Ipv4Net> {
        self.routes.into_keys()
    }
}
