//! IPPool: a range that pods get addresses from, and how its traffic travels.

use crate::resource::{Kind, Spec};
use serde::{Deserialize, Serialize};

/// `spec` of an IPPool (control reference §1.5).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct IpPoolSpec {
    /// The pool's CIDR; cannot be changed.
    pub cidr: String,
    /// `Never`, `Always` or `CrossSubnet`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vxlan_mode: String,
    /// `Never`, `Always` or `CrossSubnet`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ipip_mode: String,
    /// Masquerade what leaves for outside every pool.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub nat_outgoing: bool,
    /// Give out no more addresses.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// Keep the pool's blocks out of BGP.
    #[serde(rename = "disableBGPExport", skip_serializing_if = "std::ops::Not::not")]
    pub disable_bgp_export: bool,
    /// Prefix length of the blocks that nodes claim; cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_size: Option<u8>,
    /// Nodes that may use the pool.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node_selector: String,
    /// Namespaces that may use the pool.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace_selector: String,
    /// `Workload`, `Tunnel`, `LoadBalancer`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_uses: Vec<String>,
    /// `Automatic` or `Manual`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub assignment_mode: String,
}

impl Spec for IpPoolSpec {
    const KIND: Kind = Kind::IPPool;
    type Status = serde_json::Value;
}
