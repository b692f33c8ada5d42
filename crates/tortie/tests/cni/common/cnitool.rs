//! The CNI project's own `cnitool`, which calls the plugins of a list as a runtime does.

use super::{Container, Node, printed};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The release of cnitool, one that Debian's Go can build too.
const CNITOOL: &str = "v1.1.2";
/// Where Debian's package containernetworking-plugins puts its plugins.
pub(crate) const DEBIANS: &str = "/usr/lib/cni";

/// Returns the path of cnitool, built once a machine.
fn cnitool() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").expect("this test keeps cnitool in the cache: set HOME")).join(".cache")
    });
    let folder = cache.join("tortie/tools").join(format!("cnitool-{CNITOOL}"));
    let program = folder.join("cnitool");
    if !program.exists() {
        fs::create_dir_all(&folder).expect("the cache can be written");
        let building = tempfile::tempdir_in(&folder).expect("a temporary folder in the cache");
        let package = format!("github.com/containernetworking/cni/cnitool@{CNITOOL}");
        printed(Command::new("go").args(["install", &package]).env("GOBIN", building.path()));
        fs::rename(building.path().join("cnitool"), &program).expect("cnitool moves into place");
    }
    program
}

/// A list of plugins, called through cnitool.
pub(crate) struct List<'a> {
    node: &'a Node,
    network: String,
    capabilities: Value,
}

impl<'a> List<'a> {
    /// Installs the network net1: our plugin first, others after it.
    pub(crate) fn install(node: &'a Node, version: &str, others: &[Value]) -> List<'a> {
        List::with_ours(node, version, node.netconf(), others)
    }

    /// The same, with another configuration of ours than the node's; its name is the network's.
    pub(crate) fn with_ours(node: &'a Node, version: &str, mut plugin: Value, others: &[Value]) -> List<'a> {
        let network = plugin["name"].as_str().expect("a network has a name").to_owned();
        for key in ["name", "cniVersion"] {
            plugin.as_object_mut().expect("an object").remove(key);
        }
        let plugins: Vec<&Value> = std::iter::once(&plugin).chain(others).collect();
        let list = json!({"name": network, "cniVersion": version, "plugins": plugins});
        fs::create_dir_all(node.dir.path().join("net.d")).expect("a folder");
        fs::write(node.dir.path().join(format!("net.d/{network}.conflist")), list.to_string()).expect("a file");
        List { node, network, capabilities: json!({}) }
    }

    /// Sets what the runtime asks of the plugins with a capability.
    pub(crate) fn capabilities(mut self, capabilities: Value) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// Runs `cnitool WORD NETWORK NETNS` in the node's namespace; libcni's cache goes into the node's folder.
    pub(crate) fn command(&self, word: &str, container: &Container) -> Command {
        let state = self.node.dir.path().join("libcni");
        fs::create_dir_all(&state).expect("a folder");
        let script = r#"mount -t tmpfs none /var/lib && mkdir /var/lib/cni && mount --bind "$1" /var/lib/cni && shift && exec "$@""#;
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.node.namespace.path().display()));
        command.args(["unshare", "--mount", "sh", "-c", script, "sh"]).arg(state).arg(cnitool());
        command.args([word, &self.network, &container.path()]);
        command.env("NETCONFPATH", self.node.dir.path().join("net.d"));
        command.env("CNI_PATH", format!("{}:{DEBIANS}", self.node.bin().display()));
        command.env("CAP_ARGS", self.capabilities.to_string());
        command
    }

    /// Runs it, which has to succeed; returns what it printed.
    pub(crate) fn call(&self, word: &str, container: &Container) -> String {
        printed(&mut self.command(word, container))
    }

    /// Adds a container; returns the list's result.
    pub(crate) fn add(&self, container: &Container) -> Value {
        serde_json::from_str(&self.call("add", container)).expect("a result")
    }

    /// Checks a container; returns what the first plugin complains of.
    pub(crate) fn checked(&self, container: &Container) -> Result<(), String> {
        let output = self.command("check", container).output().expect("cnitool runs");
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }
}
