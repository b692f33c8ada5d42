//! A dispatch as a tree of chains, since iptables goes through a chain rule by rule.
//!
//! As Calico does it (dataplane reference §3.4): after what all names have in common, each next character that two or
//! more names share has a chain of its own, one level deep; every chain ends with the rule for all other links.

use crate::rules::model::{ChainName, Dispatch};
use crate::rules::rule::{Action, Links, Match, Rule};
use ::model::name::IfName;
use std::collections::BTreeMap;

/// The chains of a dispatch, `root` first of all.
pub(super) fn chains(root: &ChainName, dispatch: &Dispatch) -> BTreeMap<ChainName, Vec<Rule>> {
    let common = common_prefix(dispatch.targets.keys());
    let mut groups: BTreeMap<&str, Vec<(&IfName, &ChainName)>> = BTreeMap::new();
    for (link, target) in &dispatch.targets {
        let end = link.0[common.len()..].chars().next().map_or(0, char::len_utf8);
        groups.entry(&link.0[..common.len() + end]).or_default().push((link, target));
    }
    let leaf = |(link, target): &(&IfName, &ChainName)| {
        Rule::new([Match::Link(dispatch.direction, Links::Named((*link).clone()))], Action::Goto((*target).clone()))
    };
    let (mut trunk, mut chains) = (Vec::new(), BTreeMap::new());
    for (start, links) in groups {
        if let [only] = links.as_slice() {
            trunk.push(leaf(only));
            continue;
        }
        let name = ChainName(format!("{root}-{}", &start[common.len()..]));
        let branch = Match::Link(dispatch.direction, Links::StartingWith(start.to_owned()));
        trunk.push(Rule::new([branch], Action::Goto(name.clone())));
        chains.insert(name, links.iter().map(leaf).chain([dispatch.otherwise.clone()]).collect());
    }
    trunk.push(dispatch.otherwise.clone());
    chains.insert(root.clone(), trunk);
    chains
}

/// What all names start with; nothing without names.
fn common_prefix<'a>(mut names: impl Iterator<Item = &'a IfName>) -> &'a str {
    let Some(first) = names.next() else { return "" };
    names.fold(first.0.as_str(), |common, name| {
        let same = common.char_indices().zip(name.0.chars()).find(|((_, one), other)| one != other);
        let length = same.map_or(common.len().min(name.0.len()), |((at, _), _)| at);
        &common[..length]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::rule::Direction;

    /// Writes a tree as `CHAIN: NAME>TARGET PREFIX+>CHAIN …`.
    fn tree(links: &[&str]) -> Vec<String> {
        let targets = links.iter().map(|link| (IfName::from(*link), ChainName(format!("fw-{link}")))).collect();
        let otherwise = Rule::new([], Action::Drop);
        let dispatch = Dispatch { direction: Direction::In, targets, otherwise };
        let rule = |rule: &Rule| match (&rule.matches[..], &rule.action) {
            ([Match::Link(Direction::In, Links::Named(link))], Action::Goto(to)) => format!("{link}>{to}"),
            ([Match::Link(Direction::In, Links::StartingWith(start))], Action::Goto(to)) => format!("{start}+>{to}"),
            ([], Action::Drop) => "drop".to_owned(),
            other => panic!("{other:?}"),
        };
        let chains = chains(&ChainName::from("d"), &dispatch);
        chains
            .iter()
            .map(|(name, rules)| format!("{name}: {}", rules.iter().map(rule).collect::<Vec<_>>().join(" ")))
            .collect()
    }

    #[test]
    fn names_lead_to_their_chains() {
        for (links, expect) in [
            (&[][..], &["d: drop"][..]),
            (&["cali1"], &["d: cali1>fw-cali1 drop"]),
            (&["cali00001", "cali00002"], &["d: cali00001>fw-cali00001 cali00002>fw-cali00002 drop"]),
            (
                &["cali20a", "calia7a", "caliaa9"],
                &["d: cali20a>fw-cali20a calia+>d-a drop", "d-a: calia7a>fw-calia7a caliaa9>fw-caliaa9 drop"],
            ),
            // one name is the start of another
            (&["cali2", "cali20a"], &["d: cali2>fw-cali2 cali20a>fw-cali20a drop"]),
            (
                &["cali2", "cali20a", "calib"],
                &["d: cali2+>d-2 calib>fw-calib drop", "d-2: cali2>fw-cali2 cali20a>fw-cali20a drop"],
            ),
            // one name is what all start with
            (
                &["cali1", "cali12a", "cali12b"],
                &["d: cali1>fw-cali1 cali12+>d-2 drop", "d-2: cali12a>fw-cali12a cali12b>fw-cali12b drop"],
            ),
        ] {
            assert_eq!(tree(links), expect, "{links:?}");
        }
    }
}
