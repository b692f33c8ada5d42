//! A peer: its session, its two RIBs, and what its messages do to them.

use super::{Event, Retention};
use crate::config::Config;
use crate::filter::{self, Imported, Route};
use crate::fsm::State;
use crate::rib::{AdjRibIn, AdjRibOut, Best, Candidate, DEFAULT_LOCAL_PREF, Flushed, LocRib, Source, Target, export};
use crate::session::{Local, Loss, Negotiated, Session, Signal};
use crate::status::{PeerStatus, Trouble};
use crate::timer::Timer;
use crate::wire::attribute::Attributes;
use crate::wire::capability::{Forwarding, Restarting};
use crate::wire::nlri::Family;
use crate::wire::update::{MpReach, Reachability, Update, UpdateError};
use crate::wire::{MAX_MESSAGE, PeerType};
use ipnet::{IpNet, Ipv4Net};
use model::filter::{Rule, Verdict};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

/// How far a session's first UPDATEs have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Initial {
    /// Nothing has been sent.
    Due,
    /// The routes have, End-of-RIB has not.
    Announced,
    /// All of it has.
    Ended,
}

/// A configured peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) session: Session,
    address: SocketAddr,
    peer_type: PeerType,
    adj_in: AdjRibIn,
    /// Until when what is stale may be kept while the peer is away.
    kept_until: Option<Instant>,
    /// Who its routes come from; none before the first session.
    source: Option<Arc<Source>>,
    /// The Established session and what went out over it.
    up: Option<Up>,
    state: State,
    since: Instant,
}

#[derive(Debug)]
struct Up {
    negotiated: Negotiated,
    adj_out: AdjRibOut,
    initial: Initial,
    refresh: bool,
}

/// What a peer's messages changed, for the speaker to act on.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Prefixes to decide anew, in any order and as often as they were touched.
    pub(super) prefixes: Vec<Ipv4Net>,
    /// For the log.
    pub(super) events: Vec<Event>,
    /// What peers are told of those prefixes may have changed although the best routes did not.
    pub(super) announce_anew: bool,
}

/// What a peer is told about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) config: &'a Config,
    /// Our own prefixes.
    pub(super) own: &'a BTreeSet<Ipv4Net>,
    pub(super) loc_rib: &'a LocRib,
}

impl Peer {
    pub(super) fn new(address: SocketAddr, config: &Config, restarting: Restarting, now: Instant) -> Peer {
        let peer = config.peers[&address].clone();
        let peer_type = config.peer_type(&peer);
        let local = Local {
            asn: config.local_as(&peer),
            router_id: config.router_id,
            restart_time: peer.restart_time.unwrap_or(config.restart_time),
            restarting,
            cluster_id: config.cluster_id,
        };
        Peer {
            session: Session::new(address, peer, peer_type, local),
            address,
            peer_type,
            adj_in: AdjRibIn::default(),
            kept_until: None,
            source: None,
            up: None,
            state: State::Idle,
            since: now,
        }
    }

    pub(super) fn status(&self) -> PeerStatus {
        PeerStatus {
            peer: self.address,
            kind: self.session.config.kind,
            remote_as: self.session.config.remote_as,
            local_as: self.session.local.asn,
            passive: self.session.config.passive,
            state: self.state,
            since: self.since,
            received: self.adj_in.len(),
            announced: self.up.as_ref().map_or(0, |up| up.adj_out.len()),
            trouble: self.session.trouble.clone(),
        }
    }

    pub(super) fn is_external(&self) -> bool {
        self.peer_type == PeerType::External
    }

    /// Makes this peer's route a candidate for a prefix, as its import filters leave it.
    pub(super) fn candidate(&self, prefix: &Ipv4Net, interfaces: &BTreeMap<Ipv4Net, String>) -> Option<Candidate> {
        let taught = self.adj_in.get(prefix)?;
        let route = filter::taught(*prefix, taught, self.peer_type, interfaces);
        let attributes = match filter::import(&self.session.config.import, &route) {
            Imported::Refused => return None,
            Imported::Unchanged => Arc::clone(taught),
            Imported::Changed(attributes) => Arc::new(attributes),
        };
        Some(Candidate { attributes, source: Arc::clone(self.source.as_ref()?) })
    }

