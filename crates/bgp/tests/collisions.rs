//! Both ends dial at once: every order in which things can arrive is tried.
//!
//! What is sent on one connection to one end arrives in order; nothing is said of the order between the two
//! connections, nor between the two ends. No time passes.

use bgp::wire::capability::Capability;
use bgp::wire::notification::{Notification, Reason};
use bgp::wire::open::Open;
use bgp::wire::{Context, Frame, Message};
use bgp::{Config, ConnId, Input, PeerConfig, PeerKind, Speaker, State, Transmit};
use model::Asn;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

const ASN: u32 = 64512;

/// One of the two ends, and the connection it opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Left,
    Right,
}
use Side::{Left, Right};

impl Side {
    fn other(self) -> Side {
        match self {
            Left => Right,
            Right => Left,
        }
    }
}

/// What reaches an end on a connection.
#[derive(Debug, PartialEq, Eq)]
enum Arrival {
    Opened,
    Octets(Vec<u8>),
    Closed,
}

/// Who is at an end.
trait Speaks: Debug {
    /// Takes what arrives on the connection that `opener` opened; returns what it sends, by connection.
    fn take(&mut self, opener: Side, arrival: &Arrival) -> Vec<(Side, Arrival)>;

    /// The connection it holds for Established.
    fn session(&self) -> Option<Side>;

    /// Panics if what happened to it must not.
    fn judge(&self);
}

/// A speaker of ours.
#[derive(Debug)]
struct Ours {
    side: Side,
    now: Instant,
    speaker: Speaker,
    dialled: ConnId,
    dials: usize,
    /// Connections neither end has closed, as far as this one knows.
    open: BTreeSet<Side>,
}

impl Ours {
    /// A speaker that is about to dial.
    fn new(side: Side, identifier: Ipv4Addr, now: Instant) -> Ours {
        let peer = SocketAddr::new(Ipv4Addr::new(10, 0, 0, 99).into(), 179);
        let mut config = Config::new(Asn(ASN), identifier);
        config.peers.insert(peer, PeerConfig::new(Asn(ASN), PeerKind::Global));
        let speaker = Speaker::new(config, Arc::default(), now, 1);
        Ours { side, now, speaker, dialled: ConnId::Outgoing(0), dials: 0, open: [Left, Right].into() }
    }

    /// The same with its connection under way.
    fn dialling(side: Side, identifier: Ipv4Addr, start: Instant) -> Ours {
        let mut ours = Ours::new(side, identifier, start);
        assert_eq!(ours.pass(millis(500)), []);
        assert_eq!(ours.dials, 1);
        ours
    }

    /// Lets time pass, timer by timer.
    fn pass(&mut self, time: Duration) -> Vec<(Side, Arrival)> {
        let end = self.now + time;
        let mut sent = Vec::new();
        while let Some((due, _)) = self.speaker.poll_timeout().filter(|(due, _)| *due <= end) {
            self.now = due;
            sent.extend(self.handle(Input::Timeout));
        }
        self.now = end;
        sent
    }

    fn conn(&self, opener: Side) -> ConnId {
        if opener == self.side { self.dialled } else { ConnId::Incoming(1) }
    }

    fn handle(&mut self, input: Input) -> Vec<(Side, Arrival)> {
        self.speaker.handle(input, self.now);
        while self.speaker.poll_event().is_some() {}
        let mut sent = Vec::new();
        while let Some(transmit) = self.speaker.poll_transmit() {
            let opener = |conn| if conn == self.dialled { self.side } else { self.side.other() };
            match transmit {
                Transmit::Send { conn, bytes } => sent.push((opener(conn), Arrival::Octets(bytes))),
                Transmit::Close { conn } => {
                    self.open.remove(&opener(conn));
                    sent.push((opener(conn), Arrival::Closed));
                }
                Transmit::Connect { conn, .. } => {
                    self.dialled = conn;
                    self.dials += 1;
                }
            }
        }
        sent
    }
}

impl Speaks for Ours {
    fn take(&mut self, opener: Side, arrival: &Arrival) -> Vec<(Side, Arrival)> {
        let (conn, local, peer) = (self.conn(opener), [10, 0, 0, 1].into(), [10, 0, 0, 99].into());
        let input = match arrival {
            Arrival::Opened if opener == self.side => Input::Connected { conn, local },
            Arrival::Opened => Input::Accepted { conn, peer, local },
            Arrival::Octets(bytes) => Input::Received { conn, bytes: bytes.clone() },
            Arrival::Closed => Input::Closed { conn, reason: "closed".into() },
        };
        if matches!(arrival, Arrival::Closed) {
            self.open.remove(&opener);
        }
        self.handle(input)
    }

