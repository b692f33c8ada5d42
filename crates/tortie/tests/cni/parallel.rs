//! Many containers at once.

use crate::common::{Container, Node, Outcome, holders};
use std::collections::BTreeSet;

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

    for child in calls("DEL") {
        Outcome::of(child).success();
    }
    assert_eq!(holders(&node.block("10.244.166.128-26")), []);
    assert_eq!(node.datastore.keys("workloadendpoints").len() + node.datastore.keys("handle").len(), 0);
    assert_eq!(node.namespace.links(), ["lo"]);
}
