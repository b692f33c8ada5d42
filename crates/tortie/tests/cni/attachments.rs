//! A container that is attached twice: with another interface name, to another network, or beside one whose ID begins
//! alike. Whatever becomes of the second attachment, the first one lives until its own DEL.
//!
//! ```text
//!  node's namespace             pod's namespace
//!  client ── cali… ──────────── eth0
//! ```

use crate::common::{Call, Container, ENDPOINTS, List, Node, State, eventually, holders};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// A port of every pod here.
const PORT: u16 = 8080;

/// How an attachment is named.
#[derive(Clone, Copy)]
struct Attachment {
    network: &'static str,
    interface: &'static str,
}

const fn attachment(network: &'static str, interface: &'static str) -> Attachment {
    Attachment { network, interface }
}

/// Who asks for a pod.
#[derive(Clone, Copy, Debug)]
enum Runtime {
    Plain,
    Kubernetes,
}

struct Bench {
    node: Node,
    container: Container,
    runtime: Runtime,
}

impl Bench {
    /// A node that has been used before, and a new container.
    fn new(runtime: Runtime, networks: &[Attachment]) -> Bench {
        let node = Node::new();
        let bench = Bench { container: node.container("0123456789abcdef"), node, runtime };
        for network in networks {
            for command in ["ADD", "DEL"] {
                bench.call(command, *network).env("CNI_CONTAINERID", "earlier").run().success();
            }
        }
        bench
    }

    fn call(&self, command: &str, attachment: Attachment) -> Call<'_> {
        let call = self.node.call(command, &self.container).set("name", attachment.network);
        let call = call.env("CNI_IFNAME", attachment.interface);
        match self.runtime {
            Runtime::Plain => call,
            Runtime::Kubernetes => call.pod("ns1", "my-pod"),
        }
    }

    /// Neighbours come and go with traffic.
    fn state(&self) -> State {
        self.node.state().and(self.container.state()).without("-j neigh")
    }

    /// Demands that the address still answers on the node.
    fn answers(&self, added: &Value) {
        let address = added["ips"][0]["address"].as_str().expect("an address").trim_end_matches("/32");
        let listener = self.container.namespace.run(|| TcpListener::bind(("::", PORT))).expect("a free port");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            stream.write_all(b"alive").expect("the client reads");
        });
        let address = SocketAddr::new(address.parse().expect("an address"), PORT);
        let text = eventually(|| {
            let connected = self.node.namespace.run(|| TcpStream::connect_timeout(&address, Duration::from_secs(2)));
            let mut text = String::new();
            let read = connected.and_then(|mut stream| stream.read_to_string(&mut text));
            read.map(|_| text).map_err(|error| format!("{address}: {error}"))
        });
        assert_eq!(text, "alive");
        server.join().expect("the server ends");
    }
}

/// The host needs an address to speak to pods from, and pods a gateway.
fn with_address(bench: &Bench) {
    bench.node.namespace.ip("addr add 192.0.2.1/32 dev lo");
    // as the agent has it: the gateway is elsewhere, so that the pods' interfaces answer for it
    bench.node.namespace.ip("route add 169.254.1.1/32 dev lo");
}

/// The second attachment is refused and taken off, as a runtime does it, and the first one does not notice.
fn second_is_refused(runtime: Runtime, first: Attachment, second: Attachment, expect: &str) {
    let bench = Bench::new(runtime, &[first, second]);
    with_address(&bench);
    let empty = bench.state();
    let added = bench.call("ADD", first).run().success();
    bench.answers(&added);
    let before = bench.state();
    for _ in 0..2 {
        let (code, message) = bench.call("ADD", second).run().failure();
        assert!(code == 999 && message.contains(expect), "{message}");
        bench.state().is_still(&before, "a refused ADD");
        bench.call("DEL", second).run().success();
        bench.state().is_still(&before, "DEL after a refused ADD");
        bench.answers(&added);
    }
    bench.call("CHECK", first).set("cniVersion", "0.4.0").run().success();
    bench.call("DEL", first).run().success();
    bench.state().is_still(&empty, "DEL");
    // what was refused can be had
    bench.call("ADD", second).run().success();
    bench.call("DEL", second).run().success();
    bench.state().is_still(&empty, "DEL of the other");
}

#[test]
fn a_second_interface_does_not_take_the_place_of_the_first() {
    for runtime in [Runtime::Plain, Runtime::Kubernetes] {
        for (first, second) in [
            (attachment("net1", "eth0"), attachment("net2", "net1")),
            (attachment("net2", "net1"), attachment("net1", "eth0")),
            (attachment("net1", "eth0"), attachment("net1", "net1")),
            (attachment("a.b", "net7"), attachment("a.b", "net70")),
        ] {
            let expect = format!("container 0123456789abcdef has interface {} already, cali", first.interface);
            second_is_refused(runtime, first, second, &expect);
        }
    }
}

