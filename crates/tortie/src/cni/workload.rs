//! Which workload a call is about, and its endpoint's name and interface.

use super::call::Call;
use super::error::CniError;
use super::netconf::NetConf;
use api::kind::{WorkloadEndpointName, WorkloadEndpointSpec};
use model::name::{IfName, container_interface, pod_interface};
use serde_json::Value;
use std::collections::BTreeMap;

/// Mesos' label that names the endpoint's namespace.
const MESOS_NAMESPACE: &str = "projectcalico.org/namespace";

/// Who runs the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Orchestrator {
    /// Kubernetes: the pod is known by name.
    Kubernetes { pod: String },
    /// Anything else: the container is known by its ID.
    Cni,
}

/// A container's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Workload {
    pub(crate) orchestrator: Orchestrator,
    pub(crate) node: String,
    pub(crate) namespace: String,
    pub(crate) container_id: String,
    pub(crate) endpoint: String,
    pub(crate) labels: BTreeMap<String, String>,
}

impl Workload {
    /// Kubernetes when CNI_ARGS has both a pod's name and its namespace.
    pub(crate) fn new(call: &Call, conf: &NetConf, node: String) -> Workload {
        let arg = |name: &str| call.args.get(name).cloned().unwrap_or_default();
        let (pod, namespace) = (arg("K8S_POD_NAME"), arg("K8S_POD_NAMESPACE"));
        let mut labels = mesos_labels(conf.args.as_ref());
        let (orchestrator, namespace) = if !pod.is_empty() && !namespace.is_empty() {
            labels.clear();
            (Orchestrator::Kubernetes { pod }, namespace)
        } else {
            let namespace = labels.remove(MESOS_NAMESPACE).unwrap_or_else(|| "default".to_owned());
            (Orchestrator::Cni, namespace)
        };
        Workload {
            orchestrator,
            node,
            namespace,
            container_id: call.container_id.clone(),
            endpoint: call.ifname.clone(),
            labels,
        }
    }

    /// `k8s` or `cni`.
    pub(crate) fn orchestrator_name(&self) -> &'static str {
        match self.orchestrator {
            Orchestrator::Kubernetes { .. } => "k8s",
            Orchestrator::Cni => "cni",
        }
    }

    /// The pod's name, outside Kubernetes empty.
    pub(crate) fn pod(&self) -> &str {
        match &self.orchestrator {
            Orchestrator::Kubernetes { pod } => pod,
            Orchestrator::Cni => "",
        }
    }

    /// The WorkloadEndpoint as far as the workload's identity goes.
    pub(crate) fn spec(&self) -> WorkloadEndpointSpec {
        WorkloadEndpointSpec {
            orchestrator: self.orchestrator_name().to_owned(),
            node: self.node.clone(),
            container_id: self.container_id.clone(),
            pod: self.pod().to_owned(),
            endpoint: self.endpoint.clone(),
            interface_name: self.interface().0,
            ..WorkloadEndpointSpec::default()
        }
    }

    /// The WorkloadEndpoint's name.
    pub(crate) fn endpoint_name(&self) -> Result<String, CniError> {
        WorkloadEndpointName::of(&self.spec()).build().map_err(|error| CniError::failed(error.to_string()))
    }

    /// The host's end of the veth.
    pub(crate) fn interface(&self) -> IfName {
        match &self.orchestrator {
            Orchestrator::Kubernetes { pod } => pod_interface(&self.namespace, pod),
            Orchestrator::Cni => container_interface(&self.container_id),
        }
    }

    /// The attributes that IPAM keeps with the addresses.
    pub(crate) fn attributes(&self) -> BTreeMap<String, String> {
        let mut attributes = BTreeMap::from([("node".to_owned(), self.node.clone())]);
        if let Orchestrator::Kubernetes { pod } = &self.orchestrator {
            attributes.insert("pod".to_owned(), pod.clone());
            attributes.insert("namespace".to_owned(), self.namespace.clone());
        }
        attributes
    }
}

/// Labels from `args."org.apache.mesos".network_info.labels.labels[]`, made fit for Calico.
fn mesos_labels(args: Option<&Value>) -> BTreeMap<String, String> {
    let labels = args.and_then(|args| args.get("org.apache.mesos")?.get("network_info")?.get("labels")?.get("labels"));
    let labels = labels.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |label: &Value, key: &str| label.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    labels
        .iter()
        .map(|label| {
            let key = text(label, "key");
            let key = if key == MESOS_NAMESPACE { key } else { fit(&key) };
            (key, fit(&text(label, "value")))
        })
        .collect()
}

/// `/` becomes `.`, what a label cannot hold `-`, runs of dots one dot; edges are trimmed.
fn fit(text: &str) -> String {
    let mut fitted = String::new();
    for c in text.replace('/', ".").chars() {
        let c = if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
        let repeated = fitted.chars().last().is_some_and(|last| last == c && (c == '.' || c == '-'));
        if !repeated {
            fitted.push(c);
        }
    }
    fitted.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn mesos_labels_are_made_fit() {
        let label = |key: &str, value: &str| json!({"key": key, "value": value});
        let labels =
            [label("k", "v"), label("a/b", "x y"), label("c..d", "-z-"), label("projectcalico.org/namespace", "ns")];
        let args = json!({"org.apache.mesos": {"network_info": {"labels": {"labels": labels}}}});
        let expect = [("k", "v"), ("a.b", "x-y"), ("c.d", "z"), ("projectcalico.org/namespace", "ns")];
        let expect = expect.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        assert_eq!(mesos_labels(Some(&args)), expect);
        assert_eq!(mesos_labels(None), BTreeMap::new());
    }
}
