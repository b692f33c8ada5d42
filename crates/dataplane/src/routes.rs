//! The main table: routes that workloads, blocks and BGP ask for, and no others of ours.
//!
//! **Ours**, by looks alone: protocol 80 anywhere; whatever leaves by a workload's interface, except the kernel's
//! own; protocol 12 (`bird`) into one of the pools. What this process wrote itself it also remembers, for the
//! prefixes outside every pool that BGP may teach. Where another program speaks BGP, its protocol 12 is its own. All else is someone else's and never written over, unless it stands
//! where this process's own route stood: that is ours, changed by hand.
//!
//! Of a workload whose object cannot be read the routes stay as they are.
//!
//! Destination and metric identify a route to the kernel, so a route that Calico left with metric 1024 is one too
//! many, and goes when its successor with the wanted metric is in place. Four things wait:
//! - routes that BGP taught stay as they are until BGP has spoken in this process;
//! - a route on a workload's interface that nobody asks for has [`GRACE`]: the CNI plugin adds it before the
//!   endpoint reaches the agent;
//! - a route whose link or gateway is not there yet keeps its predecessor;
//! - a workload's route that is not there yet waits for packet rules, where none stand.

use crate::apply::Affected;
use crate::delta::{Delta, Pending, beside};
use crate::ipip;
use crate::links::Links;
use crate::netlink::{Cause, Error, Netlink, NextHop, RouteEntry, RouteKey, RouteKind};
use crate::podnet::GATEWAY;
use crate::rules::Standing;
use ipnet::{IpNet, Ipv4Net};
use model::desired::{Hop, Learned, Route, Target};
use model::name::{IPIP_DEVICE, IfName};
use model::{Mtu, RouteProtocol};
use nix::errno::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

/// How long a route that nobody asks for may stay on a workload's interface.
pub const GRACE: Duration = Duration::from_secs(10);

/// `kernel`: what comes with an address, and goes with it.
const KERNEL: RouteProtocol = RouteProtocol(2);

/// Whether BGP has spoken in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bgp {
    /// It is another program's: none of its routes is ours, wherever it leads.
    Elsewhere,
    /// It has: its routes that are not among the wanted are stale.
    Spoken,
    /// Not yet: its routes in the kernel are all that is known.
    Silent,
}

/// What the routes should be.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Routes by destination.
    pub routes: &'a BTreeMap<Ipv4Net, Route>,
    /// The IP pools, by which BGP's routes of an earlier process are recognised.
    pub pools: &'a BTreeSet<Ipv4Net>,
    /// Whether `routes` has what BGP teaches.
    pub bgp: Bgp,
    /// Workloads' interfaces whose routes stay, whatever they are.
    pub unread: &'a BTreeSet<IfName>,
    /// Nodes whose path is narrower than the tunnel's device: the MTU of routes through the tunnel to them.
    pub narrow: &'a BTreeMap<Ipv4Addr, Mtu>,
    /// Whether packet rules stand; while none do, a workload gets no route that it has not.
    pub rules: Standing,
}

/// What an [`apply`](Routes::apply) left to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    /// What failed, and why, with the workloads' interfaces whose routes it leaves undone.
    pub failures: Vec<(Affected, String)>,
    /// When the next grace period ends.
    pub next: Option<Instant>,
}

/// Metrics of a route between nodes: ours, and Calico's.
const NORMAL_METRICS: [u32; 2] = [0, 1024];

/// Reads what BGP taught an earlier process: its routes into the pools, with their next hops.
pub fn read_retained(netlink: &mut Netlink, pools: &BTreeSet<Ipv4Net>) -> Result<Learned, Error> {
    let hop = |route: &RouteEntry| match (route.key.prefix, route.next_hop) {
        (IpNet::V4(prefix), NextHop::Gateway { gateway: IpAddr::V4(gateway), .. })
            if route.protocol == RouteProtocol::BIRD && is_inside(prefix, pools) =>
        {
            let metric = Some(route.key.metric).filter(|metric| !NORMAL_METRICS.contains(metric));
            Some((prefix, Hop { gateway, metric }))
        }
        _ => None,
    };
    Ok(netlink.routes()?.iter().filter_map(hop).collect())
}

