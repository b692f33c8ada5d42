//! A node's tunnel address.

use crate::cluster::{Cluster, net};
use ipam::tunnel::{Tunnel, TunnelError, ensure_tunnel_address};
use std::net::IpAddr;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The walkthrough's pool and a node of it.
async fn walkthrough() -> Cluster {
    let cluster = Cluster::default();
    cluster.node("k8s-m", &[]).await;
    ipip_pool(&cluster, |_| {}).await;
    cluster
}

async fn ipip_pool(cluster: &Cluster, change: impl FnOnce(&mut api::kind::IpPoolSpec)) {
    cluster
        .pool("default-ipv4-ippool", "172.16.0.0/16", |spec| {
            spec.block_size = Some(24);
            spec.ipip_mode = "Always".to_owned();
            change(spec);
        })
        .await;
}

async fn ensure(cluster: &Cluster) -> Option<IpAddr> {
    ensure_tunnel_address(&cluster.ipam(), "k8s-m", Tunnel::Ipip).await.unwrap()
}

async fn note(cluster: &Cluster, address: &str) {
    cluster
        .node_with("k8s-m", &[], |spec| spec.bgp.get_or_insert_default().ipv4_ipip_tunnel_addr = address.to_owned())
        .await;
}

#[tokio::test]
async fn the_first_address_of_the_first_block() {
    let cluster = walkthrough().await;
    assert_eq!(ensure(&cluster).await, Some(ip("172.16.116.0")));
    let attribute = cluster.ipam().attributes_of(ip("172.16.116.0")).await.unwrap();
    assert_eq!(attribute.handle_id.as_deref(), Some("ipip-tunnel-addr-k8s-m"));
    let attributes = attribute.secondary.unwrap();
    let attributes: Vec<(&str, &str)> =
        attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(attributes, [("node", "k8s-m"), ("type", "ipipTunnelAddress")]);
}

#[tokio::test]
async fn it_is_kept_whether_noted_or_not() {
    let cluster = walkthrough().await;
    let first = ensure(&cluster).await;
    assert_eq!(ensure(&cluster).await, first, "not noted yet");
    note(&cluster, "172.16.116.0").await;
    let before = cluster.stored();
    assert_eq!(ensure(&cluster).await, first);
    assert_eq!(cluster.stored(), before);
}

#[tokio::test]
async fn a_noted_address_that_is_not_the_nodes_is_replaced() {
    let cluster = walkthrough().await;
    cluster.assign("k8s-m", "pod", 1).await;
    note(&cluster, "172.16.116.0").await;
    assert_eq!(ensure(&cluster).await, Some(ip("172.16.116.1")));
    assert_eq!(cluster.ipam().attributes_of(ip("172.16.116.0")).await.unwrap().handle_id.as_deref(), Some("pod"));
}

#[tokio::test]
async fn it_moves_when_its_pool_is_no_longer_eligible() {
    let cluster = walkthrough().await;
    ensure(&cluster).await;
    note(&cluster, "172.16.116.0").await;
    ipip_pool(&cluster, |spec| spec.disabled = true).await;
    cluster.pool("second", "10.9.0.0/24", |spec| spec.ipip_mode = "CrossSubnet".to_owned()).await;
    let moved = ensure(&cluster).await.unwrap();
    assert!(net("10.9.0.0/24").contains(&moved), "{moved}");
    assert!(cluster.ipam().attributes_of(ip("172.16.116.0")).await.is_err());
}

#[tokio::test]
async fn it_goes_when_no_pool_is_eligible() {
    let never: fn(&mut api::kind::IpPoolSpec) = |spec| spec.ipip_mode = "Never".to_owned();
    let unset: fn(&mut api::kind::IpPoolSpec) = |spec| spec.ipip_mode = String::new();
    let workloads: fn(&mut api::kind::IpPoolSpec) = |spec| spec.allowed_uses = vec!["Workload".to_owned()];
    let deselected: fn(&mut api::kind::IpPoolSpec) = |spec| spec.node_selector = "rack == 'none'".to_owned();
    for change in [never, unset, workloads, deselected] {
        let cluster = walkthrough().await;
        ensure(&cluster).await;
        note(&cluster, "172.16.116.0").await;
        ipip_pool(&cluster, change).await;
        assert_eq!(ensure(&cluster).await, None);
        assert_eq!(cluster.paths("handle/"), [] as [&str; 0]);
    }
}

#[tokio::test]
async fn a_full_pool_says_so() {
    let cluster = Cluster::default();
    cluster.node("k8s-m", &[]).await;
    cluster.pool("tiny", "10.0.0.0/26", |spec| spec.ipip_mode = "Always".to_owned()).await;
    cluster.assign("k8s-m", "pods", 64).await;
    let error = ensure_tunnel_address(&cluster.ipam(), "k8s-m", Tunnel::Ipip).await.unwrap_err();
    assert!(matches!(error, TunnelError::Shortage(_)));
    assert_eq!(
        error.to_string(),
        "Assigned 0 out of 1 requested IPv4 addresses; pool tiny (10.0.0.0/26) has no free address for host:k8s-m: 1 blocks of 64, all assigned"
    );
}
