//! StagedNetworkPolicy: a NetworkPolicy that is not in force.

use super::policy::{self, STAGED, StagedAction, policy_spec};
use crate::column::Column;
use crate::crd::{Definition, PrinterColumn};
use crate::invalid::Invalid;
use crate::resource::{Kind, Names, Spec, Typed};
use serde_json::Value;

policy_spec! {
    /// `spec` of a StagedNetworkPolicy (control reference §1.3), in stored order.
    StagedNetworkPolicySpec,
    first {
        /// What it stands for.
        #[serde(skip_serializing_if = "StagedAction::is_empty")]
        #[schemars(extend("x-default" = "Set"))]
        pub staged_action: StagedAction,
    }
    global {}
    namespaces {}
}

impl Spec for StagedNetworkPolicySpec {
    const KIND: Kind = Kind::StagedNetworkPolicy;
    const NAMES: Names = Names {
        plural: "stagednetworkpolicies",
        namespaced: true,
        words: &[
            "stagednetworkpolicy",
            "stagednetworkpolicies",
            "stagedpolicy",
            "stagedpolicies",
            "snp",
            "snps",
            "spol",
            "spols",
        ],
    };
    const DEFINITION: Option<Definition> = Some(Definition {
        short_names: &["scnp", "snp"],
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
        policy::check_namespaced_name(&policy.metadata, invalid);
        policy::check_staged(policy, &policy.spec.staged_action, invalid);
        policy::check(policy, invalid);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, stored};
    use serde_json::json;

    #[test]
    fn what_deletes_says_which_tier_it_is_in_and_nothing_else() {
        let kind = Kind::StagedNetworkPolicy;
        assert!(
            stored(kind, "p", json!({}))
                .ends_with(r#""spec":{"stagedAction":"Set","tier":"default","types":["Ingress"]}}"#)
        );
        let deletes = stored(kind, "p", json!({"stagedAction": "Delete"}));
        assert!(deletes.ends_with(r#""spec":{"stagedAction":"Delete","tier":"default"}}"#), "{deletes}");
        let error = refused(kind, "p", json!({"stagedAction": "Delete", "selector": "a == 'b'"}));
        assert!(
            error.starts_with("error with field StagedAction = 'Delete' (") && error.ends_with(": selector)"),
            "{error}"
        );
        assert!(refused(kind, "p", json!({"stagedAction": "Drop"})).contains("because of Tag: stagedAction "));
    }
}
