//! BGPPeer: a BGP session beyond the mesh.

use crate::column::Column;
use crate::crd::{self, Definition, PrinterColumn};
use crate::invalid::Invalid;
use crate::resource::{Kind, Names, Spec, Typed};
use crate::validate;
use crate::word::{Word, words};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};

words! {
    /// Which address a session is from.
    SourceAddress: "UseNodeIP", "None";
    /// Which next hop a peer is told.
    NextHopMode: "Auto", "Self", "Keep";
    /// Whether the other node gets a peer as well.
    ReversePeering: "Auto", "Manual";
}

/// `spec` of a BGPPeer (control reference §1.6), in stored order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = crd::rules(BGP_PEER_SPEC_RULES)))]
pub struct BgpPeerSpec {
    /// The node that peers; with neither this nor `nodeSelector` all do.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "validate::text")]
    #[schemars(extend("maxLength" = 253))]
    pub node: String,
    /// The nodes that peer.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(extend("maxLength" = 4096))]
    pub node_selector: String,
    /// The peer's address, with or without a port.
    #[serde(rename = "peerIP", skip_serializing_if = "String::is_empty")]
    #[schemars(extend("maxLength" = 64))]
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
    #[schemars(extend("maxLength" = 4096))]
    pub peer_selector: String,
    /// Deprecated: eBGP keeps the next hop.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keep_original_next_hop: bool,
    /// TCP-MD5 secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<BgpPassword>,
    /// `UseNodeIP` or `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SourceAddress")]
    pub source_address: Option<String>,
    /// `Auto`, `Self` or `Keep`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "NextHopMode")]
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
    #[schemars(extend("maxLength" = 4096))]
    pub local_workload_selector: String,
    /// `Auto` or `Manual`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ReversePeering")]
    pub reverse_peering: Option<String>,
}

/// Where a TCP-MD5 secret is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BgpPassword {
    /// The Kubernetes secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
}

/// One key of a Kubernetes secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["key"], "x-kubernetes-map-type" = "atomic"))]
pub struct SecretKeyRef {
    /// The secret.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(extend("x-default" = ""))]
    pub name: String,
    /// The key in it.
    pub key: String,
    /// Whether it may be missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,
}

/// What the schema says of it as a whole.
const BGP_PEER_SPEC_RULES: &[crd::Rule] = &[
    crd::Rule {
        cel: "(!has(self.node) || size(self.node) == 0) || (!has(self.nodeSelector) || size(self.nodeSelector) == 0)",
        message: "node and nodeSelector cannot both be set",
        reason: "FieldValueForbidden",
    },
    crd::Rule {
        cel: "(!has(self.peerIP) || size(self.peerIP) == 0) || (!has(self.peerSelector) || size(self.peerSelector) == 0)",
        message: "peerIP and peerSelector cannot both be set",
        reason: "FieldValueForbidden",
    },
    crd::Rule {
        cel: "(!has(self.peerSelector) || size(self.peerSelector) == 0) || !has(self.asNumber) || self.asNumber == 0",
        message: "asNumber must be empty when peerSelector is set",
        reason: "FieldValueForbidden",
    },
    crd::Rule {
        cel: "(!has(self.localWorkloadSelector) || size(self.localWorkloadSelector) == 0) || (!has(self.peerIP) || size(self.peerIP) == 0)",
        message: "peerIP must be empty when localWorkloadSelector is set",
        reason: "FieldValueForbidden",
    },
    crd::Rule {
        cel: "(!has(self.localWorkloadSelector) || size(self.localWorkloadSelector) == 0) || (!has(self.peerSelector) || size(self.peerSelector) == 0)",
        message: "peerSelector must be empty when localWorkloadSelector is set",
        reason: "FieldValueForbidden",
    },
    crd::Rule {
        cel: "(!has(self.localWorkloadSelector) || size(self.localWorkloadSelector) == 0) || (has(self.asNumber) && self.asNumber != 0)",
        message: "asNumber is required when localWorkloadSelector is set",
        reason: "FieldValueInvalid",
    },
];

