//! A datastore that is away.

use crate::cluster::{Cluster, SOON, throughout};
use std::time::Duration;

#[test]
fn what_is_known_stays() {
    let mut cluster = Cluster::new();
    let (mut one, mut two) = cluster.pair();
    let ping = one.ping("172.16.1.9", "172.16.2.9", 300);
    cluster.kill_store();
    one.logs("lost the datastore", SOON);
    throughout(Duration::from_secs(2), || match (one.learned(), one.agent().runs() && two.agent().runs()) {
        (learned, true) if learned == ["172.16.2.0/24"] => Ok(()),
        other => Err(format!("routes and whether the agents run: {other:?}")),
    });
    ping.lost_none();
    one.established(&["Mesh_192_168_10_2"], SOON);
    cluster.start_store();
    one.logs("the datastore is back", SOON);
    cluster.claim("172.16.3.0/24", "n1");
    two.learns(&["172.16.1.0/24", "172.16.3.0/24"], SOON);
}

#[test]
fn an_agent_waits_for_it() {
    let mut cluster = Cluster::without_store();
    let mut one = cluster.host(1);
    one.set("CALICO_IPV4POOL_CIDR", "172.16.0.0/16");
    one.set("CALICO_IPV4POOL_IPIP", "Always");
    one.start_agent();
    one.logs("waiting for the datastore", SOON);
    assert!(one.agent().runs());
    assert!(!one.log().contains("registered"));
    cluster.start_store();
    one.logs("this node is registered", SOON);
    let nodes = cluster.ctl(&["get", "nodes"], "");
    assert_eq!(nodes.split_whitespace().collect::<Vec<_>>(), ["NAME", "n1"]);
    let pools = cluster.ctl(&["get", "ippools"], "");
    assert!(pools.contains("default-ipv4-ippool") && pools.contains("172.16.0.0/16"), "{pools}");
}
