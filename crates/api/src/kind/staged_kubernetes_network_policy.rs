//! StagedKubernetesNetworkPolicy: a Kubernetes NetworkPolicy that is not in force.

use super::policy::{STAGED, StagedAction};
use crate::column::Column;
use crate::crd::Definition;
use crate::invalid::Invalid;
use crate::resource::{Kind, Names, Spec, Typed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// `spec` of a StagedKubernetesNetworkPolicy: Kubernetes' own types, in stored order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StagedKubernetesNetworkPolicySpec {
    /// What it stands for.
    #[serde(skip_serializing_if = "StagedAction::is_empty")]
    #[schemars(extend("x-default" = "Set"))]
    pub staged_action: StagedAction,
    /// The pods it is for. Go writes it also where it is empty.
    pub pod_selector: LabelSelector,
    /// Rules for what comes in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<KubernetesIngress>,
    /// Rules for what goes out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<KubernetesEgress>,
    /// The directions it is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 2, "minItems" = 1, "x-kubernetes-list-type" = "set"))]
    pub policy_types: Vec<String>,
}

/// Kubernetes' selector of labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct LabelSelector {
    /// Labels with their values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// What else labels must be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub match_expressions: Vec<LabelExpression>,
}

impl LabelSelector {
    /// The selector in Calico's language: labels in order, then expressions (control reference §2.5).
    fn text(&self) -> String {
        let labels = self.match_labels.iter().map(|(key, value)| format!("{key} == '{value}'"));
        let expressions = self.match_expressions.iter().map(|it| {
            let values: Vec<String> = it.values.iter().map(|value| format!("'{value}'")).collect();
            let (key, values) = (&it.key, values.join(", "));
            match it.operator.as_str() {
                "In" => format!("{key} in {{ {values} }}"),
                "NotIn" => format!("{key} not in {{ {values} }}"),
                "DoesNotExist" => format!("! has({key})"),
                _ => format!("has({key})"),
            }
        });
        labels.chain(expressions).collect::<Vec<_>>().join(" && ")
    }
}

/// One of its expressions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["key", "operator"]))]
pub struct LabelExpression {
    /// The label.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// The values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub values: Vec<String>,
}

/// A rule for what comes in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct KubernetesIngress {
    /// To any of these ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub ports: Vec<KubernetesPort>,
    /// From any of these peers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub from: Vec<KubernetesPeer>,
}

/// A rule for what goes out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct KubernetesEgress {
    /// To any of these ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub ports: Vec<KubernetesPort>,
    /// To any of these peers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub to: Vec<KubernetesPeer>,
}

/// A port of a rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct KubernetesPort {
    /// `TCP`, `UDP` or `SCTP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// A number, or a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<crate::port::Port>,
    /// The last of a range that begins with `port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>")]
    pub end_port: Option<u16>,
}

/// Who is at the other end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct KubernetesPeer {
    /// Pods, by label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
    /// Namespaces, by label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_block: Option<IpBlock>,
}

/// A network, without some within it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["cidr"]))]
pub struct IpBlock {
    /// The network.
    pub cidr: String,
    /// Those within it that are not meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub except: Vec<String>,
}

impl Spec for StagedKubernetesNetworkPolicySpec {
    const KIND: Kind = Kind::StagedKubernetesNetworkPolicy;
    const NAMES: Names = Names {
        plural: "stagedkubernetesnetworkpolicies",
        namespaced: true,
        words: &[
            "stagedkubernetesnetworkpolicy",
            "stagedkubernetesnetworkpolicies",
            "stagedkubernetespolicy",
            "stagedkubernetespolicies",
            "sknp",
            "sknps",
            "skpol",
            "skpols",
        ],
    };
    const DEFINITION: Option<Definition> = Some(Definition { short_names: &["sknp"], ..Definition::PLAIN });
    const COLUMNS: &'static [Column<Self>] =
        &[Column::name(), Column::wide("PODSELECTOR", |it, _| it.spec.pod_selector.text())];
    type Status = Value;

    fn apply_defaults(policy: &mut Typed<Self>) {
        if policy.spec.staged_action.is_empty() {
            policy.spec.staged_action = StagedAction::from("Set");
        }
    }

    fn check(policy: &Typed<Self>, invalid: &mut Invalid) {
        let spec = &policy.spec;
        invalid.word("StagedAction", "stagedAction", "spec.stagedAction", &spec.staged_action);
        let only = StagedKubernetesNetworkPolicySpec { staged_action: spec.staged_action.clone(), ..Self::default() };
        if spec.staged_action == "Delete" && *spec != only {
            let reason = "Spec fields should all be zero-value if stagedAction is Delete";
            invalid.push("StagedAction", "Delete", reason);
        }
    }

    fn idle(_policy: &Typed<Self>) -> Option<&'static str> {
        Some(STAGED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, stored};
    use serde_json::json;

    #[test]
    fn stored_form() {
        let spec = json!({
            "podSelector": {"matchLabels": {"role": "db"}},
            "ingress": [{
                "from": [{"namespaceSelector": {"matchLabels": {"project": "test"}}, "podSelector": {"matchLabels": {"role": "frontend"}}}],
                "ports": [{"port": 6379, "protocol": "TCP"}],
            }],
        });
        assert_eq!(
            stored(Kind::StagedKubernetesNetworkPolicy, "p", spec),
            r#"{"kind":"StagedKubernetesNetworkPolicy","apiVersion":"projectcalico.org/v3","metadata":{"name":"p","namespace":"default"},"spec":{"stagedAction":"Set","podSelector":{"matchLabels":{"role":"db"}},"ingress":[{"ports":[{"protocol":"TCP","port":6379}],"from":[{"podSelector":{"matchLabels":{"role":"frontend"}},"namespaceSelector":{"matchLabels":{"project":"test"}}}]}]}}"#
        );
    }

    #[test]
    fn what_deletes_says_nothing_else() {
        let kind = Kind::StagedKubernetesNetworkPolicy;
        stored(kind, "p", json!({"stagedAction": "Delete"}));
        let error = refused(kind, "p", json!({"stagedAction": "Delete", "policyTypes": ["Ingress"]}));
        assert!(error.starts_with("error with field StagedAction = 'Delete' ("), "{error}");
        assert!(refused(kind, "p", json!({"stagedAction": "Drop"})).contains("spec.stagedAction (supported values: "));
    }
}
