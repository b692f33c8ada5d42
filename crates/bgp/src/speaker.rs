//! The speaker: everything a node's BGP does, behind [`Speaker::handle`] and four polls.
//!
//! One `handle` runs to the end: sessions take the input, their signals change the Adj-RIBs-In, the prefixes
//! touched are decided anew, and each peer's Adj-RIB-Out turns the difference into UPDATEs. Nothing waits but
//! in a timer that [`Speaker::poll_timeout`] shows.

mod outbox;
mod peer;
mod retention;

pub(crate) use outbox::Outbox;

use crate::config::{Config, HIGHEST_LOCAL_PREF};
use crate::fsm::State;
use crate::rib::{Best, LocRib};
use crate::status::{PeerStatus, Trouble};
use crate::timer::{self, Timer, Timers};
use crate::wire::Message;
use crate::wire::capability::Restarting;
use crate::wire::notification::Reason;
use ipnet::Ipv4Net;
use model::desired::{Hop, Learned};
use peer::{Changes, EndOfRib, Known, Peer};
use retention::Retention;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

/// A TCP connection's name between speaker and shell; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnId {
    /// Opened by us; the speaker chooses the number.
    Outgoing(u64),
    /// Opened by a peer; the shell chooses the number.
    Incoming(u64),
}

/// What happens to the speaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The configuration is now this. Peers that stay as they were do not notice; one that is gone has its
    /// routes withdrawn at once.
    Configure(Config),
    /// Announce these prefixes and no others. The first such input also lets End-of-RIB out: before it, peers
    /// that kept our routes over a restart go on keeping them.
    Originate(BTreeSet<Ipv4Net>),
    /// The listener accepted a connection.
    Accepted {
        /// A number the shell has not used before, as [`ConnId::Incoming`].
        conn: ConnId,
        /// The other end.
        peer: IpAddr,
        /// Our end.
        local: IpAddr,
    },
    /// A connection asked for by [`Transmit::Connect`] stands.
    Connected {
        /// Which one.
        conn: ConnId,
        /// Our end.
        local: IpAddr,
    },
    /// A connection asked for by [`Transmit::Connect`] cannot be had.
    ConnectFailed {
        /// Which one.
        conn: ConnId,
        /// One line, such as `connection refused`.
        reason: String,
    },
    /// Octets came, in order.
    Received {
        /// Where.
        conn: ConnId,
        /// Any part of the stream.
        bytes: Vec<u8>,
    },
    /// The peer closed a connection, or it broke.
    Closed {
        /// Which one.
        conn: ConnId,
        /// One line, such as `connection reset by peer`.
        reason: String,
    },
    /// Octets wait in a connection's socket, or its end does: its peer is not judged for silence before they came, or
    /// half a second has passed. To be told before every [`Input::Timeout`].
    Unread {
        /// Where.
        conn: ConnId,
    },
    /// The time [`Speaker::poll_timeout`] named has come. Early and late calls are harmless.
    Timeout,
    /// Close every session. Peers with graceful restart get no NOTIFICATION, so that they keep our routes; the
    /// routes learned are not withdrawn. Every later input is ignored.
    Shutdown,
}

/// What the shell is to do on the network, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transmit {
    /// Open a connection, and answer with [`Input::Connected`] or [`Input::ConnectFailed`].
    Connect {
        /// Its name, an [`ConnId::Outgoing`].
        conn: ConnId,
        /// Where to.
        peer: SocketAddr,
        /// Our end, if it matters.
        local: Option<IpAddr>,
    },
    /// Send octets.
    Send {
        /// Where.
        conn: ConnId,
        /// One whole message.
        bytes: Vec<u8>,
    },
    /// Close a connection after what was sent has gone out, or give up opening it. No answer is needed; input
    /// that still comes for it is ignored.
    Close {
        /// Which one.
        conn: ConnId,
    },
}

/// What the agent is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The routes to have in the kernel are these and no others.
    Learned(Arc<Learned>),
    /// A session changed its state.
    PeerState {
        /// Whose.
        peer: SocketAddr,
        /// To what.
        state: State,
        /// What went wrong, if anything did since the session was last Established.
        reason: Option<String>,
    },
    /// A peer sent something that was put right without closing the session.
    Warning {
        /// Who.
        peer: SocketAddr,
        /// One line.
        text: String,
    },
}

