//! Every timer there is, and the table of those running.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Which of a peer's two state machines: the one for connections we open, or for those it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Direction {
    /// We open the connection.
    Outgoing,
    /// The peer opens it.
    Incoming,
}

impl Direction {
    /// The other one of the two.
    pub(crate) fn other(self) -> Direction {
        match self {
            Direction::Outgoing => Direction::Incoming,
            Direction::Incoming => Direction::Outgoing,
        }
    }
}

/// A timer; the numbers are in the constants below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// ConnectRetryTimer: when to open a connection anew. Only the outgoing machine has one.
    ConnectRetry,
    /// IdleHoldTimer: when a machine may leave Idle again.
    IdleHold(Direction),
    /// HoldTimer: the peer has been silent for too long.
    Hold(Direction),
    /// KeepaliveTimer: we have been.
    Keepalive(Direction),
    /// RFC 4271 §6.8: an OPEN has waited long enough for another connection.
    Collision,
    /// RFC 4724 §4.2: a peer that restarts did not come back in time.
    Restart,
    /// RFC 4724 §4.2: a peer that came back did not send its End-of-RIB in time.
    Stale,
    /// RFC 4724 §4.1: we restarted, and not every peer sent its End-of-RIB in time.
    Retention,
}

impl Timer {
    /// Says what is due, for the log.
    pub(crate) fn purpose(self) -> &'static str {
        match self {
            Timer::ConnectRetry => "retry to connect",
            Timer::IdleHold(_) => "start a peer again",
            Timer::Hold(_) => "hold time of a silent peer",
            Timer::Keepalive(_) => "keepalive",
            Timer::Collision => "an OPEN has waited long enough for another connection",
            Timer::Restart => "restarting peer is overdue",
            Timer::Stale => "End-of-RIB of a restarted peer is overdue",
            Timer::Retention => "End-of-RIB after our own restart is overdue",
        }
    }
}

/// The first connection is opened within this, at random, so that a cluster's nodes do not dial as one.
pub(crate) const CONNECT_JITTER: Duration = Duration::from_millis(500);
/// After a failure the first few are retried within 1–2 s: peers that start together find each other soon.
pub(crate) const FAST_RETRIES: u32 = 6;
/// How long the fast retries wait; up to as much again is added at random.
pub(crate) const FAST_RETRY: Duration = Duration::from_secs(1);
/// ConnectRetryTime afterwards, and while the network leaves an attempt without an answer.
pub(crate) const CONNECT_RETRY: Duration = Duration::from_secs(5);
/// HoldTimer until an OPEN has come (RFC 4271 §8.2.2 suggests 4 minutes).
pub(crate) const LARGE_HOLD: Duration = Duration::from_secs(240);
/// How long a connection waits for what becomes of the other one, at most.
pub(crate) const COLLISION: Duration = Duration::from_secs(5);
/// The same while our SYN is not answered, or we do not know yet that it is. An attempt given up before the answer is
/// none to the peer; what drops our SYNs is not to hold the peer's connections up.
pub(crate) const COLLISION_UNANSWERED: Duration = Duration::from_millis(200);
/// Wait after an error, doubled from one to the next.
pub(crate) const ERROR_WAIT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));
/// After this long without an error the wait begins again at its least.
pub(crate) const ERROR_FORGET: Duration = Duration::from_secs(300);

/// How long a peer is not judged for its silence while something of it waits to be read.
pub(crate) const UNREAD: Duration = Duration::from_millis(500);

/// The running timers.
#[derive(Debug, Default)]
pub(crate) struct Timers(BTreeMap<Timer, Instant>);

impl Timers {
    pub(crate) fn start(&mut self, timer: Timer, due: Instant) {
        self.0.insert(timer, due);
    }

    pub(crate) fn stop(&mut self, timer: Timer) {
        self.0.remove(&timer);
    }

    /// Lets a timer that runs not expire before a time.
    pub(crate) fn put_off(&mut self, timer: Timer, until: Instant) {
        if let Some(due) = self.0.get_mut(&timer) {
            *due = until.max(*due);
        }
    }

    pub(crate) fn runs(&self, timer: Timer) -> bool {
        self.0.contains_key(&timer)
    }

    /// Returns the timer that is due first.
    pub(crate) fn next(&self) -> Option<(Instant, Timer)> {
        self.0.iter().map(|(timer, due)| (*due, *timer)).min()
    }

    /// Stops one timer that is due, the earliest first.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Timer> {
        let (due, timer) = self.next()?;
        (due <= now).then(|| {
            self.stop(timer);
            timer
        })
    }
}

/// A small generator for jitter (SplitMix64), seeded by the caller.
#[derive(Debug)]
pub(crate) struct Jitter(pub(crate) u64);

impl Jitter {
    /// Draws a duration from zero up to `limit`.
    pub(crate) fn up_to(&mut self, limit: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        limit.mul_f64((mixed >> 11) as f64 / (1u64 << 53) as f64)
    }
}
