//! Lists of plugins: ours first, Debian's after it, which work on what ours answered.
//!
//! ```text
//!  client 192.0.2.9 ──── 192.0.2.1 node ── cali… ── eth0 pod
//! ```

use crate::common::{Container, List, Namespace, Node, eventually};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// A node that forwards, with a client outside.
fn with_client() -> (Node, Namespace) {
    let (node, client) = (Node::new(), Namespace::new("client"));
    let name = client.path();
    let name = name.file_name().and_then(|name| name.to_str()).expect("a name");
    node.namespace.ip(&format!("link add uplink type veth peer name wire netns {name}"));
    for (namespace, link, last) in [(&node.namespace, "uplink", 1), (&client, "wire", 9)] {
        namespace.ip(&format!("link set {link} up"));
        namespace.ip(&format!("addr add 192.0.2.{last}/24 dev {link}"));
        namespace.ip(&format!("addr add fd00:c::{last}/64 dev {link}"));
    }
    node.namespace.ip("route add default via 192.0.2.9");
    for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        let set = node.namespace.run(|| std::fs::write(format!("/proc/sys/net/{key}"), "1"));
        set.expect("a sysctl to be set");
    }
    (node, client)
}

/// Answers every connection to a port of the pod with a word, until the test ends.
fn serve(container: &Container, port: u16, word: &'static str) {
    let listener = container.namespace.run(|| TcpListener::bind(("::", port))).expect("a free port");
    thread::spawn(move || listener.incoming().flatten().for_each(|mut stream| drop(stream.write_all(word.as_bytes()))));
}

/// What is answered to a client.
fn ask(client: &Namespace, address: &str) -> Result<String, String> {
    let address: SocketAddr = address.parse().expect("an address with a port");
    let connected = client.run(|| TcpStream::connect_timeout(&address, Duration::from_secs(2)));
    let mut stream = connected.map_err(|error| format!("{address}: {error}"))?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(|error| format!("{address}: {error}"))?;
    Ok(text)
}

fn portmap() -> Value {
    json!({"type": "portmap", "snat": true, "capabilities": {"portMappings": true}})
}

/// A pod's port 80 as port 8080 of the node.
fn mapping() -> Value {
    json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}])
}

#[test]
fn a_mapped_port_answers() {
    let (node, client) = with_client();
    node.datastore.put_pool("p6", "fd00:10:244::/64", 122);
    for (version, addresses) in [
        ("0.3.1", &["192.0.2.1:8080"][..]),
        ("0.4.0", &["192.0.2.1:8080", "[fd00:c::1]:8080"]),
        ("1.0.0", &["192.0.2.1:8080", "[fd00:c::1]:8080"]),
    ] {
        let mut ours = node.netconf();
        ours["ipam"]["assign_ipv6"] = json!((addresses.len() == 2).to_string());
        let list = List::with_ours(&node, version, ours, &[portmap()]).capabilities(json!({"portMappings": mapping()}));
        let container = node.container("unused");
        let added = list.add(&container);
        assert_eq!((&added["cniVersion"], &added["interfaces"][1]["name"]), (&json!(version), &json!("eth0")));
        serve(&container, 80, "from the pod");
        for address in addresses {
            assert_eq!(eventually(|| ask(&client, address)), "from the pod");
        }
        if version != "0.3.1" {
            // ours comes first and finds nothing; Debian's portmap looks for rules of IPv4 among those of IPv6
            let told = list.checked(&container).err().unwrap_or_default();
            assert!(told.is_empty() || told.starts_with("could not check ipv6 dnat"), "{told}");
        }
        list.call("del", &container);
        for address in addresses {
            let error = ask(&client, address).expect_err("nothing listens any more");
            assert!(error.contains("refused"), "{error}");
        }
        assert_eq!(node.namespace.links(), ["lo", "uplink"]);
    }
}

#[test]
fn tuning_is_done_and_checked() {
    let node = Node::new();
    for version in ["0.4.0", "1.0.0"] {
        let tuning = json!({
            "type": "tuning", "dataDir": node.dir.path().join("tuning"), "mac": "02:00:00:00:00:42",
            "sysctl": {"net.ipv4.conf.eth0.arp_filter": "1", "net.ipv4.ip_forward": "1"},
        });
        let list = List::install(&node, version, &[tuning]);
        let container = node.container("unused");
        let added = list.add(&container);
        assert_eq!(added["interfaces"][1]["mac"], "02:00:00:00:00:42");
        assert_eq!(container.mac("eth0"), "02:00:00:00:00:42");
        for key in ["conf/eth0/arp_filter", "ip_forward"] {
            assert_eq!(container.namespace.sysctl(&format!("ipv4/{key}")), "1", "{key}");
        }
        assert_eq!(list.checked(&container), Ok(()));
        container.namespace.ip("link set eth0 address 02:00:00:00:00:43");
        let flaw = "interface eth0 in the pod has MAC 02:00:00:00:00:43, expected 02:00:00:00:00:42";
        let told = list.checked(&container).expect_err("the MAC is another");
        assert!(told.contains(flaw), "{told}");
        list.call("del", &container);
        assert_eq!(container.namespace.links(), ["lo"]);
    }
}

#[test]
fn bandwidth_is_shaped_at_the_hosts_end() {
    let (node, client) = with_client();
    let bandwidth = json!({"type": "bandwidth", "capabilities": {"bandwidth": true}});
    let list = List::install(&node, "1.0.0", &[bandwidth, portmap()]).capabilities(json!({
        "bandwidth": {"ingressRate": 8_000_000, "ingressBurst": 800_000, "egressRate": 4_000_000, "egressBurst": 400_000},
        "portMappings": mapping(),
    }));
    let container = node.container("unused");
    let host = list.add(&container)["interfaces"][0]["name"].as_str().expect("a name").to_owned();
    let qdiscs = node.namespace.tc("qdisc show");
    assert!(qdiscs.contains(&format!("qdisc tbf 1: dev {host} root refcnt 2 rate 8Mbit")), "{qdiscs}");
    assert!(qdiscs.contains(&format!("qdisc ingress ffff: dev {host}")), "{qdiscs}");
    assert!(qdiscs.contains("rate 4Mbit"), "{qdiscs}");
    serve(&container, 80, "slowly");
    assert_eq!(eventually(|| ask(&client, "192.0.2.1:8080")), "slowly");
    list.call("del", &container);
    assert_eq!(node.namespace.links(), ["lo", "uplink"]);
    assert_eq!(node.datastore.keys("workloadendpoints").len() + node.datastore.keys("/handle/").len(), 0);
}

#[test]
fn a_later_plugin_that_fails_has_ours_taken_back() {
    let node = Node::new();
    node.script(
        "broken",
        r#"cat >/dev/null; [ "$CNI_COMMAND" = DEL ] || { echo '{"code": 999, "msg": "it is broken"}'; exit 1; }"#,
    );
    let container = node.container("unused");
    node.add(&container);
    node.call("DEL", &container).run().success();
    let list = List::install(&node, "1.0.0", &[json!({"type": "broken"})]);
    let before = node.state().and(container.state());
    let output = list.command("add", &container).output().expect("cnitool runs");
    assert!(!output.status.success());
    // a runtime deletes what it could not add
    list.call("del", &container);
    node.state().and(container.state()).is_still(&before, "DEL after a failed ADD");
}