/// A BGP speaker.
#[derive(Debug)]
pub struct Speaker {
    config: Config,
    peers: BTreeMap<SocketAddr, Peer>,
    /// `None` until the first [`Input::Originate`].
    originated: Option<BTreeSet<Ipv4Net>>,
    loc_rib: LocRib,
    retention: Option<Retention>,
    timers: Timers,
    learned: Arc<Learned>,
    /// Whether [`Event::Learned`] is owed.
    learned_changed: bool,
    outbox: Outbox,
    events: VecDeque<Event>,
    shut_down: bool,
}

impl Speaker {
    /// Makes a speaker whose peers are due to be contacted at once.
    ///
    /// `retained` are the routes that an earlier run left in the kernel: they stay in [`Event::Learned`] until
    /// every configured peer has sent its End-of-RIB, or the restart time has passed. A `config` without peers
    /// counts as not known yet: they are then kept until the first [`Input::Configure`]. `seed` feeds the jitter.
    pub fn new(config: Config, retained: Arc<Learned>, now: Instant, seed: u64) -> Speaker {
        let mut speaker = Speaker {
            peers: BTreeMap::new(),
            originated: None,
            loc_rib: LocRib::default(),
            retention: Retention::new(&retained, config.peers.keys().copied()),
            timers: Timers::default(),
            learned: retained,
            learned_changed: true,
            outbox: Outbox::new(seed),
            events: VecDeque::new(),
            shut_down: false,
            config,
        };
        if speaker.retention.is_some() {
            speaker.timers.start(Timer::Retention, now + speaker.config.restart_time);
        }
        let mut changes = Changes::default();
        for address in speaker.config.peers.keys().copied().collect::<Vec<_>>() {
            speaker.add_peer(address, now, &mut changes);
        }
        speaker.settle(changes, now);
        speaker
    }

    /// Takes one input. Every `poll_*` may have something new afterwards.
    pub fn handle(&mut self, input: Input, now: Instant) {
        if self.shut_down {
            return;
        }
        let mut changes = Changes::default();
        match input {
            Input::Configure(config) => self.configure(config, now, &mut changes),
            Input::Originate(prefixes) => self.originate(prefixes, &mut changes),
            Input::Accepted { conn, peer, local } => match expecting(&mut self.peers, peer.to_canonical()) {
                Some(known) => {
                    known.session.accept(conn, local.to_canonical(), now, &mut self.outbox);
                    known.attend(&mut self.retention, now, &mut changes);
                }
                None => self.outbox.reject(conn, Reason::CONNECTION_REJECTED),
            },
            Input::Connected { conn, local } => {
                if let Some(peer) = self.outbox.owner(conn).and_then(|owner| self.peers.get_mut(&owner)) {
                    peer.session.connected(conn, local.to_canonical(), now, &mut self.outbox);
                    peer.attend(&mut self.retention, now, &mut changes);
                }
            }
            Input::Received { conn, bytes } => {
                if let Some(peer) = self.outbox.owner(conn).and_then(|owner| self.peers.get_mut(&owner)) {
                    peer.session.received(conn, &bytes, now, &mut self.outbox);
                    peer.attend(&mut self.retention, now, &mut changes);
                }
            }
            Input::Unread { conn } => {
                if let Some(peer) = self.outbox.owner(conn).and_then(|owner| self.peers.get_mut(&owner)) {
                    peer.session.unread(conn, now);
                    self.timers.put_off(Timer::Retention, now + timer::UNREAD);
                }
            }
            Input::ConnectFailed { conn, reason } | Input::Closed { conn, reason } => {
                if let Some(peer) = self.outbox.forget(conn).and_then(|owner| self.peers.get_mut(&owner)) {
                    peer.session.failed(conn, reason, now, &mut self.outbox);
                    peer.attend(&mut self.retention, now, &mut changes);
                }
            }
            Input::Timeout => self.expire(now, &mut changes),
            Input::Shutdown => return self.close_all(now),
        }
        self.settle(changes, now);
    }