/// Keeps the main table as wanted.
#[derive(Debug, Default)]
pub struct Routes {
    /// The table as last listed, and written since; `None` if it has to be listed again.
    table: Option<BTreeMap<RouteKey, Vec<RouteEntry>>>,
    delta: Delta<RouteKey, RouteEntry>,
    /// What this process wrote, or found as it would have written it.
    written: BTreeMap<RouteKey, RouteEntry>,
    /// Others' routes that stood beside ours with the same key.
    beside: BTreeMap<RouteKey, RouteEntry>,
    /// Every pool seen so far: routes into a deleted one are still ours.
    pools: BTreeSet<Ipv4Net>,
    /// Routes that nobody asks for, and since when they are known.
    unasked: BTreeMap<RouteKey, Instant>,
    /// How next hops are reached, as far as asked since the last listing.
    reached: BTreeMap<Ipv4Addr, NextHop>,
}

impl Routes {
    /// Forgets what the kernel had, so that the next [`apply`](Routes::apply) lists it again.
    pub fn invalidate(&mut self) {
        self.table = None;
        self.reached.clear();
    }

    /// Writes the difference: new and changed routes first, so that no destination is without one between.
    pub fn apply(&mut self, netlink: &mut Netlink, links: &Links, wanted: Wanted<'_>, now: Instant) -> Remaining {
        self.pools.extend(wanted.pools);
        // someone may have added a route between our listing and our writing: list again, once
        for attempt in [Attempt::First, Attempt::Last] {
            let mut remaining = Remaining::default();
            match self.attempt(netlink, links, wanted, now, &mut remaining) {
                Ok(Surprise::RouteInTheWay) if attempt == Attempt::First => self.invalidate(),
                Ok(Surprise::None) => return remaining,
                Ok(Surprise::Refusal | Surprise::RouteInTheWay) => {
                    self.invalidate();
                    return remaining;
                }
                Err(error) => {
                    self.invalidate();
                    remaining.failures.push((Affected::All, error.to_string()));
                    return remaining;
                }
            }
        }
        Remaining::default()
    }

    fn attempt(
        &mut self,
        netlink: &mut Netlink,
        links: &Links,
        wanted: Wanted<'_>,
        now: Instant,
        remaining: &mut Remaining,
    ) -> Result<Surprise, Error> {
        if self.table.is_none() {
            let mut table: BTreeMap<RouteKey, Vec<RouteEntry>> = BTreeMap::new();
            for route in netlink.routes()? {
                table.entry(route.key).or_default().push(route);
            }
            self.table = Some(table);
        }
        let (desired, waiting) = self.resolve(netlink, links, wanted, remaining);
        self.delta.set_desired(desired);
        let mut others = self.sort_out(links, wanted.bgp);
        others.doubled.retain(|route| !waiting.contains(&route.key.prefix));
        let surprise = self.write(netlink, links, &others.foreign, wanted.bgp, remaining)?;
        let spare = self.spare(links, wanted, &waiting, now, remaining).into_iter().chain(others.doubled).collect();
        let surprise = surprise.max(self.sweep(netlink, links, spare, remaining)?);
        self.remember();
        Ok(surprise)
    }

