//! What is broken by hand comes back: a table of breaks, with both drivers of packet rules.
//!
//! The agent stands still while something is broken, so that the damage can be seen before it is repaired.

use crate::cluster::{Cluster, SOON, eventually, throughout};
use crate::host::Host;
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

/// How soon what the kernel announces is repaired.
const ANNOUNCED: Duration = Duration::from_secs(1);
/// The refresh intervals of these tests, and how soon what only they find is repaired.
const INTERVAL: &str = "2s";
const FOUND: Duration = Duration::from_millis(3500);

/// A break, and the look that shows it.
struct Break {
    by: &'static str,
    seen: &'static str,
}

const ROUTES: &str = "ip route show";
const DEVICE: &str = "ip -br addr show dev tunl0; ip -o link show dev tunl0 | grep -o 'mtu [0-9]*'; ip route show";
const FILTERS: &str =
    "for link in eth0 tunl0p; do tc filter show dev $link ingress | grep -o 'tortie-[a-z]*'; done; true";
const PARAMETERS: &str = "cd /proc/sys/net && cat ipv4/ip_forward ipv6/conf/all/forwarding ipv4/conf/cali1/proxy_arp \
    ipv4/conf/cali1/forwarding ipv4/conf/cali1/rp_filter ipv6/conf/cali1/proxy_ndp ipv6/conf/cali1/forwarding \
    ipv6/conf/cali1/disable_ipv6";
const SILENT_PARAMETERS: &str = "cd /proc/sys/net && cat ipv4/conf/cali1/route_localnet \
    ipv4/neigh/cali1/proxy_delay ipv6/conf/cali1/accept_ra; ip neigh show nud permanent dev cali1";
const IPTABLES: &str = "iptables-save -t nat | grep -v '^#' | sed 's/\\[[0-9:]*\\]//'";
const SETS: &str = "ipset list cali40masq-ipam-pools | sed -n '/Members/,$p'; ipset list -n | sort";
const NFTABLES: &str = "nft -s list table ip calico";

macro_rules! breaks {
    ($($seen:ident: $($by:literal),+;)+) => { &[$($(Break { by: $by, seen: $seen }),+),+] };
}

/// What the kernel announces, whichever driver writes the rules.
const COMMON: &[Break] = breaks! {
    ROUTES:
        "ip route del 172.16.1.5",
        "ip route replace 172.16.1.5 dev eth0",
        "ip route del 172.16.2.0/24",
        "ip route replace 172.16.2.0/24 via 192.168.10.2 dev eth0",
        "ip route del blackhole 172.16.1.0/24",
        "ip route replace unreachable 172.16.1.0/24",
        "ip route del 169.254.1.1",
        "ip route flush proto bird",
        "ip route flush proto 80",
        "ip route add 172.16.77.0/24 via 192.168.10.2 dev tunl0 onlink proto bird";
    DEVICE:
        "ip link set tunl0 down",
        "ip addr flush dev tunl0",
        "ip addr add 10.9.9.9/24 dev tunl0",
        "ip link set tunl0 mtu 1300",
        "ip link set eth0 mtu 1400 && ip link set tunl0 mtu 1400 && ip link set eth0 mtu 1500";
    PARAMETERS:
        "sysctl -w net.ipv4.conf.cali1.proxy_arp=0",
        "sysctl -w net.ipv4.conf.cali1.forwarding=0",
        "sysctl -w net.ipv4.conf.cali1.rp_filter=1",
        "sysctl -w net.ipv4.ip_forward=0",
        "sysctl -w net.ipv6.conf.cali1.disable_ipv6=0",
        "sysctl -w net.ipv6.conf.cali1.proxy_ndp=0",
        "sysctl -w net.ipv6.conf.cali1.forwarding=0",
        "sysctl -w net.ipv6.conf.all.forwarding=0";
};

/// What only the form of `tunl0` without the kernel's ipip has.
const BPF: &[Break] = breaks! {
    DEVICE: "ip link del tunl0", "ip link del tunl0p", "ip link set tunl0p down";
    FILTERS:
        "tc filter del dev eth0 ingress",
        "tc qdisc del dev eth0 clsact",
        "tc qdisc del dev tunl0p clsact";
};

