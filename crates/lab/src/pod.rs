//! Pods: what a manifest asks for, and what a node knows about a running one.

mod fields;
pub mod manifest;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// A pod's identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PodName {
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl PodName {
    /// Names the pod's files; neither part may hold an underscore.
    pub(crate) fn file_stem(&self) -> String {
        format!("{}_{}", self.namespace, self.name)
    }
}

/// What a manifest asks for, as far as the lab acts on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pod {
    /// Who it is.
    pub name: PodName,
    /// Where it must run; anywhere if absent.
    pub node: Option<String>,
    /// What its first container does.
    pub container: Container,
    /// How long its first process may take to end when asked, in seconds.
    pub grace_period: u64,
    /// When its first container is started again.
    pub restart: RestartPolicy,
    /// The manifest as it was given.
    pub manifest: Value,
}

/// The part of a container that the lab runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image, which is only shown.
    pub image: String,
    /// The program and its arguments, from the machine's own files.
    pub command: Vec<String>,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// Directory it starts in.
    pub working_directory: Option<String>,
}

/// When a container that ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Whatever its exit status.
    #[default]
    Always,
    /// After a failure.
    OnFailure,
    /// Never.
    Never,
}

/// What the lab knows about a pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PodRecord {
    /// What was asked for.
    pub pod: Pod,
    /// Where it runs.
    pub node: String,
    /// Its identity among all pods of its name.
    pub uid: String,
    /// The sandbox as the CNI plugin knows it, 64 hexadecimal digits.
    pub container_id: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// What its first container does.
    pub state: State,
    /// The container's first process, in the node's PID namespace.
    pub(crate) pid: Option<i32>,
    /// How often the container was started again.
    pub restarts: u32,
    /// When the pod was made, in seconds of Unix time.
    pub created: u64,
    /// When the container was last started.
    pub started: u64,
    /// The CNI plugins' last result.
    pub(crate) network: Value,
    /// Earlier sandboxes that the plugins have not yet been told the end of.
    #[serde(default)]
    pub(crate) lost: Vec<String>,
    /// Whether its sandbox is being made.
    #[serde(skip)]
    pub(crate) busy: bool,
}

/// What a pod's first container does; shown as kubectl's STATUS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// The pod is being made.
    ContainerCreating,
    /// The container runs.
    Running,
    /// It ended well and stays ended.
    Completed,
    /// It failed and stays ended.
    Error,
    /// It ended and waits to be started again.
    CrashLoopBackOff,
    /// The pod is being deleted.
    Terminating,
}
