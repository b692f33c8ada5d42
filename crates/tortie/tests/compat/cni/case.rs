//! A recorded CNI case, and what follows from it about how it was made.

use crate::step::Step;
use crate::store::Content;
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// One file.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) form: Form,
}

/// A call of a plugin, or steps of calicoctl.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Form {
    Steps(Vec<Step>),
    Call(Box<Call>),
}

/// One call.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Call {
    /// Standard input; a text where it was not JSON.
    netconf: Value,
    pub(crate) env: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) stdout: String,
    #[serde(default)]
    pub(crate) stderr: String,
    #[serde(default)]
    pub(crate) exit: i64,
    pub(crate) host: Option<String>,
    /// None where the container had no namespace.
    pub(crate) pod: Option<String>,
    pub(crate) etcd: Option<Content>,
}

impl Case {
    /// Reads the cases of a folder, in the order of their names.
    pub(crate) fn read(folder: &Path) -> Result<Vec<Case>> {
        let mut cases = Vec::new();
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".json")) else { continue };
            let text = fs::read(&path).with_context(|| path.display().to_string())?;
            let value: Value = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
            // an untagged enum would not say what is wrong
            let form = if value.is_array() {
                serde_json::from_value(value).map(Form::Steps)
            } else {
                serde_json::from_value(value).map(Form::Call)
            };
            cases.push(Case { name: name.to_owned(), form: form.with_context(|| path.display().to_string())? });
        }
        cases.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(cases)
    }

    /// What the store held in the end.
    pub(crate) fn content(&self) -> Option<&Content> {
        match &self.form {
            Form::Steps(steps) => steps.iter().find_map(|step| step.etcd.as_ref()),
            Form::Call(call) => call.etcd.as_ref(),
        }
    }
}

impl Call {
    /// One of the variables.
    pub(crate) fn variable(&self, name: &str) -> &str {
        self.env.get(name).map_or("", String::as_str)
    }

    /// What the plugin reads.
    pub(crate) fn input(&self) -> String {
        self.netconf.as_str().map_or_else(|| self.netconf.to_string(), str::to_owned)
    }

    /// A key of the network configuration.
    pub(crate) fn key(&self, name: &str) -> &str {
        self.netconf[name].as_str().unwrap_or("")
    }

    /// The container's namespace.
    pub(crate) fn netns(&self) -> Option<PathBuf> {
        Some(self.variable("CNI_NETNS")).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// Whether an ADD succeeded and left no endpoint: then it was calico-ipam's.
    pub(crate) fn only_assigned(&self) -> bool {
        let endpoint = |(key, value): (&String, &String)| {
            let object: Value = serde_json::from_str(value).unwrap_or_default();
            key.contains("/workloadendpoints/") && object["spec"]["containerID"] == self.variable("CNI_CONTAINERID")
        };
        let added = self.variable("CNI_COMMAND") == "ADD" && self.exit == 0;
        added && !self.etcd.iter().flatten().any(endpoint)
    }

    /// Why the call failed, if it did.
    pub(crate) fn reason(&self) -> Option<String> {
        let answer: Value = serde_json::from_str(&self.stdout).unwrap_or_default();
        (self.exit != 0).then(|| answer["msg"].as_str().unwrap_or(self.stdout.trim()).to_owned())
    }

    /// Whether the call was refused for its version of the CNI specification.
    pub(crate) fn version_refused(&self) -> bool {
        let answer: Value = serde_json::from_str(&self.stdout).unwrap_or_default();
        self.exit != 0 && answer["code"] == 1
    }

    /// Whether an API server of Kubernetes was to be asked.
    pub(crate) fn asks_kubernetes(&self) -> bool {
        self.netconf["policy"]["type"] == "k8s" || self.key("datastore_type") == "kubernetes"
    }
}
