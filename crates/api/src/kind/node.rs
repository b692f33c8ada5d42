//! Node: a machine, its BGP addresses and its tunnel addresses.

use crate::column::Column;
use crate::crd::Definition;
use crate::invalid::Invalid;
use crate::resource::{Kind, Names, Spec, Typed};
use crate::validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// `spec` of a Node (control reference §1.7).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    /// BGP identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bgp: Option<NodeBgpSpec>,
    /// Address of `vxlan.calico`.
    #[serde(rename = "ipv4VXLANTunnelAddr", skip_serializing_if = "String::is_empty")]
    pub ipv4_vxlan_tunnel_addr: String,
    /// MAC of `vxlan.calico`.
    #[serde(rename = "vxlanTunnelMACAddr", skip_serializing_if = "String::is_empty")]
    pub vxlan_tunnel_mac_addr: String,
    /// Address of `vxlan-v6.calico`.
    #[serde(rename = "ipv6VXLANTunnelAddr", skip_serializing_if = "String::is_empty")]
    pub ipv6_vxlan_tunnel_addr: String,
    /// MAC of `vxlan-v6.calico`.
    #[serde(rename = "vxlanTunnelMACAddrV6", skip_serializing_if = "String::is_empty")]
    pub vxlan_tunnel_mac_addr_v6: String,
    /// The orchestrators' names for this node.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub orch_refs: Vec<OrchRef>,
    /// WireGuard addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wireguard: Option<NodeWireguardSpec>,
    /// Every address of the node.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<NodeAddress>,
    /// The node's interfaces and their addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<NodeInterface>,
}

/// BGP identity of a node; field order as in the stored form.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeBgpSpec {
    /// The node's own AS; else the cluster's. A number, or text `N` or `HI.LO`; written as a number.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "crate::validate::as_number_option")]
    pub as_number: Option<u32>,
    /// Address with the subnet's prefix length.
    #[serde(rename = "ipv4Address", skip_serializing_if = "String::is_empty")]
    pub ipv4_address: String,
    /// Address with the subnet's prefix length.
    #[serde(rename = "ipv6Address", skip_serializing_if = "String::is_empty")]
    pub ipv6_address: String,
    /// Address of `tunl0`.
    #[serde(rename = "ipv4IPIPTunnelAddr", skip_serializing_if = "String::is_empty")]
    pub ipv4_ipip_tunnel_addr: String,
    /// Route reflector cluster, dotted IPv4.
    #[serde(rename = "routeReflectorClusterID", skip_serializing_if = "String::is_empty")]
    pub route_reflector_cluster_id: String,
}

/// An orchestrator's name for a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OrchRef {
    /// The name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node_name: String,
    /// `k8s`, …
    pub orchestrator: String,
}

/// WireGuard addresses of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NodeWireguardSpec {
    /// Address of `wireguard.cali`.
    #[serde(rename = "interfaceIPv4Address", skip_serializing_if = "String::is_empty")]
    pub interface_ipv4_address: String,
    /// Address of `wg-v6.cali`.
    #[serde(rename = "interfaceIPv6Address", skip_serializing_if = "String::is_empty")]
    pub interface_ipv6_address: String,
}

/// One address of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeAddress {
    /// Address, with prefix length for `CalicoNodeIP`.
    pub address: String,
    /// `CalicoNodeIP`, `InternalIP` or `ExternalIP`.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub address_type: String,
}

/// One interface of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeInterface {
    /// Name.
    pub name: String,
    /// Addresses.
    pub addresses: Vec<String>,
}