impl Spec for BgpPeerSpec {
    const KIND: Kind = Kind::BGPPeer;
    const NAMES: Names =
        Names { plural: "bgppeers", namespaced: false, words: &["bgppeer", "bgppeers", "bgpp", "bgpps", "bp", "bps"] };
    const DEFINITION: Option<Definition> = Some(Definition {
        columns: &[
            PrinterColumn::new("Node Selector", "string", ".spec.nodeSelector"),
            PrinterColumn::new("Node", "string", ".spec.node"),
            PrinterColumn::new("Local ASN", "string", ".spec.localASNumber"),
            PrinterColumn::new("Peer Selector", "string", ".spec.peerSelector"),
            PrinterColumn::new("Peer IP", "string", ".spec.peerIP"),
            PrinterColumn::new("Peer ASN", "string", ".spec.asNumber"),
        ],
        ..Definition::PLAIN
    });
    const COLUMNS: &'static [Column<Self>] = &[
        Column::name(),
        Column::new("PEERIP", |it, _| it.spec.peer_ip.clone()),
        Column::new("NODE", |it, _| {
            let named = [&it.spec.node, &it.spec.node_selector].into_iter().find(|text| !text.is_empty());
            named.cloned().unwrap_or_else(|| "(global)".to_owned())
        }),
        Column::new("ASN", |it, _| it.spec.as_number.unwrap_or_default().to_string()),
    ];
    type Status = Value;

    fn apply_defaults(peer: &mut Typed<Self>) {
        for time in [&mut peer.spec.max_restart_time, &mut peer.spec.keepalive_time].into_iter().flatten() {
            validate::normalise_duration(time);
        }
    }

    fn check(peer: &Typed<Self>, invalid: &mut Invalid) {
        let spec = &peer.spec;
        let address = parse_peer(&spec.peer_ip);
        if !spec.peer_ip.is_empty() && address.is_none() {
            invalid.push_tag("PeerIP", &spec.peer_ip, "IP:port");
        }
        validate::selector("NodeSelector", &spec.node_selector, invalid);
        validate::selector("PeerSelector", &spec.peer_selector, invalid);
        validate::selector("LocalWorkloadSelector", &spec.local_workload_selector, invalid);
        validate::duration("spec.maxRestartTime", spec.max_restart_time.as_ref(), invalid);
        validate::duration("spec.keepaliveTime", spec.keepalive_time.as_ref(), invalid);
        let choice = |field: &Option<String>| field.clone().unwrap_or_default();
        let (source, next_hop) = (choice(&spec.source_address), choice(&spec.next_hop_mode));
        invalid.one_of("SourceAddress", "sourceAddress", "spec.sourceAddress", &source, SourceAddress::WORDS);
        invalid.one_of("NextHopMode", "omitempty", "spec.nextHopMode", &next_hop, NextHopMode::WORDS);
        let reverse = choice(&spec.reverse_peering);
        invalid.one_of("ReversePeering", "omitempty", "spec.reversePeering", &reverse, ReversePeering::WORDS);
        let gateway = spec.reachable_by.parse::<IpAddr>().ok();
        if !spec.reachable_by.is_empty() && gateway.is_none() {
            invalid.push_tag("ReachableBy", &spec.reachable_by, "ip");
        }
        if let (Some(gateway), Some(address)) = (gateway, address)
            && gateway.is_ipv4() != address.is_ipv4()
        {
            let reason = "ReachableBy and PeerIP must be of the same address family";
            invalid.push("ReachableBy", &spec.reachable_by, reason);
        }
        spec.check_exclusions(invalid);
    }

    fn idle_fields(peer: &Typed<Self>) -> Vec<String> {
        let spec = &peer.spec;
        let set = [
            ("peerIP", parse_peer(&spec.peer_ip).is_some_and(|address| address.is_ipv6())),
            ("localWorkloadSelector", !spec.local_workload_selector.is_empty()),
        ];
        set.iter().filter(|(_, set)| *set).map(|(field, _)| format!("spec.{field}")).collect()
    }
}

