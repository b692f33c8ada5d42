//! Facts of Calico 3.32.1's definitions.

use super::*;

fn field<'a>(definitions: &'a [Value], kind: &str, path: &str) -> &'a Value {
    let of = |it: &&Value| it["spec"]["names"]["kind"] == kind;
    let definition = definitions.iter().find(of).unwrap_or_else(|| panic!("no {kind}"));
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    path.split('.').filter(|part| !part.is_empty()).fold(schema, |schema, part| match part {
        "[]" => &schema["items"],
        part => &schema["properties"][part],
    })
}

#[test]
fn limits_stand_at_their_fields() {
    let all = definitions(Group::V3);
    for (kind, path, key, expect) in [
        ("BGPConfiguration", "spec.listenPort", "maximum", json!(65535)),
        ("BGPConfiguration", "spec.communities.[].value", "pattern", json!(r"^(\d+):(\d+)$|^(\d+):(\d+):(\d+)$")),
        ("BGPConfiguration", "spec.asNumber", "format", json!("int32")),
        ("BGPFilter", "spec.exportV4.[].cidr", "maxLength", json!(18)),
        ("BGPFilter", "spec.importV6.[].prefixLength.max", "maximum", json!(128)),
        ("BGPFilter", "spec.importV6.[].operations.[]", "maxProperties", json!(1)),
        ("BGPPeer", "spec.peerIP", "maxLength", json!(64)),
        ("FelixConfiguration", "spec.iptablesBackend", "enum", json!(["Legacy", "NFT", "Auto"])),
        ("FelixConfiguration", "spec.iptablesBackend", "pattern", json!("^(?i)(Auto|Legacy|NFT)?$")),
        ("FelixConfiguration", "spec.failsafeInboundHostPorts.[]", "required", json!(["port"])),
        ("GlobalNetworkPolicy", "spec.types", "x-kubernetes-list-type", json!("set")),
        ("GlobalNetworkPolicy", "spec.ingress.[]", "required", json!(["action"])),
        ("GlobalNetworkPolicy", "spec.ingress.[].icmp.type", "maximum", json!(254)),
        ("IPPool", "spec.blockSize", "maximum", json!(128)),
        ("IPPool", "spec", "required", json!(["cidr"])),
        ("IPPool", "spec.allowedUses.[]", "enum", json!(["Workload", "Tunnel", "LoadBalancer"])),
        ("KubeControllersConfiguration", "spec", "required", json!(["controllers"])),
        ("Tier", "spec.defaultAction", "enum", json!(["Pass", "Deny"])),
        ("NetworkPolicy", "", "required", json!(["metadata", "spec"])),
        ("IPAMBlock", "spec.allocations.[]", "nullable", json!(true)),
        ("IPAMConfiguration", "spec.maxBlocksPerHost", "maximum", json!(1_000_000)),
        (
            "CalicoNodeStatus",
            "status.bgp.peersV4.[].state",
            "enum",
            json!(["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established", "Close"]),
        ),
    ] {
        assert_eq!(field(&all, kind, path)[key], expect, "{kind} {path} {key}");
    }
}

#[test]
fn rules_are_those_of_validation() {
    let all = definitions(Group::V3);
    for (kind, path, message) in [
        ("BGPFilter", "spec.exportV4.[]", "operations may only be used with action Accept"),
        ("GlobalNetworkPolicy", "spec", "preDNAT policy cannot have any egress rules"),
        ("HostEndpoint", "spec", "at least one of interfaceName or expectedIPs must be specified"),
        ("IPPool", "spec", "ipipMode and vxlanMode cannot both be enabled"),
        ("Tier", "", "The 'default' tier must have default action 'Deny'"),
    ] {
        let rules = &field(&all, kind, path)["x-kubernetes-validations"];
        let has = rules.as_array().is_some_and(|rules| rules.iter().any(|rule| rule["message"] == message));
        assert!(has, "{kind} {path}: {rules}");
    }
}

/// Kubernetes refuses a schema with references, and what it does not know.
#[test]
fn schemas_are_structural() {
    fn check(schema: &Value, path: &str) {
        let Value::Object(fields) = schema else { panic!("{path}: {schema}") };
        for known in ["$ref", "$defs", "oneOf", "title", "$schema", "writeOnly"] {
            assert!(!fields.contains_key(known), "{path}: {known}");
        }
        let free = fields.contains_key("x-kubernetes-preserve-unknown-fields")
            || fields.contains_key("x-kubernetes-int-or-string");
        assert!(free || fields.get("type").is_some_and(Value::is_string), "{path} has no type: {schema}");
        for (name, inner) in fields.get("properties").and_then(Value::as_object).into_iter().flatten() {
            check(inner, &format!("{path}.{name}"));
        }
        for name in ["items", "additionalProperties"] {
            if let Some(inner) = fields.get(name) {
                check(inner, &format!("{path}.{name}"));
            }
        }
    }
    for group in [Group::Crd, Group::V3] {
        let all = definitions(group);
        assert_eq!(all.len(), 22);
        for definition in all {
            let name = definition["metadata"]["name"].as_str().expect("a name");
            assert!(name.ends_with(group.name()), "{name}");
            check(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], name);
        }
    }
}

#[test]
fn names_and_columns_are_those_of_the_group() {
    let v3 = definitions(Group::V3);
    let crd = definitions(Group::Crd);
    let of = |all: &[Value], name: &str| all.iter().find(|it| it["metadata"]["name"] == name).cloned();
    let pools = of(&v3, "ippools.projectcalico.org").expect("pools");
    assert_eq!(pools["spec"]["versions"][0]["additionalPrinterColumns"][0]["jsonPath"], ".spec.cidr");
    assert_eq!(pools["spec"]["versions"][0]["subresources"], json!({"status": {}}));
    let pools = of(&crd, "ippools.crd.projectcalico.org").expect("pools");
    assert!(pools["spec"]["versions"][0].get("additionalPrinterColumns").is_none());
    assert_eq!(
        of(&v3, "globalnetworkpolicies.projectcalico.org").expect("a kind")["spec"]["names"]["shortNames"],
        json!(["gnp", "cgnp"])
    );
    assert!(of(&crd, "ipamconfigs.crd.projectcalico.org").is_some());
    assert!(of(&v3, "ipamconfigurations.projectcalico.org").is_some());
    for kind in ["nodes", "profiles", "workloadendpoints"] {
        assert!(of(&v3, &format!("{kind}.projectcalico.org")).is_none(), "{kind}");
    }
}
