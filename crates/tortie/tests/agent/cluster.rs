//! Wire, datastore and hosts of one test, and what an operator does to them.

use crate::host::{Host, Namespace};
use datastore::Store;
use ipam::{Condition, Ipam, Owner, SystemClock};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::OpenOptions;
use std::future::Future;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a session may take to come up, with what belongs to it.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A wire with a datastore.
pub(crate) struct Cluster {
    store: Option<Process>,
    wire: Namespace,
    prefix: String,
    directory: TempDir,
}

impl Cluster {
    /// A cluster without hosts: pool 172.16.0.0/16 in blocks of 24 bits, IPIP always.
    pub(crate) fn new() -> Cluster {
        let mut cluster = Cluster::without_store();
        cluster.start_store();
        cluster.pool();
        cluster
    }

    /// Makes the pool of [`Cluster::new`].
    pub(crate) fn pool(&self) {
        self.apply(
            "{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: default-ipv4-ippool}, \
             spec: {cidr: 172.16.0.0/16, blockSize: 24, ipipMode: Always}}",
        );
    }

    /// A wire whose datastore is away.
    pub(crate) fn without_store() -> Cluster {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let prefix = format!("tortie-agent-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let wire = Namespace::new(format!("{prefix}-wire"));
        wire.ip("link add br0 type bridge");
        wire.ip("link set br0 up");
        Cluster { store: None, wire, prefix, directory: tempfile::tempdir().expect("a directory for the cluster") }
    }

    pub(crate) fn start_store(&mut self) {
        self.start_store_under(&[]);
    }

    /// Starts the store by a program that becomes it, with shared memory of its own.
    pub(crate) fn start_store_under(&mut self, wrapper: &[String]) {
        let mut call = Command::new("unshare");
        call.args(["--mount", "--propagation", "private", "sh", "-c"]);
        call.arg("mount -t tmpfs tmpfs /dev/shm && exec \"$@\"").arg("sh").args(wrapper);
        call.arg(env!("CARGO_BIN_EXE_tortie")).arg("store").arg("--data-dir").arg(self.directory.path().join("data"));
        call.args(["--listen-client-urls", &self.endpoint()]);
        self.store = Some(Process::start(call, &self.directory.path().join("store.log")));
        let socket = self.socket();
        eventually(SOON, || std::os::unix::net::UnixStream::connect(&socket).map(drop));
    }

    /// The store's process.
    pub(crate) fn store_id(&self) -> u32 {
        self.store.as_ref().expect("a store was started").id()
    }

    /// What the store has logged.
    pub(crate) fn store_log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("store.log")).unwrap_or_default()
    }

    pub(crate) fn kill_store(&mut self) {
        drop(self.store.take());
    }

    fn socket(&self) -> String {
        self.directory.path().join("store.sock").display().to_string()
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("unix://{}", self.socket())
    }

    /// A host `nN` at 192.168.10.N, without an agent.
    pub(crate) fn host(&self, number: u8) -> Host {
        let (name, address) = (format!("n{number}"), format!("192.168.10.{number}"));
        let namespace = Namespace::new(format!("{}-{name}", self.prefix));
        self.wire.ip(&format!("link add {name} type veth peer name eth0 netns {}", namespace.name()));
        self.wire.ip(&format!("link set {name} master br0 up"));
        namespace.ip("link set eth0 up");
        namespace.ip(&format!("addr add {address}/24 dev eth0"));
        Host::new(namespace, &name, &address, self.directory.path().join(&name), &self.endpoint())
    }

    /// A namespace that ends with the test, on no wire.
    pub(crate) fn namespace(&self, label: &str) -> Namespace {
        Namespace::new(format!("{}-{label}", self.prefix))
    }

    /// Gives the wire itself an address, for hosts to route to.
    pub(crate) fn give_gateway(&self, address: &str) {
        self.wire.ip(&format!("addr add {address} dev br0"));
    }

    /// Hosts 1 and 2, each with an agent and a block, 172.16.N.0/24, out of which it has the address 172.16.N.9; in
    /// session with each other.
    pub(crate) fn pair(&self) -> (Host, Host) {
        let (mut one, mut two) = (self.host(1), self.host(2));
        for (host, number) in [(&mut one, 1), (&mut two, 2)] {
            self.claim(&format!("172.16.{number}.0/24"), &host.name);
            host.own(&format!("172.16.{number}.9"));
            host.start_agent();
        }
        one.learns(&["172.16.2.0/24"], SOON);
        two.learns(&["172.16.1.0/24"], SOON);
        one.established(&["Mesh_192_168_10_2"], SOON);
        two.established(&["Mesh_192_168_10_1"], SOON);
        one.reaches("172.16.1.9", "172.16.2.9");
        (one, two)
    }

    /// Runs `calicoctl WORDS` with `input`; returns what it printed.
    pub(crate) fn ctl(&self, words: &[&str], input: &str) -> String {
        let mut call = Command::new(env!("CARGO_BIN_EXE_tortie"));
        call.arg("ctl").args(words).env("DATASTORE_TYPE", "etcdv3").env("ETCD_ENDPOINTS", self.endpoint());
        call.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = call.spawn().expect("the built binary");
        child.stdin.take().expect("its input is piped").write_all(input.as_bytes()).expect("it reads its input");
        let output = child.wait_with_output().expect("its output");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ctl {words:?}: {complaint}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Creates or replaces an object.
    pub(crate) fn apply(&self, document: &str) {
        self.ctl(&["apply", "-f", "-"], document);
    }

    /// Stores an object as it is, as another program may that knows more than calicoctl here does.
    pub(crate) fn put(&self, path: &str, document: &str) {
        let endpoint = self.endpoint();
        let path = format!("/calico/resources/v3/projectcalico.org/{path}");
        command("etcdctl", &["--endpoints", &endpoint, "put", &path, document]);
    }

    /// Changes an object.
    pub(crate) fn patch(&self, kind: &str, name: &str, patch: &str) {
        self.ctl(&["patch", kind, name, "-p", patch], "");
    }

    /// Claims a block for a host.
    pub(crate) fn claim(&self, block: &str, host: &str) {
        let block = block.parse().expect("a block");
        let claims = self.with_store(async |store| {
            Ipam::new(store.as_ref(), &SystemClock).claim_affinity(block, &Owner::host(host)).await
        });
        assert_eq!(claims.expect("claim a block").claimed, [block]);
    }

    /// Takes a block from a host.
    pub(crate) fn let_go(&self, block: &str, host: &str) {
        let block = block.parse().expect("a block");
        let released = self.with_store(async |store| {
            Ipam::new(store.as_ref(), &SystemClock).let_go(&Owner::host(host), block, Condition::Any, None).await
        });
        released.expect("let go of a block");
    }

    /// Does something with a client of the store.
    pub(crate) fn with_store<T, F: Future<Output = T>>(&self, work: impl FnOnce(Arc<dyn Store>) -> F) -> T {
        let endpoint = self.endpoint();
        let env = |name: &str| match name {
            "DATASTORE_TYPE" => Some("etcdv3".to_owned()),
            "ETCD_ENDPOINTS" => Some(endpoint.clone()),
            _ => None,
        };
        let config = datastore::config::Config::from_env(&env).expect("a configuration");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async { work(datastore::connect(&config).await.expect("the store is there")).await })
    }
}

