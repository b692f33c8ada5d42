//! The client on a datastore in memory: what one write entails.

use super::{Client, ClientError};
use api::event::{Entry, Key, Object, Revision};
use api::resource::{Kind, Resource};
use datastore::memory::Memory;
use datastore::{Listing, Query, Scope, Store, Watch, Write};
use ipam::block::Holder;
use ipam::{AssignIp, Ipam, Owner, SystemClock};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

fn client() -> (Client, Memory) {
    let memory = Memory::new();
    (Client::new(Arc::new(memory.clone())), memory)
}

fn resource(kind: Kind, name: &str, spec: Value) -> Resource {
    let namespace = if kind.namespaced() { "default" } else { "" };
    let metadata = json!({"name": name, "namespace": namespace});
    let value = json!({"kind": kind.name(), "apiVersion": api::meta::API_VERSION, "metadata": metadata, "spec": spec});
    Resource::read(kind, value).expect("a resource")
}

/// The paths below `/calico/` that hold something, without the initial objects.
fn paths(memory: &Memory) -> Vec<String> {
    let all = memory.dump().into_keys().map(|path| path.replace("/calico/resources/v3/projectcalico.org/", ""));
    all.filter(|path| !path.starts_with("tiers/") && !path.starts_with("clusterinformations/")).collect()
}

async fn assign(memory: &Memory, address: &str, host: &str, handle: &str) {
    let holder = Holder { handle: Some(handle.to_owned()), attributes: BTreeMap::new() };
    let request = AssignIp { address: address.parse().expect("an address"), holder, host: host.to_owned() };
    Ipam::new(memory, &SystemClock).assign_ip(&request).await.expect("a free address");
}

#[tokio::test]
async fn a_cluster_is_initialised_once_and_completed_later() {
    let (client, memory) = client();
    client.ensure_initialized("", "").await.expect("an empty datastore");
    let first = client.get(Kind::ClusterInformation, "", "default").await.expect("it is there");
    client.ensure_initialized("v1.2.3", "bird,k8s").await.expect("a second client");
    client.ensure_initialized("v1.2.3", "k8s,lab").await.expect("a third client");
    let (Resource::ClusterInformation(first), Resource::ClusterInformation(last)) =
        (first, client.get(Kind::ClusterInformation, "", "default").await.expect("it is there"))
    else {
        panic!("another kind");
    };
    assert_eq!(first.spec.cluster_guid, last.spec.cluster_guid);
    assert_eq!(first.spec.cluster_guid.len(), 32);
    assert_eq!(last.spec.cluster_type, "bird,k8s,lab");
    assert_eq!(last.spec.calico_version, "v1.2.3");
    assert_eq!(last.spec.datastore_ready, Some(true));
    assert_eq!(memory.dump().keys().filter(|path| path.contains("/tiers/")).count(), 3);
}

#[tokio::test]
async fn an_update_needs_what_only_a_reader_knows() {
    let (client, _) = client();
    let created = client.create(resource(Kind::Tier, "t", json!({"order": 1}))).await.expect("a new tier");
    let updated = client.update(created.clone()).await.expect("the revision is current");
    assert_eq!(updated.metadata().uid, created.metadata().uid);
    assert!(matches!(client.update(created.clone()).await, Err(ClientError::Conflict(key)) if key == "Tier(t)"));
    let error = client.update(resource(Kind::Tier, "t", json!({"order": 1}))).await.expect_err("no revision");
    assert_eq!(
        error.to_string(),
        "error with field Metadata.ResourceVersion = '' (field must be set for an Update request)"
    );
    let error = client.create(created).await.expect_err("a revision");
    assert!(error.to_string().starts_with("error with field Metadata.ResourceVersion = '"), "{error}");
    assert!(client.create(resource(Kind::Tier, "t", json!({}))).await.expect_err("it is there").exists());
}