    /// Turns what is wanted into routes as the kernel lists them; returns also the destinations that have to wait.
    fn resolve(
        &mut self,
        netlink: &mut Netlink,
        links: &Links,
        wanted: Wanted<'_>,
        remaining: &mut Remaining,
    ) -> (BTreeMap<RouteKey, RouteEntry>, BTreeSet<IpNet>) {
        // in the order of their keys: the map is built from them at once, not key by key
        let (mut desired, mut waiting) = (Vec::with_capacity(wanted.routes.len() + 1), BTreeSet::new());
        for (prefix, route) in wanted.routes {
            let prefix = IpNet::V4(*prefix);
            let unicast = |next_hop| (RouteKind::Unicast, next_hop);
            let resolved = match &route.target {
                Target::Blackhole => Ok((RouteKind::Blackhole, NextHop::None)),
                Target::Link(name) => match links.named(name) {
                    Some(link) if link.is_up() => Ok(unicast(NextHop::Link(link.index))),
                    Some(_) => continue,
                    None => Err(None),
                },
                Target::Onlink(gateway, name) => match links.named(name) {
                    Some(link) if link.admin_up => {
                        Ok(unicast(NextHop::Gateway { gateway: (*gateway).into(), link: link.index, onlink: true }))
                    }
                    Some(_) | None => Err(None),
                },
                Target::Via(gateway) => self.reach(netlink, links, *gateway).map(unicast).map_err(Some),
            };
            match resolved {
                Ok((kind, next_hop)) => {
                    let key = RouteKey { prefix, metric: route.metric };
                    let protocol = route.protocol;
                    let mtu = ipip::tunnel_peer(&route.target).and_then(|node| wanted.narrow.get(&node).copied());
                    let entry = RouteEntry { key, protocol, kind, next_hop, source: None, mtu };
                    let opens = wanted.rules == Standing::Missing && matches!(route.target, Target::Link(_));
                    if opens && !self.is_listed(&entry) {
                        waiting.insert(prefix);
                    } else {
                        desired.push((key, entry));
                    }
                }
                Err(complaint) => {
                    waiting.insert(prefix);
                    let told = complaint.map(|complaint| format!("add route {prefix}: {complaint}"));
                    remaining.failures.extend(told.map(|told| (Affected::None, told)));
                }
            }
        }
        match self.route_to_pod_gateway(links) {
            Some(route) => desired.push((route.key, route)),
            // the loopback may be what could not be read
            None if !links.are_complete() => drop(waiting.insert(IpNet::from(IpAddr::V4(GATEWAY)))),
            None => {}
        }
        (desired.into_iter().collect(), waiting)
    }

    /// Tells whether the kernel has just this route.
    fn is_listed(&self, route: &RouteEntry) -> bool {
        self.table.as_ref().and_then(|table| table.get(&route.key)).is_some_and(|listed| listed.contains(route))
    }

    /// Finds the gateway and link by which the kernel reaches a next hop, itself if it is on a link.
    fn reach(&mut self, netlink: &mut Netlink, links: &Links, address: Ipv4Addr) -> Result<NextHop, String> {
        let next_hop = match self.reached.get(&address) {
            Some(next_hop) => *next_hop,
            None => {
                let next_hop = netlink.reach(address).map_err(|error| error.to_string())?;
                self.reached.insert(address, next_hop);
                next_hop
            }
        };
        let tunnel = links.named(&IfName::from(IPIP_DEVICE)).map(|link| link.index);
        match next_hop {
            NextHop::Gateway { link, .. } | NextHop::Link(link) if Some(link) == tunnel => {
                Err(format!("next hop {address} lies behind {IPIP_DEVICE}"))
            }
            NextHop::Gateway { gateway, link, .. } => Ok(NextHop::Gateway { gateway, link, onlink: false }),
            NextHop::Link(link) => Ok(NextHop::Gateway { gateway: address.into(), link, onlink: false }),
            NextHop::None | NextHop::Other => Err(format!("next hop {address} is not reachable")),
        }
    }