    /// Returns the next thing to do on the network; poll until `None` after `new` and every `handle`.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.pop()
    }

    /// Returns the next thing to tell; poll until `None` after `new` and every `handle`, or less often: routes
    /// come as the latest whole, however often they changed in between.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events
            .pop_front()
            .or_else(|| std::mem::take(&mut self.learned_changed).then(|| Event::Learned(Arc::clone(&self.learned))))
    }

    /// Returns when [`Input::Timeout`] is due, and why.
    ///
    /// Poll again after every `handle`. `None` means only other input can wake the speaker.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let timers = self.peers.values().filter_map(|peer| peer.session.poll_timeout());
        let (due, timer) = timers.chain(self.timers.next()).min()?;
        Some((due, timer.purpose()))
    }

    /// Lists the configured peers by address.
    pub fn status(&self) -> Vec<PeerStatus> {
        self.peers.values().map(Peer::status).collect()
    }

    fn add_peer(&mut self, address: SocketAddr, now: Instant, changes: &mut Changes) {
        let restarting = if self.retention.is_some() { Restarting::Yes } else { Restarting::No };
        let mut peer = Peer::new(address, &self.config, restarting, now);
        peer.session.start(now, &mut self.outbox);
        peer.attend(&mut self.retention, now, changes);
        self.peers.insert(address, peer);
    }

    fn remove_peer(&mut self, address: SocketAddr, reason: Reason, now: Instant, changes: &mut Changes) {
        if let Some(mut peer) = self.peers.remove(&address) {
            peer.session.stop(reason, now, &mut self.outbox);
            peer.session.trouble = Some(Trouble::Sent(reason, None));
            peer.attend(&mut self.retention, now, changes);
            changes.prefixes.extend(peer.clear());
        }
    }

    fn configure(&mut self, config: Config, now: Instant, changes: &mut Changes) {
        let same_identity = self.config.identity() == config.identity();
        if self.config.announcing() != config.announcing() {
            changes.prefixes.extend(self.loc_rib.prefixes());
            changes.announce_anew = true;
        }
        let old = std::mem::replace(&mut self.config, config);
        let other_interfaces = old.interfaces != self.config.interfaces;
        for (address, was) in &old.peers {
            match self.config.peers.get(address) {
                None => {
                    self.remove_peer(*address, Reason::PEER_DECONFIGURED, now, changes);
                    if let Some(retention) = &mut self.retention {
                        changes.prefixes.extend(retention.heard(*address));
                    }
                }
                Some(wanted) if !same_identity || !was.same_session(wanted) => {
                    self.remove_peer(*address, Reason::OTHER_CONFIGURATION_CHANGE, now, changes);
                }
                Some(wanted) => {
                    if let Some(peer) = self.peers.get_mut(address) {
                        let filtered = !was.import.is_empty() || !wanted.import.is_empty();
                        if was.import != wanted.import || filtered && other_interfaces {
                            changes.prefixes.extend(peer.taught());
                        }
                        let filtered = !was.export.is_empty() || !wanted.export.is_empty();
                        if was.export != wanted.export || filtered && other_interfaces {
                            changes.prefixes.extend(self.loc_rib.prefixes());
                            changes.announce_anew = true;
                        }
                        peer.session.config = wanted.clone();
                        peer.session.local.restart_time = wanted.restart_time.unwrap_or(self.config.restart_time);
                    }
                }
            }
        }
        for address in self.config.peers.keys().copied().collect::<Vec<_>>() {
            if !self.peers.contains_key(&address) {
                if let Some(retention) = self.retention.as_mut().filter(|_| !old.peers.contains_key(&address)) {
                    retention.await_peer(address);
                }
                self.add_peer(address, now, changes);
            }
        }
        if self.config.peers.is_empty() {
            self.end_retention(changes);
        }
    }

    fn originate(&mut self, prefixes: BTreeSet<Ipv4Net>, changes: &mut Changes) {
        let before = self.originated.replace(prefixes).unwrap_or_default();
        let after = self.originated.iter().flatten().copied().collect();
        changes.prefixes.extend(before.symmetric_difference(&after));
    }

    fn expire(&mut self, now: Instant, changes: &mut Changes) {
        for peer in self.peers.values_mut() {
            while let Some(timer) = peer.session.handle_timeout(now, &mut self.outbox) {
                if matches!(timer, Timer::Restart | Timer::Stale) {
                    changes.prefixes.extend(peer.give_up_stale());
                }
                peer.attend(&mut self.retention, now, changes);
            }
        }
        while self.timers.expire(now).is_some() {
            self.end_retention(changes);
        }
    }

    fn close_all(&mut self, now: Instant) {
        self.shut_down = true;
        self.timers.stop(Timer::Retention);
        for peer in self.peers.values_mut() {
            peer.session.shut_down(now, &mut self.outbox);
            let mut changes = Changes::default();
            peer.attend(&mut self.retention, now, &mut changes);
            self.events.extend(changes.events);
        }
    }

    /// Stops keeping routes that no peer has announced since we started.
    fn end_retention(&mut self, changes: &mut Changes) {
        if let Some(retention) = self.retention.take() {
            self.timers.stop(Timer::Retention);
            changes.prefixes.extend(retention.into_prefixes());
            for peer in self.peers.values_mut() {
                peer.session.local.restarting = Restarting::No;
            }
        }
    }

    /// Decides prefixes anew and tells everyone.
    fn settle(&mut self, mut changes: Changes, now: Instant) {
        if self.retention.as_ref().is_some_and(Retention::is_over) && !self.peers.is_empty() {
            self.end_retention(&mut changes);
        }
        self.events.extend(changes.events);
        changes.prefixes.sort_unstable();
        changes.prefixes.dedup();
        let mut changed = Vec::new();
        for prefix in changes.prefixes {
            let originated = self.originated.as_ref().is_some_and(|originated| originated.contains(&prefix));
            let interfaces = &self.config.interfaces;
            let candidates = self.peers.values().filter_map(|peer| peer.candidate(&prefix, interfaces));
            if self.loc_rib.decide(prefix, originated, candidates) || changes.announce_anew {
                changed.push(prefix);
            }
            self.learn(prefix);
        }
        let end_of_rib = match (&self.originated, &self.retention) {
            (None, _) => EndOfRib::NotReady,
            (Some(_), Some(retention)) if retention.deferring().next().is_some() => {
                // what external peers will announce goes to everyone, what internal ones will does if we reflect
                let external = |peer| self.peers.get(peer).is_some_and(|peer| peer.is_external());
                if self.config.cluster_id.is_some() || retention.deferring().any(external) {
                    EndOfRib::NotReady
                } else {
                    EndOfRib::InternalOnly
                }
            }
            (Some(_), Some(_) | None) => EndOfRib::Ready,
        };
        let no_routes = BTreeSet::new();
        let own = self.originated.as_ref().unwrap_or(&no_routes);
        let known = Known { config: &self.config, own, loc_rib: &self.loc_rib };
        for peer in self.peers.values_mut() {
            for update in peer.updates(known, &changed, end_of_rib, &mut self.events) {
                peer.session.send(&Message::Update(update), now, &mut self.outbox);
            }
        }
    }

    /// Puts what the kernel should have for a prefix into the output.
    fn learn(&mut self, prefix: Ipv4Net) {
        let hop = match self.loc_rib.get(&prefix) {
            Some(Best::Local) => None,
            Some(Best::Learned(route)) => {
                let metric = HIGHEST_LOCAL_PREF.saturating_sub(route.local_pref());
                let metric = (metric != self.config.metric).then_some(metric);
                Some(Hop { gateway: route.attributes.next_hop, metric })
            }
            None => self.retention.as_ref().and_then(|retention| retention.hop(&prefix)),
        };
        if self.learned.get(&prefix).copied() == hop {
            return;
        }
        // copied if what was handed out last is still in use
        let learned = Arc::make_mut(&mut self.learned);
        match hop {
            Some(hop) => learned.insert(prefix, hop),
            None => learned.remove(&prefix),
        };
        self.learned_changed = true;
    }
}

/// Finds the peer that a connection from an address belongs to; of several, the one furthest from a session.
fn expecting(peers: &mut BTreeMap<SocketAddr, Peer>, address: IpAddr) -> Option<&mut Peer> {
    let ports = SocketAddr::new(address, 0)..=SocketAddr::new(address, u16::MAX);
    peers.range_mut(ports).map(|(_, peer)| peer).min_by_key(|peer| peer.session.state())
}

#[cfg(test)]
mod tests;
