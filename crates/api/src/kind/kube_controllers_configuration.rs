//! KubeControllersConfiguration: settings of the controllers that stand between Kubernetes and Calico.

use crate::column::Column;
use crate::crd::{self, Definition, Group};
use crate::invalid::Invalid;
use crate::resource::{Kind, Names, Spec, Typed};
use crate::validate;
use crate::word::words;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

words! {
    /// Whether something is on.
    Toggle: "Enabled", "Disabled";
    /// Which services a controller gives addresses to.
    AssignIps: "AllServices", "RequestedServicesOnly";
    /// What is logged, as the schema has it.
    ControllersLogLevel: "None", "Debug", "Info", "Warning", "Error", "Fatal", "Panic";
}

/// What Calico's types take for a log level; what only one of the two lists has is refused.
const LOG_LEVELS: [&str; 6] = ["Trace", "Debug", "Info", "Warning", "Error", "Fatal"];
const MAX_PORT: i64 = 65535;
const MAX_NAME: usize = 253;

/// `spec` of a KubeControllersConfiguration (control reference §1.7, with v3.32's differences), in stored order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["controllers"]))]
pub struct KubeControllersConfigurationSpec {
    /// What is logged.
    #[serde(skip_serializing_if = "ControllersLogLevel::is_empty")]
    pub log_severity_screen: ControllersLogLevel,
    /// Whether health is reported.
    #[serde(skip_serializing_if = "Toggle::is_empty")]
    #[schemars(extend("x-default" = "Enabled"))]
    pub health_checks: Toggle,
    /// How often etcd is compacted; 0 never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_v3_compaction_period: Option<String>,
    /// Port of the metrics; 0 for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maximum" = 65535, "minimum" = 0))]
    pub prometheus_metrics_port: Option<i64>,
    /// The controllers that run, and how.
    pub controllers: Controllers,
    /// Port of the profiler; 0 for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int32", "maximum" = 65535, "minimum" = 0))]
    pub debug_profile_port: Option<i64>,
}

/// The controllers; one that is not here does not run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Controllers {
    /// Of nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeController>,
    /// Of Kubernetes' policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Reconciled>,
    /// Of pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_endpoint: Option<Reconciled>,
    /// Of service accounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<Reconciled>,
    /// Of namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Reconciled>,
    /// Of services of type LoadBalancer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<LoadBalancerController>,
    /// Of policies' names in older datastores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_migration: Option<PolicyMigration>,
}

/// A controller that compares all it has from time to time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Reconciled {
    /// How often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconciler_period: Option<String>,
}

/// The controller of nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeController {
    /// How often it compares all it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconciler_period: Option<String>,
    /// Whether it copies labels of Kubernetes' nodes.
    #[serde(skip_serializing_if = "Toggle::is_empty")]
    pub sync_labels: Toggle,
    /// Host endpoints that it makes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_endpoint: Option<AutoHostEndpoints>,
    /// How long an address may look leaked before it is released.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leak_grace_period: Option<String>,
}

/// Host endpoints that a controller makes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AutoHostEndpoints {
    /// Whether it makes any.
    #[serde(skip_serializing_if = "Toggle::is_empty")]
    pub auto_create: Toggle,
    /// Whether it makes one of all of a node's traffic.
    #[serde(skip_serializing_if = "Toggle::is_empty")]
    #[schemars(with = "String")]
    pub create_default_host_endpoint: Toggle,
    /// Others that it makes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<HostEndpointTemplate>,
}

/// A host endpoint that a controller makes of each node that is selected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HostEndpointTemplate {
    /// What is added to the node's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(extend("maxLength" = 253))]
    pub generate_name: String,
    /// Networks of which an interface must have an address.
    #[serde(rename = "interfaceCIDRs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub interface_cidrs: Vec<String>,
    /// What the interface's name must match.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub interface_pattern: String,
    /// Labels that it gets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The nodes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node_selector: String,
}

/// The controller of services of type LoadBalancer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LoadBalancerController {
    /// Which services it gives addresses to.
    #[serde(rename = "assignIPs", skip_serializing_if = "AssignIps::is_empty")]
    #[schemars(extend("x-default" = "AllServices"))]
    pub assign_ips: AssignIps,
}

/// The controller of policies' names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PolicyMigration {
    /// Whether it runs.
    #[serde(skip_serializing_if = "Toggle::is_empty")]
    #[schemars(extend("x-default" = "Enabled"))]
    pub enabled: Toggle,
}

