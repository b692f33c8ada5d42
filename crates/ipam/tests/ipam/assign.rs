//! Where addresses come from: own blocks, claimed ones, borrowed ones; and why none comes.

use crate::cluster::{Cluster, net, request, texts};
use ipam::pool::Use;
use ipam::{AssignIp, AutoAssign, Release};
use std::collections::BTreeMap;

#[tokio::test]
async fn first_in_first_out() {
    // the walkthrough's node and pool
    let cluster = Cluster::default();
    cluster.node("k8s-w1", &[]).await;
    cluster.pool("default-ipv4-ippool", "172.16.0.0/16", |spec| spec.block_size = Some(24)).await;
    for (handle, expect) in [("tunnel", "172.16.158.0/24"), ("stays", "172.16.158.1/24"), ("pod2", "172.16.158.2/24")] {
        assert_eq!(cluster.assign("k8s-w1", handle, 1).await, [expect]);
    }
    cluster.ipam().release_by_handle("pod2").await.unwrap();
    assert_eq!(cluster.assign("k8s-w1", "pod1", 1).await, ["172.16.158.3/24"]);
}

#[tokio::test]
async fn an_address_costs_two_reads_and_one_transaction() {
    let cluster = Cluster::with_pool("10.0.0.0/16").await;
    let ipam = cluster.ipam();
    ipam.config().await.unwrap();
    cluster.store.take_counts();
    // what the request depends on; then the blocks, which hold none of the node's
    cluster.assign("n1", "first", 1).await;
    assert_eq!(cluster.store.take_counts(), (2, 1), "with a claim");
    cluster.assign("n1", "second", 1).await;
    assert_eq!(cluster.store.take_counts(), (2, 1), "warm");
    cluster.assign("n1", "rest", 100).await;
    cluster.store.take_counts();
    cluster.assign("n1", "third", 1).await;
    assert_eq!(cluster.store.take_counts(), (2, 1), "with a full block and one that is not");
    cluster.assign("n1", "third", 1).await;
    assert_eq!(cluster.store.take_counts(), (2, 1), "to a handle that holds one");
    let address = "10.0.200.7".parse().unwrap();
    let holder = ipam::block::Holder { handle: Some("given".to_owned()), ..Default::default() };
    ipam.assign_ip(&AssignIp { address, holder, host: "n1".to_owned() }).await.unwrap();
    assert_eq!(cluster.store.take_counts(), (2, 1), "a given one");
    ipam.release_by_handle("second").await.unwrap();
    assert_eq!(cluster.store.take_counts(), (2, 1), "released by handle");
    let release = Release { address, handle: Some("given".to_owned()), sequence: None };
    ipam.release_ips(&[release]).await.unwrap();
    assert_eq!(cluster.store.take_counts().1, 1, "released by address");
}

#[tokio::test]
async fn more_than_a_block() {
    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    let got = cluster.assign("n1", "h", 100).await;
    assert_eq!(got.len(), 100);
    assert_eq!(cluster.paths("host/n1/").len(), 2);
    let counts: Vec<usize> =
        cluster.blocks().await.iter().map(|block| ipam::block::held_by(block, "h").len()).collect();
    let mut sorted = counts;
    sorted.sort();
    assert_eq!(sorted, [36, 64]);
}

#[tokio::test]
async fn borrowing_and_an_exhausted_pool() {
    let cluster = Cluster::with_pool("10.0.0.0/25").await;
    cluster.assign("n1", "a", 60).await;
    cluster.assign("n2", "b", 60).await;
    // n3 finds no block: four addresses are left in each of the others'
    let got = cluster.assign("n3", "c", 8).await;
    assert_eq!(got.len(), 8);
    assert_eq!(cluster.paths("host/n3/"), [] as [&str; 0]);
    let assigned = cluster.ipam().auto_assign(&request("n3", "d", 2)).await.unwrap();
    assert_eq!(assigned.v4, []);
    assert_eq!(
        assigned.shortages[0].to_string(),
        "Assigned 0 out of 2 requested IPv4 addresses; pool pool (10.0.0.0/25) has no free address for host:n3: 2 blocks of 64, all assigned"
    );
    assert_eq!(cluster.paths("handle/d"), [] as [&str; 0]);
    // what comes back is lent again
    cluster.ipam().release_by_handle("a").await.unwrap();
    assert_eq!(cluster.assign("n3", "d", 2).await.len(), 2);
}

