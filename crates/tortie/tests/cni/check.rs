//! CHECK: silent after ADD, and names what was changed by hand.

use crate::common::{Call, Container, ENDPOINTS, Node, PROFILES};
use serde_json::{Value, json};

const BLOCK: &str = "/calico/ipam/v2/assignment/ipv4/block/10.244.166.128-26";
const HANDLE: &str = "/calico/ipam/v2/handle/net1.cid1";

/// A node with a connected container, and ADD's answer.
struct Bench {
    node: Node,
    container: Container,
    added: Value,
}

impl Bench {
    fn new(version: &str) -> Bench {
        let node = Node::new();
        let container = node.container("cid1");
        let added = node.call("ADD", &container).set("cniVersion", version).run().success();
        Bench { node, container, added }
    }

    fn call(&self) -> Call<'_> {
        let version = self.added["cniVersion"].as_str().expect("a version");
        self.node.call("CHECK", &self.container).set("cniVersion", version).set("prevResult", self.added.clone())
    }

    /// CHECK finds nothing else than this.
    fn finds(&self, flaw: &str) {
        let expect = format!("container cid1 is not as ADD left it: {flaw}");
        assert_eq!(self.call().run().failure(), (999, expect));
    }

    fn endpoint(&self) -> String {
        format!("{ENDPOINTS}default/node1-cni-cid1-eth0")
    }
}

#[test]
fn what_add_made_is_found_whole_and_nothing_is_written() {
    for version in ["0.4.0", "1.0.0", "1.1.0"] {
        let bench = Bench::new(version);
        let before = bench.node.state().and(bench.container.state());
        let outcome = bench.call().run();
        assert_eq!((outcome.success(), outcome.stdout.as_str()), (Value::Null, "OK\n"));
        assert_eq!(bench.call().plugin("calico-ipam").run().success(), Value::Null);
        bench.node.state().and(bench.container.state()).is_still(&before, "CHECK");
    }
}

#[test]
fn both_families_and_kubernetes() {
    let node = Node::new();
    node.datastore.put_pool("p6", "fd00:10:244::/64", 122);
    let ipam = json!({"type": "calico-ipam", "assign_ipv4": "true", "assign_ipv6": "true"});
    let container = node.container("sandbox1");
    let call = |command: &str| {
        let call = node.call(command, &container).pod("ns1", "my-pod").set("ipam", ipam.clone());
        call.set("cniVersion", "1.0.0").set("mtu", 1400)
    };
    let added = call("ADD").run().success();
    call("CHECK").set("prevResult", added.clone()).run().success();
    node.namespace.ip(&format!("-6 route del {}", added["ips"][1]["address"].as_str().expect("an address")));
    let (_, message) = call("CHECK").set("prevResult", added.clone()).run().failure();
    assert!(message.ends_with("/128 dev cali21f984b8c6d on the host is missing"), "{message}");
    // a new sandbox of the pod takes over
    let other = node.container("sandbox2");
    node.call("ADD", &other).pod("ns1", "my-pod").run().success();
    let (_, message) = call("CHECK").set("prevResult", added).run().failure();
    for text in ["interface eth0 in the pod is missing", r#"has containerID "sandbox2", expected "sandbox1""#] {
        assert!(message.contains(text), "{message}");
    }
}

#[test]
fn the_kernels_flaws_are_told() {
    let bench = Bench::new("1.0.0");
    let (host, pod) = (&bench.node.namespace, &bench.container.namespace);
    host.ip("route del 10.244.166.128 dev calicid1");
    bench.finds("route 10.244.166.128/32 dev calicid1 on the host is missing");
    host.ip("route add 10.244.166.128 dev calicid1");
    pod.ip("route del default");
    bench.finds("route 0.0.0.0/0 via 169.254.1.1 dev eth0 in the pod is missing");
    pod.ip("route add default via 169.254.1.1 dev eth0");
    pod.ip("link set eth0 mtu 1400");
    bench.finds("interface eth0 in the pod has MTU 1400, expected 1500");
    pod.ip("link set eth0 mtu 1500");
    bench.call().run().success();
    let mac = bench.container.mac("eth0");
    pod.ip("link set eth0 address 02:00:00:00:00:01");
    bench.finds(&format!("interface eth0 in the pod has MAC 02:00:00:00:00:01, expected {mac}"));
    // a later plugin that changed it says so
    let mut changed = bench.added.clone();
    changed["interfaces"][1]["mac"] = json!("02:00:00:00:00:01");
    bench.call().set("prevResult", changed).run().success();
}

#[test]
fn the_mtu_is_the_one_that_was_given() {
    for (version, conf) in [("1.1.0", None), ("1.0.0", Some(1500))] {
        let bench = Bench::new(version);
        for (namespace, link) in [(&bench.node.namespace, "calicid1"), (&bench.container.namespace, "eth0")] {
            namespace.ip(&format!("link set {link} mtu 1450"));
        }
        let call = conf.into_iter().fold(bench.call(), |call, mtu: u32| call.set("mtu", mtu));
        let expect = "interface calicid1 on the host has MTU 1450, expected 1500; interface eth0 in the pod has MTU 1450, expected 1500";
        assert_eq!(call.run().failure().1, format!("container cid1 is not as ADD left it: {expect}"));
    }
}

#[test]
fn a_later_plugin_may_give_the_pods_end_another_mtu() {
    let mut bench = Bench::new("1.1.0");
    bench.container.namespace.ip("link set eth0 mtu 1400");
    bench.finds("interface eth0 in the pod has MTU 1400, expected 1500");
    bench.added["interfaces"][1]["mtu"] = json!(1400);
    bench.call().run().success();
}

