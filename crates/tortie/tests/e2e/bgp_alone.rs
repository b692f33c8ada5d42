//! Routes to other nodes' blocks come from BGP alone, and outlive whoever wrote them.
//!
//! ```text
//!  k8s-m ─┐
//!  k8s-w1 ┼─ 192.168.10.0/24 ─ router ─ 192.168.20.0/24 ─ k8s-w0
//!  k8s-w2 ┘                       └─ internet
//! ```

use crate::cluster::{Lab, eventually, signal};
use nix::sys::signal::Signal;
use std::time::Duration;

const SECOND_POOL: &str = "\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: second}
spec: {cidr: 10.50.0.0/16, blockSize: 26, ipipMode: Always, natOutgoing: true}
";

const OTHERS: [&str; 3] = ["k8s-m", "k8s-w2", "k8s-w0"];

#[test]
fn a_block_of_a_stopped_agent_gets_no_route() {
    let lab = Lab::up(&[]);
    let agent = lab.agent("k8s-w1");
    signal(agent, Signal::SIGSTOP);
    let first = lab.calicoctl("k8s-m", &["get", "ippool", "default-ipv4-ippool", "-o", "yaml"], "").ok();
    let disabled = first.replace("spec:\n", "spec:\n  disabled: true\n");
    lab.calicoctl("k8s-m", &["apply", "-f", "-"], &format!("{disabled}---\n{SECOND_POOL}")).ok();

    lab.start_pods(&[("alpha", "k8s-w1"), ("beta", "k8s-w1")]);
    let address = lab.address("alpha");
    let block = block_of(&address);
    let endpoints = lab.calicoctl("k8s-m", &["get", "workloadendpoints"], "").ok();
    assert!(endpoints.contains(&address), "{endpoints}");
    // to the node's rules the new links are no workload's yet
    lab.reaches("beta", &address).expect_err("pods that the agent has not seen are closed");
    // the others' new blocks, which their agents claim for their tunnels, say that the news has been round
    for node in OTHERS {
        eventually(Duration::from_secs(10), "the other running agents' blocks have routes", || {
            let routes = lab.node(node, &["ip", "route", "show", "proto", "bird"]).ok();
            if routes.matches("10.50.").count() == 2 { Ok(()) } else { Err(routes) }
        });
        let routes = lab.node(node, &["ip", "route"]).ok();
        assert!(!routes.contains(&block), "{node} has a route to {block}, which nobody announced:\n{routes}");
    }

    signal(agent, Signal::SIGCONT);
    eventually(Duration::from_secs(5), "the pods are open", || lab.reaches("beta", &address));
    for node in OTHERS {
        eventually(Duration::from_secs(5), "the block's route", || {
            let routes = lab.node(node, &["ip", "route", "show", "proto", "bird"]).ok();
            let found = routes.lines().any(|line| line.starts_with(&block) && line.contains("dev tunl0"));
            if found { Ok(()) } else { Err(routes) }
        });
    }
}

/// The /26 block that an address lies in.
fn block_of(address: &str) -> String {
    let (head, last) = address.rsplit_once('.').expect("an IPv4 address");
    assert!(head.starts_with("10.50."), "{address} is of the second pool");
    let last: u8 = last.parse().expect("a number");
    format!("{head}.{}/26", last & 0b1100_0000)
}

#[test]
fn pods_talk_while_the_store_is_away() {
    let lab = Lab::up(&[]);
    lab.start_pods(&[("alpha", "k8s-w1"), ("gamma", "k8s-w2")]);
    let gamma = lab.address("gamma");
    lab.reaches("alpha", &gamma).expect("before");
    let store = lab.store();
    signal(store, Signal::SIGSTOP);
    let ping = lab.pod("alpha", &["ping", "-i", "0.02", "-c", "100", "-W", "1", &gamma]).ok();
    assert!(ping.contains(" 0% packet loss"), "{ping}");
    let routes = lab.node("k8s-m", &["ip", "route", "show", "proto", "bird"]).ok();
    assert_eq!(routes.matches("dev tunl0").count(), 3, "{routes}");
    signal(store, Signal::SIGCONT);
    // and it is of use again: a change arrives
    lab.start_pods(&[("delta", "k8s-w0")]);
    let delta = lab.address("delta");
    eventually(Duration::from_secs(10), "a new pod is reached", || lab.reaches("alpha", &delta));
}

#[test]
fn the_killed_store_comes_back_with_its_data() {
    let lab = Lab::up(&[]);
    let before = lab.calicoctl("k8s-m", &["get", "nodes", "-o", "yaml"], "").ok();
    let old = lab.store();
    signal(old, Signal::SIGKILL);
    let after = eventually(Duration::from_secs(10), "the store answers", || {
        let ran = lab.calicoctl("k8s-m", &["get", "nodes", "-o", "yaml"], "");
        if ran.code == 0 { Ok(ran.stdout) } else { Err(ran.stderr) }
    });
    assert_eq!(before, after);
    assert_ne!(lab.store(), old);
}
