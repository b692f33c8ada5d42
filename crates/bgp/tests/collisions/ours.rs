//! One of our speakers at an end.

use crate::line::Side::{Left, Right};
use crate::line::{Arrival, Side, Speaks};
use crate::{ASN, millis};
use bgp::{Config, ConnId, Input, PeerConfig, PeerKind, Speaker, State, Transmit};
use model::Asn;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A speaker of ours.
#[derive(Debug)]
pub(crate) struct Ours {
    side: Side,
    pub(crate) now: Instant,
    pub(crate) speaker: Speaker,
    dialled: ConnId,
    accepted: u64,
    pub(crate) dials: usize,
    /// Connections neither end has closed, as far as this one knows.
    open: BTreeSet<Side>,
}

impl Ours {
    /// A speaker that is about to dial.
    pub(crate) fn new(side: Side, identifier: Ipv4Addr, now: Instant) -> Ours {
        let peer = SocketAddr::new(Ipv4Addr::new(10, 0, 0, 99).into(), 179);
        let mut config = Config::new(Asn(ASN), identifier);
        config.peers.insert(peer, PeerConfig::new(Asn(ASN), PeerKind::Global));
        let speaker = Speaker::new(config, Arc::default(), now, 1);
        Ours { side, now, speaker, dialled: ConnId::Outgoing(0), accepted: 0, dials: 0, open: [Left, Right].into() }
    }

    /// The same with its connection under way.
    pub(crate) fn dialling(side: Side, identifier: Ipv4Addr, start: Instant) -> Ours {
        let mut ours = Ours::new(side, identifier, start);
        assert_eq!(ours.pass(millis(500)), []);
        assert_eq!(ours.dials, 1);
        ours
    }

    /// Lets time pass, timer by timer.
    pub(crate) fn pass(&mut self, time: Duration) -> Vec<(Side, Arrival)> {
        let end = self.now + time;
        let mut sent = Vec::new();
        while let Some((due, _)) = self.speaker.poll_timeout().filter(|(due, _)| *due <= end) {
            self.now = due;
            sent.extend(self.handle(Input::Timeout));
        }
        self.now = end;
        sent
    }

    fn conn(&self, opener: Side) -> ConnId {
        if opener == self.side { self.dialled } else { ConnId::Incoming(self.accepted) }
    }

    pub(crate) fn handle(&mut self, input: Input) -> Vec<(Side, Arrival)> {
        self.speaker.handle(input, self.now);
        while self.speaker.poll_event().is_some() {}
        let mut sent = Vec::new();
        while let Some(transmit) = self.speaker.poll_transmit() {
            let opener = |conn| if conn == self.dialled { self.side } else { self.side.other() };
            match transmit {
                Transmit::Send { conn, bytes } => sent.push((opener(conn), Arrival::Octets(bytes))),
                Transmit::Close { conn } => {
                    self.open.remove(&opener(conn));
                    sent.push((opener(conn), Arrival::Closed));
                }
                Transmit::Connect { conn, .. } => {
                    self.dialled = conn;
                    self.dials += 1;
                }
            }
        }
        sent
    }
}

impl Speaks for Ours {
    fn take(&mut self, opener: Side, arrival: &Arrival) -> Vec<(Side, Arrival)> {
        if opener != self.side && *arrival == Arrival::Opened {
            self.accepted += 1;
        }
        let (conn, local, peer) = (self.conn(opener), [10, 0, 0, 1].into(), [10, 0, 0, 99].into());
        let input = match arrival {
            Arrival::Opened if opener == self.side => Input::Connected { conn, local },
            Arrival::Opened => Input::Accepted { conn, peer, local },
            Arrival::Octets(bytes) => Input::Received { conn, bytes: bytes.clone() },
            Arrival::Later => panic!("ours leaves nothing for later"),
            Arrival::Closed => Input::Closed { conn, reason: "closed".into() },
        };
        if matches!(arrival, Arrival::Closed) {
            self.open.remove(&opener);
        }
        self.handle(input)
    }

    fn session(&self) -> Option<Side> {
        (self.speaker.status()[0].state == State::Established).then(|| {
            assert_eq!(self.open.len(), 1, "{self:?}");
            *self.open.first().expect("one")
        })
    }

    fn judge(&self) {
        assert_eq!(self.dials, 1, "no time passes: {self:?}");
    }
}
