//! GC: what belongs to attachments that are gone is taken back, all else stays.

use crate::common::{Call, ENDPOINTS, Node, holders};
use crate::process::Blocked;
use serde_json::{Value, json};

const BLOCK: &str = "10.244.166.128-26";

fn gc<'a>(node: &'a Node, valid: &[(&str, &str)]) -> Call<'a> {
    let valid: Vec<Value> = valid.iter().map(|(id, ifname)| json!({"containerID": id, "ifname": ifname})).collect();
    let call = Call::new(node, "GC", "", "").env("CNI_IFNAME", "").set("cniVersion", "1.1.0");
    call.set("cni.dev/valid-attachments", valid.clone()).set("cni.dev/attachments", valid)
}

fn collected(node: &Node, valid: &[(&str, &str)]) {
    let outcome = gc(node, valid).run();
    assert_eq!((outcome.success(), outcome.stdout.as_str()), (Value::Null, ""));
}

#[test]
fn what_is_gone_is_taken_back_and_what_is_there_stays() {
    let node = Node::new();
    let stays = [node.container("cid1"), node.container("sandbox1")];
    node.add(&stays[0]);
    node.call("ADD", &stays[1]).pod("ns1", "stays").run().success();
    let before = node.state();
    let gone = [node.container("cid2"), node.container("sandbox2")];
    node.add(&gone[0]);
    node.call("ADD", &gone[1]).pod("ns1", "gone").run().success();
    assert_eq!(node.namespace.links().len(), 5);
    for _ in 0..2 {
        collected(&node, &[("cid1", "eth0"), ("sandbox1", "eth0"), ("never", "eth0")]);
        node.state().is_still(&before, "GC");
        assert_eq!(gone[0].namespace.links(), ["lo"]);
    }
    let held = [(0, "net1.cid1".to_owned()), (1, "net1.sandbox1".to_owned())];
    assert_eq!(holders(&node.block(BLOCK)), held);
    // none at all, as a runtime written in Go may say it
    gc(&node, &[]).set("cni.dev/valid-attachments", Value::Null).run().success();
    assert_eq!((holders(&node.block(BLOCK)), node.namespace.links()), (vec![], vec!["lo".to_owned()]));
    assert_eq!(node.datastore.keys("/handle/").len() + node.datastore.keys("workloadendpoints").len(), 0);
}

#[test]
fn other_networks_and_nodes_are_left_alone() {
    let node = Node::new();
    node.datastore.put_resource("Node", "nodes", "node2", &json!({"bgp": {"ipv4Address": "192.0.2.2/24"}}));
    let containers = ["cid1", "cid2", "b.cid3", "cid4"].map(|id| node.container(id));
    node.call("ADD", &containers[0]).set("name", "net2").run().success();
    node.call("ADD", &containers[1]).set("nodename", "node2").run().success();
    // net1.b.cid3 could be container b.cid3 of net1 as well
    node.call("ADD", &containers[2]).set("name", "net1").plugin("calico-ipam").run().success();
    node.call("ADD", &containers[3]).set("name", "net1.b").run().success();
    let before = node.state();
    collected(&node, &[]);
    node.state().is_still(&before, "GC of net1 on node1");
    gc(&node, &[]).set("name", "net1.b").run().success();
    assert_eq!(node.datastore.keys("cid4"), [] as [&str; 0]);
    assert!(node.namespace.links().contains(&"calicid1".to_owned()));
}

#[test]
fn a_container_id_with_dots_is_known_by_its_endpoint() {
    let node = Node::new();
    let container = node.container("a.b");
    node.add(&container);
    collected(&node, &[]);
    assert_eq!((holders(&node.block(BLOCK)), node.namespace.links()), (vec![], vec!["lo".to_owned()]));
}

#[test]
fn an_old_sandbox_goes_without_its_pod() {
    let node = Node::new();
    let (old, new) = (node.container("sandbox1"), node.container("sandbox2"));
    for container in [&old, &new] {
        node.call("ADD", container).pod("ns1", "my-pod").run().success();
    }
    let (kernel, endpoints) = (node.namespace.state().and(new.state()), node.datastore.keys(ENDPOINTS));
    collected(&node, &[("sandbox2", "eth0")]);
    node.namespace.state().and(new.state()).is_still(&kernel, "GC of an old sandbox");
    assert_eq!(node.datastore.keys(ENDPOINTS), endpoints);
    assert_eq!(holders(&node.block(BLOCK)), [(1, "net1.sandbox2".to_owned())]);
}

#[test]
fn what_a_killed_add_left_is_taken_back() {
    let node = Node::new();
    let containers = [node.container("cid1"), node.container("sandbox1")];
    node.add(&containers[0]);
    node.call("ADD", &containers[1]).pod("ns1", "p").run().success();
    // it died before it wrote the endpoint
    for key in node.datastore.keys(ENDPOINTS) {
        node.datastore.delete(&key);
    }
    collected(&node, &[]);
    assert_eq!((holders(&node.block(BLOCK)), node.namespace.links()), (vec![], vec!["lo".to_owned()]));
}

