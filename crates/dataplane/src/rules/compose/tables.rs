//! The chains that every packet meets: tables raw, mangle and filter.
//!
//! What a workload sends is judged three times. In raw it must come with an address that leads back to its link, and
//! must not be for a loopback address: `route_localnet` is set on workloads' links so that translation to the local
//! host works, and without this rule of ours a workload could send there itself. In filter it goes through its own
//! chain, and then, if it is for this node, by what FelixConfiguration says.

use super::endpoint::{FROM_WORKLOADS, TO_WORKLOADS};
use super::{
    ALL_HOSTS, ALL_POOLS, Composition, DSCP_SOURCES, FORWARD, INPUT, IPIP, OUTPUT, POSTROUTING, PREROUTING, THIS_HOST,
    add, hook, workloads,
};
use crate::rules::model::{Family, Hook, HookRules, Ruleset, Table};
use crate::rules::rule::{Action, Bits, Connection, Direction, End, Match, Rule, Scope, Sense};
use ::model::desired::EndpointToHost;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};

const FROM_HOST_ENDPOINT: &str = "cali-from-host-endpoint";
const TO_HOST_ENDPOINT: &str = "cali-to-host-endpoint";
const FROM_HOST_ENDPOINT_FORWARD: &str = "cali-from-hep-forward";
const TO_HOST_ENDPOINT_FORWARD: &str = "cali-to-hep-forward";
/// Leads around the check of the reverse path: a workload's `allowSpoofedSourcePrefixes`, which nobody acts on yet.
const RPF_SKIP: &str = "cali-rpf-skip";
const CIDR_BLOCK: &str = "cali-cidr-block";
const EGRESS_DSCP: &str = "cali-egress-dscp";
const WORKLOAD_TO_HOST: &str = "cali-wl-to-host";

const HOST_ACCEPTED: &str = "Host endpoint policy accepted packet.";

