//! What the datastore asks to be forbidden on a node: policies, host endpoints, and profiles that do not let everything
//! through.
//!
//! None of it is enforced. So it is not worked out whom a policy selects: each one counts, on every node. Staged ones
//! enforce nothing in Calico either.

use api::event::{Key, Object};
use api::initial::DEFAULT_ALLOW;
use api::kind::{EntityRule, HostEndpointSpec, ProfileSpec, Rule};
use api::resource::{Kind, Resource, Typed};

/// The kinds of objects that may close something.
pub const CLOSING_KINDS: [Kind; 4] =
    [Kind::NetworkPolicy, Kind::GlobalNetworkPolicy, Kind::HostEndpoint, Kind::Profile];

/// What is said of a FelixConfiguration that switches the BPF dataplane on.
pub(crate) const BPF_DATAPLANE: &str = "Calico's BPF dataplane (bpfEnabled)";

/// Names an object by kind and name if it closes something on `node`.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other kinds close nothing")]
pub(crate) fn closes(key: &Key, object: &Object, node: &str) -> Option<String> {
    let (Key::Resource { kind, namespace, .. }, Object::Resource(resource)) = (key, object) else { return None };
    let closes = match resource {
        Resource::NetworkPolicy(_) | Resource::GlobalNetworkPolicy(_) => true,
        Resource::HostEndpoint(endpoint) => is_closed_here(&endpoint.spec, node),
        Resource::Profile(profile) => {
            let open = lets_through(&profile.spec.ingress) && lets_through(&profile.spec.egress);
            !open && !is_a_networks_own(profile)
        }
        _ => false,
    };
    // the name that users know: older versions put the tier before it in the key
    closes.then(|| named(*kind, namespace, &resource.metadata().name))
}

/// Names an object that is there and cannot be read, if it may close something.
pub(crate) fn may_close(key: &Key) -> Option<String> {
    let Key::Resource { kind, namespace, name } = key else { return None };
    CLOSING_KINDS.contains(kind).then(|| named(*kind, namespace, name))
}

fn named(kind: Kind, namespace: &str, name: &str) -> String {
    let slash = if namespace.is_empty() { "" } else { "/" };
    format!("{} {namespace}{slash}{name}", kind.name())
}

/// Whether a host endpoint is this node's, and lets through less than everything by itself.
fn is_closed_here(endpoint: &HostEndpointSpec, node: &str) -> bool {
    let here = endpoint.node.is_empty() || endpoint.node == node;
    here && endpoint.profiles.first().is_none_or(|first| first != DEFAULT_ALLOW)
}

/// Whether rules let everything through, or have no opinion: the first that decides must allow, without a condition.
fn lets_through(rules: &[Rule]) -> bool {
    let deciding = rules.iter().find(|rule| rule.action != "Log");
    deciding.is_none_or(|rule| rule.action == "Allow" && is_unconditional(rule))
}

fn is_unconditional(rule: &Rule) -> bool {
    let Rule { action, metadata, source, destination, .. } = rule;
    let anything = EntityRule::default();
    let no_more = Rule { action: action.clone(), metadata: metadata.clone(), ..Rule::default() };
    Rule { source: None, destination: None, ..rule.clone() } == no_more
        && [source, destination].into_iter().flatten().all(|end| *end == anything)
}

