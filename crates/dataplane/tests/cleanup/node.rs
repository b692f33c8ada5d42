//! A node with two pods, an agent's dataplane on it, and a look at everything in its kernel.

use crate::common::{Namespace, command, eventually};
use dataplane::bpf::BpfTunnel;
use dataplane::cleanup::{Forwarding, Pods, Scope, Step, cleanup};
use dataplane::netlink::MONITOR_BUFFER;
use dataplane::podnet::{self, PodNetwork, default_routes};
use dataplane::{BgpDaemon, Config, Dataplane, TunnelChoice};
use ipnet::Ipv4Net;
use model::Mtu;
use model::desired::{Desired, Encapsulation, Ipip, Learned, PacketRules, Pool, Settings, Workload};
use model::name::{IfName, NodeName};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) const BOTH: [PacketRules; 2] = [PacketRules::Iptables, PacketRules::Nftables];

pub(crate) struct Node {
    pub(crate) namespace: Namespace,
    _wire: Namespace,
    pods: Vec<Namespace>,
    state: tempfile::TempDir,
}

impl Node {
    pub(crate) fn new() -> Node {
        let (namespace, wire) = (Namespace::new("node"), Namespace::new("wire"));
        namespace.join("eth0", &wire, "wire0");
        namespace.ip("addr add 192.168.10.10/24 dev eth0");
        let node = Node { namespace, _wire: wire, pods: Vec::new(), state: tempfile::tempdir().expect("a directory") };
        // until the kernel has made up its mind about it, the link-local address is no route
        eventually(Duration::from_secs(10), || match node.namespace.ip("-6 addr show dev eth0") {
            shown if shown.contains("inet6") && !shown.contains("tentative") => Ok(()),
            shown => Err(shown),
        });
        node.shell("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0");
        node
    }

    /// Runs a shell's words in the node's namespace; they have to succeed.
    pub(crate) fn shell(&self, words: &str) -> String {
        command("ip", &["netns", "exec", self.namespace.name(), "sh", "-ec", words])
    }

    /// Attaches two pods, 172.16.116.1 and .2.
    pub(crate) fn attach_pods(&mut self) {
        for number in [1, 2u8] {
            let pod = Namespace::pristine(&format!("pod{number}"));
            let network = PodNetwork {
                host_interface: IfName(format!("cali{number}")),
                container_interface: IfName::from("eth0"),
                netns: &pod.path(),
                addresses: vec![Ipv4Addr::new(172, 16, 116, number).into()],
                mtu: Mtu(1480),
                routes: default_routes(),
                forwarding: podnet::Forwarding::Denied,
                queues: 1,
                mac: None,
            };
            self.namespace.run(|| network.setup()).expect("the pod is attached");
            self.pods.push(pod);
        }
    }

    /// Whether the first pod reaches the second.
    pub(crate) fn pods_talk(&self) -> bool {
        self.pods[0].exec("ping", &["-c1", "-W2", "172.16.116.2"])
    }

    /// Where the dataplane says which endpoints stand.
    pub(crate) fn status_directory(&self) -> std::path::PathBuf {
        self.state.path().join("endpoint-status")
    }

    /// Runs an agent's dataplane on the node, until the kernel is as wanted.
    pub(crate) fn run_agent(&self, rules: PacketRules) {
        let state_directory = self.state.path().to_owned();
        let status_directory = self.status_directory();
        let config = Config {
            tunnel: TunnelChoice::Auto,
            state_directory,
            status_directory,
            monitor_buffer: MONITOR_BUFFER,
            bgp: BgpDaemon::Agent,
        };
        let outcome = self.namespace.run(|| {
            let mut dataplane = Dataplane::new(config, Box::new(BpfTunnel::new())).expect("a netlink socket");
            let learned = Learned::from([(prefix("172.16.158.0/24"), ip("192.168.10.101").into())]);
            dataplane.on_learned(Arc::new(learned));
            dataplane.on_desired(Arc::new(desired(rules)));
            dataplane.apply(Instant::now())
        });
        assert_eq!(outcome.failures, []);
    }

    pub(crate) fn scope(&self, pods: Pods) -> Scope {
        Scope {
            pods,
            bgp: BgpDaemon::Agent,
            forwarding: Forwarding::Stop,
            pools: BTreeSet::new(),
            state_directory: self.state.path().into(),
            status_directory: self.status_directory(),
        }
    }

    /// Cleans the node; returns all that was told.
    pub(crate) fn clean(&self, scope: &Scope) -> Vec<Step> {
        let mut steps = Vec::new();
        self.namespace.run(|| cleanup(scope, &mut |step| steps.push(step))).expect("a netlink socket");
        steps
    }

