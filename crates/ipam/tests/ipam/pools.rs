//! A pool that is deleted, disabled or changed while an assignment is under way gives out nothing more.

use crate::cluster::{Cluster, EPOCH, net, request};
use crate::races::check_consistency;
use ipam::block::Holder;
use ipam::{AssignIp, Owner};

const POOL: &str = "/calico/resources/v3/projectcalico.org/ippools/pool";

/// How a pool is taken out of use: what is stored then, if anything.
fn withdrawals(cidr: &str) -> [(&'static str, Option<String>); 4] {
    let pool = |spec: &str| {
        Some(format!(
            r#"{{"kind":"IPPool","apiVersion":"projectcalico.org/v3","metadata":{{"name":"pool"}},"spec":{{"cidr":"{cidr}"{spec}}}}}"#
        ))
    };
    [
        ("deleted", None),
        ("disabled", pool(r#","disabled":true"#)),
        ("for other nodes", pool(r#","nodeSelector":"zone == 'b'""#)),
        ("unreadable", Some("{".to_owned())),
    ]
}

/// What an assignment takes the address from.
#[derive(Clone, Copy, Debug)]
enum Source {
    OwnBlock,
    NewBlock,
    Borrowed,
}

async fn cluster(source: Source) -> Cluster {
    let cluster = Cluster::with_pool("10.0.0.0/26").await;
    cluster.set_time(EPOCH);
    match source {
        Source::OwnBlock => drop(cluster.assign("n1", "before", 1).await),
        Source::NewBlock => {
            cluster.ipam().config().await.unwrap();
        }
        Source::Borrowed => drop(cluster.assign("n2", "before", 1).await),
    }
    cluster
}

async fn withdraw(cluster: &Cluster, value: Option<&String>) {
    let memory = &cluster.store.memory;
    match value {
        Some(value) => memory.put_raw(POOL, value.as_bytes()),
        None => {
            use datastore::Store;
            memory.delete(&datastore::layout::parse(POOL).unwrap(), None).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_withdrawn_pool_gives_out_nothing() {
    for (how, value) in withdrawals("10.0.0.0/26") {
        for source in [Source::OwnBlock, Source::NewBlock, Source::Borrowed] {
            // while the call waits for its turn
            let waiting = cluster(source).await;
            let prepared = waiting.ipam().prepare(request("n1", "h", 1)).await.unwrap();
            withdraw(&waiting, value.as_ref()).await;
            let outcome = waiting.ipam().assign_prepared(prepared).await;
            assert!(outcome.is_err(), "{how}, {source:?}: {outcome:?}");
            assert_eq!(waiting.paths("handle/h"), [] as [&str; 0], "{how}, {source:?}");
            // between its read and its write
            let writing = cluster(source).await;
            let before = writing.stored();
            *writing.store.meanwhile.lock().unwrap() = vec![(POOL.to_owned(), value.clone())];
            let outcome = writing.ipam().auto_assign(&request("n1", "h", 1)).await;
            assert!(outcome.is_err(), "{how}, {source:?}: {outcome:?}");
            assert_eq!(writing.stored(), before, "{how}, {source:?}");
        }
    }
}

#[tokio::test]
async fn another_pool_serves_instead() {
    for (how, value) in withdrawals("10.0.0.0/26") {
        for source in [Source::OwnBlock, Source::NewBlock] {
            let cluster = cluster(source).await;
            cluster.pool("second", "10.9.0.0/26", |_| {}).await;
            *cluster.store.meanwhile.lock().unwrap() = vec![(POOL.to_owned(), value.clone())];
            let got = cluster.assign("n1", "h", 1).await;
            assert_eq!(got, ["10.9.0.0/26"], "{how}, {source:?}");
        }
    }
}

/// What does not concern the assignment does not end it.
#[tokio::test]
async fn another_edit_of_the_pool_costs_a_try() {
    let edited = r#"{"kind":"IPPool","apiVersion":"projectcalico.org/v3","metadata":{"name":"pool"},"spec":{"cidr":"10.0.0.0/26","natOutgoing":true}}"#;
    for source in [Source::OwnBlock, Source::NewBlock, Source::Borrowed] {
        let cluster = cluster(source).await;
        *cluster.store.meanwhile.lock().unwrap() = vec![(POOL.to_owned(), Some(edited.to_owned()))];
        assert_eq!(cluster.assign("n1", "h", 3).await.len(), 3);
        check_consistency(&cluster).await;
    }
}

#[tokio::test]
async fn neither_a_given_address_nor_a_block_comes_of_a_withdrawn_pool() {
    for (how, value) in withdrawals("10.0.0.0/26").into_iter().filter(|(how, _)| *how != "for other nodes") {
        let [given, claimed] = [cluster(Source::NewBlock).await, cluster(Source::NewBlock).await];
        let before = given.stored();
        for cluster in [&given, &claimed] {
            *cluster.store.meanwhile.lock().unwrap() = vec![(POOL.to_owned(), value.clone())];
        }
        let holder = Holder { handle: Some("h".to_owned()), ..Holder::default() };
        let request = AssignIp { address: net("10.0.0.7/32").addr(), holder, host: "n1".to_owned() };
        let error = given.ipam().assign_ip(&request).await.unwrap_err().to_string();
        assert_eq!(error, "the provided IP address 10.0.0.7 is not in a configured pool", "{how}");
        assert_eq!(given.stored(), before, "{how}");
        let error = claimed.ipam().claim_affinity(net("10.0.0.0/26"), &Owner::host("n1")).await.unwrap_err();
        let text = "the requested CIDR (10.0.0.0/26) is not within any configured pools";
        assert_eq!(error.to_string(), text, "{how}");
        assert_eq!(claimed.stored(), before, "{how}");
    }
}

/// Two who change the configuration at once: neither undoes what the other set.
#[tokio::test]
async fn a_change_of_the_configuration_keeps_what_another_changed() {
    let cluster = cluster(Source::NewBlock).await;
    let other = r#"{"strict_affinity":true,"auto_allocate_blocks":true,"maxBlocksPerHost":7}"#;
    *cluster.store.meanwhile.lock().unwrap() = vec![("/calico/ipam/v2/config".to_owned(), Some(other.to_owned()))];
    let persistence = Some("Disabled".to_owned());
    cluster
        .ipam()
        .change_config(|config| config.kube_virt_vm_address_persistence.clone_from(&persistence))
        .await
        .unwrap();
    let config = cluster.ipam().config().await.unwrap();
    assert!(config.strict_affinity && config.max_blocks_per_host == 7, "{config:?}");
    assert_eq!(config.kube_virt_vm_address_persistence, persistence);
}
