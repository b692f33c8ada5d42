//! How other routers settle two connections, as their sources and logs have it.

use crate::line::{Arrival, Side, Speaks, message, notification, octets};
use crate::open;
use bgp::State;
use bgp::wire::Message;
use bgp::wire::notification::Reason;
use bgp::wire::open::Open;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Which router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// BIRD 1.6 and 2: another connection in OpenConfirm is decided by the identifiers when an OPEN comes, and an attempt
    /// to connect ends then.
    Bird,
    /// FRR 8.4: another connection in OpenSent is decided upon too. It closes its own connection a moment after the
    /// decision: the session, if the other one has become that meanwhile.
    Frr,
}

/// Either takes a connection that comes while its own is Established for the other end's restart. If an Established
/// connection ends, for this or however that is told, the whole session does, with what a restart kept.
#[derive(Debug)]
pub(crate) struct Router {
    kind: Kind,
    side: Side,
    identifier: Ipv4Addr,
    states: BTreeMap<Side, State>,
    /// It decided upon a connection in OpenSent, of which the other end may not know yet.
    early: bool,
    /// An Established connection ended that the other end could have spared.
    hurt: bool,
}

impl Router {
    pub(crate) fn new(kind: Kind, side: Side, identifier: Ipv4Addr) -> Router {
        let states = BTreeMap::from([(side, State::Connect), (side.other(), State::Active)]);
        Router { kind, side, identifier, states, early: false, hurt: false }
    }

    fn close(&mut self, opener: Side) -> Vec<(Side, Arrival)> {
        self.states.insert(opener, State::Idle);
        vec![(opener, Arrival::Closed)]
    }

    fn cease(&mut self, opener: Side, reason: Reason) -> Vec<(Side, Arrival)> {
        let notice = (opener, notification(reason));
        [notice].into_iter().chain(self.close(opener)).collect()
    }

    fn give_up(&mut self, opener: Side) -> Vec<(Side, Arrival)> {
        if self.kind == Kind::Bird || opener != self.side {
            return self.cease(opener, Reason::COLLISION_RESOLUTION);
        }
        self.states.insert(opener, State::Idle);
        vec![(opener, notification(Reason::COLLISION_RESOLUTION)), (opener, Arrival::Later)]
    }

    /// What was left for later.
    fn stop(&mut self, opener: Side) -> Vec<(Side, Arrival)> {
        let mut sent = vec![(opener, Arrival::Closed)];
        if self.states[&opener.other()] == State::Established {
            self.hurt |= !self.early;
            sent.extend(self.close(opener.other()));
        }
        sent
    }

    fn lose(&mut self, opener: Side) -> Vec<(Side, Arrival)> {
        let lost = self.states.insert(opener, State::Idle);
        if lost != Some(State::Established) {
            return Vec::new();
        }
        self.hurt = true;
        if self.states[&opener.other()] < State::OpenSent {
            return Vec::new();
        }
        self.cease(opener.other(), Reason::CEASE)
    }

    fn opened(&mut self, opener: Side) -> Vec<(Side, Arrival)> {
        let mut sent = Vec::new();
        if opener != self.side && self.states[&self.side] == State::Established {
            self.hurt = true;
            sent = self.close(self.side);
        }
        self.states.insert(opener, State::OpenSent);
        sent.push((opener, octets(&Message::Open(open(self.identifier)))));
        sent
    }

    fn open(&mut self, opener: Side, open: &Open) -> Vec<(Side, Arrival)> {
        let other = opener.other();
        let peer_is_higher = self.identifier < open.identifier;
        let keeps_new = peer_is_higher == (opener != self.side);
        self.early |= self.kind == Kind::Frr && self.states[&other] == State::OpenSent;
        let mut sent = match (self.states[&other], self.kind) {
            (State::Connect, Kind::Bird) => self.close(other),
            (State::Idle | State::Active | State::Connect, _) | (State::OpenSent, Kind::Bird) => Vec::new(),
            (State::OpenSent | State::OpenConfirm, _) if keeps_new => self.give_up(other),
            (State::OpenSent | State::OpenConfirm | State::Established, _) => return self.give_up(opener),
        };
        self.states.insert(opener, State::OpenConfirm);
        sent.push((opener, octets(&Message::Keepalive)));
        sent
    }

    fn keepalive(&mut self, opener: Side) -> Vec<(Side, Arrival)> {
        self.states.insert(opener, State::Established);
        let other = opener.other();
        let under_way = matches!(self.states[&other], State::Connect | State::OpenSent);
        if self.kind == Kind::Frr && under_way { self.close(other) } else { Vec::new() }
    }
}

impl Speaks for Router {
    fn take(&mut self, opener: Side, arrival: &Arrival) -> Vec<(Side, Arrival)> {
        let state = self.states[&opener];
        match arrival {
            Arrival::Opened if matches!(state, State::Connect | State::Active) => self.opened(opener),
            Arrival::Opened => Vec::new(),
            Arrival::Later => self.stop(opener),
            Arrival::Closed => self.lose(opener),
            Arrival::Octets(bytes) => match (message(bytes), state) {
                (Message::Open(open), State::OpenSent) => self.open(opener, &open),
                (Message::Keepalive, State::OpenConfirm) => self.keepalive(opener),
                (Message::Notification(_), _) => self.lose(opener),
                (Message::Open(_), State::OpenConfirm | State::Established) | (Message::Keepalive, State::OpenSent) => {
                    panic!("out of turn: {self:?}")
                }
                _ => Vec::new(),
            },
        }
    }

    fn session(&self) -> Option<Side> {
        self.states.iter().find(|(_, state)| **state == State::Established).map(|(opener, _)| *opener)
    }

    fn judge(&self) {
        assert!(!self.hurt, "an Established connection was ended: {self:?}");
    }

    fn decided_early(&self) -> bool {
        self.early
    }
}