/// What the kernel does not announce.
const SILENT: &[Break] = breaks! {
    SILENT_PARAMETERS:
        "sysctl -w net.ipv4.conf.cali1.route_localnet=0",
        "sysctl -w net.ipv4.neigh.cali1.proxy_delay=80",
        "sysctl -w net.ipv6.conf.cali1.accept_ra=1",
        "ip neigh replace 172.16.1.5 lladdr 02:00:00:00:00:01 dev cali1 nud permanent";
};

const OF_IPTABLES: &[Break] = breaks! {
    IPTABLES:
        "iptables -t nat -F cali-nat-outgoing",
        "iptables -t nat -F POSTROUTING",
        "iptables -t nat -A cali-fip-snat -j RETURN",
        "iptables -t nat -D OUTPUT 1 && iptables -t nat -F cali-OUTPUT && iptables -t nat -X cali-OUTPUT";
};

const SILENT_OF_IPTABLES: &[Break] = breaks! {
    SETS:
        "ipset flush cali40masq-ipam-pools",
        "ipset add cali40masq-ipam-pools 10.9.0.0/16",
        "ipset create cali40stray hash:net";
};

const OF_NFTABLES: &[Break] = breaks! {
    NFTABLES:
        "nft flush chain ip calico nat-cali-nat-outgoing",
        "nft add rule ip calico nat-cali-nat-outgoing return",
        "nft add chain ip calico stray",
        "nft flush set ip calico cali40masq-ipam-pools",
        "nft add element ip calico cali40masq-ipam-pools '{ 10.9.0.0/16 }'",
        "nft flush table ip calico",
        "nft add table ip calico '{ flags dormant; }'";
    ROUTES: "ip route del 172.16.2.0/24; nft delete table ip calico";
};

/// What is nobody's business but the one's who made it, and a look at it.
const OTHERS: &str = "ip route add 198.18.0.0/24 dev lo && ip route add blackhole 172.16.99.0/24 && \
    ip addr add 172.31.9.9/32 dev lo && nft add table ip mine && nft add chain ip mine c && \
    nft add rule ip mine c counter && iptables -t nat -N mine && iptables -t nat -A mine -j RETURN && \
    iptables -t nat -A OUTPUT -d 198.18.0.9 -j mine && ipset create mine hash:net && ip rule add from 198.18.0.1 table 77";
const OTHERS_SEEN: &str = "ip route show 198.18.0.0/24; ip route show 172.16.99.0/24; ip addr show lo; \
    nft -s list table ip mine; iptables -t nat -S | grep mine; ipset list mine; ip rule show";

/// Two nodes in session, and on the first a workload; the first is the one to be broken.
struct Scene {
    cluster: Cluster,
    one: Host,
    _two: Host,
}

