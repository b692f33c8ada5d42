//! From intent to rules: which chains a node has, and what is in them.
//!
//! The content follows Calico v3.32: outgoing address translation for pools that ask for it, and the repair of
//! packets that leave through a tunnel device with an address of another device. The chains for floating
//! addresses are there, empty, as they are in Calico.

use super::model::{
    Action, ChainName, End, Hook, HookRules, Match, Placement, Rule, Ruleset, Scope, Sense, SetName, Table,
};
use ::model::desired::Desired;
use ::model::name::{IPIP_DEVICE, IfName};
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};

const MASQ_POOLS: &str = "masq-ipam-pools";
/// Calico before v3.32 and the walkthrough have this name; v3.32's is `network-ip-pools`.
const ALL_POOLS: &str = "all-ipam-pools";
const ALL_HOSTS: &str = "all-hosts-net";

const PREROUTING: &str = "cali-PREROUTING";
const OUTPUT: &str = "cali-OUTPUT";
const POSTROUTING: &str = "cali-POSTROUTING";
const FIP_DNAT: &str = "cali-fip-dnat";
const FIP_SNAT: &str = "cali-fip-snat";
const NAT_OUTGOING: &str = "cali-nat-outgoing";

/// Works out the packet rules that `desired` asks for.
pub fn compose(desired: &Desired) -> Ruleset {
    let mut ruleset = Ruleset { sets: sets(desired), ..Ruleset::default() };
    if desired.settings.append_hooks {
        ruleset.placement = Placement::Bottom;
    }
    nat(desired, &mut ruleset);
    ruleset
}

fn sets(desired: &Desired) -> BTreeMap<SetName, BTreeSet<Ipv4Net>> {
    let masq = desired.pools.iter().filter(|(_, pool)| pool.nat_outgoing).map(|(cidr, _)| *cidr);
    let all = desired.pools.iter().filter(|(_, pool)| !pool.load_balancer_only).map(|(cidr, _)| *cidr);
    let mut sets =
        BTreeMap::from([(SetName::ipv4(MASQ_POOLS), masq.collect()), (SetName::ipv4(ALL_POOLS), all.collect())]);
    if desired.ipip.is_some() || desired.settings.nat_exclude_hosts {
        let hosts = desired.hosts.values().map(|address| Ipv4Net::from(*address));
        sets.insert(SetName::ipv4(ALL_HOSTS), hosts.collect());
    }
    sets
}

fn nat(desired: &Desired, ruleset: &mut Ruleset) {
    let mut postrouting = vec![Rule::jump(FIP_SNAT), Rule::jump(NAT_OUTGOING)];
    if desired.ipip.as_ref().is_some_and(|ipip| ipip.address.is_some()) {
        postrouting.push(tunnel_source(IPIP_DEVICE));
    }
    for (chain, rules) in [
        (PREROUTING, vec![Rule::jump(FIP_DNAT)]),
        (OUTPUT, vec![Rule::jump(FIP_DNAT)]),
        (POSTROUTING, postrouting),
        (FIP_DNAT, Vec::new()),
        (FIP_SNAT, Vec::new()),
        (NAT_OUTGOING, nat_outgoing(desired).into_iter().collect()),
    ] {
        ruleset.chains.insert((Table::Nat, ChainName::from(chain)), rules);
    }

    for (hook, chain) in [(Hook::Prerouting, PREROUTING), (Hook::Output, OUTPUT)] {
        let rules = HookRules { inserted: vec![Rule::jump(chain)], appended: Vec::new() };
        ruleset.hooks.insert((Table::Nat, hook), rules);
    }
    // After kube-proxy's rules, which clear their own masquerade mark: left on, it would reach the outer packet
    // of a tunnel and translate that a second time.
    let last = HookRules { inserted: Vec::new(), appended: vec![Rule::jump(POSTROUTING)] };
    ruleset.hooks.insert((Table::Nat, Hook::Postrouting), last);
}

/// The rule that gives a pool's packets to the outside this node's address, if any pool wants it.
fn nat_outgoing(desired: &Desired) -> Option<Rule> {
    if !desired.pools.values().any(|pool| pool.nat_outgoing) {
        return None;
    }
    let outside = |set| Match::InSet(End::Destination, Sense::IsNot, SetName::ipv4(set));
    let mut matches = vec![Match::InSet(End::Source, Sense::Is, SetName::ipv4(MASQ_POOLS)), outside(ALL_POOLS)];
    if desired.settings.nat_exclude_hosts {
        matches.push(outside(ALL_HOSTS));
    }
    let action = desired.settings.nat_address.map_or(Action::Masquerade, Action::Snat);
    Some(Rule { matches, action })
}

/// The rule for packets of this node itself whose source was chosen before they were routed into a tunnel: the
/// other end could not answer to it through the tunnel.
fn tunnel_source(device: &str) -> Rule {
    let matches = vec![
        Match::OutInterface(IfName::from(device)),
        Match::Local(End::Source, Sense::IsNot, Scope::OutInterface),
        Match::Local(End::Source, Sense::Is, Scope::Node),
    ];
    Rule { matches, action: Action::Masquerade }
}

#[cfg(test)]
mod tests;
