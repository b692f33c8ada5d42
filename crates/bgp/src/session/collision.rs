//! Two connections with one peer: which of them becomes the session (RFC 4271 §6.8).
//!
//! By the RFC, when an OPEN comes while the other connection is in OpenConfirm, the one that the higher identifier
//! opened goes on. But the other connection has had our KEEPALIVE by then: the peer may hold it for Established, with
//! its own KEEPALIVE on the way. To end it would end the peer's session, and with that session whatever the peer kept
//! over a restart of its own. So a connection that has had our KEEPALIVE is not given up for another one here:
//!
//! | the other connection | it was opened by | the one whose OPEN came |
//! |---|---|---|
//! | before OpenConfirm | either | goes on |
//! | OpenConfirm | the higher identifier | ends |
//! | OpenConfirm | the lower identifier | waits: goes on if the other one ends, ends if that is Established |
//! | Established | either | ends |
//!
//! The identifiers still count where each end has confirmed another connection than its peer: the waiting end then
//! hears from the other one which to keep. A peer that says nothing at all is decided upon after [`timer::COLLISION`].
//!
//! Other races settled here:
//! - a peer that restarts dials before its old connection is seen to end: with graceful restart the old one is
//!   taken as lost (RFC 4724 §4.2), unless it is so young that the two are a collision;
//! - a peer that gave up on a half-open connection dials again: the half-open one is replaced;
//! - the peer gives up a connection that is Established here already, its KEEPALIVE being on the way: that is
//!   [`Loss::Collided`](super::Loss::Collided).

use super::{Negotiated, Session};
use crate::fsm::{Event, State};
use crate::speaker::{ConnId, Outbox};
use crate::status::Trouble;
use crate::timer::{self, Direction, Timer};
use crate::wire::notification::Reason;
use crate::wire::open::Open;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// A second connection within this of the first one's Established is a late collision, not a restart.
pub(super) const WINDOW: Duration = Duration::from_secs(5);

impl Session {
    /// Takes a connection the peer opened, or turns it away.
    pub(crate) fn accept(&mut self, conn: ConnId, local: IpAddr, now: Instant, out: &mut Outbox) {
        if self.incoming.state == State::Established || self.outgoing.state == State::Established {
            let restarts = self.negotiated().is_some_and(|negotiated| negotiated.graceful_restart.is_some());
            let young = self.established.is_some_and(|since| now.saturating_duration_since(since) < WINDOW);
            if !restarts || young {
                return out.reject(conn, Reason::COLLISION_RESOLUTION);
            }
            self.trouble = Some(Trouble::Socket("peer opened a new connection".into()));
            for direction in [Direction::Outgoing, Direction::Incoming] {
                if self.machine(direction).state == State::Established {
                    self.event(direction, Event::TcpConnectionFails, None, now, out);
                }
            }
        }
        if self.incoming.serves() {
            self.event(Direction::Incoming, Event::TcpConnectionFails, None, now, out);
        }
        if self.incoming.state != State::Active {
            let other_serves = self.outgoing.serves();
            let reason = if other_serves { Reason::COLLISION_RESOLUTION } else { Reason::CONNECTION_REJECTED };
            return out.reject(conn, reason);
        }
        out.adopt(conn, self.peer);
        self.incoming.conn = Some(conn);
        self.incoming.local_address = Some(local);
        self.event(Direction::Incoming, Event::TcpConnectionConfirmed, None, now, out);
    }

    /// Goes on with a connection whose OPEN came and agrees, ends it, or has it wait, as the other one demands.
    pub(super) fn collide(
        &mut self,
        direction: Direction,
        open: &Open,
        negotiated: Negotiated,
        now: Instant,
        out: &mut Outbox,
    ) {
        // RFC 6286 §2.3: between equal identifiers the AS number decides
        let peer_is_higher = (self.local.router_id, self.local.asn) < (open.identifier, open.asn());
        let higher = if peer_is_higher { Direction::Incoming } else { Direction::Outgoing };
        match self.machine(direction.other()).state {
            State::Idle | State::Connect | State::Active | State::OpenSent => {
                self.confirm(direction, negotiated, now, out);
            }
            State::OpenConfirm if direction == higher => {
                self.machine(direction).awaiting = Some(negotiated);
                self.timers.start(Timer::Collision, now + timer::COLLISION);
            }
            State::OpenConfirm | State::Established => self.give_up(direction, now, out),
        }
    }

    /// Has a connection go on that waited for the other one, which ended.
    pub(super) fn proceed(&mut self, direction: Direction, now: Instant, out: &mut Outbox) {
        let machine = self.machine(direction);
        if let (Some(negotiated), Some(conn)) = (machine.awaiting.take(), machine.conn) {
            self.timers.stop(Timer::Collision);
            self.confirm(direction, negotiated, now, out);
            self.received(conn, &[], now, out);
        }
    }

    /// The peer let the time pass: the connection that waits is the one its higher identifier demands.
    pub(super) fn decide_collision(&mut self, now: Instant, out: &mut Outbox) {
        for direction in [Direction::Outgoing, Direction::Incoming] {
            if self.machine(direction).awaiting.is_some() {
                self.give_up(direction.other(), now, out);
            }
        }
    }

    fn give_up(&mut self, direction: Direction, now: Instant, out: &mut Outbox) {
        self.event(direction, Event::OpenCollisionDump, Some(Reason::COLLISION_RESOLUTION.into()), now, out);
    }
}
