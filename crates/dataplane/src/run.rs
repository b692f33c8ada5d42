//! The dataplane's thread: everything that can wake it, and what it does then.

use crate::apply::{self, Config, Dataplane, Failure, Outcome};
use crate::bpf::BpfTunnel;
use crate::ipip::TunnelStatus;
use crate::mailbox::Mailbox;
use crate::netlink::{Cause, Change, Error, Monitor};
use crate::tunnel::Heard;
use model::desired::{Desired, Learned};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// How long changes in the kernel are gathered: another daemon's thousand routes are one look at the table.
const SETTLE: Duration = Duration::from_millis(50);
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
    Desired(Box<Desired>),
    Learned(Learned),
    Kernel(Change),
    Tunnel,
    Due,
    Stop,
}

/// Keeps the calling thread's network namespace as told by the mailbox, until told to stop.
///
/// Blocks its thread: give it one of its own, with the capabilities to write routes, links and packet rules.
/// `report` is called from the same thread after every apply, and at least every ten seconds.
pub fn run(config: Config, mailbox: Mailbox, mut report: impl FnMut(Status)) -> Result<(), Error> {
    let mut dataplane = Dataplane::new(config, Box::new(BpfTunnel::new()))?;
    let mut events = Events { monitor: Monitor::open(dataplane.netlink_port())?, mailbox };
    let mut schedule = Schedule::default();
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
                    schedule.at_most_in(SETTLE);
                }
                Event::Tunnel => match dataplane.serve_tunnel() {
                    Heard::NarrowPath => schedule.at_most_in(SETTLE),
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
        let mut sources = vec![
            PollFd::new(self.mailbox.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.monitor.as_fd(), PollFlags::POLLIN),
        ];
        sources.extend(tunnel.map(|tunnel| PollFd::new(tunnel, PollFlags::POLLIN)));
        match poll(&mut sources, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Cause::Socket(errno.into()).during("wait for changes")),
        }
        let tunnel = sources.get(2).is_some_and(|tunnel| tunnel.any() == Some(true));
        let letters = self.mailbox.take();
        let mut events = Vec::new();
        events.extend(letters.stop.then_some(Event::Stop));
        events.extend(letters.desired.map(Event::Desired));
        events.extend(letters.learned.map(Event::Learned));
        events.extend(self.monitor.read()?.into_iter().map(Event::Kernel));
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