    fn session(&self) -> Option<Side> {
        (self.speaker.status()[0].state == State::Established).then(|| {
            assert_eq!(self.open.len(), 1, "{self:?}");
            *self.open.first().expect("one")
        })
    }

    fn judge(&self) {
        assert_eq!(self.dials, 1, "no time passes: {self:?}");
    }
}

/// What BIRD 1.6 and 2 do about collisions: on an OPEN, another connection in OpenConfirm is decided by the
/// identifiers, and another one that is Established stays; an attempt to connect ends when the other connection's OPEN
/// comes. A connection that comes while its own is Established shows that the other end restarted. If an Established
/// connection ends, for this or however that is told, the whole session does, with what a restart kept.
#[derive(Debug)]
struct Bird {
    side: Side,
    identifier: Ipv4Addr,
    states: BTreeMap<Side, State>,
    hurt: bool,
}

impl Bird {
    fn new(side: Side, identifier: Ipv4Addr) -> Bird {
        let states = BTreeMap::from([(side, State::Connect), (side.other(), State::Active)]);
        Bird { side, identifier, states, hurt: false }
    }

    fn cease(&mut self, opener: Side, reason: Reason) -> Vec<(Side, Arrival)> {
        self.states.insert(opener, State::Idle);
        vec![(opener, octets(&Message::Notification(Notification::from(reason)))), (opener, Arrival::Closed)]
    }

    fn lose(&mut self, opener: Side) -> Vec<(Side, Arrival)> {
        let lost = self.states.insert(opener, State::Idle);
        if lost != Some(State::Established) {
            return Vec::new();
        }
        self.hurt = true;
        if self.states[&opener.other()] >= State::OpenSent {
            self.cease(opener.other(), Reason::CEASE)
        } else {
            Vec::new()
        }
    }

    /// A connection comes while one is Established: the other end must have restarted.
    fn restarted(&mut self) -> Vec<(Side, Arrival)> {
        self.hurt = true;
        self.states.insert(self.side, State::Idle);
        vec![(self.side, Arrival::Closed)]
    }

    fn open(&mut self, opener: Side, open: &Open) -> Vec<(Side, Arrival)> {
        let other = opener.other();
        let peer_is_higher = self.identifier < open.identifier;
        let keeps_new = peer_is_higher == (opener != self.side);
        let mut sent = match self.states[&other] {
            State::Connect => {
                self.states.insert(other, State::Idle);
                vec![(other, Arrival::Closed)]
            }
            State::Idle | State::Active | State::OpenSent => Vec::new(),
            State::OpenConfirm if keeps_new => self.cease(other, Reason::COLLISION_RESOLUTION),
            State::OpenConfirm | State::Established => return self.cease(opener, Reason::COLLISION_RESOLUTION),
        };
        self.states.insert(opener, State::OpenConfirm);
        sent.push((opener, octets(&Message::Keepalive)));
        sent
    }
}

impl Speaks for Bird {
    fn take(&mut self, opener: Side, arrival: &Arrival) -> Vec<(Side, Arrival)> {
        let state = self.states[&opener];
        match arrival {
            Arrival::Opened if matches!(state, State::Connect | State::Active) => {
                if opener != self.side && self.states[&self.side] == State::Established {
                    return [self.restarted(), self.take(opener, arrival)].into_iter().flatten().collect();
                }
                self.states.insert(opener, State::OpenSent);
                vec![(opener, octets(&Message::Open(open(self.identifier))))]
            }
            Arrival::Opened => Vec::new(),
            Arrival::Closed => self.lose(opener),
            Arrival::Octets(bytes) => match (message(bytes), state) {
                (Message::Open(open), State::OpenSent) => self.open(opener, &open),
                (Message::Keepalive, State::OpenConfirm) => {
                    self.states.insert(opener, State::Established);
                    Vec::new()
                }
                (Message::Notification(_), _) => self.lose(opener),
                (Message::Open(_), State::OpenConfirm | State::Established) | (Message::Keepalive, State::OpenSent) => {
                    panic!("out of turn: {self:?}")
                }
                _ => Vec::new(),
            },
        }
    }

    fn session(&self) -> Option<Side> {
        self.states.iter().find(|(_, state)| **state == State::Established).map(|(opener, _)| *opener)
    }

    fn judge(&self) {
        assert!(!self.hurt, "an Established connection was ended: {self:?}");
    }
}

fn open(identifier: Ipv4Addr) -> Open {
    let capabilities = vec![Capability::FourOctetAs(Asn(ASN))];
    Open { my_as: ASN as u16, hold_time: Duration::from_secs(90), identifier, capabilities }
}