/// A process that is killed when dropped.
pub(crate) struct Process(Child);

impl Process {
    /// Starts a program whose output is appended to a file.
    pub(crate) fn start(mut call: Command, log: &Path) -> Process {
        let log = OpenOptions::new().create(true).append(true).open(log).expect("a log file");
        call.stdin(Stdio::null()).stdout(log.try_clone().expect("one more descriptor")).stderr(log);
        Process(call.spawn().unwrap_or_else(|error| panic!("start {call:?}: {error}")))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.id().try_into().expect("process ids are small"));
        kill(pid, signal).expect("signal a process of ours");
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits for the process to end by itself.
    pub(crate) fn ends(&mut self) -> ExitStatus {
        eventually(SOON, || self.0.try_wait().ok().flatten().ok_or("the process goes on"))
    }

    /// Whether it goes on.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Repeats `probe` until it succeeds; panics with its last complaint when time is up.
pub(crate) fn eventually<T, E: std::fmt::Display>(within: Duration, mut probe: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + within;
    loop {
        match probe() {
            Ok(value) => return value,
            Err(complaint) if Instant::now() > deadline => panic!("after {within:?}: {complaint}"),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Looks again and again for a while: `probe` has to succeed every time.
pub(crate) fn throughout<E: std::fmt::Display>(time: Duration, mut probe: impl FnMut() -> Result<(), E>) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        probe().unwrap_or_else(|complaint| panic!("{complaint}"));
        thread::sleep(Duration::from_millis(50));
    }
}

/// Runs a program that has to succeed; returns what it printed.
pub(crate) fn command(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("tests need {program}: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?} (as root?): {complaint}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
