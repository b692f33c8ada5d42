//! The route reconciler against a kernel: program, break by hand, heal; whose route is whose.
//!
//! ```text
//!  192.168.10.10 eth0 ─── wire, another namespace: 192.168.10.254 is a router
//!  cali1, cali2 ───────── workloads' interfaces, their other ends also in the wire
//!  tunl0 ──────────────── the kernel's where it has one, else a veth of that name
//! ```

mod common;

use common::{Namespace, eventually};
use dataplane::Affected;
use dataplane::links::Links;
use dataplane::netlink::Netlink;
use dataplane::routes::{Bgp, GRACE, Remaining, Routes, Wanted, read_retained};
use dataplane::rules::Standing;
use ipnet::Ipv4Net;
use model::desired::{Hop, Route, Target};
use model::name::IfName;
use model::{Mtu, RouteProtocol};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const POOL: &str = "172.16.0.0/16";
/// What the node has whoever looks after its pods.
const UPLINK: [&str; 2] =
    ["192.168.10.0/24 dev eth0 proto kernel scope link src 192.168.10.10", "default via 192.168.10.254 dev eth0"];

struct Node {
    namespace: Namespace,
    wire: Namespace,
    netlink: Netlink,
    routes: Routes,
    wanted: BTreeMap<Ipv4Net, Route>,
    pools: BTreeSet<Ipv4Net>,
    bgp: Bgp,
    unread: BTreeSet<IfName>,
    narrow: BTreeMap<Ipv4Addr, Mtu>,
    rules: Standing,
}

/// What an apply left to do, and whom it leaves without.
#[derive(Debug, Default, PartialEq)]
struct Left {
    failures: Vec<String>,
    affected: Vec<Affected>,
    next: Option<Instant>,
}

impl Node {
    fn new() -> Node {
        let (namespace, wire) = (Namespace::new("node"), Namespace::new("wire"));
        namespace.join("eth0", &wire, "wire0");
        namespace.ip("addr add 192.168.10.10/24 dev eth0");
        namespace.ip("route add default via 192.168.10.254");
        if namespace.is_born_with_tunl0() {
            namespace.ip("link set tunl0 up");
        } else {
            namespace.join("tunl0", &wire, "tunl0x");
        }
        for link in ["cali1", "cali2"] {
            namespace.join(link, &wire, &format!("{link}x"));
        }
        let netlink = namespace.run(Netlink::open).expect("a netlink socket");
        Node {
            namespace,
            wire,
            netlink,
            routes: Routes::default(),
            wanted: BTreeMap::new(),
            pools: BTreeSet::from([prefix(POOL)]),
            bgp: Bgp::Spoken,
            unread: BTreeSet::new(),
            narrow: BTreeMap::new(),
            rules: Standing::Complete,
        }
    }

    fn want(&mut self, destination: &str, target: Target, protocol: u8) {
        let route = Route { target, protocol: RouteProtocol(protocol), metric: 0 };
        self.wanted.insert(prefix(destination), route);
    }

    fn apply_at(&mut self, now: Instant) -> Left {
        let links = Links::read(&mut self.netlink).expect("links can be listed");
        let wanted = Wanted {
            routes: &self.wanted,
            pools: &self.pools,
            bgp: self.bgp,
            unread: &self.unread,
            narrow: &self.narrow,
            rules: self.rules,
        };
        let Remaining { failures, next } = self.routes.apply(&mut self.netlink, &links, wanted, now);
        let (affected, failures) = failures.into_iter().unzip();
        Left { failures, affected, next }
    }

    /// Applies without failures, after a look at the kernel.
    fn resync(&mut self) {
        self.routes.invalidate();
        assert_eq!(self.apply_at(Instant::now()).failures, [""; 0]);
    }

    /// Replaces the reconciler and its socket, as a restart of the process does.
    fn restart(&mut self) {
        self.routes = Routes::default();
        self.netlink = self.namespace.run(Netlink::open).expect("a netlink socket");
    }

    #[track_caller]
    fn has(&self, lines: &[&str]) {
        let mut expect: Vec<&str> = UPLINK.iter().chain(lines).copied().collect();
        expect.sort_unstable();
        assert_eq!(self.namespace.routes(), expect);
    }
}