impl Composition<'_> {
    /// The table raw: before connection tracking and any translation.
    pub(super) fn raw(&self, ruleset: &mut Ruleset) {
        let marks = self.marks;
        let of_a_workload = Match::Mark(Bits::Set, marks.scratch);
        let prerouting = vec![
            self.clear_marks(),
            Rule::new([workloads(Direction::In)], Action::SetMark(marks.scratch)),
            Rule::new([workloads(Direction::In), Match::Network(End::Destination, self.loopback())], Action::Drop)
                .comment("Drop packets from workloads to loopback addresses"),
            Rule::new([of_a_workload.clone()], Action::Jump(RPF_SKIP.into())),
            Rule::new([of_a_workload, Match::ReversePathFails], Action::Drop),
            Rule::new([Match::Mark(Bits::Clear, marks.scratch)], Action::Jump(FROM_HOST_ENDPOINT.into())),
            Rule::new([marks.is_accepted()], Action::Accept),
        ];
        let output =
            vec![self.clear_marks(), Rule::jump(TO_HOST_ENDPOINT), Rule::new([marks.is_accepted()], Action::Accept)];
        let chains = [
            (PREROUTING, prerouting),
            (OUTPUT, output),
            (RPF_SKIP, Vec::new()),
            (FROM_HOST_ENDPOINT, Vec::new()),
            (TO_HOST_ENDPOINT, Vec::new()),
        ];
        add(ruleset, Table::Raw, chains);
        hook(ruleset, Table::Raw, Hook::Prerouting, PREROUTING);
        hook(ruleset, Table::Raw, Hook::Output, OUTPUT);
    }

    /// The table mangle.
    pub(super) fn mangle(&self, ruleset: &mut Ruleset) {
        let (marks, allow) = (self.marks, &self.mangle_allow);
        let prerouting = vec![
            Rule::new([Match::Connection(Connection::RelatedOrEstablished)], allow.clone()),
            Rule::new([marks.is_accepted()], allow.clone()),
            Rule::jump(FROM_HOST_ENDPOINT),
            Rule::new([marks.is_accepted()], allow.clone()).comment(HOST_ACCEPTED),
        ];
        let leaving = [
            Match::InSet(End::Source, Sense::Is, self.set(DSCP_SOURCES)),
            Match::InSet(End::Destination, Sense::IsNot, self.set(ALL_POOLS)),
            Match::InSet(End::Destination, Sense::IsNot, self.set(THIS_HOST)),
        ];
        let postrouting = vec![
            Rule::new(leaving, Action::Jump(EGRESS_DSCP.into())).comment("set dscp for traffic leaving cluster."),
            Rule::new([marks.is_accepted()], Action::Return),
            self.clear_marks(),
            Rule::new([Match::DestinationTranslated(Sense::Is)], Action::Jump(TO_HOST_ENDPOINT.into())),
            Rule::new([marks.is_accepted()], Action::Return).comment(HOST_ACCEPTED),
        ];
        let chains = [
            (PREROUTING, prerouting),
            (POSTROUTING, postrouting),
            (EGRESS_DSCP, Vec::new()),
            (FROM_HOST_ENDPOINT, Vec::new()),
            (TO_HOST_ENDPOINT, Vec::new()),
        ];
        add(ruleset, Table::Mangle, chains);
        hook(ruleset, Table::Mangle, Hook::Prerouting, PREROUTING);
        hook(ruleset, Table::Mangle, Hook::Postrouting, POSTROUTING);
    }

    /// The table filter, but for the chains of endpoints.
    pub(super) fn filter(&self, ruleset: &mut Ruleset) {
        let chains = [
            (INPUT, self.input()),
            (WORKLOAD_TO_HOST, self.workload_to_host()),
            (FORWARD, self.forward()),
            (OUTPUT, self.output()),
            (FROM_HOST_ENDPOINT, Vec::new()),
            (TO_HOST_ENDPOINT, Vec::new()),
            (FROM_HOST_ENDPOINT_FORWARD, Vec::new()),
            (TO_HOST_ENDPOINT_FORWARD, Vec::new()),
            (CIDR_BLOCK, Vec::new()),
        ];
        add(ruleset, Table::Filter, chains);
        hook(ruleset, Table::Filter, Hook::Input, INPUT);
        hook(ruleset, Table::Filter, Hook::Output, OUTPUT);
        let forward = HookRules {
            inserted: vec![Rule::jump(FORWARD)],
            // behind everybody else's, so that workloads' packets pass where the chain's policy is to drop
            appended: vec![
                Rule::new([self.marks.is_accepted()], self.filter_allow.clone())
                    .comment("Policy explicitly accepted packet."),
                Rule::new([], Action::SetMark(self.marks.accept)),
            ],
        };
        ruleset.hooks.insert((Table::Filter, Hook::Forward), forward);
    }

    fn input(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        if self.ipip() {
            let from_a_host = [
                Match::Protocol(IPIP),
                Match::InSet(End::Source, Sense::Is, self.set(ALL_HOSTS)),
                Match::Local(End::Destination, Sense::Is, Scope::Node),
            ];
            rules.push(
                Rule::new(from_a_host, self.filter_allow.clone()).comment("Allow IPIP packets from Calico hosts"),
            );
            let from_others = Rule::new([Match::Protocol(IPIP)], Action::Drop);
            rules.push(from_others.comment("Drop IPIP packets from non-Calico hosts"));
        }
        rules.extend([
            Rule::new([workloads(Direction::In)], Action::Goto(WORKLOAD_TO_HOST.into())),
            Rule::new([self.marks.is_accepted()], self.filter_allow.clone()),
            self.clear_marks(),
            Rule::jump(FROM_HOST_ENDPOINT),
            Rule::new([self.marks.is_accepted()], self.filter_allow.clone()).comment(HOST_ACCEPTED),
        ]);
        rules
    }

    fn workload_to_host(&self) -> Vec<Rule> {
        let action = match self.desired.settings.rules.endpoint_to_host {
            EndpointToHost::Drop => Action::Drop,
            EndpointToHost::Return => Action::Return,
            EndpointToHost::Accept => Action::Accept,
        };
        vec![Rule::jump(FROM_WORKLOADS), Rule::new([], action).comment("Configured DefaultEndpointToHostAction")]
    }

    fn forward(&self) -> Vec<Rule> {
        let marks = self.marks;
        vec![
            Rule::new([], Action::ClearMark(marks.all_but_accept())),
            Rule::new([Match::Mark(Bits::Clear, marks.accept)], Action::Jump(FROM_HOST_ENDPOINT_FORWARD.into())),
            Rule::new([workloads(Direction::In)], Action::Jump(FROM_WORKLOADS.into())),
            Rule::new([workloads(Direction::Out)], Action::Jump(TO_WORKLOADS.into())),
            Rule::jump(TO_HOST_ENDPOINT_FORWARD),
            Rule::jump(CIDR_BLOCK),
        ]
    }

    fn output(&self) -> Vec<Rule> {
        let (marks, allow) = (self.marks, &self.filter_allow);
        let mut rules = vec![
            Rule::new([marks.is_accepted()], allow.clone()),
            // what a node sends to its own workloads is never judged
            Rule::new([workloads(Direction::Out)], Action::Return),
        ];
        if self.ipip() {
            let to_a_host = [
                Match::Protocol(IPIP),
                Match::InSet(End::Destination, Sense::Is, self.set(ALL_HOSTS)),
                Match::Local(End::Source, Sense::Is, Scope::Node),
            ];
            rules.push(Rule::new(to_a_host, allow.clone()).comment("Allow IPIP packets to other Calico hosts"));
        }
        rules.extend([
            self.clear_marks(),
            Rule::new([Match::DestinationTranslated(Sense::IsNot)], Action::Jump(TO_HOST_ENDPOINT.into())),
            Rule::new([marks.is_accepted()], allow.clone()).comment(HOST_ACCEPTED),
        ]);
        rules
    }

    fn clear_marks(&self) -> Rule {
        Rule::new([], Action::ClearMark(self.marks.all()))
    }

    fn loopback(&self) -> IpNet {
        match self.family {
            Family::Ipv4 => IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
            Family::Ipv6 => IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
        }
    }
}
