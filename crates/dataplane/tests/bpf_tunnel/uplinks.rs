//! Which links outer packets leave and come in by: whatever the routes say, as with the kernel's ipip.
//!
//! The lab's n1 and n3 have a second link between them, `eth1`, beside the subnet that both are on.

use crate::lab::{Lab, address, ensure, eventually};
use crate::packet::Capture;
use crate::path_mtu::{Agent, desired};
use dataplane::Input;
use dataplane::bpf::BpfTunnel;
use dataplane::netlink::Netlink;
use dataplane::tunnel::Tunnel as _;
use ipnet::Ipv4Net;
use model::desired::Learned;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

#[test]
fn outer_packets_follow_the_routes_and_their_changes() {
    let (lab, _agents) = two_links();
    assert_eq!(ways(&lab, 2), ["eth0", "eth0"], "the subnet's own route");
    by_second_link(&lab, "add", &[1, 3]);
    assert_eq!(ways(&lab, 2), ["eth1", "eth1"], "a route of its own by the other link");
    for node in ["n1", "n3"] {
        lab.ip(node, "link set eth0 down");
    }
    assert_eq!(ways(&lab, 2), ["eth1", "eth1"], "eth0 is down");
    for node in ["n1", "n3"] {
        lab.ip(node, "link set eth0 up");
    }
    by_second_link(&lab, "delete", &[1, 3]);
    assert_eq!(ways(&lab, 2), ["eth0", "eth0"], "the route is gone");
    // by a rule, to a table of its own
    lab.ip("n1", "route add 192.168.10.0/24 via 10.3.0.3 dev eth1 table 77");
    lab.ip("n1", "rule add from 192.168.10.1 lookup 77");
    assert_eq!(ways(&lab, 2), ["eth1", "eth0"], "a rule on one side alone");
    lab.ip("n1", "route replace unreachable 192.168.10.3/32 table 77");
    assert!(!lab.pings("pod1", "-c 1 172.16.3.2"), "a route that forbids it");
}

#[test]
fn outer_packets_take_any_of_several_paths_that_is_alive() {
    let (lab, _agents) = two_links();
    for (node, other) in [(1, 3), (3, 1)] {
        let paths = format!("nexthop dev eth0 nexthop via 10.3.0.{other} dev eth1");
        lab.ip(&format!("n{node}"), &format!("route add {} {paths}", address(other)));
    }
    assert!(lab.pings("pod1", "-c 3 -i 0.01 172.16.3.2"), "by either");
    for dead in ["eth0", "eth1"] {
        for node in ["n1", "n3"] {
            lab.ip(node, &format!("link set {dead} down"));
        }
        let left = if dead == "eth0" { "eth1" } else { "eth0" };
        assert_eq!(ways(&lab, 2), [left, left], "{dead} is down");
        for (node, other) in [(1, 3), (3, 1)] {
            lab.ip(&format!("n{node}"), &format!("link set {dead} up"));
            let paths = format!("nexthop dev eth0 nexthop via 10.3.0.{other} dev eth1");
            lab.ip(&format!("n{node}"), &format!("route replace {} {paths}", address(other)));
        }
    }
}

#[test]
fn the_mtu_is_the_least_of_the_hosts_interfaces() {
    let (lab, agents) = two_links();
    let has = |mtu: u32| {
        eventually(&format!("an MTU of {mtu}"), || {
            let pods = fs::read_to_string(agents[0].state.path().join("mtu")).unwrap_or_default();
            lab.ip("n1", "-o link show tunl0").contains(&format!("mtu {mtu} ")) && pods == mtu.to_string()
        });
    };
    has(1480);
    // whichever of them the routes take, so that none has to be cut when they change
    for node in ["n1", "n3"] {
        lab.ip(node, "link set eth1 mtu 1400");
    }
    has(1380);
    by_second_link(&lab, "add", &[1, 3]);
    eventually("pods reach each other", || lab.pings("pod1", "-c 1 -M do -s 1352 172.16.3.2"));
    has(1380);
    by_second_link(&lab, "delete", &[1, 3]);
    lab.ip("n1", "link set eth1 down");
    has(1480);
}

