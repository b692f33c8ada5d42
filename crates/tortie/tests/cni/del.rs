//! DEL: what ADD made is gone, and asking again is no error.

use crate::common::{ENDPOINTS, Node, holders};
use serde_json::{Value, json};

#[test]
fn nothing_is_left_and_repeating_is_success() {
    let node = Node::new();
    let (container, neighbour) = (node.container("cid1"), node.container("cid2"));
    node.add(&neighbour);
    let before = node.state().and(container.state());
    node.add(&container);
    assert_ne!(node.state().and(container.state()), before);
    for _ in 0..2 {
        let outcome = node.call("DEL", &container).run();
        assert_eq!(outcome.success(), Value::Null);
        node.state().and(container.state()).is_still(&before, "DEL");
    }
    let block = node.block("10.244.166.128-26");
    assert_eq!(block["unallocated"].as_array().and_then(|free| free.last()), Some(&1.into()), "first in, first out");
}

#[test]
fn a_namespace_that_is_gone_is_no_obstacle() {
    let node = Node::new();
    for (id, netns) in [("cid1", ""), ("cid2", "/run/netns/tortie-cni-never")] {
        let container = node.container(id);
        node.add(&container);
        drop(container.namespace);
        node.call("DEL", &node.container(id)).env("CNI_NETNS", netns).run().success();
        assert_eq!(node.datastore.keys(id), [] as [&str; 0]);
    }
    assert_eq!(holders(&node.block("10.244.166.128-26")), []);
    // what an unmounted namespace leaves behind
    let file = node.dir.path().join("stale");
    std::fs::write(&file, "").expect("a file");
    let stale = file.display().to_string();
    node.call("DEL", &node.container("cid3")).env("CNI_NETNS", &stale).run().success();
}

#[test]
fn an_unknown_container_is_no_error() {
    let node = Node::new();
    let before = node.state();
    assert_eq!(node.call("DEL", &node.container("never")).run().success(), Value::Null);
    assert_eq!(node.call("DEL", &node.container("never")).pod("ns1", "nobody").run().success(), Value::Null);
    node.state().is_still(&before, "DEL");
}

#[test]
fn an_address_that_was_asked_for_is_released() {
    let node = Node::new();
    let container = node.container("cid6");
    node.call("ADD", &container).args("IP=10.244.7.7").run().success();
    node.call("DEL", &container).args("IP=10.244.7.7").run().success();
    assert_eq!(holders(&node.block("10.244.7.0-26")), []);
}

#[test]
fn an_old_sandboxs_del_spares_the_new_one() {
    let node = Node::new();
    let (old, new) = (node.container("sandbox1"), node.container("sandbox2"));
    node.call("ADD", &old).pod("ns1", "my-pod").run().success();
    let added = node.call("ADD", &new).pod("ns1", "my-pod").run().success();
    assert_eq!(added["ips"][0]["address"], "10.244.166.129/32");
    assert_eq!(old.namespace.links(), ["lo"], "the pod's interface on the host has one name");
    assert_eq!(node.namespace.routes(""), ["10.244.166.129 dev cali21f984b8c6d scope link"]);
    let key = format!("{ENDPOINTS}ns1/node1-k8s-my--pod-eth0");
    let endpoint = node.datastore.text(&key);
    assert!(endpoint.contains(r#""containerID":"sandbox2""#) && endpoint.contains("10.244.166.129/32"), "{endpoint}");

    let kernel = node.namespace.state().and(new.state());
    node.call("DEL", &old).pod("ns1", "my-pod").run().success();
    assert_eq!(node.datastore.text(&key), endpoint);
    node.namespace.state().and(new.state()).is_still(&kernel, "DEL of the old sandbox");
    assert_eq!(holders(&node.block("10.244.166.128-26")), [(1, "net1.sandbox2".to_owned())]);

    node.call("DEL", &new).pod("ns1", "my-pod").run().success();
    assert_eq!(node.datastore.keys("ns1"), [] as [&str; 0]);
    assert_eq!(node.namespace.links(), ["lo"]);
}

/// What ADD refuses, and a runtime may have kept of a pod that Calico made.
fn settings_of_calicos() -> [(&'static str, Value); 8] {
    [
        ("policy", json!({"type": "k8s"})),
        ("policy", json!({"type": "none"})),
        ("policy", Value::Null),
        ("readiness_gates", json!(["http://127.0.0.1:9099/readiness"])),
        ("policy_setup_timeout_seconds", json!(10)),
        ("dataplane_options", json!({"type": "grpc", "socket": "/x"})),
        ("ipam", json!({"type": "calico-ipam", "assign_ipv4": "yes", "subnet": "usePodCidr"})),
        ("unheard_of", json!([])),
    ]
}

#[test]
fn settings_that_add_refuses_do_not_keep_a_pod() {
    let node = Node::new();
    // an earlier pod leaves the network's profile and IPAM's own settings
    let first = node.container("cid0");
    node.add(&first);
    node.call("DEL", &first).run().success();
    let before = node.state();
    for (key, value) in settings_of_calicos() {
        for pod in [false, true] {
            let container = node.container("cid1");
            let call = |command| {
                let call = node.call(command, &container).set("cniVersion", "1.1.0");
                if pod { call.pod("ns1", "my-pod") } else { call }
            };
            call("ADD").run().success();
            call("CHECK").set(key, value.clone()).run().success();
            call("DEL").set(key, value.clone()).run().success();
            node.state().is_still(&before, &format!("DEL with {key} {value}"));
            assert_eq!(container.namespace.links(), ["lo"]);

            call("ADD").run().success();
            let gc = node.call("GC", &container).set("cniVersion", "1.1.0").set(key, value.clone());
            gc.set("cni.dev/valid-attachments", json!([])).run().success();
            node.state().is_still(&before, &format!("GC with {key} {value}"));
        }
        let container = node.container("cid2");
        let alone = |command| node.call(command, &container).plugin("calico-ipam");
        alone("ADD").run().success();
        alone("DEL").set(key, value).run().success();
        assert_eq!(node.datastore.keys("/handle/"), [] as [&str; 0]);
    }
}

#[test]
fn host_local_finds_its_address_without_kubernetes() {
    let node = Node::new();
    std::os::unix::fs::symlink("/usr/lib/cni/host-local", node.bin().join("host-local")).expect("a link");
    let folder = node.dir.path().join("networks");
    let ipam = |subnet: &str| json!({"type": "host-local", "subnet": subnet, "dataDir": folder});
    let container = node.container("cid1");
    node.call("ADD", &container).set("ipam", ipam("10.99.0.0/24")).run().success();
    assert!(folder.join("net1/10.99.0.2").exists());
    let call = node.call("DEL", &container).set("policy", json!({"type": "k8s"}));
    call.set("ipam", ipam("usePodCidr")).run().success();
    assert!(!folder.join("net1/10.99.0.2").exists());
}

#[test]
fn the_nodes_own_namespace_is_refused() {
    let node = Node::new();
    let own = node.namespace.path().display().to_string();
    let container = node.container("cid1");
    let before = node.state();
    for command in ["ADD", "DEL"] {
        let (code, message) =
            node.call(command, &container).env("CNI_NETNS", &own).env("CNI_IFNAME", "lo").run().failure();
        assert_eq!(code, 8, "{message}");
        assert!(message.ends_with(&own), "{message}");
    }
    node.state().is_still(&before, "DEL");
}
