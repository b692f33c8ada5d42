//! ClusterInformation: the cluster's identity and whether its datastore is open for use.

use crate::column::Column;
use crate::crd::{Definition, PrinterColumn};
use crate::resource::{Kind, Names, Spec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `spec` of the ClusterInformation named `default`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    const NAMES: Names = Names {
        plural: "clusterinformations",
        namespaced: false,
        words: &["clusterinformation", "clusterinformations", "clusterinfo", "clusterinfos"],
    };
    const DEFINITION: Option<Definition> = Some(Definition {
        short_names: &["clusterinfo", "clusterinfos"],
        columns: &[
            PrinterColumn::new("Version", "string", ".spec.calicoVersion"),
            PrinterColumn::new("Ready", "boolean", ".spec.datastoreReady"),
            PrinterColumn::new("Types", "string", ".spec.clusterType"),
        ],
        ..Definition::PLAIN
    });
    const COLUMNS: &'static [Column<Self>] = &[
        Column::name(),
        Column::new("CLUSTERGUID", |it, _| it.spec.cluster_guid.clone()),
        Column::new("CLUSTERTYPE", |it, _| it.spec.cluster_type.clone()),
        Column::new("CALICOVERSION", |it, _| it.spec.calico_version.clone()),
        Column::new("DATASTOREREADY", |it, _| {
            it.spec.datastore_ready.map(|ready| ready.to_string()).unwrap_or_default()
        }),
    ];
    type Status = serde_json::Value;
}
