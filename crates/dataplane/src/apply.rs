//! One node's kernel, made to agree with what the datastore and BGP ask for.
//!
//! [`Dataplane`] is told what is wanted and what changed in the kernel, which costs nothing, and does all its work
//! in [`Dataplane::apply`], whose list of steps is the order between the kinds of objects. A step that fails does
//! not stop the others, and is tried again. Nothing is written before the datastore's content is known.

use crate::ipip::{IpipDevice, TunnelChoice, TunnelStatus};
use crate::links::{self, Links, WorkloadLinks};
use crate::mtu::{self, HostMtu};
use crate::netlink::{Address, Change, Error, Link, Netlink, set_patience};
use crate::routes::{self, Bgp, Routes, Wanted};
use crate::rules::{self, Driver, Family, Invalidate, Knowledge, Ruleset, Standing};
use crate::status::StatusFiles;
use crate::tunnel::{Heard, Tunnel};
use ipnet::Ipv4Net;
use model::desired::{Desired, Learned, PacketRules, Route};
use model::name::{IPIP_DEVICE, IfName};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long after a failure the next attempt is made, if nothing else calls for one.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// What the dataplane is given once.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which form `tunl0` shall have.
    pub tunnel: TunnelChoice,
    /// Where the file `mtu` is put for the CNI plugin; `/var/lib/calico` on a node.
    pub state_directory: PathBuf,
    /// Where the agent says which endpoints' routes and rules stand; `/var/run/calico/endpoint-status` on a node.
    pub status_directory: PathBuf,
    /// Size of each buffer in which the kernel's announcements wait, usually [`MONITOR_BUFFER`]; when one is full
    /// everything is listed again.
    ///
    /// [`MONITOR_BUFFER`]: crate::netlink::MONITOR_BUFFER
    pub monitor_buffer: usize,
    /// Who speaks BGP on this node.
    pub bgp: BgpDaemon,
}

/// Who speaks BGP on a node, and so owns its routes of protocol 12 (`bird`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BgpDaemon {
    /// The agent, which tells the dataplane what it learns.
    #[default]
    Agent,
    /// Another program, or none: whoever wrote those routes, they are left alone, and the tunnel follows them.
    Another,
}

/// A step that failed; the others were done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Failure {
    /// The kind of object.
    pub step: &'static str,
    /// What failed, with the object's name and the kernel's reason.
    pub message: String,
    /// Which workloads' interfaces, or their routes and rules, are not as they should be for it.
    pub affected: Affected,
}

/// The workloads' interfaces that a failure is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Affected {
    /// None of them.
    None,
    /// One; the name may be of a link that is no workload's.
    Link(IfName),
    /// All, or nobody can say which.
    All,
}

/// What an [`apply`](Dataplane::apply) did.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What failed, and is to be tried again.
    pub failures: Vec<Failure>,
    /// How much was written; 0 where everything was right already.
    pub writes: u64,
    /// When to apply again if nothing happens.
    pub next_due: Option<Instant>,
}

/// The node's kernel and what it should be like.
pub struct Dataplane {
    config: Config,
    netlink: Netlink,
    desired: Option<Arc<Desired>>,
    learned: Option<Arc<Learned>>,
    seen: Option<Seen>,
    workload_links: WorkloadLinks,
    tunnel: IpipDevice,
    host_mtu: HostMtu,
    rules: PacketRulesInUse,
    routes: Routes,
    statuses: StatusFiles,
    clocks: Clocks,
}

/// Links and addresses as last listed.
struct Seen {
    links: Links,
    addresses: Vec<Address>,
}

impl Dataplane {
    /// Prepares for the calling thread's network namespace; reads and writes nothing yet.
    pub fn new(config: Config, bpf_tunnel: Box<dyn Tunnel>) -> Result<Dataplane, Error> {
        Ok(Dataplane {
            netlink: Netlink::open()?,
            desired: None,
            learned: None,
            seen: None,
            workload_links: WorkloadLinks::default(),
            tunnel: IpipDevice::new(config.tunnel, bpf_tunnel),
            host_mtu: HostMtu::default(),
            rules: PacketRulesInUse::default(),
            routes: Routes::default(),
            statuses: StatusFiles::new(config.status_directory.clone()),
            clocks: Clocks::default(),
            config,
        })
    }

