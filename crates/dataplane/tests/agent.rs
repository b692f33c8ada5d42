//! The whole dataplane against a kernel: sysctls, interfaces, `tunl0`, packet rules, routes, and its thread.
//!
//! ```text
//!  192.168.10.10 eth0 ─── wire, another namespace
//!  cali1, cali2 ───────── workloads' interfaces, their other ends also in the wire
//! ```

mod common;

use common::walkthrough::{config, desired, ip, learned, prefix};
use common::{Namespace, eventually};
use dataplane::netlink::{Change, Netlink, Veth};
use dataplane::podnet::{Forwarding, PodNetwork, default_routes};
use dataplane::tunnel::{Tunnel, TunnelError, TunnelSpec};
use dataplane::{Config, Dataplane, Input, Status, TunnelChoice, TunnelForm, mailbox, run};
use model::Mtu;
use model::desired::{Desired, Encapsulation, Ipip, Ipv6, PacketRules, TunnelMtu};
use model::name::IfName;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A tunnel that is only a device, for kernels without ipip; what the BPF one does is tested where it is made.
#[derive(Clone, Default)]
struct DeviceOnly(Arc<Mutex<Option<TunnelSpec>>>);

impl Tunnel for DeviceOnly {
    fn ensure(&mut self, netlink: &mut Netlink, spec: &TunnelSpec) -> Result<(), TunnelError> {
        *self.0.lock().expect("no test panics while it holds this") = Some(spec.clone());
        let name = IfName::from("tunl0");
        if netlink.link(&name)?.is_none() {
            let peer_name = IfName::from("tunl0p");
            let (mac, peer_mac, peer_queue_length) = (None, None, None);
            let veth =
                Veth { name: name.clone(), mac, peer_name, peer_mac, peer_queue_length, mtu: spec.mtu, queues: 1 };
            netlink.create_veth(&veth, None)?;
            for name in [name, IfName::from("tunl0p")] {
                let link = netlink.link(&name)?.expect("made above");
                netlink.set_link_up(&link)?;
            }
        }
        Ok(())
    }

    fn remove(&mut self, netlink: &mut Netlink) -> Result<(), TunnelError> {
        match netlink.link(&IfName::from("tunl0"))? {
            Some(link) => Ok(netlink.delete_link(&link)?),
            None => Ok(()),
        }
    }
}

struct Node {
    namespace: Namespace,
    wire: Namespace,
    state: tempfile::TempDir,
    tunnel: DeviceOnly,
    dataplane: Dataplane,
    desired: Desired,
}

impl Node {
    fn new() -> Node {
        let (namespace, wire) = (Namespace::new("agent"), Namespace::new("wire"));
        namespace.join("eth0", &wire, "wire0");
        namespace.ip("addr add 192.168.10.10/24 dev eth0");
        namespace.ip("route add default via 192.168.10.254");
        for link in ["cali1", "cali2"] {
            namespace.join(link, &wire, &format!("{link}x"));
        }
        let state = tempfile::tempdir().expect("a directory for the test");
        let tunnel = DeviceOnly::default();
        let dataplane = start(&namespace, state.path(), &tunnel);
        let desired = desired();
        Node { namespace, wire, state, tunnel, dataplane, desired }
    }

    fn apply(&mut self) -> dataplane::Outcome {
        self.dataplane.on_desired(Arc::new(self.desired.clone()));
        self.apply_at(Instant::now())
    }

    fn apply_at(&mut self, now: Instant) -> dataplane::Outcome {
        let outcome = self.namespace.run(|| self.dataplane.apply(now));
        assert_eq!(outcome.failures, []);
        outcome
    }

    fn restart(&mut self) {
        self.dataplane = start(&self.namespace, self.state.path(), &self.tunnel);
    }
}

fn start(namespace: &Namespace, state: &Path, tunnel: &DeviceOnly) -> Dataplane {
    namespace.run(|| Dataplane::new(config(state), Box::new(tunnel.clone()))).expect("a netlink socket")
}

#[test]
fn nothing_is_written_before_the_content_is_known() {
    let mut node = Node::new();
    let before = (node.namespace.routes(), node.namespace.links(), node.namespace.sysctl("ipv4/ip_forward"));
    node.dataplane.on_learned(learned());
    let outcome = node.apply_at(Instant::now());
    assert_eq!((outcome.writes, outcome.next_due), (0, None));
    let after = (node.namespace.routes(), node.namespace.links(), node.namespace.sysctl("ipv4/ip_forward"));
    assert_eq!(before, after);
    assert_eq!(fs::read_dir(node.state.path()).unwrap().count(), 0);
}

