//! What the speaker wants done on the network, and who owns which connection.

use super::{ConnId, Transmit};
use crate::config::PeerConfig;
use crate::timer::Jitter;
use crate::wire::notification::{Notification, Reason};
use crate::wire::{Context, Message};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

/// Collects transmits, in order.
///
/// A connection has an owner from the moment it is opened or accepted until it is closed by either side;
/// nothing is transmitted for one that has none, so closing twice is harmless.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) jitter: Jitter,
    transmits: VecDeque<Transmit>,
    owners: BTreeMap<ConnId, SocketAddr>,
    opened: u64,
}

impl Outbox {
    pub(super) fn new(seed: u64) -> Outbox {
        Outbox { jitter: Jitter(seed), transmits: VecDeque::new(), owners: BTreeMap::new(), opened: 0 }
    }

    pub(super) fn pop(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    pub(super) fn owner(&self, conn: ConnId) -> Option<SocketAddr> {
        self.owners.get(&conn).copied()
    }

    /// Opens a connection to a peer.
    pub(crate) fn connect(&mut self, peer: SocketAddr, config: &PeerConfig) -> ConnId {
        let conn = ConnId::Outgoing(self.opened);
        self.opened += 1;
        self.owners.insert(conn, peer);
        self.transmits.push_back(Transmit::Connect { conn, peer, local: config.local_address });
        conn
    }

    /// Takes a connection that a peer opened.
    pub(crate) fn adopt(&mut self, conn: ConnId, peer: SocketAddr) {
        self.owners.insert(conn, peer);
    }

    pub(crate) fn send(&mut self, conn: ConnId, bytes: Vec<u8>) {
        if self.owners.contains_key(&conn) {
            self.transmits.push_back(Transmit::Send { conn, bytes });
        }
    }

    pub(crate) fn close(&mut self, conn: ConnId) {
        if self.owners.remove(&conn).is_some() {
            self.transmits.push_back(Transmit::Close { conn });
        }
    }

    /// Turns away a connection nobody owns.
    pub(crate) fn reject(&mut self, conn: ConnId, reason: Reason) {
        let notification = Message::Notification(Notification::from(reason));
        let bytes = notification.encode(Context::UNNEGOTIATED);
        self.transmits.push_back(Transmit::Send { conn, bytes });
        self.transmits.push_back(Transmit::Close { conn });
    }

    /// The other side closed it, or it never opened; returns whose it was.
    pub(super) fn forget(&mut self, conn: ConnId) -> Option<SocketAddr> {
        self.owners.remove(&conn)
    }
}