    /// Returns the address of the socket that makes the changes, for a [`Monitor`](crate::netlink::Monitor).
    pub fn netlink_port(&self) -> u32 {
        self.netlink.port()
    }

    /// Returns the tunnel's form, once there is one.
    pub fn tunnel(&self) -> Option<&TunnelStatus> {
        self.tunnel.status()
    }

    /// Takes what the datastore's content asks for.
    pub fn on_desired(&mut self, desired: Arc<Desired>) {
        self.desired = Some(desired);
    }

    /// Takes all that BGP taught.
    pub fn on_learned(&mut self, learned: Arc<Learned>) {
        self.learned = Some(learned);
    }

    /// Takes notice of a change in the kernel: what it touches is listed again before anything is written.
    pub fn on_kernel(&mut self, change: &Change) {
        match change {
            // the kernel drops the routes of a link that goes down or away without a word
            Change::Link | Change::Address => {
                self.seen = None;
                self.invalidate_routes();
            }
            Change::Route => self.invalidate_routes(),
            // forwarding and the tunnel's filters are looked at in every apply
            Change::Filter | Change::Parameter(None) => {}
            Change::Parameter(Some(link)) => self.workload_links.forget(*link),
            Change::Overrun => {
                self.seen = None;
                self.invalidate_routes();
                self.workload_links.invalidate();
            }
        }
    }

    /// What the paths carry hangs on routes: the kernel forgets it with the route that it learned it on.
    fn invalidate_routes(&mut self) {
        self.routes.invalidate();
        self.tunnel.invalidate_paths();
    }