#[test]
fn a_node_becomes_the_walkthroughs() {
    let mut node = Node::new();
    node.dataplane.on_learned(learned());
    node.apply();
    let mut expect = [
        "172.16.116.1 dev cali1 scope link",
        "172.16.116.2 dev cali2 scope link",
        "172.16.158.0/24 via 192.168.10.101 dev tunl0 proto bird onlink",
        "192.168.10.0/24 dev eth0 proto kernel scope link src 192.168.10.10",
        "blackhole 172.16.116.0/24 proto 80",
        "default via 192.168.10.254 dev eth0",
    ];
    expect.sort_unstable();
    assert_eq!(node.namespace.routes(), expect);
    let tunl0 = node.namespace.ip("addr show tunl0");
    assert!(tunl0.contains("mtu 1480") && tunl0.contains("inet 172.16.116.0/32 scope global tunl0"), "{tunl0}");
    assert_eq!(fs::read_to_string(node.state.path().join("mtu")).unwrap(), "1480");
    for (key, expect) in [
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv4/conf/cali1/proxy_arp", "1"),
        ("ipv4/conf/cali1/route_localnet", "1"),
        ("ipv4/conf/cali1/forwarding", "1"),
        ("ipv4/neigh/cali1/proxy_delay", "0"),
        ("ipv6/conf/cali1/accept_ra", "0"),
        ("ipv6/conf/cali1/proxy_ndp", "1"),
        ("ipv4/conf/eth0/proxy_arp", "0"),
    ] {
        assert_eq!(node.namespace.sysctl(key), expect, "{key}");
    }
}

#[test]
fn a_tunnel_in_bpf_learns_who_is_where() {
    let mut node = Node::new();
    node.desired.settings.external_nodes = BTreeSet::from([prefix("192.0.2.0/28")]);
    node.dataplane.on_learned(learned());
    node.apply();
    let spec = node.tunnel.0.lock().unwrap().clone();
    let form = node.dataplane.tunnel().map(|status| status.form);
    if node.namespace.is_born_with_tunl0() {
        assert_eq!((form, spec), (Some(TunnelForm::Kernel), None));
        return;
    }
    let uplink = node.namespace.run(|| Netlink::open()?.link(&IfName::from("eth0"))).unwrap().unwrap();
    let expect = TunnelSpec {
        mtu: Mtu(1480),
        own_address: ip("192.168.10.10"),
        links: BTreeMap::from([(uplink.index, false)]),
        peers: BTreeMap::from([(prefix("172.16.158.0/24"), ip("192.168.10.101"))]),
        hosts: BTreeSet::from([ip("192.168.10.10"), ip("192.168.10.101")]),
        external_nodes: BTreeSet::from([prefix("192.0.2.0/28")]),
    };
    assert_eq!((form, spec.as_ref()), (Some(TunnelForm::Bpf), Some(&expect)));
    // a new process knows no more than the kernel does until BGP speaks, and must not stop the traffic
    node.restart();
    node.apply();
    assert_eq!(*node.tunnel.0.lock().unwrap(), Some(expect));
    node.dataplane.on_learned(Arc::default());
    node.apply();
    let spec = node.tunnel.0.lock().unwrap().clone();
    assert_eq!(spec.map(|spec| spec.peers), Some(BTreeMap::new()));
    assert_eq!(node.namespace.ip("route show proto bird"), "");
}

#[test]
fn neither_a_second_apply_nor_a_restart_writes() {
    let mut node = Node::new();
    node.dataplane.on_learned(learned());
    assert!(node.apply().writes > 0);
    assert_eq!(node.apply().writes, 0);
    node.restart();
    assert_eq!(node.apply().writes, 0, "before BGP has spoken");
    node.dataplane.on_learned(learned());
    assert_eq!(node.apply().writes, 0, "after BGP has spoken");
}