impl BgpPeerSpec {
    /// Fields that exclude or need each other.
    fn check_exclusions(&self, invalid: &mut Invalid) {
        let node = !self.node.is_empty() && !self.node_selector.is_empty();
        let peer = !self.peer_ip.is_empty() && !self.peer_selector.is_empty();
        let asn = self.as_number.filter(|_| !self.peer_selector.is_empty());
        let workload = !self.local_workload_selector.is_empty();
        if node {
            invalid.push("Node", &self.node, "Node field must be empty when NodeSelector is specified");
        }
        if peer {
            invalid.push("PeerIP", &self.peer_ip, "PeerIP field must be empty when PeerSelector is specified");
        }
        if let Some(asn) = asn {
            let reason = "ASNumber field must be empty when PeerSelector is specified";
            invalid.push("ASNumber", &asn.to_string(), reason);
        }
        for (conflict, reason) in [
            (node, "node and nodeSelector cannot both be set"),
            (peer, "peerIP and peerSelector cannot both be set"),
            (asn.is_some(), "asNumber must be empty when peerSelector is set"),
            (!self.reachable_by.is_empty() && self.peer_ip.is_empty(), "reachableBy needs peerIP"),
            (
                self.keep_original_next_hop && self.next_hop_mode.is_some(),
                "keepOriginalNextHop and nextHopMode cannot both be set",
            ),
            (workload && !self.peer_ip.is_empty(), "peerIP must be empty when localWorkloadSelector is set"),
            (
                workload && !self.peer_selector.is_empty(),
                "peerSelector must be empty when localWorkloadSelector is set",
            ),
            (workload && self.as_number.is_none(), "asNumber is required when localWorkloadSelector is set"),
        ] {
            if conflict {
                invalid.schema("spec", reason);
            }
        }
    }
}

/// The address of `IP`, `IPV4:PORT` or `[IPV6]:PORT`.
fn parse_peer(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().filter(|s| s.port() != 0).map(|s| s.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, stored, warned};
    use serde_json::json;

    #[test]
    fn stored_form() {
        let spec = json!({"asNumber": 64590, "node": "node2", "peerIP": "fd5f::6:ee"});
        assert_eq!(
            stored(Kind::BGPPeer, "bgppeer-name-456def", spec),
            r#"{"kind":"BGPPeer","apiVersion":"projectcalico.org/v3","metadata":{"name":"bgppeer-name-456def"},"spec":{"node":"node2","peerIP":"fd5f::6:ee","asNumber":64590}}"#
        );
        for address in ["10.0.0.1:1179", "[fd00::1]:179"] {
            stored(Kind::BGPPeer, "b", json!({"peerIP": address, "asNumber": 1}));
        }
    }

    #[test]
    fn refusals() {
        let both = json!({"asNumber": 1, "node": "n", "nodeSelector": "all()", "peerIP": "1.2.3.4"});
        assert_eq!(
            refused(Kind::BGPPeer, "b", both),
            "error with the following fields:\n\
             -  Node = 'n' (Node field must be empty when NodeSelector is specified)\n\
             -  spec (node and nodeSelector cannot both be set)\n"
        );
        let selector = json!({"asNumber": 1, "peerSelector": "all()", "peerIP": "1.2.3.4"});
        assert_eq!(
            refused(Kind::BGPPeer, "b", selector),
            "error with the following fields:\n\
             -  PeerIP = '1.2.3.4' (PeerIP field must be empty when PeerSelector is specified)\n\
             -  ASNumber = '1' (ASNumber field must be empty when PeerSelector is specified)\n\
             -  spec (peerIP and peerSelector cannot both be set)\n\
             -  spec (asNumber must be empty when peerSelector is set)\n"
        );
        assert!(refused(Kind::BGPPeer, "b", json!({"peerIP": "1.2.3.4:0"})).contains("Tag: IP:port"));
    }

    #[test]
    fn what_is_not_acted_on_is_said() {
        assert_eq!(warned(Kind::BGPPeer, "b", json!({"peerIP": "1.2.3.4", "asNumber": 1})), [""; 0]);
        let acted = json!({"peerIP": "1.2.3.4", "asNumber": 1, "ttlSecurity": 3, "nextHopMode": "Self",
            "reachableBy": "1.2.3.1", "password": {"secretKeyRef": {"name": "a", "key": "b"}}});
        assert_eq!(warned(Kind::BGPPeer, "b", acted), [""; 0]);
        for (spec, field) in [
            (json!({"peerIP": "fd00::1"}), "peerIP"),
            (json!({"localWorkloadSelector": "all()", "asNumber": 1}), "localWorkloadSelector"),
        ] {
            let expect = format!("BGPPeer b: spec.{field} is accepted but not acted on yet");
            assert_eq!(warned(Kind::BGPPeer, "b", spec), [expect]);
        }
    }
}