    /// Everything in the node's kernel that an agent might have touched, a line for each thing.
    pub(crate) fn look(&self) -> BTreeSet<String> {
        let mut lines = BTreeSet::new();
        for words in [
            "ip -d link",
            "ip -br addr",
            "ip route show table all",
            "ip -6 route show table all",
            "ip rule; ip -6 rule",
            "ip neigh show nud permanent",
            "iptables-nft-save; ip6tables-nft-save",
            "ipset save",
            "nft -s list ruleset",
            "tc qdisc show; for link in $(ls /sys/class/net); do tc filter show dev $link ingress; done",
            "sysctl -a --pattern '^net.(ipv4.ip_forward|ipv[46].conf)' 2>&1",
            "ls -A /sys/fs/bpf",
        ] {
            let text = self.shell(words);
            let kept = text.lines().filter(|line| !line.starts_with('#')).map(without_counters);
            lines.extend(kept.map(|line| format!("{words}: {line}")));
        }
        let files = fs::read_dir(self.state.path()).expect("there").map(|it| it.expect("listed").file_name());
        lines.extend(files.map(|name| format!("file {}", name.display())));
        lines
    }

    /// Everything as it was `before`.
    #[track_caller]
    pub(crate) fn is_as(&self, before: &BTreeSet<String>, when: &str) {
        let now = self.look();
        let (more, less): (Vec<_>, Vec<_>) = (now.difference(before).collect(), before.difference(&now).collect());
        assert!(more.is_empty() && less.is_empty(), "{when}: more {more:#?}, less {less:#?}");
    }

    /// Makes objects of others beside those that ours will be, some with names much like ours.
    pub(crate) fn add_foreign(&self) {
        self.shell(
            "ip link add calibridge type bridge; ip link set calibridge addrgenmode none; ip link set calibridge up
            ip link add caliother type veth peer name other; ip addr add 10.7.7.7/32 dev lo
            ip route add 198.18.0.0/24 via 192.168.10.254
            ip route add 198.18.1.0/24 via 192.168.10.254 proto bird
            ip route add blackhole 198.18.2.0/24 proto static
            ip rule add from 10.7.7.7 lookup 100 pref 500; ip route add default via 192.168.10.254 table 100
            ip neigh add 192.168.10.77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent
            iptables -t nat -N mine; iptables -t nat -A POSTROUTING -s 10.7.7.0/24 -j mine
            iptables -t filter -A FORWARD -i eth7 -m comment --comment calico -j ACCEPT
            ip6tables -t filter -N calm; ip6tables -A FORWARD -j calm
            ipset create calibration hash:net; ipset add calibration 10.7.0.0/16
            nft add table inet calico; nft add chain inet calico c '{ type filter hook input priority 7; }'
            nft add table ip mine; nft add set ip mine s '{ type ipv4_addr; elements = { 10.7.7.7 }; }'
            tc qdisc add dev eth0 clsact
            tc filter add dev eth0 ingress pref 9 bpf bytecode '1,6 0 0 4294967295'",
        );
    }
}

/// Drops what runs on by itself: packet counters, and a bridge's timers.
fn without_counters(line: &str) -> String {
    let mut words = Vec::new();
    let mut all = line.split_whitespace();
    while let Some(word) = all.next() {
        if word.ends_with("_timer") {
            all.next();
        } else if !(word.starts_with('[') && word.contains(':')) {
            words.push(word);
        }
    }
    words.join(" ")
}

pub(crate) fn ip(text: &str) -> Ipv4Addr {
    text.parse().expect("a literal address")
}

pub(crate) fn prefix(text: &str) -> Ipv4Net {
    text.parse().expect("a literal prefix")
}

fn desired(rules: PacketRules) -> Desired {
    let workload = |address| Workload { addresses: BTreeSet::from([ip(address)]), ..Workload::default() };
    let pool = Pool { ipip: Encapsulation::Always, nat_outgoing: true, ..Pool::default() };
    Desired {
        node: NodeName::from("k8s-m"),
        address: Some((ip("192.168.10.10"), prefix("192.168.10.0/24"))),
        workloads: BTreeMap::from([
            (IfName::from("cali1"), workload("172.16.116.1")),
            (IfName::from("cali2"), workload("172.16.116.2")),
        ]),
        unread_workloads: BTreeSet::new(),
        local_blocks: BTreeSet::from([prefix("172.16.116.0/24")]),
        pools: BTreeMap::from([(prefix("172.16.0.0/16"), pool)]),
        ipip: Some(Ipip { address: Some(ip("172.16.116.0")), mtu: None }),
        hosts: BTreeMap::from([
            (NodeName::from("k8s-m"), ip("192.168.10.10")),
            (NodeName::from("k8s-w1"), ip("192.168.10.101")),
        ]),
        settings: Settings { packet_rules: rules, ..Settings::default() },
    }
}
