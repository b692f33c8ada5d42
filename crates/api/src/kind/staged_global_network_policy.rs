//! StagedGlobalNetworkPolicy: a GlobalNetworkPolicy that is not in force.

use super::policy::{self, HOST_RULES, Host, STAGED, StagedAction, policy_spec};
use crate::column::Column;
use crate::crd::{self, Definition, PrinterColumn};
use crate::invalid::Invalid;
use crate::resource::{Kind, Names, Spec, Typed};
use serde_json::Value;

policy_spec! {
    /// `spec` of a StagedGlobalNetworkPolicy (control reference §1.3), in stored order.
    StagedGlobalNetworkPolicySpec,
    with #[schemars(extend("x-kubernetes-validations" = crd::rows(&HOST_RULES)))],
    first {
        /// What it stands for.
        #[serde(skip_serializing_if = "StagedAction::is_empty")]
        #[schemars(extend("x-default" = "Set"))]
        pub staged_action: StagedAction,
    }
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

impl Spec for StagedGlobalNetworkPolicySpec {
    const KIND: Kind = Kind::StagedGlobalNetworkPolicy;
    const NAMES: Names = Names {
        plural: "stagedglobalnetworkpolicies",
        namespaced: false,
        words: &["stagedglobalnetworkpolicy", "stagedglobalnetworkpolicies", "sgnp", "sgnps"],
    };
    const DEFINITION: Option<Definition> = Some(Definition {
        short_names: &["sgnp"],
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
        if policy.spec.staged_action.is_empty() {
            policy.spec.staged_action = StagedAction::from("Set");
        }
        policy::apply_defaults(policy);
        if policy.spec.staged_action == "Delete" {
            policy.spec.types.clear();
        }
    }

    fn leave_out_defaults(policy: &mut Typed<Self>) {
        policy::leave_out_defaults(policy);
    }

    fn check(policy: &Typed<Self>, invalid: &mut Invalid) {
        policy::check_name(&policy.metadata, invalid);
        policy::check_staged(policy, &policy.spec.staged_action, invalid);
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
        Some(STAGED)
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
