//! Whether everything that `podnet` makes is missed when it is changed by hand.
//!
//! ```text
//!  host namespace                pod namespace
//!  calicid1 ee:ee:ee:ee:ee:ee ── eth0  10.244.166.129/32, fd00:10:244::1/128
//! ```

mod common;

use Break::{Host, HostSysctl, Pod as InPod, PodSysctl};
use common::Namespace;
use dataplane::netlink::MacAddress;
use dataplane::podnet::{Forwarding, PodNetwork, default_routes};
use model::Mtu;
use model::name::IfName;
use std::fs;
use std::path::{Path, PathBuf};

const MAC: MacAddress = MacAddress([0x02, 0, 0, 0, 0, 7]);

/// A pod with both families, as it was set up.
struct Pod {
    host: Namespace,
    pod: Namespace,
    path: PathBuf,
}

impl Pod {
    fn new() -> Pod {
        let (host, pod) = (Namespace::new("host"), Namespace::pristine("pod"));
        let path = pod.path();
        let it = Pod { host, pod, path };
        it.host.run(|| it.network(&it.path).setup()).expect("the pod's network can be set up");
        it
    }

    fn network<'a>(&self, netns: &'a Path) -> PodNetwork<'a> {
        PodNetwork {
            host_interface: IfName::from("calicid1"),
            container_interface: IfName::from("eth0"),
            netns,
            addresses: ["10.244.166.129", "fd00:10:244::1"].map(|ip| ip.parse().expect("an address")).into(),
            mtu: Mtu(1430),
            routes: default_routes(),
            forwarding: Forwarding::Denied,
            queues: 1,
            mac: Some(MAC),
        }
    }

    fn flaws(&self) -> Vec<String> {
        let flaws = self.host.run(|| self.network(&self.path).check(Mtu(1430))).expect("the kernel can be read");
        flaws.iter().map(ToString::to_string).collect()
    }
}