fn prefix(text: &str) -> Ipv4Net {
    text.parse().expect("a literal prefix")
}

fn ip(text: &str) -> Ipv4Addr {
    text.parse().expect("a literal address")
}

fn link(name: &str) -> Target {
    Target::Link(IfName::from(name))
}

fn tunnel(node: &str) -> Target {
    Target::Onlink(ip(node), IfName::from("tunl0"))
}

fn walkthrough(node: &mut Node) {
    node.want("172.16.34.0/24", tunnel("192.168.20.100"), 12);
    node.want("172.16.116.0/24", Target::Blackhole, 80);
    node.want("172.16.116.1/32", link("cali1"), 3);
    node.want("172.16.116.2/32", link("cali2"), 3);
    node.want("172.16.158.0/24", tunnel("192.168.10.101"), 12);
}

const WALKTHROUGH: [&str; 5] = [
    "172.16.34.0/24 via 192.168.20.100 dev tunl0 proto bird onlink",
    "blackhole 172.16.116.0/24 proto 80",
    "172.16.116.1 dev cali1 scope link",
    "172.16.116.2 dev cali2 scope link",
    "172.16.158.0/24 via 192.168.10.101 dev tunl0 proto bird onlink",
];

#[test]
fn what_is_wanted_appears_and_what_is_not_goes() {
    let mut node = Node::new();
    walkthrough(&mut node);
    node.resync();
    node.has(&WALKTHROUGH);
    node.wanted.clear();
    node.resync();
    node.has(&[]);
}

#[test]
fn routes_to_a_node_behind_a_narrow_path_say_so() {
    let mut node = Node::new();
    walkthrough(&mut node);
    node.narrow.insert(ip("192.168.20.100"), Mtu(1380));
    // a path is the tunnel's only where the route goes through it
    node.narrow.insert(ip("192.168.10.254"), Mtu(1380));
    node.want("172.16.40.0/24", Target::Via(ip("192.168.10.254")), 12);
    let narrow = "172.16.34.0/24 via 192.168.20.100 dev tunl0 proto bird onlink mtu 1380";
    let via = "172.16.40.0/24 via 192.168.10.254 dev eth0 proto bird";
    node.resync();
    node.has(&[&[narrow, via], &WALKTHROUGH[1..]].concat());
    let writes = node.netlink.writes();
    node.restart();
    node.resync();
    assert_eq!((writes, node.netlink.writes()), (6, 0), "it is adopted as it is");

    node.namespace.ip("route change 172.16.34.0/24 via 192.168.20.100 dev tunl0 proto bird onlink mtu 1300");
    node.namespace.ip("route change 172.16.158.0/24 via 192.168.10.101 dev tunl0 proto bird onlink mtu 1300");
    node.resync();
    node.has(&[&[narrow, via], &WALKTHROUGH[1..]].concat());

    node.narrow.clear();
    node.resync();
    node.has(&[&[via], &WALKTHROUGH[..]].concat());
    node.narrow.insert(ip("192.168.10.101"), Mtu(1380));
    node.resync();
    node.wanted.clear();
    node.resync();
    node.has(&[]);
}

#[test]
fn what_is_right_is_not_touched_not_even_after_a_restart() {
    let mut node = Node::new();
    walkthrough(&mut node);
    node.resync();
    let writes = node.netlink.writes();
    assert_eq!(writes, 5);
    node.resync();
    assert_eq!(node.netlink.writes(), writes);
    node.restart();
    node.resync();
    assert_eq!(node.netlink.writes(), 0);
    node.has(&WALKTHROUGH);
}

#[test]
fn damage_by_hand_heals() {
    let mut node = Node::new();
    walkthrough(&mut node);
    node.resync();
    let whole = node.namespace.routes();
    for damage in [
        "route del 172.16.158.0/24",
        "route del blackhole 172.16.116.0/24",
        "route replace 172.16.158.0/24 via 192.168.10.102 dev tunl0 onlink proto bird",
        "route replace 172.16.116.1/32 dev cali2",
        // by the looks of it someone else's, but where ours stood
        "route replace 172.16.158.0/24 via 192.168.10.254 dev eth0",
        "route replace 172.16.116.1/32 via 192.168.10.254 dev eth0 proto static",
        "route replace unreachable 172.16.116.0/24",
        "route add 172.16.99.0/24 via 192.168.10.103 dev tunl0 onlink proto bird",
        "route add blackhole 10.9.0.0/16 proto 80",
        "route prepend 172.16.158.0/24 via 192.168.10.109 dev tunl0 onlink proto bird",
        "route append 172.16.158.0/24 via 192.168.10.109 dev tunl0 onlink proto bird",
    ] {
        node.namespace.ip(damage);
        assert_ne!(node.namespace.routes(), whole, "{damage}");
        node.resync();
        node.has(&WALKTHROUGH);
        let writes = node.netlink.writes();
        node.resync();
        assert_eq!(node.netlink.writes(), writes, "after {damage}");
    }
}

