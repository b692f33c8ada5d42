//! BGPConfiguration: cluster-wide (`default`) and per-node (`node.NAME`) BGP settings.

use super::{BgpPassword, Toggle};
use crate::column::{Column, or_dash};
use crate::crd::{self, Definition};
use crate::invalid::Invalid;
use crate::resource::{Kind, Names, Spec, Typed};
use crate::validate;
use crate::word::{Word, words};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

words! {
    /// Which addresses BGP listens on.
    BindMode: "None", "NodeIP";
}

/// `spec` of a BGPConfiguration (control reference §1.6), in stored order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = crd::rules(BGP_CONFIGURATION_SPEC_RULES)))]
pub struct BgpConfigurationSpec {
    /// Log level.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(extend("x-default" = "Info", "pattern" = "^(?i)(Trace|Debug|Info|Warning|Error|Fatal)?$"))]
    pub log_severity_screen: String,
    /// Whether every node peers with every other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_to_node_mesh_enabled: Option<bool>,
    /// The cluster's AS.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "crate::validate::as_number_option")]
    pub as_number: Option<u32>,
    /// Service ranges to advertise.
    #[serde(rename = "serviceLoadBalancerIPs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub service_load_balancer_ips: Vec<ServiceRange>,
    /// Service ranges to advertise.
    #[serde(rename = "serviceExternalIPs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub service_external_ips: Vec<ServiceRange>,
    /// Service ranges to advertise.
    #[serde(rename = "serviceClusterIPs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub service_cluster_ips: Vec<ServiceRange>,
    /// `Enabled` or `Disabled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Toggle", extend("x-default" = "Enabled"))]
    pub service_load_balancer_aggregation: Option<String>,
    /// Named communities.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub communities: Vec<NamedCommunity>,
    /// Communities by prefix.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub prefix_advertisements: Vec<PrefixAdvertisement>,
    /// TCP port that BGP listens on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maximum" = 65535, "minimum" = 1))]
    pub listen_port: Option<u16>,
    /// TCP-MD5 secret of the mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_mesh_password: Option<BgpPassword>,
    /// Graceful restart time of the mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_mesh_max_restart_time: Option<String>,
    /// `None` or `NodeIP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "BindMode")]
    pub bind_mode: Option<String>,
    /// Interfaces whose subnets are not considered direct.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub ignored_interfaces: Vec<String>,
    /// Address that workloads peer with.
    #[serde(rename = "localWorkloadPeeringIPV4", skip_serializing_if = "String::is_empty")]
    pub local_workload_peering_ipv4: String,
    /// Address that workloads peer with.
    #[serde(rename = "localWorkloadPeeringIPV6", skip_serializing_if = "String::is_empty")]
    pub local_workload_peering_ipv6: String,
    /// `Enabled` or `Disabled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Toggle")]
    pub program_cluster_routes: Option<String>,
    /// Metric of learned IPv4 routes.
    #[serde(rename = "ipv4NormalRoutePriority", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", extend("maximum" = 2147483646, "minimum" = 1))]
    pub ipv4_normal_route_priority: Option<u32>,
    /// Metric of learned IPv6 routes.
    #[serde(rename = "ipv6NormalRoutePriority", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", extend("maximum" = 2147483646, "minimum" = 1))]
    pub ipv6_normal_route_priority: Option<u32>,
}

/// A range of services' addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct ServiceRange {
    /// The range.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(extend("format" = "cidr"))]
    pub cidr: String,
}

/// A community by a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct NamedCommunity {
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `aa:nn` or `aa:nn:mm`.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(extend("pattern" = r"^(\d+):(\d+)$|^(\d+):(\d+):(\d+)$"))]
    pub value: String,
}

/// Communities that routes within a prefix get.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct PrefixAdvertisement {
    /// The prefix.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(extend("format" = "cidr"))]
    pub cidr: String,
    /// Communities, or names of some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub communities: Vec<String>,
}