/// `ip` or a sysctl, on one side.
enum Break {
    Host(&'static str),
    Pod(&'static str),
    HostSysctl(&'static str, &'static str),
    PodSysctl(&'static str, &'static str),
}

impl Break {
    fn make(&self, pod: &Pod) {
        let set = |namespace: &Namespace, key: &str, value: &str| {
            namespace.run(|| fs::write(format!("/proc/sys/net/{key}"), value)).expect("a sysctl can be set");
        };
        match self {
            Break::Host(words) => drop(pod.host.ip(words)),
            Break::Pod(words) => drop(pod.pod.ip(words)),
            Break::HostSysctl(key, value) => set(&pod.host, key, value),
            Break::PodSysctl(key, value) => set(&pod.pod, key, value),
        }
    }
}

#[test]
fn what_setup_makes_is_found_whole() {
    let pod = Pod::new();
    assert_eq!(pod.flaws(), [] as [&str; 0]);
    // a later plugin's additions are its own
    pod.pod.ip("addr add 192.0.2.9/32 dev eth0");
    pod.pod.ip("route add 192.0.2.0/24 via 169.254.1.1 dev eth0");
    pod.host.ip("route add 192.0.2.9 dev calicid1");
    assert_eq!(pod.flaws(), [] as [&str; 0]);
}

#[test]
fn each_change_by_hand_is_named() {
    let cases: [(Break, &str); 18] = [
        (
            Host("link set calicid1 address 02:00:00:00:00:01"),
            "interface calicid1 on the host has MAC 02:00:00:00:00:01, expected ee:ee:ee:ee:ee:ee",
        ),
        (Host("link set calicid1 mtu 1300"), "interface calicid1 on the host has MTU 1300, expected 1430"),
        (Host("route del 10.244.166.129 dev calicid1"), "route 10.244.166.129/32 dev calicid1 on the host is missing"),
        (
            Host("-6 route del fd00:10:244::1 dev calicid1"),
            "route fd00:10:244::1/128 dev calicid1 on the host is missing",
        ),
        (
            Host("neigh replace 10.244.166.129 lladdr 02:00:00:00:00:01 dev calicid1 nud permanent"),
            "neighbour 10.244.166.129 on the host has MAC 02:00:00:00:00:01, expected 02:00:00:00:00:07",
        ),
        (
            InPod("link set eth0 address 02:00:00:00:00:01"),
            "interface eth0 in the pod has MAC 02:00:00:00:00:01, expected 02:00:00:00:00:07",
        ),
        (InPod("link set eth0 mtu 1300"), "interface eth0 in the pod has MTU 1300, expected 1430"),
        (InPod("route del default"), "route 0.0.0.0/0 via 169.254.1.1 dev eth0 in the pod is missing"),
        (InPod("-6 route del default"), "route ::/0 via fe80::ecee:eeff:feee:eeee dev eth0 in the pod is missing"),
        (
            InPod("-6 addr del fd00:10:244::1/128 dev eth0"),
            "interface eth0 in the pod lacks address fd00:10:244::1/128",
        ),
        (
            InPod("neigh replace 169.254.1.1 lladdr 02:00:00:00:00:01 dev eth0"),
            "neighbour 169.254.1.1 in the pod has MAC 02:00:00:00:00:01, expected ee:ee:ee:ee:ee:ee",
        ),
        (
            HostSysctl("ipv4/conf/calicid1/proxy_arp", "0"),
            "sysctl net/ipv4/conf/calicid1/proxy_arp on the host is 0, expected 1",
        ),
        (
            HostSysctl("ipv4/conf/calicid1/forwarding", "0"),
            "sysctl net/ipv4/conf/calicid1/forwarding on the host is 0, expected 1",
        ),
        (
            HostSysctl("ipv4/conf/calicid1/route_localnet", "0"),
            "sysctl net/ipv4/conf/calicid1/route_localnet on the host is 0, expected 1",
        ),
        (
            HostSysctl("ipv4/neigh/calicid1/proxy_delay", "80"),
            "sysctl net/ipv4/neigh/calicid1/proxy_delay on the host is 80, expected 0",
        ),
        (
            HostSysctl("ipv6/conf/calicid1/proxy_ndp", "0"),
            "sysctl net/ipv6/conf/calicid1/proxy_ndp on the host is 0, expected 1",
        ),
        (
            HostSysctl("ipv6/conf/calicid1/forwarding", "0"),
            "sysctl net/ipv6/conf/calicid1/forwarding on the host is 0, expected 1",
        ),
        (
            HostSysctl("ipv6/conf/calicid1/accept_ra", "1"),
            "sysctl net/ipv6/conf/calicid1/accept_ra on the host is 1, expected 0",
        ),
    ];
    for (change, expect) in cases {
        let pod = Pod::new();
        change.make(&pod);
        assert_eq!(pod.flaws(), [expect]);
    }
}

#[test]
fn what_goes_with_something_else_is_named_too() {
    let cases: [(Break, &[&str]); 5] = [
        (
            InPod("addr del 10.244.166.129/32 dev eth0"),
            // the kernel takes the routes of a link without address along
            &[
                "interface eth0 in the pod lacks address 10.244.166.129/32",
                "route 169.254.1.1 dev eth0 in the pod is missing",
                "route 0.0.0.0/0 via 169.254.1.1 dev eth0 in the pod is missing",
            ],
        ),
        (
            Host("link set calicid1 down"),
            &[
                "interface calicid1 on the host is down",
                "route 10.244.166.129/32 dev calicid1 on the host is missing",
                "route fd00:10:244::1/128 dev calicid1 on the host is missing",
                "interface calicid1 on the host has no IPv6 link-local address, the pod's gateway",
            ],
        ),
        (
            InPod("link del eth0"),
            &["interface calicid1 on the host is missing", "interface eth0 in the pod is missing"],
        ),
        (
            PodSysctl("ipv6/conf/eth0/disable_ipv6", "1"),
            &[
                "interface eth0 in the pod lacks address fd00:10:244::1/128",
                "route ::/0 via fe80::ecee:eeff:feee:eeee dev eth0 in the pod is missing",
                "sysctl net/ipv6/conf/eth0/disable_ipv6 in the pod is 1, expected 0",
            ],
        ),
        (InPod("link set eth0 down"), &["interface eth0 in the pod is down"]),
    ];
    for (change, expect) in cases {
        let pod = Pod::new();
        change.make(&pod);
        let flaws = pod.flaws();
        for text in expect {
            assert!(flaws.iter().any(|flaw| flaw == text), "{text:?} is not in {flaws:?}");
        }
    }
}

#[test]
fn another_interface_of_the_same_name_is_not_the_pods() {
    let pod = Pod::new();
    pod.pod.ip("link set eth0 name old");
    pod.pod.ip("link add eth0 address 02:00:00:00:00:07 mtu 1430 type veth peer name htee mtu 1430");
    let flaws = pod.flaws();
    let expect = "interfaces calicid1 on the host and eth0 in the pod are not the two ends of one veth pair";
    assert!(flaws.iter().any(|flaw| flaw == expect), "{flaws:?}");

    let pod = Pod::new();
    pod.pod.ip("link del eth0");
    pod.host.ip("link add calicid1 type bridge");
    let flaws = pod.flaws();
    let expect = "interface calicid1 on the host is of kind \"bridge\", not veth";
    assert!(flaws.iter().any(|flaw| flaw == expect), "{flaws:?}");
}

#[test]
fn an_ipv6_address_may_be_another_pods_too() {
    let pod = Pod::new();
    let other = Namespace::pristine("other");
    let path = other.path();
    let second = PodNetwork { host_interface: IfName::from("calicid2"), ..pod.network(&path) };
    let second = PodNetwork { addresses: vec!["fd00:10:244::1".parse().expect("an address")], ..second };
    let error = pod.host.run(|| second.setup()).expect_err("the address is taken");
    assert_eq!(error.to_string(), "address fd00:10:244::1 is routed to interface calicid1 already");
    assert_eq!(pod.flaws(), [] as [&str; 0]);
}
