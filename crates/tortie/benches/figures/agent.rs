//! The agent: from a workload endpoint in the store to its route in the kernel, one at a time, among many, and a
//! thousand together; and what memory it takes.

use crate::sample::{Times, memory, processor_time};
use crate::session::{Session, announcements};
use crate::table::{Aim, head, ms, row};
use crate::world::{Cluster, Namespace, Process, eventually, resource, wire};
use api::resource::Kind;
use dataplane::netlink::{Monitor, Netlink, NextHop, RouteEntry};
use datastore::Write;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::json;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Blocks of another node.
const BLOCKS: usize = 1000;
/// Endpoints timed one by one.
const SAMPLES: usize = 100;
/// Endpoints that come together.
const BURST: usize = 1000;
/// Endpoints written in one transaction, as many as etcd takes.
const BATCH: usize = 100;
/// How long an endpoint may take to get its route.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run() {
    head("The agent");
    let (node, other) = (Namespace::new("node"), Namespace::new("other"));
    wire(&node, &other, ["eth0", "peer0"], ["192.0.2.1/24", "192.0.2.2/24"]);
    let pool = json!({"cidr": "10.0.0.0/8", "ipipMode": "Always", "natOutgoing": true, "blockSize": 26});
    let cluster = Cluster::start(&node, &pool);
    let names: String = (0..SAMPLES * 2 + BURST).fold(String::new(), |mut lines, number| {
        let name = interface(number);
        writeln!(lines, "link add {name} type veth peer name peer{number}").expect("a string");
        writeln!(lines, "link set {name} up\nlink set peer{number} up").expect("a string");
        lines
    });
    node.ip_batch(&names, cluster.dir.path());
    let agent = cluster.agent(&node, "node1", "192.0.2.1/24");
    eventually("the agent has made its tunnel", || node.ip("-4 addr show").contains("tunl0"));
    row("resident memory, idle", "MiB", memory(agent.id(), "VmRSS"), None, &Aim::AtMost(25.0));

    remote_blocks(&cluster, &node, &other);
    row(
        &format!("resident memory with {BLOCKS} remote blocks"),
        "MiB",
        memory(agent.id(), "VmRSS"),
        None,
        &Aim::AtMost(25.0),
    );

    let mut alone = one_by_one(&cluster, &node, 0);
    burst(&cluster, &node, &agent);
    let mut among = one_by_one(&cluster, &node, SAMPLES + BURST);
    for (what, times) in [("none", &mut alone), (&format!("{} others", SAMPLES + BURST) as &str, &mut among)] {
        let figure = format!("endpoint acknowledged → route, beside {what}, p50 of {}", times.count());
        row(&figure, "ms", ms(times.percentile(50)), None, &Aim::AtMost(2.0));
        row(&format!("the same, p99 of {}", times.count()), "ms", ms(times.percentile(99)), None, &Aim::None);
    }
    row("resident memory with all of them", "MiB", memory(agent.id(), "VmRSS"), None, &Aim::None);
    row("its peak", "MiB", memory(agent.id(), "VmHWM"), None, &Aim::None);
}

/// Announces blocks as another node of the mesh; returns when all have their routes.
fn remote_blocks(cluster: &Cluster, node: &Namespace, other: &Namespace) {
    cluster.create(Kind::Node, "", "node2", &json!({"bgp": {"ipv4Address": "192.0.2.2/24"}}));
    let [own, peer] = [Ipv4Addr::new(192, 0, 2, 2), Ipv4Addr::new(192, 0, 2, 1)];
    let mut session = other.run(|| Session::open(own, 64512, peer));
    session.send(&announcements(BLOCKS, None, own));
    eventually("the blocks have their routes", || node.ip("route show proto bird").lines().count() == BLOCKS);
    // the routes stay while the agent waits for the peer to come back
    drop(session);
}

