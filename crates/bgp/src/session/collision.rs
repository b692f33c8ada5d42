//! Two connections with one peer: which of them becomes the session (RFC 4271 §6.8).
//!
//! By the RFC, when an OPEN comes while the other connection is in OpenConfirm, the one that the higher identifier
//! opened goes on. To act so late can end a session. A connection in OpenConfirm has had our KEEPALIVE: the peer may
//! hold it for Established, and takes its whole session down if we end it. And a peer that holds one for Established
//! takes our second connection, which it accepts a moment later, for a restart of ours, and drops the first (BIRD,
//! FRR). Either way, what it kept over a restart of its own is lost. So the identifiers decide as soon as both OPENs
//! are known, and before that no KEEPALIVE goes out:
//!
//! | the other connection | the one whose OPEN comes |
//! |---|---|
//! | is not even dialled | goes on; nothing is dialled beside it any more |
//! | has had no OPEN, or is being dialled | waits for that OPEN, or for that connection's end |
//! | waits for this one, and the peer's identifier is higher | the peer's goes on, ours ends |
//! | waits for this one, and our identifier is higher | both wait: the peer ends its own, and ours goes on |
//!
//! The peer makes the same choice by the RFC's letter. It is left to end its own connection first, and to close it:
//! FRR does so a moment after its decision and its NOTIFICATION, and closes the wrong one if our KEEPALIVE comes in
//! between. What the peer dials beside a connection in OpenConfirm or Established is turned away before our OPEN, by
//! which it would decide.
//!
//! A peer may leave a connection waiting. Then the other one ends, or of two that wait the peer's, after
//! [`timer::COLLISION`]; one that is still being dialled after [`timer::COLLISION_UNANSWERED`].
//!
//! Other races settled here:
//! - a peer that restarts dials before its old connection is seen to end: with graceful restart the old one is
//!   taken as lost (RFC 4724 §4.2), unless it is so young that the two are a collision;
//! - a peer that gave up on a half-open connection dials again: the half-open one is replaced;
//! - the peer gives up a connection that is Established here already, its KEEPALIVE being on the way, or closes it
//!   since it takes another one for a restart of ours: that is [`Loss::Collided`](super::Loss::Collided).

use super::{Negotiated, Session};
use crate::fsm::{Event, State};
use crate::speaker::{ConnId, Outbox};
use crate::status::Trouble;
use crate::timer::{self, Direction, Timer};
use crate::wire::Message;
use crate::wire::notification::Reason;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// A second connection within this of the first one's OpenConfirm is a late collision, not a restart.
const WINDOW: Duration = Duration::from_secs(5);

/// A connection that waits.
#[derive(Debug)]
pub(super) struct Awaiting {
    negotiated: Negotiated,
    /// Whether the peer has accepted our OPEN meanwhile.
    keepalive: bool,
    /// Whether it has given this connection up, and will close it.
    given_up: bool,
}