#[test]
fn drift_heals_at_the_refresh_interval() {
    let mut node = Node::new();
    node.dataplane.on_learned(learned());
    let start = Instant::now();
    node.dataplane.on_desired(Arc::new(node.desired.clone()));
    let outcome = node.apply_at(start);
    let interval = Duration::from_secs(90);
    assert_eq!(outcome.next_due, Some(start + interval));
    let routes = node.namespace.routes();
    node.namespace.ip("route del 172.16.158.0/24");
    node.namespace.ip("addr add 10.9.9.9/24 dev tunl0");
    node.namespace.ip("addr del 172.16.116.0/32 dev tunl0");
    node.namespace.ip("neigh add 172.16.116.1 lladdr 02:00:00:00:00:01 dev cali1 nud permanent");
    assert!(node.namespace.exec("sysctl", &["-qw", "net.ipv4.conf.cali1.proxy_arp=0"]));
    assert!(node.namespace.exec("sysctl", &["-qw", "net.ipv4.conf.cali1.rp_filter=1"]));
    node.apply_at(start + interval);
    assert_eq!(node.namespace.routes(), routes);
    assert!(node.namespace.ip("-4 addr show tunl0").contains("inet 172.16.116.0/32 "));
    assert!(!node.namespace.ip("-4 addr show tunl0").contains("10.9.9.9"));
    assert_eq!(node.namespace.sysctl("ipv4/conf/cali1/proxy_arp"), "1");
    assert_eq!(node.namespace.sysctl("ipv4/conf/cali1/rp_filter"), "0");
    assert_eq!(node.namespace.ip("neigh show nud permanent dev cali1"), "");
}