    /// Routes the pods' gateway to the loopback where no one else's route covers it.
    ///
    /// The kernel answers ARP for an address by proxy only if it has some unicast route to it.
    fn route_to_pod_gateway(&self, links: &Links) -> Option<RouteEntry> {
        let loopback = links.named(&IfName::from("lo")).filter(|link| link.admin_up)?;
        let own = RouteEntry::link(IpNet::from(IpAddr::V4(GATEWAY)), loopback.index, RouteProtocol::FELIX);
        let mut others = self.table.iter().flatten().flat_map(|(_, routes)| routes).filter(|route| **route != own);
        let covered =
            others.any(|route| route.kind == RouteKind::Unicast && route.key.prefix.contains(&IpAddr::V4(GATEWAY)));
        (!covered).then_some(own)
    }

    /// Tells our routes from others' and takes them as the actual ones.
    fn sort_out(&mut self, links: &Links, bgp: Bgp) -> Others {
        let mut ours: Vec<(RouteKey, RouteEntry)> = Vec::new();
        let mut others = Others::default();
        for route in self.table.iter().flatten().flat_map(|(_, routes)| routes) {
            if !self.is_ours(route, links, bgp) {
                others.foreign.insert(route.key, route.clone());
            } else if let Some((_, first)) = ours.last_mut().filter(|(key, _)| *key == route.key) {
                // a replacement takes the place of the first, so that is the one to keep if none is right
                let keep_first = self.delta.desired().get(&route.key) != Some(route);
                let doubled = if keep_first { route.clone() } else { std::mem::replace(first, route.clone()) };
                others.doubled.push(doubled);
            } else {
                ours.push((route.key, route.clone()));
            }
        }
        let ours: BTreeMap<RouteKey, RouteEntry> = ours.into_iter().collect();
        let beside = others.foreign.iter().filter(|(key, _)| ours.contains_key(key));
        self.beside.extend(beside.map(|(key, route)| (*key, route.clone())));
        self.beside.retain(|key, _| others.foreign.contains_key(key));
        self.delta.set_actual(ours);
        others
    }

    fn is_ours(&self, route: &RouteEntry, links: &Links, bgp: Bgp) -> bool {
        match route.protocol {
            KERNEL => false,
            RouteProtocol::BIRD if bgp == Bgp::Elsewhere => false,
            RouteProtocol::FELIX => true,
            _ if route.next_hop.link().is_some_and(|link| links.is_workload(link)) => true,
            _ if self.written.get(&route.key) == Some(route) => true,
            RouteProtocol::BIRD => {
                let IpNet::V4(prefix) = route.key.prefix else { return false };
                is_inside(prefix, &self.pools) || self.delta.desired().contains_key(&route.key)
            }
            _ => false,
        }
    }

    /// Tells whether a route that is not ours by its looks took the place of one that this process wrote.
    fn is_changed_by_hand(&self, other: &RouteEntry) -> bool {
        self.written.contains_key(&other.key)
            && !self.delta.actual().contains_key(&other.key)
            && self.beside.get(&other.key) != Some(other)
    }

    fn write(
        &mut self,
        netlink: &mut Netlink,
        links: &Links,
        foreign: &BTreeMap<RouteKey, RouteEntry>,
        bgp: Bgp,
        remaining: &mut Remaining,
    ) -> Result<Surprise, Error> {
        let is_daemons = |other: &RouteEntry| bgp == Bgp::Elsewhere && other.protocol == RouteProtocol::BIRD;
        let in_the_way = |route: &RouteEntry, other: &RouteEntry| {
            let told = format!("add route {}: another's is in the way: {}", words(route, links), words(other, links));
            (affected(route, links), told)
        };
        let (mut routes, mut requests) = (Vec::new(), Vec::new());
        for change in self.delta.pending() {
            let (route, request) = match change {
                Pending::Create(_, route) => (route, route.add_request()),
                Pending::Update(_, route) => (route, route.replace_request()),
                Pending::Delete(..) => continue,
            };
            let request = match foreign.get(&route.key) {
                None => request,
                // another's BGP daemon, too, drops what no more specific route wants
                Some(other) if is_daemons(other) && other.does_as(route) => continue,
                Some(other) if is_daemons(other) => {
                    remaining.failures.push(in_the_way(route, other));
                    continue;
                }
                Some(other) if self.is_changed_by_hand(other) => route.replace_request(),
                Some(other) => {
                    remaining.failures.push(in_the_way(route, other));
                    continue;
                }
            };
            routes.push(route.clone());
            requests.push(request);
        }
        let mut surprise = Surprise::None;
        for (route, outcome) in send(netlink, routes, requests)? {
            match outcome {
                Ok(()) => {
                    self.delta.wrote(&route.key);
                    self.table.get_or_insert_default().insert(route.key, vec![route]);
                }
                Err(cause) => {
                    let in_the_way = cause.errno() == Some(Errno::EEXIST);
                    surprise = surprise.max(if in_the_way { Surprise::RouteInTheWay } else { Surprise::Refusal });
                    let error = cause.during(format!("add route {}", words(&route, links)));
                    remaining.failures.push((affected(&route, links), error.to_string()));
                }
            }
        }
        Ok(surprise)
    }

