//! The CNI project's own `cnitool` calls the plugin, directly and through a wrapper.

use crate::common::{Container, Node, printed};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

/// The release of cnitool, one that Debian's Go can build too.
const CNITOOL: &str = "v1.1.2";

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

/// Runs `cnitool WORD net1 NETNS` in the node's namespace; libcni's cache goes into the node's folder.
fn call(node: &Node, word: &str, container: &Container) -> String {
    let state = node.dir.path().join("libcni");
    fs::create_dir_all(&state).expect("a folder");
    let script =
        r#"mount -t tmpfs none /var/lib && mkdir /var/lib/cni && mount --bind "$1" /var/lib/cni && shift && exec "$@""#;
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", node.namespace.path().display()));
    command.args(["unshare", "--mount", "sh", "-c", script, "sh"]).arg(state).arg(cnitool());
    command.args([word, "net1", &container.path()]);
    command.env("NETCONFPATH", node.dir.path().join("net.d")).env("CNI_PATH", node.bin());
    printed(&mut command)
}

/// Installs the node's network configuration as a list.
fn install(node: &Node, version: &str) {
    let mut plugin = node.netconf();
    for key in ["name", "cniVersion"] {
        plugin.as_object_mut().expect("an object").remove(key);
    }
    let list = json!({"name": "net1", "cniVersion": version, "plugins": [plugin]});
    fs::create_dir_all(node.dir.path().join("net.d")).expect("a folder");
    fs::write(node.dir.path().join("net.d/10-calico.conflist"), list.to_string()).expect("a file");
}

#[test]
fn cnitool_adds_and_deletes() {
    let node = Node::new();
    let container = node.container("unused");
    for version in ["0.3.1", "1.0.0"] {
        install(&node, version);
        let before = node.namespace.state().and(container.state());
        let added: serde_json::Value = serde_json::from_str(&call(&node, "add", &container)).expect("a result");
        assert_eq!(added["cniVersion"], version);
        let address = added["ips"][0]["address"].as_str().expect("an address");
        assert_eq!(
            container.namespace.json("-4 addr show eth0")[0]["addr_info"][0]["local"],
            address.trim_end_matches("/32")
        );
        assert_eq!(node.datastore.keys("workloadendpoints").len(), 1);
        for _ in 0..2 {
            assert_eq!(call(&node, "del", &container), "");
            node.namespace.state().and(container.state()).is_still(&before, "cnitool del");
            assert_eq!(node.datastore.keys("workloadendpoints"), [] as [&str; 0]);
        }
    }
}

#[test]
fn a_wrapper_sees_each_add_and_del() {
    let node = Node::new();
    install(&node, "0.3.1");
    let (calico, real, log) =
        (node.bin().join("calico"), node.dir.path().join("calico"), node.dir.path().join("calls"));
    fs::rename(&calico, &real).expect("the plugin moves");
    let text = format!(
        "#!/bin/sh\necho \"$CNI_COMMAND $CNI_CONTAINERID\" >>{}\nexec {} \"$@\"\n",
        log.display(),
        real.display()
    );
    fs::write(&calico, text).expect("a script");
    fs::set_permissions(&calico, fs::Permissions::from_mode(0o755)).expect("an executable script");
    let container = node.container("unused");
    call(&node, "add", &container);
    let handle = node.datastore.keys("/handle/net1.").remove(0);
    let id = handle.rsplit("net1.").next().expect("a container's ID").to_owned();
    call(&node, "del", &container);
    assert_eq!(fs::read_to_string(&log).expect("the wrapper's log"), format!("ADD {id}\nDEL {id}\n"));
    assert!(id.starts_with("cnitool-"), "{id}");
}