/// What the schema says of it as a whole.
const BGP_CONFIGURATION_SPEC_RULES: &[crd::Rule] = &[
    crd::Rule {
        cel: "!has(self.nodeMeshPassword) || !has(self.nodeToNodeMeshEnabled) || self.nodeToNodeMeshEnabled == true",
        message: "nodeMeshPassword cannot be set when nodeToNodeMeshEnabled is false",
        reason: "FieldValueForbidden",
    },
    crd::Rule {
        cel: "!has(self.nodeMeshMaxRestartTime) || !has(self.nodeToNodeMeshEnabled) || self.nodeToNodeMeshEnabled == true",
        message: "nodeMeshMaxRestartTime cannot be set when nodeToNodeMeshEnabled is false",
        reason: "FieldValueForbidden",
    },
];

impl Spec for BgpConfigurationSpec {
    const KIND: Kind = Kind::BGPConfiguration;
    const NAMES: Names = Names {
        plural: "bgpconfigurations",
        namespaced: false,
        words: &["bgpconfiguration", "bgpconfigurations", "bgpconfig", "bgpconfigs"],
    };
    const DEFINITION: Option<Definition> =
        Some(Definition { short_names: &["bgpconfig", "bgpconfigs"], ..Definition::PLAIN });
    const COLUMNS: &'static [Column<Self>] = &[
        Column::name(),
        Column::new("LOGSEVERITY", |it, _| or_dash(it.spec.log_severity_screen.clone())),
        Column::new("MESHENABLED", |it, _| {
            or_dash(it.spec.node_to_node_mesh_enabled.map(|enabled| enabled.to_string()))
        }),
        Column::new("ASNUMBER", |it, _| or_dash(it.spec.as_number.map(|number| number.to_string()))),
    ];
    type Status = Value;

    fn apply_defaults(configuration: &mut Typed<Self>) {
        let spec = &mut configuration.spec;
        spec.service_load_balancer_aggregation.get_or_insert_with(|| "Enabled".to_owned());
        if let Some(time) = &mut spec.node_mesh_max_restart_time {
            validate::normalise_duration(time);
        }
    }

    fn check(configuration: &Typed<Self>, invalid: &mut Invalid) {
        let spec = &configuration.spec;
        let levels = ["Trace", "Debug", "Info", "Warning", "Error", "Fatal"];
        invalid.one_of("LogSeverityScreen", "logLevel", "spec.logSeverityScreen", &spec.log_severity_screen, &levels);
        let choice = |field: &Option<String>| field.clone().unwrap_or_default();
        let aggregation = choice(&spec.service_load_balancer_aggregation);
        let path = "spec.serviceLoadBalancerAggregation";
        invalid.one_of("ServiceLoadBalancerAggregation", "omitempty", path, &aggregation, Toggle::WORDS);
        let program = choice(&spec.program_cluster_routes);
        invalid.one_of("ProgramClusterRoutes", "omitempty", "spec.programClusterRoutes", &program, Toggle::WORDS);
        invalid.one_of("BindMode", "omitempty", "spec.bindMode", &choice(&spec.bind_mode), BindMode::WORDS);
        if spec.listen_port == Some(0) {
            invalid.push_tag("ListenPort", "0", "gt");
        }
        validate::duration("spec.nodeMeshMaxRestartTime", spec.node_mesh_max_restart_time.as_ref(), invalid);
        validate::ipv4("LocalWorkloadPeeringIPV4", &spec.local_workload_peering_ipv4, invalid);
        validate::ipv6("LocalWorkloadPeeringIPV6", &spec.local_workload_peering_ipv6, invalid);
        for (field, priority) in [
            ("IPv4NormalRoutePriority", spec.ipv4_normal_route_priority),
            ("IPv6NormalRoutePriority", spec.ipv6_normal_route_priority),
        ] {
            if let Some(number) = priority.filter(|number| !(1..=2_147_483_646).contains(number)) {
                invalid.push(field, &number.to_string(), "must be between 1 and 2147483646");
            }
        }
        if configuration.metadata.name == "default" {
            spec.check_mesh(invalid);
        } else {
            spec.check_cluster_wide(invalid);
        }
    }

    fn idle_fields(configuration: &Typed<Self>) -> Vec<String> {
        let spec = &configuration.spec;
        let set = [
            ("serviceLoadBalancerIPs", !spec.service_load_balancer_ips.is_empty()),
            ("serviceExternalIPs", !spec.service_external_ips.is_empty()),
            ("serviceClusterIPs", !spec.service_cluster_ips.is_empty()),
            ("communities", !spec.communities.is_empty()),
            ("prefixAdvertisements", !spec.prefix_advertisements.is_empty()),
            ("ignoredInterfaces", !spec.ignored_interfaces.is_empty()),
            ("localWorkloadPeeringIPV4", !spec.local_workload_peering_ipv4.is_empty()),
            ("localWorkloadPeeringIPV6", !spec.local_workload_peering_ipv6.is_empty()),
            ("ipv6NormalRoutePriority", spec.ipv6_normal_route_priority.is_some()),
        ];
        set.iter().filter(|(_, set)| *set).map(|(field, _)| format!("spec.{field}")).collect()
    }
}

