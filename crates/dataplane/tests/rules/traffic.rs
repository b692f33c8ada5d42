//! Packets through a node's rules: a pod with an address of the pool, the node, and a host outside that knows no
//! way back to the pool.
//!
//! ```text
//!  pod 172.16.158.4 ── 172.16.158.1 node 203.0.113.1 ── 203.0.113.10 outside
//! ```

use crate::support::{apply, compose, desired, enter_namespace, run};
use dataplane::netns::NetNs;
use dataplane::rules::driver;
use model::desired::{Desired, EndpointToHost, PacketRules, Workload};
use model::name::IfName;
use std::path::Path;
use std::process::Command;

/// A named network namespace, deleted with the value.
pub(crate) struct Named(String);

impl Named {
    pub(crate) fn new(role: &str) -> Named {
        let name = format!("tortie-rules-{}-{role}-{:?}", std::process::id(), std::thread::current().id());
        let name = name.replace(['(', ')'], "");
        run(&format!("ip netns add {name}"));
        Named(name)
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    pub(crate) fn run(&self, line: &str) -> String {
        run(&format!("ip -n {} {line}", self.0))
    }

    /// Does `work` inside the namespace.
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let netns = NetNs::open(&Path::new("/run/netns").join(&self.0));
        netns.and_then(|netns| netns.run(work)).expect("the namespace exists")
    }

    fn can_ping(&self, address: &str) -> bool {
        let ping = ["netns", "exec", &self.0, "ping", "-c1", "-W1", address];
        Command::new("ip").args(ping).output().expect("ip is installed").status.success()
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

/// What the test wants of the node, whose pod's link is `cali1`.
pub(crate) fn wanted() -> Desired {
    let mut desired = desired();
    desired.workloads = [(IfName::from("cali1"), Workload::default())].into();
    desired.settings.rules.endpoint_to_host = EndpointToHost::Accept;
    desired
}

pub(crate) fn without_nat() -> Desired {
    let mut desired = wanted();
    desired.pools.values_mut().for_each(|pool| pool.nat_outgoing = false);
    desired
}

/// The pod, and the host outside.
pub(crate) fn world() -> (Named, Named) {
    enter_namespace();
    let (pod, outside) = (Named::new("pod"), Named::new("out"));
    run(&format!("ip link add cali1 type veth peer name eth0 netns {}", pod.0));
    run(&format!("ip link add up0 type veth peer name eth0 netns {}", outside.0));
    run("ip link set lo up; ip link set cali1 up; ip link set up0 up; echo 1 > /proc/sys/net/ipv4/ip_forward");
    run("ip addr add 172.16.158.1/24 dev cali1; ip addr add 203.0.113.1/24 dev up0");
    pod.run("addr add 172.16.158.4/24 dev eth0");
    pod.run("link set eth0 up");
    pod.run("route add default via 172.16.158.1");
    outside.run("addr add 203.0.113.10/24 dev eth0");
    outside.run("link set eth0 up");
    (pod, outside)
}

fn only_the_pool_is_masqueraded_and_only_while_it_asks(kind: PacketRules) {
    let (pod, _outside) = world();
    let mut driver = driver(kind);
    apply(&mut *driver, &compose(&without_nat()));
    assert!(pod.can_ping("203.0.113.1"), "the pod reaches its node");
    assert!(!pod.can_ping("203.0.113.10"), "nothing answers to the pool's addresses");
    apply(&mut *driver, &compose(&wanted()));
    assert!(pod.can_ping("203.0.113.10"), "translated, the answer finds its way");
    apply(&mut *driver, &compose(&without_nat()));
    assert!(!pod.can_ping("203.0.113.10"), "a new ping is not translated any more");
}

#[test]
fn iptables_translate() {
    only_the_pool_is_masqueraded_and_only_while_it_asks(PacketRules::Iptables);
}
#[test]
fn nftables_translate() {
    only_the_pool_is_masqueraded_and_only_while_it_asks(PacketRules::Nftables);
}
