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
    /// Connections neither end has closed, as far as this one knows.
    open: BTreeSet<Side>,
}

impl Ours {
    /// A speaker with its connection under way.
    fn new(side: Side, identifier: Ipv4Addr, start: Instant) -> Ours {
        let peer = SocketAddr::new(Ipv4Addr::new(10, 0, 0, 99).into(), 179);
        let mut config = Config::new(Asn(ASN), identifier);
        config.peers.insert(peer, PeerConfig::new(Asn(ASN), PeerKind::Global));
        let mut speaker = Speaker::new(config, Arc::default(), start, 1);
        let now = start + Duration::from_millis(500);
        speaker.handle(Input::Timeout, now);
        let Some(Transmit::Connect { conn: dialled, .. }) = speaker.poll_transmit() else { panic!("it dials at once") };
        Ours { side, now, speaker, dialled, open: [Left, Right].into() }
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
                Transmit::Connect { .. } => panic!("nothing is dialled again so soon"),
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

    fn judge(&self) {}
}

/// What BIRD 1.6 and 2 do about collisions: on an OPEN, another connection in OpenConfirm is decided by the
/// identifiers, and another one that is Established stays; an attempt to connect ends when the other connection's OPEN
/// comes. If an Established connection ends, however that is told, the whole session does, with what a restart kept.
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

fn collision() -> Message {
    Message::Notification(Notification::from(Reason::COLLISION_RESOLUTION))
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

const LOWER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const HIGHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

#[test]
fn two_of_ours_agree_at_once_in_every_order() {
    let start = Instant::now();
    let ends =
        every_end(|| Line::new(Box::new(Ours::new(Left, LOWER, start)), Box::new(Ours::new(Right, HIGHER, start))));
    for (sessions, path) in ends {
        assert!(matches!(sessions, [Some(left), Some(right)] if left == right), "{sessions:?} after {path:?}");
    }
}

#[test]
fn what_bird_holds_for_established_is_never_ended() {
    let start = Instant::now();
    for (ours, birds) in [(LOWER, HIGHER), (HIGHER, LOWER)] {
        let ends = every_end(|| Line::new(Box::new(Ours::new(Left, ours, start)), Box::new(Bird::new(Right, birds))));
        for kept in [Left, Right] {
            assert!(ends.contains_key(&[Some(kept); 2]), "{ends:?}");
        }
        // each may give up another one at the same moment: both dial again
        for ([left, right], path) in ends {
            assert_eq!(left, right, "after {path:?}");
        }
    }
}

/// Ours, with the higher identifier: the peer's connection is in OpenConfirm, and on ours its OPEN came too.
fn waiting() -> Ours {
    let mut ours = Ours::new(Left, HIGHER, Instant::now());
    let open = octets(&Message::Open(open(LOWER)));
    ours.take(Right, &Arrival::Opened);
    assert_eq!(ours.take(Right, &open), [(Right, octets(&Message::Keepalive))]);
    ours.take(Left, &Arrival::Opened);
    assert_eq!(ours.take(Left, &open), [], "it waits for what the peer does");
    ours
}

#[test]
fn the_peer_takes_the_one_it_opened() {
    let mut ours = waiting();
    let sent = ours.take(Right, &octets(&Message::Keepalive));
    assert_eq!(sent, [(Left, octets(&collision())), (Left, Arrival::Closed)]);
    assert_eq!(ours.session(), Some(Right));
}

#[test]
fn the_peer_takes_ours_and_what_it_said_meanwhile_counts() {
    for end in [Arrival::Closed, octets(&collision())] {
        let mut ours = waiting();
        assert_eq!(ours.take(Left, &octets(&Message::Keepalive)), []);
        assert!(ours.take(Right, &end).contains(&(Left, octets(&Message::Keepalive))));
        assert_eq!(ours.session(), Some(Left));
    }
}

#[test]
fn the_peer_takes_neither() {
    let mut ours = waiting();
    let (due, why) = ours.speaker.poll_timeout().expect("a timer runs");
    assert_eq!((due - ours.now, why), (Duration::from_secs(5), "two connections, and the peer takes none"));
    ours.now = due;
    let sent = ours.handle(Input::Timeout);
    let expect = [(Right, octets(&collision())), (Right, Arrival::Closed), (Left, octets(&Message::Keepalive))];
    assert_eq!(sent, expect);
    ours.take(Left, &octets(&Message::Keepalive));
    assert_eq!(ours.session(), Some(Left));
}

#[test]
fn the_peer_dials_again_while_it_is_awaited() {
    let mut ours = waiting();
    let sent = ours.take(Right, &Arrival::Opened);
    let rejected = [(Right, octets(&collision())), (Right, Arrival::Closed)];
    assert!(rejected.iter().all(|expect| sent.contains(expect)), "{sent:?}");
    assert!(sent.contains(&(Left, octets(&Message::Keepalive))), "{sent:?}");
    ours.take(Left, &octets(&Message::Keepalive));
    assert_eq!(ours.session(), Some(Left));
}
