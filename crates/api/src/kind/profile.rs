//! Profile: rules and labels that endpoints share.

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
    pub ingress: Vec<Value>,
    /// Rules for what goes out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<Value>,
    /// Labels that endpoints with this profile inherit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "validate::text_map")]
    pub labels_to_apply: BTreeMap<String, String>,
}

impl Spec for ProfileSpec {
    const KIND: Kind = Kind::Profile;
    type Status = Value;

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
    fn rules_are_not_enforced_yet() {
        assert_eq!(
            warned(Kind::Profile, "p", json!({"ingress": [{"action": "Allow"}]})),
            ["Profile p: spec.ingress is accepted but not acted on yet"]
        );
    }
}
