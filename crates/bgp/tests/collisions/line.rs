//! Two ends, the two connections between them, and every order of arrival.

use bgp::wire::notification::{Notification, Reason};
use bgp::wire::{Context, Frame, Message};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;

/// One of the two ends, and the connection it opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Left,
    Right,
}
use Side::{Left, Right};

impl Side {
    pub(crate) fn other(self) -> Side {
        match self {
            Left => Right,
            Right => Left,
        }
    }
}

/// What reaches an end on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    Opened,
    Octets(Vec<u8>),
    Closed,
    /// What the end has left for later.
    Later,
}

/// Who is at an end.
pub(crate) trait Speaks: Debug {
    /// Takes what arrives on the connection that `opener` opened; returns what it sends, by connection.
    fn take(&mut self, opener: Side, arrival: &Arrival) -> Vec<(Side, Arrival)>;

    /// The connection it holds for Established.
    fn session(&self) -> Option<Side>;

    /// Panics if what happened to it must not.
    fn judge(&self);

    /// Whether it decided before RFC 4271 §6.8 would have it do so.
    fn decided_early(&self) -> bool {
        false
    }
}

/// Two ends, and what is on its way to each on each connection.
#[derive(Debug)]
pub(crate) struct Line {
    ends: BTreeMap<Side, Box<dyn Speaks>>,
    wires: BTreeMap<(Side, Side), VecDeque<Arrival>>,
}

impl Line {
    /// Both ends have dialled.
    pub(crate) fn new(left: Box<dyn Speaks>, right: Box<dyn Speaks>) -> Line {
        let wires = [(Left, Left), (Left, Right), (Right, Left), (Right, Right)];
        Line {
            ends: BTreeMap::from([(Left, left), (Right, right)]),
            wires: wires.into_iter().map(|wire| (wire, VecDeque::from([Arrival::Opened]))).collect(),
        }
    }

    /// Where something may arrive next.
    pub(crate) fn choices(&self) -> Vec<(Side, Side)> {
        self.wires.iter().filter(|(_, wire)| !wire.is_empty()).map(|(wire, _)| *wire).collect()
    }

    pub(crate) fn arrive(&mut self, (to, opener): (Side, Side)) {
        let wire = self.wires.get_mut(&(to, opener)).expect("every wire is there");
        let arrival = wire.pop_front().expect("a wire with something on it");
        let end = self.ends.get_mut(&to).expect("both ends are there");
        for (opener, sent) in end.take(opener, &arrival) {
            let to = if sent == Arrival::Later { to } else { to.other() };
            self.wires.get_mut(&(to, opener)).expect("every wire is there").push_back(sent);
        }
        end.judge();
    }

    pub(crate) fn decided_early(&self) -> bool {
        self.ends.values().any(|end| end.decided_early())
    }

    pub(crate) fn sessions(&self) -> [Option<Side>; 2] {
        [Left, Right].map(|side| self.ends[&side].session())
    }
}

/// How the sessions stand at the end, and whether an end decided early.
pub(crate) type End = ([Option<Side>; 2], bool);

/// Tries every order; returns how it can end, with an order that leads there.
pub(crate) fn every_end(start: impl Fn() -> Line) -> BTreeMap<End, Vec<(Side, Side)>> {
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
            ends.entry((line.sessions(), line.decided_early())).or_insert_with(|| path.clone());
        }
        paths.extend(choices.into_iter().map(|wire| [&path[..], &[wire]].concat()));
    }
    assert!(seen.len() > 100, "{} states are not every order", seen.len());
    ends
}

pub(crate) fn octets(message: &Message) -> Arrival {
    Arrival::Octets(message.encode(Context::UNNEGOTIATED))
}

pub(crate) fn notification(reason: Reason) -> Arrival {
    octets(&Message::Notification(Notification::from(reason)))
}

pub(crate) fn message(bytes: &[u8]) -> Message {
    let (frame, _) = Frame::next(bytes).expect("a right message").expect("a whole one");
    Message::decode(frame, Context::UNNEGOTIATED).expect("a right message")
}
