//! WorkloadEndpoint: a pod's or container's interface.

mod name;

pub use name::WorkloadEndpointName;

use crate::column::{Column, Shown, joined};
use crate::crd::Definition;
use crate::invalid::Invalid;
use crate::resource::{Kind, Names, Spec, Typed};
use crate::validate;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::IpAddr;

/// Label with the endpoint's namespace.
const NAMESPACE_LABEL: &str = "projectcalico.org/namespace";
/// Label with the endpoint's orchestrator.
const ORCHESTRATOR_LABEL: &str = "projectcalico.org/orchestrator";

/// `spec` of a WorkloadEndpoint (control reference §1.4), in stored order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadEndpointSpec {
    /// `k8s`, `cni`, …
    #[serde(skip_serializing_if = "String::is_empty")]
    pub orchestrator: String,
    /// The workload's name, for orchestrators other than Kubernetes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub workload: String,
    /// The node it runs on.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "validate::text")]
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
    pub ip_nats: Vec<IpNat>,
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
    pub ports: Vec<EndpointPort>,
    /// CIDRs it may send from besides its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_spoofed_source_prefixes: Vec<String>,
    /// Bandwidth and connection limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qos_controls: Option<Value>,
}

impl WorkloadEndpointSpec {
    /// What the endpoint's workload is called within its orchestrator: a namespace, and the pod, workload or container.
    pub fn workload_id(&self, namespace: &str) -> String {
        let name = [&self.pod, &self.workload, &self.container_id].into_iter().find(|name| !name.is_empty());
        format!("{namespace}/{}", name.map_or("", String::as_str))
    }
}

/// A floating address and the endpoint's own that it stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct IpNat {
    /// One of the endpoint's addresses.
    #[serde(rename = "internalIP")]
    pub internal_ip: String,
    /// The floating address.
    #[serde(rename = "externalIP")]
    pub external_ip: String,
}

/// A port of an endpoint: named for policies, or mapped to a port of the host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointPort {
    /// Name that policies use.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `TCP`, `UDP`, `SCTP`, or a protocol's number.
    pub protocol: Value,
    /// Port inside.
    pub port: u16,
    /// Port of the host, or 0.
    pub host_port: u16,
    /// Address of the host, or empty for all.
    #[serde(rename = "hostIP")]
    pub host_ip: String,
}

impl Spec for WorkloadEndpointSpec {
    const KIND: Kind = Kind::WorkloadEndpoint;
    const NAMES: Names = Names {
        plural: "workloadendpoints",
        namespaced: true,
        words: &["workloadendpoint", "workloadendpoints", "wep", "weps"],
    };
    // a Kubernetes object stands for it
    const DEFINITION: Option<Definition> = None;
    const COLUMNS: &'static [Column<Self>] = &[
        Column::wide("NAME", |it, _| it.metadata.name.clone()),
        Column::new("WORKLOAD", |it, _| {
            let workload = [&it.spec.workload, &it.spec.pod].into_iter().find(|name| !name.is_empty());
            workload.cloned().unwrap_or_default()
        }),
        Column::new("NODE", |it, _| it.spec.node.clone()),
        Column::new("NETWORKS", |it, _| joined(&it.spec.ip_networks)),
        Column::new("INTERFACE", |it, _| it.spec.interface_name.clone()),
        Column::wide("PROFILES", |it, _| joined(&it.spec.profiles)),
        Column::wide("NATS", |it, _| {
            joined(it.spec.ip_nats.iter().map(|nat| format!("{}:{}", nat.external_ip, nat.internal_ip)))
        }),
        Column { heading: "ORCHESTRATOR", shown: Shown::Asked, cell: |it, _| it.spec.orchestrator.clone() },
    ];
    type Status = Value;

    fn apply_defaults(endpoint: &mut Typed<Self>) {
        if endpoint.metadata.name.is_empty()
            && let Ok(name) = WorkloadEndpointName::of(&endpoint.spec).build()
        {
            endpoint.metadata.name = name;
        }
        for (label, value) in
            [(NAMESPACE_LABEL, &endpoint.metadata.namespace), (ORCHESTRATOR_LABEL, &endpoint.spec.orchestrator)]
        {
            endpoint.metadata.labels.insert(label.to_owned(), value.clone());
        }
    }

    fn check(endpoint: &Typed<Self>, invalid: &mut Invalid) {
        let spec = &endpoint.spec;
        match WorkloadEndpointName::of(spec).build() {
            Ok(expected) if expected == endpoint.metadata.name => {}
            Ok(expected) => {
                let reason = format!(
                    "the WorkloadEndpoint name does not match the primary identifiers assigned in the Spec: \
                     expected name {expected}"
                );
                invalid.push("Name", &endpoint.metadata.name, &reason);
            }
            Err(reason) => invalid.push_bare("WorkloadEndpointSpec", &reason),
        }
        spec.check_addresses(invalid);
        validate::ipv4("IPv4Gateway", &spec.ipv4_gateway, invalid);
        validate::ipv6("IPv6Gateway", &spec.ipv6_gateway, invalid);
        if spec.interface_name.is_empty() {
            invalid.push_tag("InterfaceName", "", "required");
        }
        validate::interface("InterfaceName", &spec.interface_name, invalid);
        validate::mac("MAC", &spec.mac, invalid);
        for prefix in &spec.allow_spoofed_source_prefixes {
            if validate::network(prefix).is_none() {
                invalid.push_tag("AllowSpoofedSourcePrefixes", prefix, "cidr");
            }
        }
        for port in &spec.ports {
            if port.port == 0 {
                invalid.push_tag("Port", "0", "gt");
            }
            if port.name.is_empty() && port.host_port == 0 {
                invalid.push(
                    "EndpointPort.Name",
                    "",
                    "EndpointPort name must not be empty if no HostPort is specified",
                );
            }
        }
    }

    fn idle_fields(endpoint: &Typed<Self>) -> Vec<String> {
        let spec = &endpoint.spec;
        let set = [
            ("ipNATs", !spec.ip_nats.is_empty()),
            ("ports", !spec.ports.is_empty()),
            ("allowSpoofedSourcePrefixes", !spec.allow_spoofed_source_prefixes.is_empty()),
            ("qosControls", spec.qos_controls.is_some()),
        ];
        set.iter().filter(|(_, set)| *set).map(|(field, _)| format!("spec.{field}")).collect()
    }
}