#[test]
fn a_container_in_two_networks_leaves_one() {
    let node = Node::new();
    let container = node.container("cid1");
    node.add(&container);
    node.call("ADD", &container).set("name", "net2").run().success();
    let (kernel, key) = (node.namespace.state(), format!("{ENDPOINTS}default/node1-cni-cid1-eth0"));
    collected(&node, &[]);
    assert_eq!(node.datastore.json(&key)["spec"]["profiles"], json!(["net2"]));
    assert_eq!(holders(&node.block(BLOCK)), [(0, "net1.cid1".to_owned())]);
    node.namespace.state().is_still(&kernel, "GC of the first network");
    // the last one takes the addresses along, whichever network they came from
    gc(&node, &[]).set("name", "net2").run().success();
    assert_eq!((holders(&node.block(BLOCK)), node.namespace.links()), (vec![], vec!["lo".to_owned()]));
    assert_eq!(node.datastore.keys(&key), [] as [&str; 0]);
}

#[test]
fn one_interface_of_a_container_is_gone() {
    let node = Node::new();
    let container = node.container("cid1");
    node.add(&container);
    let key = format!("{ENDPOINTS}default/node1-cni-cid1-eth0");
    collected(&node, &[("cid1", "net7")]);
    assert_eq!(node.datastore.keys(&key), [] as [&str; 0]);
    assert_eq!(holders(&node.block(BLOCK)), []);
}

#[test]
fn a_container_that_a_call_is_busy_with_stays() {
    let node = Node::new();
    let container = node.container("cid1");
    node.add(&container);
    let before = node.state();
    let busy = Blocked::on_lock(&node, node.call("DEL", &container));
    // GC would wait for IPAM's lock itself, if it did not pass the container over
    collected(&node, &[]);
    node.state().is_still(&before, "GC beside a DEL");
    busy.release().success();
    collected(&node, &[]);
    assert_eq!(node.datastore.keys("cid1"), [] as [&str; 0]);
}

#[test]
fn calico_ipam_collects_addresses_alone() {
    let node = Node::new();
    let (stays, gone) = (node.container("cid1"), node.container("cid2"));
    for container in [&stays, &gone] {
        node.call("ADD", container).plugin("calico-ipam").run().success();
    }
    let connected = node.container("cid3");
    node.add(&connected);
    let kernel = node.namespace.state();
    gc(&node, &[("cid1", "eth0")]).plugin("calico-ipam").run().success();
    assert_eq!(holders(&node.block(BLOCK)), [(0, "net1.cid1".to_owned())]);
    node.namespace.state().is_still(&kernel, "GC by calico-ipam");
    assert_eq!(node.datastore.keys(ENDPOINTS).len(), 1);
}

#[test]
fn what_cannot_be_collected_is_told_and_the_rest_is() {
    let node = Node::new();
    let (container, other) = (node.container("cid1"), node.container("cid2"));
    let missing = "network \"net1\": cni.dev/valid-attachments is missing: GC would take everything back";
    let call = Call::new(&node, "GC", "", "").env("CNI_IFNAME", "").set("cniVersion", "1.1.0");
    assert_eq!(call.run().failure(), (7, missing.to_owned()));
    for it in [&container, &other] {
        node.add(it);
    }
    node.script("pickpool", r#"echo "$CNI_COMMAND" >&2; echo '{"code": 999, "msg": "its server is away"}'; exit 1"#);
    let outcome = gc(&node, &[("cid2", "eth0")]).set("ipam", json!({"type": "pickpool"})).run();
    let message = "network \"net1\": not all could be taken back: its server is away";
    assert_eq!(outcome.failure(), (999, message.to_owned()));
    assert_eq!(outcome.stderr.lines().next(), Some("GC"));
    assert_eq!(node.namespace.links(), ["calicid2", "lo"]);
}

/// Whoever an endpoint or a block that cannot be read may speak of stays; the error names it, and the rest is done.
#[test]
fn what_cannot_be_read_stays_and_is_named() {
    let node = Node::new();
    let containers = ["cid1", "cid2", "sandbox1"].map(|id| node.container(id));
    for container in &containers[..2] {
        node.add(container);
    }
    node.call("ADD", &containers[2]).pod("ns1", "my-pod").run().success();
    let endpoints = ["default/node1-cni-cid1-eth0", "ns1/node1-k8s-my--pod-eth0"];
    for endpoint in endpoints {
        node.datastore.put(&format!("{ENDPOINTS}{endpoint}"), &json!([7]));
    }
    let (code, message) = gc(&node, &[]).run().failure();
    assert_eq!(code, 999);
    for endpoint in endpoints {
        assert!(message.contains(&format!("{endpoint}: stored value cannot be read: ")), "{message}");
    }
    assert_eq!(holders(&node.block(BLOCK)), [(0, "net1.cid1".to_owned()), (2, "net1.sandbox1".to_owned())]);
    assert_eq!(node.namespace.links().len(), 3, "only the second container's interface is gone");

    let node = Node::new();
    let container = node.container("cid1");
    node.add(&container);
    let key = node.datastore.keys(BLOCK).remove(0);
    node.datastore.put(&key, &json!([7]));
    let (code, message) = gc(&node, &[]).run().failure();
    assert!(code == 999 && message.contains(&format!("{BLOCK}: stored value cannot be read: ")), "{message}");
}
