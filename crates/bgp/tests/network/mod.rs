//! A network of speakers in one thread: TCP with latency and loss, and a clock that jumps to what is due next.
//!
//! A lost segment arrives late, as TCP sends it again; order within a connection is kept. A node can be killed
//! (its kernel closes the connections), crash (nobody is told), and be cut off from another.

#![allow(dead_code, reason = "each test binary uses its part")]

use bgp::{Config, ConnId, Event, Input, PeerConfig, PeerKind, Speaker, State, Transmit};
use ipnet::Ipv4Net;
use model::Asn;
use model::desired::{Hop, Learned};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One end of a connection; the generation tells a restarted node from its former self.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    node: IpAddr,
    generation: u32,
    conn: ConnId,
}

enum Arrival {
    Syn { from: End, to: IpAddr },
    Input { to: End, input: Input },
}

/// A node and everything its speaker has said.
pub(crate) struct Node {
    pub(crate) speaker: Speaker,
    /// Routes as they should be in the kernel.
    pub(crate) learned: Learned,
    /// Every [`Event::Learned`] so far.
    pub(crate) history: Vec<Learned>,
    /// Every state of every peer, with its reason.
    pub(crate) states: Vec<(IpAddr, State, Option<String>)>,
    pub(crate) warnings: Vec<String>,
    generation: u32,
}

/// The network.
pub(crate) struct Network {
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    pub(crate) nodes: BTreeMap<IpAddr, Node>,
    latency: Duration,
    /// Every n-th segment is lost once.
    lose_every: Option<u64>,
    cut: BTreeSet<(IpAddr, IpAddr)>,
    peers: BTreeMap<End, End>,
    arrivals: BTreeMap<(Instant, u64), Arrival>,
    last_arrival: BTreeMap<End, Instant>,
    count: u64,
    generations: u32,
}

impl Network {
    pub(crate) fn new(latency: Duration, lose_every: Option<u64>) -> Network {
        let start = Instant::now();
        Network {
            now: start,
            start,
            nodes: BTreeMap::new(),
            latency,
            lose_every,
            cut: BTreeSet::new(),
            peers: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            last_arrival: BTreeMap::new(),
            count: 0,
            generations: 0,
        }
    }

    /// Starts a node, or starts it again.
    pub(crate) fn boot(&mut self, address: &str, config: Config, retained: Learned) {
        self.generations += 1;
        let speaker = Speaker::new(config, Arc::new(retained), self.now, u64::from(self.generations));
        let node = Node {
            speaker,
            learned: Learned::new(),
            history: Vec::new(),
            states: Vec::new(),
            warnings: Vec::new(),
            generation: self.generations,
        };
        self.nodes.insert(ip(address), node);
        self.pump();
    }

    pub(crate) fn input(&mut self, address: &str, input: Input) {
        let now = self.now;
        self.node_mut(address).speaker.handle(input, now);
        self.pump();
    }

    pub(crate) fn originate(&mut self, address: &str, prefixes: &[&str]) {
        self.input(address, Input::Originate(prefixes.iter().map(|prefix| net(prefix)).collect()));
    }

    /// The process dies; its kernel closes what it had open. Returns what its routes were.
    pub(crate) fn kill(&mut self, address: &str) -> Learned {
        let node = self.nodes.remove(&ip(address)).expect("a node that runs");
        let ends: Vec<(End, End)> = self.peers.iter().map(|(a, b)| (*a, *b)).collect();
        for (end, other) in ends {
            if end.node == ip(address) {
                self.peers.remove(&end);
                self.deliver(other, Input::Closed { conn: other.conn, reason: "connection reset by peer".into() });
            }
        }
        node.learned
    }

    /// The machine dies; nobody is told.
    pub(crate) fn crash(&mut self, address: &str) {
        self.nodes.remove(&ip(address)).expect("a node that runs");
        self.peers.retain(|end, _| end.node != ip(address));
    }

