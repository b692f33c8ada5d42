//! Tables, chains and sets, as both drivers understand them.
//!
//! A [`Ruleset`] says what should be there for one address family, complete: what is ours and not in it is to be
//! removed. It knows no syntax; how a rule is spelled is the business of `iptables::text` and `nft::text`.

use super::rule::{Direction, Rule};
use ::model::name::IfName;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

/// An address family. Every set and table belongs to one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    #[default]
    Ipv4,
    /// IPv6; nothing makes such rules yet.
    Ipv6,
}

impl Family {
    /// Whether an address is of this family.
    pub fn has(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Family::Ipv4)
    }

    /// The number of bits in an address.
    pub(super) fn bits(self) -> u32 {
        match self {
            Family::Ipv4 => 32,
            Family::Ipv6 => 128,
        }
    }
}

/// Everything that should be in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Whose packets the rules see.
    pub family: Family,
    /// Sets of addresses by name.
    pub sets: BTreeMap<SetName, Set>,
    /// Our chains; an empty one exists without rules.
    pub chains: BTreeMap<(Table, ChainName), Vec<Rule>>,
    /// Our chains that lead on by the name of a link.
    pub dispatches: BTreeMap<(Table, ChainName), Dispatch>,
    /// Rules in the kernel's own chains, through which packets reach ours.
    pub hooks: BTreeMap<(Table, Hook), HookRules>,
    /// Where [`HookRules::inserted`] go in a chain shared with others.
    pub placement: Placement,
}

/// A set of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// What its members are.
    pub kind: SetKind,
    /// The members; of a set of addresses each as long as an address.
    pub members: BTreeSet<IpNet>,
}

/// What a set's members are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetKind {
    /// Prefixes: `hash:net` in ipset's terms, intervals in nftables'.
    #[default]
    Networks,
    /// Single addresses: `hash:ip` in ipset's terms.
    Addresses,
}

/// A chain that leads to another one for each of many links.
///
/// How is left to a driver: iptables goes down a tree of names, nftables looks into a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// Which of a packet's links counts.
    pub direction: Direction,
    /// The chain for each link.
    pub targets: BTreeMap<IfName, ChainName>,
    /// What becomes of packets of all other links.
    pub otherwise: Rule,
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
    const MAX: usize = 31;

    /// Names the set of a family with the given identity.
    pub fn of(family: Family, id: &str) -> SetName {
        let mut name = format!("{}{id}", Self::prefix(family));
        name.truncate(Self::MAX);
        SetName(name)
    }

    /// What every set of ours starts with, by family.
    pub fn prefix(family: Family) -> &'static str {
        match family {
            Family::Ipv4 => "cali40",
            Family::Ipv6 => "cali60",
        }
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
