//! GlobalNetworkPolicy: what pods of any namespace, and hosts, may receive and send.

use super::policy::{self, HOST_RULES, Host, NOT_ENFORCED, policy_spec};
use crate::column::Column;
use crate::crd::{self, Definition, PrinterColumn};
use crate::invalid::Invalid;
use crate::resource::{Kind, Names, Spec, Typed};
use serde_json::Value;

policy_spec! {
    /// `spec` of a GlobalNetworkPolicy (control reference §1.3), in stored order.
    GlobalNetworkPolicySpec,
    with #[schemars(extend("x-kubernetes-validations" = crd::rows(&HOST_RULES)))],
    first {}
    global {
        /// Its rules come before connection tracking.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub do_not_track: bool,
        /// Its rules come before a destination is translated.
        #[serde(rename = "preDNAT", skip_serializing_if = "std::ops::Not::not")]
        pub pre_dnat: bool,
        /// It is also for what a host forwards.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub apply_on_forward: bool,
    }
    namespaces {
        /// The namespaces of the endpoints it is for.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub namespace_selector: String,
    }
}

impl Spec for GlobalNetworkPolicySpec {
    const KIND: Kind = Kind::GlobalNetworkPolicy;
    const NAMES: Names = Names {
        plural: "globalnetworkpolicies",
        namespaced: false,
        words: &["globalnetworkpolicy", "globalnetworkpolicies", "gnp", "gnps"],
    };
    const DEFINITION: Option<Definition> = Some(Definition {
        short_names: &["gnp", "cgnp"],
        columns: &[
            PrinterColumn::new("Tier", "string", ".spec.tier"),
            PrinterColumn::new("Order", "number", ".spec.order"),
            PrinterColumn::new("Age", "date", ".metadata.creationTimestamp"),
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
        policy::check_name(&policy.metadata, invalid);
        policy::check(policy, invalid);
        let spec = &policy.spec;
        policy::own_selector("NamespaceSelector", &spec.namespace_selector, invalid);
        let host = Host {
            egress_rules: spec.egress.len(),
            types: spec.types.clone(),
            do_not_track: spec.do_not_track,
            pre_dnat: spec.pre_dnat,
            apply_on_forward: spec.apply_on_forward,
        };
        host.check(invalid);
        policy::check_service_namespaces(policy, invalid);
    }

    fn idle(_policy: &Typed<Self>) -> Option<&'static str> {
        Some(NOT_ENFORCED)
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
    use crate::kind::testing::{refused, stored};
    use serde_json::json;

    #[test]
    fn stored_form() {
        let rule = json!({"action": "Allow"});
        let spec = json!({"applyOnForward": true, "doNotTrack": true, "preDNAT": false, "ingress": [rule], "egress": [rule],
            "selector": "has(host-endpoint)", "namespaceSelector": "has(ns)", "serviceAccountSelector": "all()",
            "performanceHints": ["AssumeNeededOnEveryNode"]});
        assert_eq!(
            stored(Kind::GlobalNetworkPolicy, "gnp-dnt", spec),
            r#"{"kind":"GlobalNetworkPolicy","apiVersion":"projectcalico.org/v3","metadata":{"name":"gnp-dnt","labels":{"projectcalico.org/tier":"default"}},"spec":{"tier":"default","ingress":[{"action":"Allow","source":{},"destination":{}}],"egress":[{"action":"Allow","source":{},"destination":{}}],"selector":"has(host-endpoint)","types":["Ingress","Egress"],"doNotTrack":true,"applyOnForward":true,"serviceAccountSelector":"all()","namespaceSelector":"has(ns)","performanceHints":["AssumeNeededOnEveryNode"]}}"#
        );
    }

    #[test]
    fn refusals() {
        let kind = Kind::GlobalNetworkPolicy;
        assert_eq!(
            refused(kind, "g", json!({"preDNAT": true, "doNotTrack": true, "applyOnForward": true})),
            "error with the following fields:\n\
             -  PolicySpec.PreDNAT = 'true' (PreDNAT and DoNotTrack cannot both be true, for a given PolicySpec)\n\
             -  spec (preDNAT and doNotTrack cannot both be true)\n"
        );
        assert_eq!(
            refused(kind, "g", json!({"preDNAT": true, "applyOnForward": true, "egress": [{"action": "Allow"}]})),
            "error with the following fields:\n\
             -  PolicySpec.Egress = '1 rules' (PreDNAT PolicySpec cannot have any Egress rules)\n\
             -  PolicySpec.Types = '[Egress]' (PreDNAT PolicySpec cannot have 'egress' Type)\n\
             -  spec (preDNAT policy cannot have any egress rules)\n\
             -  spec (preDNAT policy cannot have 'Egress' type)\n"
        );
        let error = refused(kind, "g", json!({"doNotTrack": true}));
        assert!(
            error.ends_with("-  spec (applyOnForward must be true if either preDNAT or doNotTrack is true)\n"),
            "{error}"
        );
        let error =
            refused(kind, "g", json!({"egress": [{"action": "Allow", "destination": {"services": {"name": "s"}}}]}));
        assert!(error.starts_with("error with field EntityRule.Services.Namespace = 's'"), "{error}");
    }
}
