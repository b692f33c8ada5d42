//! Profile: rules and labels that endpoints share.

use super::Rule;
use super::policy::NOT_ENFORCED;
use super::rule::Traffic;
use crate::column::{Column, joined};
use crate::crd::Definition;
use crate::initial::DEFAULT_ALLOW;
use crate::invalid::Invalid;
use crate::meta::ObjectMeta;
use crate::resource::{Kind, Names, Operation, Refusal, Spec, Typed};
use crate::validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// `spec` of a Profile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProfileSpec {
    /// Rules for what comes in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<Rule>,
    /// Rules for what goes out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<Rule>,
    /// Labels that endpoints with this profile inherit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "validate::text_map")]
    pub labels_to_apply: BTreeMap<String, String>,
}

impl ProfileSpec {
    fn rules(&mut self) -> impl Iterator<Item = &mut Rule> {
        self.ingress.iter_mut().chain(&mut self.egress)
    }
}

impl Spec for ProfileSpec {
    const KIND: Kind = Kind::Profile;
    const NAMES: Names =
        Names { plural: "profiles", namespaced: false, words: &["profile", "profiles", "pro", "pros"] };
    // a Kubernetes object stands for it
    const DEFINITION: Option<Definition> = None;
    const COLUMNS: &'static [Column<Self>] = &[
        Column::name(),
        Column::wide("LABELS", |it, _| {
            joined(it.spec.labels_to_apply.iter().map(|(key, value)| format!("{key}={value}")))
        }),
    ];
    type Status = Value;

    fn apply_defaults(profile: &mut Typed<Self>) {
        profile.spec.rules().for_each(Rule::apply_defaults);
    }

    fn leave_out_defaults(profile: &mut Typed<Self>) {
        profile.spec.rules().for_each(Rule::leave_out_defaults);
    }

    fn check(profile: &Typed<Self>, invalid: &mut Invalid) {
        let spec = &profile.spec;
        for (name, rules, traffic) in
            [("ingress", &spec.ingress, Traffic::Ingress), ("egress", &spec.egress, Traffic::Egress)]
        {
            for (index, rule) in rules.iter().enumerate() {
                rule.check(&format!("spec.{name}[{index}]"), traffic, invalid);
            }
        }
        validate::labels("Profile.Spec.LabelsToApply", &spec.labels_to_apply, invalid);
    }

    fn idle(profile: &Typed<Self>) -> Option<&'static str> {
        let has_rules = !(profile.spec.ingress.is_empty() && profile.spec.egress.is_empty());
        has_rules.then_some(NOT_ENFORCED)
    }

    /// The profile that allows everything.
    fn built_in() -> Vec<Typed<Self>> {
        let allow = Rule { action: "Allow".into(), ..Rule::default() };
        let spec = ProfileSpec { ingress: vec![allow.clone()], egress: vec![allow], ..ProfileSpec::default() };
        let metadata = ObjectMeta { resource_version: "1".to_owned(), ..ObjectMeta::named(DEFAULT_ALLOW) };
        vec![Typed::new(metadata, spec)]
    }

    fn refuses(operation: Operation, name: &str) -> Option<Refusal> {
        match operation {
            _ if name != DEFAULT_ALLOW => None,
            Operation::Create => Some(Refusal::Exists),
            Operation::Update | Operation::Delete => Some(Refusal::NotSupported(String::new())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, stored, warned};
    use crate::resource::Resource;
    use serde_json::json;

    #[test]
    fn labels_to_apply() {
        assert_eq!(
            stored(Kind::Profile, "prof-min", json!({"labelsToApply": {"x": true}})),
            r#"{"kind":"Profile","apiVersion":"projectcalico.org/v3","metadata":{"name":"prof-min"},"spec":{"labelsToApply":{"x":"true"}}}"#
        );
        let message = refused(Kind::Profile, "p", json!({"labelsToApply": {"a b": "c"}}));
        assert!(message.starts_with("error with field Profile.Spec.LabelsToApply (label) = 'a b' ("), "{message}");
    }

    #[test]
    fn both_ends_of_a_rule_are_stored_and_those_that_say_something_shown() {
        let spec = json!({
            "egress": [{"destination": {"notPorts": [1050], "nets": ["10.2.0.0/16"]}, "action": "Allow", "protocol": "TCP"}],
            "ingress": [{"ipVersion": 6, "action": "Deny"}],
        });
        assert_eq!(
            stored(Kind::Profile, "p", spec.clone()),
            r#"{"kind":"Profile","apiVersion":"projectcalico.org/v3","metadata":{"name":"p"},"spec":{"ingress":[{"action":"Deny","ipVersion":6,"source":{},"destination":{}}],"egress":[{"action":"Allow","protocol":"TCP","source":{},"destination":{"nets":["10.2.0.0/16"],"notPorts":[1050]}}]}}"#
        );
        let stored = serde_json::from_str(&stored(Kind::Profile, "p", spec)).expect("JSON");
        let mut profile = Resource::decode(Kind::Profile, stored).expect("a profile");
        profile.leave_out_defaults();
        assert_eq!(
            serde_json::to_value(&profile).expect("JSON")["spec"],
            json!({
                "ingress": [{"action": "Deny", "ipVersion": 6}],
                "egress": [{"action": "Allow", "protocol": "TCP", "destination": {"nets": ["10.2.0.0/16"], "notPorts": [1050]}}],
            })
        );
    }

    #[test]
    fn rules_are_not_enforced_yet() {
        assert_eq!(
            warned(Kind::Profile, "p", json!({"ingress": [{"action": "Allow"}]})),
            [
                "Profile p: the policy, which is NOT enforced (what it forbids is allowed), is accepted but not acted on yet"
            ]
        );
    }
}
