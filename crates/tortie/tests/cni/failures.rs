//! An ADD that fails at any stage takes back what it made.

use crate::common::{Call, Container, Datastore, ENDPOINTS, Node, PROFILES};
use crate::process::Blocked;
use serde_json::json;

/// ADD fails as `failed` says; the node and the pod are as before.
fn undone(node: &Node, container: &Container, failed: impl FnOnce() -> (u64, String)) -> String {
    let before = node.state().and(container.state());
    let (code, message) = failed();
    assert_eq!(code, 999, "{message}");
    node.state().and(container.state()).is_still(&before, &message);
    message
}

/// A node that has served a container before.
fn used(node: Node) -> Node {
    let first = node.container("first");
    node.add(&first);
    node.call("DEL", &first).run().success();
    node
}

#[test]
fn the_address_is_another_interfaces() {
    let node = used(Node::new());
    node.namespace.ip("link add wire type veth peer name eriw");
    for end in ["wire", "eriw"] {
        node.namespace.ip(&format!("link set {end} addrgenmode none up"));
    }
    node.namespace.ip("route add 10.244.166.129 dev wire");
    let container = node.container("cid1");
    for pod in ["", "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns1;K8S_POD_NAME=my-pod"] {
        node.namespace.ip("route replace 10.244.166.129 dev wire");
        node.namespace.ip("route replace 10.244.166.130 dev wire");
        let message = undone(&node, &container, || node.call("ADD", &container).args(pod).run().failure());
        assert!(message.contains("is routed to interface wire already"), "{message}");
    }
}

#[test]
fn the_pods_interface_is_there_already() {
    let node = used(Node::new());
    let container = node.container("cid1");
    container.namespace.ip("link add eth0 type veth peer name other");
    let message = undone(&node, &container, || node.call("ADD", &container).run().failure());
    assert!(message.contains("eth0"), "{message}");
    assert!(message.to_lowercase().contains("file exists"), "{message}");
}

#[test]
fn one_family_has_no_address() {
    let node = used(Node::new());
    node.datastore.put_pool("p6", "fd00:10:244::/127", 127);
    let ipam = json!({"type": "calico-ipam", "assign_ipv4": "true", "assign_ipv6": "true"});
    let others = ["one", "two"].map(|id| node.container(id));
    for other in &others {
        node.call("ADD", other).set("ipam", ipam.clone()).run().success();
    }
    let container = node.container("cid1");
    let message = undone(&node, &container, || node.call("ADD", &container).set("ipam", ipam).run().failure());
    assert!(message.contains("failed to request IPv6 addresses") && message.contains("p6"), "{message}");
}

/// A node on an etcd that lets the plugin write everywhere but below `refused`.
fn read_only_below(refused: &str) -> Node {
    let mut node = Node::without_objects(Datastore::etcd);
    node.datastore.put_cluster();
    let first = node.container("first");
    node.call("ADD", &first).set("name", "other").run().success();
    node.call("DEL", &first).set("name", "other").run().success();
    node.datastore.refuse_writes(refused);
    node
}

fn as_plugin<'a>(node: &'a Node, container: &Container) -> Call<'a> {
    node.call("ADD", container).env("ETCD_USERNAME", "plugin").env("ETCD_PASSWORD", "p")
}

#[test]
fn the_endpoint_cannot_be_written() {
    let node = read_only_below(ENDPOINTS);
    let container = node.container("cid1");
    let message = undone(&node, &container, || as_plugin(&node, &container).run().failure());
    assert!(message.contains("permission denied"), "{message}");
}

#[test]
fn the_profile_cannot_be_written() {
    let node = read_only_below(PROFILES);
    let container = node.container("cid1");
    let message = undone(&node, &container, || as_plugin(&node, &container).run().failure());
    assert!(message.contains("permission denied"), "{message}");
    // inside Kubernetes, where a pod's endpoint of an earlier sandbox is put back
    let (old, new) = (node.container("sandbox1"), node.container("sandbox2"));
    let pod = |container: &Container, network: &str| as_plugin(&node, container).pod("ns1", "p").set("name", network);
    pod(&old, "other").run().success();
    let endpoint = || node.datastore.json(&format!("{ENDPOINTS}ns1/node1-k8s-p-eth0"));
    let (before, objects) = (endpoint(), node.objects());
    pod(&new, "net1").run().failure();
    assert_eq!(endpoint(), before);
    node.objects().is_still(&objects, "ADD of a new sandbox");
    assert_eq!(new.namespace.links(), ["lo"]);
    // joining another network
    let plain = node.container("cid2");
    as_plugin(&node, &plain).set("name", "other").run().success();
    undone(&node, &plain, || as_plugin(&node, &plain).run().failure());
}

#[test]
fn the_datastore_dies_meanwhile() {
    let mut node = used(Node::new());
    let container = node.container("cid1");
    let kernel = node.namespace.state().and(container.state());
    let blocked = Blocked::on_lock(&node, node.call("ADD", &container));
    node.datastore.kill();
    let (code, message) = blocked.release().failure();
    assert_eq!(code, 999);
    assert!(message.starts_with(&format!("etcd at {}: ", node.datastore.endpoint)), "{message}");
    node.namespace.state().and(container.state()).is_still(&kernel, &message);
}

#[test]
fn somebody_else_writes_the_endpoint_meanwhile() {
    let node = used(Node::new());
    let container = node.container("cid1");
    let key = format!("{ENDPOINTS}default/node1-cni-cid1-eth0");
    let theirs = json!({
        "kind": "WorkloadEndpoint", "apiVersion": "projectcalico.org/v3",
        "metadata": {
            "name": "node1-cni-cid1-eth0", "namespace": "default", "uid": "0a7594da-970d-4bad-a9bc-e6d6e7f90cbe",
            "creationTimestamp": "2026-11-22T23:38:37Z",
            "labels": {"projectcalico.org/namespace": "default", "projectcalico.org/orchestrator": "cni"},
        },
        "spec": {
            "orchestrator": "cni", "node": "node1", "containerID": "cid1", "endpoint": "eth0",
            "ipNetworks": ["10.244.0.1/32"], "interfaceName": "calicid1", "mac": "02:00:00:00:00:01",
        },
    });
    node.datastore.put(&key, &theirs);
    let before = node.state().and(container.state());
    node.datastore.delete(&key);
    // the plugin has looked for an endpoint when it waits for the lock
    let blocked = Blocked::on_lock(&node, node.call("ADD", &container));
    node.datastore.put(&key, &theirs);
    let (code, message) = blocked.release().failure();
    assert_eq!(code, 999);
    assert!(message.starts_with("resource already exists: WorkloadEndpoint(default/node1-cni-cid1-eth0)"), "{message}");
    node.state().and(container.state()).is_still(&before, &message);
    assert_eq!(node.datastore.json(&key), theirs);
}

#[test]
fn an_earlier_adds_addresses_stay_when_a_repeated_one_fails() {
    let node = used(Node::new());
    let container = node.container("sandbox1");
    let call = || node.call("ADD", &container).pod("ns1", "p");
    call().run().success();
    let key = format!("{ENDPOINTS}ns1/node1-k8s-p-eth0");
    let (mut changed, before) = (node.datastore.json(&key), node.objects().without(&key));
    let blocked = Blocked::on_lock(&node, call());
    changed["metadata"]["annotations"] = json!({"by": "somebody"});
    node.datastore.put(&key, &changed);
    let (code, message) = blocked.release().failure();
    assert!(code == 999 && message.starts_with("update conflict: "), "{message}");
    assert_eq!(node.datastore.json(&key), changed);
    node.objects().without(&key).is_still(&before, &message);
}
