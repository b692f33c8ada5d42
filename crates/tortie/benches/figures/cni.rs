//! The CNI plugin beside `ptp` with `host-local`: a fresh process a call, namespaces made beforehand, one after the
//! other in turns, then fifty at once.

use crate::sample::{MEASURE, Times};
use crate::table::{Aim, head, ms, row};
use crate::world::{Cluster, Namespace, TORTIE, program};
use api::resource::Kind;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{Seek, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Calls one after the other.
const SERIAL: usize = 150;
/// Calls at once.
const PARALLEL: usize = 50;
/// How often so many at once.
const ROUNDS: usize = 5;

pub(crate) fn run() {
    head("A pod's network");
    let (node, peer_node) = (Namespace::new("node"), Namespace::new("ptp"));
    let pool = json!({"cidr": "10.244.0.0/16", "ipipMode": "Never", "natOutgoing": true, "blockSize": 26});
    let cluster = Cluster::start(&node, &pool);
    cluster.create(Kind::Node, "", "node1", &json!({"bgp": {"ipv4Address": "192.0.2.1/24"}}));
    let dir = cluster.dir.path();
    let ours = Plugin::tortie(&node, &cluster.endpoint, dir);
    let theirs = Plugin::ptp(&peer_node, dir);
    let pods = |count: usize| (0..count).map(|_| Namespace::new("pod")).collect::<Vec<_>>();

    let (mut add, mut del, mut start) = (Pair::default(), Pair::default(), Times::default());
    let serial = (pods(SERIAL), pods(SERIAL));
    for (one, other) in serial.0.iter().zip(&serial.1) {
        add.0.time(|| ours.call("ADD", one).succeeds());
        add.1.time(|| theirs.call("ADD", other).succeeds());
        start.time(|| ours.call("VERSION", one).succeeds());
    }
    let peak = ours.peak("ADD", &Namespace::new("pod"));
    for (one, other) in serial.0.iter().zip(&serial.1) {
        del.0.time(|| ours.call("DEL", one).succeeds());
        del.1.time(|| theirs.call("DEL", other).succeeds());
    }
    let mut parallel = Pair::default();
    for _ in 0..ROUNDS {
        let (one, other) = (pods(PARALLEL), pods(PARALLEL));
        ours.all_at_once(&one, &mut parallel.0);
        theirs.all_at_once(&other, &mut parallel.1);
    }

    let peer = "ptp + host-local";
    let compare = |name: &str, pair: &mut Pair, percent, limit| {
        let (mine, its) = (ms(pair.0.percentile(percent)), ms(pair.1.percentile(percent)));
        row(&format!("{name}, p{percent} of {SERIAL}"), "ms", mine, Some((peer, its)), &Aim::Ratio(limit));
    };
    compare("ADD", &mut add, 50, 0.6);
    compare("ADD", &mut add, 99, 1.0);
    compare("DEL", &mut del, 50, 0.4);
    let (mine, its) = (ms(parallel.0.percentile(50)), ms(parallel.1.percentile(50)));
    let figure = format!("{PARALLEL} ADDs at once, median of {ROUNDS}");
    row(&figure, "ms", mine, Some((peer, its)), &Aim::Ratio(1.0));
    row("ADD, peak of resident memory", "MiB", peak, None, &Aim::AtMost(8.0));

    println!("\nOf an ADD's time (each p50 of {SERIAL}):\n");
    println!("- process start and end: {:.2} ms (VERSION, which does nothing else)", ms(start.percentile(50)));
    let mut sync = fsyncs(dir);
    println!("- one write and fdatasync of 4 KiB in the store's folder: {:.2} ms", ms(sync.percentile(50)));
    let (mut read, mut write) = round_trips(&cluster);
    println!(
        "- a read from the store: {:.2} ms, a durable write: {:.2} ms",
        ms(read.percentile(50)),
        ms(write.percentile(50))
    );
    println!("- an ADD reads twice and writes twice (addresses, then endpoint); the rest is netlink and sysctls.");
}

/// Ours and the peer's.
#[derive(Default)]
struct Pair(Times, Times);

/// A plugin with its configuration, on a node.
struct Plugin<'a> {
    node: &'a Namespace,
    program: PathBuf,
    path: String,
    netconf: File,
}

/// A call under way.
struct Call(Child);