    /// The prefixes that the peer has taught.
    pub(super) fn taught(&self) -> impl Iterator<Item = Ipv4Net> {
        self.adj_in.prefixes()
    }

    /// Forgets all of the peer's routes.
    pub(super) fn clear(&mut self) -> Vec<Ipv4Net> {
        self.adj_in.clear()
    }

    /// A timer of graceful restart ran out: what is stale goes.
    pub(super) fn give_up_stale(&mut self) -> Vec<Ipv4Net> {
        self.adj_in.sweep()
    }

    /// Acts on everything the session has to say.
    pub(super) fn attend(&mut self, retention: &mut Option<Retention>, now: Instant, changes: &mut Changes) {
        while let Some(signal) = self.session.poll_signal() {
            match signal {
                Signal::Up(negotiated) => self.came_up(negotiated, retention, now, changes),
                Signal::Down(loss) => self.went_down(loss, now, changes),
                Signal::Update(Ok(update)) => self.update(update, retention, changes),
                Signal::Update(Err(error)) => {
                    if let UpdateError::TreatAsWithdraw { routes, .. } = &error {
                        for prefix in routes {
                            self.withdraw(*prefix, changes);
                        }
                    }
                    self.warn(error.to_string(), changes);
                }
                Signal::Refresh(refresh) => {
                    if let Some(up) = &mut self.up {
                        up.refresh |= refresh.family == Family::IPV4_UNICAST && refresh.subtype == 0;
                    }
                }
            }
        }
        let state = self.session.state();
        if state != self.state {
            self.state = state;
            self.since = now;
            let reason = self.session.trouble.as_ref().map(Trouble::to_string);
            changes.events.push(Event::PeerState { peer: self.address, state, reason });
        }
    }

    fn warn(&self, text: String, changes: &mut Changes) {
        changes.events.push(Event::Warning { peer: self.address, text });
    }

    fn came_up(
        &mut self,
        negotiated: Negotiated,
        retention: &mut Option<Retention>,
        now: Instant,
        changes: &mut Changes,
    ) {
        self.session.stop_timer(Timer::Restart);
        if self.adj_in.has_stale() {
            // RFC 4724 §4.2: a peer that lost its forwarding state must not be sent packets by old routes
            if negotiated.forwarding() == Some(Forwarding::Preserved) {
                self.session.start_timer(Timer::Stale, now + self.session.local.restart_time);
            } else {
                changes.prefixes.extend(self.adj_in.sweep());
            }
        }
        if let Some(retention) = retention {
            let restarting = negotiated.graceful_restart.as_ref().map(|restart| restart.restarting);
            if restarting == Some(Restarting::Yes) {
                retention.restarts_too(self.address);
            }
            if !negotiated.ipv4_unicast {
                changes.prefixes.extend(retention.heard(self.address));
            }
        }
        self.source = Some(Arc::new(Source {
            peer: self.address,
            identifier: negotiated.identifier,
            peer_type: self.peer_type,
            client: self.session.config.reflector_client,
        }));
        self.up = Some(Up { negotiated, adj_out: AdjRibOut::default(), initial: Initial::Due, refresh: false });
    }

    fn went_down(&mut self, loss: Loss, now: Instant, changes: &mut Changes) {
        let Some(Up { negotiated, .. }) = self.up.take() else { return };
        self.session.stop_timer(Timer::Stale);
        let keeps = loss != Loss::Ended && negotiated.forwarding().is_some();
        match negotiated.graceful_restart.filter(|_| keeps) {
            Some(restart) => {
                // RFC 4724 §4.2: a peer that keeps restarting does not keep routes for ever, nor one whose
                // connections keep ending at once
                if loss == Loss::Interrupted || self.kept_until.is_some_and(|until| until <= now) {
                    changes.prefixes.extend(self.adj_in.sweep());
                }
                let earlier = self.kept_until.filter(|_| self.adj_in.has_stale());
                let until = earlier.unwrap_or(now + restart.time);
                self.kept_until = Some(until);
                self.adj_in.mark_stale();
                self.session.start_timer(Timer::Restart, until);
            }
            None => changes.prefixes.extend(self.adj_in.clear()),
        }
    }

