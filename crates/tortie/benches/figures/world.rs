//! Namespaces, processes and a datastore, all gone when dropped.

use api::resource::{Kind, Resource};
use api::{Key, Object};
use dataplane::netns::NetNs;
use datastore::Store;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// The binary that is measured.
pub(crate) const TORTIE: &str = env!("CARGO_BIN_EXE_tortie");
/// How long anything may take that is not measured.
const PATIENCE: Duration = Duration::from_secs(60);

/// A named network namespace.
pub(crate) struct Namespace {
    name: String,
    number: usize,
    handle: NetNs,
}

impl Namespace {
    /// Makes one, with its loopback up.
    pub(crate) fn new(label: &str) -> Namespace {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tortie-bench-{}-{number}-{label}", std::process::id());
        printed(Command::new("ip").args(["netns", "add", &name]));
        let handle = NetNs::open(&Path::new("/run/netns").join(&name)).expect("a namespace just made");
        let namespace = Namespace { name, number, handle };
        namespace.ip("link set lo up");
        namespace
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// An ID for a container in it; its first eleven characters tell it from all others, for they name its interface.
    pub(crate) fn container_id(&self) -> String {
        format!("{:011x}{:053x}", self.number, std::process::id())
    }

    /// Its path.
    pub(crate) fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// Runs `ip WORDS`.
    pub(crate) fn ip(&self, words: &str) -> String {
        printed(Command::new("ip").args(["-n", &self.name]).args(words.split_whitespace()))
    }

    /// Runs many lines of `ip` at once.
    pub(crate) fn ip_batch(&self, lines: &str, dir: &Path) {
        let file = dir.join("batch");
        fs::write(&file, lines).expect("a file for ip");
        printed(Command::new("ip").args(["-n", &self.name, "-batch"]).arg(file));
    }

    /// Does `work` in the namespace.
    pub(crate) fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        self.handle.run(work).expect("enter a namespace of ours")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Joins two namespaces by a wire with an address at each end.
pub(crate) fn wire(one: &Namespace, two: &Namespace, names: [&str; 2], addresses: [&str; 2]) {
    let [here, there] = names;
    one.ip(&format!("link add {here} type veth peer name {there} netns {}", two.name()));
    for (namespace, name, address) in [(one, here, addresses[0]), (two, there, addresses[1])] {
        namespace.ip(&format!("addr add {address} dev {name}"));
        namespace.ip(&format!("link set {name} up"));
    }
}

/// A process that is killed when dropped.
pub(crate) struct Process(Child);

impl Process {
    /// Starts a program in a namespace; its output goes to a file.
    pub(crate) fn start(namespace: &Namespace, command: &mut Command, log: &Path) -> Process {
        let log = File::create(log).expect("a log file");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        let child = namespace.run(|| command.spawn());
        Process(child.unwrap_or_else(|error| panic!("{command:?} (tools/setup bench): {error}")))
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A cluster's datastore: `tortie store` on a unix socket, its file in a temporary folder.
pub(crate) struct Cluster {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) runtime: Runtime,
    pub(crate) endpoint: String,
    _process: Process,
    pub(crate) dir: TempDir,
}

impl Cluster {
    /// Starts it in a namespace, with a pool and a cluster that is ready.
    pub(crate) fn start(namespace: &Namespace, pool: &Value) -> Cluster {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let socket = dir.path().join("store.sock");
        let endpoint = format!("unix://{}", socket.display());
        let mut command = Command::new(TORTIE);
        command.args(["store", "--listen-client-urls", &endpoint, "--data-dir"]).arg(dir.path().join("data"));
        let process = Process::start(namespace, &mut command, &dir.path().join("store.log"));
        eventually("the store listens", || UnixStream::connect(&socket).is_ok());
        let env = |name: &str| match name {
            "DATASTORE_TYPE" => Some("etcdv3".to_owned()),
            "ETCD_ENDPOINTS" => Some(endpoint.clone()),
            _ => None,
        };
        let config = datastore::config::Config::from_env(&env).expect("a configuration");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let store = runtime.block_on(datastore::connect(&config)).expect("the store answers");
        let cluster = Cluster { store, runtime, endpoint, _process: process, dir };
        cluster.create(Kind::ClusterInformation, "", "default", &json!({"datastoreReady": true}));
        cluster.create(Kind::IPPool, "", "default-ipv4-ippool", pool);
        cluster
    }

    /// Creates a resource.
    pub(crate) fn create(&self, kind: Kind, namespace: &str, name: &str, spec: &Value) {
        let (key, object) = resource(kind, namespace, name, spec);
        self.runtime.block_on(self.store.create(&key, &object)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// Starts the agent in a namespace, with the given address; its files are in the temporary folder.
    pub(crate) fn agent(&self, namespace: &Namespace, name: &str, address: &str) -> Process {
        let files = self.dir.path().join(name);
        for folder in ["run", "lib", "log"] {
            fs::create_dir_all(files.join(folder)).expect("a folder for the agent");
        }
        let script = "mount --bind \"$0/run\" /run && mount --bind \"$0/lib\" /var/lib && \
            mount --bind \"$0/log\" /var/log && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(&files).args([TORTIE, "node"]);
        let variables = [("DATASTORE_TYPE", "etcdv3"), ("ETCD_ENDPOINTS", &self.endpoint), ("NODENAME", name)];
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).envs(variables);
        command.env("IP", address);
        Process::start(namespace, &mut command, &files.join("agent.log"))
    }

    /// What an agent has logged.
    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name).join("agent.log")).unwrap_or_default()
    }
}

/// A resource as the datastore's client takes it.
pub(crate) fn resource(kind: Kind, namespace: &str, name: &str, spec: &Value) -> (Key, Object) {
    let metadata =
        if namespace.is_empty() { json!({"name": name}) } else { json!({"name": name, "namespace": namespace}) };
    let document =
        json!({"kind": kind.name(), "apiVersion": api::meta::API_VERSION, "metadata": metadata, "spec": spec});
    let mut resource = Resource::decode(kind, document).unwrap_or_else(|error| panic!("{name}: {error}"));
    resource.apply_defaults();
    let key = if namespace.is_empty() { Key::global(kind, name) } else { Key::namespaced(kind, namespace, name) };
    (key, Object::Resource(resource))
}

/// Waits for something that is not measured.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a program that has to succeed; returns what it printed.
pub(crate) fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} (tools/setup bench): {error}"));
    assert!(output.status.success(), "{command:?} (as root?): {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A program of a Debian package.
pub(crate) fn program(path: impl AsRef<OsStr>) -> PathBuf {
    let path = PathBuf::from(path.as_ref());
    assert!(path.exists(), "{} is missing: run tools/setup bench", path.display());
    path
}