    /// Returns a descriptor that becomes readable when [`Dataplane::serve_tunnel`] has work.
    pub fn tunnel_wakes(&self) -> Option<BorrowedFd<'_>> {
        self.tunnel.wakes()
    }

    /// Does what the tunnel leaves to its process; tells whether there is something to apply.
    pub fn serve_tunnel(&mut self) -> Heard {
        self.tunnel.serve()
    }

    /// Takes notice of something done to packet rules; tells whether an [`apply`](Dataplane::apply) is due for it.
    pub fn on_rules(&mut self, change: rules::Change) -> bool {
        self.rules.on_change(change)
    }

    /// Makes the kernel agree with what is wanted.
    pub fn apply(&mut self, now: Instant) -> Outcome {
        let Some(desired) = self.desired.take() else { return Outcome::default() };
        set_patience(desired.settings.netlink_timeout);
        let mut round = Round { writes_before: self.netlink.writes(), ..Round::default() };
        self.resync(&desired, now);
        if let Some(seen) = round.check("links", Affected::All, self.look()) {
            let routes = desired.routes(self.learned.as_deref().unwrap_or(&Learned::new()));
            self.steps(&desired, seen, &routes, now, &mut round);
        }
        let outcome = self.finish(&desired, round, now);
        self.desired = Some(desired);
        outcome
    }

    /// The order between kinds. Each step leaves working what the steps before it made.
    fn steps(
        &mut self,
        desired: &Desired,
        seen: Seen,
        routes: &BTreeMap<Ipv4Net, Route>,
        now: Instant,
        round: &mut Round,
    ) {
        let statuses = || desired.workloads.values().flat_map(|workload| &workload.statuses);
        // before anything else: what is said of an endpoint must hold
        round.count("endpoint status", Affected::None, self.statuses.withdraw(statuses()));
        // before anything is opened: what a pod may send, and what it sends to the outside must never leave with the
        // pod's own address
        round.count("packet rules", Affected::All, self.rules.apply(desired, &own_addresses(desired, &seen)));
        // where there never were rules, nothing is opened without them, and nothing taken away: forwarding may have been
        // on already
        let rules = self.rules.standing();
        if rules == Standing::Complete {
            round.count("forwarding", Affected::All, links::enable_forwarding());
        }
        // before routes: a pod that is reachable must also find its gateway
        let workloads = desired.workloads.iter().map(|(name, workload)| (name, workload.ipv6));
        let interfaces = self.workload_links.apply(&mut self.netlink, &seen.links, workloads, rules);
        round.add("workload interfaces", interfaces);
        // before routes: they lead into the tunnel, which must know by then which node is meant
        let writes = self.netlink.writes();
        let through_tunnel = round.check("retained routes", Affected::None, self.with_retained(desired, routes));
        let host_mtu = self.host_mtu.of(&seen.links, &desired.settings);
        self.tunnel.on_host_mtu(host_mtu);
        // without a look at the routes that it carries it stays as it is
        if let Some(through) = through_tunnel.as_deref() {
            let tunnel = self.tunnel.apply(&mut self.netlink, &seen.links, &seen.addresses, desired, through, now);
            round.check(IPIP_DEVICE, Affected::None, tunnel);
        }
        round.wake_at(self.tunnel.next_due());
        let unchanged = self.netlink.writes() == writes;
        let seen = if unchanged { Some(seen) } else { round.check("links", Affected::All, self.look()) };
        let Some(seen) = seen else { return };
        // last: routes carry traffic; new ones before old ones go
        if !desired.settings.route_sync_disabled {
            let pools: BTreeSet<Ipv4Net> = desired.pools.keys().copied().collect();
            let bgp = match (self.config.bgp, &self.learned) {
                (BgpDaemon::Another, _) => Bgp::Elsewhere,
                (BgpDaemon::Agent, Some(_)) => Bgp::Spoken,
                (BgpDaemon::Agent, None) => Bgp::Silent,
            };
            let unread = &desired.unread_workloads;
            let wanted = Wanted { routes, pools: &pools, bgp, unread, narrow: self.tunnel.narrow(), rules };
            let remaining = self.routes.apply(&mut self.netlink, &seen.links, wanted, now);
            round.add("routes", (0, remaining.failures));
            round.wake_at(remaining.next);
        }
        // last of all: the CNI plugin waits for it
        let stands = |name: &IfName| seen.links.named(name).is_some_and(Link::is_up) && !round.affects(name);
        let ready = desired.workloads.iter().filter(|(name, _)| stands(name)).flat_map(|(_, it)| &it.statuses);
        let published = self.statuses.publish(ready);
        round.count("endpoint status", Affected::None, published);
        // for pods to come
        if let Some(host) = host_mtu {
            let published = mtu::publish(&self.config.state_directory, desired.pods_mtu(host));
            round.count("mtu file", Affected::None, published.map(usize::from));
        }
        self.seen = Some(seen);
    }

    /// Adds, until BGP has spoken, what it taught an earlier process, or what another program's teaches: the tunnel must
    /// carry it.
    fn with_retained<'a>(
        &mut self,
        desired: &Desired,
        routes: &'a BTreeMap<Ipv4Net, Route>,
    ) -> Result<Cow<'a, BTreeMap<Ipv4Net, Route>>, Error> {
        if self.learned.is_some() {
            return Ok(Cow::Borrowed(routes));
        }
        let pools = desired.pools.keys().copied().collect();
        Ok(Cow::Owned(desired.routes(&routes::read_retained(&mut self.netlink, &pools)?)))
    }

    /// Forgets, where its time has come, what was known of a kind of objects.
    fn resync(&mut self, desired: &Desired, now: Instant) {
        let settings = &desired.settings;
        if self.clocks.interfaces.strikes(settings.interface_refresh, now) {
            self.seen = None;
            self.workload_links.invalidate();
            self.statuses.invalidate();
        }
        if self.clocks.routes.strikes(settings.route_refresh, now) {
            self.invalidate_routes();
        }
        if self.clocks.rules.strikes(settings.rules_refresh, now) {
            self.rules.invalidate(Invalidate::Rules);
        }
        if self.clocks.sets.strikes(settings.sets_refresh, now) {
            self.rules.invalidate(Invalidate::Sets);
        }
    }

    fn look(&mut self) -> Result<Seen, Error> {
        match self.seen.take() {
            Some(seen) => Ok(seen),
            None => Ok(Seen { links: Links::read(&mut self.netlink)?, addresses: self.netlink.addresses()? }),
        }
    }

    fn finish(&mut self, desired: &Desired, mut round: Round, now: Instant) -> Outcome {
        let settings = &desired.settings;
        round.wake_at(self.clocks.interfaces.next(settings.interface_refresh));
        round.wake_at(self.clocks.routes.next(settings.route_refresh));
        round.wake_at(self.clocks.rules.next(settings.rules_refresh));
        round.wake_at(self.clocks.sets.next(settings.sets_refresh));
        if !round.failures.is_empty() {
            round.wake_at(Some(now + RETRY));
        }
        let netlink_writes = self.netlink.writes() - round.writes_before;
        Outcome { failures: round.failures, writes: round.writes + netlink_writes, next_due: round.next_due }
    }
}