#[test]
fn anothers_route_beside_ours_is_not_ours_changed() {
    let mut node = Node::new();
    walkthrough(&mut node);
    node.resync();
    node.namespace.ip("route append 172.16.158.0/24 via 192.168.10.254 dev eth0");
    node.resync();
    node.namespace.ip("route del 172.16.158.0/24 via 192.168.10.101 dev tunl0");
    node.routes.invalidate();
    let complaint = "add route 172.16.158.0/24 via 192.168.10.101 dev tunl0 onlink proto 12: another's is in the way: \
        172.16.158.0/24 via 192.168.10.254 dev eth0 proto 3";
    assert_eq!(node.apply_at(Instant::now()).failures, [complaint]);
    let stays = "172.16.158.0/24 via 192.168.10.254 dev eth0";
    node.has(&[&WALKTHROUGH[..4], &[stays]].concat());
    // and one that came while ours was not wanted stays too
    node.namespace.ip("route del 172.16.34.0/24");
    node.wanted.remove(&prefix("172.16.34.0/24"));
    node.routes.invalidate();
    node.apply_at(Instant::now());
    node.namespace.ip("route add 172.16.34.0/24 via 192.168.10.254 dev eth0");
    node.want("172.16.34.0/24", tunnel("192.168.20.100"), 12);
    node.routes.invalidate();
    assert_eq!(node.apply_at(Instant::now()).failures.len(), 2);
    node.has(&[&WALKTHROUGH[1..4], &[stays, "172.16.34.0/24 via 192.168.10.254 dev eth0"]].concat());
}

#[test]
fn routes_of_others_are_never_touched() {
    let mut node = Node::new();
    let others = [
        "172.16.7.0/24 via 192.168.10.254 dev eth0 proto static",
        "172.16.8.0/24 via 192.168.10.254 dev eth0",
        "10.1.0.0/16 via 192.168.10.254 dev eth0 proto bird",
        "10.2.0.0/16 via 192.168.10.254 dev eth0 proto zebra metric 20",
        "blackhole 172.16.9.0/24",
    ];
    for route in others {
        node.namespace.ip(&format!("route add {route}"));
    }
    // addresses on a workload's interface bring the kernel's own routes
    node.namespace.ip("addr add 172.16.116.77/30 dev cali1");
    let kernels = "172.16.116.76/30 dev cali1 proto kernel scope link src 172.16.116.77";
    let present = [others.as_slice(), &[kernels]].concat();
    node.has(&present);
    walkthrough(&mut node);
    node.want("172.16.7.0/24", tunnel("192.168.10.107"), 12);
    node.routes.invalidate();
    let remaining = node.apply_at(Instant::now());
    assert_eq!(remaining.failures.len(), 1, "{remaining:?}");
    let complaint = "add route 172.16.7.0/24 via 192.168.10.107 dev tunl0 onlink proto 12: another's is in the way: \
                     172.16.7.0/24 via 192.168.10.254 dev eth0 proto 4";
    assert_eq!(remaining.failures[0], complaint);
    node.has(&[present.as_slice(), &WALKTHROUGH].concat());
    node.wanted.clear();
    node.resync();
    node.has(&present);
}

