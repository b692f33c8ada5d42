//! Three nodes with a pod each, on two subnets, in network namespaces of their own.
//!
//! ```text
//!  pod1 172.16.1.2       pod3 172.16.3.2           pod2 172.16.2.2
//!    |                     |                         |
//!  n1 192.168.10.1       n3 192.168.10.3           n2 192.168.20.1
//!    |                     |                         |
//!    +-------- lan --------+-------- router ---------+ (port n2)
//!         192.168.10.254                192.168.20.254
//! ```
//!
//! On a node the uplink is `eth0` and the pod's veth `pod`; in the pod it is `eth0` too.

use dataplane::bpf::BpfTunnel;
use dataplane::netlink::Netlink;
use dataplane::tunnel::{Tunnel as _, TunnelSpec};
use model::Mtu;
use model::name::IfName;
use nix::sched::{CloneFlags, setns};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{process, thread};

/// Node number, its address, its router.
const NODES: [(u8, &str, &str); 3] = [
    (1, "192.168.10.1/24", "192.168.10.254"),
    (2, "192.168.20.1/24", "192.168.20.254"),
    (3, "192.168.10.3/24", "192.168.10.254"),
];

/// The namespaces; dropping it removes them with everything inside.
pub(crate) struct Lab {
    prefix: String,
}