/// Reads what BGP taught an earlier process on this node, for a speaker that restarts gracefully.
pub fn read_retained(pools: &BTreeSet<Ipv4Net>) -> Result<Learned, Error> {
    routes::read_retained(&mut Netlink::open()?, pools)
}

/// The device on which kube-proxy keeps the addresses of services.
const SERVICES: &str = "kube-ipvs0";

/// The addresses that are this host's own: those of links that are no workload's. Of the tunnel, whose address is set
/// later in the same apply, the one that it shall have. 127.0.0.0 is local too, as the kernel's own routes say.
fn own_addresses(desired: &Desired, seen: &Seen) -> BTreeSet<IpAddr> {
    let counts = |address: &&Address| {
        !seen.links.is_workload(address.link)
            && seen
                .links
                .numbered(address.link)
                .is_none_or(|link| ![SERVICES, IPIP_DEVICE].contains(&link.name.0.as_str()))
    };
    let mut own: BTreeSet<IpAddr> = seen.addresses.iter().filter(counts).map(|address| address.net.addr()).collect();
    own.extend(desired.ipip.as_ref().and_then(|ipip| ipip.address).map(IpAddr::V4));
    if own.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)) {
        own.insert(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)));
    }
    own
}

/// What one apply has come to so far.
#[derive(Default)]
struct Round {
    failures: Vec<Failure>,
    writes_before: u64,
    writes: u64,
    next_due: Option<Instant>,
}

impl Round {
    fn check<T, E: std::error::Error>(
        &mut self,
        step: &'static str,
        affected: Affected,
        result: Result<T, E>,
    ) -> Option<T> {
        result.map_err(|error| self.failures.push(Failure { step, message: chain(&error), affected })).ok()
    }

    fn count<E: std::error::Error>(&mut self, step: &'static str, affected: Affected, result: Result<usize, E>) {
        self.writes += self.check(step, affected, result).unwrap_or_default() as u64;
    }

    fn add(&mut self, step: &'static str, (writes, failures): (usize, Vec<(Affected, String)>)) {
        self.writes += writes as u64;
        self.failures.extend(failures.into_iter().map(|(affected, message)| Failure { step, message, affected }));
    }

    /// Whether a failure is about this link.
    fn affects(&self, link: &IfName) -> bool {
        self.failures.iter().any(|failure| match &failure.affected {
            Affected::None => false,
            Affected::Link(name) => name == link,
            Affected::All => true,
        })
    }

    fn wake_at(&mut self, at: Option<Instant>) {
        self.next_due = match (self.next_due, at) {
            (Some(next), Some(at)) => Some(next.min(at)),
            (next, at) => next.or(at),
        };
    }
}

/// Writes an error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// The driver of packet rules, and what it last wrote.
#[derive(Default)]
struct PacketRulesInUse {
    driver: Option<(PacketRules, Box<dyn Driver>)>,
    written: Option<Ruleset>,
    /// Whether this process has ever written them, or found them right.
    have_stood: bool,
    /// Until then: whether those of an earlier process stand, as last looked at.
    inherited: Option<Standing>,
}