    /// Cuts two nodes off from each other.
    pub(crate) fn cut(&mut self, a: &str, b: &str) {
        self.cut.extend([(ip(a), ip(b)), (ip(b), ip(a))]);
    }

    /// Ends a cut; what was sent meanwhile is lost, and so are the connections.
    pub(crate) fn join(&mut self, a: &str, b: &str) {
        self.cut.remove(&(ip(a), ip(b)));
        self.cut.remove(&(ip(b), ip(a)));
    }

    /// Counts connections that both ends have open.
    pub(crate) fn open_connections(&self) -> usize {
        self.peers.iter().filter(|(end, other)| end < other && self.peers.get(other) == Some(end)).count()
    }

    pub(crate) fn node(&self, address: &str) -> &Node {
        &self.nodes[&ip(address)]
    }

    fn node_mut(&mut self, address: &str) -> &mut Node {
        self.nodes.get_mut(&ip(address)).expect("a node that runs")
    }

    pub(crate) fn state(&self, address: &str, peer: &str) -> State {
        let status = self.node(address).speaker.status();
        status.into_iter().find(|status| status.peer.ip() == ip(peer)).expect("a configured peer").state
    }

    /// Jumps from one thing due to the next until a condition holds; fails after `limit`.
    pub(crate) fn until(&mut self, what: &str, limit: Duration, condition: impl Fn(&Network) -> bool) {
        let end = self.now + limit;
        while !condition(self) {
            assert!(self.step(end), "{what}: not within {limit:?}; {}", self.describe());
        }
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    fn describe(&self) -> String {
        let status =
            self.nodes.iter().map(|(address, node)| format!("{address}: {:?} {:?}", node.learned, node.states));
        status.collect::<Vec<_>>().join("\n")
    }

    /// Does what is due next, unless that is later than `end`.
    fn step(&mut self, end: Instant) -> bool {
        let timeout =
            self.nodes.iter().filter_map(|(address, node)| Some((node.speaker.poll_timeout()?.0, *address))).min();
        let arrival = self.arrivals.keys().next().copied();
        let due = timeout.map(|(due, _)| due).into_iter().chain(arrival.map(|(due, _)| due)).min();
        let Some(due) = due.filter(|due| *due <= end) else { return false };
        self.now = self.now.max(due);
        if let Some(key) = arrival.filter(|(arrives, _)| *arrives == due) {
            let arrival = self.arrivals.remove(&key).expect("just listed");
            self.arrive(arrival);
        } else if let Some((_, address)) = timeout {
            let node = self.nodes.get_mut(&address).expect("just listed");
            node.speaker.handle(Input::Timeout, self.now);
        }
        self.pump();
        true
    }

    fn arrive(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Syn { from, to } => {
                if self.cut.contains(&(from.node, to)) {
                    return;
                }
                let Some(node) = self.nodes.get_mut(&to) else {
                    self.deliver(from, Input::ConnectFailed { conn: from.conn, reason: "connection refused".into() });
                    return;
                };
                self.count += 1;
                let end = End { node: to, generation: node.generation, conn: ConnId::Incoming(self.count) };
                self.peers.insert(from, end);
                self.peers.insert(end, from);
                node.speaker.handle(Input::Accepted { conn: end.conn, peer: from.node, local: to }, self.now);
                self.deliver(from, Input::Connected { conn: from.conn, local: from.node });
            }
            Arrival::Input { to, input } => match self.nodes.get_mut(&to.node) {
                Some(node) if node.generation == to.generation => node.speaker.handle(input, self.now),
                Some(_) => self.reset(to),
                None => {}
            },
        }
    }

    /// A machine that came back knows nothing of a connection from before.
    fn reset(&mut self, to: End) {
        if let Some(sender) = self.peers.iter().find(|(_, other)| **other == to).map(|(sender, _)| *sender) {
            self.peers.remove(&sender);
            self.deliver(sender, Input::Closed { conn: sender.conn, reason: "connection reset by peer".into() });
        }
    }

