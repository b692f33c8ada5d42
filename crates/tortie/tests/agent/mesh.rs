//! Two agents in session: blocks out and in, withdrawal, and configuration edited under them.

use crate::cluster::{Cluster, SOON, eventually};
use std::net::TcpListener;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn blocks_come_and_go() {
    let cluster = Cluster::new();
    let (one, two) = cluster.pair();
    let route = one.namespace.ip("route show 172.16.2.0/24");
    assert_eq!(route.trim(), "172.16.2.0/24 via 192.168.10.2 dev tunl0 proto bird onlink");
    assert_eq!(two.namespace.ip("route show proto 80 type blackhole").trim(), "blackhole 172.16.2.0/24");

    cluster.claim("172.16.3.0/24", "n1");
    two.learns(&["172.16.1.0/24", "172.16.3.0/24"], SECOND);
    cluster.let_go("172.16.3.0/24", "n1");
    two.learns(&["172.16.1.0/24"], SECOND);
    assert_eq!(one.learned(), ["172.16.2.0/24"]);
}

#[test]
fn the_mesh_is_switched_off_and_on() {
    let cluster = Cluster::new();
    let (one, two) = cluster.pair();
    cluster.patch("bgpconfiguration", "default", r#"{"spec": {"nodeToNodeMeshEnabled": false}}"#);
    for host in [&one, &two] {
        host.learns(&[], 5 * SECOND);
        host.established(&[], SECOND);
    }
    cluster.patch("bgpconfiguration", "default", r#"{"spec": {"nodeToNodeMeshEnabled": true}}"#);
    one.learns(&["172.16.2.0/24"], SOON);
    two.learns(&["172.16.1.0/24"], SOON);
}

#[test]
fn the_port_is_changed() {
    let cluster = Cluster::new();
    let (one, two) = cluster.pair();
    cluster.patch("bgpconfiguration", "default", r#"{"spec": {"listenPort": 1790}}"#);
    eventually(SOON, || {
        let listening =
            one.run(|| TcpListener::bind("0.0.0.0:1790").is_err() && TcpListener::bind("0.0.0.0:179").is_ok());
        if listening { Ok(()) } else { Err("n1 does not listen on 1790 alone") }
    });
    one.established(&["Mesh_192_168_10_2"], SOON);
    two.established(&["Mesh_192_168_10_1"], SOON);
    one.learns(&["172.16.2.0/24"], SOON);
    two.learns(&["172.16.1.0/24"], SOON);
}

#[test]
fn a_node_without_an_address_parts_from_the_others() {
    let cluster = Cluster::new();
    let (one, two) = cluster.pair();
    cluster.patch("node", "n1", r#"{"spec": {"bgp": {"ipv4Address": null}}}"#);
    two.learns(&[], SOON);
    two.established(&[], SOON);
    one.learns(&[], SOON);
    cluster.patch("node", "n1", r#"{"spec": {"bgp": {"ipv4Address": "192.168.10.1/24"}}}"#);
    two.learns(&["172.16.1.0/24"], SOON);
    one.learns(&["172.16.2.0/24"], SOON);
}

#[test]
fn the_tunnel_follows_the_pool() {
    let cluster = Cluster::new();
    let (one, _two) = cluster.pair();
    let direct = "172.16.2.0/24 via 192.168.10.2 dev eth0 proto bird";
    let tunnelled = "172.16.2.0/24 via 192.168.10.2 dev tunl0 proto bird onlink";
    for (mode, expect) in [("Never", direct), ("Always", tunnelled), ("CrossSubnet", direct)] {
        cluster.patch("ippool", "default-ipv4-ippool", &format!(r#"{{"spec": {{"ipipMode": "{mode}"}}}}"#));
        eventually(SOON, || match one.namespace.ip("route show 172.16.2.0/24").trim() {
            route if route == expect => Ok(()),
            route => Err(format!("ipipMode {mode}: {route}")),
        });
        eventually(SOON, || {
            let node = cluster.ctl(&["get", "node", "n1", "-o", "yaml"], "");
            let noted = node.contains("ipv4IPIPTunnelAddr: 172.16.");
            if noted == (mode != "Never") { Ok(()) } else { Err(format!("ipipMode {mode}: {node}")) }
        });
        let wanted = match mode {
            "Never" => "\n\nIPIP tunnel: not in use.\n",
            _ if one.namespace.ip("-d link show tunl0").contains("veth") => {
                "\n\nIPIP tunnel: tunl0 is a veth pair with BPF programs (the kernel has no ipip module); host rules do \
                 not see its outer packets, which only nodes and externalNodesList may send.\n"
            }
            _ => "\n\nIPIP tunnel: tunl0 is the kernel's ipip device (the kernel has ipip).\n",
        };
        eventually(SOON, || {
            let output = one.tortie(&["ctl", "node", "status"]).output().expect("the built binary starts");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            if text.ends_with(wanted) { Ok(()) } else { Err(format!("ipipMode {mode}: {text}")) }
        });
    }
}

#[test]
fn a_port_in_use_is_tried_again() {
    let cluster = Cluster::new();
    let (mut one, mut two) = (cluster.host(1), cluster.host(2));
    cluster.claim("172.16.1.0/24", "n1");
    cluster.claim("172.16.2.0/24", "n2");
    let squatter = one.run(|| TcpListener::bind("0.0.0.0:179").expect("the port is free"));
    one.start_agent();
    one.logs("cannot listen for BGP", SOON);
    two.start_agent();
    two.logs("this node is registered", SOON);
    drop(squatter);
    one.logs("listening for BGP", SOON);
    one.established(&["Mesh_192_168_10_2"], SOON);
    two.learns(&["172.16.1.0/24"], SOON);
}

#[test]
fn a_node_that_is_not_there_yet() {
    let cluster = Cluster::new();
    let mut nine = cluster.host(9);
    nine.start_agent();
    cluster.apply(
        "{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: n3}, \
         spec: {bgp: {ipv4Address: 192.168.10.3/24}}}",
    );
    cluster.claim("172.16.3.0/24", "n3");
    // nobody answers ARP, so that each attempt hangs for a while
    eventually(SOON, || match nine.sessions().as_slice() {
        [(name, state)] if name == "Mesh_192_168_10_3" && state.contains("No route to host") => Ok(()),
        rows => Err(format!("{rows:?}")),
    });
    cluster.ctl(&["delete", "node", "n3"], "");
    nine.established(&[], SOON);

    let mut three = cluster.host(3);
    three.start_agent();
    cluster.claim("172.16.4.0/24", "n3");
    nine.established(&["Mesh_192_168_10_3"], SOON);
    nine.learns(&["172.16.4.0/24"], SOON);
}