impl Controllers {
    /// Every duration, with its path.
    fn durations(&mut self) -> Vec<(&'static str, &mut String)> {
        let mut durations = Vec::new();
        for (path, controller) in [
            ("spec.controllers.policy.reconcilerPeriod", &mut self.policy),
            ("spec.controllers.workloadEndpoint.reconcilerPeriod", &mut self.workload_endpoint),
            ("spec.controllers.serviceAccount.reconcilerPeriod", &mut self.service_account),
            ("spec.controllers.namespace.reconcilerPeriod", &mut self.namespace),
        ] {
            let period = controller.as_mut().and_then(|it| it.reconciler_period.as_mut());
            durations.extend(period.map(|period| (path, period)));
        }
        if let Some(node) = &mut self.node {
            let period = node.reconciler_period.as_mut();
            durations.extend(period.map(|period| ("spec.controllers.node.reconcilerPeriod", period)));
            let period = node.leak_grace_period.as_mut();
            durations.extend(period.map(|period| ("spec.controllers.node.leakGracePeriod", period)));
        }
        durations
    }
}

impl Spec for KubeControllersConfigurationSpec {
    const KIND: Kind = Kind::KubeControllersConfiguration;
    const NAMES: Names = Names {
        plural: "kubecontrollersconfigurations",
        namespaced: false,
        words: &[
            "kubecontrollersconfiguration",
            "kubecontrollersconfigurations",
            "kubecontrollersconfig",
            "kubecontrollersconfigs",
        ],
    };
    const DEFINITION: Option<Definition> = Some(Definition {
        short_names: &["kcc", "kccs"],
        status: &[Group::Crd, Group::V3],
        status_schema: Some(crd::of::<crd::ControllersStatus>),
        ..Definition::PLAIN
    });
    const COLUMNS: &'static [Column<Self>] = &[Column::name()];
    type Status = Value;

    fn apply_defaults(configuration: &mut Typed<Self>) {
        let spec = &mut configuration.spec;
        for (_, period) in spec.controllers.durations() {
            validate::normalise_duration(period);
        }
        spec.etcd_v3_compaction_period.as_mut().into_iter().for_each(validate::normalise_duration);
        if spec.health_checks.is_empty() {
            spec.health_checks = Toggle::from("Enabled");
        }
        spec.prometheus_metrics_port.get_or_insert(9094);
        if let Some(node) = &mut spec.controllers.node {
            node.leak_grace_period.get_or_insert_with(|| "15m0s".to_owned());
        }
        if let Some(balancer) = spec.controllers.load_balancer.as_mut().filter(|it| it.assign_ips.is_empty()) {
            balancer.assign_ips = AssignIps::from("AllServices");
        }
        if let Some(migration) = spec.controllers.policy_migration.as_mut().filter(|it| it.enabled.is_empty()) {
            migration.enabled = Toggle::from("Enabled");
        }
        configuration.status.get_or_insert_with(|| json!({}));
    }

    fn check(configuration: &Typed<Self>, invalid: &mut Invalid) {
        validate::name_is_default(&configuration.metadata.name, invalid);
        let spec = &configuration.spec;
        let level = spec.log_severity_screen.0.as_str();
        if !level.is_empty() && !LOG_LEVELS.contains(&level) {
            invalid.push_tag("LogSeverityScreen", level, "logLevel");
        }
        if !level.is_empty() {
            invalid.schema_word("spec.logSeverityScreen", &spec.log_severity_screen);
        }
        invalid.word("HealthChecks", "omitempty", "spec.healthChecks", &spec.health_checks);
        validate::duration("spec.etcdV3CompactionPeriod", spec.etcd_v3_compaction_period.as_ref(), invalid);
        for (field, port) in
            [("prometheusMetricsPort", spec.prometheus_metrics_port), ("debugProfilePort", spec.debug_profile_port)]
        {
            if let Some(port) = port.filter(|port| !(0..=MAX_PORT).contains(port)) {
                let field = format!("spec.{field}");
                let bound = if port < 0 { "greater than or equal to 0" } else { "less than or equal to 65535" };
                invalid.schema(&field, &format!("{field} in body should be {bound}"));
            }
        }
        for (field, period) in spec.controllers.clone().durations() {
            validate::duration(field, Some(&*period), invalid);
        }
        if let Some(node) = &spec.controllers.node {
            let path = "spec.controllers.node";
            invalid.word("SyncLabels", "omitempty", &format!("{path}.syncLabels"), &node.sync_labels);
            if let Some(made) = &node.host_endpoint {
                made.check(&format!("{path}.hostEndpoint"), invalid);
            }
        }
        if let Some(balancer) = &spec.controllers.load_balancer {
            invalid.word("AssignIPs", "omitempty", "spec.controllers.loadBalancer.assignIPs", &balancer.assign_ips);
        }
        if let Some(migration) = &spec.controllers.policy_migration {
            invalid.word("Enabled", "omitempty", "spec.controllers.policyMigration.enabled", &migration.enabled);
        }
    }

