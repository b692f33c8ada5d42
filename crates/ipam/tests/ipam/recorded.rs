//! Stored bytes and error texts as recorded from Calico v3.32.1.

use crate::cluster::{Cluster, EPOCH, net, texts};
use ipam::block::Holder;
use ipam::{AssignIp, AutoAssign, attribute_timestamp};
use jiff::Timestamp;
use std::collections::BTreeMap;

fn attributes(nanoseconds: i128) -> BTreeMap<String, String> {
    let timestamp = attribute_timestamp(Timestamp::from_nanosecond(nanoseconds).unwrap());
    BTreeMap::from([("node".to_owned(), "node1".to_owned()), ("timestamp".to_owned(), timestamp)])
}

fn list(numbers: impl Iterator<Item = usize>) -> String {
    numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(",")
}

fn nulls(count: usize) -> String {
    vec!["null"; count].join(",")
}

async fn recorded_cluster() -> Cluster {
    let cluster = Cluster::default();
    cluster.node("node1", &[]).await;
    cluster
        .pool("default-ipv4-ippool", "10.244.0.0/16", |spec| {
            spec.block_size = Some(26);
            spec.node_selector = "all()".to_owned();
            spec.allowed_uses = vec!["Workload".to_owned(), "Tunnel".to_owned()];
            spec.assignment_mode = "Automatic".to_owned();
        })
        .await;
    cluster
}

fn add(handle: &str, nanoseconds: i128) -> AutoAssign {
    AutoAssign {
        num_v4: 1,
        handle: Some(handle.to_owned()),
        attrs: attributes(nanoseconds),
        host: "node1".to_owned(),
        ..AutoAssign::default()
    }
}

const FIRST_BLOCK: &str = "assignment/ipv4/block/10.244.166.128-26";