fn octets(message: &Message) -> Arrival {
    Arrival::Octets(message.encode(Context::UNNEGOTIATED))
}

fn message(bytes: &[u8]) -> Message {
    let (frame, _) = Frame::next(bytes).expect("a right message").expect("a whole one");
    Message::decode(frame, Context::UNNEGOTIATED).expect("a right message")
}

/// Two ends, and what is on its way to each on each connection.
#[derive(Debug)]
struct Line {
    ends: BTreeMap<Side, Box<dyn Speaks>>,
    wires: BTreeMap<(Side, Side), VecDeque<Arrival>>,
}

impl Line {
    /// Both ends have dialled.
    fn new(left: Box<dyn Speaks>, right: Box<dyn Speaks>) -> Line {
        let wires = [(Left, Left), (Left, Right), (Right, Left), (Right, Right)];
        Line {
            ends: BTreeMap::from([(Left, left), (Right, right)]),
            wires: wires.into_iter().map(|wire| (wire, VecDeque::from([Arrival::Opened]))).collect(),
        }
    }

    /// Where something may arrive next.
    fn choices(&self) -> Vec<(Side, Side)> {
        self.wires.iter().filter(|(_, wire)| !wire.is_empty()).map(|(wire, _)| *wire).collect()
    }

    fn arrive(&mut self, (to, opener): (Side, Side)) {
        let wire = self.wires.get_mut(&(to, opener)).expect("every wire is there");
        let arrival = wire.pop_front().expect("a wire with something on it");
        let end = self.ends.get_mut(&to).expect("both ends are there");
        for (opener, sent) in end.take(opener, &arrival) {
            self.wires.get_mut(&(to.other(), opener)).expect("every wire is there").push_back(sent);
        }
        end.judge();
    }

    fn sessions(&self) -> [Option<Side>; 2] {
        [Left, Right].map(|side| self.ends[&side].session())
    }
}

