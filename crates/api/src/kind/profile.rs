//! Profile: rules and labels that endpoints share.

use crate::resource::{Kind, Spec};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// `spec` of a Profile. Rules are kept as written until policy is enforced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProfileSpec {
    /// Rules for what comes in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<Value>,
    /// Rules for what goes out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<Value>,
    /// Labels that endpoints with this profile inherit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels_to_apply: BTreeMap<String, String>,
}

impl Spec for ProfileSpec {
    const KIND: Kind = Kind::Profile;
    type Status = Value;
}