    /// Chooses, of our routes that nobody wants, those that can go.
    fn spare(
        &mut self,
        links: &Links,
        wanted: Wanted<'_>,
        waiting: &BTreeSet<IpNet>,
        now: Instant,
        remaining: &mut Remaining,
    ) -> Vec<RouteEntry> {
        let (mut spare, mut unasked) = (Vec::new(), BTreeMap::new());
        for change in self.delta.pending() {
            let Pending::Delete(key, route) = change else { continue };
            let retained = wanted.bgp != Bgp::Spoken && route.protocol == RouteProtocol::BIRD;
            let link = route.next_hop.link().and_then(|link| links.numbered(link));
            let unread = link.is_some_and(|link| wanted.unread.contains(&link.name));
            if waiting.contains(&key.prefix) || retained || unread {
                continue;
            }
            let understood = match self.wanted_metric(key.prefix) {
                // of another metric than wanted: it carries traffic until the wanted one does
                Some(metric) if !self.delta.is_in_place(&RouteKey { prefix: key.prefix, metric }) => continue,
                Some(_) => true,
                None => self.written.get(key) == Some(route),
            };
            if !understood && route.next_hop.link().is_some_and(|link| links.is_workload(link)) {
                let since = *self.unasked.get(key).unwrap_or(&now);
                unasked.insert(*key, since);
                let end = since + GRACE;
                if now < end {
                    remaining.next = Some(remaining.next.map_or(end, |next| next.min(end)));
                    continue;
                }
            }
            spare.push(route.clone());
        }
        self.unasked = unasked;
        spare
    }

    /// The metric with which a prefix is wanted.
    fn wanted_metric(&self, prefix: IpNet) -> Option<u32> {
        let every = |metric| RouteKey { prefix, metric };
        self.delta.desired().range(every(0)..=every(u32::MAX)).next_back().map(|(key, _)| key.metric)
    }

    fn sweep(
        &mut self,
        netlink: &mut Netlink,
        links: &Links,
        spare: Vec<RouteEntry>,
        remaining: &mut Remaining,
    ) -> Result<Surprise, Error> {
        let requests = spare.iter().map(RouteEntry::delete_request).collect();
        let mut surprise = Surprise::None;
        for (route, outcome) in send(netlink, spare, requests)? {
            match outcome {
                Err(cause) if cause.errno() != Some(Errno::ESRCH) => {
                    surprise = Surprise::Refusal;
                    let error = cause.during(format!("delete route {}", words(&route, links)));
                    remaining.failures.push((affected(&route, links), error.to_string()));
                }
                Ok(()) | Err(_) => {
                    if self.delta.actual().get(&route.key) == Some(&route) {
                        self.delta.deleted(&route.key);
                        self.written.remove(&route.key);
                    }
                    if let Some(same_key) = self.table.get_or_insert_default().get_mut(&route.key) {
                        same_key.retain(|other| *other != route);
                    }
                }
            }
        }
        Ok(surprise)
    }

