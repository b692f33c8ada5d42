//! Many containers at once.

use crate::common::{Container, Node, Outcome, holders, printed};
use std::collections::BTreeSet;
use std::process::Command;

/// Fails unless `ipam check` finds the books right; what it finds wrong is in the failure.
fn books_are_right(node: &Node) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tortie"));
    command.args(["ctl", "ipam", "check", "--show-problem-ips"]);
    command.env("DATASTORE_TYPE", "etcdv3").env("ETCD_ENDPOINTS", &node.datastore.endpoint);
    let text = printed(&mut command);
    assert!(text.ends_with("Check complete; found 0 problems.\n"), "{text}");
}

#[test]
fn twenty_containers_at_once_have_twenty_addresses() {
    let node = Node::new();
    let containers: Vec<Container> = (0..20).map(|n| node.container(&format!("many{n:02}"))).collect();
    let calls = |command| -> Vec<_> { containers.iter().map(|it| node.call(command, it).spawn()).collect() };
    let mut addresses = BTreeSet::new();
    for child in calls("ADD") {
        let added = Outcome::of(child).success();
        addresses.insert(added["ips"][0]["address"].as_str().expect("an address").to_owned());
    }
    assert_eq!(addresses.len(), 20);
    // the block's first twenty: none is lost to a call that was too slow
    let expect: BTreeSet<String> = (128..148).map(|last| format!("10.244.166.{last}/32")).collect();
    assert_eq!(addresses, expect);
    assert_eq!(holders(&node.block("10.244.166.128-26")).len(), 20);
    assert_eq!(node.datastore.keys("workloadendpoints").len(), 20);
    assert_eq!(node.namespace.routes("").len(), 20);
    books_are_right(&node);

    for child in calls("DEL") {
        Outcome::of(child).success();
    }
    assert_eq!(holders(&node.block("10.244.166.128-26")), []);
    assert_eq!(node.datastore.keys("workloadendpoints").len() + node.datastore.keys("handle").len(), 0);
    books_are_right(&node);
    assert_eq!(node.namespace.links(), ["lo"]);
}