#[tokio::test]
async fn a_pool_keeps_out_of_others_and_of_blocks_of_another_size() {
    let (client, memory) = client();
    let pool =
        |name: &str, cidr: &str, size: u8| resource(Kind::IPPool, name, json!({"cidr": cidr, "blockSize": size}));
    client.create(pool("a", "10.0.0.0/16", 26)).await.expect("the first pool");
    let error = client.create(pool("b", "10.0.128.0/17", 26)).await.expect_err("it overlaps");
    assert_eq!(
        error.to_string(),
        "error with field IPPool.Spec.CIDR = '10.0.128.0/17' (IPPool(b) CIDR overlaps with IPPool(a) CIDR 10.0.0.0/16)"
    );
    assign(&memory, "10.0.0.1", "n1", "h1").await;
    memory.delete(&Key::global(Kind::IPPool, "a"), None).await.expect("gone without a trace");
    let error = client.create(pool("b", "10.0.0.0/16", 24)).await.expect_err("a /26 is there");
    assert!(error.to_string().contains("IPPool.Spec.BlockSize = '24'"), "{error}");
    client.create(pool("b", "10.0.0.0/16", 26)).await.expect("the same size");
}

#[tokio::test]
async fn deleting_a_pool_lets_go_of_its_blocks() {
    let (client, memory) = client();
    client.create(resource(Kind::IPPool, "a", json!({"cidr": "10.0.0.0/16"}))).await.expect("a pool");
    client.create(resource(Kind::IPPool, "b", json!({"cidr": "10.1.0.0/16"}))).await.expect("another");
    let ipam = Ipam::new(&memory, &SystemClock);
    for block in ["10.0.0.0/26", "10.1.0.0/26"] {
        ipam.claim_affinity(block.parse().expect("a CIDR"), &Owner::host("n1")).await.expect("a free block");
    }
    client.delete(Kind::IPPool, "", "a", "").await.expect("the pool is there");
    let left = paths(&memory);
    assert!(left.contains(&"ippools/b".to_owned()) && !left.contains(&"ippools/a".to_owned()), "{left:?}");
    assert!(left.iter().any(|path| path.ends_with("10.1.0.0-26")), "{left:?}");
    assert!(!left.iter().any(|path| path.ends_with("10.0.0.0-26")), "{left:?}");
}

#[tokio::test]
async fn deleting_a_node_takes_along_what_is_its_own() {
    let (client, memory) = client();
    client.create(resource(Kind::IPPool, "a", json!({"cidr": "10.0.0.0/16"}))).await.expect("a pool");
    for node in ["n1", "n2"] {
        let last = &node[1..];
        client.create(resource(Kind::Node, node, json!({"bgp": {"asNumber": 1}}))).await.expect("a node");
        let address = format!("10.0.{last}.1");
        assign(&memory, &address, node, &format!("net.{node}")).await;
        assign(&memory, &format!("10.0.{last}.2"), node, &format!("ipip-tunnel-addr-{node}")).await;
        let endpoint = json!({
            "orchestrator": "k8s", "node": node, "pod": "p", "endpoint": "eth0", "interfaceName": "cali1",
            "ipNetworks": [format!("{address}/32")],
        });
        client.create(resource(Kind::WorkloadEndpoint, "", endpoint)).await.expect("an endpoint");
        let peer = json!({"node": node, "peerIP": "192.0.2.1", "asNumber": 2});
        client.create(resource(Kind::BGPPeer, &format!("peer-{node}"), peer)).await.expect("a peer");
        let own = format!("node.{node}");
        client.create(resource(Kind::FelixConfiguration, &own, json!({}))).await.expect("settings");
        client.create(resource(Kind::BGPConfiguration, &own, json!({}))).await.expect("settings");
    }
    let before = paths(&memory);
    client.delete(Kind::Node, "", "n1", "").await.expect("the node is there");
    let after = paths(&memory);
    let gone: Vec<&String> = before.iter().filter(|path| !after.contains(path)).collect();
    assert_eq!(
        gone,
        [
            "/calico/ipam/v2/assignment/ipv4/block/10.0.1.0-26",
            "/calico/ipam/v2/handle/ipip-tunnel-addr-n1",
            "/calico/ipam/v2/handle/net.n1",
            "/calico/ipam/v2/host/n1/ipv4/block/10.0.1.0-26",
            "bgpconfigurations/node.n1",
            "bgppeers/peer-n1",
            "felixconfigurations/node.n1",
            "nodes/n1",
            "workloadendpoints/default/n1-k8s-p-eth0",
        ]
    );
}

