//! The chains of workloads, and the way to them by the names of their links.
//!
//! Policy does not exist yet: where Calico's chains lead through policies and profiles and end by dropping, ours set the
//! accept mark. A packet of a link that is no workload's of ours is dropped.

use super::{Composition, IPIP};
use crate::rules::model::{ChainName, Dispatch, Ruleset, Table};
use crate::rules::rule::{Action, Connection, Direction, Match, Rule};
use ::model::desired::AllowAction;
use ::model::name::IfName;
use std::collections::BTreeSet;

pub(super) const FROM_WORKLOADS: &str = "cali-from-wl-dispatch";
pub(super) const TO_WORKLOADS: &str = "cali-to-wl-dispatch";
const FROM_WORKLOAD: &str = "cali-fw-";
const TO_WORKLOAD: &str = "cali-tw-";

const UDP: u8 = 17;

impl Composition<'_> {
    /// Adds the chains of all workloads.
    pub(super) fn endpoints(&self, ruleset: &mut Ruleset) {
        for (direction, root, prefix) in
            [(Direction::In, FROM_WORKLOADS, FROM_WORKLOAD), (Direction::Out, TO_WORKLOADS, TO_WORKLOAD)]
        {
            let chain = |link: &IfName| ChainName(format!("{prefix}{link}"));
            // of one that cannot be read the link is known, and these chains need no more while there is no policy; a rule
            // made from an endpoint's fields does
            let links: BTreeSet<&IfName> =
                self.desired.workloads.keys().chain(&self.desired.unread_workloads).collect();
            let targets = links.iter().copied().map(|link| (link.clone(), chain(link))).collect();
            let otherwise = Rule::new([], Action::Drop).comment("Unknown interface");
            let dispatch = Dispatch { direction, targets, otherwise };
            ruleset.dispatches.insert((Table::Filter, root.into()), dispatch);
            let rules = self.workload(direction);
            ruleset.chains.extend(links.into_iter().map(|link| ((Table::Filter, chain(link)), rules.clone())));
        }
    }

    /// The chain of one workload, for what it sends (in through its link) or what is sent to it (out through it).
    fn workload(&self, direction: Direction) -> Vec<Rule> {
        let (marks, settings) = (self.marks, &self.desired.settings.rules);
        let known = || [Match::Connection(Connection::RelatedOrEstablished)];
        let mut rules = Vec::new();
        if settings.filter_allow == AllowAction::Return {
            rules.push(Rule::new(known(), Action::SetMark(marks.accept)));
        }
        rules.push(Rule::new(known(), self.filter_allow.clone()));
        if !settings.pass_invalid {
            rules.push(Rule::new([Match::Connection(Connection::Invalid)], Action::Drop));
        }
        rules.push(Rule::new([], Action::ClearMark(marks.accept | marks.pass)));
        if direction == Direction::In {
            rules.extend(self.tunnels_of_workloads());
        }
        rules.push(Rule::new([], Action::SetMark(marks.accept)));
        rules
    }

    /// A workload that could send what tunnels carry could send, through another node, with any address.
    fn tunnels_of_workloads(&self) -> Vec<Rule> {
        let settings = &self.desired.settings.rules;
        let mut rules = Vec::new();
        if !settings.vxlan_from_workloads {
            let vxlan = [Match::Protocol(UDP), Match::UdpDestination(settings.vxlan_port)];
            rules.push(Rule::new(vxlan, Action::Drop).comment("Drop VXLAN encapped packets originating in workloads"));
        }
        if !settings.ipip_from_workloads {
            let ipip = Rule::new([Match::Protocol(IPIP)], Action::Drop);
            rules.push(ipip.comment("Drop IPinIP encapped packets originating in workloads"));
        }
        rules
    }
}
