//! The dataplane's thread: everything that can wake it, and what it does then.

use crate::apply::{self, Config, Dataplane, Failure, Outcome};
use crate::bpf::BpfTunnel;
use crate::ipip::TunnelStatus;
use crate::mailbox::Mailbox;
use crate::netlink::{Cause, Change, Error, Monitor};
use crate::rules;
use crate::tunnel::Heard;
use model::desired::{Desired, Learned};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the thread is silent at most: who watches over it must tell sleep from a standstill.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// How the node's kernel stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether the kernel has been made to agree with the datastore's content at least once.
    pub in_sync: bool,
    /// What failed, and is tried again.
    pub failures: Vec<Failure>,
    /// The form of `tunl0`, once there is one.
    pub tunnel: Option<TunnelStatus>,
    /// How long the apply took that this is about; none where nothing was applied since the last report.
    pub applied_in: Option<Duration>,
}

/// Everything that can happen to the dataplane.
enum Event {
    Desired(Arc<Desired>),
    Learned(Arc<Learned>),
    Kernel(Change),
    Tunnel,
    Rules(rules::Change),
    Due,
    Stop,
}

/// Keeps the calling thread's network namespace as told by the mailbox, until told to stop.
///
/// Blocks its thread: give it one of its own, with the capabilities to write routes, links and packet rules.
/// `report` is called from the same thread after every apply, and at least every ten seconds.
pub fn run(config: Config, mailbox: Mailbox, mut report: impl FnMut(Status)) -> Result<(), Error> {
    let buffer = config.monitor_buffer;
    let mut dataplane = Dataplane::new(config, Box::new(BpfTunnel::new()))?;
    let monitor = Monitor::open(dataplane.netlink_port(), buffer)?;
    let mut events = Events { monitor, rules: listen_to_rules(buffer), mailbox };
    let mut schedule = Schedule::default();
    let mut pace = Pace::default();
    let mut log = Log::default();
    let mut status = Status::default();
    let (mut in_sync, mut reported) = (false, Instant::now());
    loop {
        let mut told = Told::Nothing;
        for event in events.wait(dataplane.tunnel_wakes(), schedule.next(), reported + HEARTBEAT)? {
            match event {
                Event::Desired(desired) => {
                    dataplane.on_desired(desired);
                    in_sync = true;
                    told = Told::ToApply;
                }
                Event::Learned(learned) => {
                    dataplane.on_learned(learned);
                    told = Told::ToApply;
                }
                Event::Kernel(change) => {
                    dataplane.on_kernel(&change);
                    schedule.at_most_in(pace.on_change(Instant::now()));
                }
                Event::Rules(change) => {
                    if dataplane.on_rules(change) {
                        schedule.at_most_in(pace.on_change(Instant::now()));
                    }
                }
                Event::Tunnel => match dataplane.serve_tunnel() {
                    Heard::NarrowPath => schedule.at_most_in(Pace::SHORTEST),
                    Heard::Deaf => schedule.at_most_in(apply::RETRY),
                    Heard::Nothing => {}
                },
                Event::Due => told = Told::ToApply,
                Event::Stop => return Ok(()),
            }
        }
        if told == Told::ToApply {
            let begun = Instant::now();
            let outcome = dataplane.apply(begun);
            schedule.replace(outcome.next_due);
            pace.on_applied(Instant::now(), begun.elapsed(), outcome.writes);
            log.note(&outcome);
            let (tunnel, applied_in) = (dataplane.tunnel().cloned(), in_sync.then(|| begun.elapsed()));
            status = Status { in_sync, failures: outcome.failures, tunnel, applied_in };
        }
        if told == Told::ToApply || reported.elapsed() >= HEARTBEAT {
            report(status.clone());
            status.applied_in = None;
            reported = Instant::now();
        }
    }
}

#[derive(PartialEq, Eq)]
enum Told {
    Nothing,
    ToApply,
}

/// Hears of packet rules, where the kernel has nftables; elsewhere they are looked at in intervals alone.
fn listen_to_rules(buffer: usize) -> Option<rules::Monitor> {
    let monitor = rules::Monitor::open(buffer);
    monitor.map_err(|error| tracing::info!(%error, "the kernel does not announce changes of packet rules")).ok()
}

