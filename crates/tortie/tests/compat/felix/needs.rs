//! What a case needs that Tortie has not, by what its store holds: such a case is passed over, and its row says why.

use super::recorded::{RESOURCES, Recorded};
use api::resource::{Kind, Resource};
use serde_json::Value;
use std::collections::BTreeSet;

/// Annotations that ask for limits, and for a mark in the packets' header.
const QOS: &str = "qos.projectcalico.org/";
/// Kinds that say nothing to a node without policy: profiles' rules are compared by their stand-in.
const OF_POLICY: [Kind; 4] =
    [Kind::Profile, Kind::NetworkSet, Kind::GlobalNetworkSet, Kind::KubeControllersConfiguration];

/// Says what `node` would have to do for the case that Tortie cannot do; none when it can do all.
pub(super) fn missing(case: &Recorded, node: &str) -> Option<String> {
    let (mut policies, mut missing) = (BTreeSet::new(), BTreeSet::new());
    for (key, value) in &case.content {
        let Some((plural, _)) = key.strip_prefix(RESOURCES).and_then(|rest| rest.split_once('/')) else { continue };
        if plural.ends_with("policies") || plural == "hostendpoints" {
            policies.insert(plural);
        } else if let Some(kind) = Kind::by_plural(plural) {
            missing.extend(of_resource(kind, value, node));
        }
    }
    let policy = policies.into_iter().collect::<Vec<_>>().join(", ");
    let policy = (!policy.is_empty()).then(|| format!("network policy ({policy})"));
    let sentence = |note: &String| note.split(". ").next().unwrap_or_default().trim().trim_end_matches('.').to_owned();
    let note = case.note.as_ref().map(|note| format!("a look at its NOTE.txt ({})", sentence(note)));
    let list: Vec<String> = policy.into_iter().chain(missing).chain(note).collect();
    (!list.is_empty()).then(|| list.join(", "))
}

/// Fields and annotations without effect of an object that concerns the node.
fn of_resource(kind: Kind, value: &str, node: &str) -> Vec<String> {
    let Ok(object) = serde_json::from_str::<Value>(value) else { return Vec::new() };
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if kind == Kind::WorkloadEndpoint && object["spec"]["node"] != node {
        return Vec::new();
    }
    if kind == Kind::FelixConfiguration && name != "default" && name != format!("node.{node}") {
        return Vec::new();
    }
    let annotations = object["metadata"]["annotations"].as_object();
    let limits = annotations.into_iter().flatten().map(|(name, _)| name).filter(|name| name.starts_with(QOS));
    let mut missing: Vec<String> = limits.map(|annotation| format!("annotation {annotation}")).collect();
    // what cannot be decoded is nobody's to act on
    let warnings = Resource::decode(kind, object).map(|resource| resource.warnings()).unwrap_or_default();
    let of_policy = |warning: &&String| {
        OF_POLICY.contains(&kind) || (kind == Kind::WorkloadEndpoint && warning.contains(": spec.ports "))
    };
    let idle = warnings.iter().filter(|warning| !of_policy(warning));
    missing.extend(idle.filter_map(|warning| Some(warning.split_once(" is accepted but")?.0.to_owned())));
    missing
}