/// Writes endpoints one after the other, each when the one before has its route.
fn one_by_one(cluster: &Cluster, node: &Namespace, first: usize) -> Times {
    let (seen, arrivals) = mpsc::channel();
    let (next, wanted) = mpsc::channel::<Ipv4Addr>();
    let mut times = Times::default();
    thread::scope(|scope| {
        scope.spawn(move || node.run(|| watch(&wanted, &seen)));
        for number in first..first + SAMPLES {
            next.send(address(number)).expect("the watcher listens");
            let (key, object) = endpoint(number);
            cluster.runtime.block_on(cluster.store.create(&key, &object)).expect("an endpoint");
            let acknowledged = Instant::now();
            let arrived: Instant = arrivals.recv_timeout(PATIENCE).expect("the endpoint gets its route");
            times.push(arrived.saturating_duration_since(acknowledged));
        }
        drop(next);
    });
    times
}

/// Tells of each address when a route to it has come.
fn watch(wanted: &mpsc::Receiver<Ipv4Addr>, seen: &mpsc::Sender<Instant>) {
    let mut netlink = Netlink::open().expect("a netlink socket");
    let mut monitor = Monitor::open(0, 8 << 20).expect("a netlink socket that listens");
    for address in wanted {
        while !matches!(netlink.reach(address), Ok(NextHop::Link(_))) {
            let mut ready = [PollFd::new(monitor.as_fd(), PollFlags::POLLIN)];
            poll(&mut ready, PollTimeout::from(1000_u16)).expect("wait for the kernel");
            while !monitor.read().expect("hear the kernel").is_empty() {}
        }
        seen.send(Instant::now()).expect("somebody waits");
    }
}

/// Writes a thousand endpoints together.
fn burst(cluster: &Cluster, node: &Namespace, agent: &Process) {
    let writes: Vec<Write> = (SAMPLES..SAMPLES + BURST)
        .map(|number| {
            let (key, object) = endpoint(number);
            Write::Create(key, object)
        })
        .collect();
    let processor = processor_time(agent.id());
    let start = Instant::now();
    for batch in writes.chunks(BATCH) {
        cluster.runtime.block_on(cluster.store.transact(batch)).expect("endpoints");
    }
    let written = start.elapsed();
    let mut netlink = node.run(|| Netlink::open().expect("a netlink socket"));
    let local = |route: &RouteEntry| matches!(route.next_hop, NextHop::Link(_)) && route.key.prefix.prefix_len() == 32;
    let there = |netlink: &mut Netlink| netlink.routes().expect("routes").iter().filter(|route| local(route)).count();
    let deadline = Instant::now() + PATIENCE;
    while there(&mut netlink) < SAMPLES + BURST {
        assert!(Instant::now() < deadline, "{} of the routes came", there(&mut netlink));
        thread::sleep(Duration::from_millis(2));
    }
    let all = start.elapsed();
    let figure = format!("{BURST} endpoints, written within {:.2} s → all routes", written.as_secs_f64());
    row(&figure, "s", all.as_secs_f64(), None, &Aim::AtMost(0.5));
    let processor = processor_time(agent.id()) - processor;
    row("processor time of the agent for them", "s", processor.as_secs_f64(), None, &Aim::None);
}

fn endpoint(number: usize) -> (api::Key, api::Object) {
    let spec = json!({
        "orchestrator": "k8s", "node": "node1", "containerID": format!("c{number}"), "pod": format!("pod{number}"),
        "endpoint": "eth0", "ipNetworks": [format!("{}/32", address(number))], "interfaceName": interface(number),
        "profiles": ["kns.default"],
    });
    resource(Kind::WorkloadEndpoint, "default", &format!("node1-k8s-pod{number}-eth0"), &spec)
}

fn interface(number: usize) -> String {
    format!("cali{number:011x}")
}

fn address(number: usize) -> Ipv4Addr {
    let [high, low] = u16::try_from(number).expect("fewer than a /16 has").to_be_bytes();
    Ipv4Addr::new(10, 244, high, low)
}
