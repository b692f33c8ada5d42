//! What a pod, or anybody, may not do: each thing is tried without rules first, where all of it works.
//!
//! ```text
//!  pod 172.16.158.4 ── cali1 ┐
//!                            ├ node 203.0.113.1 ── 203.0.113.10 (a node) and .11 (a stranger) outside
//! other 172.16.158.6 ─ cali2 ┘ (no workload of ours)
//! ```

use crate::support::{apply, compose, run};
use crate::traffic::{Named, without_nat, world};
use dataplane::rules::driver;
use model::desired::{EndpointToHost, Ipip, PacketRules};
use model::name::NodeName;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

const POD: &str = "172.16.158.4";
const OUTSIDE: &str = "203.0.113.10";
const STRANGER: &str = "203.0.113.11";
const NODE: &str = "203.0.113.1";
const IPIP: u8 = 4;
const UDP: u8 = 17;
/// Long enough for a packet through two namespaces of a busy machine; only one that is lost takes so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// A socket for datagrams of UDP, or of a protocol without ports.
fn socket(protocol: u8, bind: &str, port: u16) -> Socket {
    let kind = if protocol == UDP { Type::DGRAM } else { Type::RAW };
    let socket = Socket::new(Domain::IPV4, kind, Some(Protocol::from(i32::from(protocol)))).expect("needs root");
    let address: Ipv4Addr = bind.parse().expect("a literal address");
    socket.bind(&SocketAddrV4::new(address, port).into()).unwrap_or_else(|error| panic!("{bind}:{port}: {error}"));
    socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    socket
}

/// A way for a datagram, and whether one comes through.
struct Way {
    what: &'static str,
    from: Socket,
    to: SocketAddrV4,
    hears: Socket,
}

impl Way {
    fn new(what: &'static str, protocol: u8, ends: (&Named, &str), to: (Option<&Named>, &str, u16)) -> Way {
        let (sender, source) = ends;
        let (receiver, address, port) = to;
        let from = sender.within(|| socket(protocol, source, 0));
        let hears = match receiver {
            Some(namespace) => namespace.within(|| socket(protocol, address, port)),
            None => socket(protocol, address, port),
        };
        let address = address.parse().expect("a literal address");
        Way { what, from, to: SocketAddrV4::new(address, port), hears }
    }

    fn send(&self) {
        self.from.send_to(b"a datagram", &self.to.into()).unwrap_or_else(|error| panic!("{}: {error}", self.what));
    }

    /// Takes what has come in; tells whether anything has.
    fn has_heard(&self) -> bool {
        self.hears.set_nonblocking(true).expect("a socket option");
        let mut heard = false;
        loop {
            match self.hears.recv(&mut [MaybeUninit::uninit(); 256]) {
                Ok(_) => heard = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{}: {error}", self.what),
            }
        }
        self.hears.set_nonblocking(false).expect("a socket option");
        heard
    }

    /// Whether a datagram comes through. Packets do not overtake each other here, so none comes after one that was
    /// sent later, by `known`, and that passes.
    fn passes(&self, known: &Way) -> bool {
        // raw sockets hear what is meant for others
        self.has_heard();
        self.send();
        known.send();
        let heard = known.hears.recv(&mut [MaybeUninit::uninit(); 256]);
        heard.unwrap_or_else(|error| panic!("{}: {error}", known.what));
        self.has_heard()
    }
}