#[test]
fn a_pods_interface_stays_in_its_network() {
    let expect = "has interface eth0 already, of network \"net1\": network \"net2\" would take its place";
    second_is_refused(Runtime::Kubernetes, attachment("net1", "eth0"), attachment("net2", "eth0"), expect);
    let expect = "has interface net3 already, of network \"z\": network \"y\" would take its place";
    second_is_refused(Runtime::Kubernetes, attachment("z", "net3"), attachment("y", "net3"), expect);
}

#[test]
fn two_networks_share_an_interface_until_the_last_is_left() {
    let (one, two) = (attachment("net1", "eth0"), attachment("net2", "eth0"));
    for (first_out, last_out) in [(one, two), (two, one)] {
        let bench = Bench::new(Runtime::Plain, &[one, two]);
        with_address(&bench);
        let empty = bench.state();
        let added = bench.call("ADD", one).run().success();
        let alone = bench.state();
        assert_eq!(bench.call("ADD", two).run().success()["ips"], added["ips"]);
        bench.call("DEL", first_out).run().success();
        bench.answers(&added);
        if first_out.network == "net2" {
            bench.state().is_still(&alone, "DEL of the network that joined");
        }
        let endpoint = bench.node.datastore.json(&format!("{ENDPOINTS}default/node1-cni-0123456789abcdef-eth0"));
        assert_eq!(endpoint["spec"]["profiles"], json!([last_out.network]));
        for _ in 0..2 {
            bench.call("DEL", last_out).run().success();
            bench.state().is_still(&empty, "DEL of the last network");
        }
    }
}

#[test]
fn another_ipam_plugins_network_takes_its_address_along() {
    let bench = Bench::new(Runtime::Plain, &[]);
    let host_local = "/usr/lib/cni/host-local";
    std::os::unix::fs::symlink(host_local, bench.node.bin().join("host-local")).expect("a link");
    let folder = bench.node.dir.path().join("networks");
    let call = |command: &str, network: &'static str| {
        let ipam = json!({"type": "host-local", "subnet": "10.99.0.0/24", "dataDir": folder});
        bench.call(command, attachment(network, "eth0")).set("ipam", ipam)
    };
    let reserved = || folder.join("net1/10.99.0.2").exists();
    for network in ["net2", "net1"] {
        call("ADD", "net1").run().success();
        call("ADD", "net2").run().success();
        call("DEL", network).run().success();
        assert_eq!(
            (reserved(), bench.node.datastore.keys(ENDPOINTS).len()),
            if network == "net1" { (false, 0) } else { (true, 1) }
        );
        call("DEL", "net1").run().success();
        assert_eq!((reserved(), bench.node.namespace.links()), (false, vec!["lo".to_owned()]));
    }
}

#[test]
fn a_container_whose_id_begins_alike_does_not_take_the_interface() {
    let node = Node::new();
    let (first, second) = (node.container("cnitool-77383ca0"), node.container("cnitool-7738ffff"));
    node.add(&first);
    let before = node.state().and(first.state());
    let (code, message) = node.call("ADD", &second).run().failure();
    let expect = "container cnitool-7738ffff would have calicnitool-773 on the host, which is container \
                  cnitool-77383ca0's: their IDs begin alike";
    assert_eq!((code, message.as_str()), (999, expect));
    node.call("DEL", &second).run().success();
    node.state().and(first.state()).is_still(&before, "ADD and DEL of the other");
    node.call("DEL", &first).run().success();
    node.add(&second);
    assert_eq!(holders(&node.block("10.244.166.128-26")), [(1, "net1.cnitool-7738ffff".to_owned())]);
}

#[test]
fn cnitool_attaches_one_namespace_to_two_lists() {
    let node = Node::new();
    let container = node.container("unused");
    let one = List::install(&node, "1.0.0", &[]);
    one.add(&container);
    let before = node.state().and(container.state());
    let mut conf = node.netconf();
    conf["name"] = json!("net2");
    let two = List::with_ours(&node, "1.0.0", conf, &[]);
    let mut second = two.command("add", &container);
    let output = second.env("CNI_IFNAME", "net1").output().expect("cnitool runs");
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("has interface eth0 already"), "{told}");
    let deleted = two.command("del", &container).env("CNI_IFNAME", "net1").output().expect("cnitool runs");
    assert!(deleted.status.success(), "{}", String::from_utf8_lossy(&deleted.stderr));
    node.state().and(container.state()).is_still(&before, "the second list");
}