#[tokio::test]
async fn the_default_profile_is_everywhere_and_nowhere() {
    let (client, memory) = client();
    client.create(resource(Kind::Profile, "a", json!({}))).await.expect("a profile");
    let names: Vec<String> = client
        .list(Kind::Profile, "")
        .await
        .expect("a list")
        .iter()
        .map(|profile| profile.metadata().name.clone())
        .collect();
    assert_eq!(names, ["a", "projectcalico-default-allow"]);
    assert_eq!(paths(&memory), ["profiles/a"]);
    let own = resource(Kind::Profile, "projectcalico-default-allow", json!({}));
    assert!(client.create(own).await.expect_err("it is built in").exists());
    let error = client.delete(Kind::Profile, "", "projectcalico-default-allow", "").await.expect_err("it is built in");
    assert!(matches!(error, ClientError::NotSupported { .. }), "{error}");
}

/// A datastore in which somebody else writes just before a deletion.
struct Meddled {
    memory: Memory,
    /// The name of what is deleted, and what is written then.
    write: Mutex<Option<(&'static str, Resource)>>,
}

impl Meddled {
    fn client(memory: &Memory, name: &'static str, write: Resource) -> Client {
        Client::new(Arc::new(Meddled { memory: memory.clone(), write: Mutex::new(Some((name, write))) }))
    }
}

#[async_trait::async_trait]
impl Store for Meddled {
    async fn get(&self, key: &Key) -> Result<Entry, datastore::Error> {
        self.memory.get(key).await
    }

    async fn list(&self, scope: &Scope) -> Result<(Listing, Revision), datastore::Error> {
        self.memory.list(scope).await
    }

    async fn read(&self, queries: &[Query]) -> Result<(Vec<Listing>, Revision), datastore::Error> {
        self.memory.read(queries).await
    }