    fn update(&mut self, update: Update, retention: &mut Option<Retention>, changes: &mut Changes) {
        if update.is_end_of_rib() {
            self.session.stop_timer(Timer::Stale);
            changes.prefixes.extend(self.adj_in.sweep());
            if let Some(retention) = retention {
                changes.prefixes.extend(retention.heard(self.address));
            }
            return;
        }
        for fault in &update.discarded {
            self.warn(format!("attribute dropped: {fault}"), changes);
        }
        for prefix in &update.withdrawn {
            self.withdraw((*prefix).into(), changes);
        }
        if let Some(Reachability::Ipv4Unicast(prefixes)) = &update.unreach {
            for prefix in prefixes {
                self.withdraw((*prefix).into(), changes);
            }
        }
        let Some(attributes) = update.attributes else { return };
        if let Some(MpReach::Ipv4Unicast { next_hop, prefixes }) = update.reach {
            self.announce(Attributes { next_hop, ..attributes.clone() }, &prefixes, changes);
        }
        self.announce(attributes, &update.announced, changes);
    }

    fn withdraw(&mut self, prefix: IpNet, changes: &mut Changes) {
        if let IpNet::V4(prefix) = prefix {
            self.adj_in.withdraw(&prefix);
            changes.prefixes.push(prefix);
        }
    }

    /// Takes announced routes; unusable ones replace what the peer said before all the same.
    fn announce(&mut self, attributes: Attributes, prefixes: &[Ipv4Net], changes: &mut Changes) {
        if prefixes.is_empty() {
            return;
        }
        let next_hop = attributes.next_hop;
        let unusable = if self.loops(&attributes) {
            true // every route that comes back to us does; nothing to tell anyone
        } else if let Some(reason) = self.invalid_next_hop(next_hop) {
            self.warn(format!("{} routes via {next_hop} left out: {reason}", prefixes.len()), changes);
            true
        } else {
            false
        };
        let attributes = Arc::new(attributes);
        for prefix in prefixes {
            if unusable {
                self.adj_in.withdraw(prefix);
            } else {
                self.adj_in.announce(*prefix, Arc::clone(&attributes));
            }
            changes.prefixes.push(*prefix);
        }
    }

    /// Whether a route has been here before (RFC 4271 §9.1.2, RFC 4456 §8).
    fn loops(&self, attributes: &Attributes) -> bool {
        let local = &self.session.local;
        attributes.as_path.count(local.asn) > self.session.config.allowed_local_as as usize
            || attributes.originator_id == Some(local.router_id)
            || local.cluster_id.is_some_and(|cluster| attributes.cluster_list.contains(&cluster))
    }

