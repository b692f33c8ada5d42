//! A session with each kind of router, signed with a password; then agent and routers die, and no packet does.
//!
//! ```text
//!  one   bird   192.168.10.1  AS 65001  10.91.0.0/16   a peer of all nodes
//!  two   bird2  192.168.10.2  AS 65002  10.92.0.0/16   of each node by its name
//!  three frr    192.168.10.3  AS 65003  10.93.0.0/16   of nodes with a label
//!  four  gobgp  192.168.10.4  AS 64512  10.94.0.0/16   of all nodes
//!  alpha  10.60.0.0/16, which the routers' kernels have to know      ┐ on k8s-w1
//!  beta   172.16.0.0/16, which leaves with the node's address (NAT)  ┘
//! ```
//!
//! What a router's own restart does to its own kernel is the router's: FRR 8.4 may sweep the routes it kept before it
//! has put the same ones in anew. So FRR answers the pod whose packets it can answer without them.

use super::{SOON, apply, block, established, has_route, peer, secret, speaker};
use crate::cluster::{Lab, eventually, signal};
use crate::running::{Ping, Routes};
use nix::sys::signal::Signal;

const TOPOLOGY: &str = "
pools:
- {name: plain, cidr: 10.60.0.0/16}
- {name: behind, cidr: 172.16.0.0/16, natOutgoing: true}
subnets: [{cidr: 192.168.10.0/24, gateway: 192.168.10.254}]
nodes: [{name: k8s-m, address: 192.168.10.10}, {name: k8s-w1, address: 192.168.10.101}]
outside: {name: internet, address: 203.0.113.10}
routers:
- {name: one, kind: bird, address: 192.168.10.1, as: 65001, networks: [10.91.0.0/16], password: pass-one}
- {name: two, kind: bird2, address: 192.168.10.2, as: 65002, networks: [10.92.0.0/16], password: pass-two}
- {name: three, kind: frr, address: 192.168.10.3, as: 65003, networks: [10.93.0.0/16], password: pass-three}
- {name: four, kind: gobgp, address: 192.168.10.4, as: 64512, networks: [10.94.0.0/16], password: pass-four}
";

/// Name, address, what of a network says it is the router's, and the pod that speaks with it.
const ROUTERS: [(&str, &str, &str, &str); 4] = [
    ("one", "192.168.10.1", "10.91.0", "alpha"),
    ("two", "192.168.10.2", "10.92.0", "alpha"),
    ("three", "192.168.10.3", "10.93.0", "beta"),
    ("four", "192.168.10.4", "10.94.0", "beta"),
];
const NETWORKS: [&str; 4] = ["10.91.0.0/16", "10.92.0.0/16", "10.93.0.0/16", "10.94.0.0/16"];
const NODE: &str = "k8s-w1";

/// A lab with all sessions up and a pod in either pool.
fn lab() -> Lab {
    let lab = Lab::up_with(TOPOLOGY);
    for node in ["k8s-m", NODE] {
        lab.calicoctl("k8s-m", &["label", "nodes", node, "rack=r1"], "").ok();
    }
    let with = |name: &str| format!("password: {{secretKeyRef: {{name: bgp, key: {name}}}}}");
    for (name, ..) in ROUTERS {
        for node in ["k8s-m", NODE] {
            secret(&lab, node, name, &format!("pass-{name}"));
        }
    }
    let peers = [
        peer("one", &format!("peerIP: 192.168.10.1, asNumber: 65001, {}", with("one"))),
        peer("two", &format!("node: {NODE}, peerIP: 192.168.10.2, asNumber: 65002, {}", with("two"))),
        peer("two-m", &format!("node: k8s-m, peerIP: 192.168.10.2, asNumber: 65002, {}", with("two"))),
        peer("three", &format!("nodeSelector: has(rack), peerIP: 192.168.10.3, asNumber: 65003, {}", with("three"))),
        peer("four", &format!("peerIP: 192.168.10.4, asNumber: 64512, {}", with("four"))),
    ];
    apply(&lab, &peers.concat());
    for (pod, pool) in [("alpha", "plain"), ("beta", "behind")] {
        let edit = format!("s/\"type\": \"calico-ipam\".*/\"type\": \"calico-ipam\", \"ipv4_pools\": [\"{pool}\"]/");
        lab.on(NODE, &format!("sed -i '{edit}' /etc/cni/net.d/10-calico.conflist"));
        lab.start_pods(&[(pod, NODE)]);
    }
    lab
}