#[test]
fn an_address_that_is_on_no_uplink_will_do() {
    for home in ["lo", "own"] {
        let lab = Lab::without_tunnels();
        if home != "lo" {
            // a bridge without ports, as good as a dummy
            lab.ip("n1", "link add own type bridge");
            lab.ip("n1", "link set own up mtu 9000");
        }
        lab.ip("n1", "address delete 192.168.10.1/24 dev eth0");
        lab.ip("n1", "address add 192.168.10.201/24 dev eth0");
        lab.ip("n1", "route add default via 192.168.10.254");
        lab.ip("n1", &format!("address add 192.168.10.1/32 dev {home}"));
        for other in ["n3", "router"] {
            lab.ip(other, "route add 192.168.10.1/32 via 192.168.10.201");
        }
        let agents = [1, 2, 3].map(|number| Agent::start(&lab, number));
        for other in [2, 3] {
            eventually("pods reach each other", || lab.pings("pod1", &format!("-c 1 172.16.{other}.2")));
        }
        let pods = fs::read_to_string(agents[0].state.path().join("mtu")).expect("the agent wrote it");
        assert_eq!(pods, "1480", "{home}");
        let seen = outer_sources(&lab);
        assert_eq!(seen, [address(1)], "{home}: the node's address is the outer source");
    }
}

#[test]
fn a_bridge_or_another_name_or_a_link_above_will_do() {
    let (lab, _agents) = two_links();
    // an uplink becomes part of a bridge, which takes its address
    lab.ip("n1", "link add br0 type bridge");
    lab.ip("n1", "link set br0 up");
    lab.ip("n1", "link set eth0 master br0");
    lab.ip("n1", "address delete 192.168.10.1/24 dev eth0");
    lab.ip("n1", "address add 192.168.10.1/24 dev br0");
    lab.ip("n1", "route replace default via 192.168.10.254");
    reaches(&lab, "behind a bridge");
    eventually("a part of a bridge is left alone", || {
        lab.run("n1", "tc filter show dev eth0 ingress").is_empty()
            && !lab.run("n1", "tc qdisc show dev eth0").contains("clsact")
    });
    lab.ip("n1", "link set br0 down");
    lab.ip("n1", "link set br0 name wan");
    lab.ip("n1", "link set wan up");
    lab.ip("n1", "route replace default via 192.168.10.254");
    reaches(&lab, "under another name");
    // and a link of its own above the second one
    lab.ip("n1", "link delete wan");
    lab.ip("n1", "link add above link eth1 type macvlan mode bridge");
    lab.ip("n1", "link set above up");
    lab.ip("n1", "address add 192.168.10.1/32 dev above");
    lab.ip("n1", "route add 192.168.10.3/32 dev above");
    lab.ip("n3", "route add 192.168.10.1/32 dev eth1");
    reaches(&lab, "by a macvlan");
}

#[test]
fn another_address_of_the_node_is_followed() {
    let (lab, agents) = two_links();
    reaches(&lab, "before");
    // n1 is renumbered; the others hear of it
    let other = Ipv4Addr::new(192, 168, 10, 11);
    lab.ip("n1", "address delete 192.168.10.1/24 dev eth0");
    lab.ip("n1", &format!("address add {other}/24 dev eth0"));
    lab.ip("n1", "route add default via 192.168.10.254");
    for (agent, number) in agents.iter().zip([1, 2, 3]) {
        let mut wanted = desired(number, None);
        wanted.hosts.insert("n1".into(), other);
        if number == 1 {
            wanted.address = Some((other, "192.168.10.0/24".parse().expect("a prefix")));
        } else {
            let hop = |from: u8| if from == 1 { other } else { address(from) };
            let block = |from| format!("172.16.{from}.0/24").parse::<Ipv4Net>().expect("a prefix");
            let from = [1, 2, 3].into_iter().filter(|from| *from != number);
            let learned: Learned = from.map(|from| (block(from), hop(from).into())).collect();
            agent.sender.send(Input::Learned(Arc::new(learned)));
        }
        agent.sender.send(Input::Desired(Arc::new(wanted)));
    }
    eventually("the outer source is the new address", || {
        lab.pings("pod1", "-c 1 172.16.3.2") && outer_sources(&lab) == [other]
    });
    for other in [2, 3] {
        assert!(lab.pings("pod1", &format!("-c 1 172.16.{other}.2")), "n1 to n{other}");
    }
}