impl Scene {
    fn new(nftables: &str) -> Scene {
        let cluster = Cluster::new();
        let (one, two) = cluster.pair();
        one.sh("ip link add cali1 type veth peer name pod1 && ip link set cali1 up && ip link set pod1 up");
        cluster.patch("ippool", "default-ipv4-ippool", r#"{"spec": {"natOutgoing": true}}"#);
        cluster.apply(
            "{apiVersion: projectcalico.org/v3, kind: WorkloadEndpoint, metadata: {name: n1-k8s-pod1-eth0, \
             namespace: default}, spec: {node: n1, orchestrator: k8s, pod: pod1, endpoint: eth0, \
             interfaceName: cali1, ipNetworks: [172.16.1.5/32]}}",
        );
        let scene = Scene { cluster, one, _two: two };
        scene.set("nftablesMode", nftables);
        eventually(SOON, || match scene.one.sh(&format!("{ROUTES}; {IPTABLES}; nft list tables")) {
            text if !text.contains("172.16.1.5 dev cali1") => Err(text),
            text if text.contains("table ip calico") != (nftables == "Enabled") => Err(text),
            text if text.contains("-A cali-nat-outgoing") != (nftables == "Disabled") => Err(text),
            _ => Ok(()),
        });
        scene.one.sh(OTHERS);
        scene
    }

    fn set(&self, parameter: &str, value: &str) {
        self.cluster.patch("felixconfiguration", "default", &format!(r#"{{"spec": {{"{parameter}": "{value}"}}}}"#));
    }

    fn refresh(&self, interval: &str) {
        for kind in ["route", "iptables", "nftables", "ipsets", "interface"] {
            self.set(&format!("{kind}RefreshInterval"), interval);
        }
    }

    /// Breaks, looks at the damage, and waits for its repair.
    fn heals(&mut self, broken: &Break, within: Duration) {
        let whole = self.one.sh(broken.seen);
        self.breaks(broken);
        let begun = Instant::now();
        eventually(within, || match self.one.sh(broken.seen) {
            now if now == whole => Ok(()),
            now => Err(format!("{}: {now}\nand not {whole}", broken.by)),
        });
        eprintln!("{:?}: {}", begun.elapsed(), broken.by);
    }

    fn breaks(&mut self, broken: &Break) {
        let whole = self.one.sh(broken.seen);
        self.one.agent().signal(Signal::SIGSTOP);
        self.one.sh(broken.by);
        let damaged = self.one.sh(broken.seen);
        self.one.agent().signal(Signal::SIGCONT);
        assert_ne!(damaged, whole, "{} breaks nothing", broken.by);
    }

    fn is_bpf(&self) -> bool {
        self.one.sh("ip -d link show dev tunl0").contains("veth")
    }
}

fn everything(nftables: &str, announced: &[Break], silent: &[Break]) {
    let mut scene = Scene::new(nftables);
    let others = scene.one.sh(OTHERS_SEEN);
    let bpf = if scene.is_bpf() { BPF } else { &[] };
    for broken in COMMON.iter().chain(bpf).chain(announced) {
        scene.heals(broken, ANNOUNCED);
    }
    scene.refresh(INTERVAL);
    for broken in SILENT.iter().chain(silent) {
        scene.heals(broken, FOUND);
    }
    assert_eq!(scene.one.sh(OTHERS_SEEN), others, "what is not ours");
}

#[test]
fn with_iptables() {
    everything("Disabled", OF_IPTABLES, SILENT_OF_IPTABLES);
}

#[test]
fn with_nftables() {
    everything("Enabled", OF_NFTABLES, &[]);
}

#[test]
fn an_interval_of_zero_is_never_over_until_another_is_set() {
    let mut scene = Scene::new("Disabled");
    scene.refresh("0s");
    let (flushed, parameter) = (&SILENT_OF_IPTABLES[0], &SILENT[0]);
    let whole = [flushed.seen, parameter.seen].map(|look| scene.one.sh(look));
    scene.breaks(flushed);
    scene.breaks(parameter);
    throughout(Duration::from_secs(3), || {
        let now = [flushed.seen, parameter.seen].map(|look| scene.one.sh(look));
        if now[0] != whole[0] && now[1] != whole[1] { Ok(()) } else { Err(format!("{now:?}")) }
    });
    scene.refresh(INTERVAL);
    eventually(FOUND, || match [flushed.seen, parameter.seen].map(|look| scene.one.sh(look)) {
        now if now == whole => Ok(()),
        now => Err(format!("{now:?}")),
    });
}

#[test]
fn the_tunnels_mtu_follows_configuration_and_uplink() {
    let scene = Scene::new("Enabled");
    let has = |mtu: u32| {
        eventually(ANNOUNCED, || match (scene.one.sh("ip -o link show dev tunl0"), scene.one.pods_mtu()) {
            (device, pods) if device.contains(&format!("mtu {mtu} ")) && pods == mtu.to_string() => Ok(()),
            other => Err(format!("{mtu} is wanted: {other:?}")),
        });
    };
    has(1480);
    scene.one.sh("ip link set eth0 mtu 1450");
    has(1430);
    scene.cluster.patch("felixconfiguration", "default", r#"{"spec": {"ipipMTU": 1400}}"#);
    has(1400);
    scene.one.sh("ip link set eth0 mtu 1500");
    has(1400);
    scene.cluster.patch("felixconfiguration", "default", r#"{"spec": {"ipipMTU": 0}}"#);
    has(1480);
}