/// Both ends of every session have the other's routes, in their kernels where they have some.
fn converged(lab: &Lab, block: &str) {
    for ((name, address, ..), network) in ROUTERS.into_iter().zip(NETWORKS) {
        established(lab, NODE, address, 1);
        has_route(lab, NODE, &[network, &format!("via {address} dev eth0 proto bird")]);
        match name {
            "four" => eventually(SOON, "gobgp's table", || {
                let table = lab.node(name, &["gobgp", "global", "rib"]).ok();
                if table.contains(block) { Ok(()) } else { Err(table) }
            }),
            // every node passes on what it knows from the mesh: which one is taken is the router's choice
            _ => has_route(lab, name, &[block, "via 192.168.10.10"]),
        }
    }
    for node in ["k8s-m", NODE] {
        eventually(SOON, &format!("all sessions of {node}"), || lab.has_sessions(node, 5));
    }
}

/// A router that restarted has heard all, acted on it, and told the node what it has to tell.
fn recovered(lab: &Lab, router: &str) {
    let (command, expect): (&[&str], &str) = match router {
        "one" | "two" => (&["birdc", "show", "status"], "\nDaemon is up and running\n"),
        "three" => {
            (&["vtysh", "-c", "show bgp ipv4 unicast neighbors 192.168.10.101 advertised-routes"], "10.93.0.0/16")
        }
        _ => (&["gobgp", "neighbor", "192.168.10.101", "adj-out"], "10.94.0.0/16"),
    };
    eventually(SOON, &format!("{router} has recovered"), || {
        let said = lab.node(router, command).stdout;
        if said.contains(expect) && !said.contains("recovery in progress") { Ok(()) } else { Err(said) }
    });
}

#[test]
fn restarts_of_agents_and_routers_lose_no_packet() {
    let lab = lab();
    let own = block(&lab, NODE, "10.60.");
    converged(&lab, &own);

    let pings: Vec<Ping> =
        ROUTERS.iter().map(|(_, _, network, pod)| Ping::start(&lab, pod, &format!("{network}.1"))).collect();
    let watched = ["one", "two", "three"].map(|name| Routes::watch(&lab, name));
    let table = Routes::watch_gobgp(&lab, "four");
    let agent = lab.agent(NODE);
    signal(agent, Signal::SIGKILL);
    eventually(SOON, "the agent is back", || match lab.agents().into_iter().find(|(name, _)| name == NODE) {
        Some((_, Some(pid))) if pid != agent => Ok(()),
        other => Err(format!("{other:?}")),
    });
    converged(&lab, &own);
    for routes in watched.iter().chain([&table]) {
        routes.stayed(&[&own], "the agent restarts");
    }

    let node = Routes::watch(&lab, NODE);
    let before = ROUTERS.map(|(name, ..)| speaker(&lab, name).expect("the router speaks BGP"));
    for pid in before {
        signal(pid, Signal::SIGKILL);
    }
    for ((name, ..), before) in ROUTERS.iter().zip(before) {
        eventually(SOON, &format!("{name} is back"), || match speaker(&lab, name) {
            Some(pid) if pid != before => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
    converged(&lab, &own);
    for (name, ..) in ROUTERS {
        recovered(&lab, name);
    }
    converged(&lab, &own);
    node.stayed(&NETWORKS, "the routers restart");
    let [one, two, _] = &watched;
    for routes in [one, two] {
        routes.stayed(&[&own], "the routers restart");
    }
    for (ping, (name, ..)) in pings.into_iter().zip(ROUTERS) {
        ping.lost_none(&format!("to {name}"));
    }
}