/// How soon a change in the kernel is looked into.
///
/// Changes come in crowds: another daemon's thousand routes are one look at the table. Looking takes a fifth of the
/// time at most, however many come. And where somebody undoes at once what was repaired, both take their time.
#[derive(Default)]
struct Pace {
    /// How long the last look took.
    took: Duration,
    /// When something was last repaired that had changed in the kernel.
    repaired: Option<Instant>,
    /// Whether the next apply is due for a change in the kernel.
    called: bool,
}

impl Pace {
    const SHORTEST: Duration = Duration::from_millis(50);
    const IN_DISPUTE: Duration = Duration::from_millis(250);
    const LONGEST: Duration = Duration::from_millis(500);
    /// A repair that has held for so long is not disputed.
    const PEACE: Duration = Duration::from_secs(1);

    /// Returns how long to wait for more changes after one at `now`.
    fn on_change(&mut self, now: Instant) -> Duration {
        self.called = true;
        let disputed = self.repaired.is_some_and(|repaired| now.saturating_duration_since(repaired) < Self::PEACE);
        let shortest = if disputed { Self::IN_DISPUTE } else { Self::SHORTEST };
        (self.took * 4).clamp(shortest, Self::LONGEST)
    }

    fn on_applied(&mut self, now: Instant, took: Duration, writes: u64) {
        self.took = took;
        if std::mem::take(&mut self.called) && writes > 0 {
            self.repaired = Some(now);
        }
    }
}

/// When the next apply is due.
#[derive(Default)]
struct Schedule(Option<Instant>);

impl Schedule {
    fn next(&self) -> Option<Instant> {
        self.0
    }

    fn replace(&mut self, next: Option<Instant>) {
        self.0 = next;
    }

    fn at_most_in(&mut self, time: Duration) {
        let latest = Instant::now() + time;
        self.0 = Some(self.0.map_or(latest, |next| next.min(latest)));
    }
}

/// Where events come from.
struct Events {
    monitor: Monitor,
    rules: Option<rules::Monitor>,
    mailbox: Mailbox,
}

impl Events {
    /// Waits until something happens, `due` comes, or `latest`; returns all that happened, what was told first.
    fn wait(
        &mut self,
        tunnel: Option<BorrowedFd<'_>>,
        due: Option<Instant>,
        latest: Instant,
    ) -> Result<Vec<Event>, Error> {
        let end = due.map_or(latest, |due| due.min(latest));
        // rounded up, or the last millisecond would be spent awake
        let left = end.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let source = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut sources = vec![source(self.mailbox.as_fd()), source(self.monitor.as_fd())];
        sources.extend(self.rules.as_ref().map(|rules| source(rules.as_fd())));
        // the last one, if there is one
        sources.extend(tunnel.map(source));
        match poll(&mut sources, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Cause::Socket(errno.into()).during("wait for changes")),
        }
        let tunnel = tunnel.and_then(|_| sources.last()).is_some_and(|tunnel| tunnel.any() == Some(true));
        let letters = self.mailbox.take();
        let mut events = Vec::new();
        events.extend(letters.stop.then_some(Event::Stop));
        events.extend(letters.desired.map(Event::Desired));
        events.extend(letters.learned.map(Event::Learned));
        events.extend(self.monitor.read()?.into_iter().map(Event::Kernel));
        if let Some(rules) = &mut self.rules {
            let heard = rules.read().map_err(|error| Cause::Socket(error).during("hear of packet rules"))?;
            events.extend(heard.into_iter().map(Event::Rules));
        }
        events.extend(tunnel.then_some(Event::Tunnel));
        events.extend(due.filter(|due| *due <= Instant::now()).map(|_| Event::Due));
        Ok(events)
    }
}

/// Says each failure when it begins and when it ends, not at every attempt.
#[derive(Default)]
struct Log {
    failures: BTreeSet<Failure>,
}

impl Log {
    fn note(&mut self, outcome: &Outcome) {
        let failures: BTreeSet<Failure> = outcome.failures.iter().cloned().collect();
        for failure in failures.difference(&self.failures) {
            tracing::warn!(step = failure.step, error = failure.message, "kernel differs from what is wanted");
        }
        for failure in self.failures.difference(&failures) {
            tracing::info!(step = failure.step, error = failure.message, "failed before, done");
        }
        if outcome.writes > 0 {
            tracing::debug!(writes = outcome.writes, "kernel written");
        }
        self.failures = failures;
    }
}