#[test]
fn the_endpoints_flaws_are_told() {
    let bench = Bench::new("1.0.0");
    let key = bench.endpoint();
    let whole = bench.node.datastore.json(&key);
    let name = "WorkloadEndpoint(default/node1-cni-cid1-eth0)";
    for (field, value, flaw) in [
        ("containerID", json!("cid2"), r#"has containerID "cid2", expected "cid1""#),
        ("interfaceName", json!("cali0"), r#"has interfaceName "cali0", expected "calicid1""#),
        ("ipNetworks", json!(["10.244.0.1/32"]), r#"has ipNetworks {"10.244.0.1/32"}, expected {"10.244.166.128/32"}"#),
        ("profiles", json!(["other"]), r#"has profiles ["other"], without "net1""#),
    ] {
        let mut changed = whole.clone();
        changed["spec"][field] = value;
        bench.node.datastore.put(&key, &changed);
        bench.finds(&format!("{name} {flaw}"));
    }
    bench.node.datastore.delete(&key);
    bench.finds(&format!("{name} does not exist"));
    bench.node.datastore.put(&key, &whole);
    bench.node.datastore.delete(&format!("{PROFILES}net1"));
    bench.finds("Profile(net1) does not exist");
}

#[test]
fn ipams_flaws_are_told_by_both_plugins() {
    let bench = Bench::new("1.0.0");
    let (block, handle) = (bench.node.datastore.json(BLOCK), bench.node.datastore.json(HANDLE));
    let finds = |flaw: &str| {
        bench.finds(flaw);
        let message = bench.call().plugin("calico-ipam").run().failure().1;
        assert_eq!(message, format!("container cid1 is not as ADD left it: {flaw}"));
    };
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut block = block.clone();
        change(&mut block);
        bench.node.datastore.put(BLOCK, &block);
    };
    changed(&|block| block["attributes"][0]["handle_id"] = json!("net1.cid2"));
    finds(r#"address 10.244.166.128 is held by handle "net1.cid2", expected "net1.cid1""#);
    changed(&|block| block["attributes"][0]["secondary"]["node"] = json!("node2"));
    finds(r#"address 10.244.166.128 is held for node "node2", expected "node1""#);
    changed(&|block| block["allocations"][0] = Value::Null);
    finds("address 10.244.166.128 is not assigned, expected handle net1.cid1");
    bench.node.datastore.put(BLOCK, &block);
    bench.node.datastore.put(HANDLE, &json!({"block": {"10.244.0.0/26": 1}, "deleted": false}));
    finds("IPAMHandle(net1.cid1) does not name the block of 10.244.166.128");
    bench.node.datastore.delete(HANDLE);
    finds("IPAMHandle(net1.cid1) does not exist, though it holds 10.244.166.128");
    bench.node.datastore.put(HANDLE, &handle);
    bench.call().run().success();
}

#[test]
fn a_second_network_of_a_container_has_the_firsts_addresses() {
    let bench = Bench::new("1.0.0");
    let call = |command| bench.node.call(command, &bench.container).set("name", "net2").set("cniVersion", "1.0.0");
    let joined = call("ADD").run().success();
    call("CHECK").set("prevResult", joined).run().success();
    bench.call().run().success();
}

#[test]
fn without_the_answer_what_is_stored_counts() {
    let bench = Bench::new("1.0.0");
    let call = || bench.node.call("CHECK", &bench.container).set("cniVersion", "1.0.0");
    let outcome = call().run();
    assert_eq!((outcome.status.code(), outcome.stdout.as_str()), (Some(0), "OK\n"), "{}", outcome.stderr);
    let alone = || call().plugin("calico-ipam");
    let outcome = alone().run();
    assert_eq!((outcome.status.code(), outcome.stdout.as_str()), (Some(0), ""), "{}", outcome.stderr);

    bench.container.namespace.ip("addr del 10.244.166.128/32 dev eth0");
    let message = call().run().failure().1;
    assert!(message.contains("10.244.166.128") && !message.contains("prevResult"), "{message}");
    bench.node.call("DEL", &bench.container).run().success();
    let message = call().run().failure().1;
    let expect = "container cid1 is not as ADD left it: WorkloadEndpoint(default/node1-cni-cid1-eth0) does not exist";
    assert_eq!(message, expect);
    let message = alone().run().failure().1;
    assert_eq!(message, "container cid1 is not as ADD left it: IPAMHandle(net1.cid1) does not exist");
}

#[test]
fn the_answer_has_to_be_the_containers() {
    let bench = Bench::new("1.0.0");
    let other = bench.node.container("cid2");
    let added = bench.node.call("ADD", &other).set("cniVersion", "1.0.0").run().success();
    let message = bench.call().set("prevResult", added).run().failure().1;
    for text in ["which is not CNI_NETNS", "prevResult has no interface calicid1 on the host"] {
        assert!(message.contains(text), "{message}");
    }
    let (code, message) = bench.call().env("CNI_NETNS", "/run/netns/tortie-cni-never").run().failure();
    assert!(code == 999 && message.starts_with("failed to open netns"), "{message}");
    bench.node.call("DEL", &bench.container).run().success();
    let message = bench.call().run().failure().1;
    for text in ["interface eth0 in the pod is missing", "does not exist", "10.244.166.128 is not assigned"] {
        assert!(message.contains(text), "{message}");
    }
}
