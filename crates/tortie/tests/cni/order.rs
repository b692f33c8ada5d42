//! Calls for one container at once: one after the other, as if the runtime had waited.

use crate::common::{Node, Outcome, holders};
use crate::process::{Blocked, waiting};
use serde_json::Value;
use std::fs;

const BLOCK: &str = "10.244.166.128-26";

#[test]
fn of_two_adds_the_second_finds_what_the_first_made() {
    let node = Node::new();
    let container = node.container("cid1");
    let first = Blocked::on_lock(&node, node.call("ADD", &container));
    let second = waiting(node.call("ADD", &container));
    let (first, second) = (first.release().success(), Outcome::of(second).success());
    assert_eq!(first["ips"], second["ips"]);
    assert_eq!(first["interfaces"], second["interfaces"]);
    assert_eq!((first.get("routes").is_some(), second.get("routes")), (true, None), "the second joins");
    assert_eq!(holders(&node.block(BLOCK)), [(0, "net1.cid1".to_owned())]);
    assert_eq!(node.namespace.routes(""), ["10.244.166.128 dev calicid1 scope link"]);
}

#[test]
fn a_del_takes_back_what_the_add_before_it_is_still_making() {
    let node = Node::new();
    for pod in ["", "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns1;K8S_POD_NAME=my-pod"] {
        let container = node.container("cid1");
        let add = Blocked::on_lock(&node, node.call("ADD", &container).args(pod));
        let del = waiting(node.call("DEL", &container).args(pod));
        add.release().success();
        assert_eq!(Outcome::of(del).success(), Value::Null);
        assert_eq!((holders(&node.block(BLOCK)), node.namespace.links()), (vec![], vec!["lo".to_owned()]));
        assert_eq!(node.datastore.keys("workloadendpoints").len() + node.datastore.keys("/handle/").len(), 0);
    }
}

#[test]
fn an_add_waits_for_the_del_before_it() {
    let node = Node::new();
    let container = node.container("cid1");
    node.add(&container);
    let del = Blocked::on_lock(&node, node.call("DEL", &container));
    let add = waiting(node.call("ADD", &container));
    del.release().success();
    assert_eq!(Outcome::of(add).success()["ips"][0]["address"], "10.244.166.129/32");
    assert_eq!(holders(&node.block(BLOCK)), [(1, "net1.cid1".to_owned())]);
    assert_eq!(container.namespace.links(), ["eth0", "lo"]);
}

#[test]
fn another_container_does_not_wait() {
    let node = Node::new();
    let (one, other) = (node.container("cid1"), node.container("cid2"));
    let added = node.call("ADD", &other).set("cniVersion", "1.0.0").run().success();
    let blocked = Blocked::on_lock(&node, node.call("ADD", &one));
    // CHECK does not need IPAM's lock
    node.call("CHECK", &other).set("cniVersion", "1.0.0").set("prevResult", added).run().success();
    blocked.release().success();
}

#[test]
fn a_killed_call_holds_nobody_up() {
    let node = Node::new();
    let container = node.container("cid1");
    let add = Blocked::on_lock(&node, node.call("ADD", &container));
    let del = waiting(node.call("DEL", &container));
    add.kill();
    assert_eq!(Outcome::of(del).success(), Value::Null);
    node.add(&container);
}

#[test]
fn an_ipam_plugin_that_calls_ours_does_not_wait_for_itself() {
    let node = Node::new();
    node.script("wrapped-ipam", &format!("exec {}/calico-ipam", node.bin().display()));
    let container = node.container("cid1");
    let ipam = serde_json::json!({"type": "wrapped-ipam"});
    for command in ["ADD", "DEL"] {
        node.call(command, &container).set("ipam", ipam.clone()).run().success();
    }
    assert_eq!(holders(&node.block(BLOCK)), []);
}

#[test]
fn no_file_is_left_for_a_container() {
    let node = Node::new();
    let files = || {
        let entries = fs::read_dir(node.dir.path()).expect("the node's folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    let container = node.container("cid0");
    node.add(&container);
    let before = files();
    for id in ["cid1", "cid2", "cid3"] {
        let container = node.container(id);
        node.add(&container);
        Blocked::on_lock(&node, node.call("DEL", &container)).kill();
    }
    assert_eq!(files(), before);
    assert_eq!(fs::metadata(node.dir.path().join("cni-calls.lock")).expect("the lock file").len(), 0);
}