#[tokio::test]
async fn strict_affinity_does_not_borrow() {
    let cluster = Cluster::with_pool("10.0.0.0/25").await;
    cluster.configure(|config| config.strict_affinity = true).await;
    cluster.assign("n1", "a", 1).await;
    cluster.assign("n2", "b", 1).await;
    let assigned = cluster.ipam().auto_assign(&request("n3", "c", 1)).await.unwrap();
    assert_eq!(
        assigned.shortages[0].to_string(),
        "Assigned 0 out of 1 requested IPv4 addresses; No more free affine blocks and strict affinity enabled; \
         pool pool (10.0.0.0/25) has no free address for host:n3: 2 blocks of 64, 126 free in blocks of others"
    );
    let borrow = AssignIp { address: "10.0.0.10".parse().unwrap(), holder: Default::default(), host: "n3".to_owned() };
    let error = cluster.ipam().assign_ip(&borrow).await.unwrap_err().to_string();
    assert!(error.contains("strict affinity is enabled and the block belongs to host:n"), "{error}");
}

#[tokio::test]
async fn a_block_limit_forbids_borrowing_too() {
    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    cluster.assign("n2", "b", 1).await;
    let limited = |count| AutoAssign { max_blocks: 1, ..request("n1", "h", count) };
    let assigned = cluster.ipam().auto_assign(&limited(70)).await.unwrap();
    assert_eq!(assigned.v4.len(), 64);
    let shortage = assigned.shortages[0].to_string();
    assert!(shortage.starts_with("Assigned 64 out of 70 requested IPv4 addresses; "), "{shortage}");
    let error = cluster.ipam().auto_assign(&limited(1)).await.unwrap_err().to_string();
    assert!(error.starts_with("cannot allocate new block due to per host block limit"), "{error}");
}

#[tokio::test]
async fn the_configured_limit_counts() {
    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    cluster
        .configure(|config| {
            config.strict_affinity = true;
            config.max_blocks_per_host = 2;
        })
        .await;
    let assigned = cluster.ipam().auto_assign(&request("n1", "h", 200)).await.unwrap();
    assert_eq!(assigned.v4.len(), 128);
}

#[tokio::test]
async fn twenty_blocks_unless_told_otherwise() {
    let cluster = Cluster::with_pool("10.0.0.0/16").await;
    let assigned = cluster.ipam().auto_assign(&request("n1", "h", 21 * 64)).await.unwrap();
    assert_eq!(assigned.v4.len(), 20 * 64);
}

#[tokio::test]
async fn which_pools() {
    let cluster = Cluster::default();
    cluster.node("n1", &[("rack", "r1")]).await;
    cluster.node("n2", &[("rack", "r2")]).await;
    cluster.pool("a-disabled", "10.1.0.0/24", |spec| spec.disabled = true).await;
    cluster.pool("b-rack2", "10.2.0.0/24", |spec| spec.node_selector = "rack == 'r2'".to_owned()).await;
    cluster.pool("c-manual", "10.3.0.0/24", |spec| spec.assignment_mode = "Manual".to_owned()).await;
    cluster.pool("d-tunnel", "10.4.0.0/24", |spec| spec.allowed_uses = vec!["Tunnel".to_owned()]).await;
    cluster.pool("e-team", "10.5.0.0/24", |spec| spec.namespace_selector = "team == 'blue'".to_owned()).await;
    cluster.pool("f-small", "10.6.0.0/28", |_| {}).await;

    let base = request("n1", "h", 1);
    let blue = BTreeMap::from([("team".to_owned(), "blue".to_owned())]);
    let pools = |cidrs: &[&str]| Some(cidrs.iter().map(|cidr| net(cidr)).collect());
    let no_use = "cannot find a qualified ippool, no pools match the required use";
    for (request, expect) in [
        (AutoAssign { use_: Use::Tunnel, ..base.clone() }, Ok("10.4.0.")),
        (AutoAssign { host: "n2".to_owned(), ..base.clone() }, Ok("10.2.0.")),
        (AutoAssign { namespace_labels: blue.clone(), ..base.clone() }, Ok("10.5.0.")),
        (base.clone(), Err(no_use)),
        (AutoAssign { pools: pools(&["10.3.0.0/24"]), ..base.clone() }, Ok("10.3.0.")),
        (AutoAssign { pools: pools(&["10.2.0.0/24"]), ..base.clone() }, Ok("10.2.0.")),
        (AutoAssign { pools: pools(&["10.4.0.0/24"]), ..base.clone() }, Err(no_use)),
        (
            AutoAssign { pools: pools(&["10.1.0.0/24"]), ..base.clone() },
            Err("the given pool (10.1.0.0/24) does not exist, or is not enabled"),
        ),
        (AutoAssign { use_: Use::LoadBalancer, ..base.clone() }, Err(no_use)),
    ] {
        let outcome = cluster.ipam().auto_assign(&request).await;
        match (outcome, expect) {
            (Ok(assigned), Ok(prefix)) => {
                let got = assigned.v4[0].to_string();
                assert!(got.starts_with(prefix), "{got} for {request:?}");
            }
            (Err(error), Err(text)) => assert!(error.to_string().starts_with(text), "{error} for {request:?}"),
            (outcome, _) => panic!("{outcome:?} for {request:?}"),
        }
    }

    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    cluster.pool("pool", "10.0.0.0/24", |spec| spec.node_selector = "rack == 'none'".to_owned()).await;
    let error = cluster.ipam().auto_assign(&request("n1", "h", 1)).await.unwrap_err();
    assert_eq!(error.to_string(), "no configured Calico pools for node n1");
    cluster.pool("pool", "10.0.0.0/24", |spec| spec.disabled = true).await;
    let error = cluster.ipam().auto_assign(&request("n1", "h", 1)).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot find a qualified ippool");
}