impl PacketRulesInUse {
    fn apply(&mut self, desired: &Desired, local: &BTreeSet<IpAddr>) -> Result<usize, rules::RulesError> {
        let kind = desired.settings.packet_rules;
        if self.driver.as_ref().is_none_or(|(in_use, _)| *in_use != kind) {
            self.written = None;
        }
        let driver = match &mut self.driver {
            Some((in_use, driver)) if *in_use == kind => driver,
            // a driver's first apply removes what the other left
            other => &mut other.insert((kind, rules::driver(kind))).1,
        };
        let ruleset = rules::compose(desired, Family::Ipv4, local);
        if self.written.as_ref() == Some(&ruleset) {
            return Ok(0);
        }
        self.written = None;
        // before the first write, which may stop half-way; what did not stand then does not count later
        if !self.have_stood && self.inherited != Some(Standing::Missing) {
            self.inherited = Some(rules::standing(&ruleset));
        }
        let applied = driver.apply(&ruleset)?;
        self.written = Some(ruleset);
        self.have_stood = true;
        Ok(applied.writes)
    }

    /// Whether rules stand: this process's, or those of one before it.
    fn standing(&self) -> Standing {
        if self.have_stood { Standing::Complete } else { self.inherited.unwrap_or(Standing::Missing) }
    }

    fn on_change(&mut self, change: rules::Change) -> bool {
        let knowledge = self.driver.as_mut().map(|(_, driver)| driver.on_change(change));
        let stale = knowledge == Some(Knowledge::Stale);
        if stale {
            self.written = None;
        }
        stale
    }

    fn invalidate(&mut self, what: Invalidate) {
        self.written = None;
        if let Some((_, driver)) = &mut self.driver {
            driver.invalidate(what);
        }
    }
}

/// When each kind of objects was last listed for no other reason than time.
#[derive(Default)]
struct Clocks {
    interfaces: Clock,
    routes: Clock,
    rules: Clock,
    sets: Clock,
}

#[derive(Default)]
struct Clock(Option<Instant>);

impl Clock {
    /// Tells whether the interval has passed, and if so starts it anew; an interval of zero never passes.
    fn strikes(&mut self, interval: Duration, now: Instant) -> bool {
        let last = *self.0.get_or_insert(now);
        let due = !interval.is_zero() && now >= last + interval;
        if due {
            self.0 = Some(now);
        }
        due
    }

    fn next(&self, interval: Duration) -> Option<Instant> {
        self.0.filter(|_| !interval.is_zero()).map(|last| last + interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_strike_once_an_interval() {
        let start = Instant::now();
        let minute = Duration::from_secs(60);
        let mut clock = Clock::default();
        assert!(!clock.strikes(minute, start), "the first look is not a resync");
        assert!(!clock.strikes(minute, start + minute / 2));
        assert!(clock.strikes(minute, start + minute));
        assert!(!clock.strikes(minute, start + minute));
        assert_eq!(clock.next(minute), Some(start + 2 * minute));
        assert!(!clock.strikes(Duration::ZERO, start + 100 * minute));
        assert_eq!(clock.next(Duration::ZERO), None);
    }

    #[test]
    fn a_failure_is_about_the_link_that_it_carries() {
        let (one, twelve) = (IfName::from("cali1"), IfName::from("cali12"));
        for (affected, expect) in [
            (Affected::None, (false, false)),
            (Affected::Link(twelve.clone()), (false, true)),
            (Affected::Link(IfName::from("eth0")), (false, false)),
            (Affected::All, (true, true)),
        ] {
            let mut round = Round::default();
            round.add("routes", (0, vec![(affected.clone(), "add route 172.16.1.1 dev cali12: refused".to_owned())]));
            assert_eq!((round.affects(&one), round.affects(&twelve)), expect, "{affected:?}");
        }
    }
}
