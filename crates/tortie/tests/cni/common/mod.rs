//! A node for the plugin to run on, its pods, and calls.

mod call;
mod cnitool;
mod datastore;
mod namespace;
mod state;

pub(crate) use call::{Call, Outcome};
pub(crate) use cnitool::List;
pub(crate) use datastore::Datastore;
pub(crate) use namespace::Namespace;
pub(crate) use state::State;

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything in these tests may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The folder of the datastore with the network's profile.
pub(crate) const PROFILES: &str = "/calico/resources/v3/projectcalico.org/profiles/";
/// The folder of the datastore with the endpoints.
pub(crate) const ENDPOINTS: &str = "/calico/resources/v3/projectcalico.org/workloadendpoints/";

/// A node `node1`: its namespace, the plugins, a datastore.
pub(crate) struct Node {
    pub(crate) namespace: Namespace,
    pub(crate) datastore: Datastore,
    pub(crate) dir: TempDir,
}

impl Node {
    /// A node of a cluster with one IPv4 pool of /26 blocks, on the embedded store.
    pub(crate) fn new() -> Node {
        let node = Node::without_objects(Datastore::store);
        node.datastore.put_cluster();
        node
    }

    /// A node with a datastore of its own making, in which there is nothing.
    pub(crate) fn without_objects(start: impl FnOnce(&Path, &Namespace) -> Datastore) -> Node {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let namespace = Namespace::new("node");
        namespace.ip("link set lo up");
        let bin = dir.path().join("bin");
        fs::create_dir(&bin).expect("a folder for the plugins");
        for name in ["calico", "calico-ipam"] {
            symlink(env!("CARGO_BIN_EXE_tortie"), bin.join(name)).expect("a link to the binary");
        }
        let datastore = start(dir.path(), &namespace);
        Node { namespace, datastore, dir }
    }

    /// The folder with the plugins.
    pub(crate) fn bin(&self) -> PathBuf {
        self.dir.path().join("bin")
    }

    /// Puts a shell script among the plugins.
    pub(crate) fn script(&self, name: &str, text: &str) {
        let path = self.bin().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a script can be made executable");
    }

    /// The lock of IPAM.
    pub(crate) fn lock_file(&self) -> PathBuf {
        self.dir.path().join("ipam.lock")
    }

    /// The network configuration of the recorded calls.
    pub(crate) fn netconf(&self) -> Value {
        json!({
            "name": "net1",
            "cniVersion": "0.3.1",
            "type": "calico",
            "etcd_endpoints": self.datastore.endpoint,
            "datastore_type": "etcdv3",
            "nodename": "node1",
            "nodename_file_optional": true,
            "ipam_lock_file": self.lock_file(),
            "log_level": "info",
            "log_file_path": self.dir.path().join("cni.log"),
            "ipam": {"type": "calico-ipam"},
        })
    }

    /// A new container whose namespace is as a runtime hands it over.
    pub(crate) fn container(&self, id: &str) -> Container {
        Container { id: id.to_owned(), namespace: Namespace::new("pod") }
    }

    /// A call of the main plugin for a container.
    pub(crate) fn call(&self, command: &str, container: &Container) -> Call<'_> {
        Call::new(self, command, &container.id, &container.path())
    }

    /// ADD, which has to succeed; returns the result.
    pub(crate) fn add(&self, container: &Container) -> Value {
        self.call("ADD", container).run().success()
    }

    /// The block with this CIDR, such as `10.244.166.128-26`.
    pub(crate) fn block(&self, name: &str) -> Value {
        let family = if name.contains(':') { "ipv6" } else { "ipv4" };
        self.datastore.json(&format!("/calico/ipam/v2/assignment/{family}/block/{name}"))
    }

    /// Whatever could tell that the plugin was here: the kernel's state on the node, and the datastore's.
    pub(crate) fn state(&self) -> State {
        self.namespace.state().and(self.objects())
    }

    /// The datastore's state.
    ///
    /// Of blocks it counts who holds which address: a block once claimed stays claimed, and its history moves on.
    pub(crate) fn objects(&self) -> State {
        let mut objects = self.datastore.dump();
        for (key, value) in objects.iter_mut().filter(|(key, _)| key.contains("/assignment/")) {
            let block: Value = serde_json::from_str(value).unwrap_or_else(|error| panic!("{key}: {error}"));
            *value = format!("{:?}", holders(&block));
        }
        objects.retain(|key, value| !(key.contains("/ipam/v2/host/") || value == "[]"));
        objects.into_iter().map(|(key, value)| format!("{key} {value}")).collect()
    }
}

/// Who holds which address of a block: ordinal and handle.
pub(crate) fn holders(block: &Value) -> Vec<(usize, String)> {
    let allocations = block["allocations"].as_array().expect("a block has allocations");
    let held = allocations.iter().enumerate().filter_map(|(ordinal, index)| Some((ordinal, index.as_u64()?)));
    let handle = |index: u64| block["attributes"][usize::try_from(index).expect("small")]["handle_id"].clone();
    held.map(|(ordinal, index)| (ordinal, handle(index).as_str().unwrap_or("none").to_owned())).collect()
}

/// A container: an ID and a network namespace.
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) namespace: Namespace,
}

impl Container {
    /// The namespace's path.
    pub(crate) fn path(&self) -> String {
        self.namespace.path().display().to_string()
    }

    /// The kernel's state in its namespace.
    pub(crate) fn state(&self) -> State {
        self.namespace.state()
    }

    /// The Ethernet address of one of its interfaces, as the kernel tells it.
    pub(crate) fn mac(&self, interface: &str) -> String {
        let links = self.namespace.json(&format!("link show {interface}"));
        links[0]["address"].as_str().expect("a link has an address").to_owned()
    }
}

/// Repeats `probe` until it has an answer; panics with its last complaint when time is up.
pub(crate) fn eventually<T>(mut probe: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match probe() {
            Ok(value) => return value,
            Err(complaint) => assert!(Instant::now() < deadline, "after {PATIENCE:?}: {complaint}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a program that has to succeed; returns what it printed.
pub(crate) fn printed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("this test needs {command:?}: {error}"));
    assert!(status.success(), "{command:?} (as root?): {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text")
}