/// Whether it is the profile that the CNI plugin, ours and Calico's, makes for a network outside Kubernetes: all may
/// leave, and those enter that have it. It does not tell whether anybody enforced it; the kernel's chains do.
fn is_a_networks_own(profile: &Typed<ProfileSpec>) -> bool {
    let (name, spec) = (&profile.metadata.name, &profile.spec);
    let selector = format!("has({name})");
    let own = |rule: &Rule| {
        let members = EntityRule { selector: selector.clone(), ..EntityRule::default() };
        let others = Rule { source: None, ..rule.clone() };
        rule.action == "Allow" && rule.source.as_ref() == Some(&members) && is_unconditional(&others)
    };
    spec.labels_to_apply.contains_key(name)
        && matches!(spec.ingress.as_slice(), [rule] if own(rule))
        && lets_through(&spec.egress)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn found(kind: Kind, namespace: &str, name: &str, spec: Value) -> Option<String> {
        let metadata = json!({"name": name, "namespace": namespace});
        let stored =
            json!({"kind": kind.name(), "apiVersion": "projectcalico.org/v3", "metadata": metadata, "spec": spec});
        let resource = Resource::decode(kind, stored).expect("an object");
        closes(&Key::namespaced(kind, namespace, name), &Object::Resource(resource), "n1")
    }

    fn profile(name: &str, spec: Value) -> Option<String> {
        found(Kind::Profile, "", name, spec)
    }

    #[test]
    fn policies_close_and_staged_ones_do_not() {
        let np = found(Kind::NetworkPolicy, "web", "knp.default.allow-dns", json!({}));
        assert_eq!(np, Some("NetworkPolicy web/knp.default.allow-dns".to_owned()));
        let global = found(Kind::GlobalNetworkPolicy, "", "deny", json!({"tier": ""}));
        assert_eq!(global, Some("GlobalNetworkPolicy deny".to_owned()));
        assert_eq!(found(Kind::StagedNetworkPolicy, "web", "deny", json!({})), None);
        for (kind, expect) in
            [(Kind::NetworkPolicy, Some("NetworkPolicy web/x".to_owned())), (Kind::StagedNetworkPolicy, None)]
        {
            assert_eq!(may_close(&Key::namespaced(kind, "web", "x")), expect);
        }
    }

    #[test]
    fn host_endpoints_of_this_node_that_close_it() {
        for (spec, expect) in [
            (json!({"node": "n1", "interfaceName": "eth0"}), true),
            (json!({"node": "n2", "interfaceName": "eth0"}), false),
            (json!({"node": "n1", "interfaceName": "*", "profiles": ["projectcalico-default-allow"]}), false),
            (json!({"node": "n1", "interfaceName": "*", "profiles": ["mine", "projectcalico-default-allow"]}), true),
            (json!({"interfaceName": "eth0"}), true),
        ] {
            let found = found(Kind::HostEndpoint, "", "n1-eth0", spec.clone());
            assert_eq!(found, expect.then(|| "HostEndpoint n1-eth0".to_owned()), "{spec}");
        }
        assert!(may_close(&Key::global(Kind::HostEndpoint, "unreadable")).is_some());
    }

    #[test]
    fn profiles_that_do_not_let_everything_through() {
        let allow = json!({"action": "Allow", "source": {}, "destination": {}});
        let from = |selector: &str| json!([{"action": "Allow", "source": {"selector": selector}, "destination": {}}]);
        for (spec, expect) in [
            // a namespace's and a service account's
            (json!({"ingress": [allow], "egress": [allow], "labelsToApply": {"pcns.a": "b"}}), false),
            (json!({"labelsToApply": {"pcsa.a": "b"}}), false),
            (json!({"ingress": [{"action": "Log"}, allow], "egress": [allow]}), false),
            (json!({"ingress": [{"action": "Allow"}]}), false),
            (json!({"ingress": [{"action": "Deny"}, allow], "egress": [allow]}), true),
            (json!({"ingress": [allow], "egress": [{"action": "Allow", "protocol": "TCP"}]}), true),
            (json!({"ingress": [{"action": "Allow", "destination": {"ports": [80]}}]}), true),
            (json!({"ingress": [{"action": "Pass"}]}), true),
            (json!({"ingress": from("has(net1)"), "egress": [allow], "labelsToApply": {"net1": ""}}), false),
            (json!({"ingress": from("has(net2)"), "egress": [allow], "labelsToApply": {"net1": ""}}), true),
            (json!({"ingress": from("has(net1)"), "egress": [], "labelsToApply": {}}), true),
        ] {
            assert_eq!(profile("net1", spec.clone()), expect.then(|| "Profile net1".to_owned()), "{spec}");
        }
    }
}
