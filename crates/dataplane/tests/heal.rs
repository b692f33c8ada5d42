//! The dataplane's thread against somebody else's hands: what it must hear of, what it may lose, and when it stays
//! quiet.
//!
//! ```text
//!  192.168.10.10 eth0 ─── wire, another namespace
//!  cali1, cali2 ───────── workloads' interfaces, their other ends also in the wire
//! ```

mod common;

use common::walkthrough::{config, desired, learned, prefix};
use common::{Namespace, eventually};
use dataplane::{Config, Input, Sender, Status, mailbox, run};
use model::Mtu;
use model::desired::{Desired, PacketRules, Pool};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const DRIVERS: [PacketRules; 2] = [PacketRules::Iptables, PacketRules::Nftables];
/// How soon what the kernel announces is repaired.
const SOON: Duration = Duration::from_secs(1);
/// How long the start may take.
const START: Duration = Duration::from_secs(5);

/// A node whose dataplane runs in a thread of its own.
struct Node {
    namespace: Namespace,
    _wire: Namespace,
    _state: tempfile::TempDir,
    desired: Desired,
    sender: Sender,
    statuses: Arc<Mutex<Vec<Status>>>,
    /// Whoever holds it stops the thread after its next apply.
    gate: Arc<Mutex<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    /// Starts one, and waits until the kernel is as it should be.
    fn start(rules: PacketRules, adjust: impl FnOnce(&mut Config)) -> Node {
        let (namespace, wire) = (Namespace::new("heal"), Namespace::new("wire"));
        namespace.join("eth0", &wire, "wire0");
        namespace.ip("addr add 192.168.10.10/24 dev eth0");
        namespace.ip("route add default via 192.168.10.254");
        for link in ["cali1", "cali2"] {
            namespace.join(link, &wire, &format!("{link}x"));
        }
        let state = tempfile::tempdir().expect("a directory for the test");
        let mut config = config(state.path());
        adjust(&mut config);
        let mut desired = desired();
        desired.settings.packet_rules = rules;
        let (sender, inbox) = mailbox().expect("a mailbox");
        let statuses = Arc::new(Mutex::new(Vec::new()));
        let gate = Arc::new(Mutex::new(()));
        let (path, seen, passage) = (namespace.path(), Arc::clone(&statuses), Arc::clone(&gate));
        let thread = thread::spawn(move || {
            dataplane::netns::NetNs::open(&path).and_then(|netns| netns.enter()).expect("the node's namespace");
            let report = |status| {
                seen.lock().expect("no test panics while it holds this").push(status);
                drop(passage.lock());
            };
            run(config, inbox, report).expect("nothing that happens here ends the thread");
        });
        sender.send(Input::Desired(Arc::new(desired.clone())));
        sender.send(Input::Learned(learned()));
        let (_wire, _state, thread) = (wire, state, Some(thread));
        let node = Node { namespace, _wire, _state, desired, sender, statuses, gate, thread };
        eventually(START, || match node.rules() {
            rules if rules.contains("cali:flqWnvo8yq4ULQLa") || rules.contains("masquerade") => Ok(()),
            rules => Err(format!("no rule for natOutgoing yet: {rules}")),
        });
        node.settles();
        assert_eq!(node.failures(), []);
        node
    }

    /// How often the kernel has been gone over.
    fn applies(&self) -> usize {
        let statuses = self.statuses.lock().expect("no test panics while it holds this");
        statuses.iter().filter(|status| status.applied_in.is_some()).count()
    }

    /// Does something while the thread hears nothing.
    fn unheard(&self, work: impl FnOnce()) {
        let gate = self.gate.lock().expect("the thread does not panic while it holds this");
        let before = self.applies();
        self.sender.send(Input::Desired(Arc::new(self.desired.clone())));
        eventually(SOON, || if self.applies() > before { Ok(()) } else { Err("no apply") });
        work();
        drop(gate);
    }

    fn failures(&self) -> Vec<dataplane::Failure> {
        let statuses = self.statuses.lock().expect("no test panics while it holds this");
        statuses.last().map(|status| status.failures.clone()).unwrap_or_default()
    }

    /// Waits until the kernel has not been gone over for a while: longer than any pause between two looks.
    fn settles(&self) {
        let (mut count, mut since) = (self.applies(), Instant::now());
        eventually(START, || {
            let applies = self.applies();
            if applies != count {
                (count, since) = (applies, Instant::now());
            }
            if since.elapsed() > SOON { Ok(()) } else { Err(format!("{applies} applies, and they go on")) }
        });
    }