#[test]
fn what_is_said_of_an_endpoint_holds() {
    let mut node = Node::new();
    let (one, two) = ("k8s default%2Fpod1 eth0", "k8s default%2Fpod2 eth0");
    node.namespace.ip("link set cali2 down");
    node.apply();
    assert_eq!(said(&node), [one], "the other's link is down");
    let content = fs::read_to_string(node.state.path().join("endpoint-status").join(one)).unwrap();
    assert_eq!(content, r#"{"ipv4Nets":["172.16.116.1/32"]}"#);
    node.namespace.ip("link set cali2 up");
    eventually(Duration::from_secs(5), || {
        node.namespace.ip("link show cali2").contains("LOWER_UP").then_some(()).ok_or("no carrier")
    });
    node.dataplane.on_kernel(&Change::Link);
    node.apply();
    assert_eq!(said(&node), [one, two]);
    node.desired.workloads.remove(&IfName::from("cali1"));
    node.apply();
    assert_eq!(said(&node), [two]);
    // a fresh process finds what is there
    node.dataplane = start(&node.namespace, node.state.path(), &node.tunnel);
    node.desired.workloads.clear();
    node.apply();
    assert_eq!(said(&node), [""; 0]);
}

#[test]
fn without_ipip_the_device_retires_and_pods_get_the_uplinks_mtu() {
    let mut node = Node::new();
    node.apply();
    assert!(node.namespace.ip("addr show tunl0").contains("inet "));
    node.desired.ipip = None;
    node.desired.pools.values_mut().for_each(|pool| pool.ipip = Encapsulation::Never);
    node.dataplane.on_learned(learned());
    node.dataplane.on_kernel(&Change::Overrun);
    node.apply();
    if node.namespace.is_born_with_tunl0() {
        assert!(!node.namespace.ip("addr show tunl0").contains("inet "));
    } else {
        node.namespace.ip_refused("link show tunl0");
    }
    assert_eq!(fs::read_to_string(node.state.path().join("mtu")).unwrap(), "1500");
    assert!(node.namespace.routes().contains(&"172.16.158.0/24 via 192.168.10.101 dev eth0 proto bird".to_owned()));
}

#[test]
fn the_form_is_the_kernels_where_it_has_one() {
    let mut node = Node::new();
    let kernel_has_ipip = node.namespace.is_born_with_tunl0();
    node.apply();
    let status = node.dataplane.tunnel().unwrap();
    let shown = node.namespace.ip("-d link show tunl0");
    if kernel_has_ipip {
        assert_eq!((status.form, status.reason), (TunnelForm::Kernel, "the kernel has ipip"));
        assert!(shown.contains("ipip"), "{shown}");
    } else {
        assert_eq!((status.form, status.reason), (TunnelForm::Bpf, "the kernel has no ipip module"));
        assert!(shown.contains("veth"), "{shown}");
    }
    assert!(shown.contains("mtu 1480") && shown.contains("UP"), "{shown}");
}

#[test]
fn the_kernels_form_can_be_demanded() {
    let mut node = Node::new();
    let config = Config { tunnel: TunnelChoice::Kernel, ..config(node.state.path()) };
    let tunnel = Box::new(node.tunnel.clone());
    node.dataplane = node.namespace.run(|| Dataplane::new(config, tunnel)).unwrap();
    if node.namespace.is_born_with_tunl0() {
        node.apply();
        return;
    }
    let complaints = |node: &mut Node| {
        node.dataplane.on_desired(Arc::new(node.desired.clone()));
        let outcome = node.namespace.run(|| node.dataplane.apply(Instant::now()));
        outcome.failures.into_iter().map(|failure| failure.message).collect::<Vec<String>>()
    };
    assert_eq!(
        complaints(&mut node),
        ["create ipip device tunl0: Operation not supported (os error 95): Unknown device type"]
    );
    node.namespace.ip("link add tunl0 type bridge");
    node.dataplane.on_kernel(&Change::Overrun);
    let complaint = "use tunl0 as an ipip device: it is a device of kind \"bridge\": remove or rename it";
    assert_eq!(complaints(&mut node), [complaint]);
}

#[test]
fn a_fixed_mtu_wins_over_the_uplinks() {
    let mut node = Node::new();
    node.desired.ipip = Some(Ipip { address: Some(ip("172.16.116.0")), mtu: Some(Mtu(1400)) });
    node.apply();
    assert!(node.namespace.ip("link show tunl0").contains("mtu 1400"));
    assert_eq!(fs::read_to_string(node.state.path().join("mtu")).unwrap(), "1400");
}

#[test]
fn the_hosts_mtu_is_the_least_of_its_interfaces() {
    let mut node = Node::new();
    node.desired.ipip = None;
    // two routers, and the node's address on neither
    node.namespace.ip("addr add 10.255.0.1/32 dev lo");
    node.desired.address = Some((ip("10.255.0.1"), prefix("10.255.0.1/32")));
    let default = node.desired.settings.mtu_interfaces.clone();
    let vxlan = [TunnelMtu { fixed: None, overhead: 50 }, TunnelMtu { fixed: Some(Mtu(9000)), overhead: 70 }];
    for (step, pattern, expect) in [
        ("link set lo up", default.as_str(), 1500),
        ("link add eth1 mtu 1400 type veth peer name x1", &default, 1500),
        ("link set eth1 up", &default, 1500),
        ("link set x1 up", &default, 1400),
        ("link add ens5 mtu 1300 up type veth peer name x2", &default, 1300),
        ("link add enX0 mtu 1100 up type veth peer name x3", &default, 1300),
        ("link add tap0 mtu 1200 up type veth peer name x4", &default, 1300),
        ("link set ens5 down", &default, 1400),
        ("link set lo up", "^tap[0-9]$", 1200),
        ("link set lo up", "^nothing$", 1460),
        // what nobody can match has been told of, and counts as the default
        ("link set lo up", "(", 1400),
    ] {
        node.namespace.ip(step);
        for peer in step.split(' ').filter(|word| ["x2", "x3", "x4"].contains(word)) {
            node.namespace.ip(&format!("link set {peer} up"));
        }
        node.desired.settings.mtu_interfaces = pattern.to_owned();
        node.dataplane.on_kernel(&Change::Link);
        let pods = |node: &mut Node| {
            node.apply();
            fs::read_to_string(node.state.path().join("mtu")).unwrap()
        };
        assert_eq!(pods(&mut node), expect.to_string(), "{step}, {pattern}");
        node.desired.settings.other_tunnels = vxlan.to_vec();
        assert_eq!(pods(&mut node), (expect - 50).to_string(), "{step}, {pattern}");
        node.desired.settings.other_tunnels.clear();
    }
}

#[test]
fn the_tunnels_mtu_follows_the_hosts_and_not_the_links_with_the_address() {
    let mut node = Node::new();
    node.namespace.ip("link add eth1 mtu 1450 up type veth peer name x1");
    node.namespace.ip("link set x1 up");
    node.dataplane.on_kernel(&Change::Link);
    node.apply();
    assert!(node.namespace.ip("link show tunl0").contains("mtu 1430"));
    assert_eq!(fs::read_to_string(node.state.path().join("mtu")).unwrap(), "1430");
}

#[test]
fn pods_of_one_node_reach_each_other_without_a_default_route() {
    let mut node = Node::new();
    node.namespace.ip("route del default");
    node.namespace.ip("link del cali1");
    node.namespace.ip("link del cali2");
    let pods = [Namespace::pristine("pod1"), Namespace::pristine("pod2")];
    for (pod, (host_interface, workload)) in pods.iter().zip(&node.desired.workloads) {
        let network = PodNetwork {
            host_interface: host_interface.clone(),
            container_interface: IfName::from("eth0"),
            netns: &pod.path(),
            addresses: workload.addresses.iter().copied().map(IpAddr::V4).collect(),
            mtu: Mtu(1480),
            routes: default_routes(),
            forwarding: Forwarding::Denied,
            queues: 1,
            mac: None,
        };
        node.namespace.run(|| network.setup()).unwrap();
    }
    node.apply();
    assert!(pods[0].exec("ping", &["-c1", "-W5", "172.16.116.2"]));
    assert!(pods[1].exec("ping", &["-c1", "-W5", "192.168.10.10"]));
    assert!(node.namespace.exec("ping", &["-c1", "-W5", "172.16.116.1"]));
}

#[test]
fn a_failure_names_its_object_and_is_tried_again() {
    let mut node = Node::new();
    node.desired.address = Some((ip("192.168.10.99"), prefix("192.168.10.0/24")));
    node.dataplane.on_desired(Arc::new(node.desired.clone()));
    let now = Instant::now();
    let outcome = node.namespace.run(|| node.dataplane.apply(now));
    let messages: Vec<&str> = outcome.failures.iter().map(|failure| failure.message.as_str()).collect();
    assert_eq!(messages, ["no link has this node's address 192.168.10.99"]);
    assert_eq!(outcome.next_due, Some(now + Duration::from_secs(1)));
    // the others were done
    assert!(node.namespace.routes().contains(&"172.16.116.1 dev cali1 scope link".to_owned()));
    node.namespace.ip("addr add 192.168.10.99/24 dev eth0");
    node.dataplane.on_kernel(&Change::Address);
    node.apply_at(now);
    assert!(node.namespace.ip("-4 addr show tunl0").contains("inet 172.16.116.0/32 "));
}

#[test]
fn the_thread_hears_of_everything_and_stops_when_told() {
    let node = Node::new();
    let mut desired = node.desired.clone();
    desired.ipip = None;
    desired.pools.values_mut().for_each(|pool| pool.ipip = Encapsulation::Never);
    let (sender, inbox) = mailbox().unwrap();
    let statuses = Arc::new(Mutex::new(Vec::<Status>::new()));
    let (namespace, seen, config) = (node.namespace.path(), Arc::clone(&statuses), config(node.state.path()));
    let thread = std::thread::spawn(move || {
        dataplane::netns::NetNs::open(&namespace).unwrap().enter().unwrap();
        run(config, inbox, |status| seen.lock().unwrap().push(status))
    });
    let within = Duration::from_secs(5);
    let appears = |line: &str| {
        eventually(within, || {
            let routes = node.namespace.routes();
            routes.iter().any(|route| route == line).then_some(()).ok_or(format!("{line:?} is not in {routes:?}"))
        });
    };
    sender.send(Input::Desired(Arc::new(desired.clone())));
    appears("172.16.116.1 dev cali1 scope link");
    sender.send(Input::Learned(learned()));
    appears("172.16.158.0/24 via 192.168.10.101 dev eth0 proto bird");
    // others' changes: a route, a link made anew, the uplink's address
    node.namespace.ip("route del 172.16.158.0/24");
    appears("172.16.158.0/24 via 192.168.10.101 dev eth0 proto bird");
    node.namespace.ip("link del cali1");
    node.namespace.join("cali1", &node.wire, "cali1y");
    appears("172.16.116.1 dev cali1 scope link");
    assert_eq!(node.namespace.sysctl("ipv4/conf/cali1/proxy_arp"), "1");
    node.namespace.ip("link set eth0 down");
    node.namespace.ip("link set eth0 up");
    appears("172.16.158.0/24 via 192.168.10.101 dev eth0 proto bird");
    desired.workloads.clear();
    sender.send(Input::Desired(Arc::new(desired)));
    eventually(within, || {
        let routes = node.namespace.ip("route show dev cali2");
        routes.is_empty().then_some(()).ok_or(routes)
    });
    sender.send(Input::Stop);
    thread.join().unwrap().unwrap();
    let statuses = statuses.lock().unwrap();
    assert!(statuses.iter().all(|status| status.in_sync && status.tunnel.is_none()));
    assert_eq!(statuses.last().unwrap().failures, []);
    assert!(node.namespace.routes().contains(&"172.16.158.0/24 via 192.168.10.101 dev eth0 proto bird".to_owned()));
}

/// The status files that are there.
fn said(node: &Node) -> Vec<String> {
    let entries = fs::read_dir(node.state.path().join("endpoint-status")).expect("the folder is there");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("listed").file_name().to_string_lossy().into_owned();
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

#[test]
fn a_route_that_is_refused_leaves_other_endpoints_standing() {
    let mut node = Node::new();
    node.namespace.join("cali12", &node.wire, "cali12x");
    let mut twelve = node.desired.workloads[&IfName::from("cali2")].clone();
    twelve.addresses = BTreeSet::from([ip("172.16.116.12")]);
    twelve.statuses[0].name = "k8s default%2Fpod12 eth0".to_owned();
    node.desired.workloads.insert(IfName::from("cali12"), twelve);
    node.namespace.ip("route add 172.16.116.12 dev eth0 proto static");
    node.dataplane.on_desired(Arc::new(node.desired.clone()));
    let outcome = node.namespace.run(|| node.dataplane.apply(Instant::now()));
    assert_eq!(outcome.failures.len(), 1, "{:?}", outcome.failures);
    assert_eq!(said(&node), ["k8s default%2Fpod1 eth0", "k8s default%2Fpod2 eth0"]);
}

/// What keeps iptables from writing its table filter: a chain of one of its names, elsewhere in the packets' path.
const OBSTACLE: &str = "add table ip filter; add chain ip filter FORWARD { type filter hook prerouting priority 5; }";

/// Applies while the packet rules cannot be written.
fn apply_without_rules(node: &mut Node) {
    node.dataplane.on_desired(Arc::new(node.desired.clone()));
    node.dataplane.on_kernel(&Change::Overrun);
    let outcome = node.namespace.run(|| node.dataplane.apply(Instant::now()));
    let steps: Vec<&str> = outcome.failures.iter().map(|failure| failure.step).collect();
    assert_eq!(steps, ["packet rules"], "{:?}", outcome.failures);
}

#[test]
fn nothing_is_opened_where_no_rules_stand_and_nothing_taken_away() {
    let mut node = Node::new();
    node.desired.settings.packet_rules = PacketRules::Iptables;
    node.dataplane.on_learned(learned());
    // somebody else's daemon has turned it on
    assert!(node.namespace.exec("sysctl", &["-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.cali2.forwarding=0"]));
    // what the CNI plugin made
    node.namespace.ip("route add 172.16.116.1 dev cali1");
    assert!(node.namespace.exec("sysctl", &["-qw", "net.ipv4.conf.cali1.proxy_arp=1"]));
    assert!(node.namespace.exec("nft", &[OBSTACLE]));
    let of_pods = |node: &Node| -> Vec<String> {
        node.namespace.routes().into_iter().filter(|line| line.contains("dev cali")).collect()
    };
    let open = |node: &Node, link: &str| {
        ["proxy_arp", "route_localnet", "forwarding"].map(|it| node.namespace.sysctl(&format!("ipv4/conf/{link}/{it}")))
    };
    // the second time, some tables may have been written
    for _ in 0..2 {
        apply_without_rules(&mut node);
        assert_eq!(of_pods(&node), ["172.16.116.1 dev cali1 scope link"]);
        assert_eq!(open(&node, "cali1"), ["1", "0", "1"]);
        assert_eq!(open(&node, "cali2"), ["0", "0", "0"]);
        assert_eq!(node.namespace.sysctl("ipv6/conf/cali2/disable_ipv6"), "1");
        assert_eq!(node.namespace.sysctl("ipv4/ip_forward"), "1");
        assert_eq!(said(&node), [""; 0]);
    }
    assert!(node.namespace.exec("nft", &["delete table ip filter"]));
    node.apply();
    let both = ["172.16.116.1 dev cali1 scope link", "172.16.116.2 dev cali2 scope link"];
    assert_eq!(of_pods(&node), both);
    assert_eq!(open(&node, "cali2"), ["1", "1", "1"]);
    assert_eq!(said(&node).len(), 2);
}

#[test]
fn behind_an_earlier_process_rules_all_is_healed() {
    let mut node = Node::new();
    node.desired.settings.packet_rules = PacketRules::Nftables;
    node.dataplane.on_learned(learned());
    node.apply();
    let routes = node.namespace.routes();
    node.restart();
    node.dataplane.on_learned(learned());
    node.desired.settings.packet_rules = PacketRules::Iptables;
    assert!(node.namespace.exec("nft", &[OBSTACLE]));
    node.namespace.ip("route del 172.16.116.2");
    assert!(node.namespace.exec("sysctl", &["-qw", "net.ipv4.conf.cali2.proxy_arp=0", "net.ipv4.ip_forward=0"]));
    apply_without_rules(&mut node);
    assert_eq!(node.namespace.routes(), routes);
    assert_eq!(node.namespace.sysctl("ipv4/conf/cali2/proxy_arp"), "1");
    assert_eq!(node.namespace.sysctl("ipv4/ip_forward"), "1");
    // and when they have gone too, there is nothing to rely on
    assert!(node.namespace.exec("nft", &["flush table ip calico"]));
    node.namespace.ip("route del 172.16.116.2");
    apply_without_rules(&mut node);
    assert!(!node.namespace.routes().contains(&"172.16.116.2 dev cali2 scope link".to_owned()));
}

#[test]
fn ipv6_is_for_workloads_that_have_such_addresses() {
    let mut node = Node::new();
    node.desired.workloads.get_mut(&IfName::from("cali2")).expect("wanted").ipv6 = Ipv6::Present;
    let parameter = |node: &Node, link: &str| node.namespace.sysctl(&format!("ipv6/conf/{link}/disable_ipv6"));
    let link_local = |node: &Node, link: &str| {
        eventually(Duration::from_secs(5), || {
            let shown = node.namespace.ip(&format!("-6 -o addr show dev {link} scope link -tentative"));
            shown.split_whitespace().nth(3).and_then(|net| Some(net.split_once('/')?.0.to_owned())).ok_or("no address")
        })
    };
    let answers = |node: &Node, address: &str, link: &str| {
        node.wire.exec("ping", &["-6", "-c1", "-W1", &format!("{address}%{link}x")])
    };
    // as Calico's plugin leaves them
    let (one, two) = (link_local(&node, "cali1"), link_local(&node, "cali2"));
    link_local_of_wire(&node);
    assert!(answers(&node, &one, "cali1") && answers(&node, &two, "cali2"), "before there is an agent");
    node.apply();
    assert_eq!((parameter(&node, "cali1"), parameter(&node, "cali2")), ("1".to_owned(), "0".to_owned()));
    assert!(!answers(&node, &one, "cali1"), "a link-local address of the node");
    assert!(answers(&node, &two, "cali2"));
    // by hand, and by what is wanted
    assert!(node.namespace.exec("sysctl", &["-qw", "net.ipv6.conf.cali1.disable_ipv6=0"]));
    assert!(node.namespace.exec("sysctl", &["-qw", "net.ipv6.conf.cali2.disable_ipv6=1"]));
    node.dataplane.on_kernel(&Change::Overrun);
    node.apply();
    assert_eq!((parameter(&node, "cali1"), parameter(&node, "cali2")), ("1".to_owned(), "0".to_owned()));
    node.desired.workloads.get_mut(&IfName::from("cali1")).expect("wanted").ipv6 = Ipv6::Present;
    node.desired.workloads.get_mut(&IfName::from("cali2")).expect("wanted").ipv6 = Ipv6::Absent;
    node.apply();
    assert_eq!((parameter(&node, "cali1"), parameter(&node, "cali2")), ("0".to_owned(), "1".to_owned()));
}

/// Waits until the pods' ends have addresses to ask from.
fn link_local_of_wire(node: &Node) {
    for link in ["cali1x", "cali2x"] {
        eventually(Duration::from_secs(5), || {
            let shown = node.wire.ip(&format!("-6 -o addr show dev {link} scope link -tentative"));
            if shown.is_empty() { Err("no address") } else { Ok(()) }
        });
    }
}