fn is_held_to_what_it_may(kind: PacketRules) {
    let (pod, outside) = world();
    let other = Named::new("other");
    run(&format!("ip link add cali2 type veth peer name eth0 netns {}", other.name()));
    run("ip link set cali2 up; ip route add 172.16.158.6/32 dev cali2");
    run("echo 1 > /proc/sys/net/ipv4/conf/cali2/proxy_arp");
    for line in ["addr add 172.16.158.6/24 dev eth0", "link set eth0 up", "route add default via 172.16.158.1"] {
        other.run(line);
    }
    outside.run("addr add 203.0.113.11/24 dev eth0");
    outside.run("route add default via 203.0.113.1");
    // addresses that are not the pod's, and nothing else that would stop it from sending with them
    pod.run("addr add 198.51.100.7/32 dev eth0");
    pod.run("addr add 172.16.158.6/32 dev eth0");
    run("ip route add 198.51.100.7/32 dev up0");
    run("for link in all default cali1 cali2 up0; do echo 0 > /proc/sys/net/ipv4/conf/$link/rp_filter; done");
    // the pod sends to a loopback address of the node: what is set there for translation to the local host lets it in
    run("echo 1 > /proc/sys/net/ipv4/conf/cali1/route_localnet");
    pod.within(|| run("echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet"));
    pod.run("route add 127.0.0.1/32 via 172.16.158.1 dev eth0");
    // a service's address that is translated to the local host, in a table of somebody else
    run("iptables-nft -t nat -A PREROUTING -d 192.0.2.53 -p udp --dport 53 -j DNAT --to-destination 127.0.0.1:5300");

    let known = Way::new("to the outside", UDP, (&pod, POD), (Some(&outside), OUTSIDE, 5000));
    let in_known = Way::new("from a node", UDP, (&outside, OUTSIDE), (None, NODE, 5001));
    let to_pod = Way::new("from outside to the pod", UDP, (&outside, OUTSIDE), (Some(&pod), POD, 5002));
    let mut translated = Way::new("to a service on the local host", UDP, (&pod, POD), (None, "127.0.0.1", 5300));
    translated.to = "192.0.2.53:53".parse().expect("a literal address");
    let closed = [
        Way::new("to the node's loopback address", UDP, (&pod, POD), (None, "127.0.0.1", 5003)),
        Way::new("with an address of the outside", UDP, (&pod, "198.51.100.7"), (Some(&outside), OUTSIDE, 5004)),
        Way::new("with another pod's address", UDP, (&pod, "172.16.158.6"), (Some(&outside), OUTSIDE, 5005)),
        Way::new("IPIP to another node", IPIP, (&pod, POD), (Some(&outside), OUTSIDE, 0)),
        Way::new("VXLAN to another node", UDP, (&pod, POD), (Some(&outside), OUTSIDE, 4789)),
        Way::new("from a link that is no workload's", UDP, (&other, "172.16.158.6"), (Some(&outside), OUTSIDE, 5006)),
    ];
    let closed_in = [Way::new("IPIP from a stranger", IPIP, (&outside, STRANGER), (None, NODE, 0))];
    let to_node = Way::new("to the node", UDP, (&pod, POD), (None, NODE, 5007));
    let from_a_node = Way::new("IPIP from a node", IPIP, (&outside, OUTSIDE), (None, "0.0.0.0", 0));
    let from_a_node = Way { to: SocketAddrV4::new(NODE.parse().expect("a literal address"), 0), ..from_a_node };
    let open = || {
        let out = closed.iter().chain([&translated, &to_node]).filter(|way| way.passes(&known));
        let ways: Vec<&str> = out.map(|way| way.what).collect();
        let all_in = closed_in.iter().chain([&from_a_node, &to_pod]).filter(|way| way.passes(&in_known));
        [ways, all_in.map(|way| way.what).collect()].concat()
    };
    let all: Vec<&str> = closed.iter().chain([&translated, &to_node]).chain(&closed_in).map(|way| way.what).collect();
    let both = ["IPIP from a node", "from outside to the pod"];
    assert_eq!(open(), [&all[..], &both].concat(), "without rules everything passes");

    let mut desired = without_nat();
    desired.ipip = Some(Ipip::default());
    desired.hosts = [("n1", NODE), ("n2", OUTSIDE)]
        .map(|(name, address)| (NodeName::from(name), address.parse().expect("a literal address")))
        .into();
    let mut driver = driver(kind);
    apply(&mut *driver, &compose(&desired));
    let mut service_and_node = vec!["to a service on the local host", "to the node"];
    service_and_node.extend(both);
    assert_eq!(open(), service_and_node, "what is left");

    // what a FelixConfiguration opens, and closes
    desired.settings.rules.endpoint_to_host = EndpointToHost::Drop;
    desired.settings.rules.ipip_from_workloads = true;
    desired.settings.rules.vxlan_port = 4790;
    desired.settings.external_nodes = ["203.0.113.11/32".parse().expect("a literal prefix")].into();
    apply(&mut *driver, &compose(&desired));
    let mut expect = vec!["IPIP to another node", "VXLAN to another node", "IPIP from a stranger"];
    expect.extend(both);
    assert_eq!(open(), expect, "with other settings");
}

#[test]
fn a_pod_under_iptables_is_held_to_what_it_may() {
    is_held_to_what_it_may(PacketRules::Iptables);
}

#[test]
fn a_pod_under_nftables_is_held_to_what_it_may() {
    is_held_to_what_it_may(PacketRules::Nftables);
}

#[test]
fn what_policy_accepts_passes_a_chain_whose_policy_is_to_drop() {
    let (pod, outside) = world();
    outside.run("route add default via 203.0.113.1");
    let known = Way::new("from a node", UDP, (&outside, OUTSIDE), (None, NODE, 5001));
    let out = Way::new("to the outside", UDP, (&pod, POD), (Some(&outside), OUTSIDE, 5000));
    run("iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -i eth7 -j ACCEPT");
    assert!(!out.passes(&known), "others drop what is forwarded");
    let mut driver = driver(PacketRules::Iptables);
    apply(&mut *driver, &compose(&without_nat()));
    assert!(out.passes(&Way::new("to the outside again", UDP, (&pod, POD), (Some(&outside), OUTSIDE, 5008))));
}