    async fn delete(&self, key: &Key, revision: Option<&Revision>) -> Result<(), datastore::Error> {
        let mut write = self.write.lock().expect("nobody panics with it").take();
        if let Some((name, resource)) = write.take_if(|(name, _)| datastore::layout::path(key).ends_with(*name)) {
            let (key, object) = (Key::of(&resource), Object::Resource(resource));
            let present = self.memory.get(&key).await.expect("name is there").revision;
            self.memory.update(&key, &object, &present).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        *self.write.lock().expect("nobody panics with it") = write;
        self.memory.delete(key, revision).await
    }

    async fn transact(&self, writes: &[Write]) -> Result<Revision, datastore::Error> {
        self.memory.transact(writes).await
    }

    async fn watch(&self, scope: &Scope, from: &Revision) -> Result<Box<dyn Watch>, datastore::Error> {
        self.memory.watch(scope, from).await
    }
}

#[tokio::test]
async fn what_is_deleted_is_what_was_seen() {
    let (client, memory) = client();
    let created = client.create(resource(Kind::Tier, "t", json!({"order": 1}))).await.expect("a tier");
    let other = || resource(Kind::Tier, "t", json!({"order": 2}));
    let revision = &created.metadata().resource_version;
    let error = Meddled::client(&memory, "/t", other()).delete(Kind::Tier, "", "t", revision).await;
    assert!(matches!(&error, Err(ClientError::Conflict(key)) if key == "Tier(t)"), "{error:?}");
    let Resource::Tier(left) = client.get(Kind::Tier, "", "t").await.expect("it stays") else { panic!("a tier") };
    assert_eq!(left.spec.order, Some(2.into()));

    // who names no revision means whatever it is, and learns what that was
    let third = resource(Kind::Tier, "t", json!({"order": 3}));
    let deleted = Meddled::client(&memory, "/t", third).delete(Kind::Tier, "", "t", "").await.expect("gone");
    let Resource::Tier(deleted) = deleted else { panic!("a tier") };
    assert_eq!(deleted.spec.order, Some(3.into()));
    assert!(client.get(Kind::Tier, "", "t").await.expect_err("gone").not_found());
}

#[tokio::test]
async fn a_pool_that_is_enabled_meanwhile_is_released_again() {
    let (client, memory) = client();
    let pool = || resource(Kind::IPPool, "a", json!({"cidr": "10.0.0.0/16", "disabled": false}));
    let created = client.create(pool()).await.expect("a pool");
    let revision = &created.metadata().resource_version;
    client.delete(Kind::IPPool, "", "a", revision).await.expect("its own change is no conflict");
    client.create(pool()).await.expect("a pool");
    let deleted = Meddled::client(&memory, "/a", pool()).delete(Kind::IPPool, "", "a", "").await.expect("gone");
    assert_eq!(deleted.metadata().name, "a");
    assert!(client.get(Kind::IPPool, "", "a").await.expect_err("gone").not_found());
}

#[tokio::test]
async fn a_peer_that_leaves_a_node_meanwhile_outlives_it() {
    let (client, memory) = client();
    client.create(resource(Kind::Node, "n1", json!({"bgp": {"asNumber": 1}}))).await.expect("a node");
    let peer = |node: &str| resource(Kind::BGPPeer, "p", json!({"node": node, "peerIP": "192.0.2.1", "asNumber": 2}));
    client.create(peer("n1")).await.expect("a peer");
    Meddled::client(&memory, "/p", peer("n2")).delete(Kind::Node, "", "n1", "").await.expect("gone");
    let Resource::BGPPeer(left) = client.get(Kind::BGPPeer, "", "p").await.expect("it stays") else { panic!("a peer") };
    assert_eq!(left.spec.node, "n2");
}

#[tokio::test]
async fn a_policys_tier_and_a_peers_filters_must_exist() {
    let (client, _) = client();
    client.ensure_initialized("", "").await.expect("an empty datastore");
    let policy = |tier: &str| resource(Kind::GlobalNetworkPolicy, "g", json!({"tier": tier}));
    let error = client.create(policy("sec")).await.expect_err("no such tier");
    assert_eq!(error.to_string(), "resource does not exist: Tier(sec) with error: <nil>");
    client.create(resource(Kind::Tier, "sec", json!({"order": 10}))).await.expect("a tier");
    client.create(policy("sec")).await.expect("a policy");
    let error = client.delete(Kind::Tier, "", "sec", "").await.expect_err("a policy is in it");
    assert_eq!(error.to_string(), "operation delete is not supported on sec: Cannot delete a non-empty tier");
    client.delete(Kind::GlobalNetworkPolicy, "", "g", "").await.expect("a policy");
    client.delete(Kind::Tier, "", "sec", "").await.expect("an empty tier");
    let peer = || resource(Kind::BGPPeer, "p", json!({"peerIP": "10.0.0.1", "asNumber": 1, "filters": ["f1", "f2"]}));
    client.create(resource(Kind::BGPFilter, "f1", json!({}))).await.expect("a filter");
    let error = client.create(peer()).await.expect_err("no such filter");
    assert_eq!(error.to_string(), "error with field BGPPeer.Spec.Filters = '[f2]' (BGPFilter(s) not found)");
    client.create(resource(Kind::BGPFilter, "f2", json!({}))).await.expect("a filter");
    client.create(peer()).await.expect("a peer");
}

#[tokio::test]
async fn a_node_takes_its_host_endpoints_along() {
    let (client, memory) = client();
    client.create(resource(Kind::Node, "n1", json!({}))).await.expect("a node");
    for (name, node) in [("n1-eth0", "n1"), ("n2-eth0", "n2")] {
        let spec = json!({"node": node, "interfaceName": "eth0"});
        client.create(resource(Kind::HostEndpoint, name, spec)).await.expect("a host endpoint");
    }
    client.delete(Kind::Node, "", "n1", "").await.expect("a node");
    assert_eq!(paths(&memory), ["hostendpoints/n2-eth0"]);
}

#[tokio::test]
async fn a_policy_of_an_older_version_is_found_by_its_key() {
    let (client, memory) = client();
    let path = "/calico/resources/v3/projectcalico.org/globalnetworkpolicies/default.deny";
    let stored = br#"{"kind":"GlobalNetworkPolicy","apiVersion":"projectcalico.org/v3","metadata":{"name":"default.deny"},"spec":{}}"#;
    memory.put_raw(path, stored);
    let listed = client.list(Kind::GlobalNetworkPolicy, "").await.expect("a list");
    assert_eq!(listed[0].metadata().name, "deny");
    client.delete(Kind::GlobalNetworkPolicy, "", "default.deny", "").await.expect("it is there");
    assert_eq!(paths(&memory), [""; 0]);
}
