//! BGPPeer: a BGP session beyond the mesh.

use crate::resource::{Kind, Spec};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `spec` of a BGPPeer (control reference §1.6), in stored order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BgpPeerSpec {
    /// The node that peers; with neither this nor `nodeSelector` all do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// The nodes that peer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node_selector: String,
    /// The peer's address, with or without a port.
    #[serde(rename = "peerIP", skip_serializing_if = "String::is_empty")]
    pub peer_ip: String,
    /// The peer's AS.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "crate::validate::as_number_option")]
    pub as_number: Option<u32>,
    /// The AS this side presents.
    #[serde(
        rename = "localASNumber",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::validate::as_number_option"
    )]
    pub local_as_number: Option<u32>,
    /// Nodes to peer with, instead of an address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub peer_selector: String,
    /// Deprecated: eBGP keeps the next hop.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keep_original_next_hop: bool,
    /// TCP-MD5 secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Value>,
    /// `UseNodeIP` or `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_address: Option<String>,
    /// `Auto`, `Self` or `Keep`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_hop_mode: Option<String>,
    /// Graceful restart time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_restart_time: Option<String>,
    /// Keepalive time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive_time: Option<String>,
    /// How often the own AS may appear in a path.
    #[serde(rename = "numAllowedLocalASNumbers", skip_serializing_if = "Option::is_none")]
    pub num_allowed_local_as_numbers: Option<i32>,
    /// Hops for the TTL security check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_security: Option<u8>,
    /// Gateway towards the peer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reachable_by: String,
    /// BGPFilters that apply.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<String>,
    /// Local workloads to peer with.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub local_workload_selector: String,
    /// `Auto` or `Manual`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reverse_peering: Option<String>,
}

impl Spec for BgpPeerSpec {
    const KIND: Kind = Kind::BGPPeer;
    type Status = Value;
}
