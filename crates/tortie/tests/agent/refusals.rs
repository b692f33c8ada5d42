//! What an agent refuses, with one clear error.

use crate::cluster::{Cluster, SOON};
use std::process::Command;

/// The last line that a failing agent says, without time and level.
fn complaint(mut call: Command) -> String {
    let output = call.output().expect("the built binary");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let errors: Vec<&str> = text.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), 1, "one error: {text}");
    errors[0].split_once("tortie::node: ").map_or(errors[0], |(_, words)| words).to_owned()
}

#[test]
fn settings_that_make_no_sense() {
    let cluster = Cluster::new();
    let host = cluster.host(1);
    for (variable, value, expect) in [
        (
            "IP",
            "192.168.10.300",
            "IP \"192.168.10.300\": neither autodetect, none, nor an IPv4 address with or without prefix length",
        ),
        (
            "IP_AUTODETECTION_METHOD",
            "can-reach=8.8.8.8",
            "IP_AUTODETECTION_METHOD \"can-reach=8.8.8.8\": not supported; \
             use first-found, interface=…, skip-interface=… or cidr=…",
        ),
        (
            "CALICO_NETWORKING_BACKEND",
            "vxlan",
            "CALICO_NETWORKING_BACKEND \"vxlan\" is not supported yet: use bird or none",
        ),
        ("TORTIE_TUNL0", "tun", "TORTIE_TUNL0 \"tun\": one of auto, kernel, bpf is expected"),
        ("AS", "x", "AS: "),
        (
            "DATASTORE_TYPE",
            "zookeeper",
            "datastore configuration (DATASTORE_TYPE, ETCD_ENDPOINTS): unknown datastore type: zookeeper",
        ),
    ] {
        let mut call = host.agent_command();
        if variable == "IP_AUTODETECTION_METHOD" {
            call.env("IP", "autodetect");
        }
        call.env(variable, value);
        let complaint = complaint(call);
        assert!(complaint.starts_with(expect), "{variable}={value}: {complaint}");
        assert!(!host.namespace.ip("link").contains("tunl0@"), "nothing is made");
    }
}

#[test]
fn another_nodes_address() {
    let cluster = Cluster::new();
    let mut one = cluster.host(1);
    one.start_agent();
    one.logs("this node is registered", SOON);
    let mut two = cluster.host(2);
    two.set("IP", "192.168.10.1/24");
    assert_eq!(complaint(two.agent_command()), "IPv4 address conflict: node n2 wants 192.168.10.1, which node n1 has");
    assert_eq!(cluster.ctl(&["get", "nodes"], "").split_whitespace().collect::<Vec<_>>(), ["NAME", "n1"]);
}

#[test]
fn an_ordinary_user() {
    let mut call = Command::new("setpriv");
    call.args(["--reuid=65534", "--regid=65534", "--clear-groups", env!("CARGO_BIN_EXE_tortie"), "node"]);
    call.env("DATASTORE_TYPE", "etcdv3").env("ETCD_ENDPOINTS", "http://127.0.0.1:1");
    assert_eq!(complaint(call), "the agent changes routes and rules: run it as root");
}
