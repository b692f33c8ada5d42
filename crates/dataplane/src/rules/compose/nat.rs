//! Address translation: pools that ask for it, and the repair of packets that leave through a tunnel device with an
//! address of another device.

use super::{ALL_HOSTS, ALL_POOLS, Composition, MASQ_POOLS, OUTPUT, POSTROUTING, PREROUTING, add, hook};
use crate::rules::model::{Family, Hook, HookRules, Ruleset, Table};
use crate::rules::rule::{Action, Direction, End, Links, Match, Rule, Scope, Sense};
use ::model::name::{IPIP_DEVICE, IfName};
use std::net::IpAddr;

const FIP_DNAT: &str = "cali-fip-dnat";
const FIP_SNAT: &str = "cali-fip-snat";
pub(super) const NAT_OUTGOING: &str = "cali-nat-outgoing";

impl Composition<'_> {
    /// The table nat.
    pub(super) fn nat(&self, ruleset: &mut Ruleset) {
        let mut postrouting = vec![Rule::jump(FIP_SNAT), Rule::jump(NAT_OUTGOING)];
        if self.ipip() && self.desired.ipip.as_ref().is_some_and(|ipip| ipip.address.is_some()) {
            postrouting.push(tunnel_source(IPIP_DEVICE));
        }
        let chains = [
            (PREROUTING, vec![Rule::jump(FIP_DNAT)]),
            (OUTPUT, vec![Rule::jump(FIP_DNAT)]),
            (POSTROUTING, postrouting),
            (FIP_DNAT, Vec::new()),
            (FIP_SNAT, Vec::new()),
            (NAT_OUTGOING, self.nat_outgoing().into_iter().collect()),
        ];
        add(ruleset, Table::Nat, chains);
        hook(ruleset, Table::Nat, Hook::Prerouting, PREROUTING);
        hook(ruleset, Table::Nat, Hook::Output, OUTPUT);
        // After kube-proxy's rules, which clear their own masquerade mark: left on, it would reach the outer packet
        // of a tunnel and translate that a second time.
        let last = HookRules { inserted: Vec::new(), appended: vec![Rule::jump(POSTROUTING)] };
        ruleset.hooks.insert((Table::Nat, Hook::Postrouting), last);
    }

    /// The rule that gives a pool's packets to the outside this node's address, if any pool wants it.
    fn nat_outgoing(&self) -> Option<Rule> {
        let wanted = self.family == Family::Ipv4 && self.desired.pools.values().any(|pool| pool.nat_outgoing);
        wanted.then(|| {
            let outside = |set| Match::InSet(End::Destination, Sense::IsNot, self.set(set));
            let mut matches = vec![Match::InSet(End::Source, Sense::Is, self.set(MASQ_POOLS)), outside(ALL_POOLS)];
            if self.desired.settings.nat_exclude_hosts {
                matches.push(outside(ALL_HOSTS));
            }
            let address = self.desired.settings.nat_address.map(IpAddr::V4);
            let action = address.filter(|it| self.family.has(*it)).map_or(Action::Masquerade, Action::Snat);
            Rule::new(matches, action)
        })
    }
}

/// The rule for packets of this node itself whose source was chosen before they were routed into a tunnel: the
/// other end could not answer to it through the tunnel.
fn tunnel_source(device: &str) -> Rule {
    let matches = [
        Match::Link(Direction::Out, Links::Named(IfName::from(device))),
        Match::Local(End::Source, Sense::IsNot, Scope::OutInterface),
        Match::Local(End::Source, Sense::Is, Scope::Node),
    ];
    Rule::new(matches, Action::Masquerade)
}