#[test]
fn what_comes_another_way_is_left_to_a_strict_reverse_path_filter() {
    let (lab, _agents) = two_links();
    by_second_link(&lab, "add", &[1]);
    assert_eq!(ways(&lab, 2), ["eth1", "eth0"], "there by one link, back by the other");
    let strict = |value: &str| {
        lab.inside("n3", || fs::write("/proc/sys/net/ipv4/conf/eth1/rp_filter", value).expect("a namespace's own"));
    };
    strict("1");
    eventually("the agent hears of it, and the kernel drops them", || !lab.pings("pod1", "-c 1 172.16.3.2"));
    by_second_link(&lab, "add", &[3]);
    assert_eq!(ways(&lab, 2), ["eth1", "eth1"], "the same way back");
    by_second_link(&lab, "delete", &[3]);
    strict("2");
    eventually("loose again", || lab.pings("pod1", "-c 1 172.16.3.2"));
}

#[test]
fn filters_and_qdiscs_of_others_stay() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let object = accepting_program(directory.path());
    let accepting = format!("pref 4 handle 1 bpf da obj {object} sec tc");
    let sorting = "pref 4 protocol ip u32 match u32 0 0 flowid 1:1";
    for (qdisc, parent, filter) in [
        ("clsact", "ingress", accepting.as_str()),
        ("clsact", "ingress", sorting),
        ("handle ffff: ingress", "parent ffff:", accepting.as_str()),
    ] {
        let lab = Lab::without_tunnels();
        lab.run("n1", &format!("tc qdisc add dev eth0 {qdisc}"));
        lab.run("n1", &format!("tc filter add dev eth0 {parent} {filter}"));
        let show = || lab.run("n1", &format!("tc filter show dev eth0 {parent}"));
        // the kernel names the parent that was used last
        let words = |line: &str| line.replace("filter ingress ", "filter ");
        let theirs = || show().lines().filter(|line| line.contains("pref 4 ")).map(words).collect::<Vec<_>>();
        let before = theirs();
        assert!(!before.is_empty(), "{filter}: {}", show());
        let agents = [1, 2, 3].map(|number| Agent::start(&lab, number));
        eventually("pods reach each other", || lab.pings("pod1", "-c 1 172.16.3.2"));
        assert_eq!(theirs(), before, "{filter}: beside ours");
        drop(agents);
        let again = Agent::start(&lab, 1);
        eventually("a new agent is there", || lab.pings("pod1", "-c 1 172.16.3.2"));
        assert_eq!(theirs(), before, "{filter}: another agent");
        assert_eq!(show().matches("tortie-decap-").count(), 1, "{filter}: {}", show());
        drop(again);
        lab.inside("n1", || {
            let mut netlink = Netlink::open().expect("rtnetlink opens in any namespace");
            BpfTunnel::new().remove(&mut netlink).expect("removing takes root");
        });
        assert!(!show().contains("tortie"), "{filter}: ours are gone: {}", show());
        assert_eq!(theirs(), before, "{filter}: after the tunnel");
        lab.run("n1", &format!("tc filter delete dev eth0 {parent} pref 4"));
        let kind = qdisc.rsplit(' ').next().expect("a word");
        assert!(lab.run("n1", "tc qdisc show dev eth0").contains(kind), "{qdisc}: not ours to remove");
    }
}

#[test]
fn an_empty_qdisc_of_anothers_stays() {
    let lab = Lab::without_tunnels();
    lab.run("n1", "tc qdisc add dev eth0 clsact");
    lab.inside("n1", || ensure(&mut BpfTunnel::new(), &lab.spec(1)));
    lab.inside("n1", || {
        let mut netlink = Netlink::open().expect("rtnetlink opens in any namespace");
        BpfTunnel::new().remove(&mut netlink).expect("removing takes root");
    });
    assert_eq!(lab.run("n1", "tc filter show dev eth0 ingress"), "");
    assert!(lab.run("n1", "tc qdisc show dev eth0").contains("clsact"));
}

#[test]
fn a_qdisc_of_our_own_goes_though_the_programs_were_lost_meanwhile() {
    let lab = Lab::without_tunnels();
    lab.inside("n1", || ensure(&mut BpfTunnel::new(), &lab.spec(1)));
    // the next process finds a filter whose tunnel is gone
    lab.ip("n1", "link delete tunl0");
    lab.inside("n1", || {
        let mut tunnel = BpfTunnel::new();
        ensure(&mut tunnel, &lab.spec(1));
        let mut netlink = Netlink::open().expect("rtnetlink opens in any namespace");
        tunnel.remove(&mut netlink).expect("removing takes root");
    });
    assert!(!lab.run("n1", "tc qdisc show dev eth0").contains("clsact"));
}

