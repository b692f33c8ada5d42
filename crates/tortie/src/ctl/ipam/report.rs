//! The report that ipam check writes and ipam release reads, in calicoctl's form.

use crate::client::Client;
use crate::ctl::migrate::information;
use crate::ctl::{CALICO_VERSION, Failed};
use ipam::check::{Allocation, Findings};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The cluster that a report is of.
pub(super) struct Cluster {
    pub(super) guid: String,
    pub(super) kind: String,
    /// Revision of its ClusterInformation, which a lock of the datastore changes.
    pub(super) revision: String,
    pub(super) locked: bool,
}

impl Cluster {
    pub(super) async fn read(client: &Client) -> Result<Self, Failed> {
        let object = information(client).await?;
        Ok(Cluster {
            guid: object.spec.cluster_guid,
            kind: object.spec.cluster_type,
            revision: object.metadata.resource_version,
            locked: object.spec.datastore_ready == Some(false),
        })
    }
}

/// A report.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Report {
    /// The release whose calicoctl writes such reports.
    pub(super) version: String,
    #[serde(rename = "clusterGUID")]
    pub(super) cluster_guid: String,
    #[serde(rename = "datastoreLocked")]
    datastore_locked: bool,
    #[serde(rename = "clusterInformationRevision")]
    pub(super) cluster_information_revision: String,
    #[serde(rename = "clusterType")]
    cluster_type: String,
    pub(super) allocations: BTreeMap<String, Vec<Reported>>,
    #[serde(rename = "leakedHandles", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) leaked_handles: Vec<LeakedHandle>,
}

/// An allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Reported {
    pub(super) ip: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) handle: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sequence_number: Option<u64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pod: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    node: String,
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    creation_timestamp: String,
    pub(super) in_use: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    borrowed: bool,
    /// Who uses it; none if nobody does.
    owners: Option<Vec<String>>,
}

/// A handle that holds nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LeakedHandle {
    #[serde(rename = "ID")]
    pub(super) id: String,
    /// Of the Kubernetes datastore.
    #[serde(rename = "UID")]
    uid: Option<String>,
    #[serde(rename = "Revision")]
    pub(super) revision: String,
}

impl Report {
    pub(super) fn new(cluster: &Cluster, findings: &Findings) -> Self {
        let reported = |allocation: &Allocation| reported(allocation, findings);
        let by_address = findings.allocations.iter();
        let leaked = findings.idle_handles.iter();
        Report {
            version: CALICO_VERSION.to_owned(),
            cluster_guid: cluster.guid.clone(),
            datastore_locked: cluster.locked,
            cluster_information_revision: cluster.revision.clone(),
            cluster_type: cluster.kind.clone(),
            allocations: by_address.map(|(ip, all)| (ip.to_string(), all.iter().map(reported).collect())).collect(),
            leaked_handles: leaked
                .map(|handle| LeakedHandle { id: handle.id.clone(), uid: None, revision: handle.revision.0.clone() })
                .collect(),
        }
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report has string keys and whole numbers, which JSON can hold")
    }

    pub(super) fn load(path: &Path) -> Result<Self, Failed> {
        let failed = |reason: &dyn std::fmt::Display| Failed(format!("read report {}: {reason}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
        serde_json::from_str(&text).map_err(|error| failed(&error))
    }
}

fn reported(allocation: &Allocation, findings: &Findings) -> Reported {
    let attribute = |name: &str| allocation.attribute(name).unwrap_or_default().to_owned();
    let users = findings.users.get(&allocation.address);
    Reported {
        ip: allocation.address.to_string(),
        handle: allocation.handle.clone().unwrap_or_default(),
        sequence_number: allocation.sequence,
        pod: attribute("pod"),
        namespace: attribute("namespace"),
        node: allocation.node.clone(),
        kind: attribute("type"),
        creation_timestamp: attribute("timestamp"),
        in_use: users.is_some(),
        borrowed: allocation.borrowed,
        owners: users.map(|users| users.iter().map(ToString::to_string).collect()),
    }
}
