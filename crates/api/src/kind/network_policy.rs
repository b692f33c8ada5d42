//! NetworkPolicy: what the pods of a namespace may receive and send.

use super::policy::{self, NOT_ENFORCED, policy_spec};
use crate::column::Column;
use crate::crd::{Definition, PrinterColumn};
use crate::invalid::Invalid;
use crate::resource::{Kind, Names, Operation, Refusal, Spec, Typed};
use serde_json::Value;

policy_spec! {
    /// `spec` of a NetworkPolicy (control reference §1.3), in stored order.
    NetworkPolicySpec,
    first {}
    global {}
    namespaces {}
}

impl Spec for NetworkPolicySpec {
    const KIND: Kind = Kind::NetworkPolicy;
    const NAMES: Names = Names {
        plural: "networkpolicies",
        namespaced: true,
        words: &["networkpolicy", "networkpolicies", "policy", "np", "policies", "pol", "pols"],
    };
    const DEFINITION: Option<Definition> = Some(Definition {
        short_names: &["cnp", "caliconetworkpolicy"],
        columns: &[
            PrinterColumn::new("Tier", "string", ".spec.tier"),
            PrinterColumn::new("Order", "number", ".spec.order"),
        ],
        selectable: &[".spec.tier"],
        ..Definition::PLAIN
    });
    const COLUMNS: &'static [Column<Self>] = &policy::columns::<Self>();
    type Status = Value;

    fn apply_defaults(policy: &mut Typed<Self>) {
        policy::apply_defaults(policy);
    }

    fn leave_out_defaults(policy: &mut Typed<Self>) {
        policy::leave_out_defaults(policy);
    }

    fn check(policy: &Typed<Self>, invalid: &mut Invalid) {
        policy::check_namespaced_name(&policy.metadata, invalid);
        policy::check(policy, invalid);
    }

