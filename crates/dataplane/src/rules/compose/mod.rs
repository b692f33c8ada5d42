//! From intent to rules: which chains a node has, and what is in them.
//!
//! The content follows Calico v3.32 (dataplane reference §3.2, §3.4): its chains, sets, hooks and rules, in its order.
//! Chains for what Tortie has not yet (host endpoints, floating addresses, DSCP, `cali-rpf-skip` for source spoofing,
//! `cali-cidr-block`) are there, empty, as they are in Calico before anybody asks for those. Two things differ: where Calico's chains of a workload lead to profiles, ours
//! accept, until policy comes; and nothing of a workload reaches a loopback address (see [`tables`]).

mod endpoint;
mod nat;
mod tables;

use super::model::{ChainName, Family, Hook, HookRules, Placement, Ruleset, Set, SetKind, SetName, Table};
use super::rule::{Action, Bits, Direction, Links, Match, Rule};
use ::model::desired::{AllowAction, Desired};
use ::model::name::WORKLOAD_PREFIX;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

const MASQ_POOLS: &str = "masq-ipam-pools";
/// Calico before v3.32 and the walkthrough have this name; v3.32's is `network-ip-pools`.
const ALL_POOLS: &str = "all-ipam-pools";
const ALL_HOSTS: &str = "all-hosts-net";
const THIS_HOST: &str = "this-host";
const DSCP_SOURCES: &str = "dscp-src-net";

const PREROUTING: &str = "cali-PREROUTING";
const INPUT: &str = "cali-INPUT";
const FORWARD: &str = "cali-FORWARD";
const OUTPUT: &str = "cali-OUTPUT";
const POSTROUTING: &str = "cali-POSTROUTING";

/// The protocol number of IPv4 in IP (RFC 2003).
const IPIP: u8 = 4;

/// Works out the packet rules of a family that `desired` asks for; `local` are the addresses of the node's links
/// other than workloads'.
pub fn compose(desired: &Desired, family: Family, local: &BTreeSet<IpAddr>) -> Ruleset {
    let rules = &desired.settings.rules;
    let composition = Composition {
        desired,
        family,
        marks: Marks::of(rules.mark_mask),
        filter_allow: allow(rules.filter_allow),
        mangle_allow: allow(rules.mangle_allow),
    };
    let mut ruleset = Ruleset { family, sets: composition.sets(local), ..Ruleset::default() };
    if desired.settings.append_hooks {
        ruleset.placement = Placement::Bottom;
    }
    composition.raw(&mut ruleset);
    composition.mangle(&mut ruleset);
    composition.nat(&mut ruleset);
    composition.filter(&mut ruleset);
    composition.endpoints(&mut ruleset);
    ruleset
}

/// What is asked for, and what many rules need to know of it.
struct Composition<'a> {
    desired: &'a Desired,
    family: Family,
    marks: Marks,
    filter_allow: Action,
    mangle_allow: Action,
}

/// The bits of a mark by their meaning, each the lowest of the mask that is not taken by one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Marks {
    /// Some policy or profile, or an endpoint without any, lets the packet pass.
    accept: u32,
    /// The next tier decides.
    pass: u32,
    /// A rule's own, for a while; in raw: the packet is a workload's.
    scratch: u32,
    /// Another.
    scratch2: u32,
}

impl Marks {
    /// Takes bits from a mask of five bits or more. The third is Calico's mark of a denied packet.
    fn of(mask: u32) -> Marks {
        let mut bits = (0..u32::BITS).map(|bit| 1 << bit).filter(|bit| mask & bit != 0);
        let mut next = || bits.next().unwrap_or_default();
        let (accept, pass, _denied) = (next(), next(), next());
        Marks { accept, pass, scratch: next(), scratch2: next() }
    }

    /// Everything that is cleared before a packet is judged.
    fn all(self) -> u32 {
        self.accept | self.all_but_accept()
    }

    fn all_but_accept(self) -> u32 {
        self.pass | self.scratch | self.scratch2
    }

    fn is_accepted(self) -> Match {
        Match::Mark(Bits::Set, self.accept)
    }
}

fn allow(action: AllowAction) -> Action {
    match action {
        AllowAction::Accept => Action::Accept,
        AllowAction::Return => Action::Return,
    }
}

impl Composition<'_> {
    fn sets(&self, local: &BTreeSet<IpAddr>) -> BTreeMap<SetName, Set> {
        let pools = || self.desired.pools.iter().filter(|_| self.family == Family::Ipv4);
        let masq = pools().filter(|(_, pool)| pool.nat_outgoing).map(|(cidr, _)| IpNet::V4(*cidr));
        let all = pools().filter(|(_, pool)| !pool.load_balancer_only).map(|(cidr, _)| IpNet::V4(*cidr));
        let local = local.iter().filter(|address| self.family.has(**address)).map(|address| IpNet::from(*address));
        let mut sets = vec![
            (MASQ_POOLS, SetKind::Networks, masq.collect()),
            (ALL_POOLS, SetKind::Networks, all.collect()),
            (DSCP_SOURCES, SetKind::Networks, BTreeSet::new()),
            (THIS_HOST, SetKind::Addresses, local.collect()),
        ];
        if self.ipip() || self.desired.settings.nat_exclude_hosts {
            sets.push((ALL_HOSTS, SetKind::Networks, self.all_hosts()));
        }
        let named = |(id, kind, members)| (self.set(id), Set { kind, members });
        sets.into_iter().map(named).collect()
    }

    /// Who may send tunnelled packets: nodes, and what FelixConfiguration adds.
    fn all_hosts(&self) -> BTreeSet<IpNet> {
        let nodes = self.desired.hosts.values().map(|address| IpNet::from(IpAddr::V4(*address)));
        let external = self.desired.settings.external_nodes.iter().map(|network| IpNet::V4(*network));
        nodes.chain(external).filter(|network| self.family.has(network.addr())).collect()
    }

    /// Whether packets in IPIP are expected.
    fn ipip(&self) -> bool {
        self.family == Family::Ipv4 && self.desired.ipip.is_some()
    }

    fn set(&self, id: &str) -> SetName {
        SetName::of(self.family, id)
    }
}

/// The links of all workloads.
fn workloads(direction: Direction) -> Match {
    Match::Link(direction, Links::StartingWith(WORKLOAD_PREFIX.to_owned()))
}

/// Adds our chains to a table, and hooks that jump to them.
fn add(ruleset: &mut Ruleset, table: Table, chains: impl IntoIterator<Item = (&'static str, Vec<Rule>)>) {
    for (name, rules) in chains {
        ruleset.chains.insert((table, ChainName::from(name)), rules);
    }
}

fn hook(ruleset: &mut Ruleset, table: Table, hook: Hook, chain: &str) {
    let rules = HookRules { inserted: vec![Rule::jump(chain)], appended: Vec::new() };
    ruleset.hooks.insert((table, hook), rules);
}

#[cfg(test)]
mod tests;