impl Session {
    /// Takes a connection the peer opened, or turns it away.
    pub(crate) fn accept(&mut self, conn: ConnId, local: IpAddr, now: Instant, out: &mut Outbox) {
        if self.incoming.serves() && self.incoming.state != State::Established {
            self.event(Direction::Incoming, Event::TcpConnectionFails, None, now, out);
        }
        if self.outgoing.state >= State::OpenConfirm || self.incoming.state == State::Established {
            let restarts = self.negotiated().is_none_or(|negotiated| negotiated.graceful_restart.is_some());
            if !restarts || self.confirmed_lately(now) {
                return out.reject(conn, Reason::COLLISION_RESOLUTION);
            }
            self.trouble = Some(Trouble::Socket("peer opened a new connection".into()));
            for direction in [Direction::Outgoing, Direction::Incoming] {
                if self.machine(direction).state >= State::OpenConfirm {
                    self.event(direction, Event::TcpConnectionFails, None, now, out);
                }
            }
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

    /// Whether we accepted an OPEN so lately that another connection was dialled when that one was, rather than after a
    /// restart.
    pub(super) fn confirmed_lately(&self, now: Instant) -> bool {
        self.confirmed.is_some_and(|since| now.saturating_duration_since(since) < WINDOW)
    }

    /// Takes a message on a connection that waits, if it is no matter for the machine before that goes on.
    pub(super) fn take_waiting(
        &mut self,
        direction: Direction,
        message: &Message,
        now: Instant,
        out: &mut Outbox,
    ) -> bool {
        let Some(awaiting) = &mut self.machine(direction).awaiting else { return false };
        match message {
            Message::Keepalive => awaiting.keepalive = true,
            Message::Notification(notification) if notification.reason == Reason::COLLISION_RESOLUTION => {
                awaiting.given_up = true;
            }
            // the table does not know of the first one: to it, this is any message out of turn
            Message::Open(_) => {
                self.event(direction, Event::UpdateMsg, None, now, out);
            }
            Message::Notification(_) | Message::Update(_) | Message::RouteRefresh(_) => return false,
        }
        true
    }

    /// Goes on with a connection whose OPEN came and agrees, ends it, or has it wait, as the other one demands.
    pub(super) fn collide(&mut self, direction: Direction, negotiated: Negotiated, now: Instant, out: &mut Outbox) {
        // RFC 6286 §2.3: between equal identifiers the AS number decides
        let peer_is_higher = (self.local.router_id, self.local.asn) < (negotiated.identifier, self.config.remote_as);
        let other = direction.other();
        match self.machine(other).state {
            State::Idle | State::Active => self.confirm(direction, negotiated, now, out),
            State::Connect | State::OpenSent => {
                let both_known = self.machine(other).awaiting.is_some();
                self.wait(direction, negotiated, now);
                if both_known && peer_is_higher {
                    self.give_up(Direction::Outgoing, now, out);
                }
            }
            State::OpenConfirm | State::Established => self.give_up(direction, now, out),
        }
    }

    /// Has a connection go on that waited for the other one, which ended.
    pub(super) fn proceed(&mut self, direction: Direction, now: Instant, out: &mut Outbox) {
        if let Some(awaiting) = self.machine(direction).awaiting.take() {
            self.timers.stop(Timer::Collision);
            self.confirm(direction, awaiting.negotiated, now, out);
            if awaiting.keepalive {
                self.event(direction, Event::KeepAliveMsg, None, now, out);
            }
        }
    }

    /// The peer let the time pass: the connection that waits goes on instead of the other one, ours if both wait.
    pub(super) fn decide_collision(&mut self, now: Instant, out: &mut Outbox) {
        for direction in [Direction::Outgoing, Direction::Incoming] {
            if let Some(Awaiting { given_up, .. }) = self.machine(direction).awaiting {
                self.give_up(if given_up { direction } else { direction.other() }, now, out);
            }
        }
    }

    fn wait(&mut self, direction: Direction, negotiated: Negotiated, now: Instant) {
        self.machine(direction).awaiting = Some(Awaiting { negotiated, keepalive: false, given_up: false });
        self.limit_wait(direction, now);
    }

    /// Sets when a connection has waited long enough for the other one as that now stands.
    pub(super) fn limit_wait(&mut self, direction: Direction, now: Instant) {
        let unanswered = self.machine(direction.other()).state == State::Connect;
        let limit = if unanswered { timer::COLLISION_UNANSWERED } else { timer::COLLISION };
        if let Some(Awaiting { negotiated: Negotiated { hold_time, .. }, .. }) = self.machine(direction).awaiting {
            // the peer's HoldTimer runs
            let limit = if hold_time.is_zero() { limit } else { limit.min(hold_time / 3) };
            self.timers.start(Timer::Collision, now + limit);
        }
    }

    /// Accepts an OPEN. From here on nothing of ours is dialled beside it.
    fn confirm(&mut self, direction: Direction, negotiated: Negotiated, now: Instant, out: &mut Outbox) {
        if direction == Direction::Incoming && self.outgoing.state == State::Active {
            self.event(Direction::Outgoing, Event::AutomaticStop, None, now, out);
        }
        self.confirmed = Some(now);
        let machine = self.machine(direction);
        machine.negotiated = Some(Negotiated { local_address: machine.local_address, ..negotiated });
        self.event(direction, Event::BgpOpen, None, now, out);
    }

    fn give_up(&mut self, direction: Direction, now: Instant, out: &mut Outbox) {
        self.event(direction, Event::OpenCollisionDump, Some(Reason::COLLISION_RESOLUTION.into()), now, out);
    }
}
