//! Which address and name a node registers, and an agent that follows an address as it changes.

use crate::cluster::{Cluster, SOON, eventually, throughout};
use std::time::Duration;

/// The address that the datastore has for a node; empty if none.
fn registered(cluster: &Cluster, node: &str) -> String {
    let text = cluster.ctl(&["get", "node", node, "-o", "json"], "");
    let node: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    node["spec"]["bgp"]["ipv4Address"].as_str().unwrap_or_default().to_owned()
}

fn registers(cluster: &Cluster, node: &str, address: &str) {
    eventually(SOON, || match cluster.ctl(&["get", "nodes", "-o", "wide"], "") {
        nodes if nodes.lines().any(|line| line.starts_with(&format!("{node} ")) && line.contains(address)) => Ok(()),
        nodes => Err(format!("{node} is not registered as {address}:\n{nodes}")),
    });
}

/// Registers a node as an earlier agent did.
fn register(cluster: &Cluster, node: &str, address: &str) {
    cluster.apply(&format!(
        "{{apiVersion: projectcalico.org/v3, kind: Node, metadata: {{name: {node}}}, \
         spec: {{bgp: {{ipv4Address: {address}}}}}}}"
    ));
}

#[test]
fn a_virtual_address_is_not_taken_for_the_nodes() {
    let cluster = Cluster::new();
    let mut one = cluster.host(1);
    one.namespace.ip("addr add 192.168.10.59/32 dev eth0");
    // labels are no names of interfaces
    one.namespace.ip("addr add 192.168.10.60/32 dev eth0 label eth0:vip");
    one.set("IP", "autodetect");
    for method in ["first-found", "interface=eth0$", "skip-interface=wl.*, ens.*", "cidr=10.0.0.0/8, 192.168.0.0/16"] {
        one.set("IP_AUTODETECTION_METHOD", method);
        one.start_agent();
        registers(&cluster, "n1", "192.168.10.1/24");
        one.kill_agent();
        cluster.ctl(&["delete", "node", "n1"], "");
    }
}

#[test]
fn a_method_that_fits_nothing_keeps_the_registered_address() {
    let cluster = Cluster::new();
    register(&cluster, "n1", "10.7.0.1/16");
    let mut one = cluster.host(1);
    one.set("IP", "autodetect");
    one.set("IP_AUTODETECTION_METHOD", "interface=wlan.*");
    one.start_agent();
    one.logs("this node is registered", SOON);
    assert_eq!(registered(&cluster, "n1"), "10.7.0.1/16");
    let log = one.log();
    let warning = log.lines().find(|line| line.contains("WARN") && line.contains("10.7.0.1/16")).expect("a warning");
    assert!(warning.contains("no IPv4 address found by interface=wlan.*"), "{warning}");
    // without one there is nothing to keep
    let mut two = cluster.host(2);
    two.set("IP", "autodetect");
    two.set("IP_AUTODETECTION_METHOD", "interface=wlan.*");
    assert!(two.refused().contains("no IPv4 address found by interface=wlan.*"));
}

#[test]
fn nodes_that_changed_addresses_among_themselves_sort_it_out() {
    let cluster = Cluster::new();
    let addresses = ["192.168.10.1/24", "192.168.10.2/24", "192.168.10.3/24"];
    let mut hosts = [1, 2, 3].map(|number| cluster.host(number));
    for (host, address) in hosts.iter_mut().zip(addresses) {
        register(&cluster, &host.name, address);
        host.namespace.ip("addr flush dev eth0");
    }
    for (host, address) in hosts.iter_mut().zip([addresses[1], addresses[2], addresses[0]]) {
        host.namespace.ip(&format!("addr add {address} dev eth0"));
        host.set("IP", "autodetect");
    }
    let complaint = hosts[0].refused();
    assert!(complaint.contains("IPv4 address conflict: node n1 wants 192.168.10.2, which node n2 has"), "{complaint}");
    assert!(complaint.contains("192.168.10.1"), "says what is given up: {complaint}");
    assert_eq!(registered(&cluster, "n1"), "");
    // an operator's own address is not given up
    hosts[1].set("IP", "192.168.10.3/24");
    assert!(hosts[1].refused().contains("IPv4 address conflict: node n2 wants 192.168.10.3, which node n3 has"));
    assert_eq!(registered(&cluster, "n2"), "192.168.10.2/24");
    hosts[1].set("IP", "autodetect");
    assert!(hosts[1].refused().contains("which node n3 has"));
    // what they are tried again in does not matter: each finds its address free, or is free to be found
    for (host, address) in [(2, addresses[0]), (0, addresses[1]), (1, addresses[2])] {
        hosts[host].start_agent();
        registers(&cluster, &hosts[host].name, address);
    }
}

#[test]
fn where_nobody_checks_two_nodes_may_have_one_address() {
    let cluster = Cluster::new();
    register(&cluster, "n1", "192.168.10.7/24");
    register(&cluster, "n2", "192.168.10.1/24");
    let mut one = cluster.host(1);
    one.set("IP", "autodetect");
    one.set("DISABLE_NODE_IP_CHECK", "true");
    one.start_agent();
    registers(&cluster, "n1", "192.168.10.1/24");
}

