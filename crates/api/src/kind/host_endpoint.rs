//! HostEndpoint: an interface of a host, or all of them, that policy is for.

use crate::column::{Column, joined};
use crate::crd::{self, Definition, PrinterColumn};
use crate::invalid::{Invalid, SchemaRule};
use crate::port::Protocol;
use crate::resource::{Kind, Names, Spec, Typed};
use crate::validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::IpAddr;

/// Longest name of an interface.
const MAX_INTERFACE: usize = 15;
/// Longest name of a node.
const MAX_NODE: usize = 253;

/// `spec` of a HostEndpoint (control reference §1.4), in stored order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = crd::rows(&RULES)))]
pub struct HostEndpointSpec {
    /// The node whose interface it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(extend("maxLength" = 253))]
    pub node: String,
    /// The interface, or `*` for all of a host's traffic.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(extend("maxLength" = 15))]
    pub interface_name: String,
    /// Addresses by which to find the interface.
    #[serde(rename = "expectedIPs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub expected_ips: Vec<String>,
    /// Profiles that apply, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub profiles: Vec<String>,
    /// Named ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<NamedPort>,
}

/// A port of an endpoint that policies know by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["name", "port", "protocol"]))]
pub struct NamedPort {
    /// The name.
    pub name: String,
    /// A protocol that has ports.
    pub protocol: Protocol,
    /// The number.
    #[schemars(extend("maximum" = 65535, "minimum" = 1))]
    pub port: u16,
}

/// What the schema says of a host endpoint as a whole.
const RULES: [SchemaRule<HostEndpointSpec>; 2] = [
    SchemaRule {
        cel: "has(self.interfaceName) && size(self.interfaceName) > 0 || has(self.expectedIPs) && size(self.expectedIPs) > 0",
        message: "at least one of interfaceName or expectedIPs must be specified",
        reason: "FieldValueInvalid",
        holds: |spec| !spec.interface_name.is_empty() || !spec.expected_ips.is_empty(),
    },
    SchemaRule {
        cel: "has(self.node) && size(self.node) > 0",
        message: "node must be specified",
        reason: "FieldValueInvalid",
        holds: |spec| !spec.node.is_empty(),
    },
];

impl Spec for HostEndpointSpec {
    const KIND: Kind = Kind::HostEndpoint;
    const NAMES: Names =
        Names { plural: "hostendpoints", namespaced: false, words: &["hostendpoint", "hostendpoints", "hep", "heps"] };
    const DEFINITION: Option<Definition> = Some(Definition {
        short_names: &["hep", "heps"],
        columns: &[
            PrinterColumn::new("Node", "string", ".spec.node"),
            PrinterColumn::new("Interface", "string", ".spec.interfaceName"),
        ],
        ..Definition::PLAIN
    });
    const COLUMNS: &'static [Column<Self>] = &[
        Column::name(),
        Column::new("NODE", |it, _| it.spec.node.clone()),
        Column::wide("INTERFACE", |it, _| it.spec.interface_name.clone()),
        Column::wide("IPS", |it, _| joined(&it.spec.expected_ips)),
        Column::wide("PROFILES", |it, _| joined(&it.spec.profiles)),
    ];
    type Status = Value;

    fn check(endpoint: &Typed<Self>, invalid: &mut Invalid) {
        let spec = &endpoint.spec;
        if spec.interface_name != "*" {
            validate::interface("InterfaceName", &spec.interface_name, invalid);
        }
        for (index, address) in spec.expected_ips.iter().enumerate() {
            if address.parse::<IpAddr>().is_err() {
                invalid.push_tag(&format!("ExpectedIPs[{index}]"), address, "ip");
            }
        }
        for port in &spec.ports {
            if port.name.is_empty() {
                invalid.push_tag("Name", "", "portName");
            }
            if !port.protocol.supports_ports() {
                invalid.push("EndpointPort.Protocol", &port.protocol.to_string(), "protocol does not support ports");
            }
            if port.port == 0 {
                invalid.push_tag("Port", "0", "gt");
            }
        }
        if spec.interface_name.is_empty() && spec.expected_ips.is_empty() {
            invalid.push_bare("InterfaceName", "no interface or expected IPs have been specified");
        }
        if spec.node.is_empty() {
            invalid.push_bare("Node", "no node has been specified");
        }
        for (field, text, most) in
            [("interfaceName", &spec.interface_name, MAX_INTERFACE), ("node", &spec.node, MAX_NODE)]
        {
            if text.len() > most {
                invalid.schema(&format!("spec.{field}"), &format!("may not be more than {most} bytes"));
            }
        }
        invalid.schema_rules("spec", spec, &RULES);
    }

    fn idle(_endpoint: &Typed<Self>) -> Option<&'static str> {
        Some("the host endpoint, which is NOT enforced (what it closes stays open),")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, stored};
    use serde_json::json;

    #[test]
    fn stored_form() {
        let spec = json!({"ports": [{"port": 80, "name": "http", "protocol": "TCP"}], "interfaceName": "*",
            "expectedIPs": ["10.0.0.11"], "node": "node1"});
        assert_eq!(
            stored(Kind::HostEndpoint, "hep-wild", spec),
            r#"{"kind":"HostEndpoint","apiVersion":"projectcalico.org/v3","metadata":{"name":"hep-wild"},"spec":{"node":"node1","interfaceName":"*","expectedIPs":["10.0.0.11"],"ports":[{"name":"http","protocol":"TCP","port":80}]}}"#
        );
    }

    #[test]
    fn refusals() {
        assert_eq!(
            refused(Kind::HostEndpoint, "h", json!({"node": "n", "interfaceName": "abcdefghijklmnopqr"})),
            "error with the following fields:\n\
             -  InterfaceName = 'abcdefghijklmnopqr' (Reason: failed to validate Field: InterfaceName because of Tag: interface )\n\
             -  spec.interfaceName (may not be more than 15 bytes)\n"
        );
        for (spec, expect) in [
            (json!({"node": "n"}), "-  spec (at least one of interfaceName or expectedIPs must be specified)\n"),
            (json!({"interfaceName": "eth0"}), "-  spec (node must be specified)\n"),
        ] {
            let error = refused(Kind::HostEndpoint, "h", spec);
            assert!(error.ends_with(expect), "{error}");
        }
        for (spec, field) in [
            (json!({"node": "n", "expectedIPs": ["10.0.0.0/24"]}), "ExpectedIPs[0]"),
            (
                json!({"node": "n", "interfaceName": "e", "ports": [{"name": "p", "protocol": "ICMP", "port": 1}]}),
                "EndpointPort.Protocol",
            ),
            (
                json!({"node": "n", "interfaceName": "e", "ports": [{"name": "p", "protocol": "TCP", "port": 0}]}),
                "Port",
            ),
        ] {
            let error = refused(Kind::HostEndpoint, "h", spec);
            assert!(error.starts_with(&format!("error with field {field} = ")), "{error}");
        }
    }
}
