//! What is stored and cannot be read is not absent: it is gone round or named, and nothing is freed or claimed over it.

use crate::cluster::{Cluster, net, request};
use api::ipam::Handle;
use ipam::tunnel::{Tunnel, ensure_tunnel_address};
use ipam::{Condition, Ipam, Owner, Release};
use ipnet::IpNet;
use std::net::IpAddr;

/// The path of a block, without IPAM's prefix.
fn path(block: IpNet) -> String {
    format!("assignment/ipv4/block/{}", block.to_string().replace('/', "-"))
}

/// Makes a block unreadable; returns what is stored then.
fn spoil(cluster: &Cluster, block: IpNet) -> String {
    let value = cluster.stored()[&path(block)].replace(r#""allocations":["#, r#""allocations":["x","#);
    cluster.put_raw(&path(block), &value);
    value
}

fn address(text: &str) -> IpAddr {
    net(text).addr()
}

#[tokio::test]
async fn an_allocation_goes_round_a_block() {
    let cluster = Cluster::with_pool("10.0.0.0/25").await;
    let first = net(&cluster.assign("n1", "a", 1).await[0]);
    let spoilt = spoil(&cluster, first.trunc());
    let other = net(&cluster.assign("n1", "b", 1).await[0]).trunc();
    assert_ne!(other, first.trunc(), "the owner itself takes another block");
    assert_eq!(net(&cluster.assign("n2", "c", 1).await[0]).trunc(), other, "another node borrows there");
    assert_eq!(cluster.ipam().shortages(&request("n3", "d", 1)).await.unwrap(), []);
    assert_eq!(cluster.assign("n1", "e", 62).await.len(), 62);
    let assigned = cluster.ipam().auto_assign(&request("n1", "f", 1)).await.unwrap();
    let [shortage] = assigned.shortages.as_slice() else { panic!("{assigned:?}") };
    let text = shortage.to_string();
    assert!(text.contains(&format!("block {} cannot be read: ", first.trunc())), "{text}");
    assert_eq!(cluster.ipam().shortages(&request("n2", "f", 1)).await.unwrap().len(), 1);
    assert_eq!(cluster.stored()[&path(first.trunc())], spoilt, "nobody wrote over it");
}

#[tokio::test]
async fn a_block_of_another_size_is_not_claimed_over() {
    let cluster = Cluster::with_pool("10.0.0.0/26").await;
    cluster.put_raw("assignment/ipv4/block/10.0.0.32-27", "{");
    let assigned = cluster.ipam().auto_assign(&request("n1", "a", 1)).await.unwrap();
    assert_eq!(assigned.v4, []);
    assert_eq!(cluster.paths("assignment/"), ["assignment/ipv4/block/10.0.0.32-27"]);
}

#[tokio::test]
async fn an_affinity_that_cannot_be_read_keeps_its_block_out_of_reach() {
    let cluster = Cluster::with_pool("10.0.0.0/25").await;
    let first = net(&cluster.assign("n1", "a", 1).await[0]).trunc();
    let affinity = cluster.paths("host/n1/").remove(0);
    cluster.put_raw(&affinity, "{");
    let other = net(&cluster.assign("n1", "b", 1).await[0]).trunc();
    assert_ne!(other, first);
    let error = cluster.ipam().release_host_affinities(&Owner::host("n1"), Condition::Any).await.unwrap_err();
    assert!(error.to_string().contains("stored value cannot be read"), "{error}");
    assert_eq!(cluster.paths("host/n1/").len(), 2, "nothing is half done");
    let error = cluster.ipam().release_pool_affinities(net("10.0.0.0/25")).await.unwrap_err();
    assert!(error.to_string().contains(&affinity), "{error}");
    assert_eq!(cluster.paths("host/n1/").len(), 2, "nothing is half done");
}

#[tokio::test]
async fn releases_name_the_block_and_leave_it() {
    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    let got = cluster.assign("n1", "h", 70).await;
    let blocks = [net(&got[0]).trunc(), net(&got[69]).trunc()];
    let spoilt = spoil(&cluster, blocks[0]);
    let ipam: Ipam<'_> = cluster.ipam();
    let named = |text: String| assert!(text.contains(&path(blocks[0])), "{text}");

    named(ipam.ips_by_handle("h").await.unwrap_err().to_string());
    named(ipam.attributes_of(address(&got[0])).await.unwrap_err().to_string());
    let releases = [Release::of(address(&got[0])), Release::of(address(&got[69]))];
    named(ipam.release_ips(&releases).await.unwrap_err().to_string());
    assert_eq!(cluster.block(&blocks[1].to_string()).await.allocations.iter().flatten().count(), 5);
    named(ipam.release_by_handle("h").await.unwrap_err().to_string());
    assert_eq!(cluster.block(&blocks[1].to_string()).await.allocations.iter().flatten().count(), 0);
    let handle: Handle = serde_json::from_str(&cluster.stored()["handle/h"]).unwrap();
    assert_eq!(handle.block, [(blocks[0].to_string(), 64)].into(), "the handle still finds the rest");
    assert_eq!(cluster.stored()[&path(blocks[0])], spoilt);

    // an address that is in no pool that can be read is looked for by the blocks
    cluster.pool("pool", "192.0.2.0/24", |_| {}).await;
    named(ipam.release_ips(&[Release::of(address(&got[0]))]).await.unwrap_err().to_string());
}

#[tokio::test]
async fn a_tunnel_address_stays_while_a_pool_cannot_be_read() {
    let cluster = Cluster::default();
    cluster.pool("mine", "172.16.0.0/16", |spec| spec.ipip_mode = "Always".to_owned()).await;
    cluster.node("k8s-m", &[]).await;
    let ipam = cluster.ipam();
    let ensure = || ensure_tunnel_address(&ipam, "k8s-m", Tunnel::Ipip);
    let first = ensure().await.unwrap();
    assert!(first.is_some());
    let before = cluster.stored();
    let pool = "/calico/resources/v3/projectcalico.org/ippools/mine";
    for spoilt in [
        "{",
        r#"{"kind":"IPPool","apiVersion":"projectcalico.org/v3","metadata":{"name":"mine"},"spec":{"cidr":"172.16.0.0/99"}}"#,
    ] {
        cluster.store.memory.put_raw(pool, spoilt.as_bytes());
        assert_eq!(ensure().await.unwrap(), first, "{spoilt}");
        assert_eq!(cluster.stored(), before, "{spoilt}");
    }
    // another pool is no reason to move
    cluster.pool("other", "172.20.0.0/16", |spec| spec.ipip_mode = "Always".to_owned()).await;
    assert_eq!(ensure().await.unwrap(), first);
    assert_eq!(cluster.stored(), before);
}

/// A block whose numbers contradict each other counts as unreadable: nothing is given out of it or freed in it.
#[tokio::test]
async fn contradictions_inside_a_block_are_named() {
    let cases = [
        ("allocations[0] is 7, and there are 1 attributes", r#""allocations":[0,"#, r#""allocations":[7,"#),
        ("unallocated names address 64, and there are 64", r#""unallocated":[1,"#, r#""unallocated":[64,"#),
        ("unallocated names address 2 twice", r#""unallocated":[1,2,"#, r#""unallocated":[1,2,2,"#),
        ("unallocated names address 0, which is allocated", r#""unallocated":[1,"#, r#""unallocated":[1,0,"#),
        ("allocations has 63 entries instead of 64", r#""allocations":[0,null,"#, r#""allocations":[0,"#),
        ("allocations has 65 entries instead of 64", r#""allocations":[0,"#, r#""allocations":[0,null,"#),
        ("cidr 10.9.0.0/26 is not the key's", r#""cidr":"10.0.0.0/26""#, r#""cidr":"10.9.0.0/26""#),
        ("cidr 10.0.0.1/26 is not the key's", r#""cidr":"10.0.0.0/26""#, r#""cidr":"10.0.0.1/26""#),
    ];
    for (reason, from, to) in cases {
        let cluster = Cluster::with_pool("10.0.0.0/26").await;
        let got = cluster.assign("n1", "h", 1).await;
        let stored = cluster.stored()[&path(net(&got[0]).trunc())].clone();
        let spoilt = stored.replace(from, to);
        assert_ne!(spoilt, stored, "{reason}");
        cluster.put_raw(&path(net(&got[0]).trunc()), &spoilt);
        let errors = [
            cluster.ipam().release_ips(&[Release::of(address(&got[0]))]).await.unwrap_err().to_string(),
            cluster.ipam().release_by_handle("h").await.unwrap_err().to_string(),
            cluster.ipam().attributes_of(address(&got[0])).await.unwrap_err().to_string(),
            cluster.ipam().release_host_affinities(&Owner::host("n1"), Condition::Any).await.unwrap_err().to_string(),
        ];
        for error in errors {
            assert!(error.ends_with(reason), "{error}");
        }
        assert_eq!(cluster.ipam().auto_assign(&request("n1", "i", 1)).await.unwrap().v4, [], "{reason}");
        assert_eq!(cluster.stored()[&path(net(&got[0]).trunc())], spoilt, "{reason}");
    }
}

/// A key of a block with host bits is no block's.
#[tokio::test]
async fn a_key_with_host_bits_is_named() {
    let cluster = Cluster::with_pool("10.0.0.0/26").await;
    let got = cluster.assign("n1", "h", 1).await;
    let value = cluster.stored()[&path(net(&got[0]).trunc())].clone();
    cluster.put_raw("assignment/ipv4/block/10.0.0.5-26", &value.replace("10.0.0.0/26", "10.0.0.5/26"));
    let snapshot = cluster.ipam().snapshot().await.unwrap();
    assert_eq!(snapshot.blocks.len(), 1);
    assert_eq!(snapshot.unreadable.len(), 1);
    assert_eq!(snapshot.unreadable[0].reason, "10.0.0.5/26 has bits beyond its prefix length");
}
