//! Releasing addresses, and asking about them.

use crate::cluster::{Cluster, net};
use ipam::{LookupError, Release, ReleaseError};
use std::net::IpAddr;

fn address(text: &str) -> IpAddr {
    net(text).addr()
}

#[tokio::test]
async fn by_address() {
    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    let got = cluster.assign("n1", "h", 3).await;
    let free: IpAddr = "10.0.0.250".parse().unwrap();
    let outside: IpAddr = "192.0.2.1".parse().unwrap();
    let releases =
        [Release::of(address(&got[0])), Release::of(free), Release::of(address(&got[2])), Release::of(outside)];
    let mut unassigned = cluster.ipam().release_ips(&releases).await.unwrap();
    unassigned.sort();
    assert_eq!(unassigned, [free, outside]);
    let block = net(&got[0]).trunc().to_string();
    assert_eq!(cluster.stored()["handle/h"], format!(r#"{{"block":{{"{block}":1}},"deleted":false}}"#));
    let stored = cluster.block(&block).await;
    assert_eq!(stored.sequence_number_for_allocation.keys().collect::<Vec<_>>(), ["1"]);
    assert_eq!(stored.unallocated[60..], [63, 0, 2]);

    assert_eq!(cluster.ipam().release_ips(&[Release::of(address(&got[1]))]).await.unwrap(), [] as [IpAddr; 0]);
    assert_eq!(cluster.paths("handle/"), [] as [&str; 0]);
    // an empty block stays with its owner
    assert_eq!(cluster.paths("host/n1/").len(), 1);
}

#[tokio::test]
async fn only_what_the_caller_means() {
    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    let got = cluster.assign("n1", "h", 2).await;
    let sequence = cluster.block(&net(&got[0]).trunc().to_string()).await.sequence_number_for_allocation["0"];
    let wrong_handle = Release { address: address(&got[1]), handle: Some("other".to_owned()), sequence: None };
    let wrong_sequence = Release { address: address(&got[1]), handle: None, sequence: Some(sequence + 7) };
    for (wrong, is_handle) in [(wrong_handle, true), (wrong_sequence, false)] {
        let error = cluster.ipam().release_ips(&[Release::of(address(&got[0])), wrong]).await.unwrap_err();
        assert_eq!(matches!(error, ReleaseError::OtherHandle { .. }), is_handle, "{error}");
        assert!(error.to_string().starts_with("update conflict: "), "{error}");
        assert_eq!(cluster.ipam().ips_by_handle("h").await.unwrap().len(), 2);
    }
    let right = Release { address: address(&got[0]), handle: Some("h".to_owned()), sequence: Some(sequence) };
    assert_eq!(cluster.ipam().release_ips(&[right]).await.unwrap(), [] as [IpAddr; 0]);
}

#[tokio::test]
async fn by_handle() {
    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    let got = cluster.assign("n1", "h", 70).await;
    cluster.assign("n1", "other", 1).await;
    assert_eq!(cluster.ipam().release_by_handle("h").await.unwrap().len(), got.len());
    assert_eq!(cluster.paths("handle/"), ["handle/other"]);
    let error = cluster.ipam().release_by_handle("h").await.unwrap_err();
    assert!(matches!(error, ReleaseError::NoSuchHandle(_)));
    assert_eq!(error.to_string(), "resource does not exist: IPAMHandle(h)");
}

#[tokio::test]
async fn more_blocks_than_a_transaction_takes() {
    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    cluster.pool("pool", "10.0.0.0/24", |spec| spec.block_size = Some(32)).await;
    for _ in 0..13 {
        let request = ipam::AutoAssign { max_blocks: 1000, ..crate::cluster::request("n1", "h", 16) };
        assert_eq!(cluster.ipam().auto_assign(&request).await.unwrap().v4.len(), 16);
    }
    assert_eq!(cluster.ipam().release_by_handle("h").await.unwrap().len(), 208);
    assert_eq!(cluster.paths("handle/"), [] as [&str; 0]);
}

#[tokio::test]
async fn a_handle_ahead_of_its_block_is_left() {
    // Calico writes the handle before the block
    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    cluster.put_raw("handle/h", r#"{"block":{"10.0.0.0/26":1},"deleted":false}"#);
    assert_eq!(cluster.ipam().release_by_handle("h").await.unwrap(), [] as [IpAddr; 0]);
    assert_eq!(cluster.paths("handle/"), ["handle/h"]);
}

#[tokio::test]
async fn an_unowned_block_goes_with_its_last_address() {
    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    cluster.assign("n1", "h", 1).await;
    let owner = ipam::Owner::host("n1");
    cluster.ipam().release_host_affinities(&owner, ipam::Condition::Any).await.unwrap();
    assert_eq!(cluster.blocks().await.len(), 1);
    cluster.ipam().release_by_handle("h").await.unwrap();
    assert_eq!(cluster.blocks().await, []);
}

#[tokio::test]
async fn a_block_goes_when_its_pool_deselects_the_node() {
    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    cluster.assign("n1", "h", 1).await;
    cluster.pool("pool", "10.0.0.0/24", |spec| spec.node_selector = "rack == 'none'".to_owned()).await;
    cluster.ipam().release_by_handle("h").await.unwrap();
    assert_eq!(cluster.blocks().await, []);
    assert_eq!(cluster.paths("host/"), [] as [&str; 0]);
}

#[tokio::test]
async fn who_holds_an_address() {
    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    let got = cluster.assign("n1", "h", 1).await;
    let attribute = cluster.ipam().attributes_of(address(&got[0])).await.unwrap();
    assert_eq!(attribute.handle_id.as_deref(), Some("h"));
    assert_eq!(attribute.secondary.unwrap()["node"], "n1");
    for free in ["10.0.0.250", "192.0.2.1"] {
        let error = cluster.ipam().attributes_of(free.parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, LookupError::NotAssigned(_)), "{error}");
    }
    let error = cluster.ipam().ips_by_handle("none").await.unwrap_err();
    assert!(matches!(error, LookupError::NoSuchHandle(_)), "{error}");
    // an address whose pool is gone is found by its block
    let (pool, revision) = {
        use datastore::Store;
        let key = api::Key::global(api::Kind::IPPool, "pool");
        let entry = cluster.store.memory.get(&key).await.unwrap();
        (key, entry.revision)
    };
    datastore::Store::delete(&cluster.store.memory, &pool, Some(&revision)).await.unwrap();
    assert_eq!(cluster.ipam().release_ips(&[Release::of(address(&got[0]))]).await.unwrap(), [] as [IpAddr; 0]);
}

/// An endpoint that is left over names an address that another pod has by now: deleting its node does not free that.
#[tokio::test]
async fn of_a_node_goes_only_what_the_node_holds() {
    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    let got = cluster.assign("n1", "old", 2).await;
    let addresses: Vec<IpAddr> = got.iter().map(|net| address(net)).collect();
    let path = cluster.paths("assignment/").remove(0);
    let stored = cluster.stored()[&path].clone();
    let anew = |node: &str| {
        let attribute = r#"{"handle_id":"old","secondary":{"node":"n1"}}"#;
        assert!(stored.contains(attribute), "{stored}");
        stored.replace(attribute, &format!(r#"{{"handle_id":"new","secondary":{{"node":"{node}"}}}}"#))
    };
    // another node's by the time of the read
    cluster.put_raw(&path, &anew("n2"));
    assert_eq!(cluster.ipam().release_held_on("n1", &addresses).await.unwrap(), [] as [IpAddr; 0]);
    assert_eq!(cluster.stored()[&path], anew("n2"));
    // between the read and the write
    cluster.put_raw(&path, &stored);
    let raw = format!("/calico/ipam/v2/{path}");
    *cluster.store.meanwhile.lock().unwrap() = vec![(raw, Some(anew("n2")))];
    assert_eq!(cluster.ipam().release_held_on("n1", &addresses).await.unwrap(), [] as [IpAddr; 0]);
    assert_eq!(cluster.stored()[&path], anew("n2"));
    cluster.put_raw(&path, &stored);
    assert_eq!(cluster.ipam().release_held_on("n1", &addresses).await.unwrap(), addresses);
    assert_eq!(cluster.paths("handle/"), [] as [&str; 0]);
}
