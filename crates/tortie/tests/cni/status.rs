//! STATUS: whether an ADD could be served, and why not.

use crate::common::{Call, Node};
use serde_json::{Value, json};

fn status<'a>(node: &'a Node, plugin: &str) -> Call<'a> {
    // a runtime gives nothing but the command and the path
    let call = Call::new(node, "STATUS", "", "").env("CNI_IFNAME", "").plugin(plugin);
    call.set("cniVersion", "1.1.0")
}

#[test]
fn a_node_that_can_serve_says_nothing() {
    let node = Node::new();
    let before = node.state();
    for plugin in ["calico", "calico-ipam"] {
        let outcome = status(&node, plugin).run();
        assert_eq!((outcome.success(), outcome.stdout.as_str()), (Value::Null, ""));
    }
    node.state().is_still(&before, "STATUS");
}

#[test]
fn each_obstacle_has_its_code_and_reason() {
    for plugin in ["calico", "calico-ipam"] {
        let node = Node::new();
        let refused = |call: Call<'_>, code: u64, reason: &str| {
            assert_eq!(call.run().failure(), (code, format!("the plugin cannot serve ADD {reason}")));
        };
        let call = status(&node, plugin).set("etcd_endpoints", "unix:///nowhere/store.sock");
        refused(call, 50, "etcd at unix:///nowhere/store.sock: No such file or directory (os error 2)");
        let call = status(&node, plugin).set("nodename", "nosuchnode");
        refused(
            call,
            51,
            "resource does not exist: Node(nosuchnode) with error: <nil>: the node agent has not registered it",
        );
        let call = status(&node, plugin).set("policy", json!({"type": "k8s"}));
        refused(call, 50, "network \"net1\": policy.type \"k8s\" (the Kubernetes datastore) not supported yet");
        let ipam = |key: &str, value: Value| json!({"type": "calico-ipam", key: value});
        let call = status(&node, plugin).set("ipam", ipam("assign_ipv6", json!("true")));
        refused(call, 50, "cannot find a qualified ippool");
        let call = status(&node, plugin).set("ipam", ipam("ipv4_pools", json!(["nosuch"])));
        refused(call, 50, "error parsing pool \"nosuch\": no such pool, nor a CIDR");

        node.datastore.put_pool("tiny", "10.99.0.0/31", 31);
        let tiny = ipam("ipv4_pools", json!(["tiny"]));
        let containers = ["one", "two"].map(|id| node.container(id));
        for container in &containers {
            status(&node, plugin).set("ipam", tiny.clone()).run().success();
            node.call("ADD", container).set("ipam", tiny.clone()).run().success();
        }
        refused(
            status(&node, plugin).set("ipam", tiny.clone()),
            50,
            "failed to request IPv4 addresses: Assigned 0 out of 1 requested IPv4 addresses; pool tiny (10.99.0.0/31) has no free address for host:node1: 1 blocks of 2, all assigned",
        );
        node.call("DEL", &containers[0]).set("ipam", tiny.clone()).run().success();
        status(&node, plugin).set("ipam", tiny).run().success();

        let not_ready = json!({"datastoreReady": false});
        node.datastore.put_resource("ClusterInformation", "clusterinformations", "default", &not_ready);
        refused(status(&node, plugin), 50, "Calico is currently not ready to process requests");
    }
}

#[test]
fn another_ipam_plugin_is_asked_too() {
    let node = Node::new();
    let log = node.dir.path().join("asked");
    let answer = |status: u32, text: &str| {
        node.script("pickpool", &format!("echo $CNI_COMMAND >>{}; echo '{text}'; exit {status}", log.display()));
        status_with(&node).run()
    };
    assert_eq!(answer(0, "").success(), Value::Null);
    let failure = answer(1, r#"{"code": 51, "msg": "its server is away"}"#).failure();
    assert_eq!(failure, (50, "the plugin cannot serve ADD its server is away".to_owned()));
    assert_eq!(std::fs::read_to_string(log).expect("the plugin's log"), "STATUS\nSTATUS\n");
}

#[test]
fn another_ipam_plugin_need_not_read_its_input() {
    let node = Node::new();
    node.script("pickpool", "exec 0<&-; exit 0");
    // more than a pipe holds
    let long = json!({"padding": "x".repeat(100_000)});
    status_with(&node).set("args", long).run().success();
}

fn status_with(node: &Node) -> Call<'_> {
    status(node, "calico").set("ipam", json!({"type": "pickpool"}))
}
