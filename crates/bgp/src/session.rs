//! A session with one peer: its two connection machines and their timers.
//!
//! Turns octets into messages, checks the OPEN against the configuration (RFC 4271 §6.2) and decides how long a
//! failed machine rests. Which of two connections goes on is `collision`'s business. What UPDATEs mean is the
//! speaker's: it polls [`Signal`]s.

mod collision;
mod negotiate;

pub(crate) use negotiate::{Local, Negotiated};

use crate::config::PeerConfig;
use crate::fsm::{Action, Event, State, transition};
use crate::speaker::{ConnId, Outbox};
use crate::status::Trouble;
use crate::timer::{self, Direction, Timer, Timers};
use crate::wire::notification::{Notification, Reason};
use crate::wire::open::Open;
use crate::wire::update::{Update, UpdateError};
use crate::wire::{AsWidth, Context, Frame, Kind, Message, PeerType, RouteRefresh};
use collision::Awaiting;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The connection broke off: the peer may be restarting, its routes may be kept (RFC 4724 §4.2).
    Interrupted,
    /// Of two connections opened at once this was, or may have been, the one the peer does not keep (RFC 4271 §6.8):
    /// not a restart, and no end of its routes.
    Collided,
    /// One side said so: its routes are gone.
    Ended,
}

impl Loss {
    /// What became of a session that left Established with this event, and the NOTIFICATION that came or went with it.
    fn by(event: Event, notice: Option<&Notification>, young: bool) -> Loss {
        let given_up =
            event == Event::NotifMsg && notice.is_some_and(|notice| notice.reason == Reason::COLLISION_RESOLUTION);
        let lost = event == Event::TcpConnectionFails;
        if given_up || lost && young {
            Loss::Collided
        } else if lost {
            Loss::Interrupted
        } else {
            Loss::Ended
        }
    }
}

/// What a session tells the speaker.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "most signals are UPDATEs, and none outlives the input it came from")]
pub(crate) enum Signal {
    /// The session reached Established.
    Up(Negotiated),
    /// It left Established.
    Down(Loss),
    /// An UPDATE came that can be used, or whose routes are to be handled as withdrawn.
    Update(Result<Update, UpdateError>),
    /// The peer asks for its routes again.
    Refresh(RouteRefresh),
}

/// One connection's machine.
#[derive(Debug)]
struct Machine {
    state: State,
    conn: Option<ConnId>,
    local_address: Option<IpAddr>,
    received: Vec<u8>,
    negotiated: Option<Negotiated>,
    /// The peer's OPEN, while the other connection's fate is awaited.
    awaiting: Option<Awaiting>,
}

impl Machine {
    fn new() -> Machine {
        Machine {
            state: State::Idle,
            conn: None,
            local_address: None,
            received: Vec::new(),
            negotiated: None,
            awaiting: None,
        }
    }

    /// Whether the machine has a connection that may become, or is, the session.
    fn serves(&self) -> bool {
        self.state >= State::OpenSent
    }
}

/// A session with one peer.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) config: PeerConfig,
    /// Who we are; [`Local::restarting`] changes while the speaker runs.
    pub(crate) local: Local,
    /// What last went wrong.
    pub(crate) trouble: Option<Trouble>,
    peer: SocketAddr,
    peer_type: PeerType,
    outgoing: Machine,
    incoming: Machine,
    timers: Timers,
    signals: VecDeque<Signal>,
    /// Connections opened since the last session that lasted.
    attempts: u32,
    /// When we last accepted an OPEN.
    confirmed: Option<Instant>,
    /// The last wait after an error, and when it was ordered.
    error_wait: Option<(Duration, Instant)>,
}

impl Session {
    pub(crate) fn new(peer: SocketAddr, config: PeerConfig, peer_type: PeerType, local: Local) -> Session {
        Session {
            config,
            local,
            trouble: None,
            peer,
            peer_type,
            outgoing: Machine::new(),
            incoming: Machine::new(),
            timers: Timers::default(),
            signals: VecDeque::new(),
            attempts: 0,
            confirmed: None,
            error_wait: None,
        }
    }

    /// Starts both machines, the outgoing one after a little jitter.
    pub(crate) fn start(&mut self, now: Instant, out: &mut Outbox) {
        match &self.config.obstacle {
            Some(obstacle) => self.trouble = Some(Trouble::Obstacle(obstacle.clone())),
            None => self.rest(Duration::ZERO, now, out),
        }
    }

