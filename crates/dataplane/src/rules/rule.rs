//! One rule: what it applies to, and what then happens.

use super::model::{ChainName, SetName};
use ::model::name::IfName;
use ipnet::IpNet;
use std::net::IpAddr;

/// A rule: what it applies to, and what then happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Conditions, all of which must hold.
    pub matches: Vec<Match>,
    /// What happens to a packet that meets them.
    pub action: Action,
    /// What an operator reads beside it.
    pub comments: Vec<String>,
}

impl Rule {
    /// A rule without a comment.
    pub fn new(matches: impl Into<Vec<Match>>, action: Action) -> Rule {
        Rule { matches: matches.into(), action, comments: Vec::new() }
    }

    /// A rule that sends every packet through another chain.
    pub fn jump(chain: &str) -> Rule {
        Rule::new([], Action::Jump(chain.into()))
    }

    /// The same rule with a comment.
    pub fn comment(mut self, text: &str) -> Rule {
        self.comments.push(text.to_owned());
        self
    }
}

/// A condition on a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// It came, or leaves, through a link of these.
    Link(Direction, Links),
    /// Its protocol has this number.
    Protocol(u8),
    /// It goes to this UDP port; stands after a match of the protocol.
    UdpDestination(u16),
    /// One of its addresses is in a network.
    Network(End, IpNet),
    /// One of its addresses is, or is not, in a set.
    InSet(End, Sense, SetName),
    /// One of its addresses is, or is not, one of this node's own.
    Local(End, Sense, Scope),
    /// All of these bits of its mark are set, or all are clear.
    Mark(Bits, u32),
    /// What connection tracking says of it.
    Connection(Connection),
    /// Its destination was, or was not, translated.
    DestinationTranslated(Sense),
    /// A packet to its source would not leave through the link that it came through.
    ReversePathFails,
}

/// One of the two links that a packet meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The one it came through.
    In,
    /// The one it leaves through.
    Out,
}

/// Links by their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Links {
    /// One link.
    Named(IfName),
    /// All links whose names start so.
    StartingWith(String),
}

/// What is asked of bits of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    /// All are set.
    Set,
    /// All are clear.
    Clear,
}

/// A packet's place in a connection, as connection tracking sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// It belongs to one that is known.
    RelatedOrEstablished,
    /// It cannot be placed.
    Invalid,
}

/// One end of a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where it comes from.
    Source,
    /// Where it goes to.
    Destination,
}

/// Whether a condition must hold or must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sense {
    /// It must.
    Is,
    /// It must not.
    IsNot,
}

/// Which links' addresses count as local.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of all links.
    Node,
    /// Those of the link that the packet leaves through.
    OutInterface,
}

/// What happens to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes through another of our chains in the same table, and comes back.
    Jump(ChainName),
    /// It goes through another of our chains, and from there back to where this chain was jumped to from.
    Goto(ChainName),
    /// It goes back to where this chain was jumped to from.
    Return,
    /// It passes this table.
    Accept,
    /// It is dropped.
    Drop,
    /// Bits of its mark are set.
    SetMark(u32),
    /// Bits of its mark are cleared.
    ClearMark(u32),
    /// Its source becomes the address of the link it leaves through, its source port a random one.
    Masquerade,
    /// Its source becomes the given address, its source port a random one.
    Snat(IpAddr),
}