    /// Says why packets cannot be sent to a next hop (RFC 4271 §§5.1.3, 6.3).
    fn invalid_next_hop(&self, next_hop: Ipv4Addr) -> Option<&'static str> {
        if next_hop == self.session.local.router_id || Some(next_hop) == self.local_address() {
            Some("the next hop is this node")
        } else if next_hop.is_unspecified()
            || next_hop.is_loopback()
            || next_hop.is_multicast()
            || next_hop.is_broadcast()
        {
            Some("the next hop is no unicast address")
        } else {
            None
        }
    }

    fn local_address(&self) -> Option<Ipv4Addr> {
        match self.up.as_ref()?.negotiated.local_address? {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }

    /// Lists the UPDATEs that bring the peer up to date with the Loc-RIB; `changed` are the prefixes decided
    /// anew. Those that no message can hold are told to `events`.
    pub(super) fn updates(
        &mut self,
        known: Known<'_>,
        changed: &[Ipv4Net],
        end_of_rib: EndOfRib,
        events: &mut VecDeque<Event>,
    ) -> Vec<Update> {
        let local = self.session.local;
        let local_address = self.local_address().unwrap_or(local.router_id);
        let Some(up) = self.up.as_mut().filter(|up| up.negotiated.ipv4_unicast) else { return Vec::new() };
        let target = Target {
            peer: self.address,
            peer_type: self.peer_type,
            next_hop: self.session.config.next_hop,
            local_address,
            local_as: local.asn,
            local_pref: known.config.local_pref(),
            cluster_id: known.config.cluster_id,
            client: self.session.config.reflector_client,
        };
        let mut exporter = Exporter { target, known, rules: &self.session.config.export, last: None };
        let mut tell = |prefix: Ipv4Net| up.adj_out.set(prefix, exporter.attributes(&prefix));
        match up.initial {
            Initial::Due => known.loc_rib.prefixes().for_each(&mut tell),
            Initial::Announced | Initial::Ended => changed.iter().copied().for_each(&mut tell),
        }
        if std::mem::take(&mut up.refresh) {
            up.adj_out.refresh();
        }
        let Flushed { mut updates, left_out } = up.adj_out.flush(up.negotiated.context);
        if let Some(first) = left_out.first() {
            let others = match left_out.len() {
                1 => String::new(),
                count => format!(" and {} others", count - 1),
            };
            let text =
                format!("not told of {first}{others}: a message of {MAX_MESSAGE} octets cannot hold the attributes");
            events.push_back(Event::Warning { peer: self.address, text });
        }
        let ends = match end_of_rib {
            EndOfRib::Ready => true,
            EndOfRib::InternalOnly => self.peer_type == PeerType::Internal,
            EndOfRib::NotReady => false,
        };
        up.initial = match up.initial {
            Initial::Due | Initial::Announced if ends => {
                updates.push(Update::end_of_rib());
                Initial::Ended
            }
            Initial::Due => Initial::Announced,
            Initial::Announced | Initial::Ended => up.initial,
        };
        updates
    }
}

/// Makes what one peer is told of prefix after prefix; most share their attributes with the one before.
struct Exporter<'a> {
    target: Target,
    known: Known<'a>,
    /// The peer's export filters.
    rules: &'a [Rule],
    last: Option<(&'a Best, Option<Arc<Attributes>>)>,
}

impl<'a> Exporter<'a> {
    fn attributes(&mut self, prefix: &Ipv4Net) -> Option<Arc<Attributes>> {
        let Known { config, own, loc_rib } = self.known;
        let best = loc_rib.get(prefix)?;
        let verdict = if self.rules.is_empty() { None } else { self.judge(prefix, best) };
        let operations = match verdict {
            Some(Verdict::Reject) => return None,
            Some(Verdict::Accept(operations)) => operations.as_slice(),
            None => {
                if let Best::Learned(route) = best
                    && !config.passing.permits(prefix, route.local_pref(), own)
                {
                    return None;
                }
                &[]
            }
        };
        if !operations.is_empty() {
            return export(best, self.target, operations).map(Arc::new);
        }
        if let Some((last, attributes)) = &self.last
            && last.is_alike(best)
        {
            return attributes.clone();
        }
        let attributes = export(best, self.target, &[]).map(Arc::new);
        self.last = Some((best, attributes.clone()));
        attributes
    }

    /// What the peer's export filters say of a route.
    fn judge(&self, prefix: &Ipv4Net, best: &Best) -> Option<&'a Verdict> {
        let Known { config, .. } = self.known;
        let local;
        let (attributes, from_peer, interface) = match best {
            Best::Local => {
                local = Attributes::local(self.target.local_address);
                // a block of our own leads to no interface
                (&local, false, None)
            }
            Best::Learned(route) => {
                let interface = filter::interface_to(&config.interfaces, route.attributes.next_hop);
                (route.attributes.as_ref(), true, interface)
            }
        };
        let unsaid_local_pref = if from_peer { DEFAULT_LOCAL_PREF } else { self.target.local_pref };
        let session = self.target.peer_type;
        filter::judge(
            self.rules,
            &Route { prefix: *prefix, attributes, from_peer, session, unsaid_local_pref, interface },
        )
    }
}

/// Whether what we have to say is complete enough for an End-of-RIB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndOfRib {
    /// Our own prefixes are not known yet, or what other peers have to say is missing for everyone.
    NotReady,
    /// They are, but internal peers have not said all that external ones must hear.
    InternalOnly,
    /// All of it is.
    Ready,
}