#[test]
fn the_agent_follows_an_address_that_changes() {
    let cluster = Cluster::new();
    let (mut one, two) = cluster.pair();
    one.kill_agent();
    one.set("IP", "autodetect");
    one.set("AUTODETECT_POLL_INTERVAL", "500ms");
    one.start_agent();
    one.established(&["Mesh_192_168_10_2"], SOON);
    one.reaches("172.16.1.9", "172.16.2.9");

    one.namespace.ip("addr del 192.168.10.1/24 dev eth0");
    one.namespace.ip("addr add 192.168.10.101/24 dev eth0");
    registers(&cluster, "n1", "192.168.10.101/24");
    one.established(&["Mesh_192_168_10_2"], SOON);
    two.established(&["Mesh_192_168_10_101"], SOON);
    two.learns(&["172.16.1.0/24"], SOON);
    assert!(two.namespace.ip("route show proto bird").contains("via 192.168.10.101"));
    one.reaches("172.16.1.9", "172.16.2.9");
    two.reaches("172.16.2.9", "172.16.1.9");
    assert!(one.agent().runs(), "without a restart");
}

#[test]
fn addresses_that_change_places_under_running_agents() {
    let cluster = Cluster::new();
    let (mut one, mut two) = cluster.pair();
    for host in [&mut one, &mut two] {
        host.kill_agent();
        host.set("IP", "autodetect");
        host.set("AUTODETECT_POLL_INTERVAL", "1s");
        host.start_agent();
        host.logs("BGP starts", SOON);
    }
    one.established(&["Mesh_192_168_10_2"], SOON);
    for host in [&one, &two] {
        host.namespace.ip("addr flush dev eth0");
    }
    one.namespace.ip("addr add 192.168.10.2/24 dev eth0");
    two.namespace.ip("addr add 192.168.10.1/24 dev eth0");
    registers(&cluster, "n1", "192.168.10.2/24");
    registers(&cluster, "n2", "192.168.10.1/24");
    one.established(&["Mesh_192_168_10_1"], SOON);
    two.established(&["Mesh_192_168_10_2"], SOON);
    one.reaches("172.16.1.9", "172.16.2.9");
    assert!(one.agent().runs() && two.agent().runs());
}

#[test]
fn what_each_look_does_with_a_given_and_with_an_empty_address() {
    let cluster = Cluster::new();
    register(&cluster, "n2", "10.7.0.2/16");
    let [mut given, mut empty, mut silent] = [1, 2, 3].map(|number| cluster.host(number));
    empty.set("IP", "");
    silent.set("IP", "autodetect");
    silent.set("CALICO_NETWORKING_BACKEND", "none");
    for host in [&mut given, &mut empty, &mut silent] {
        host.set("AUTODETECT_POLL_INTERVAL", "200ms");
        host.start_agent();
        host.logs("this node is registered", SOON);
    }
    let patch = |node: &str, address: &str| {
        cluster.patch("node", node, &format!(r#"{{"spec": {{"bgp": {{"ipv4Address": "{address}"}}}}}}"#));
    };
    patch("n1", "10.7.0.1/16");
    registers(&cluster, "n1", "192.168.10.1/24");
    patch("n3", "10.7.0.3/16");
    throughout(Duration::from_secs(2), || match (registered(&cluster, "n2"), registered(&cluster, "n3")) {
        (empty, silent) if empty == "10.7.0.2/16" && silent == "10.7.0.3/16" => Ok(()),
        others => Err(format!("{others:?}")),
    });
}

#[test]
fn an_interval_that_is_none() {
    let cluster = Cluster::new();
    let mut one = cluster.host(1);
    one.set("AUTODETECT_POLL_INTERVAL", "often");
    one.start_agent();
    one.logs("this node is registered", SOON);
    one.logs("AUTODETECT_POLL_INTERVAL", SOON);
}

#[test]
fn names_are_trimmed() {
    let cluster = Cluster::new();
    for (number, variable, value, expect) in [
        (1, "HOSTNAME", "ProdApp\n", "prodapp"),
        (2, "NODENAME", " worker-2 \n", "worker-2"),
        (3, "NODENAME", "\tW3\r\n", "W3"),
    ] {
        let mut host = cluster.host(number);
        host.set("NODENAME", "");
        host.set(variable, value);
        if expect == "W3" {
            // not a name that a node can have, and not one that is changed in silence
            assert!(host.refused().contains("W3"), "{}", host.log());
            continue;
        }
        host.start_agent();
        registers(&cluster, expect, &format!("192.168.10.{number}/24"));
    }
    let mut host = cluster.host(4);
    host.set("NODENAME", " \n");
    host.set("IP", " autodetect\n");
    host.set("CALICO_NETWORKING_BACKEND", "bird\n");
    host.set("CALICO_ROUTER_ID", "10.0.0.4 \n");
    host.set("AS", "64520\n");
    host.write("lib/calico/nodename", " kept\n");
    host.start_agent();
    registers(&cluster, "kept", "192.168.10.4/24");
}
