//! Other plugins before, behind and beneath: delegated IPAM, earlier results.

use crate::common::{ENDPOINTS, Node};
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use std::path::Path;

/// The upstream plugins of Debian's containernetworking-plugins.
const UPSTREAM: &str = "/usr/lib/cni";

/// A node whose plugin folder has host-local too, and its configuration.
fn with_host_local(node: &Node, more: &Value) -> Value {
    let plugin = Path::new(UPSTREAM).join("host-local");
    assert!(plugin.exists(), "this test needs {} (package containernetworking-plugins)", plugin.display());
    symlink(plugin, node.bin().join("host-local")).expect("a link to host-local");
    let mut ipam = json!({
        "type": "host-local",
        "dataDir": node.dir.path().join("host-local"),
        "ranges": [[{"subnet": "10.88.0.0/24", "rangeStart": "10.88.0.10"}]],
    });
    ipam.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    ipam
}

#[test]
fn host_local_gives_the_addresses() {
    let node = Node::new();
    let ipam = with_host_local(&node, &json!({}));
    let container = node.container("cid1");
    let leases = node.dir.path().join("host-local/net1");
    for version in ["0.2.0", "0.3.1", "1.0.0"] {
        let call = |command| node.call(command, &container).set("ipam", ipam.clone()).set("cniVersion", version);
        let added = call("ADD").run().success();
        let address = if version == "0.2.0" { &added["ip4"]["ip"] } else { &added["ips"][0]["address"] };
        let address = address.as_str().expect("an address").to_owned();
        assert!(address.starts_with("10.88.0.") && address.ends_with("/32"), "{address}");
        let ip = address.trim_end_matches("/32");
        assert!(leases.join(ip).exists(), "host-local keeps a file for {ip}");
        let endpoint = node.datastore.json(&format!("{ENDPOINTS}default/node1-cni-cid1-eth0"));
        assert_eq!(endpoint["spec"]["ipNetworks"], json!([address]));
        assert_eq!(node.namespace.routes(""), [format!("{ip} dev calicid1 scope link")]);
        for _ in 0..2 {
            call("DEL").run().success();
            assert!(!leases.join(ip).exists());
        }
        assert_eq!(node.namespace.links(), ["lo"]);
    }
    assert_eq!(node.datastore.keys("/calico/ipam/"), [] as [&str; 0]);
}

#[test]
fn its_routes_are_a_kubernetes_pods() {
    let node = Node::new();
    let ipam = with_host_local(&node, &json!({"routes": [{"dst": "10.0.0.0/8"}, {"dst": "192.168.0.0/16"}]}));
    let (few, all) = (node.container("cid1"), node.container("cid2"));
    node.call("ADD", &few).pod("ns1", "few").set("ipam", ipam.clone()).run().success();
    let given = [
        "10.0.0.0/8 via 169.254.1.1 dev eth0",
        "169.254.1.1 dev eth0 scope link",
        "192.168.0.0/16 via 169.254.1.1 dev eth0",
    ];
    assert_eq!(few.namespace.routes(""), given);
    let call = node.call("ADD", &all).pod("ns1", "all").set("ipam", ipam).set("include_default_routes", true);
    call.run().success();
    let mut expect = given.to_vec();
    expect.push("default via 169.254.1.1 dev eth0");
    assert_eq!(all.namespace.routes(""), expect);
}

#[test]
fn its_failure_is_passed_on_and_its_address_returned() {
    let node = Node::new();
    let ipam = with_host_local(&node, &json!({"ranges": [[{"subnet": "10.88.0.0/30"}]]}));
    let call = |container| node.call("ADD", container).set("ipam", ipam.clone());
    let (first, second) = (node.container("cid1"), node.container("cid2"));
    first.namespace.ip("link add eth0 type veth peer name other");
    call(&first).run().failure();
    let leases = std::fs::read_dir(node.dir.path().join("host-local/net1")).expect("host-local's folder");
    let leased =
        leases.filter(|entry| entry.as_ref().is_ok_and(|e| e.file_name().to_string_lossy().starts_with("10.")));
    assert_eq!(leased.count(), 0);
    call(&second).run().success();
    let third = node.container("cid3");
    let (code, message) = call(&third).run().failure();
    assert!(code == 999 && message.contains("no IP addresses available in range set"), "{message}");
    assert_eq!(third.namespace.links(), ["lo"]);
}

#[test]
fn an_earlier_plugins_result_is_taken() {
    let node = Node::new();
    let container = node.container("cid1");
    let earlier = json!({"cniVersion": "0.3.1", "interfaces": [], "ips": [], "dns": {}});
    let added = node.call("ADD", &container).set("prevResult", earlier).run().success();
    assert_eq!(node.call("DEL", &container).set("prevResult", added).run().success(), Value::Null);
    assert_eq!(node.datastore.keys("cid1"), [] as [&str; 0]);
}
