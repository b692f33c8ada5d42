//! What the datastore asks to be forbidden on a node: policies, host endpoints, and profiles that do not let everything
//! through.
//!
//! None of it is enforced. So it is not worked out whom a policy selects: each one counts, on every node. Staged ones
//! enforce nothing in Calico either.

use api::event::{Key, Object, UntypedKind};
use api::initial::DEFAULT_ALLOW;
use api::kind::{EntityRule, ProfileSpec, Rule};
use api::resource::{Kind, Resource, Typed};
use serde_json::Value;

/// What is said of a FelixConfiguration that switches the BPF dataplane on.
pub(crate) const BPF_DATAPLANE: &str = "Calico's BPF dataplane (bpfEnabled)";

/// Names an object by kind and name if it closes something on `node`.
pub(crate) fn closes(key: &Key, object: &Object, node: &str) -> Option<String> {
    match (key, object) {
        (Key::Untyped { kind, namespace, name }, Object::Untyped(value)) => {
            let (closes, name) = match kind {
                UntypedKind::HostEndpoint => (is_closed_here(value, node), name.clone()),
                UntypedKind::NetworkPolicy | UntypedKind::GlobalNetworkPolicy => (true, policy_name(name, value)),
            };
            let slash = if namespace.is_empty() { "" } else { "/" };
            closes.then(|| format!("{} {namespace}{slash}{name}", kind.name()))
        }
        (Key::Resource { name, .. }, Object::Resource(Resource::Profile(profile))) => {
            let open = lets_through(&profile.spec.ingress) && lets_through(&profile.spec.egress);
            (!open && !is_a_networks_own(profile)).then(|| format!("Profile {name}"))
        }
        _ => None,
    }
}

/// Names an object that is there and cannot be read, if it may close something.
pub(crate) fn may_close(key: &Key) -> Option<String> {
    let Key::Resource { kind: Kind::Profile, name, .. } = key else { return None };
    Some(format!("Profile {name}"))
}

/// The name that users know: older versions put the tier before it in the key (control reference §2.2).
fn policy_name(key: &str, policy: &Value) -> String {
    let annotation = policy["metadata"]["annotations"]["projectcalico.org/metadata"].as_str();
    let noted = annotation.and_then(|text| serde_json::from_str::<Value>(text).ok());
    if let Some(name) = noted.as_ref().and_then(|noted| noted["name"].as_str()) {
        return name.to_owned();
    }
    match policy["spec"]["tier"].as_str() {
        None | Some("" | "default") => key.strip_prefix("default.").unwrap_or(key).to_owned(),
        Some(_) => key.to_owned(),
    }
}

/// Whether a host endpoint is this node's, and lets through less than everything by itself; one that cannot be read is.
fn is_closed_here(endpoint: &Value, node: &str) -> bool {
    let spec = &endpoint["spec"];
    let here = spec["node"].as_str().is_none_or(|name| name == node);
    let first = spec["profiles"].get(0).and_then(Value::as_str);
    here && first != Some(DEFAULT_ALLOW)
}

/// Whether rules let everything through, or have no opinion: the first that decides must allow, without a condition.
fn lets_through(rules: &[Rule]) -> bool {
    let deciding = rules.iter().find(|rule| rule.action != "Log");
    deciding.is_none_or(|rule| rule.action == "Allow" && is_unconditional(rule))
}

fn is_unconditional(rule: &Rule) -> bool {
    let Rule { action: _, ip_version, protocol, icmp, not_protocol, not_icmp, source, destination, http, metadata: _ } =
        rule;
    let conditions = [ip_version, protocol, icmp, not_protocol, not_icmp, http];
    let anything = EntityRule::default();
    conditions.into_iter().all(Option::is_none)
        && [source, destination].into_iter().flatten().all(|end| *end == anything)
}

/// Whether it is the profile that the CNI plugin, ours and Calico's, makes for a network outside Kubernetes: all may
/// leave, and those enter that have it. It does not tell whether anybody enforced it; the kernel's chains do.
fn is_a_networks_own(profile: &Typed<ProfileSpec>) -> bool {
    let (name, spec) = (&profile.metadata.name, &profile.spec);
    let selector = Value::from(format!("has({name})"));
    let own = |rule: &Rule| {
        let members = EntityRule { selector: Some(selector.clone()), ..EntityRule::default() };
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
    use serde_json::json;

    fn untyped(kind: UntypedKind, namespace: &str, name: &str, value: Value) -> Option<String> {
        let key = Key::Untyped { kind, namespace: namespace.to_owned(), name: name.to_owned() };
        closes(&key, &Object::Untyped(value), "n1")
    }

    fn profile(name: &str, spec: Value) -> Option<String> {
        let stored =
            json!({"kind": "Profile", "apiVersion": "projectcalico.org/v3", "metadata": {"name": name}, "spec": spec});
        let resource = Resource::decode(Kind::Profile, stored).expect("a profile");
        closes(&Key::global(Kind::Profile, name), &Object::Resource(resource), "n1")
    }

    #[test]
    fn policies_by_the_names_that_users_know() {
        let noted = json!({"metadata": {"annotations": {"projectcalico.org/metadata": r#"{"name":"default.deny"}"#}}});
        let np = UntypedKind::NetworkPolicy;
        for (key, value, expect) in [
            ("deny", json!({}), "NetworkPolicy web/deny"),
            ("default.deny", json!({"spec": {"tier": "default"}}), "NetworkPolicy web/deny"),
            ("default.deny", noted, "NetworkPolicy web/default.deny"),
            ("sec.deny", json!({"spec": {"tier": "sec"}}), "NetworkPolicy web/sec.deny"),
            ("knp.default.allow-dns", json!({"spec": {}}), "NetworkPolicy web/knp.default.allow-dns"),
            ("unreadable", Value::Null, "NetworkPolicy web/unreadable"),
        ] {
            assert_eq!(untyped(np, "web", key, value), Some(expect.to_owned()));
        }
        let global = untyped(UntypedKind::GlobalNetworkPolicy, "", "default.deny", json!({"spec": {"tier": ""}}));
        assert_eq!(global, Some("GlobalNetworkPolicy deny".to_owned()));
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
            let found = untyped(UntypedKind::HostEndpoint, "", "n1-eth0", json!({"spec": spec.clone()}));
            assert_eq!(found, expect.then(|| "HostEndpoint n1-eth0".to_owned()), "{spec}");
        }
        assert!(untyped(UntypedKind::HostEndpoint, "", "unreadable", Value::Null).is_some());
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