impl WorkloadEndpointSpec {
    fn check_addresses(&self, invalid: &mut Invalid) {
        let networks: Vec<Option<IpNet>> = self.ip_networks.iter().map(|text| validate::network(text)).collect();
        for (text, network) in self.ip_networks.iter().zip(&networks) {
            if network.is_none() {
                invalid.push_tag("IPNetworks", text, "net");
            }
        }
        let listed = format!("[{}]", self.ip_networks.join(" "));
        if networks.iter().flatten().any(|network| network.prefix_len() != network.max_prefix_len()) {
            invalid.push("IPNetworks", &listed, "IP network contains multiple addresses");
        }
        for nat in &self.ip_nats {
            let (internal, external) = (nat.internal_ip.parse::<IpAddr>(), nat.external_ip.parse::<IpAddr>());
            let (Ok(internal), Ok(external)) = (internal, external) else {
                invalid.push(
                    "IPNATs",
                    &format!("{} -> {}", nat.external_ip, nat.internal_ip),
                    "both must be IP addresses",
                );
                continue;
            };
            if internal.is_ipv4() != external.is_ipv4() {
                invalid.push("IPNATs", &nat.external_ip, "mismatched IP versions in IPNAT");
            }
            if !networks.iter().flatten().any(|network| network.contains(&internal)) {
                invalid.push("IPNATs", &nat.internal_ip, "NAT is not in the endpoint networks");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, stored};
    use serde_json::{Map, json};

    fn endpoint(more: Value) -> Value {
        let base = json!({
            "endpoint": "eth0", "interfaceName": "cali1", "ipNetworks": ["1.2.3.4/32"], "node": "n1",
            "orchestrator": "k8s", "pod": "p",
        });
        let mut spec: Map<String, Value> = serde_json::from_value(base).expect("an object");
        spec.extend(more.as_object().expect("an object").clone());
        Value::Object(spec)
    }

    #[test]
    fn stored_form() {
        let ports = json!({"ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]});
        assert_eq!(
            stored(Kind::WorkloadEndpoint, "n1-k8s-p-eth0", endpoint(ports)),
            r#"{"kind":"WorkloadEndpoint","apiVersion":"projectcalico.org/v3","metadata":{"name":"n1-k8s-p-eth0","namespace":"default","labels":{"projectcalico.org/namespace":"default","projectcalico.org/orchestrator":"k8s"}},"spec":{"orchestrator":"k8s","node":"n1","pod":"p","endpoint":"eth0","ipNetworks":["1.2.3.4/32"],"interfaceName":"cali1","ports":[{"name":"http","protocol":"TCP","port":8080,"hostPort":0,"hostIP":""}]}}"#
        );
        assert!(stored(Kind::WorkloadEndpoint, "", endpoint(json!({}))).contains(r#""name":"n1-k8s-p-eth0""#));
    }

    #[test]
    fn refusals() {
        for (name, more, expect) in [
            (
                "foo",
                json!({}),
                "Name = 'foo' (the WorkloadEndpoint name does not match the primary identifiers assigned in the \
                 Spec: expected name n1-k8s-p-eth0)",
            ),
            (
                "n1-k8s-p-eth0",
                json!({"ipNetworks": ["1.2.3.0/24"]}),
                "IPNetworks = '[1.2.3.0/24]' (IP network contains multiple addresses)",
            ),
            (
                "n1-k8s-p-eth0",
                json!({"interfaceName": "cali0123456789ab"}),
                "InterfaceName = 'cali0123456789ab' (Reason: failed to validate Field: InterfaceName because of \
                 Tag: interface )",
            ),
            (
                "n1-k8s-p-eth0",
                json!({"ipNATs": [{"internalIP": "1.2.3.5", "externalIP": "9.9.9.9"}]}),
                "IPNATs = '1.2.3.5' (NAT is not in the endpoint networks)",
            ),
        ] {
            assert_eq!(refused(Kind::WorkloadEndpoint, name, endpoint(more)), format!("error with field {expect}"));
        }
    }
}