#[tokio::test]
async fn a_disabled_pool_keeps_what_it_gave() {
    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    let before = cluster.assign("n1", "old", 1).await;
    cluster.pool("pool", "10.0.0.0/24", |spec| spec.disabled = true).await;
    cluster.pool("second", "10.9.0.0/24", |_| {}).await;
    assert!(cluster.assign("n1", "new", 1).await[0].starts_with("10.9.0."));
    assert_eq!(texts(&cluster.ipam().ips_by_handle("old").await.unwrap()), before);
    // its block is found for a release all the same, and stays the node's
    cluster.ipam().release_by_handle("old").await.unwrap();
    assert_eq!(cluster.paths("host/n1/").len(), 2);
}

#[tokio::test]
async fn services_have_a_virtual_owner() {
    let cluster = Cluster::default();
    cluster.pool("services", "10.0.0.0/24", |spec| spec.allowed_uses = vec!["LoadBalancer".to_owned()]).await;
    let request = AutoAssign { use_: Use::LoadBalancer, ..request("", "lb-x", 1) };
    let assigned = cluster.ipam().auto_assign(&request).await.unwrap();
    let block = cluster.block(&assigned.v4[0].trunc().to_string()).await;
    assert_eq!(block.affinity.as_deref(), Some("virtual:load-balancer"));
    assert_eq!(cluster.paths("virtual/load-balancer/ipv4/block/").len(), 1);
}

#[tokio::test]
async fn single_address_blocks() {
    let cluster = Cluster::with_pool("10.0.0.0/29").await;
    cluster.pool("pool", "10.0.0.0/29", |spec| spec.block_size = Some(32)).await;
    let mut got = cluster.assign("n1", "h", 8).await;
    got.sort();
    let expect: Vec<String> = (0..8).map(|last| format!("10.0.0.{last}/32")).collect();
    assert_eq!(got, expect);
}

#[tokio::test]
async fn a_failure_half_way_gives_everything_back() {
    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    cluster.pool("p6", "fd00::/64", |_| {}).await;
    let before = cluster.blocks().await.len();
    cluster.store.fail_after.store(2, std::sync::atomic::Ordering::SeqCst);
    cluster.ipam().config().await.unwrap();
    let request = AutoAssign { num_v6: 1, ..request("n1", "h", 1) };
    let error = cluster.ipam().auto_assign(&request).await.unwrap_err();
    assert_eq!(error.to_string(), "the test's store fails");
    assert_eq!(before, 0);
    assert_eq!(cluster.paths("handle/"), [] as [&str; 0]);
    for block in cluster.blocks().await {
        assert!(ipam::block::is_empty(&block));
    }
}

#[tokio::test]
async fn a_given_address_claims_or_borrows() {
    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    let assign = |address: &str, host: &str| AssignIp {
        address: address.parse().unwrap(),
        holder: ipam::block::Holder { handle: Some("h".to_owned()), attributes: BTreeMap::new() },
        host: host.to_owned(),
    };
    cluster.ipam().assign_ip(&assign("10.0.0.70", "n1")).await.unwrap();
    cluster.ipam().assign_ip(&assign("10.0.0.71", "n2")).await.unwrap();
    assert_eq!(cluster.block("10.0.0.64/26").await.affinity.as_deref(), Some("host:n1"));
    assert_eq!(texts(&cluster.ipam().ips_by_handle("h").await.unwrap()), ["10.0.0.70/26", "10.0.0.71/26"]);
    let error = cluster.ipam().assign_ip(&assign("10.7.0.1", "n1")).await.unwrap_err();
    assert_eq!(error.to_string(), "the provided IP address 10.7.0.1 is not in a configured pool");
    assert_eq!(cluster.paths("host/"), ["host/n1/ipv4/block/10.0.0.64-26"]);
}
