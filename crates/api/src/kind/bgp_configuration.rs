//! BGPConfiguration: cluster-wide (`default`) and per-node (`node.NAME`) BGP settings.

use crate::resource::{Kind, Spec};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `spec` of a BGPConfiguration (control reference §1.6), in stored order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BgpConfigurationSpec {
    /// Log level.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub log_severity_screen: String,
    /// Whether every node peers with every other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_to_node_mesh_enabled: Option<bool>,
    /// The cluster's AS.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "crate::validate::as_number_option")]
    pub as_number: Option<u32>,
    /// Service ranges to advertise.
    #[serde(rename = "serviceLoadBalancerIPs", skip_serializing_if = "Vec::is_empty")]
    pub service_load_balancer_ips: Vec<Value>,
    /// Service ranges to advertise.
    #[serde(rename = "serviceExternalIPs", skip_serializing_if = "Vec::is_empty")]
    pub service_external_ips: Vec<Value>,
    /// Service ranges to advertise.
    #[serde(rename = "serviceClusterIPs", skip_serializing_if = "Vec::is_empty")]
    pub service_cluster_ips: Vec<Value>,
    /// `Enabled` or `Disabled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_load_balancer_aggregation: Option<String>,
    /// Named communities.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub communities: Vec<Value>,
    /// Communities by prefix.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prefix_advertisements: Vec<Value>,
    /// TCP port that BGP listens on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_port: Option<u16>,
    /// TCP-MD5 secret of the mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_mesh_password: Option<Value>,
    /// Graceful restart time of the mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_mesh_max_restart_time: Option<String>,
    /// `None` or `NodeIP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_mode: Option<String>,
    /// Interfaces whose subnets are not considered direct.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignored_interfaces: Vec<String>,
    /// Address that workloads peer with.
    #[serde(rename = "localWorkloadPeeringIPV4", skip_serializing_if = "String::is_empty")]
    pub local_workload_peering_ipv4: String,
    /// Address that workloads peer with.
    #[serde(rename = "localWorkloadPeeringIPV6", skip_serializing_if = "String::is_empty")]
    pub local_workload_peering_ipv6: String,
    /// `Enabled` or `Disabled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program_cluster_routes: Option<String>,
    /// Metric of learned IPv4 routes.
    #[serde(rename = "ipv4NormalRoutePriority", skip_serializing_if = "Option::is_none")]
    pub ipv4_normal_route_priority: Option<u32>,
    /// Metric of learned IPv6 routes.
    #[serde(rename = "ipv6NormalRoutePriority", skip_serializing_if = "Option::is_none")]
    pub ipv6_normal_route_priority: Option<u32>,
}

impl Spec for BgpConfigurationSpec {
    const KIND: Kind = Kind::BGPConfiguration;
    type Status = Value;
}