    /// Runs a command line in the node's namespace with some input; returns what it printed.
    fn sh(&self, line: &str, input: &str) -> String {
        let mut call = Command::new("ip");
        call.args(["netns", "exec", self.namespace.name(), "sh", "-c", line]);
        call.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = call.spawn().expect("tests need iproute2's ip");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("the command reads its input");
        let output = child.wait_with_output().expect("the command ends");
        assert!(output.status.success(), "{line}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The packet rules, whoever wrote them, without counters.
    fn rules(&self) -> String {
        self.sh(
            "iptables-nft-save -t nat | grep -v '^[#:]'; nft -s list ruleset ip | grep -v -e '^#' -e counter; \
                 nft -s list ruleset ip | grep masquerade || true",
            "",
        )
    }

    /// Announcements that the kernel has dropped because nobody read them, over the node's sockets.
    fn dropped(&self) -> u64 {
        let text = self.namespace.run(|| fs::read_to_string("/proc/thread-self/net/netlink"));
        let text = text.expect("the kernel lists netlink sockets");
        text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(8)?.parse::<u64>().ok()).sum()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.sender.send(Input::Stop);
        let ended = self.thread.take().expect("joined once").join();
        assert!(thread::panicking() || ended.is_ok(), "the dataplane's thread panicked");
    }
}

#[test]
fn lost_announcements_are_made_up_for() {
    for rules in DRIVERS {
        let node = Node::start(rules, |config| config.monitor_buffer = 1);
        let (routes, whole) = (node.namespace.routes(), node.rules());
        let table = if rules == PacketRules::Nftables { "calico" } else { "nat" };
        // more than the buffer holds, and then what matters
        let routes_of_others: String =
            (0..100).map(|n| format!("route add 198.18.{n}.0/24 via 192.168.10.254\n")).collect();
        let rules_of_others: String =
            (0..100).map(|n| format!("add chain ip office c{n}\nadd rule ip office c{n} counter\n")).collect();
        node.unheard(|| {
            node.sh("ip -batch -", &routes_of_others);
            node.sh("nft -f -", &format!("add table ip office\n{rules_of_others}"));
            node.sh(&format!("nft flush table ip {table}; nft delete table ip office"), "");
            node.sh("sysctl -qw net.ipv4.conf.cali1.proxy_arp=0", "");
            node.sh("ip route del 172.16.158.0/24; ip route flush via 192.168.10.254 root 198.18.0.0/16", "");
        });
        eventually(SOON, || match (node.namespace.routes(), node.rules()) {
            now if now == (routes.clone(), whole.clone()) => Ok(()),
            (routes, rules) => Err(format!("{rules}\n{routes:?}")),
        });
        eventually(SOON, || match node.namespace.sysctl("ipv4/conf/cali1/proxy_arp") {
            value if value == "1" => Ok(()),
            value => Err(format!("proxy_arp {value}")),
        });
        assert!(node.dropped() > 0, "nothing was lost");
        node.settles();
    }
}

#[test]
fn ipv6_that_is_turned_on_by_hand_is_turned_off_again() {
    let node = Node::start(PacketRules::Nftables, |_| {});
    assert_eq!(node.namespace.sysctl("ipv6/conf/cali1/disable_ipv6"), "1");
    node.sh("sysctl -qw net.ipv6.conf.cali1.disable_ipv6=0", "");
    eventually(SOON, || match node.namespace.sysctl("ipv6/conf/cali1/disable_ipv6") {
        value if value == "1" => Ok(()),
        value => Err(format!("disable_ipv6 {value}")),
    });
    node.settles();
}

#[test]
fn what_others_write_and_what_it_wrote_itself_calls_for_nothing() {
    for rules in DRIVERS {
        let mut node = Node::start(rules, |_| {});
        let before = node.applies();
        node.sh("nft -f -", "add table ip office\nadd chain ip office c\nadd rule ip office c counter\n");
        node.sh("iptables-nft -t nat -N KUBE-SERVICES && iptables-nft -t nat -A KUBE-SERVICES -j RETURN", "");
        node.sh("nft add table ip6 calico; ipset create office hash:net", "");
        let begun = Instant::now();
        while begun.elapsed() < SOON {
            assert_eq!(node.applies(), before, "{rules:?}: others' tables");
            thread::sleep(Duration::from_millis(20));
        }

        let pool = Pool { nat_outgoing: true, ..Pool::default() };
        node.desired.pools.insert(prefix("10.99.0.0/16"), pool);
        node.sender.send(Input::Desired(Arc::new(node.desired.clone())));
        eventually(SOON, || if node.applies() > before { Ok(()) } else { Err("no apply") });
        node.settles();
        assert_eq!(node.applies(), before + 1, "{rules:?}: the rules it wrote");

        node.desired.ipip.as_mut().expect("wanted").mtu = Some(Mtu(1400));
        node.sender.send(Input::Desired(Arc::new(node.desired.clone())));
        eventually(SOON, || match node.namespace.ip("link show tunl0") {
            text if text.contains("mtu 1400") => Ok(()),
            text => Err(text),
        });
        node.settles();
        // the kernel announces the link, whoever changed it: one look more
        assert!(node.applies() <= before + 3, "{rules:?}: {} applies", node.applies() - before);
        assert!(node.rules().contains("office"), "{rules:?}: others' rules stay");
    }
}

#[test]
fn a_dispute_does_not_become_a_storm() {
    let node = Node::start(PacketRules::Nftables, |_| {});
    let (before, begun) = (node.applies(), Instant::now());
    let time = Duration::from_secs(3);
    let mut deleted = 0;
    while begun.elapsed() < time {
        let mut call = Command::new("ip");
        call.args(["-n", node.namespace.name(), "route", "del", "172.16.158.0/24"]).stderr(Stdio::null());
        deleted += usize::from(call.status().expect("tests need iproute2's ip").success());
    }
    // a quarter of a second between two repairs
    let applies = node.applies() - before;
    assert!((2..=13).contains(&deleted), "{deleted} deletions in {time:?}");
    assert!(applies <= 14, "{applies} applies in {time:?}");
    let route = "172.16.158.0/24 via 192.168.10.101 dev tunl0 proto bird onlink";
    eventually(SOON, || match node.namespace.routes() {
        routes if routes.iter().any(|line| line == route) => Ok(()),
        routes => Err(format!("{routes:?}")),
    });
}