    /// Ends the session for good, telling the peer why.
    pub(crate) fn stop(&mut self, reason: Reason, now: Instant, out: &mut Outbox) {
        for direction in [Direction::Outgoing, Direction::Incoming] {
            self.event(direction, Event::ManualStop, Some(reason.into()), now, out);
            self.timers.stop(Timer::IdleHold(direction));
        }
    }

    /// Ends the session for good; a peer that keeps our routes over a restart gets no NOTIFICATION, since that
    /// would have it drop them (RFC 4724 §4).
    pub(crate) fn shut_down(&mut self, now: Instant, out: &mut Outbox) {
        for direction in [Direction::Outgoing, Direction::Incoming] {
            let machine = self.machine(direction);
            let keeps = machine.negotiated.as_ref().is_some_and(|negotiated| negotiated.graceful_restart.is_some());
            if let Some(conn) = machine.conn.take_if(|_| keeps) {
                out.close(conn);
            }
        }
        self.stop(Reason::ADMINISTRATIVE_SHUTDOWN, now, out);
    }

    /// The session's state: that of the connection which got furthest; before there is one, that of our attempts
    /// to open it.
    pub(crate) fn state(&self) -> State {
        match (self.outgoing.state, self.incoming.state) {
            (outgoing @ (State::Connect | State::Active), State::Idle | State::Active) => outgoing,
            (outgoing, incoming) => outgoing.max(incoming),
        }
    }

    /// What the Established connection agreed on.
    pub(crate) fn negotiated(&self) -> Option<&Negotiated> {
        [&self.outgoing, &self.incoming]
            .into_iter()
            .find(|machine| machine.state == State::Established)
            .and_then(|machine| machine.negotiated.as_ref())
    }

    /// Returns the next thing the speaker has to know; poll until `None` after every other call.
    pub(crate) fn poll_signal(&mut self) -> Option<Signal> {
        self.signals.pop_front()
    }