impl BgpConfigurationSpec {
    /// What needs the mesh, on the configuration that may switch it off.
    fn check_mesh(&self, invalid: &mut Invalid) {
        if self.node_to_node_mesh_enabled != Some(false) {
            return;
        }
        if self.node_mesh_password.is_some() {
            let reason = "Cannot set nodeMeshPassword unless nodeToNodeMeshEnabled is true";
            invalid.push_bare("BGPConfiguration.Spec.NodeMeshPassword", reason);
        }
        if self.node_mesh_max_restart_time.is_some() {
            let reason = "Cannot set nodeMeshMaxRestartTime unless nodeToNodeMeshEnabled is true";
            invalid.push_bare("BGPConfiguration.Spec.NodeMeshMaxRestartTime", reason);
        }
    }

    /// What only the configuration named `default` may set.
    fn check_cluster_wide(&self, invalid: &mut Invalid) {
        for (set, field, name) in [
            (self.node_to_node_mesh_enabled.is_some(), "NodeToNodeMeshEnabled", "nodeToNodeMeshEnabled"),
            (self.as_number.is_some(), "ASNumber", "ASNumber"),
            (!self.service_external_ips.is_empty(), "ServiceExternalIPs", "ServiceExternalIPs"),
            (!self.service_cluster_ips.is_empty(), "ServiceClusterIPs", "ServiceClusterIPs"),
            (!self.service_load_balancer_ips.is_empty(), "ServiceLoadBalancerIPs", "ServiceLoadBalancerIPs"),
            (self.node_mesh_password.is_some(), "NodeMeshPassword", "nodeMeshPassword"),
            (self.node_mesh_max_restart_time.is_some(), "NodeMeshMaxRestartTime", "nodeMeshMaxRestartTime"),
        ] {
            if set {
                let reason = format!("Cannot set {name} on a non default BGP Configuration.");
                invalid.push_bare(&format!("BGPConfiguration.Spec.{field}"), &reason);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, stored, warned};
    use serde_json::json;

    #[test]
    fn stored_form() {
        let spec =
            json!({"asNumber": 64512, "bindMode": "NodeIP", "listenPort": 178, "nodeMeshMaxRestartTime": "300s"});
        assert_eq!(
            stored(Kind::BGPConfiguration, "default", spec),
            r#"{"kind":"BGPConfiguration","apiVersion":"projectcalico.org/v3","metadata":{"name":"default"},"spec":{"asNumber":64512,"serviceLoadBalancerAggregation":"Enabled","listenPort":178,"nodeMeshMaxRestartTime":"5m0s","bindMode":"NodeIP"}}"#
        );
    }

    #[test]
    fn what_only_default_may_set() {
        for (spec, expect) in [
            (
                json!({"asNumber": 1}),
                "BGPConfiguration.Spec.ASNumber (Cannot set ASNumber on a non default BGP Configuration.)",
            ),
            (
                json!({"nodeToNodeMeshEnabled": true}),
                "BGPConfiguration.Spec.NodeToNodeMeshEnabled (Cannot set nodeToNodeMeshEnabled on a non default BGP \
                 Configuration.)",
            ),
        ] {
            assert_eq!(refused(Kind::BGPConfiguration, "node.n1", spec), format!("error with field {expect}"));
        }
    }

    #[test]
    fn what_is_not_acted_on_is_said() {
        let acted = json!({"nodeToNodeMeshEnabled": false, "asNumber": 1, "listenPort": 1179});
        assert_eq!(warned(Kind::BGPConfiguration, "default", acted), [""; 0]);
        assert_eq!(
            warned(Kind::BGPConfiguration, "default", json!({"ignoredInterfaces": ["a*"]})),
            ["BGPConfiguration default: spec.ignoredInterfaces is accepted but not acted on yet"]
        );
    }
}