#[test]
fn a_route_with_calicos_metric_is_followed_by_ours_without_a_gap() {
    let mut node = Node::new();
    node.namespace.ip("route add 172.16.116.1/32 dev cali1 metric 1024");
    node.namespace.ip("route add 172.16.116.2/32 dev cali1 metric 1024");
    node.namespace.ip("route add blackhole 172.16.116.0/24 proto bird");
    let mut monitor = Command::new("ip")
        .args(["-n", node.namespace.name(), "monitor", "route"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("tests need iproute2's ip");
    let mut lines = BufReader::new(monitor.stdout.take().expect("piped")).lines().map_while(Result::ok);
    // the monitor is listening once it shows a route made for it
    let marker = std::thread::scope(|scope| {
        let shown = scope.spawn(|| lines.next());
        eventually(Duration::from_secs(5), || {
            node.namespace.ip("route replace 198.51.100.0/24 dev eth0");
            shown.is_finished().then_some(()).ok_or("ip monitor shows nothing")
        });
        shown.join().unwrap()
    });
    assert!(marker.is_some());

    walkthrough(&mut node);
    node.resync();
    node.namespace.ip("route del 198.51.100.0/24");
    let seen: Vec<String> = lines.take_while(|line| !line.starts_with("Deleted 198.51.100.0/24")).collect();
    monitor.kill().unwrap();
    monitor.wait().unwrap();
    node.has(&WALKTHROUGH);
    for pod in ["172.16.116.1", "172.16.116.2"] {
        let position = |start: &str| seen.iter().position(|line| line.starts_with(start));
        let (added, deleted) = (position(&format!("{pod} dev")), position(&format!("Deleted {pod} dev")));
        assert!(added.is_some() && added < deleted, "{seen:?}");
    }
    assert!(!seen.iter().any(|line| line.starts_with("Deleted blackhole")), "{seen:?}");
}

#[test]
fn a_route_whose_successor_is_refused_stays() {
    let mut node = Node::new();
    let lines =
        ["172.16.116.1 via 192.168.10.254 dev eth0 proto static", "172.16.116.1 dev cali1 scope link metric 1024"];
    for line in lines {
        node.namespace.ip(&format!("route add {line}"));
    }
    node.want("172.16.116.1/32", link("cali1"), 3);
    let start = Instant::now();
    assert_eq!(node.apply_at(start).failures.len(), 1);
    assert_eq!(node.apply_at(start + 2 * GRACE).failures.len(), 1);
    node.has(&lines);
    node.namespace.ip("route del 172.16.116.1/32 proto static");
    node.resync();
    node.has(&["172.16.116.1 dev cali1 scope link"]);
}

#[test]
fn a_metric_that_was_asked_for_replaces_the_plugins_route() {
    let mut node = Node::new();
    node.namespace.ip("route add 172.16.116.1/32 dev cali1");
    node.want("172.16.116.1/32", link("cali1"), 3);
    node.wanted.values_mut().for_each(|route| route.metric = 1024);
    node.resync();
    node.has(&["172.16.116.1 dev cali1 scope link metric 1024"]);
}

#[test]
fn the_plugins_route_waits_for_its_endpoint() {
    let mut node = Node::new();
    node.namespace.ip("route add 172.16.116.1/32 dev cali1");
    let start = Instant::now();
    let remaining = node.apply_at(start);
    assert_eq!((remaining.failures.len(), remaining.next), (0, Some(start + GRACE)));
    node.apply_at(start + GRACE - Duration::from_millis(1));
    node.has(&["172.16.116.1 dev cali1 scope link"]);
    // the endpoint arrives in time
    node.want("172.16.116.1/32", link("cali1"), 3);
    assert_eq!(node.apply_at(start + GRACE), Left::default());
    assert_eq!(node.netlink.writes(), 0);
    // and goes: no grace for what was known
    node.wanted.clear();
    assert_eq!(node.apply_at(start + GRACE), Left::default());
    node.has(&[]);
    // one whose endpoint never arrives
    node.namespace.ip("route add 172.16.116.3/32 dev cali2 proto bird");
    node.routes.invalidate();
    node.apply_at(start + 2 * GRACE);
    node.has(&["172.16.116.3 dev cali2 proto bird scope link"]);
    assert_eq!(node.apply_at(start + 3 * GRACE), Left::default());
    node.has(&[]);
}

#[test]
fn an_address_that_moves_to_a_new_interface_keeps_the_new_route() {
    let mut node = Node::new();
    node.want("172.16.116.1/32", link("cali1"), 3);
    node.resync();
    // the plugin made the second pod before the agent heard that the first is gone
    node.namespace.ip("route replace 172.16.116.1/32 dev cali2");
    node.wanted.clear();
    node.resync();
    node.has(&["172.16.116.1 dev cali2 scope link"]);
    node.want("172.16.116.1/32", link("cali2"), 3);
    let writes = node.netlink.writes();
    node.resync();
    assert_eq!(node.netlink.writes(), writes);
}

#[test]
fn a_workloads_route_follows_its_link() {
    let mut node = Node::new();
    node.want("172.16.116.9/32", link("cali9"), 3);
    node.want("172.16.116.1/32", link("cali1"), 3);
    node.resync();
    node.has(&["172.16.116.1 dev cali1 scope link"]);
    node.namespace.join("cali9", &node.wire, "cali9x");
    node.resync();
    node.has(&["172.16.116.1 dev cali1 scope link", "172.16.116.9 dev cali9 scope link"]);
    // the peer goes down: no carrier, no route
    node.wire.ip("link set cali9x down");
    eventually(Duration::from_secs(5), || {
        let shown = node.namespace.ip("link show cali9");
        shown.contains("state DOWN").then_some(()).ok_or(shown)
    });
    node.resync();
    node.has(&["172.16.116.1 dev cali1 scope link"]);
    node.wire.ip("link set cali9x up");
    node.resync();
    node.namespace.ip("link del cali9");
    node.resync();
    node.has(&["172.16.116.1 dev cali1 scope link"]);
}

#[test]
fn bgps_routes_stay_until_bgp_has_spoken() {
    let mut node = Node::new();
    node.namespace.ip("route add 172.16.158.0/24 via 192.168.10.101 dev tunl0 onlink proto bird");
    node.namespace.ip("route add 172.16.200.0/24 via 192.168.10.20 proto bird");
    node.namespace.ip("route add 172.16.201.0/24 via 192.168.10.20 proto bird metric 1024");
    node.namespace.ip("route add 172.16.202.0/24 via 192.168.10.20 proto bird metric 2147483547");
    node.namespace.ip("route add blackhole 172.16.116.0/24 proto bird");
    node.namespace.ip("route add 10.1.0.0/16 via 192.168.10.20 proto bird");
    let before = node.namespace.routes();
    node.bgp = Bgp::Silent;
    node.resync();
    assert_eq!(node.namespace.routes(), before);
    let retained = node.namespace.run(|| read_retained(&mut node.netlink, &node.pools)).unwrap();
    let hop = |gateway, metric| Hop { gateway: ip(gateway), metric };
    let expect = BTreeMap::from([
        (prefix("172.16.158.0/24"), hop("192.168.10.101", None)),
        (prefix("172.16.200.0/24"), hop("192.168.10.20", None)),
        (prefix("172.16.201.0/24"), hop("192.168.10.20", None)),
        (prefix("172.16.202.0/24"), hop("192.168.10.20", Some(2_147_483_547))),
    ]);
    assert_eq!(retained, expect);
    // the agent's own blackhole does not wait for BGP
    node.want("172.16.116.0/24", Target::Blackhole, 80);
    node.resync();
    assert!(node.namespace.routes().contains(&"blackhole 172.16.116.0/24 proto 80".to_owned()));
    node.bgp = Bgp::Spoken;
    node.want("172.16.200.0/24", Target::Via(ip("192.168.10.20")), 12);
    node.resync();
    node.has(&[
        "blackhole 172.16.116.0/24 proto 80",
        "172.16.200.0/24 via 192.168.10.20 dev eth0 proto bird",
        "10.1.0.0/16 via 192.168.10.20 dev eth0 proto bird",
    ]);
}

#[test]
fn the_routes_of_another_bgp_daemon_are_never_touched() {
    let mut node = Node::new();
    node.bgp = Bgp::Elsewhere;
    node.want("172.16.116.0/24", Target::Blackhole, 80);
    node.want("172.16.117.0/24", Target::Blackhole, 80);
    node.want("172.16.116.1/32", link("cali1"), 3);
    // BIRD's: into a pool and elsewhere, doubled, on a pod's interface, and in the place of one that is wanted
    for route in [
        "172.16.158.0/24 via 192.168.10.101 dev tunl0 onlink",
        "172.16.158.0/24 via 192.168.10.101 dev tunl0 onlink metric 1024",
        "172.16.200.0/24 via 192.168.10.20",
        "10.1.0.0/16 via 192.168.10.20",
        "172.16.116.9 dev cali1",
        "blackhole 172.16.116.0/24",
    ] {
        let (kind, route) = route.split_once("blackhole ").map_or(("", route), |(_, rest)| ("blackhole", rest));
        node.namespace.ip(&format!("route add {kind} {route} proto bird"));
    }
    let birds = |node: &Node| node.namespace.ip("route show proto bird");
    let before = birds(&node);
    node.resync();
    assert_eq!(birds(&node), before);
    assert!(node.namespace.routes().contains(&"blackhole 172.16.117.0/24 proto 80".to_owned()));
    // it takes the place of one that was written here: BIRD has the last word, and it is told
    node.namespace.ip("route replace 172.16.117.0/24 via 192.168.10.20 proto bird");
    let before = birds(&node);
    node.routes.invalidate();
    let told = node.apply_at(Instant::now()).failures;
    assert_eq!(
        told,
        [
            "add route blackhole 172.16.117.0/24 proto 80: another's is in the way: 172.16.117.0/24 via 192.168.10.20 dev \
          eth0 proto 12"
        ]
    );
    assert_eq!(birds(&node), before);
    // when BIRD goes, what is wanted comes
    node.namespace.ip("route flush proto bird");
    node.resync();
    node.has(&[
        "blackhole 172.16.116.0/24 proto 80",
        "blackhole 172.16.117.0/24 proto 80",
        "172.16.116.1 dev cali1 scope link",
    ]);
}

#[test]
fn a_next_hop_is_reached_as_the_kernel_reaches_it() {
    let mut node = Node::new();
    node.want("172.16.158.0/24", Target::Via(ip("192.168.10.101")), 12);
    node.want("172.16.34.0/24", Target::Via(ip("192.168.20.100")), 12);
    node.resync();
    node.has(&[
        "172.16.158.0/24 via 192.168.10.101 dev eth0 proto bird",
        "172.16.34.0/24 via 192.168.10.254 dev eth0 proto bird",
    ]);
    node.namespace.ip("route del default");
    node.routes.invalidate();
    let remaining = node.apply_at(Instant::now());
    assert_eq!(
        remaining.failures,
        ["add route 172.16.34.0/24: look up the route to 192.168.20.100: Network is unreachable (os error 101)"]
    );
    // what was there stays, and is right again with the default route
    assert!(node.namespace.routes().contains(&"172.16.34.0/24 via 192.168.10.254 dev eth0 proto bird".to_owned()));
    node.namespace.ip("route add default via 192.168.10.253");
    node.resync();
    assert!(node.namespace.routes().contains(&"172.16.34.0/24 via 192.168.10.253 dev eth0 proto bird".to_owned()));
}

#[test]
fn what_bgp_taught_outside_every_pool_goes_again() {
    let mut node = Node::new();
    node.want("10.7.0.0/16", Target::Via(ip("192.168.10.101")), 12);
    node.want("172.16.158.0/24", tunnel("192.168.10.101"), 12);
    node.resync();
    // the pool is deleted first, its routes afterwards
    node.pools.clear();
    node.wanted.clear();
    node.resync();
    node.has(&[]);
}

#[test]
fn a_tunnel_that_is_not_there_yet_keeps_the_old_route() {
    let mut node = Node::new();
    node.want("172.16.158.0/24", Target::Via(ip("192.168.10.101")), 12);
    node.resync();
    node.want("172.16.158.0/24", Target::Onlink(ip("192.168.10.101"), IfName::from("tunl1")), 12);
    node.resync();
    node.has(&["172.16.158.0/24 via 192.168.10.101 dev eth0 proto bird"]);
    node.namespace.join("tunl1", &node.wire, "tunl1x");
    node.resync();
    node.has(&["172.16.158.0/24 via 192.168.10.101 dev tunl1 proto bird onlink"]);
}

#[test]
fn one_refusal_does_not_stop_the_others() {
    let mut node = Node::new();
    for third in 0..200 {
        node.want(&format!("172.16.{third}.0/24"), tunnel("192.168.10.101"), 12);
    }
    // the node itself is no gateway
    for third in [3, 150] {
        node.want(&format!("172.16.{third}.0/24"), tunnel("192.168.10.10"), 12);
    }
    let remaining = node.apply_at(Instant::now());
    assert_eq!(remaining.failures.len(), 2, "{remaining:?}");
    let complaint = "add route 172.16.3.0/24 via 192.168.10.10 dev tunl0 onlink proto 12: \
                     Invalid argument (os error 22): Nexthop has invalid gateway";
    assert_eq!(remaining.failures[0], complaint);
    assert!(remaining.failures[1].starts_with("add route 172.16.150.0/24"), "{remaining:?}");
    assert_eq!(node.namespace.routes().len(), UPLINK.len() + 198);
    // it stays wanted, and is tried again
    assert_eq!(node.apply_at(Instant::now()).failures.len(), 2);
    node.namespace.ip("addr del 192.168.10.10/24 dev eth0");
    node.namespace.ip("addr add 192.168.10.11/24 dev eth0");
    node.resync();
    assert_eq!(node.namespace.ip("route show proto bird").lines().count(), 200);
}

#[test]
fn pods_get_a_gateway_on_a_node_without_default_route() {
    let mut node = Node::new();
    node.namespace.ip("route del default");
    node.resync();
    assert!(node.namespace.routes().contains(&"169.254.1.1 dev lo proto 80 scope link".to_owned()));
    let writes = node.netlink.writes();
    node.resync();
    assert_eq!(node.netlink.writes(), writes);
    node.namespace.ip("route add default via 192.168.10.254");
    node.resync();
    node.has(&[]);
}

/// A workload whose object cannot be read keeps the route that an earlier process, or the CNI plugin, gave it.
#[test]
fn a_workload_that_cannot_be_read_keeps_its_route() {
    let mut node = Node::new();
    for (address, link) in [("172.16.116.1", "cali1"), ("172.16.116.2", "cali2")] {
        node.namespace.ip(&format!("route add {address} dev {link} scope link"));
    }
    node.unread = [IfName::from("cali1")].into();
    let start = Instant::now();
    node.apply_at(start);
    assert_eq!(node.apply_at(start + 2 * GRACE), Left::default());
    node.has(&["172.16.116.1 dev cali1 scope link"]);
    node.unread.clear();
    node.apply_at(start + 3 * GRACE);
    node.apply_at(start + 4 * GRACE);
    node.has(&[]);
}

#[test]
fn a_refused_route_is_told_of_its_own_link() {
    let mut node = Node::new();
    node.namespace.join("cali12", &node.wire, "cali12x");
    node.namespace.ip("route add 172.16.116.12 dev eth0 proto static");
    node.want("172.16.116.1/32", link("cali1"), 3);
    node.want("172.16.116.12/32", link("cali12"), 3);
    let left = node.apply_at(Instant::now());
    assert_eq!(left.affected, [Affected::Link(IfName::from("cali12"))], "{left:?}");
}

#[test]
fn without_packet_rules_no_workload_gets_a_route_and_none_loses_one() {
    let mut node = Node::new();
    node.rules = Standing::Missing;
    walkthrough(&mut node);
    // what an earlier agent or the CNI plugin left, also as it is not wanted any more
    node.namespace.ip("route add 172.16.116.1 dev cali1");
    node.namespace.ip("route add 172.16.116.2 dev cali2 metric 1024");
    let others = [
        "172.16.158.0/24 via 192.168.10.101 dev tunl0 proto bird onlink",
        "172.16.34.0/24 via 192.168.20.100 dev tunl0 proto bird onlink",
        "blackhole 172.16.116.0/24 proto 80",
    ];
    let first = ["172.16.116.1 dev cali1 scope link"];
    let start = Instant::now();
    for now in [start, start + 2 * GRACE] {
        node.routes.invalidate();
        assert_eq!(node.apply_at(now).failures, [""; 0]);
        node.has(&[&others[..], &first, &["172.16.116.2 dev cali2 scope link metric 1024"]].concat());
    }
    node.namespace.ip("route del 172.16.116.2 metric 1024");
    node.resync();
    node.has(&[&others[..], &first].concat());
    node.rules = Standing::Complete;
    node.resync();
    node.has(&[&others[..], &first, &["172.16.116.2 dev cali2 scope link"]].concat());
}