/// `status` of a Node; always stored, empty as `{}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    /// WireGuard public key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub wireguard_public_key: String,
    /// WireGuard public key for IPv6.
    #[serde(rename = "wireguardPublicKeyV6", skip_serializing_if = "String::is_empty")]
    pub wireguard_public_key_v6: String,
    /// Kubernetes' pod CIDRs.
    #[serde(rename = "podCIDRs", skip_serializing_if = "Vec::is_empty")]
    pub pod_cidrs: Vec<String>,
    /// Whatever else is there.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl Spec for NodeSpec {
    const KIND: Kind = Kind::Node;
    const NAMES: Names = Names { plural: "nodes", namespaced: false, words: &["node", "nodes", "no", "nos"] };
    // a Kubernetes object stands for it
    const DEFINITION: Option<Definition> = None;
    const COLUMNS: &'static [Column<Self>] = &[
        Column::name(),
        Column::wide("ASN", |it, scene| match it.spec.bgp.as_ref().map(|bgp| bgp.as_number) {
            None => String::new(),
            Some(Some(own)) => own.to_string(),
            Some(None) => scene.cluster_as.map_or_else(|| "(unknown)".to_owned(), |number| format!("({number})")),
        }),
        Column::wide("IPV4", |it, _| it.spec.bgp.as_ref().map(|bgp| bgp.ipv4_address.clone()).unwrap_or_default()),
        Column::wide("IPV6", |it, _| it.spec.bgp.as_ref().map(|bgp| bgp.ipv6_address.clone()).unwrap_or_default()),
    ];
    type Status = NodeStatus;

    fn apply_defaults(node: &mut Typed<Self>) {
        node.status.get_or_insert_default();
    }

    fn check(node: &Typed<Self>, invalid: &mut Invalid) {
        let spec = &node.spec;
        if let Some(bgp) = &spec.bgp {
            if *bgp == NodeBgpSpec::default() {
                invalid.push_bare("NodeSpec.BGP", "Spec.BGP should not be empty");
            }
            validate::cidr_v4("IPv4Address", &bgp.ipv4_address, invalid);
            validate::cidr_v6("IPv6Address", &bgp.ipv6_address, invalid);
            validate::ipv4("IPv4IPIPTunnelAddr", &bgp.ipv4_ipip_tunnel_addr, invalid);
            validate::ipv4("RouteReflectorClusterID", &bgp.route_reflector_cluster_id, invalid);
        }
        validate::ipv4("IPv4VXLANTunnelAddr", &spec.ipv4_vxlan_tunnel_addr, invalid);
        validate::mac("VXLANTunnelMACAddr", &spec.vxlan_tunnel_mac_addr, invalid);
        validate::ipv6("IPv6VXLANTunnelAddr", &spec.ipv6_vxlan_tunnel_addr, invalid);
        validate::mac("VXLANTunnelMACAddrV6", &spec.vxlan_tunnel_mac_addr_v6, invalid);
        if let Some(wireguard) = &spec.wireguard {
            validate::ipv4("InterfaceIPv4Address", &wireguard.interface_ipv4_address, invalid);
            validate::ipv6("InterfaceIPv6Address", &wireguard.interface_ipv6_address, invalid);
        }
        for address in &spec.addresses {
            if validate::network(&address.address).is_none() {
                invalid.push_tag("Address", &address.address, "net");
            }
            let types = ["CalicoNodeIP", "InternalIP", "ExternalIP"];
            invalid.one_of("Type", "ipType", "spec.addresses.type", &address.address_type, &types);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, stored};
    use serde_json::json;

    #[test]
    fn stored_form() {
        let spec = json!({
            "orchRefs": [{"nodeName": "node4", "orchestrator": "k8s"}],
            "bgp": {"ipv6Address": "aa:bb:cc::ff/120", "ipv4Address": "1.2.3.5/24"},
        });
        assert_eq!(
            stored(Kind::Node, "node5", spec),
            r#"{"kind":"Node","apiVersion":"projectcalico.org/v3","metadata":{"name":"node5"},"spec":{"bgp":{"ipv4Address":"1.2.3.5/24","ipv6Address":"aa:bb:cc::ff/120"},"orchRefs":[{"nodeName":"node4","orchestrator":"k8s"}]},"status":{}}"#
        );
        assert!(stored(Kind::Node, "n", json!({"bgp": {"asNumber": "1.0"}})).contains(r#""bgp":{"asNumber":65536}"#));
    }

    #[test]
    fn refusals() {
        assert_eq!(
            refused(Kind::Node, "n", json!({"bgp": {}})),
            "error with field NodeSpec.BGP (Spec.BGP should not be empty)"
        );
        assert_eq!(
            refused(Kind::Node, "n", json!({"bgp": {"ipv4Address": "fd00::1/64"}})),
            "error with field IPv4Address = 'fd00::1/64' (Reason: failed to validate Field: IPv4Address because of \
             Tag: cidrv4 )"
        );
    }
}