/// Compiles a program that ends the search for filters with every packet, as others' may; returns its file.
fn accepting_program(directory: &Path) -> String {
    let (source, object) = (directory.join("accept.c"), directory.join("accept.o"));
    let text = r#"
        __attribute__((section("tc"))) int accept(void *packet) { return 0; }
        char _license[] __attribute__((section("license"))) = "Dual MIT/GPL";
    "#;
    fs::write(&source, text).expect("a temporary file");
    let mut clang = Command::new("clang");
    clang.args(["-O2", "-g", "-target", "bpf", "-c"]).arg(&source).arg("-o").arg(&object);
    assert!(clang.status().expect("the build needs clang too").success());
    object.display().to_string()
}

/// Three nodes with agents, n1 and n3 with their second link.
fn two_links() -> (Lab, [Agent; 3]) {
    let lab = Lab::without_tunnels();
    lab.ip("n1", &format!("link add eth1 type veth peer name eth1 netns {}", lab.namespace("n3")));
    for node in [1, 3] {
        lab.ip(&format!("n{node}"), &format!("address add 10.3.0.{node}/24 dev eth1"));
        lab.ip(&format!("n{node}"), "link set eth1 up");
    }
    let agents = [1, 2, 3].map(|number| Agent::start(&lab, number));
    for (from, to) in [(1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2)] {
        eventually("pods reach each other", || lab.pings(&format!("pod{from}"), &format!("-c 1 172.16.{to}.2")));
    }
    (lab, agents)
}

/// Adds or deletes, on one or both sides, the other's route by the second link.
fn by_second_link(lab: &Lab, verb: &str, nodes: &[u8]) {
    for node in nodes {
        let other = 4 - node;
        lab.ip(&format!("n{node}"), &format!("route {verb} {}/32 via 10.3.0.{other} dev eth1", address(other)));
    }
}

/// By which link of n1 the outer packets of a ping from pod1 to pod3 leave, and those of the answer come in.
fn ways(lab: &Lab, count: u8) -> [&'static str; 2] {
    // links that were down take a moment
    eventually("pod3 answers", || lab.pings("pod1", "-c 1 172.16.3.2"));
    let capture = Capture::start(lab, "n1", "any", "proto 4 and host 192.168.10.3");
    assert!(lab.pings("pod1", &format!("-c {count} -i 0.01 172.16.3.2")));
    let seen = |addresses: &str| links_of(&capture.text(), addresses);
    ["192.168.10.1 > 192.168.10.3", "192.168.10.3 > 192.168.10.1"].map(|addresses| {
        eventually("the packets are seen", || seen(addresses).len() >= usize::from(count));
        let mut links = seen(addresses);
        links.dedup();
        match links.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["eth0"] => "eth0",
            ["eth1"] => "eth1",
            _ => panic!("{addresses}: {links:?}"),
        }
    })
}

/// Of tcpdump's verbose text from all links: the link of each packet between two addresses.
fn links_of(text: &str, addresses: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let of = lines.windows(2).filter(|pair| pair[1].trim().starts_with(&format!("{addresses}: ")));
    of.filter_map(|pair| pair[0].split_whitespace().nth(1)).map(str::to_owned).collect()
}

/// The outer sources of what n1 sends to n3 by whatever link, once each.
fn outer_sources(lab: &Lab) -> Vec<Ipv4Addr> {
    let capture = Capture::start(lab, "n3", "any", "proto 4 and dst 192.168.10.3");
    assert!(lab.pings("pod1", "-c 1 172.16.3.2"));
    eventually("a packet is seen", || capture.text().contains("IPIP"));
    let text = capture.text();
    let words = text.lines().filter_map(|line| line.trim().split_once(" > 192.168.10.3: "));
    let mut sources: Vec<Ipv4Addr> = words.filter_map(|(source, _)| source.rsplit(' ').next()?.parse().ok()).collect();
    sources.dedup();
    sources
}

/// Waits until the pods of n1 and n3 reach each other both ways.
fn reaches(lab: &Lab, what: &str) {
    eventually(what, || lab.pings("pod1", "-c 1 172.16.3.2") && lab.pings("pod3", "-c 1 172.16.1.2"));
}
