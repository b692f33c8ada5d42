//! WorkloadEndpoint: a pod's or container's interface.

use crate::resource::{Kind, Spec};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `spec` of a WorkloadEndpoint (control reference §1.4), in stored order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WorkloadEndpointSpec {
    /// `k8s`, `cni`, …
    #[serde(skip_serializing_if = "String::is_empty")]
    pub orchestrator: String,
    /// The workload's name, for orchestrators other than Kubernetes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub workload: String,
    /// The node it runs on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// The CNI container ID.
    #[serde(rename = "containerID", skip_serializing_if = "String::is_empty")]
    pub container_id: String,
    /// The pod's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod: String,
    /// The interface inside, such as `eth0`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    /// Kubernetes service account.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service_account_name: String,
    /// Addresses, each a /32 or /128.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_networks: Vec<String>,
    /// Floating addresses.
    #[serde(rename = "ipNATs", skip_serializing_if = "Vec::is_empty")]
    pub ip_nats: Vec<Value>,
    /// IPv4 gateway.
    #[serde(rename = "ipv4Gateway", skip_serializing_if = "String::is_empty")]
    pub ipv4_gateway: String,
    /// IPv6 gateway.
    #[serde(rename = "ipv6Gateway", skip_serializing_if = "String::is_empty")]
    pub ipv6_gateway: String,
    /// Profiles that apply, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// The interface on the host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub interface_name: String,
    /// MAC inside.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Named ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Value>,
    /// CIDRs it may send from besides its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_spoofed_source_prefixes: Vec<String>,
    /// Bandwidth and connection limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qos_controls: Option<Value>,
}

impl Spec for WorkloadEndpointSpec {
    const KIND: Kind = Kind::WorkloadEndpoint;
    type Status = Value;
}