/// Tries every order; returns how the sessions can stand at the end, with an order that leads there.
fn every_end(start: impl Fn() -> Line) -> BTreeMap<[Option<Side>; 2], Vec<(Side, Side)>> {
    let mut seen = BTreeSet::new();
    let mut ends = BTreeMap::new();
    let mut paths = vec![Vec::new()];
    while let Some(path) = paths.pop() {
        let mut line = start();
        path.iter().for_each(|wire| line.arrive(*wire));
        if !seen.insert(format!("{line:?}")) {
            continue;
        }
        let choices = line.choices();
        if choices.is_empty() {
            ends.entry(line.sessions()).or_insert_with(|| path.clone());
        }
        paths.extend(choices.into_iter().map(|wire| [&path[..], &[wire]].concat()));
    }
    assert!(seen.len() > 100, "{} states are not every order", seen.len());
    ends
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const LOWER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const HIGHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

#[test]
fn two_of_ours_agree_at_once_in_every_order() {
    let start = Instant::now();
    let ends = every_end(|| {
        Line::new(Box::new(Ours::dialling(Left, LOWER, start)), Box::new(Ours::dialling(Right, HIGHER, start)))
    });
    for (sessions, path) in ends {
        assert!(matches!(sessions, [Some(left), Some(right)] if left == right), "{sessions:?} after {path:?}");
    }
}

#[test]
fn what_bird_holds_for_established_is_never_ended() {
    let start = Instant::now();
    for (ours, birds) in [(LOWER, HIGHER), (HIGHER, LOWER)] {
        let ends =
            every_end(|| Line::new(Box::new(Ours::dialling(Left, ours, start)), Box::new(Bird::new(Right, birds))));
        for (sessions, path) in ends {
            assert!(matches!(sessions, [Some(left), Some(right)] if left == right), "{sessions:?} after {path:?}");
        }
    }
}

/// Ours dials, and on the peer's connection an OPEN came.
fn waiting(identifier: Ipv4Addr) -> Ours {
    let mut ours = Ours::dialling(Left, identifier, Instant::now());
    ours.take(Right, &Arrival::Opened);
    assert_eq!(ours.take(Right, &peers_open()), [], "it waits for what becomes of the other one");
    ours
}

fn peers_open() -> Arrival {
    octets(&Message::Open(open(Ipv4Addr::new(10, 0, 0, 1))))
}

fn keepalive() -> Arrival {
    octets(&Message::Keepalive)
}

fn given_up(opener: Side) -> [(Side, Arrival); 2] {
    [
        (opener, octets(&Message::Notification(Notification::from(Reason::COLLISION_RESOLUTION)))),
        (opener, Arrival::Closed),
    ]
}

#[test]
fn two_opens_are_decided_by_the_identifiers() {
    let lowest = Ipv4Addr::new(10, 0, 0, 0);
    for (identifier, kept) in [(HIGHER, Left), (lowest, Right)] {
        let mut ours = waiting(identifier);
        ours.take(Left, &Arrival::Opened);
        let sent = ours.take(Left, &peers_open());
        let [notice, closed] = given_up(kept.other());
        assert_eq!(sent, [notice, closed, (kept, keepalive())]);
        ours.take(kept, &keepalive());
        assert_eq!(ours.session(), Some(kept));
    }
}

#[test]
fn one_goes_on_when_the_other_ends_and_what_was_said_meanwhile_counts() {
    for opened in [false, true] {
        let mut ours = waiting(HIGHER);
        if opened {
            ours.take(Left, &Arrival::Opened);
        }
        assert_eq!(ours.take(Right, &keepalive()), []);
        assert_eq!(ours.take(Left, &Arrival::Closed), [(Right, keepalive())]);
        assert_eq!(ours.session(), Some(Right));
        assert_eq!((ours.pass(millis(20_000)), ours.dials), (vec![], 1), "nothing is dialled beside it");
    }
}

#[test]
fn what_ends_while_it_waits_is_told() {
    let mut ours = waiting(HIGHER);
    ours.take(Right, &octets(&Message::Notification(Notification::from(Reason::ADMINISTRATIVE_SHUTDOWN))));
    let trouble = ours.speaker.status()[0].trouble.as_ref().map(ToString::to_string);
    assert_eq!(trouble.as_deref(), Some("received Cease/Administrative Shutdown"));
    ours.take(Left, &Arrival::Opened);
    assert_eq!(ours.take(Left, &peers_open()), [(Left, keepalive())], "the other one need not wait");
}

#[test]
fn no_peer_is_waited_for_long() {
    // its kernel does not answer the SYN
    let mut ours = waiting(HIGHER);
    assert_eq!(ours.pass(millis(999)), []);
    assert_eq!(ours.pass(millis(1)), [(Left, Arrival::Closed), (Right, keepalive())]);

    // it accepted the connection and says nothing
    let mut ours = waiting(HIGHER);
    assert_eq!(ours.pass(millis(900)), []);
    ours.take(Left, &Arrival::Opened);
    let [notice, closed] = given_up(Left);
    assert_eq!(ours.pass(millis(4_999)), []);
    assert_eq!(ours.pass(millis(1)), [notice, closed, (Right, keepalive())]);

    // the same, the other way round
    let mut ours = Ours::dialling(Left, HIGHER, Instant::now());
    ours.take(Right, &Arrival::Opened);
    ours.take(Left, &Arrival::Opened);
    assert_eq!(ours.take(Left, &peers_open()), []);
    assert_eq!(ours.pass(millis(4_999)), []);
    let [notice, closed] = given_up(Right);
    assert_eq!(ours.pass(millis(1)), [notice, closed, (Left, keepalive())]);
}

#[test]
fn a_connection_beside_a_confirmed_one_is_turned_away_unless_it_shows_a_restart() {
    let mut ours = Ours::dialling(Left, HIGHER, Instant::now());
    ours.take(Left, &Arrival::Opened);
    assert_eq!(ours.take(Left, &peers_open()), [(Left, keepalive())]);
    assert_eq!(ours.take(Right, &Arrival::Opened), given_up(Right));
    assert_eq!(ours.pass(millis(5_000)), []);
    let sent = ours.take(Right, &Arrival::Opened);
    assert!(matches!(&sent[..], [(Left, Arrival::Closed), (Right, Arrival::Octets(_))]), "{sent:?}");
    assert_eq!(ours.take(Right, &peers_open()), [(Right, keepalive())]);
}

#[test]
fn a_machine_is_not_forgotten_beside_the_other_one() {
    // something connects while we are about to dial, and goes away without a word
    let mut ours = Ours::new(Left, HIGHER, Instant::now());
    ours.take(Right, &Arrival::Opened);
    assert_eq!((ours.pass(millis(20_000)), ours.dials), (vec![], 0));
    ours.take(Right, &Arrival::Closed);
    ours.pass(millis(2_000));
    assert_eq!(ours.dials, 1);

    // the peer ends its connection, and then ours
    let mut ours = waiting(HIGHER);
    ours.take(Left, &Arrival::Opened);
    ours.take(Right, &octets(&Message::Notification(Notification::from(Reason::CEASE))));
    ours.take(Left, &Arrival::Closed);
    let sent = ours.take(Right, &Arrival::Opened);
    assert!(matches!(&sent[..], [(Right, Arrival::Octets(_))]), "it is taken, not turned away: {sent:?}");
}
