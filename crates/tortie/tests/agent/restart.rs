//! Agents that die, stop or stand still while packets pass.

use crate::cluster::{Cluster, SOON, eventually, throughout};
use crate::host::Host;
use nix::sys::signal::Signal;
use std::time::Duration;

fn keeps(host: &Host, prefixes: &[&str]) -> Result<(), String> {
    match host.learned() {
        learned if learned == prefixes => Ok(()),
        learned => Err(format!("{} has learned {learned:?}, not {prefixes:?}", host.name)),
    }
}

#[test]
fn one_dies_and_nothing_is_lost() {
    let cluster = Cluster::new();
    let (mut one, two) = cluster.pair();
    let ping = two.ping("172.16.2.9", "172.16.1.9", 1000);
    one.kill_agent();
    // the peer keeps what it has while nobody answers
    throughout(Duration::from_secs(1), || keeps(&two, &["172.16.1.0/24"]));
    one.start_agent();
    one.established(&["Mesh_192_168_10_2"], SOON);
    two.established(&["Mesh_192_168_10_1"], SOON);
    ping.lost_none();
    assert_eq!((one.learned(), two.learned()), (vec!["172.16.2.0/24".to_owned()], vec!["172.16.1.0/24".to_owned()]));
    let ping = one.ping("172.16.1.9", "172.16.2.9", 100);
    ping.lost_none();
}

#[test]
fn all_die_at_once_and_nothing_is_lost() {
    let cluster = Cluster::new();
    let (mut one, mut two) = cluster.pair();
    let ping = two.ping("172.16.2.9", "172.16.1.9", 1000);
    one.agent().signal(Signal::SIGKILL);
    two.agent().signal(Signal::SIGKILL);
    for host in [&mut one, &mut two] {
        host.kill_agent();
        host.start_agent();
    }
    one.established(&["Mesh_192_168_10_2"], SOON);
    two.established(&["Mesh_192_168_10_1"], SOON);
    ping.lost_none();
    one.learns(&["172.16.2.0/24"], SOON);
    two.learns(&["172.16.1.0/24"], SOON);
}

#[test]
fn what_vanished_in_the_meantime_goes() {
    let cluster = Cluster::new();
    cluster.claim("172.16.3.0/24", "n1");
    cluster.claim("172.16.4.0/24", "n2");
    let (mut one, two) = (cluster.host(1), cluster.host(2));
    let mut two = two;
    cluster.claim("172.16.1.0/24", "n1");
    one.start_agent();
    two.start_agent();
    one.learns(&["172.16.4.0/24"], SOON);
    two.learns(&["172.16.1.0/24", "172.16.3.0/24"], SOON);

    one.kill_agent();
    cluster.let_go("172.16.3.0/24", "n1");
    cluster.let_go("172.16.4.0/24", "n2");
    cluster.claim("172.16.5.0/24", "n2");
    // nobody told n2 that n1's block is gone, and n1 is not there to hear of n2's
    throughout(Duration::from_secs(1), || keeps(&two, &["172.16.1.0/24", "172.16.3.0/24"]));
    assert_eq!(one.learned(), ["172.16.4.0/24"]);
    one.start_agent();
    // End-of-RIB, either way
    two.learns(&["172.16.1.0/24"], SOON);
    one.learns(&["172.16.5.0/24"], SOON);
}

#[test]
fn the_mesh_vanished_in_the_meantime() {
    let cluster = Cluster::new();
    let (mut one, two) = cluster.pair();
    one.kill_agent();
    cluster.patch("bgpconfiguration", "default", r#"{"spec": {"nodeToNodeMeshEnabled": false}}"#);
    two.learns(&[], SOON);
    one.start_agent();
    one.learns(&[], SOON);
}

#[test]
fn one_that_is_told_to_stop_leaves_everything() {
    let cluster = Cluster::new();
    let (mut one, two) = cluster.pair();
    let ping = two.ping("172.16.2.9", "172.16.1.9", 300);
    one.agent().signal(Signal::SIGTERM);
    assert!(one.agent().ends().success());
    throughout(Duration::from_secs(2), || {
        keeps(&two, &["172.16.1.0/24"]).and_then(|()| keeps(&one, &["172.16.2.0/24"]))
    });
    ping.lost_none();
}

#[test]
fn one_that_stands_still_loses_nothing_within_the_hold_time() {
    let cluster = Cluster::new();
    let (mut one, two) = cluster.pair();
    let ping = two.ping("172.16.2.9", "172.16.1.9", 500);
    one.agent().signal(Signal::SIGSTOP);
    cluster.claim("172.16.3.0/24", "n1");
    throughout(Duration::from_secs(3), || keeps(&two, &["172.16.1.0/24"]));
    one.agent().signal(Signal::SIGCONT);
    two.learns(&["172.16.1.0/24", "172.16.3.0/24"], Duration::from_secs(5));
    ping.lost_none();
    assert!(!two.log().contains("hold timer expired"));
}

#[test]
fn without_bgp_the_routes_of_another_bgp_daemon_stay() {
    let cluster = Cluster::new();
    let (mut one, two) = cluster.pair();
    one.kill_agent();
    // what the operator's BIRD writes: a route into a pool, one elsewhere, and its blackhole for the node's own block
    one.namespace.ip("route add 172.16.9.0/24 via 192.168.10.2 proto bird");
    one.namespace.ip("route add 10.99.0.0/16 via 192.168.10.2 proto bird");
    one.namespace.ip("route replace blackhole 172.16.1.0/24 proto bird");
    let before = one.namespace.ip("route show proto bird");
    one.set("CALICO_NETWORKING_BACKEND", "none");
    one.start_agent();
    one.logs("this node is registered", SOON);
    eventually(SOON, || match one.namespace.ip("route show proto 80") {
        shown if shown.contains("169.254.1.1 dev lo") => Ok(()),
        shown => Err(shown),
    });
    throughout(Duration::from_secs(2), || match one.namespace.ip("route show proto bird") {
        shown if shown == before => Ok(()),
        shown => Err(format!("before:\n{before}\nthen:\n{shown}")),
    });
    // one that BIRD writes while the agent runs, and one that it takes back
    one.namespace.ip("route add 172.16.10.0/24 via 192.168.10.2 proto bird");
    one.namespace.ip("route del 172.16.9.0/24 proto bird");
    let after = one.namespace.ip("route show proto bird");
    throughout(Duration::from_secs(2), || match one.namespace.ip("route show proto bird") {
        shown if shown == after => Ok(()),
        shown => Err(format!("before:\n{after}\nthen:\n{shown}")),
    });
    // nobody told n2 that its peer will not come back
    assert_eq!(two.learned(), ["172.16.1.0/24"]);
}