#[tokio::test]
async fn a_first_address() {
    let cluster = recorded_cluster().await;
    let assigned = cluster.ipam().auto_assign(&add("net1.cid1", 1_795_390_711_208_125_312)).await.unwrap();
    assert_eq!(texts(&assigned.v4), ["10.244.166.128/26"]);
    let block = format!(
        r#"{{"cidr":"10.244.166.128/26","affinity":"host:node1","affinity_claim_time":"2026-11-22T23:38:31Z","allocations":[0,{}],"unallocated":[{}],"attributes":[{{"handle_id":"net1.cid1","secondary":{{"node":"node1","timestamp":"2026-11-22 23:38:31.208125312 +0000 UTC"}}}}],"sequenceNumber":1795390711219867864,"sequenceNumberForAllocation":{{"0":1795390711219867863}},"deleted":false}}"#,
        nulls(63),
        list(1..64),
    );
    let expect = [
        (FIRST_BLOCK, block.as_str()),
        ("config", r#"{"auto_allocate_blocks":true,"kubeVirtVMAddressPersistence":"Enabled"}"#),
        ("handle/net1.cid1", r#"{"block":{"10.244.166.128/26":1},"deleted":false}"#),
        ("host/node1/ipv4/block/10.244.166.128-26", r#"{"state":"confirmed","deleted":false}"#),
    ];
    let stored = cluster.stored();
    assert_eq!(stored.iter().map(|(path, value)| (path.as_str(), value.as_str())).collect::<Vec<_>>(), expect);
}

#[tokio::test]
async fn a_release_by_handle() {
    let cluster = recorded_cluster().await;
    cluster.ipam().auto_assign(&add("net1.cid1", 1_795_390_711_208_125_312)).await.unwrap();
    cluster.ipam().auto_assign(&add("net1.cid2", 1_795_390_711_919_885_024)).await.unwrap();
    let released = cluster.ipam().release_by_handle("net1.cid1").await.unwrap();
    assert_eq!(released, ["10.244.166.128".parse::<std::net::IpAddr>().unwrap()]);
    let block = format!(
        r#"{{"cidr":"10.244.166.128/26","affinity":"host:node1","affinity_claim_time":"2026-11-22T23:38:31Z","allocations":[null,0,{}],"unallocated":[{},0],"attributes":[{{"handle_id":"net1.cid2","secondary":{{"node":"node1","timestamp":"2026-11-22 23:38:31.919885024 +0000 UTC"}}}}],"sequenceNumber":1795390711219867866,"sequenceNumberForAllocation":{{"0":1795390711219867863,"1":1795390711219867864}},"deleted":false}}"#,
        nulls(62),
        list(2..64),
    );
    assert_eq!(cluster.stored()[FIRST_BLOCK], block);
    assert_eq!(cluster.paths("handle/"), ["handle/net1.cid2"]);
}

#[tokio::test]
async fn a_given_address_in_a_new_block() {
    let cluster = recorded_cluster().await;
    cluster.ipam().auto_assign(&add("net1.cid1", 1_795_390_711_208_125_312)).await.unwrap();
    cluster.set_time(1_795_390_713_067_881_811);
    let request = AssignIp {
        address: "10.244.7.7".parse().unwrap(),
        holder: Holder { handle: Some("net1.cid6".to_owned()), attributes: attributes(1_795_390_713_060_555_313) },
        host: "node1".to_owned(),
    };
    cluster.ipam().assign_ip(&request).await.unwrap();
    let block = format!(
        r#"{{"cidr":"10.244.7.0/26","affinity":"host:node1","affinity_claim_time":"2026-11-22T23:38:33Z","allocations":[{},0,{}],"unallocated":[{},{}],"attributes":[{{"handle_id":"net1.cid6","secondary":{{"node":"node1","timestamp":"2026-11-22 23:38:33.060555313 +0000 UTC"}}}}],"sequenceNumber":1795390713067881812,"sequenceNumberForAllocation":{{"7":1795390713067881811}},"deleted":false}}"#,
        nulls(7),
        nulls(56),
        list(0..7),
        list(8..64),
    );
    let stored = cluster.stored();
    assert_eq!(stored["assignment/ipv4/block/10.244.7.0-26"], block);
    assert_eq!(stored["handle/net1.cid6"], r#"{"block":{"10.244.7.0/26":1},"deleted":false}"#);
    assert_eq!(stored["host/node1/ipv4/block/10.244.7.0-26"], r#"{"state":"confirmed","deleted":false}"#);

    let taken = cluster.ipam().assign_ip(&request).await.unwrap_err();
    assert_eq!(taken.to_string(), "resource already exists: 10.244.7.7 with error: Address already assigned in block");
}

#[tokio::test]
async fn both_families_under_one_handle() {
    let cluster = recorded_cluster().await;
    cluster.pool("p6", "fd00:10:244::/64", |_| {}).await;
    let request = AutoAssign { num_v6: 1, ..add("net1.cid11", EPOCH.into()) };
    let assigned = cluster.ipam().auto_assign(&request).await.unwrap();
    assert_eq!(texts(&assigned.v4), ["10.244.166.128/26"]);
    assert_eq!(texts(&assigned.v6), ["fd00:10:244:0:c11:b42f:f17e:a680/122"]);
    let stored = cluster.stored();
    assert_eq!(
        stored["handle/net1.cid11"],
        r#"{"block":{"10.244.166.128/26":1,"fd00:10:244:0:c11:b42f:f17e:a680/122":1},"deleted":false}"#
    );
    assert_eq!(cluster.paths("host/node1/ipv6/"), ["host/node1/ipv6/block/fd00:10:244:0:c11:b42f:f17e:a680-122"]);
    cluster.ipam().release_by_handle("net1.cid11").await.unwrap();
    assert_eq!(cluster.paths("handle/"), [] as [&str; 0]);
}

#[tokio::test]
async fn error_texts() {
    let cluster = recorded_cluster().await;
    let base = add("h", EPOCH.into());
    let missing_pool = AutoAssign { pools: Some(vec![net("10.99.0.0/16")]), ..base.clone() };
    let no_v6 = AutoAssign { num_v4: 0, num_v6: 1, ..base.clone() };
    let no_node = AutoAssign { host: "nosuchnode".to_owned(), ..base };
    for (request, expect) in [
        (missing_pool, "the given pool (10.99.0.0/16) does not exist, or is not enabled"),
        (no_v6, "cannot find a qualified ippool"),
        (no_node, "resource does not exist: Node(nosuchnode)"),
    ] {
        let error = cluster.ipam().auto_assign(&request).await.unwrap_err().to_string();
        assert!(error.starts_with(expect), "{error}");
    }
}
