//! Tables, chains, rules and sets, as both drivers understand them.
//!
//! A [`Ruleset`] says what should be there, complete: what is ours and not in it is to be removed. It knows no
//! syntax; how a [`Match`] is spelled is the business of `iptables::text` and `nft::text`.

use ::model::name::IfName;
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

/// Everything that should be in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Sets of prefixes by name; all of them `hash:net` in ipset's terms.
    pub sets: BTreeMap<SetName, BTreeSet<Ipv4Net>>,
    /// Our chains; an empty one exists without rules.
    pub chains: BTreeMap<(Table, ChainName), Vec<Rule>>,
    /// Rules in the kernel's own chains, through which packets reach ours.
    pub hooks: BTreeMap<(Table, Hook), HookRules>,
    /// Where [`HookRules::inserted`] go in a chain shared with others.
    pub placement: Placement,
}

/// Our rules in one of the kernel's chains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookRules {
    /// Rules placed by [`Ruleset::placement`].
    pub inserted: Vec<Rule>,
    /// Rules after everybody else's, whatever the placement.
    pub appended: Vec<Rule>,
}

/// `chainInsertMode`: before or after the rules of others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// Before all others.
    #[default]
    Top,
    /// After all others.
    Bottom,
}

/// An iptables table; nftables has one table, and these as prefixes of chain names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Before connection tracking.
    Raw,
    /// Marks and header fields.
    Mangle,
    /// Address translation.
    Nat,
    /// Verdicts.
    Filter,
}

impl Table {
    /// All tables, in the order in which packets meet them.
    pub const ALL: [Table; 4] = [Table::Raw, Table::Mangle, Table::Nat, Table::Filter];

    /// The table's name.
    pub fn name(self) -> &'static str {
        match self {
            Table::Raw => "raw",
            Table::Mangle => "mangle",
            Table::Nat => "nat",
            Table::Filter => "filter",
        }
    }
}

/// One of the kernel's own chains, where packets enter a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// On arrival, before routing.
    Prerouting,
    /// On the way to a local socket.
    Input,
    /// On the way through.
    Forward,
    /// From a local socket.
    Output,
    /// On departure, after routing.
    Postrouting,
}

impl Hook {
    /// All of the kernel's chains.
    pub const ALL: [Hook; 5] = [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];

    /// The chain's name.
    pub fn name(self) -> &'static str {
        match self {
            Hook::Prerouting => "PREROUTING",
            Hook::Input => "INPUT",
            Hook::Forward => "FORWARD",
            Hook::Output => "OUTPUT",
            Hook::Postrouting => "POSTROUTING",
        }
    }
}

/// Name of one of our chains, such as `cali-POSTROUTING`; at most 28 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainName(pub String);

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for ChainName {
    fn from(name: &str) -> Self {
        ChainName(name.to_owned())
    }
}

/// Name of a set as the kernel knows it, such as `cali40masq-ipam-pools`; at most 31 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetName(pub String);

impl SetName {
    /// What every IPv4 set of ours starts with.
    pub const PREFIX: &str = "cali40";
    const MAX: usize = 31;

    /// Names the IPv4 set with the given identity.
    pub fn ipv4(id: &str) -> SetName {
        let mut name = format!("{}{id}", Self::PREFIX);
        name.truncate(Self::MAX);
        SetName(name)
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A rule: what it applies to, and what then happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Conditions, all of which must hold.
    pub matches: Vec<Match>,
    /// What happens to a packet that meets them.
    pub action: Action,
}

impl Rule {
    /// A rule that sends every packet through another chain.
    pub fn jump(chain: &str) -> Rule {
        Rule { matches: Vec::new(), action: Action::Jump(chain.into()) }
    }
}

/// A condition on a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// It leaves through the named link.
    OutInterface(IfName),
    /// One of its addresses is, or is not, in a set.
    InSet(End, Sense, SetName),
    /// One of its addresses is, or is not, one of this node's own.
    Local(End, Sense, Scope),
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
    /// Its source becomes the address of the link it leaves through, its source port a random one.
    Masquerade,
    /// Its source becomes the given address, its source port a random one.
    Snat(Ipv4Addr),
}
