//! An agent that starts where a Calico node's state is, while packets pass through it.
//!
//! ```text
//!  pods a, b ── n1, Calico's until now ── 192.168.10.0/24 ── n2, Tortie's, 172.16.2.9
//!                                               └─ 192.168.10.254, which knows no way to the pool
//! ```

use crate::calico::{Pod, Rules, replay, run};
use crate::cluster::{Cluster, SOON, eventually};
use crate::host::{Host, Ping};

const REMOTE: &str = "172.16.2.9";
const OUTSIDE: &str = "192.168.10.254";
/// Enough, a hundred a second, that the agent starts and settles meanwhile.
const PACKETS: u32 = 900;

/// What an agent's iptables rules are where there was nothing: names and hashes as Calico v3.32's and the walkthrough's.
const NAT: [&str; 14] = [
    ":cali-OUTPUT - [0:0]",
    ":cali-POSTROUTING - [0:0]",
    ":cali-PREROUTING - [0:0]",
    ":cali-fip-dnat - [0:0]",
    ":cali-fip-snat - [0:0]",
    ":cali-nat-outgoing - [0:0]",
    r#"-A PREROUTING -m comment --comment "cali:6gwbT8clXdHdC1b1" -j cali-PREROUTING"#,
    r#"-A OUTPUT -m comment --comment "cali:tVnHkvAo15HuiPy0" -j cali-OUTPUT"#,
    r#"-A POSTROUTING -m comment --comment "cali:0i8pjzKKPyA34aQD" -j cali-POSTROUTING"#,
    r#"-A cali-OUTPUT -m comment --comment "cali:GBTAv2p5CwevEyJm" -j cali-fip-dnat"#,
    r#"-A cali-POSTROUTING -m comment --comment "cali:Z-c7XtVd2Bq7s_hA" -j cali-fip-snat"#,
    r#"-A cali-POSTROUTING -m comment --comment "cali:nYKhEzDlr11Jccal" -j cali-nat-outgoing"#,
    r#"-A cali-PREROUTING -m comment --comment "cali:r6XmIziWUJsdOK6Z" -j cali-fip-dnat"#,
    r#"-A cali-nat-outgoing -m comment --comment "cali:flqWnvo8yq4ULQLa" -m set --match-set cali40masq-ipam-pools src -m set ! --match-set cali40all-ipam-pools dst -j MASQUERADE --random-fully"#,
];

/// The table `ip calico` of an agent where there was nothing, its sets and chains by name.
const TABLE: [&str; 12] = [
    "chain nat-INPUT",
    "chain nat-OUTPUT",
    "chain nat-POSTROUTING",
    "chain nat-PREROUTING",
    "chain nat-cali-OUTPUT",
    "chain nat-cali-POSTROUTING",
    "chain nat-cali-PREROUTING",
    "chain nat-cali-fip-dnat",
    "chain nat-cali-fip-snat",
    "chain nat-cali-nat-outgoing",
    "set cali40all-ipam-pools",
    "set cali40masq-ipam-pools",
];

/// The lines that name something of ours in what a program prints.
fn lines(host: &Host, program: &str, arguments: &[&str], kept: impl Fn(&str) -> bool) -> Vec<String> {
    let text = run(host, program, arguments, "");
    text.lines().map(str::trim).filter(|line| kept(line)).map(str::to_owned).collect()
}

/// Whether the host's IPv4 rules and sets are those that an agent makes, and no more.
fn rules_are_tortie(host: &Host, rules: Rules) -> Result<(), String> {
    let saved = lines(host, "iptables-nft-save", &[], |line| line.contains("cali"));
    let sets = lines(host, "ipset", &["list", "-n"], |line| line.starts_with("cali4"));
    let tables = lines(host, "nft", &["list", "tables", "ip"], |line| line == "table ip calico");
    let (expect_saved, expect_sets): (&[&str], &[&str]) = match rules {
        Rules::Iptables => (&NAT, &["cali40all-ipam-pools", "cali40masq-ipam-pools"]),
        Rules::Nftables => (&[], &[]),
    };
    let mut sets = sets;
    sets.sort();
    if saved != expect_saved || sets != expect_sets || tables.len() != usize::from(rules == Rules::Nftables) {
        return Err(format!("{saved:#?} {sets:?} {tables:?}"));
    }
    if rules == Rules::Nftables {
        let heads = |line: &str| line.ends_with('{') && !line.starts_with("table");
        let mut table = lines(host, "nft", &["-s", "list", "table", "ip", "calico"], heads);
        table.iter_mut().for_each(|line| *line = line.trim_end_matches(" {").to_owned());
        table.sort();
        let rule = run(host, "nft", &["-s", "list", "chain", "ip", "calico", "nat-cali-nat-outgoing"], "");
        let wanted =
            "ip saddr @cali40masq-ipam-pools ip daddr != @cali40all-ipam-pools counter masquerade fully-random";
        if table != TABLE || rule.matches("masquerade").count() != 1 || !rule.contains(wanted) {
            return Err(format!("{table:#?} {rule}"));
        }
    }
    Ok(())
}

