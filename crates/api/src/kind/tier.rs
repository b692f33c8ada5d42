//! Tier: an ordered group of policies.

use crate::column::{self, Column};
use crate::crd::{self, Definition, Group, PrinterColumn};
use crate::initial::TIERS;
use crate::invalid::Invalid;
use crate::resource::{Kind, Names, Operation, Refusal, Spec, Typed};
use crate::validate;
use crate::word::{Word, words};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value, json};

/// The order of a tier that has none.
const DEFAULT_ORDER: f64 = 1_000_000.0;

words! {
    /// What becomes of packets that no policy of a tier decides.
    TierAction: "Pass", "Deny";
}

/// `spec` of a Tier.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TierSpec {
    /// Lower comes first; none is 1,000,000. Kept as written, as Go prints a whole float without a point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Number>,
    /// `Deny` or `Pass`: what becomes of packets that no policy of the tier decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TierAction", extend("x-default" = "Deny"))]
    pub default_action: Option<String>,
}

impl Spec for TierSpec {
    const KIND: Kind = Kind::Tier;
    const NAMES: Names = Names { plural: "tiers", namespaced: false, words: &["tier", "tiers"] };
    const DEFINITION: Option<Definition> = Some(Definition {
        columns: &[
            PrinterColumn::new("Order", "integer", ".spec.order"),
            PrinterColumn::new("DefaultAction", "string", ".spec.defaultAction"),
            PrinterColumn::new("Status", "string", ".status.conditions[?(@.type=='Ready')].reason"),
        ],
        status: &[Group::V3],
        required: &[Group::Crd, Group::V3],
        status_schema: Some(crd::of::<crd::Conditions>),
        rules: &[
            crd::Rule {
                cel: "self.metadata.name == 'kube-admin' ? (has(self.spec.defaultAction) && self.spec.defaultAction == 'Pass') : true",
                message: "The 'kube-admin' tier must have default action 'Pass'",
                reason: "FieldValueInvalid",
            },
            crd::Rule {
                cel: "self.metadata.name == 'kube-baseline' ? (has(self.spec.defaultAction) && self.spec.defaultAction == 'Pass') : true",
                message: "The 'kube-baseline' tier must have default action 'Pass'",
                reason: "FieldValueInvalid",
            },
            crd::Rule {
                cel: "self.metadata.name == 'default' ? (has(self.spec.defaultAction) && self.spec.defaultAction == 'Deny') : true",
                message: "The 'default' tier must have default action 'Deny'",
                reason: "FieldValueInvalid",
            },
        ],
        ..Definition::PLAIN
    });
    const COLUMNS: &'static [Column<Self>] =
        &[Column::name(), Column::new("ORDER", |it, _| column::order(it.spec.order.as_ref()))];
    type Status = Value;

    fn apply_defaults(tier: &mut Typed<Self>) {
        tier.spec.order.get_or_insert_with(|| (DEFAULT_ORDER as u64).into());
        tier.spec.default_action.get_or_insert_with(|| "Deny".to_owned());
        tier.status.get_or_insert_with(|| json!({}));
    }

    fn rank(tier: &Typed<Self>) -> f64 {
        tier.spec.order.as_ref().and_then(Number::as_f64).unwrap_or(DEFAULT_ORDER)
    }

    fn refuses(operation: Operation, name: &str) -> Option<Refusal> {
        let built_in = TIERS.iter().any(|(tier, ..)| *tier == name);
        (operation == Operation::Delete && built_in)
            .then(|| Refusal::NotSupported(format!("Cannot delete {name} tier")))
    }

    fn check(tier: &Typed<Self>, invalid: &mut Invalid) {
        validate::name_is_label(&tier.metadata.name, invalid);
        let action = tier.spec.default_action.as_deref().unwrap_or_default();
        invalid.one_of("DefaultAction", "omitempty", "spec.defaultAction", action, TierAction::WORDS);
        let Some((name, order, builtin)) = TIERS.iter().find(|(name, ..)| *name == tier.metadata.name) else { return };
        if let Some(given) = &tier.spec.order
            && given.as_f64() != Some(*order as f64)
        {
            invalid.push("TierSpec.Order", &given.to_string(), &format!("{name} tier order must be {order}"));
        }
        if !action.is_empty() && action != *builtin {
            let reason = format!("{name} tier default action must be {builtin}");
            invalid.push("TierSpec.DefaultAction", action, &reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, stored};

    #[test]
    fn defaults() {
        assert_eq!(
            stored(Kind::Tier, "t-min", json!({})),
            r#"{"kind":"Tier","apiVersion":"projectcalico.org/v3","metadata":{"name":"t-min"},"spec":{"order":1000000,"defaultAction":"Deny"},"status":{}}"#
        );
    }

    #[test]
    fn refusals() {
        assert_eq!(
            refused(Kind::Tier, "a.b", json!({"order": 1})),
            "error with field Metadata.Name = 'a.b' (name must consist of lower case alphanumeric characters or '-' (regex: [a-z0-9]([-a-z0-9]*[a-z0-9])?))"
        );
        assert_eq!(
            refused(Kind::Tier, "kube-admin", json!({"order": 1, "defaultAction": "Deny"})),
            "error with the following fields:\n\
             -  TierSpec.Order = '1' (kube-admin tier order must be 1000)\n\
             -  TierSpec.DefaultAction = 'Deny' (kube-admin tier default action must be Pass)\n"
        );
        assert_eq!(
            refused(Kind::Tier, "t", json!({"defaultAction": "Allow"})).lines().last(),
            Some("-  spec.defaultAction (supported values: \"Pass\", \"Deny\")")
        );
    }
}
