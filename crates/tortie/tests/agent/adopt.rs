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
/// An address of the host's block that is no pod's.
const FORGED: &str = "172.16.1.9";
/// Enough, a hundred a second, that the agent starts and settles meanwhile.
const PACKETS: u32 = 900;

/// The lines that name something of ours in what a program prints.
fn lines(host: &Host, program: &str, arguments: &[&str], kept: impl Fn(&str) -> bool) -> Vec<String> {
    let text = run(host, program, arguments, "");
    text.lines().map(str::trim).filter(|line| kept(line)).map(str::to_owned).collect()
}

/// The host's IPv4 rules and sets of ours, in an order that does not depend on when they were made.
fn rules_of(host: &Host) -> Vec<String> {
    let mut found = Vec::new();
    for table in ["raw", "mangle", "nat", "filter"] {
        let mut saved = lines(host, "iptables-nft-save", &["-t", table], |line| line.contains("cali"));
        // of one chain the order counts, and stays
        saved.sort_by_key(|line| line.split(' ').nth(1).map(str::to_owned));
        found.extend(saved.iter().map(|line| format!("{table} {line}")));
    }
    let mut sets = lines(host, "ipset", &["save"], |line| line.starts_with("add cali4"));
    sets.sort();
    found.extend(sets);
    if !lines(host, "nft", &["list", "tables", "ip"], |line| line == "table ip calico").is_empty() {
        let table = run(host, "nft", &["-s", "list", "table", "ip", "calico"], "");
        let body =
            table.strip_prefix("table ip calico {\n").and_then(|rest| rest.strip_suffix("}\n")).expect("a table");
        let mut blocks: Vec<String> = body.split("\n\n").map(with_sorted_elements).collect();
        blocks.sort();
        found.push("table ip calico".to_owned());
        found.extend(blocks);
    }
    found
}

/// The kernel lists elements in an order of its own.
fn with_sorted_elements(block: &str) -> String {
    let (head, elements) = block.trim_end().split_once("elements = {").unwrap_or((block.trim_end(), ""));
    let words = elements.split([',', '}', '\n']).map(str::trim).filter(|word| !word.is_empty());
    let mut words: Vec<&str> = words.collect();
    words.sort_unstable();
    format!("{head}{}", words.join(", "))
}

/// Whether what Calico has and Tortie has not is gone, and what Tortie has is there, in the kind of rules it is told to use.
fn rules_are_tortie(host: &Host, rules: Rules) -> Result<(), String> {
    let found = rules_of(host);
    let has = |word: &str| found.iter().any(|line| line.contains(word));
    let gone = ["cali-pri-", "cali-pro-", "cali-pi-", "cali-po-", "network-ip-pools", "cali40s:"];
    let here =
        ["cali-fw-cali0a", "cali-tw-cali0b", "cali-nat-outgoing", "Drop packets from workloads to loopback addresses"];
    let in_table = has("table ip calico");
    if let Some(word) = gone.into_iter().find(|word| has(word)) {
        return Err(format!("{word} is still there: {found:#?}"));
    }
    if let Some(word) = here.into_iter().find(|word| !has(word)) {
        return Err(format!("{word} is missing: {found:#?}"));
    }
    if in_table != (rules == Rules::Nftables) || has("-A cali-PREROUTING") == in_table {
        return Err(format!("the wrong kind of rules: {found:#?}"));
    }
    Ok(())
}

/// Whether the agent makes, where there is nothing, just what it left of Calico's and added to it.
fn rules_are_as_from_nothing(host: &Host) {
    let adopted = rules_of(host);
    host.sh("nft delete table ip calico 2>/dev/null || true; iptables-nft-save | grep -v cali | iptables-nft-restore");
    host.sh("for set in $(ipset list -n | grep ^cali4); do ipset destroy $set; done");
    eventually(SOON, || match rules_of(host) {
        anew if anew == adopted => Ok(()),
        anew => {
            let only = |these: &[String], those: &[String]| -> Vec<String> {
                these.iter().filter(|line| !those.contains(line)).cloned().collect()
            };
            Err(format!("only adopted {:#?}, only anew {:#?}", only(&adopted, &anew), only(&anew, &adopted)))
        }
    });
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

    // the profile lets in only its own network
    let dump = || [run(&one, "iptables-nft-save", &[], ""), run(&one, "nft", &["-s", "list", "ruleset"], "")];
    let plain =
        |text: String| text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
    let before = dump().map(plain);
    let said = one.refused();
    let words = "this node has some: in the kernel the chains cali-pri-net. What it forbids would be allowed: ";
    assert!(said.contains(words), "{said}");
    assert_eq!(dump().map(plain), before, "nothing was touched");
    one.set("TORTIE_RUN_WITHOUT_ENFORCING_POLICY", "true");

    let [a, b] = [&pods[0], &pods[1]];
    // what Calico's guards drop: packets with an address that is not the pod's
    a.namespace.ip(&format!("addr add {FORGED}/32 dev eth0"));
    b.nft(&format!(
        "add table ip seen; add chain ip seen sources {{ type filter hook prerouting priority -500; }}; \
         add rule ip seen sources ip saddr {FORGED} counter; add rule ip seen sources ip saddr {} counter",
        a.address
    ));
    let mut forged = Ping::start(&a.namespace, FORGED, b.address, PACKETS);
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
    assert!(forged.goes_on(), "the agent was slower than {PACKETS} packets");
    pings.into_iter().for_each(Ping::lost_none);
    forged.end();
    let seen = b.nft("list chain ip seen sources");
    assert!(seen.contains(&format!("ip saddr {FORGED} counter packets 0 bytes 0")), "{seen}");
    assert!(!seen.contains(&format!("ip saddr {} counter packets 0 ", a.address)), "{seen}");
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
    rules_are_as_from_nothing(&one);
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
