//! Statuses that objects of several kinds have: what their schemas say.

use crate::kind::KubeControllersConfigurationSpec;
use schemars::JsonSchema;
use std::collections::BTreeMap;

/// What is so of an object, as Kubernetes tells it.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "its schema is what counts")]
pub(crate) struct Conditions {
    /// What is so, one for each type.
    conditions: Option<Vec<Condition>>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["lastTransitionTime", "message", "reason", "status", "type"]))]
#[expect(dead_code, reason = "its schema is what counts")]
struct Condition {
    /// When it became so.
    #[schemars(extend("format" = "date-time"))]
    last_transition_time: String,
    /// For people.
    #[schemars(extend("maxLength" = 32768))]
    message: String,
    /// Which generation of the object it is about.
    #[schemars(extend("x-format" = "int64", "minimum" = 0))]
    observed_generation: Option<i64>,
    /// For programs.
    #[schemars(extend("minLength" = 1, "maxLength" = 1024, "pattern" = "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"))]
    reason: String,
    /// Whether it is so.
    #[schemars(extend("enum" = ["True", "False", "Unknown"]))]
    status: String,
    /// What it is about.
    #[schemars(extend("maxLength" = 316, "pattern" = TYPE))]
    r#type: String,
}

/// What a condition's type looks like: a name, perhaps of a domain.
const TYPE: &str =
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$";

/// What the controllers run with.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "its schema is what counts")]
pub(crate) struct ControllersStatus {
    /// The variables that they were started with.
    environment_vars: Option<BTreeMap<String, String>>,
    /// What came of them and of the configuration.
    running_config: Option<KubeControllersConfigurationSpec>,
}
