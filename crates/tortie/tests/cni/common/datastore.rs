//! A datastore of a test's own: the embedded store, or an etcd that keeps users from writing.

use super::{Namespace, eventually, printed};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running datastore, and how to reach it.
pub(crate) struct Datastore {
    pub(crate) endpoint: String,
    /// The namespace it listens in.
    namespace: PathBuf,
    /// `USER:PASSWORD` of who may do everything.
    root: Option<&'static str>,
    process: Child,
}

impl Datastore {
    /// Starts `tortie store` on a unix socket.
    pub(crate) fn store(dir: &Path, namespace: &Namespace) -> Datastore {
        let endpoint = format!("unix://{}", dir.join("store.sock").display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_tortie"));
        command.args(["store", "--log-level", "error", "--listen-client-urls", &endpoint]);
        command.arg("--data-dir").arg(dir.join("data"));
        Datastore::start(command, endpoint, namespace)
    }

    /// Starts Debian's etcd, in the namespace.
    pub(crate) fn etcd(dir: &Path, namespace: &Namespace) -> Datastore {
        let endpoint = "http://127.0.0.1:2379".to_owned();
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(dir.join("etcd"));
        command.args(["--listen-client-urls", &endpoint, "--advertise-client-urls", &endpoint]);
        Datastore::start(command, endpoint, namespace)
    }

    fn start(mut command: Command, endpoint: String, namespace: &Namespace) -> Datastore {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = namespace.run(|| command.spawn());
        let process = process.unwrap_or_else(|error| panic!("this test needs {command:?}: {error}"));
        let datastore = Datastore { endpoint, namespace: namespace.path(), root: None, process };
        eventually(|| {
            let output = datastore.etcdctl().args(["get", "x"]).output();
            let output = output.map_err(|error| format!("etcdctl (package etcd-client): {error}"))?;
            if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
        });
        datastore
    }

    /// Asks for passwords from here on: `root` may do everything, `plugin` (password `p`) may read everything below
    /// /calico and write what is not below `refused`.
    pub(crate) fn refuse_writes(&mut self, refused: &str) {
        let end = format!("{}0", refused.trim_end_matches('/'));
        for words in [
            "user add root:r",
            "user grant-role root root",
            "user add plugin:p",
            "role add plugin",
            "role grant-permission plugin --prefix=true read /calico",
            &format!("role grant-permission plugin write /calico {refused}"),
            &format!("role grant-permission plugin write {end} /calicp"),
            "user grant-role plugin plugin",
            "auth enable",
        ] {
            printed(self.etcdctl().args(words.split(' ')));
        }
        self.root = Some("root:r");
    }

    /// Ends it, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("the datastore runs");
        self.process.wait().expect("the datastore ends");
    }

    fn etcdctl(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace.display())).args(["etcdctl", "--endpoints", &self.endpoint]);
        command.env("ETCDCTL_API", "3").args(self.root.iter().flat_map(|user| ["--user", user]));
        command
    }

    /// Writes an object.
    pub(crate) fn put(&self, key: &str, value: &Value) {
        printed(self.etcdctl().args(["put", key, &value.to_string()]));
    }

    /// Deletes an object.
    pub(crate) fn delete(&self, key: &str) {
        printed(self.etcdctl().args(["del", key]));
    }

    /// Every key and its value.
    pub(crate) fn dump(&self) -> BTreeMap<String, String> {
        let text = printed(self.etcdctl().args(["get", "--prefix", "/calico"]));
        let mut lines = text.lines();
        let mut pairs = BTreeMap::new();
        while let (Some(key), Some(value)) = (lines.next(), lines.next()) {
            pairs.insert(key.to_owned(), value.to_owned());
        }
        pairs
    }

    /// The keys that contain `part`.
    pub(crate) fn keys(&self, part: &str) -> Vec<String> {
        self.dump().into_keys().filter(|key| key.contains(part)).collect()
    }

    /// The stored text of an object that has to be there.
    pub(crate) fn text(&self, key: &str) -> String {
        self.dump().remove(key).unwrap_or_else(|| panic!("{key} is not in the datastore"))
    }

    /// An object that has to be there.
    pub(crate) fn json(&self, key: &str) -> Value {
        serde_json::from_str(&self.text(key)).expect("a stored object is JSON")
    }

    /// Writes a cluster that is ready, a pool and a node.
    pub(crate) fn put_cluster(&self) {
        self.put_resource("ClusterInformation", "clusterinformations", "default", &json!({"datastoreReady": true}));
        self.put_pool("default-ipv4-ippool", "10.244.0.0/16", 26);
        self.put_resource("Node", "nodes", "node1", &json!({"bgp": {"ipv4Address": "192.0.2.1/24"}}));
    }

    /// Writes a pool for all nodes.
    pub(crate) fn put_pool(&self, name: &str, cidr: &str, block_size: u8) {
        let spec = json!({
            "cidr": cidr, "vxlanMode": "Never", "ipipMode": "Never", "natOutgoing": true, "blockSize": block_size,
            "nodeSelector": "all()", "allowedUses": ["Workload", "Tunnel"], "assignmentMode": "Automatic",
        });
        self.put_resource("IPPool", "ippools", name, &spec);
    }

    /// Writes a resource that is in no namespace.
    pub(crate) fn put_resource(&self, kind: &str, folder: &str, name: &str, spec: &Value) {
        let metadata = json!({
            "name": name, "uid": "b09bad2b-dd24-4a1a-be56-800507110c77", "creationTimestamp": "2026-11-22T23:38:30Z",
        });
        let object = json!({"kind": kind, "apiVersion": "projectcalico.org/v3", "metadata": metadata, "spec": spec});
        self.put(&format!("/calico/resources/v3/projectcalico.org/{folder}/{name}"), &object);
    }
}

impl Drop for Datastore {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