fn routes_are_tortie(host: &Host) -> Result<(), String> {
    let routes = lines(host, "ip", &["route"], |_| true);
    let expect = [
        "default via 192.168.10.254 dev eth0",
        "172.16.1.2 dev cali0a scope link",
        "172.16.1.3 dev cali0b scope link",
        "172.16.2.0/24 via 192.168.10.2 dev eth0 proto bird",
        "192.168.10.0/24 dev eth0 proto kernel scope link src 192.168.10.1",
        "blackhole 172.16.1.0/24 proto 80",
    ];
    let (mut found, mut expect) = (routes.clone(), expect.map(str::to_owned).to_vec());
    found.sort();
    expect.sort();
    if found == expect { Ok(()) } else { Err(format!("{routes:#?}")) }
}

/// The agent takes over while every path is in use.
fn adopts(left: Rules, rules: Rules) {
    let cluster = Cluster::new();
    cluster.patch("ippool", "default-ipv4-ippool", r#"{"spec": {"ipipMode": "Never", "natOutgoing": true}}"#);
    cluster.claim("172.16.1.0/24", "n1");
    cluster.claim("172.16.2.0/24", "n2");
    cluster.give_gateway(&format!("{OUTSIDE}/24"));
    let (mut one, mut two) = (cluster.host(1), cluster.host(2));
    two.own(REMOTE);
    two.namespace.ip("route add 172.16.1.0/24 via 192.168.10.1 dev eth0 proto bird");
    // registered by Calico's start-up
    cluster.apply(
        "{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: n1}, \
         spec: {bgp: {ipv4Address: 192.168.10.1/24}}}",
    );
    two.start_agent();
    two.logs("this node is registered", SOON);

    let pods = [
        Pod::attach(&cluster, &one, "a", "cali0a", "172.16.1.2"),
        Pod::attach(&cluster, &one, "b", "cali0b", "172.16.1.3"),
    ];
    one.namespace.ip(&format!("route add default via {OUTSIDE}"));
    one.namespace.ip("route add 172.16.2.0/24 via 192.168.10.2 dev eth0 proto bird");
    one.namespace.ip("route add blackhole 172.16.1.0/24 proto bird");
    replay(&one, left, &pods, REMOTE);
    for (pod, to) in [(&pods[0], "172.16.1.3"), (&pods[0], REMOTE), (&pods[0], OUTSIDE), (&pods[1], OUTSIDE)] {
        pod.namespace.reaches(to);
    }

    let [a, b] = [&pods[0], &pods[1]];
    let mut pings = [
        Ping::start(&a.namespace, a.address, b.address, PACKETS),
        Ping::start(&a.namespace, a.address, REMOTE, PACKETS),
        Ping::start(&b.namespace, b.address, OUTSIDE, PACKETS),
        two.ping(REMOTE, a.address, PACKETS),
    ];
    one.set("FELIX_NFTABLESMODE", if rules == Rules::Nftables { "Enabled" } else { "Disabled" });
    one.start_agent();
    one.established(&["Mesh_192_168_10_2"], SOON);
    eventually(SOON, || rules_are_tortie(&one, rules).and_then(|()| routes_are_tortie(&one)));
    assert_eq!(run(&one, "ip", &["neigh", "show", "nud", "permanent"], ""), "");
    for ping in &mut pings {
        assert!(ping.goes_on(), "the agent was slower than {PACKETS} packets");
    }
    pings.into_iter().for_each(Ping::lost_none);
    // said, since an operator has to know
    assert!(one.log().contains("Calico's chains of network policy go"), "{}", one.log());
    let stays = match left {
        Rules::Iptables => "tables=\"ip6 filter\"",
        Rules::Nftables => "tables=\"ip6 calico, arp calico-arp\"",
    };
    assert!(one.log().contains(stays), "{}", one.log());
    for (pod, to) in [(b, a.address), (a, REMOTE), (a, OUTSIDE)] {
        pod.namespace.reaches(to);
    }
}

#[test]
fn iptables_to_iptables() {
    adopts(Rules::Iptables, Rules::Iptables);
}

#[test]
fn nftables_to_nftables() {
    adopts(Rules::Nftables, Rules::Nftables);
}

#[test]
fn iptables_to_nftables() {
    adopts(Rules::Iptables, Rules::Nftables);
}

#[test]
fn nftables_to_iptables() {
    adopts(Rules::Nftables, Rules::Iptables);
}
