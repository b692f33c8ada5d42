//! What is said to be available is what an assignment then finds.

use crate::cluster::{Cluster, net, request};
use ipam::AutoAssign;

/// Asks first and assigns then: both agree, and asking writes nothing. Returns what was said.
async fn agrees(cluster: &Cluster, request: &AutoAssign) -> String {
    let before = cluster.stored();
    let asked = match cluster.ipam().shortages(request).await {
        Ok(shortages) => shortages.first().map(ToString::to_string).unwrap_or_default(),
        Err(error) => error.to_string(),
    };
    assert_eq!(cluster.stored(), before, "asking has written");
    let assigned = match cluster.ipam().auto_assign(request).await {
        Ok(assigned) => assigned.shortages.first().map(ToString::to_string).unwrap_or_default(),
        Err(error) => error.to_string(),
    };
    assert_eq!(asked, assigned);
    asked
}

#[tokio::test]
async fn from_the_first_address_to_the_last() {
    let cluster = Cluster::with_pool("10.0.0.0/28").await;
    cluster.pool("pool", "10.0.0.0/28", |spec| spec.block_size = Some(29)).await;
    for address in 0..16 {
        // its own block, one to claim, and the other's in turn
        let host = if address % 5 == 0 { "n2" } else { "n1" };
        assert_eq!(agrees(&cluster, &request(host, &format!("h{address}"), 1)).await, "", "address {address}");
    }
    let full = "Assigned 0 out of 1 requested IPv4 addresses; pool pool (10.0.0.0/28) has no free address for host:n1: 2 blocks of 8, all assigned";
    assert_eq!(agrees(&cluster, &request("n1", "late", 1)).await, full);
    cluster.ipam().release_by_handle("h7").await.unwrap();
    assert_eq!(agrees(&cluster, &request("n1", "again", 1)).await, "");
}

#[tokio::test]
async fn strict_affinity_and_limits() {
    let cluster = Cluster::with_pool("10.0.0.0/28").await;
    cluster.pool("pool", "10.0.0.0/28", |spec| spec.block_size = Some(29)).await;
    cluster.configure(|config| config.strict_affinity = true).await;
    cluster.assign("n1", "a", 1).await;
    cluster.assign("n2", "b", 1).await;
    let n3 = agrees(&cluster, &request("n3", "c", 1)).await;
    assert!(n3.contains("No more free affine blocks and strict affinity enabled"), "{n3}");
    assert_eq!(agrees(&cluster, &request("n1", "d", 1)).await, "");
    cluster.configure(|config| config.max_blocks_per_host = 1).await;
    assert_eq!(agrees(&cluster, &request("n1", "e", 1)).await, "");
    cluster.assign("n1", "e", 5).await;
    let limit = agrees(&cluster, &request("n1", "f", 1)).await;
    assert_eq!(limit, "cannot allocate new block due to per host block limit: host:n1 has 1, all full");
}

#[tokio::test]
async fn pools_that_do_not_serve() {
    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    let six = AutoAssign { num_v4: 0, num_v6: 1, ..request("n1", "h", 0) };
    assert_eq!(agrees(&cluster, &six).await, "cannot find a qualified ippool");
    let other = AutoAssign { pools: Some(vec![net("10.9.0.0/24")]), ..request("n1", "h", 1) };
    assert_eq!(agrees(&cluster, &other).await, "the given pool (10.9.0.0/24) does not exist, or is not enabled");
    cluster.pool("pool", "10.0.0.0/24", |spec| spec.node_selector = "zone == 'a'".to_owned()).await;
    assert_eq!(agrees(&cluster, &request("n1", "h", 1)).await, "no configured Calico pools for node n1");
    cluster.pool("pool", "10.0.0.0/24", |spec| spec.allowed_uses = vec!["Tunnel".to_owned()]).await;
    let use_ = "cannot find a qualified ippool, no pools match the required use Workload";
    assert_eq!(agrees(&cluster, &request("n1", "h", 1)).await, use_);
    let nobody = agrees(&cluster, &request("nobody", "h", 1)).await;
    assert!(nobody.contains("Node(nobody)"), "{nobody}");
}

#[tokio::test]
async fn what_is_given_out_can_be_listed() {
    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    cluster.assign("n1", "a", 2).await;
    cluster.assign("n2", "b", 1).await;
    let found: Vec<(String, Option<String>, Option<String>)> = cluster
        .ipam()
        .allocations()
        .await
        .unwrap()
        .0
        .into_iter()
        .map(|it| {
            assert!(it.sequence.is_some());
            let node = it.attribute("node").map(str::to_owned);
            (it.address.to_string(), it.handle, node)
        })
        .collect();
    let of = |node: &str, handle: &str| {
        found.iter().filter(|it| it.1.as_deref() == Some(handle) && it.2.as_deref() == Some(node)).count()
    };
    assert_eq!((of("n1", "a"), of("n2", "b"), found.len()), (2, 1, 3));
}