    /// Returns when [`Session::handle_timeout`] is next due, and why.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        self.timers.next()
    }

    /// Runs one timer that is due, and returns it, if there is one. [`Timer::Restart`] and [`Timer::Stale`] are
    /// the speaker's to act on.
    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) -> Option<Timer> {
        let timer = self.timers.expire(now)?;
        match timer {
            Timer::ConnectRetry => {
                if self.outgoing.state == State::Connect {
                    self.trouble = Some(Trouble::Socket("Connection timed out".into()));
                }
                self.event(Direction::Outgoing, Event::ConnectRetryTimerExpires, None, now, out);
            }
            Timer::IdleHold(direction) if self.is_wanted(direction) => {
                let start = match direction {
                    Direction::Outgoing => Event::AutomaticStart,
                    Direction::Incoming => Event::AutomaticStartPassive,
                };
                self.event(direction, start, None, now, out);
            }
            Timer::Hold(direction) => {
                let hold = self.machine(direction).negotiated.as_ref().map_or(timer::LARGE_HOLD, |n| n.hold_time);
                self.trouble = Some(Trouble::Silence(hold));
                self.event(direction, Event::HoldTimerExpires, None, now, out);
            }
            Timer::Keepalive(direction) => {
                self.event(direction, Event::KeepaliveTimerExpires, None, now, out);
            }
            Timer::Collision => self.decide_collision(now, out),
            Timer::IdleHold(_) | Timer::Restart | Timer::Stale | Timer::Retention => {}
        }
        Some(timer)
    }

    /// Starts a timer of graceful restart.
    pub(crate) fn start_timer(&mut self, timer: Timer, due: Instant) {
        self.timers.start(timer, due);
    }

    /// Stops one.
    pub(crate) fn stop_timer(&mut self, timer: Timer) {
        self.timers.stop(timer);
    }

    /// Something waits to be read on a connection: until it has been, nobody knows whether the peer is silent.
    pub(crate) fn unread(&mut self, conn: ConnId, now: Instant) {
        if let Some(direction) = self.direction(conn) {
            for timer in [Timer::Hold(direction), Timer::Restart, Timer::Stale] {
                self.timers.put_off(timer, now + timer::UNREAD);
            }
        }
    }

    /// Our connection stands.
    pub(crate) fn connected(&mut self, conn: ConnId, local: IpAddr, now: Instant, out: &mut Outbox) {
        if let Some(direction) = self.direction(conn) {
            self.machine(direction).local_address = Some(local);
            self.event(direction, Event::TcpCrAcked, None, now, out);
            self.limit_wait(direction.other(), now);
        }
    }

    /// A connection failed to open, or closed.
    pub(crate) fn failed(&mut self, conn: ConnId, reason: String, now: Instant, out: &mut Outbox) {
        if let Some(direction) = self.direction(conn) {
            self.trouble = Some(Trouble::Socket(reason));
            self.event(direction, Event::TcpConnectionFails, None, now, out);
        }
    }

    /// Takes octets from a connection, message by message.
    pub(crate) fn received(&mut self, conn: ConnId, bytes: &[u8], now: Instant, out: &mut Outbox) {
        let Some(direction) = self.direction(conn) else { return };
        let mut stream = std::mem::take(&mut self.machine(direction).received);
        stream.extend(bytes);
        let mut rest = &stream[..];
        while self.machine(direction).conn == Some(conn) {
            match Frame::next(rest) {
                Ok(Some((frame, length))) => {
                    rest = &rest[length..];
                    self.message(direction, frame, now, out);
                }
                Ok(None) => break,
                Err(notification) => self.fault(direction, Event::BgpHeaderErr, notification, now, out),
            }
        }
        if self.machine(direction).conn == Some(conn) {
            self.machine(direction).received = rest.to_vec();
        }
    }

    /// Sends an UPDATE or ROUTE-REFRESH on the Established connection, if there is one.
    pub(crate) fn send(&mut self, message: &Message, now: Instant, out: &mut Outbox) {
        for direction in [Direction::Outgoing, Direction::Incoming] {
            let machine = self.machine(direction);
            if let (State::Established, Some(conn), Some(negotiated)) =
                (machine.state, machine.conn, &machine.negotiated)
            {
                let (context, keepalive) = (negotiated.context, negotiated.keepalive);
                out.send(conn, message.encode(context));
                if let Some(interval) = keepalive {
                    self.timers.start(Timer::Keepalive(direction), now + interval);
                }
            }
        }
    }

    fn machine(&mut self, direction: Direction) -> &mut Machine {
        match direction {
            Direction::Outgoing => &mut self.outgoing,
            Direction::Incoming => &mut self.incoming,
        }
    }

    fn direction(&self, conn: ConnId) -> Option<Direction> {
        if self.outgoing.conn == Some(conn) {
            Some(Direction::Outgoing)
        } else if self.incoming.conn == Some(conn) {
            Some(Direction::Incoming)
        } else {
            None
        }
    }

    fn message(&mut self, direction: Direction, frame: Frame<'_>, now: Instant, out: &mut Outbox) {
        let context = match &self.machine(direction).negotiated {
            Some(negotiated) => negotiated.context,
            None => Context { as_width: AsWidth::Four, peer: self.peer_type },
        };
        let message = Message::decode(frame, context);
        if let Ok(message) = &message
            && self.take_waiting(direction, message, now, out)
        {
            return;
        }
        match message {
            Ok(Message::Open(open)) if self.machine(direction).state == State::OpenSent => {
                self.open(direction, open, now, out);
            }
            Ok(Message::Open(_)) => {
                self.event(direction, Event::BgpOpen, None, now, out);
            }
            Ok(Message::Keepalive) => {
                self.event(direction, Event::KeepAliveMsg, None, now, out);
            }
            Ok(Message::Notification(notification)) => {
                self.trouble = Some(Trouble::Received(notification.reason));
                let event = match notification.reason {
                    Reason::UNSUPPORTED_VERSION => Event::NotifMsgVerErr,
                    _ => Event::NotifMsg,
                };
                self.event(direction, event, Some(notification), now, out);
            }
            Ok(Message::Update(update)) => self.deliver(direction, Signal::Update(Ok(update)), now, out),
            Ok(Message::RouteRefresh(refresh)) => self.deliver(direction, Signal::Refresh(refresh), now, out),
            Err(error @ UpdateError::TreatAsWithdraw { .. }) => {
                self.deliver(direction, Signal::Update(Err(error)), now, out);
            }
            Err(UpdateError::Reset(notification)) => {
                let event = match frame.kind {
                    Kind::Open => Event::BgpOpenMsgErr,
                    Kind::Update | Kind::RouteRefresh => Event::UpdateMsgErr,
                    Kind::Notification | Kind::Keepalive => Event::BgpHeaderErr,
                };
                self.fault(direction, event, notification, now, out);
            }
        }
    }

    fn deliver(&mut self, direction: Direction, signal: Signal, now: Instant, out: &mut Outbox) {
        if self.event(direction, Event::UpdateMsg, None, now, out).contains(&Action::Deliver) {
            self.signals.push_back(signal);
        }
    }

    /// The peer sent something wrong.
    fn fault(
        &mut self,
        direction: Direction,
        event: Event,
        notification: Notification,
        now: Instant,
        out: &mut Outbox,
    ) {
        self.trouble = Some(Trouble::Sent(notification.reason, None));
        self.event(direction, event, Some(notification), now, out);
    }

    /// Checks an OPEN (§6.2) and goes on with its connection, if the other one lets it.
    fn open(&mut self, direction: Direction, open: Open, now: Instant, out: &mut Outbox) {
        let negotiated = match negotiate::negotiate(&open, &self.config, &self.local, self.peer_type) {
            Ok(negotiated) => negotiated,
            Err(notification) => {
                let (asn, wanted) = (open.asn(), self.config.remote_as);
                self.fault(direction, Event::BgpOpenMsgErr, notification.clone(), now, out);
                if notification.reason == Reason::BAD_PEER_AS {
                    let detail = format!("peer is in AS {asn}, not {wanted}");
                    self.trouble = Some(Trouble::Sent(notification.reason, Some(detail)));
                }
                return;
            }
        };
        self.collide(direction, negotiated, now, out);
    }

    /// Puts one event through the table and does what it says; `notice` goes out with [`Action::Notify`].
    fn event(
        &mut self,
        direction: Direction,
        event: Event,
        notice: Option<Notification>,
        now: Instant,
        out: &mut Outbox,
    ) -> &'static [Action] {
        let before = self.machine(direction).state;
        let (after, actions) = transition(before, event);
        self.machine(direction).state = after;
        for action in actions {
            self.act(direction, *action, before, notice.as_ref(), now, out);
        }
        if after == State::Established && before != State::Established {
            self.trouble = None;
            let negotiated = self.machine(direction).negotiated.clone();
            self.signals.push_back(Signal::Up(negotiated.expect("OpenConfirm is entered with what was negotiated")));
            let notice = Some(Reason::COLLISION_RESOLUTION.into());
            self.event(direction.other(), Event::AutomaticStop, notice, now, out);
            self.timers.stop(Timer::IdleHold(direction.other()));
        }
        if before == State::Established && after != State::Established {
            let young = self.confirmed_lately(now);
            self.signals.push_back(Signal::Down(Loss::by(event, notice.as_ref(), young)));
            if !young {
                self.attempts = 0;
            }
        }
        let unconnected = matches!(after, State::Idle | State::Active) && after != before;
        if unconnected && event != Event::ManualStop {
            let wrong = actions.contains(&Action::NotifyFsm)
                || match event {
                    Event::BgpHeaderErr
                    | Event::BgpOpenMsgErr
                    | Event::UpdateMsgErr
                    | Event::HoldTimerExpires
                    | Event::NotifMsgVerErr => true,
                    Event::NotifMsg => !notice.is_some_and(|notice| notice.reason.is_cease()),
                    Event::ManualStop
                    | Event::AutomaticStart
                    | Event::AutomaticStartPassive
                    | Event::AutomaticStop
                    | Event::ConnectRetryTimerExpires
                    | Event::KeepaliveTimerExpires
                    | Event::TcpCrAcked
                    | Event::TcpConnectionConfirmed
                    | Event::TcpConnectionFails
                    | Event::BgpOpen
                    | Event::OpenCollisionDump
                    | Event::KeepAliveMsg
                    | Event::UpdateMsg => false,
                };
            let wait = if wrong { self.next_error_wait(now) } else { Duration::ZERO };
            self.rest(wait, now, out);
            self.proceed(direction.other(), now, out);
        }
        actions
    }

    fn act(
        &mut self,
        direction: Direction,
        action: Action,
        before: State,
        notice: Option<&Notification>,
        now: Instant,
        out: &mut Outbox,
    ) {
        let conn = self.machine(direction).conn;
        let notify = |notification: Notification, out: &mut Outbox| {
            if let Some(conn) = conn {
                out.send(conn, Message::Notification(notification).encode(Context::UNNEGOTIATED));
            }
        };
        match action {
            Action::Connect => {
                self.attempts += 1;
                self.machine(direction).conn = Some(out.connect(self.peer, &self.config));
                self.timers.start(Timer::ConnectRetry, now + timer::CONNECT_RETRY);
            }
            // a machine for the peer's connections opens none itself
            Action::RetryLater if direction == Direction::Incoming => {}
            Action::RetryLater => {
                let due = now + self.retry_delay(out);
                self.timers.start(Timer::ConnectRetry, due);
            }
            Action::SendOpen => {
                if direction == Direction::Outgoing {
                    self.timers.stop(Timer::ConnectRetry);
                }
                self.timers.start(Timer::Hold(direction), now + timer::LARGE_HOLD);
                let open = Message::Open(negotiate::open(&self.config, &self.local));
                let conn = conn.expect("a machine leaves Connect or Active for OpenSent with a connection");
                out.send(conn, open.encode(Context::UNNEGOTIATED));
            }
            Action::SendKeepalive => {
                if let Some(conn) = conn {
                    out.send(conn, Message::Keepalive.encode(Context::UNNEGOTIATED));
                }
                if let Some(interval) =
                    self.machine(direction).negotiated.as_ref().and_then(|negotiated| negotiated.keepalive)
                {
                    self.timers.start(Timer::Keepalive(direction), now + interval);
                }
            }
            Action::RestartHold => match self.machine(direction).negotiated.as_ref().map(|n| n.hold_time) {
                Some(hold) if !hold.is_zero() => self.timers.start(Timer::Hold(direction), now + hold),
                Some(_) | None => self.timers.stop(Timer::Hold(direction)),
            },
            Action::Deliver => {}
            Action::Notify => notify(notice.cloned().unwrap_or(Reason::CEASE.into()), out),
            Action::NotifyHold => notify(Reason::HOLD_TIMER_EXPIRED.into(), out),
            Action::NotifyFsm => {
                let reason = match before {
                    State::OpenSent => Reason::FSM_OPEN_SENT,
                    State::OpenConfirm => Reason::FSM_OPEN_CONFIRM,
                    State::Established => Reason::FSM_ESTABLISHED,
                    State::Idle | State::Connect | State::Active => Reason::FSM_ERROR,
                };
                self.trouble = Some(Trouble::Sent(reason, None));
                notify(reason.into(), out);
            }
            Action::Drop => {
                if let Some(conn) = conn {
                    out.close(conn);
                }
                let state = self.machine(direction).state;
                if self.machine(direction).awaiting.is_some() {
                    self.timers.stop(Timer::Collision);
                }
                *self.machine(direction) = Machine { state, ..Machine::new() };
                self.timers.stop(Timer::Hold(direction));
                self.timers.stop(Timer::Keepalive(direction));
                if direction == Direction::Outgoing {
                    self.timers.stop(Timer::ConnectRetry);
                }
            }
        }
    }

    /// Whether a machine that is Idle has something to do beside the other one.
    fn is_wanted(&self, direction: Direction) -> bool {
        match direction {
            Direction::Outgoing => !self.config.passive && !self.incoming.serves(),
            Direction::Incoming => self.outgoing.state < State::OpenConfirm,
        }
    }

    /// Lets machines that are Idle start again after a wait, or after the one they are at; the outgoing one is never
    /// in a hurry.
    fn rest(&mut self, wait: Duration, now: Instant, out: &mut Outbox) {
        for direction in [Direction::Outgoing, Direction::Incoming] {
            let waits = self.timers.runs(Timer::IdleHold(direction)) && wait.is_zero();
            if self.machine(direction).state != State::Idle || !self.is_wanted(direction) || waits {
                continue;
            }
            let pause = match direction {
                Direction::Outgoing if self.attempts == 0 => out.jitter.up_to(timer::CONNECT_JITTER),
                Direction::Outgoing => self.retry_delay(out),
                Direction::Incoming => Duration::ZERO,
            };
            if direction == Direction::Incoming && wait.is_zero() {
                self.event(direction, Event::AutomaticStartPassive, None, now, out);
            } else {
                self.timers.start(Timer::IdleHold(direction), now + wait.max(pause));
            }
        }
    }

    fn retry_delay(&mut self, out: &mut Outbox) -> Duration {
        if self.attempts <= timer::FAST_RETRIES {
            timer::FAST_RETRY + out.jitter.up_to(timer::FAST_RETRY)
        } else {
            timer::CONNECT_RETRY
        }
    }

    fn next_error_wait(&mut self, now: Instant) -> Duration {
        let (least, most) = timer::ERROR_WAIT;
        let wait = match self.error_wait {
            Some((last, at)) if now.saturating_duration_since(at) < timer::ERROR_FORGET => (last * 2).min(most),
            Some(_) | None => least,
        };
        self.error_wait = Some((wait, now));
        wait
    }
}
