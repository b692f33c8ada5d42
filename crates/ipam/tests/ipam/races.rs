//! Several hosts at once on one datastore, every operation interleaved with the others'.

use crate::cluster::{Cluster, request};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Blocks, affinities and handles must tell the same story.
pub(crate) async fn check_consistency(cluster: &Cluster) {
    let mut handles: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    let mut affinities = BTreeSet::new();
    for block in cluster.blocks().await {
        let mut free: BTreeSet<usize> = block.unallocated.iter().copied().collect();
        assert_eq!(free.len(), block.unallocated.len(), "{}: free twice", block.cidr);
        for ordinal in 0..block.allocations.len() {
            match ipam::block::handle_of(&block, ordinal) {
                Some(handle) => {
                    *handles.entry(handle.to_owned()).or_default().entry(block.cidr.to_string()).or_default() += 1;
                }
                None => assert!(free.remove(&ordinal), "{}: {ordinal} is lost", block.cidr),
            }
        }
        assert!(free.is_empty(), "{}: free and held: {free:?}", block.cidr);
        if let Some(host) = block.affinity.as_deref().and_then(|affinity| affinity.strip_prefix("host:")) {
            affinities.insert(format!("host/{host}/ipv4/block/{}", block.cidr.to_string().replace('/', "-")));
        }
    }
    let stored = cluster.stored();
    let stored_handles: BTreeMap<String, BTreeMap<String, u64>> = stored
        .iter()
        .filter_map(|(path, value)| Some((path.strip_prefix("handle/")?.to_owned(), value)))
        .map(|(handle, value)| (handle, serde_json::from_str::<api::ipam::Handle>(value).unwrap().block))
        .collect();
    assert_eq!(stored_handles, handles);
    let stored_affinities: BTreeSet<String> = stored.into_keys().filter(|path| path.starts_with("host/")).collect();
    assert_eq!(stored_affinities, affinities);
    // nothing here has an endpoint, so every address counts as leaked; there must be no other problem
    let findings = ipam::check::check(&cluster.ipam().snapshot().await.unwrap());
    assert_eq!(findings.problems(), findings.leaked.len(), "{findings:?}");
}

#[tokio::test]
async fn hosts_assign_and_release_at_once() {
    let cluster = Arc::new(Cluster::with_pool("10.0.0.0/24").await);
    let mut tasks = JoinSet::new();
    for worker in 0..6 {
        let cluster = cluster.clone();
        tasks.spawn(async move {
            let host = ["n1", "n2", "n3"][worker % 3];
            let mut kept = BTreeMap::new();
            for round in 0..20 {
                let handle = format!("w{worker}-{round}");
                let assigned = cluster.ipam().auto_assign(&request(host, &handle, 1 + round % 3)).await.unwrap();
                assert_eq!(assigned.shortages, []);
                kept.insert(handle.clone(), assigned.v4);
                if round % 3 != 0 {
                    let released = cluster.ipam().release_by_handle(&handle).await.unwrap();
                    assert_eq!(released.len(), kept.remove(&handle).unwrap().len());
                }
            }
            kept
        });
    }
    let mut held = BTreeMap::new();
    while let Some(kept) = tasks.join_next().await {
        for (handle, addresses) in kept.unwrap() {
            for address in addresses {
                assert_eq!(held.insert(address.addr(), handle.clone()), None, "{address} was given twice");
            }
        }
    }
    for (address, handle) in &held {
        let holder = cluster.ipam().attributes_of(*address).await.unwrap();
        assert_eq!(holder.handle_id.as_ref(), Some(handle));
    }
    check_consistency(&cluster).await;
}

#[tokio::test]
async fn a_pool_is_given_out_to_its_last_address() {
    // 128 addresses for 160 requests of three hosts: borrowing and claims meet
    let cluster = Arc::new(Cluster::with_pool("10.0.0.0/25").await);
    let mut tasks = JoinSet::new();
    for worker in 0..8 {
        let cluster = cluster.clone();
        tasks.spawn(async move {
            let host = ["n1", "n2", "n3"][worker % 3];
            let mut got = Vec::new();
            for round in 0..20 {
                let request = request(host, &format!("w{worker}-{round}"), 1);
                got.extend(cluster.ipam().auto_assign(&request).await.unwrap().v4);
            }
            got
        });
    }
    let mut all = BTreeSet::new();
    while let Some(got) = tasks.join_next().await {
        for address in got.unwrap() {
            assert!(all.insert(address.addr()), "{address} was given twice");
        }
    }
    assert_eq!(all.len(), 128);
    check_consistency(&cluster).await;
}

#[tokio::test]
async fn processes_of_one_host_share_a_first_block() {
    let cluster = Arc::new(Cluster::with_pool("10.0.0.0/16").await);
    let mut tasks = JoinSet::new();
    for worker in 0..10 {
        let cluster = cluster.clone();
        tasks.spawn(async move { cluster.assign("n1", &format!("w{worker}"), 1).await });
    }
    while let Some(got) = tasks.join_next().await {
        assert_eq!(got.unwrap().len(), 1);
    }
    assert_eq!(cluster.blocks().await.len(), 1);
    check_consistency(&cluster).await;
}

#[tokio::test]
async fn affinities_are_released_under_assignment() {
    let cluster = Arc::new(Cluster::with_pool("10.0.0.0/24").await);
    let mut tasks = JoinSet::new();
    for worker in 0..3 {
        let assigning = cluster.clone();
        tasks.spawn(async move {
            let host = ["n1", "n2", "n3"][worker];
            for round in 0..20 {
                let handle = format!("{host}-{round}");
                assigning.assign(host, &handle, 2).await;
                assigning.ipam().release_by_handle(&handle).await.unwrap();
            }
        });
        let releasing = cluster.clone();
        tasks.spawn(async move {
            let host = ["n1", "n2", "n3"][worker];
            for round in 0..20 {
                let condition = if round % 2 == 0 { ipam::Condition::Any } else { ipam::Condition::Empty };
                releasing.ipam().release_host_affinities(&ipam::Owner::host(host), condition).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    check_consistency(&cluster).await;
}
