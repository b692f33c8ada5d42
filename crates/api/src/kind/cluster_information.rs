//! ClusterInformation: the cluster's identity and whether its datastore is open for use.

use crate::resource::{Kind, Spec};
use serde::{Deserialize, Serialize};

/// `spec` of the ClusterInformation named `default`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterInformationSpec {
    /// 32 hex digits.
    #[serde(rename = "clusterGUID", skip_serializing_if = "String::is_empty")]
    pub cluster_guid: String,
    /// Comma-separated list.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster_type: String,
    /// Version that initialised the cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub calico_version: String,
    /// False while the datastore is locked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datastore_ready: Option<bool>,
    /// `Calico`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Spec for ClusterInformationSpec {
    const KIND: Kind = Kind::ClusterInformation;
    type Status = serde_json::Value;
}