    fn idle(_policy: &Typed<Self>) -> Option<&'static str> {
        Some(NOT_ENFORCED)
    }

    fn refuses(_operation: Operation, name: &str) -> Option<Refusal> {
        let reason = "kubernetes network policies must be managed through the kubernetes API";
        name.starts_with("knp.default.").then(|| Refusal::NotSupported(reason.to_owned()))
    }

    fn tier(policy: &Typed<Self>) -> Option<&str> {
        Some(policy::tier(policy))
    }

    fn to_stored(policy: &mut Typed<Self>) {
        policy::to_stored(policy);
    }

    fn from_stored(policy: &mut Typed<Self>) {
        policy::from_stored(policy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, stored, warned};
    use serde_json::json;

    #[test]
    fn stored_forms() {
        let labels = r#""labels":{"projectcalico.org/tier":"default"}"#;
        for (spec, expect) in [
            (json!({}), r#"{"tier":"default","types":["Ingress"]}"#),
            (
                json!({"egress": [{"action": "Allow"}]}),
                r#"{"tier":"default","egress":[{"action":"Allow","source":{},"destination":{}}],"types":["Egress"]}"#,
            ),
            (
                json!({"egress": [{"action": "Deny", "protocol": "TCP"}], "ingress": [{"action": "Allow"}], "order": 100000, "selector": "a == 'b'"}),
                r#"{"tier":"default","order":100000,"ingress":[{"action":"Allow","source":{},"destination":{}}],"egress":[{"action":"Deny","protocol":"TCP","source":{},"destination":{}}],"selector":"a == 'b'","types":["Ingress","Egress"]}"#,
            ),
        ] {
            let expect = format!(
                r#"{{"kind":"NetworkPolicy","apiVersion":"projectcalico.org/v3","metadata":{{"name":"np","namespace":"default",{labels}}},"spec":{expect}}}"#
            );
            assert_eq!(stored(Kind::NetworkPolicy, "np", spec), expect);
        }
    }

    #[test]
    fn names() {
        let long = format!("a.{}", "b".repeat(64));
        for name in ["a", "tier.a", "knp.default.a.b.c", "ossg.default.a.b"] {
            stored(Kind::NetworkPolicy, name, json!({}));
        }
        for name in ["a.b.c", "A", &long] {
            assert!(
                refused(Kind::NetworkPolicy, name, json!({})).starts_with("error with field Metadata.Name = "),
                "{name}"
            );
        }
    }

    #[test]
    fn refusals() {
        let ingress = |rule: Value| json!({"ingress": [rule]});
        let egress = |rule: Value| json!({"egress": [rule]});
        for (spec, expect) in [
            (ingress(json!({"action": "Allow", "icmp": {"type": 8}})), "ICMP ("),
            (ingress(json!({"action": "Allow", "protocol": "ICMP", "icmp": {"type": 255}})), "ICMP.Type = '255'"),
            (ingress(json!({"action": "Allow", "protocol": "ICMP", "icmp": {"code": 1}})), "ICMP.Code = '1'"),
            (ingress(json!({"action": "Allow", "protocol": "ICMP", "ipVersion": 6})), "Protocol = 'ICMP'"),
            (ingress(json!({"action": "Allow", "protocol": 0})), "Protocol = '0' (protocol number invalid)"),
            (ingress(json!({"action": "Allow", "destination": {"ports": [80]}})), "Ports = '[80]'"),
            (ingress(json!({"action": "Allow", "protocol": "TCP", "destination": {"ports": [0]}})), "Ports = '0'"),
            (
                ingress(json!({"action": "Allow", "source": {"nets": ["10.0.0.1"]}})),
                "Nets = '10.0.0.1' (invalid CIDR address: 10.0.0.1)",
            ),
            (ingress(json!({"action": "Allow", "source": {"nets": ["10.0.0.0/8", "fd00::/8"]}})), "EntityRule.Nets ("),
            (
                ingress(json!({"action": "Allow", "ipVersion": 6, "source": {"nets": ["10.0.0.0/8"]}})),
                "EntityRule.Nets = '10.0.0.0/8'",
            ),
            (ingress(json!({"action": "Allow", "source": {"notNets": ["0.0.0.0/0"]}})), "NotNets = '0.0.0.0/0'"),
            (ingress(json!({"action": "Allow", "source": {"selector": "global()"}})), "Selector = 'global()'"),
            (
                ingress(json!({"action": "Allow", "source": {"namespaceSelector": "global() && a == 'b'"}})),
                "NamespaceSelector = ",
            ),
            (ingress(json!({"action": "Allow", "destination": {"services": {"name": "s"}}})), "Destination.Services ("),
            (
                egress(json!({"action": "Allow", "destination": {"services": {"name": "s"}, "selector": "a == 'b'"}})),
                "EntityRule.Selector (",
            ),
            (
                egress(json!({"action": "Allow", "destination": {"services": {"namespace": "n"}}})),
                "EntityRule.Services.Name (",
            ),
            (egress(json!({"action": "Allow", "http": {"methods": ["GET"]}})), "HTTP ("),
            (ingress(json!({"action": "Allow", "http": {"paths": [{"exact": "a"}]}})), "Paths = 'a'"),
            (ingress(json!({"action": "Allow", "http": {"methods": ["GET", "GET"]}})), "Methods = 'GET'"),
            (
                ingress(json!({"action": "Deny", "http": {"methods": ["GET"]}})),
                "spec.ingress[0] (HTTP match is only valid on Allow rules)",
            ),
            (
                ingress(json!({"action": "Allow", "protocol": "UDP", "http": {"methods": ["GET"]}})),
                "spec.ingress[0] (rules with HTTP match must have protocol TCP or unset)",
            ),
            (json!({"selector": "role == "}), "Selector = 'role == '"),
            (json!({"selector": "global()"}), "Selector = 'global()'"),
            (json!({"serviceAccountSelector": "a ="}), "ServiceAccountSelector = 'a ='"),
        ] {
            let error = refused(Kind::NetworkPolicy, "np", spec);
            assert!(error.starts_with(&format!("error with field {expect}")), "{error}\nshould be about {expect}");
        }
        // the types' words and the schema's
        assert_eq!(
            refused(Kind::NetworkPolicy, "np", json!({"ingress": [{"action": "Foo"}]})),
            "error with the following fields:\n\
             -  Action = 'Foo' (Reason: failed to validate Field: Action because of Tag: action )\n\
             -  spec.ingress[0].action (supported values: \"Allow\", \"Deny\", \"Log\", \"Pass\")\n"
        );
        assert_eq!(
            refused(Kind::NetworkPolicy, "np", json!({"types": ["Foo"]})),
            "error with the following fields:\n\
             -  Types[0] = 'Foo' (Reason: failed to validate Field: Types[0] because of Tag: policyType )\n\
             -  spec.types[0] (supported values: \"Ingress\", \"Egress\")\n"
        );
    }

    #[test]
    fn what_is_accepted_is_not_enforced() {
        for spec in [
            json!({"ingress": [{"action": "Allow", "protocol": "ICMP", "icmp": {"type": 8, "code": 0}}]}),
            json!({"ingress": [{"action": "Deny", "notProtocol": "UDPLite", "notICMP": {"type": 128}, "ipVersion": 6}]}),
            json!({"ingress": [{"action": "Allow", "destination": {"ports": ["http"]}}]}),
            json!({"egress": [{"action": "Allow", "destination": {"services": {"name": "s"}}}]}),
            json!({"ingress": [{"action": "Allow", "source": {"namespaceSelector": "global()"}}]}),
            json!({"ingress": [{"action": "Allow", "http": {"methods": ["GET"], "paths": [{"exact": "/a"}, {"prefix": "/b"}]}}]}),
        ] {
            stored(Kind::NetworkPolicy, "np", spec);
        }
        assert_eq!(
            warned(Kind::NetworkPolicy, "np", json!({})),
            [
                "NetworkPolicy np: the policy, which is NOT enforced (what it forbids is allowed), is accepted but not acted on yet"
            ]
        );
        let refusal = Kind::NetworkPolicy.refuses(Operation::Create, "knp.default.a");
        assert!(
            matches!(refusal, Some(Refusal::NotSupported(_)))
                && Kind::NetworkPolicy.refuses(Operation::Create, "a").is_none()
        );
    }
}