impl Lab {
    /// Builds everything but the tunnels.
    pub(crate) fn without_tunnels() -> Lab {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let lab = Lab { prefix: format!("bpftun-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed)) };
        lab.add("router");
        lab.ip("router", "link add lan type bridge");
        lab.ip("router", "address add 192.168.10.254/24 dev lan");
        lab.ip("router", "link set lan up");
        lab.forward("router");
        for (number, address, router) in NODES {
            let (node, pod) = (format!("n{number}"), format!("pod{number}"));
            lab.add(&node);
            lab.add(&pod);
            lab.forward(&node);
            lab.wire(&node);
            lab.ip(&node, &format!("address add {address} dev eth0"));
            lab.ip(&node, &format!("route add default via {router}"));

            lab.ip(&node, &format!("link add pod type veth peer name eth0 netns {}", lab.namespace(&pod)));
            lab.ip(&node, &format!("address add 172.16.{number}.1/24 dev pod"));
            lab.ip(&node, "link set pod up");
            lab.ip(&pod, &format!("address add 172.16.{number}.2/24 dev eth0"));
            lab.ip(&pod, "link set eth0 up");
            lab.ip(&pod, &format!("route add default via 172.16.{number}.1"));
        }
        lab.ip("router", "address add 192.168.20.254/24 dev n2");
        for port in ["n1", "n3"] {
            lab.ip("router", &format!("link set {port} master lan"));
        }
        lab
    }

    /// Builds everything, a BPF tunnel on each node.
    pub(crate) fn start() -> Lab {
        let lab = Lab::without_tunnels();
        for (number, _, _) in NODES {
            let spec = lab.spec(number);
            lab.inside(&format!("n{number}"), || ensure(&mut BpfTunnel::new(), &spec));
            lab.route(number);
        }
        lab
    }

    /// Makes the uplink of a node, and its port at the router.
    pub(crate) fn wire(&self, node: &str) {
        self.ip("router", &format!("link add {node} type veth peer name eth0 netns {}", self.namespace(node)));
        self.ip("router", &format!("link set {node} up"));
        self.ip(node, "link set eth0 up");
    }

    /// Gives a node's `tunl0` its address and the routes into it.
    pub(crate) fn route(&self, number: u8) {
        let node = format!("n{number}");
        self.ip(&node, &format!("address add 172.16.{number}.0/32 dev tunl0"));
        for (other, _, _) in NODES.into_iter().filter(|(other, _, _)| *other != number) {
            let next_hop = address(other);
            self.ip(&node, &format!("route add 172.16.{other}.0/24 via {next_hop} dev tunl0 onlink"));
        }
        // a prefix that routing knows and the tunnel does not
        self.ip(&node, &format!("route add 172.16.99.0/24 via {} dev tunl0 onlink", address(9)));
    }

    /// The index of a link.
    pub(crate) fn link(&self, name: &str, link: &str) -> u32 {
        self.inside(name, || {
            let mut netlink = Netlink::open().expect("rtnetlink opens in any namespace");
            netlink.link(&IfName::from(link)).expect("links can be read").expect("the link was made").index
        })
    }

    /// Describes a node's tunnel, `eth0` as it is at this moment.
    pub(crate) fn spec(&self, number: u8) -> TunnelSpec {
        let links = BTreeMap::from([(self.link(&format!("n{number}"), "eth0"), false)]);
        let others = NODES.into_iter().map(|(other, _, _)| other).filter(|other| *other != number);
        TunnelSpec {
            mtu: Mtu(1480),
            own_address: address(number),
            links,
            peers: others
                .map(|other| (format!("172.16.{other}.0/24").parse().expect("a prefix"), address(other)))
                .collect(),
            hosts: NODES.into_iter().map(|(number, _, _)| address(number)).collect(),
            external_nodes: BTreeSet::new(),
        }
    }

    /// The namespace's name as `ip netns` knows it.
    pub(crate) fn namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// Runs a closure on a thread in a namespace.
    pub(crate) fn inside<T: Send>(&self, name: &str, work: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.namespace(name))).expect("the namespace exists");
        thread::scope(|scope| {
            let entered = scope.spawn(move || {
                setns(file, CloneFlags::CLONE_NEWNET).expect("entering a network namespace takes root");
                work()
            });
            entered.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Builds a command that runs in a namespace.
    pub(crate) fn command(&self, name: &str, line: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace(name))).args(line.split_whitespace());
        command
    }

    /// Runs a command in a namespace, whatever its outcome.
    pub(crate) fn output(&self, name: &str, line: &str) -> Output {
        self.command(name, line).output().unwrap_or_else(|error| panic!("nsenter (util-linux) is needed: {error}"))
    }

    /// Runs a command in a namespace that must succeed; returns what it printed.
    pub(crate) fn run(&self, name: &str, line: &str) -> String {
        let output = self.output(name, line);
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{name}: {line}: {text}");
        text
    }

    /// Runs `ip` in a namespace.
    pub(crate) fn ip(&self, name: &str, line: &str) -> String {
        self.run(name, &format!("ip {line}"))
    }

    /// Pings with the given options; tells whether every question was answered.
    pub(crate) fn pings(&self, from: &str, options: &str) -> bool {
        let output = self.output(from, &format!("ping -n -W 1 {options}"));
        String::from_utf8_lossy(&output.stdout).contains(" 0% packet loss")
    }

    fn add(&self, name: &str) {
        let output = Command::new("ip").args(["netns", "add", &self.namespace(name)]).output();
        let output = output.expect("iproute2 is needed");
        assert!(output.status.success(), "network namespaces take root: {}", String::from_utf8_lossy(&output.stderr));
        self.ip(name, "link set lo up");
    }

    fn forward(&self, name: &str) {
        self.inside(name, || fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("a namespace's own sysctl"));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in ["pod1", "pod2", "pod3", "n1", "n2", "n3", "router"] {
            // a lab that failed while it was built lacks some
            let _ = Command::new("ip").args(["netns", "delete", &self.namespace(name)]).output();
        }
    }
}

/// A node's address.
pub(crate) fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, if number == 2 { 20 } else { 10 }, if number == 2 { 1 } else { number })
}

/// Ensures a tunnel in the calling thread's namespace; returns how many changes went over netlink.
pub(crate) fn ensure(tunnel: &mut BpfTunnel, spec: &TunnelSpec) -> u64 {
    let mut netlink = Netlink::open().expect("rtnetlink opens in any namespace");
    tunnel.ensure(&mut netlink, spec).expect("BPF tunnels take root");
    netlink.writes()
}

/// Waits for a condition, at most ten seconds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "not within ten seconds: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
