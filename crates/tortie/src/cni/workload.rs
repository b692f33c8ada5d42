//! Which workload a call is about, and its endpoint's name and interface.

use super::call::Call;
use super::error::CniError;
use super::labels;
use super::netconf::NetConf;
use api::kind::{WorkloadEndpointName, WorkloadEndpointSpec};
use model::name::{IfName, container_interface, pod_interface};
use std::collections::BTreeMap;

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
        let (orchestrator, namespace, labels) = if !pod.is_empty() && !namespace.is_empty() {
            (Orchestrator::Kubernetes { pod }, namespace, BTreeMap::new())
        } else {
            let (labels, namespace) = labels::mesos(conf.args.as_ref());
            (Orchestrator::Cni, namespace.unwrap_or_else(|| "default".to_owned()), labels)
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
