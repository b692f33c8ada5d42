//! Clusters without a mesh: BIRD 2 reflects between the nodes of one AS; FRR stands between nodes of several.

use super::{SOON, apply, block, established, has_route, lacks_route, peer, speaker};
use crate::cluster::{Lab, eventually, signal};
use crate::running::{Ping, Routes};
use nix::sys::signal::Signal;

const NO_MESH: &str = "---\n{apiVersion: projectcalico.org/v3, kind: BGPConfiguration, metadata: {name: default}, \
                       spec: {nodeToNodeMeshEnabled: false}}\n";
const NODES: [(&str, &str); 4] = [
    ("k8s-m", "192.168.10.10"),
    ("k8s-w1", "192.168.10.101"),
    ("k8s-w2", "192.168.10.102"),
    ("k8s-w0", "192.168.20.100"),
];

/// Every node has a tunnel route to every other node, by a block, and one peer.
fn reflected(lab: &Lab, blocks: &[String]) {
    for (node, _) in NODES {
        established(lab, node, "192.168.10.1", 3);
        for ((other, address), block) in NODES.iter().zip(blocks).filter(|((other, _), _)| *other != node) {
            assert_ne!(node, *other);
            has_route(lab, node, &[block, &format!("via {address} dev tunl0 proto bird onlink")]);
        }
        let status = lab.calicoctl(node, &["node", "status"], "").ok();
        let rows = status.lines().filter(|row| row.starts_with("| 192.168.")).count();
        assert_eq!((rows, status.matches("Established").count()), (1, 1), "{status}");
    }
}

#[test]
fn bird_2_reflects_every_block_to_every_node() {
    let routers = "routers: [{name: rr, kind: bird2, address: 192.168.10.1, as: 64512, reflector: true}]\n";
    let lab = Lab::up_with(&(lab::topology::DEFAULT.to_owned() + routers));
    lab.start_pods(&[("alpha", "k8s-w1"), ("gamma", "k8s-w0")]);
    let blocks = NODES.map(|(node, _)| block(&lab, node, "172.16."));
    apply(&lab, &(NO_MESH.to_owned() + &peer("rr", "peerIP: 192.168.10.1, asNumber: 64512")));
    reflected(&lab, &blocks);

    let ping = Ping::start(&lab, "alpha", &lab.address("gamma"));
    let watched = NODES.map(|(node, _)| Routes::watch(&lab, node));
    let (agent, reflector) = (lab.agent("k8s-w0"), speaker(&lab, "rr").expect("BIRD runs"));
    signal(agent, Signal::SIGKILL);
    eventually(SOON, "the agent is back", || match lab.agents().into_iter().find(|(name, _)| name == "k8s-w0") {
        Some((_, Some(pid))) if pid != agent => Ok(()),
        other => Err(format!("{other:?}")),
    });
    reflected(&lab, &blocks);
    signal(reflector, Signal::SIGKILL);
    eventually(SOON, "the reflector has recovered", || {
        let said = lab.node("rr", &["birdc", "show", "status"]).stdout;
        let recovered = said.contains("\nDaemon is up and running\n") && !said.contains("recovery in progress");
        if recovered && speaker(&lab, "rr") != Some(reflector) { Ok(()) } else { Err(said) }
    });
    reflected(&lab, &blocks);
    let destinations: Vec<&str> = blocks.iter().map(String::as_str).collect();
    for routes in &watched {
        routes.stayed(&destinations, "agent and reflector restart");
    }
    ping.lost_none("agent and reflector restart");

    // it is from the reflector that they have them: one that takes its leave takes them along
    lab.run(&["stop", "rr"]).ok();
    for (node, own) in NODES.iter().zip(&blocks) {
        for block in blocks.iter().filter(|block| *block != own) {
            lacks_route(&lab, node.0, block);
        }
    }
    lab.run(&["start", "rr"]).ok();
    reflected(&lab, &blocks);
}

const RACKS: &str = "
pools: [{name: plain, cidr: 10.60.0.0/16}]
subnets: [{cidr: 192.168.10.0/24, gateway: 192.168.10.254}]
nodes: [{name: k8s-m, address: 192.168.10.10}, {name: k8s-w1, address: 192.168.10.101, as: 65102}]
nodeAs: 65101
outside: {name: internet, address: 203.0.113.10}
routers: [{name: tor, kind: frr, address: 192.168.10.1, as: 65001, networks: [10.99.0.0/16]}]
";

#[test]
fn nodes_of_several_ases_have_each_others_blocks_from_frr() {
    let lab = Lab::up_with(RACKS);
    lab.start_pods(&[("alpha", "k8s-m"), ("beta", "k8s-w1")]);
    let blocks = ["k8s-m", "k8s-w1"].map(|node| block(&lab, node, "10.60."));
    let no_mesh = r#"{"spec": {"nodeToNodeMeshEnabled": false}}"#;
    lab.calicoctl("k8s-m", &["patch", "bgpconfiguration", "default", "-p", no_mesh], "").ok();
    apply(&lab, &peer("tor", "peerIP: 192.168.10.1, asNumber: 65001"));
    let wide = lab.calicoctl("k8s-m", &["get", "nodes", "-o", "wide"], "").ok();
    let numbers: Vec<&str> = wide.lines().skip(1).filter_map(|row| row.split_whitespace().nth(1)).collect();
    assert_eq!(numbers, ["(65101)", "65102"], "{wide}");
    for (node, other) in [("k8s-m", &blocks[1]), ("k8s-w1", &blocks[0])] {
        established(&lab, node, "192.168.10.1", 2);
        has_route(&lab, node, &[other, "dev eth0 proto bird"]);
        has_route(&lab, node, &["10.99.0.0/16", "via 192.168.10.1 dev eth0 proto bird"]);
    }
    let table = lab.node("tor", &["vtysh", "-c", "show bgp ipv4 unicast"]).ok();
    for (block, path) in blocks.iter().zip([" 65101 i", " 65102 i"]) {
        let found = table.lines().any(|row| row.contains(block.as_str()) && row.ends_with(path));
        assert!(found, "{block} with path{path}: {table}");
    }
    let beta = lab.address("beta");
    eventually(SOON, "pods of two ASes talk", || lab.reaches("alpha", &beta));
    eventually(SOON, "a pod reaches the router's network", || lab.reaches("beta", "10.99.0.1"));
}