    fn idle(_configuration: &Typed<Self>) -> Option<&'static str> {
        Some("the configuration of controllers, of which none runs,")
    }
}

impl AutoHostEndpoints {
    fn check(&self, path: &str, invalid: &mut Invalid) {
        invalid.word("AutoCreate", "omitempty", &format!("{path}.autoCreate"), &self.auto_create);
        let field = "CreateDefaultHostEndpoint";
        if !["", "Enabled", "Disabled"].contains(&self.create_default_host_endpoint.0.as_str()) {
            invalid.push_tag(field, &self.create_default_host_endpoint.0, "omitempty");
        }
        for (index, template) in self.templates.iter().enumerate() {
            let name = &template.generate_name;
            if self.templates[..index].iter().any(|earlier| earlier.generate_name == *name) {
                invalid.push("GenerateName", name, "generateName must be unique among the templates");
            }
            if name.is_empty() {
                invalid.push_bare("GenerateName", "generateName must be given");
            }
            if name.len() > MAX_NAME {
                let field = format!("{path}.templates[{index}].generateName");
                invalid.schema(&field, &format!("may not be more than {MAX_NAME} bytes"));
            }
            if template.interface_cidrs.is_empty() && template.interface_pattern.is_empty() {
                invalid.push_bare("InterfaceCIDRs", "interfaceCIDRs or interfacePattern must be given");
            }
            validate::selector("NodeSelector", &template.node_selector, invalid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, stored};

    #[test]
    fn stored_form() {
        let spec = json!({
            "logSeverityScreen": "Info", "etcdV3CompactionPeriod": "10m", "prometheusMetricsPort": 9094,
            "controllers": {
                "node": {"reconcilerPeriod": "5m", "syncLabels": "Enabled", "hostEndpoint": {"autoCreate": "Enabled"}, "leakGracePeriod": "15m"},
                "policy": {"reconcilerPeriod": "300s"}, "namespace": {}, "loadBalancer": {},
            },
        });
        assert_eq!(
            stored(Kind::KubeControllersConfiguration, "default", spec),
            r#"{"kind":"KubeControllersConfiguration","apiVersion":"projectcalico.org/v3","metadata":{"name":"default"},"spec":{"logSeverityScreen":"Info","healthChecks":"Enabled","etcdV3CompactionPeriod":"10m0s","prometheusMetricsPort":9094,"controllers":{"node":{"reconcilerPeriod":"5m0s","syncLabels":"Enabled","hostEndpoint":{"autoCreate":"Enabled"},"leakGracePeriod":"15m0s"},"policy":{"reconcilerPeriod":"5m0s"},"namespace":{},"loadBalancer":{"assignIPs":"AllServices"}}},"status":{}}"#
        );
    }

    #[test]
    fn refusals() {
        let kind = Kind::KubeControllersConfiguration;
        assert_eq!(
            refused(kind, "other", json!({})),
            "error with field Metadata.Name = 'other' (resource name must be 'default')"
        );
        for level in ["None", "Trace", "Panic"] {
            refused(kind, "default", json!({"logSeverityScreen": level}));
        }
        for (spec, expect) in [
            (
                json!({"controllers": {"node": {"syncLabels": "Yes"}}}),
                "spec.controllers.node.syncLabels (supported values: \"Enabled\", \"Disabled\")",
            ),
            (
                json!({"prometheusMetricsPort": 70000}),
                "spec.prometheusMetricsPort (spec.prometheusMetricsPort in body should be less than or equal to 65535)",
            ),
            (
                json!({"controllers": {"policy": {"reconcilerPeriod": "often"}}}),
                "spec.controllers.policy.reconcilerPeriod = 'often'",
            ),
            (
                json!({"controllers": {"node": {"hostEndpoint": {"templates": [{"generateName": "a"}]}}}}),
                "interfaceCIDRs or interfacePattern must be given",
            ),
        ] {
            let error = refused(kind, "default", spec);
            assert!(error.contains(expect), "{error}");
        }
    }
}
