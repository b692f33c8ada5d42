//! A container runtime's half of CNI: read the node's network configuration, call its plugins in order.
//!
//! Follows the CNI specification 1.0: the first configuration of the directory by name, `name` and `cniVersion`
//! put into each plugin's configuration, each result handed to the next plugin, deletion in reverse order.

use crate::reaper::Reaper;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::wait::WaitStatus;
use serde_json::{Map, Value, json};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const CONFIGURATION: &str = "/etc/cni/net.d";
const PLUGINS: &str = "/opt/cni/bin";
/// The pod's interface.
const INTERFACE: &str = "eth0";

/// A network as the node is configured for it.
#[derive(Debug, PartialEq)]
pub(crate) struct Network {
    name: String,
    version: String,
    plugins: Vec<Map<String, Value>>,
}

/// A pod's sandbox, as plugins are told of it.
pub(crate) struct Sandbox<'a> {
    pub(crate) container_id: &'a str,
    /// Where its network namespace is held; of one that is lost, nothing.
    pub(crate) netns: Option<&'a Path>,
    pub(crate) namespace: &'a str,
    pub(crate) pod: &'a str,
}

impl Network {
    /// Reads the node's configuration.
    pub(crate) fn configured() -> Result<Network> {
        let mut files: Vec<PathBuf> = fs::read_dir(CONFIGURATION)
            .with_context(|| format!("read {CONFIGURATION}"))?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|kind| kind == "conflist" || kind == "conf" || kind == "json"))
            .collect();
        files.sort();
        let file = files.first().with_context(|| format!("no network configuration in {CONFIGURATION}"))?;
        let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        Network::parse(&text).with_context(|| format!("network configuration {}", file.display()))
    }

    fn parse(text: &str) -> Result<Network> {
        let document: Map<String, Value> = serde_json::from_str(text)?;
        let string = |key: &str| document.get(key).and_then(Value::as_str).map(str::to_owned);
        let name = string("name").context("has no name")?;
        let version = string("cniVersion").unwrap_or_else(|| "0.2.0".to_owned());
        let plugins = match document.get("plugins") {
            None => vec![document.clone()],
            Some(Value::Array(list)) => list
                .iter()
                .map(|plugin| plugin.as_object().cloned())
                .collect::<Option<_>>()
                .context("plugins: must be objects")?,
            Some(_) => bail!("plugins: must be a list"),
        };
        ensure!(!plugins.is_empty(), "plugins: must not be empty");
        Ok(Network { name, version, plugins })
    }

    /// Attaches a sandbox and returns the last plugin's result.
    pub(crate) fn add(&self, reaper: &Reaper, sandbox: &Sandbox<'_>) -> Result<Value> {
        let mut result = None;
        for plugin in &self.plugins {
            result = Some(self.call(reaper, "ADD", plugin, sandbox, result.as_ref())?);
        }
        result.context("no plugin gave a result")
    }

    /// Detaches a sandbox; `added` is what [`Network::add`] returned.
    pub(crate) fn del(&self, reaper: &Reaper, sandbox: &Sandbox<'_>, added: &Value) -> Result<()> {
        // versions before 0.4.0 do not hand a result to DEL
        let previous = (!added.is_null() && !self.version.starts_with("0.3.") && !self.version.starts_with("0.2."))
            .then_some(added);
        for plugin in self.plugins.iter().rev() {
            self.call(reaper, "DEL", plugin, sandbox, previous)?;
        }
        Ok(())
    }

    fn configuration(&self, plugin: &Map<String, Value>, previous: Option<&Value>) -> Value {
        let mut configuration = plugin.clone();
        configuration.insert("name".to_owned(), json!(self.name));
        configuration.insert("cniVersion".to_owned(), json!(self.version));
        if let Some(previous) = previous {
            configuration.insert("prevResult".to_owned(), previous.clone());
        }
        Value::Object(configuration)
    }

    fn call(
        &self,
        reaper: &Reaper,
        operation: &str,
        plugin: &Map<String, Value>,
        sandbox: &Sandbox<'_>,
        previous: Option<&Value>,
    ) -> Result<Value> {
        let kind = plugin.get("type").and_then(Value::as_str).context("a plugin has no type")?;
        ensure!(!kind.contains('/'), "invalid plugin name {kind:?}: it names a program in {PLUGINS}");
        let mut command = Command::new(Path::new(PLUGINS).join(kind));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).current_dir("/");
        command.env_clear().env("PATH", crate::init::host::SEARCH_PATH).env("HOME", "/root");
        command.env("CNI_COMMAND", operation).env("CNI_PATH", PLUGINS).env("CNI_IFNAME", INTERFACE);
        command.env("CNI_CONTAINERID", sandbox.container_id).env("CNI_NETNS", sandbox.netns.unwrap_or(Path::new("")));
        command.env(
            "CNI_ARGS",
            format!(
                "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={}",
                sandbox.namespace, sandbox.pod, sandbox.container_id
            ),
        );
        let mut running = reaper.spawn(&mut command).with_context(|| format!("start CNI plugin {kind}"))?;
        let input = self.configuration(plugin, previous).to_string();
        let mut stdin = running.child.stdin.take().expect("stdin is piped");
        match stdin.write_all(input.as_bytes()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error.into()),
            _ => drop(stdin),
        }
        let mut output = String::new();
        running.child.stdout.take().expect("stdout is piped").read_to_string(&mut output)?;
        let status = running.wait();
        let answer: Value = serde_json::from_str(&output).unwrap_or(Value::Null);
        if status == WaitStatus::Exited(nix::unistd::Pid::from_raw(running.pid()), 0) {
            return Ok(answer);
        }
        let Some(message) = answer.get("msg").and_then(Value::as_str) else {
            let end = if let WaitStatus::Exited(_, code) = status {
                format!("exit status {code}")
            } else {
                format!("{status:?}")
            };
            bail!("CNI {operation} by plugin {kind}: no error object but {:?}, {end}", output.trim());
        };
        let details = answer.get("details").and_then(Value::as_str).filter(|details| !details.is_empty());
        let details = details.map(|details| format!("; {details}")).unwrap_or_default();
        bail!("CNI {operation} by plugin {kind}: {message}{details}")
    }
}

/// Returns the addresses of an ADD's result.
pub(crate) fn addresses(result: &Value) -> Vec<IpAddr> {
    let ips = result.get("ips").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let address = |ip: &Value| ip.get("address")?.as_str()?.split('/').next()?.parse().ok();
    ips.iter().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_plugin_gets_the_networks_name_version_and_the_last_result() {
        let network = Network::parse(
            r#"{"name": "n", "cniVersion": "0.3.1", "plugins": [{"type": "calico"}, {"type": "portmap", "snat": true}]}"#,
        )
        .unwrap();
        assert_eq!(
            network.configuration(&network.plugins[1], Some(&json!({"ips": []}))),
            json!({"type": "portmap", "snat": true, "name": "n", "cniVersion": "0.3.1", "prevResult": {"ips": []}})
        );
    }

    #[test]
    fn a_single_configuration_is_a_list_of_one() {
        let network = Network::parse(r#"{"name": "n", "type": "calico"}"#).unwrap();
        assert_eq!((network.version.as_str(), network.plugins.len()), ("0.2.0", 1));
        assert!(Network::parse(r#"{"type": "calico"}"#).is_err());
    }

    #[test]
    fn addresses_come_without_their_prefix() {
        let result = json!({"ips": [{"version": "4", "address": "172.16.158.2/32"}], "routes": []});
        assert_eq!(addresses(&result), ["172.16.158.2".parse::<IpAddr>().unwrap()]);
    }
}