impl Call {
    fn succeeds(self) {
        let output = self.0.wait_with_output().expect("the plugin ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

impl<'a> Plugin<'a> {
    fn tortie(node: &'a Namespace, endpoint: &str, dir: &Path) -> Plugin<'a> {
        let bin = dir.join("bin");
        fs::create_dir(&bin).expect("a folder for the plugins");
        for name in ["calico", "calico-ipam"] {
            symlink(TORTIE, bin.join(name)).expect("a link to the binary");
        }
        let netconf = json!({
            "cniVersion": "1.0.0", "name": "k8s-pod-network", "type": "calico", "datastore_type": "etcdv3",
            "etcd_endpoints": endpoint, "nodename": "node1", "nodename_file_optional": true, "log_level": "info",
            "log_file_path": dir.join("cni.log"), "ipam_lock_file": dir.join("ipam.lock"),
            "ipam": {"type": "calico-ipam"},
        });
        Plugin::new(node, bin.join("calico"), &bin, &netconf)
    }

    fn ptp(node: &'a Namespace, dir: &Path) -> Plugin<'a> {
        let netconf = json!({
            "cniVersion": "1.0.0", "name": "bench", "type": "ptp",
            "ipam": {"type": "host-local", "subnet": "10.88.0.0/16", "dataDir": dir.join("host-local")},
        });
        Plugin::new(node, program("/usr/lib/cni/ptp"), Path::new("/usr/lib/cni"), &netconf)
    }

    fn new(node: &'a Namespace, program: PathBuf, path: &Path, netconf: &Value) -> Plugin<'a> {
        let mut file = tempfile::tempfile().expect("a file for the configuration");
        file.write_all(netconf.to_string().as_bytes()).expect("the configuration is written");
        Plugin { node, program, path: path.display().to_string(), netconf: file }
    }

    fn command(&self, program: &Path, command: &str, pod: &Namespace) -> Command {
        let mut call = Command::new(program);
        let id = &pod.container_id();
        let variables = [
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", id),
            ("CNI_NETNS", &pod.path()),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", &self.path),
        ];
        call.env_clear().envs(variables).stdout(Stdio::piped()).stderr(Stdio::null());
        // every open of the path has an offset of its own
        let mut input = File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.netconf)))
            .expect("the configuration can be read");
        input.rewind().expect("a file");
        call.stdin(input);
        call
    }

    fn call(&self, command: &str, pod: &Namespace) -> Call {
        let mut call = self.command(&self.program, command, pod);
        Call(self.node.run(|| call.spawn()).expect("the plugin starts"))
    }

    /// Adds all pods at once, and takes them away again.
    fn all_at_once(&self, pods: &[Namespace], times: &mut Times) {
        let start = Instant::now();
        let calls: Vec<Call> = pods.iter().map(|pod| self.call("ADD", pod)).collect();
        calls.into_iter().for_each(Call::succeeds);
        times.push(start.elapsed());
        pods.iter().for_each(|pod| self.call("DEL", pod).succeeds());
    }

    /// The most memory that a call had, in MiB.
    fn peak(&self, command: &str, pod: &Namespace) -> f64 {
        let this = std::env::current_exe().expect("this program's path");
        let mut call = self.command(&this, command, pod);
        call.arg(MEASURE).arg(&self.program);
        let output = self.node.run(|| call.output()).expect("the plugin starts");
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(output.status.success(), "{text}");
        self.call("DEL", pod).succeeds();
        text.parse::<f64>().unwrap_or_else(|error| panic!("{text}: {error}")) / 1024.0
    }
}

fn fsyncs(dir: &Path) -> Times {
    let mut times = Times::default();
    let mut file = File::create(dir.join("sync")).expect("a file");
    for _ in 0..SERIAL {
        times.time(|| {
            file.write_all(&[7; 4096]).expect("room on the disk");
            file.sync_data().expect("a disk that syncs");
        });
    }
    times
}

/// Reads and durable writes over a connection that is there already.
fn round_trips(cluster: &Cluster) -> (Times, Times) {
    let (mut read, mut write) = (Times::default(), Times::default());
    let key = api::Key::global(Kind::Node, "node1");
    for number in 0..SERIAL {
        read.time(|| cluster.runtime.block_on(cluster.store.get(&key)).expect("the node is there"));
        let spec = json!({"labelsToApply": {"number": number.to_string()}});
        write.time(|| cluster.create(Kind::Profile, "", &format!("p{number}"), &spec));
    }
    (read, write)
}
