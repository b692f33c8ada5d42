//! Object metadata as Kubernetes defines it, with Go's rules for what is omitted.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The API version of every resource.
pub const API_VERSION: &str = "projectcalico.org/v3";

/// `metadata` of a resource; field order is that of Go's `metav1.ObjectMeta`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectMeta {
    /// Name, a DNS-1123 subdomain.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "crate::validate::text")]
    pub name: String,
    /// Accepted when read; creating with it is refused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub generate_name: String,
    /// Namespace of a namespaced kind.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "crate::validate::text")]
    pub namespace: String,
    /// Kubernetes' old self link; never stored.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub self_link: String,
    /// Unique ID, given at creation.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The datastore's revision of this object; never stored.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    /// Kubernetes' generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// RFC 3339, whole seconds, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<String>,
    /// RFC 3339; set while an object is going away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<String>,
    /// Seconds of grace at deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_grace_period_seconds: Option<i64>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "crate::validate::text_map")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "crate::validate::text_map")]
    pub annotations: BTreeMap<String, String>,
    /// Owners, carried as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owner_references: Vec<serde_json::Value>,
    /// Finalizers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub finalizers: Vec<String>,
    /// Field managers, carried as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub managed_fields: Vec<serde_json::Value>,
}

impl ObjectMeta {
    /// Metadata with a name and nothing else.
    pub fn named(name: &str) -> Self {
        ObjectMeta { name: name.to_owned(), ..ObjectMeta::default() }
    }
}
