//! Agents die, packets do not.

use crate::cluster::{Lab, eventually, signal};
use nix::sys::signal::Signal;
use std::process::Stdio;
use std::time::Duration;

/// Pings across nodes while `fault` happens; every packet must be answered.
fn no_packet_is_lost(lab: &Lab, fault: impl FnOnce()) {
    let gamma = lab.address("gamma");
    lab.reaches("alpha", &gamma).expect("before");
    let mut ping = lab.command(&["exec", "alpha", "--", "ping", "-i", "0.01", "-c", "1000", "-W", "1", &gamma]);
    let ping = ping.stdout(Stdio::piped()).spawn().expect("ping runs");
    fault();
    let output = ping.wait_with_output().expect("ping ends");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1000 packets transmitted, 1000 received"), "{text}");
}

/// All agents are others than before.
fn agents_are_back(lab: &Lab, before: &[(String, Option<i32>)], killed: &[&str]) {
    eventually(Duration::from_secs(10), "the agents are back", || {
        let now = lab.agents();
        let renewed =
            |name: &str, pid: Option<i32>| !killed.contains(&name) || (pid.is_some() && pid != old(before, name));
        if now.iter().all(|(name, pid)| renewed(name, *pid)) { Ok(()) } else { Err(format!("{now:?}")) }
    });
    for node in ["k8s-m", "k8s-w1", "k8s-w2", "k8s-w0"] {
        eventually(Duration::from_secs(20), "its sessions are Established", || lab.has_sessions(node, 3));
    }
}

fn old(before: &[(String, Option<i32>)], name: &str) -> Option<i32> {
    before.iter().find(|(other, _)| other == name).and_then(|(_, pid)| *pid)
}

#[test]
fn agents_killed_at_once_and_alone_lose_no_packet() {
    let lab = Lab::up(&[]);
    lab.start_pods(&[("alpha", "k8s-w1"), ("gamma", "k8s-w2")]);
    let all = ["k8s-m", "k8s-w1", "k8s-w2", "k8s-w0"];
    for killed in [all.as_slice(), &["k8s-w2"], &["k8s-w1"]] {
        let before = lab.agents();
        no_packet_is_lost(&lab, || {
            for (name, pid) in &before {
                if killed.contains(&name.as_str()) {
                    signal(pid.expect("an agent runs on every node"), Signal::SIGKILL);
                }
            }
        });
        agents_are_back(&lab, &before, killed);
        let routes = lab.node("k8s-m", &["ip", "route", "show", "proto", "bird"]).ok();
        assert_eq!(routes.matches("dev tunl0").count(), 3, "{routes}");
        lab.books_are_right();
    }
}

#[test]
fn an_agent_stays_stopped_until_it_is_started_and_its_node_forwards() {
    let lab = Lab::up(&[]);
    lab.start_pods(&[("alpha", "k8s-w1"), ("gamma", "k8s-w2")]);
    no_packet_is_lost(&lab, || {
        lab.run(&["stop", "k8s-w2"]).ok();
        lab.run(&["stop", "k8s-w2"]).ok();
    });
    // longer than its init waits before it starts one that died
    let agents = lab.agents();
    assert_eq!(agents.iter().find(|(name, _)| name == "k8s-w2"), Some(&("k8s-w2".to_owned(), None)));
    assert_eq!(agents.iter().filter(|(_, pid)| pid.is_some()).count(), 3);
    lab.run(&["start", "k8s-w2"]).ok();
    let agent = eventually(Duration::from_secs(10), "the agent is back", || {
        lab.agents().into_iter().find_map(|(name, pid)| pid.filter(|_| name == "k8s-w2")).ok_or("not yet".to_owned())
    });
    lab.run(&["start", "k8s-w2"]).ok();
    assert_eq!(lab.agent("k8s-w2"), agent);
    let error = lab.run(&["stop", "k8s-x"]).refused();
    let expect = format!("error: lab {} has no node \"k8s-x\"; it has k8s-m, k8s-w1, k8s-w2, k8s-w0\n", lab.name);
    assert_eq!(error, expect);
}