    fn deliver(&mut self, to: End, input: Input) {
        self.count += 1;
        let lost = self.lose_every.is_some_and(|n| self.count.is_multiple_of(n));
        let delay = if lost { self.latency + Duration::from_millis(200) } else { self.latency };
        let earliest = self.last_arrival.get(&to).copied().unwrap_or(self.now);
        let at = earliest.max(self.now + delay);
        self.last_arrival.insert(to, at);
        self.arrivals.insert((at, self.count), Arrival::Input { to, input });
    }

    fn pump(&mut self) {
        for address in self.nodes.keys().copied().collect::<Vec<_>>() {
            loop {
                let node = self.nodes.get_mut(&address).expect("just listed");
                while let Some(event) = node.speaker.poll_event() {
                    match event {
                        Event::Learned(learned) => {
                            node.learned = Learned::clone(&learned);
                            node.history.push(Learned::clone(&learned));
                        }
                        Event::PeerState { peer, state, reason } => node.states.push((peer.ip(), state, reason)),
                        Event::Warning { text, .. } => node.warnings.push(text),
                    }
                }
                let generation = node.generation;
                let Some(transmit) = node.speaker.poll_transmit() else { break };
                self.transmit(address, generation, transmit);
            }
        }
    }

    fn transmit(&mut self, node: IpAddr, generation: u32, transmit: Transmit) {
        let end = |conn| End { node, generation, conn };
        match transmit {
            Transmit::Connect { conn, peer, local } => {
                assert!(local.is_none_or(|local| local == node));
                self.count += 1;
                let arrival = Arrival::Syn { from: end(conn), to: peer.ip() };
                self.arrivals.insert((self.now + self.latency, self.count), arrival);
            }
            Transmit::Send { conn, bytes } => {
                if let Some(to) = self.peers.get(&end(conn)).copied().filter(|to| !self.cut.contains(&(node, to.node)))
                {
                    self.deliver(to, Input::Received { conn: to.conn, bytes });
                }
            }
            Transmit::Close { conn } => {
                if let Some(to) = self.peers.remove(&end(conn)).filter(|to| !self.cut.contains(&(node, to.node))) {
                    self.deliver(to, Input::Closed { conn: to.conn, reason: "connection closed by peer".into() });
                }
            }
        }
    }
}

pub(crate) fn ip(address: &str) -> IpAddr {
    address.parse().expect("an address")
}

/// A peer, at BGP's port.
pub(crate) fn at(address: &str) -> SocketAddr {
    SocketAddr::new(ip(address), 179)
}

pub(crate) fn net(prefix: &str) -> Ipv4Net {
    prefix.parse().expect("a prefix")
}

/// Routes as `("172.16.1.0/24", "192.168.10.101")`.
pub(crate) fn routes(routes: &[(&str, &str)]) -> Learned {
    routes.iter().map(|(prefix, hop)| (net(prefix), gateway(hop).into())).collect()
}

/// The same, as an external peer's are preferred.
pub(crate) fn external(routes: &[(&str, &str)]) -> Learned {
    let hop = |hop| Hop { gateway: gateway(hop), metric: Some(2_147_483_547) };
    routes.iter().map(|(prefix, to)| (net(prefix), hop(*to))).collect()
}

fn gateway(address: &str) -> Ipv4Addr {
    address.parse().expect("an address")
}

/// The configuration of a node in AS 64512 with a full mesh to others; passive as Calico decides it.
pub(crate) fn mesh(address: &str, nodes: &[&str]) -> Config {
    let mut config = Config::new(Asn(64512), address.parse::<Ipv4Addr>().expect("an address"));
    for node in nodes.iter().filter(|node| **node != address) {
        let mut peer = PeerConfig::new(Asn(64512), PeerKind::Mesh);
        peer.local_address = Some(ip(address));
        peer.passive = *node > address;
        config.peers.insert(at(node), peer);
    }
    config
}
