//! Reserved addresses are given to nobody who asks for any.

use crate::cluster::{Cluster, net, request};
use ipam::block::Holder;
use ipam::{AssignIp, AutoAssign};
use std::collections::BTreeSet;

#[tokio::test]
async fn ranges_and_single_addresses_are_passed_over() {
    let cluster = Cluster::with_pool("10.0.0.0/26").await;
    cluster.reserve("low", &["10.0.0.0/27", "192.0.2.0/24"]).await;
    cluster.reserve("one", &["10.0.0.40", "not a range"]).await;
    let given: BTreeSet<String> = cluster.assign("n1", "h", 31).await.into_iter().collect();
    let expect: BTreeSet<String> =
        (32..64).filter(|last| *last != 40).map(|last| format!("10.0.0.{last}/26")).collect();
    assert_eq!(given, expect);
    let assigned = cluster.ipam().auto_assign(&request("n1", "h2", 1)).await.unwrap();
    assert_eq!(assigned.v4, []);
    let reason = "pool pool (10.0.0.0/26) has no free address for host:n1: 1 blocks of 64, all assigned or reserved";
    assert_eq!(assigned.shortages[0].reasons, [reason]);
    // a reservation is not looked at by the time an address is asked for by name
    let holder = Holder { handle: Some("h3".to_owned()), ..Holder::default() };
    let named = AssignIp { address: net("10.0.0.40/32").addr(), holder, host: "n1".to_owned() };
    cluster.ipam().assign_ip(&named).await.unwrap();
}

#[tokio::test]
async fn a_reservation_counts_from_the_next_request_on() {
    let cluster = Cluster::with_pool("10.0.0.0/30").await;
    cluster.pool("pool", "10.0.0.0/30", |spec| spec.block_size = Some(30)).await;
    assert_eq!(cluster.assign("n1", "a", 1).await, ["10.0.0.0/30"]);
    cluster.reserve("r", &["10.0.0.0/31"]).await;
    assert_eq!(cluster.ipam().shortages(&request("n1", "b", 1)).await.unwrap(), []);
    assert_eq!(cluster.assign("n1", "b", 1).await, ["10.0.0.2/30"]);
    // who holds a reserved address keeps it; released, it is reserved
    cluster.ipam().release_by_handle("a").await.unwrap();
    assert_eq!(cluster.assign("n1", "c", 1).await, ["10.0.0.3/30"]);
    assert_eq!(cluster.ipam().auto_assign(&request("n1", "d", 1)).await.unwrap().v4, []);
    assert_eq!(cluster.ipam().shortages(&request("n1", "d", 1)).await.unwrap().len(), 1, "asking says the same");
    cluster.reserve("r", &[]).await;
    assert_eq!(cluster.assign("n1", "d", 1).await, ["10.0.0.1/30"]);
}

#[tokio::test]
async fn whole_blocks_are_not_claimed() {
    let cluster = Cluster::with_pool("10.0.0.0/25").await;
    cluster.reserve("r", &["10.0.0.0/26", "10.0.0.64/27"]).await;
    let assigned = cluster.ipam().auto_assign(&request("n1", "h", 40)).await.unwrap();
    assert_eq!(assigned.v4.len(), 32);
    assert!(assigned.v4.iter().all(|address| net("10.0.0.96/27").contains(&address.addr())));
    assert_eq!(cluster.paths("host/n1/").len(), 1);

    cluster.pool("p6", "fd00::/64", |_| {}).await;
    cluster.reserve("r6", &["fd00::/65", "fd00::8000:0:0:0/66"]).await;
    let request = AutoAssign { num_v4: 0, num_v6: 1, ..request("n1", "h", 0) };
    let assigned = cluster.ipam().auto_assign(&request).await.unwrap();
    assert!(net("fd00::c000:0:0:0/66").contains(&assigned.v6[0].addr()), "{assigned:?}");
}
