//! Profile: rules and labels that endpoints share.

use super::Rule;
use crate::invalid::Invalid;
use crate::resource::{Kind, Spec, Typed};
use crate::validate;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// `spec` of a Profile. Rules are kept as written until policy is enforced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    type Status = Value;

    fn apply_defaults(profile: &mut Typed<Self>) {
        profile.spec.rules().for_each(Rule::apply_defaults);
    }

    fn leave_out_defaults(profile: &mut Typed<Self>) {
        profile.spec.rules().for_each(Rule::leave_out_defaults);
    }

    fn check(profile: &Typed<Self>, invalid: &mut Invalid) {
        validate::labels("Profile.Spec.LabelsToApply", &profile.spec.labels_to_apply, invalid);
    }

    fn idle_fields(profile: &Typed<Self>) -> Vec<String> {
        let lists = [("spec.ingress", &profile.spec.ingress), ("spec.egress", &profile.spec.egress)];
        lists.iter().filter(|(_, rules)| !rules.is_empty()).map(|(field, _)| (*field).to_owned()).collect()
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
            "egress": [{"destination": {"notPorts": [1050], "nets": ["10.2.0.0/16"]}, "action": "Allow"}],
            "ingress": [{"ipVersion": 6, "action": "Deny"}],
        });
        assert_eq!(
            stored(Kind::Profile, "p", spec.clone()),
            r#"{"kind":"Profile","apiVersion":"projectcalico.org/v3","metadata":{"name":"p"},"spec":{"ingress":[{"action":"Deny","ipVersion":6,"source":{},"destination":{}}],"egress":[{"action":"Allow","source":{},"destination":{"nets":["10.2.0.0/16"],"notPorts":[1050]}}]}}"#
        );
        let stored = serde_json::from_str(&stored(Kind::Profile, "p", spec)).expect("JSON");
        let mut profile = Resource::decode(Kind::Profile, stored).expect("a profile");
        profile.leave_out_defaults();
        assert_eq!(
            serde_json::to_value(&profile).expect("JSON")["spec"],
            json!({
                "ingress": [{"action": "Deny", "ipVersion": 6}],
                "egress": [{"action": "Allow", "destination": {"nets": ["10.2.0.0/16"], "notPorts": [1050]}}],
            })
        );
    }

    #[test]
    fn rules_are_not_enforced_yet() {
        assert_eq!(
            warned(Kind::Profile, "p", json!({"ingress": [{"action": "Allow"}]})),
            ["Profile p: spec.ingress is accepted but not acted on yet"]
        );
    }
}
