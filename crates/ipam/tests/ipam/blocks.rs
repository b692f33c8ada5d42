//! Claiming blocks and letting go of them, and what a writer leaves that stopped half-way.

use crate::cluster::{Cluster, EPOCH, net, request, texts};
use ipam::{Condition, LetGoError, Owner};

/// The first block that `n1` claims in 10.0.0.0/24, and another's.
const OWN: &str = "10.0.0.0-26";

async fn first_block(host: &str) -> (Cluster, String) {
    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    let got = cluster.assign(host, "probe", 1).await;
    cluster.ipam().release_by_handle("probe").await.unwrap();
    (cluster, net(&got[0]).trunc().to_string().replace('/', "-"))
}

#[tokio::test]
async fn a_claim_left_before_its_block_is_finished() {
    for state in ["pending", "pendingDeletion", "confirmed", ""] {
        let cluster = Cluster::with_pool("10.0.0.0/24").await;
        let affinity = format!("host/n1/ipv4/block/{OWN}");
        cluster.put_raw(&affinity, &format!(r#"{{"state":"{state}","deleted":false}}"#));
        assert_eq!(cluster.assign("n1", "h", 1).await, ["10.0.0.0/26"], "{state}");
        assert_eq!(cluster.paths("host/"), [affinity.as_str()], "{state}");
        if !state.is_empty() {
            assert_eq!(cluster.stored()[&affinity], r#"{"state":"confirmed","deleted":false}"#, "{state}");
        }
    }
}

#[tokio::test]
async fn a_claim_or_release_left_beside_its_block_is_taken_back() {
    for state in ["pending", "pendingDeletion"] {
        let (cluster, block) = first_block("n1").await;
        let affinity = format!("host/n1/ipv4/block/{block}");
        cluster.put_raw(&affinity, &format!(r#"{{"state":"{state}","deleted":false}}"#));
        let cidr = block.replace('-', "/");
        let before = cluster.block(&cidr).await.sequence_number;
        let got = cluster.assign("n1", "h", 1).await;
        assert_eq!(net(&got[0]).trunc().to_string(), cidr);
        assert_eq!(cluster.stored()[&affinity], r#"{"state":"confirmed","deleted":false}"#);
        assert_eq!(cluster.block(&cidr).await.sequence_number, before + 1);
    }
}

#[tokio::test]
async fn a_full_block_is_confirmed_too() {
    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    let got = cluster.assign("n1", "h", 64).await;
    let block = net(&got[0]).trunc().to_string().replace('/', "-");
    let affinity = format!("host/n1/ipv4/block/{block}");
    cluster.put_raw(&affinity, r#"{"state":"pending","deleted":false}"#);
    cluster.assign("n1", "h2", 1).await;
    assert_eq!(cluster.stored()[&affinity], r#"{"state":"confirmed","deleted":false}"#);
    assert_eq!(cluster.paths("host/n1/").len(), 2);
}

#[tokio::test]
async fn an_affinity_for_anothers_block_is_dropped() {
    for state in ["pending", "confirmed"] {
        let (cluster, block) = first_block("n2").await;
        let stale = format!("host/n1/ipv4/block/{block}");
        cluster.put_raw(&stale, &format!(r#"{{"state":"{state}","deleted":false}}"#));
        let got = cluster.assign("n1", "h", 1).await;
        assert_ne!(net(&got[0]).trunc().to_string().replace('/', "-"), block);
        assert!(!cluster.stored().contains_key(&stale));
    }
}

#[tokio::test]
async fn a_block_without_its_affinity_is_found_again() {
    let (cluster, block) = first_block("n1").await;
    let key = api::Key::Affinity {
        owner_type: api::event::OwnerType::Host,
        owner: "n1".to_owned(),
        block: net(&block.replace('-', "/")),
    };
    datastore::Store::delete(&cluster.store.memory, &key, None).await.unwrap();
    cluster.assign("n1", "h", 1).await;
    assert_eq!(cluster.paths("host/"), [format!("host/n1/ipv4/block/{block}")]);
    assert_eq!(cluster.blocks().await.len(), 1);
}

#[tokio::test]
async fn an_idle_block_is_reclaimed_after_a_minute() {
    let cluster = Cluster::with_pool("10.0.0.0/26").await;
    cluster.configure(|config| config.strict_affinity = true).await;
    cluster.assign("n1", "a", 1).await;
    cluster.ipam().release_by_handle("a").await.unwrap();
    let soon = cluster.ipam().auto_assign(&request("n2", "b", 1)).await.unwrap();
    assert_eq!(soon.v4, []);
    cluster.set_time(EPOCH + 61_000_000_000);
    assert_eq!(cluster.assign("n2", "b", 1).await, ["10.0.0.0/26"]);
    assert_eq!(cluster.paths("host/"), ["host/n2/ipv4/block/10.0.0.0-26"]);
    // not while somebody holds an address
    cluster.set_time(EPOCH + 200_000_000_000);
    let used = cluster.ipam().auto_assign(&request("n1", "c", 1)).await.unwrap();
    assert_eq!(used.v4, []);
}

#[tokio::test]
async fn an_empty_block_of_a_pool_that_deselects_the_node_is_let_go() {
    let (cluster, _) = first_block("n1").await;
    cluster.pool("pool", "10.0.0.0/24", |spec| spec.node_selector = "rack == 'none'".to_owned()).await;
    cluster.pool("second", "10.9.0.0/24", |_| {}).await;
    cluster.assign("n1", "h", 1).await;
    let blocks: Vec<String> = cluster.blocks().await.iter().map(|block| block.cidr.to_string()).collect();
    assert_eq!(blocks.len(), 1);
    assert!(blocks[0].starts_with("10.9.0."));
    assert_eq!(cluster.paths("host/n1/").len(), 1);
}

#[tokio::test]
async fn letting_go() {
    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    let owner = Owner::host("n1");
    let used = net(&cluster.assign("n1", "h", 1).await[0]).trunc();
    let claims = cluster.ipam().claim_affinity(net("10.0.0.0/24"), &owner).await.unwrap();
    assert_eq!(texts(&claims.claimed), ["10.0.0.0/26", "10.0.0.64/26", "10.0.0.128/26", "10.0.0.192/26"]);
    assert_eq!(claims.failed, []);
    let claims = cluster.ipam().claim_affinity(net("10.0.0.0/25"), &Owner::host("n2")).await.unwrap();
    assert_eq!(texts(&claims.failed), ["10.0.0.0/26", "10.0.0.64/26"]);
    assert_eq!(cluster.paths("host/n2/"), [] as [&str; 0]);

    let kept = cluster.ipam().release_host_affinities(&owner, Condition::Empty).await.unwrap();
    assert_eq!(kept, [used]);
    assert_eq!(cluster.blocks().await.len(), 1);
    let error = cluster.ipam().let_go(&Owner::host("n2"), used, Condition::Any, None).await.unwrap_err();
    assert!(matches!(error, LetGoError::Claimed { .. }), "{error}");
    let error = cluster.ipam().let_go(&owner, used, Condition::Any, Some(1)).await.unwrap_err();
    assert!(matches!(error, LetGoError::Changed(_)), "{error}");
    assert_eq!(cluster.ipam().release_host_affinities(&owner, Condition::Any).await.unwrap(), []);
    let block = cluster.block(&used.to_string()).await;
    assert_eq!((block.affinity, block.affinity_claim_time), (None, None));
    assert_eq!(cluster.paths("host/"), [] as [&str; 0]);
    assert_eq!(cluster.ipam().ips_by_handle("h").await.unwrap().len(), 1);
}

#[tokio::test]
async fn letting_go_of_a_pool() {
    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    cluster.pool("second", "10.9.0.0/24", |_| {}).await;
    cluster.ipam().claim_affinity(net("10.0.0.0/25"), &Owner::host("n1")).await.unwrap();
    cluster.ipam().claim_affinity(net("10.0.0.128/25"), &Owner::host("n2")).await.unwrap();
    cluster.ipam().claim_affinity(net("10.9.0.0/25"), &Owner::host("n2")).await.unwrap();
    cluster.ipam().release_pool_affinities(net("10.0.0.0/24")).await.unwrap();
    assert_eq!(cluster.paths("host/"), ["host/n2/ipv4/block/10.9.0.0-26", "host/n2/ipv4/block/10.9.0.64-26"]);
    assert_eq!(cluster.blocks().await.len(), 2);
}

#[tokio::test]
async fn what_cannot_be_claimed() {
    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    for (cidr, expect) in [
        ("10.7.0.0/24", "the requested CIDR (10.7.0.0/24) is not within any configured pools"),
        ("10.0.0.0/28", "the requested CIDR (10.0.0.0/28) is smaller than a block of pool pool (/26)"),
    ] {
        let error = cluster.ipam().claim_affinity(net(cidr), &Owner::host("n1")).await.unwrap_err();
        assert_eq!(error.to_string(), expect);
    }
}

#[tokio::test]
async fn configuration_rules() {
    let cluster = Cluster::default();
    let defaults = cluster.ipam().config().await.unwrap();
    for (strict_affinity, auto_allocate_blocks, max_blocks_per_host, expect) in [
        (true, true, 3, None),
        (true, false, 0, None),
        (false, false, 0, Some("cannot disable StrictAffinity and AutoAllocateBlocks at the same time")),
        (false, true, 3, Some("MaxBlocksPerHost requires StrictAffinity to be enabled")),
    ] {
        let config =
            api::ipam::Config { strict_affinity, auto_allocate_blocks, max_blocks_per_host, ..defaults.clone() };
        let outcome =
            cluster.ipam().change_config(|stored| stored.clone_from(&config)).await.map_err(|error| error.to_string());
        assert_eq!(outcome.err().as_deref(), expect);
    }
    assert_eq!(cluster.stored()["config"], r#"{"strict_affinity":true,"kubeVirtVMAddressPersistence":"Enabled"}"#);
}

#[tokio::test]
async fn no_block_is_claimed_where_that_is_switched_off() {
    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    cluster.ipam().claim_affinity(net("10.0.0.0/26"), &Owner::host("n1")).await.unwrap();
    cluster
        .configure(|config| {
            config.strict_affinity = true;
            config.auto_allocate_blocks = false;
        })
        .await;
    assert_eq!(cluster.assign("n1", "h", 1).await, ["10.0.0.0/26"]);
    let assigned = cluster.ipam().auto_assign(&request("n2", "h2", 1)).await.unwrap();
    let shortage = assigned.shortages[0].to_string();
    assert!(shortage.contains("automatic allocation of blocks is disabled"), "{shortage}");
}