    /// Notes what is in place as this process's own, so that it is recognised when it is no longer wanted.
    fn remember(&mut self) {
        let (desired, actual) = (self.delta.desired(), self.delta.actual());
        let known = beside(&self.written, desired).zip(beside(&self.written, actual));
        let gone = known.filter(|((_, _, desired), (_, _, actual))| desired.is_none() && actual.is_none());
        let gone: Vec<RouteKey> = gone.map(|((key, ..), _)| *key).collect();
        let unknown = beside(desired, &self.written).filter(|(_, route, written)| *written != Some(*route));
        let in_place = unknown.filter(|(key, ..)| self.delta.is_in_place(key));
        let written: Vec<(RouteKey, RouteEntry)> = in_place.map(|(key, route, _)| (*key, route.clone())).collect();
        for key in &gone {
            self.written.remove(key);
        }
        self.written.extend(written);
    }
}

/// Routes that something was asked about, each with the kernel's answer.
type Answered = Vec<(RouteEntry, Result<(), Cause>)>;

/// Sends one request for each route.
fn send(
    netlink: &mut Netlink,
    routes: Vec<RouteEntry>,
    requests: Vec<(netlink_packet_route::RouteNetlinkMessage, u16)>,
) -> Result<Answered, Error> {
    let refused = netlink.changes(requests).map_err(|cause| cause.during("write routes"))?;
    let mut refused: BTreeMap<usize, Cause> = refused.into_iter().collect();
    let outcome = |position| refused.remove(&position).map_or(Ok(()), Err);
    let outcomes: Vec<_> = (0..routes.len()).map(outcome).collect();
    Ok(routes.into_iter().zip(outcomes).collect())
}

/// Tells whether the kernel made the route itself, for an address.
pub(crate) fn is_from_kernel(route: &RouteEntry) -> bool {
    route.protocol == KERNEL
}

/// The workload's interface that a route leaves by.
fn affected(route: &RouteEntry, links: &Links) -> Affected {
    match route.next_hop.link().and_then(|link| links.numbered(link)) {
        Some(link) => Affected::Link(link.name.clone()),
        None => Affected::None,
    }
}

fn words(route: &RouteEntry, links: &Links) -> String {
    route.describe(|index| links.name_of(index))
}

/// Tells whether a prefix lies in one of the pools.
pub(crate) fn is_inside(prefix: Ipv4Net, pools: &BTreeSet<Ipv4Net>) -> bool {
    pools.iter().any(|pool| pool.contains(&prefix))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    First,
    Last,
}

/// What a write met that the listing did not show, worse ones last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Surprise {
    None,
    Refusal,
    RouteInTheWay,
}

/// What the table has beside our routes, one of each key.
#[derive(Default)]
struct Others {
    /// Someone else's.
    foreign: BTreeMap<RouteKey, RouteEntry>,
    /// Ours too, but one too many of their key.
    doubled: Vec<RouteEntry>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_cannot_be_listed_is_a_failure_of_every_link() {
        let (mut netlink, kernel) = crate::netlink::with_kernel(0);
        // the answer to the listing, the request after the one with number 0: EPERM
        crate::netlink::answer_refused(&kernel, 1, libc::EPERM);
        let nothing = BTreeMap::new();
        let wanted = Wanted {
            routes: &nothing,
            pools: &BTreeSet::new(),
            bgp: Bgp::Spoken,
            unread: &BTreeSet::new(),
            narrow: &BTreeMap::new(),
            rules: Standing::Complete,
        };
        let remaining = Routes::default().apply(&mut netlink, &Links::default(), wanted, Instant::now());
        let told = "list routes of table main: Operation not permitted (os error 1)".to_owned();
        assert_eq!(remaining.failures, [(Affected::All, told)]);
    }
}
