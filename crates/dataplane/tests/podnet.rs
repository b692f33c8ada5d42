//! The pod's network against what Calico v3.32.1's CNI plugin leaves in the kernel for the same input.
//!
//! ```text
//!  host namespace                pod namespace
//!  calicid1 ee:ee:ee:ee:ee:ee ── eth0  10.244.166.128/32
//!  route 10.244.166.128          default via 169.254.1.1
//! ```

mod common;

use common::{Namespace, eventually};
use dataplane::netlink::{MacAddress, Netlink};
use dataplane::podnet::{
    Created, Forwarding, HostEnd, PodNetwork, PodNetworkError, default_routes, host_end, teardown,
};
use ipnet::IpNet;
use model::Mtu;
use model::name::IfName;
use std::net::{IpAddr, SocketAddrV6, UdpSocket};
use std::path::Path;
use std::time::Duration;

fn pod_network<'a>(netns: &'a Path, addresses: &[&str]) -> PodNetwork<'a> {
    PodNetwork {
        host_interface: IfName::from("calicid1"),
        container_interface: IfName::from("eth0"),
        netns,
        addresses: addresses.iter().map(|ip| ip.parse::<IpAddr>().expect("a literal address")).collect(),
        mtu: Mtu(1500),
        routes: default_routes(),
        forwarding: Forwarding::Denied,
        queues: 1,
        mac: None,
    }
}

fn setup(host: &Namespace, network: &PodNetwork<'_>) -> Result<Created, PodNetworkError> {
    host.run(|| network.setup())
}

/// The words of `ip -d link show`, without those that name a number or depend on the moment.
fn link_words(namespace: &Namespace, link: &str) -> Vec<String> {
    let text = namespace.ip(&format!("-d link show {link}"));
    text.split_whitespace().map(str::to_owned).collect()
}

fn has(words: &[String], sequence: &str) {
    let wanted: Vec<&str> = sequence.split_whitespace().collect();
    assert!(words.windows(wanted.len()).any(|window| window == wanted), "{sequence:?} is not in {words:?}");
}

#[test]
fn an_ipv4_pod_looks_as_calicos() {
    let (host, pod) = (Namespace::new("host"), Namespace::pristine("pod"));
    let path = pod.path();
    let created = setup(&host, &pod_network(&path, &["10.244.166.128"])).unwrap();

    // expected values: the recorded ADD of Calico v3.32.1, its `ip` outputs and sysctls
    let words = link_words(&host, "calicid1");
    has(&words, "mtu 1500 qdisc noqueue");
    has(&words, "link/ether ee:ee:ee:ee:ee:ee brd ff:ff:ff:ff:ff:ff link-netns");
    has(&words, "veth addrgenmode eui64 numtxqueues 1 numrxqueues 1");
    assert!(!words.contains(&"qlen".to_owned()), "{words:?}");
    let words = link_words(&pod, "eth0");
    has(&words, "mtu 1500 qdisc noqueue");
    has(&words, "qlen 1000");
    has(&words, &format!("link/ether {} brd ff:ff:ff:ff:ff:ff", created.mac));
    has(&words, "veth addrgenmode eui64 numtxqueues 1 numrxqueues 1");

    assert_eq!(host.ip("route"), "10.244.166.128 dev calicid1 scope link\n");
    assert_eq!(pod.ip("route"), "default via 169.254.1.1 dev eth0\n169.254.1.1 dev eth0 scope link\n");
    assert_eq!(host.ip("neigh"), "");
    assert_eq!(pod.ip("neigh"), "");
    assert!(pod.ip("addr show eth0").contains("inet 10.244.166.128/32 scope global eth0\n"));
    // better than Calico, which has IPv6 here: its rules close what ours, for IPv4 alone, would leave open
    assert_eq!(host.ip("-6 addr show calicid1"), "");
    assert!(pod.ip("link show lo").contains("<LOOPBACK>"), "the loopback is another plugin's");

    for (key, expect) in [
        ("ipv4/conf/calicid1/proxy_arp", "1"),
        ("ipv4/conf/calicid1/forwarding", "1"),
        ("ipv4/conf/calicid1/route_localnet", "1"),
        ("ipv4/conf/calicid1/rp_filter", "0"),
        ("ipv4/conf/calicid1/arp_ignore", "0"),
        ("ipv4/neigh/calicid1/proxy_delay", "0"),
        ("ipv4/ip_forward", "0"),
        ("ipv6/conf/calicid1/forwarding", "0"),
        ("ipv6/conf/calicid1/proxy_ndp", "0"),
        ("ipv6/conf/calicid1/disable_ipv6", "1"),
        ("ipv6/conf/calicid1/accept_dad", "1"),
        ("ipv6/conf/calicid1/accept_ra", "0"),
    ] {
        assert_eq!(host.sysctl(key), expect, "host {key}");
    }
    for (key, expect) in [
        ("ipv4/ip_forward", "0"),
        ("ipv4/conf/eth0/proxy_arp", "0"),
        ("ipv4/conf/eth0/forwarding", "0"),
        ("ipv6/conf/eth0/accept_ra", "1"),
        ("ipv6/conf/eth0/accept_dad", "1"),
        ("ipv6/conf/all/forwarding", "0"),
    ] {
        assert_eq!(pod.sysctl(key), expect, "pod {key}");
    }
}

#[test]
fn host_and_pod_reach_each_other() {
    let (host, pod) = (Namespace::new("host"), Namespace::pristine("pod"));
    // proxy ARP answers for addresses that the host has a route to
    host.ip("link add uplink type veth peer name wire");
    host.ip("link set uplink up");
    host.ip("link set wire up");
    host.ip("addr add 192.0.2.1/24 dev uplink");
    host.ip("route add default via 192.0.2.254");
    let path = pod.path();
    setup(&host, &pod_network(&path, &["10.244.166.128"])).unwrap();
    assert!(host.exec("ping", &["-c1", "-W2", "10.244.166.128"]));
    assert!(pod.exec("ping", &["-c1", "-W2", "192.0.2.1"]));
    assert!(pod.ip("neigh").contains("169.254.1.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee"));
}

#[test]
fn a_dual_stack_pod_has_both_gateways() {
    let (host, pod) = (Namespace::new("host"), Namespace::pristine("pod"));
    let path = pod.path();
    let mut network = pod_network(&path, &["10.244.166.129", "fd00:10:244::1"]);
    network.forwarding = Forwarding::Allowed;
    network.mac = Some(MacAddress([0x02, 0, 0, 0, 0, 7]));
    network.mtu = Mtu(1430);
    network.queues = 2;
    assert_eq!(setup(&host, &network).unwrap().mac.to_string(), "02:00:00:00:00:07");

    let words = link_words(&pod, "eth0");
    has(&words, "mtu 1430");
    has(&words, "link/ether 02:00:00:00:00:07");
    has(&words, "numtxqueues 2 numrxqueues 2");
    has(&link_words(&host, "calicid1"), "mtu 1430");
    assert!(pod.ip("-6 route").contains("default via fe80::ecee:eeff:feee:eeee dev eth0"), "{}", pod.ip("-6 route"));
    assert!(host.ip("-6 route").contains("fd00:10:244::1 dev calicid1"), "{}", host.ip("-6 route"));
    assert!(pod.ip("-6 addr show eth0").contains("inet6 fd00:10:244::1/128 scope global"));
    for key in ["ipv6/conf/calicid1/forwarding", "ipv6/conf/calicid1/proxy_ndp"] {
        assert_eq!(host.sysctl(key), "1", "host {key}");
    }
    assert_eq!(host.sysctl("ipv6/conf/calicid1/disable_ipv6"), "0");
    assert_eq!(host.sysctl("ipv6/conf/calicid1/accept_dad"), "0");
    assert_eq!(pod.sysctl("ipv6/conf/eth0/accept_dad"), "0");
    assert_eq!(pod.sysctl("ipv4/ip_forward"), "1");
    assert_eq!(pod.sysctl("ipv6/conf/all/forwarding"), "1");
    eventually(Duration::from_secs(5), || {
        host.exec("ping", &["-c1", "-W1", "fd00:10:244::1"]).then_some(()).ok_or("no answer over IPv6")
    });
}

/// Whether the host end's link-local address answers a pod's echo requests, and its UDP arrives there.
fn hears_over_link_local(host: &Namespace, pod: &Namespace) -> (bool, bool) {
    eventually(Duration::from_secs(5), || {
        let shown = pod.ip("-6 -o addr show dev eth0 scope link -tentative");
        if shown.is_empty() { Err("the pod has no link-local address") } else { Ok(()) }
    });
    let gateway = "fe80::ecee:eeff:feee:eeee";
    // for longer than the kernel takes to trust an address
    let echo = pod.exec("ping", &["-6", "-c3", "-W1", &format!("{gateway}%eth0")]);
    let server = host.run(|| UdpSocket::bind("[::]:0")).expect("a socket on the host");
    server.set_read_timeout(Some(Duration::from_secs(1))).expect("a time to wait");
    let port = server.local_addr().expect("bound").port();
    let link = pod.run(|| Netlink::open()?.link(&IfName::from("eth0"))).expect("asked").expect("there").index;
    let client = pod.run(|| UdpSocket::bind("[::]:0")).expect("a socket in the pod");
    let to = SocketAddrV6::new(gateway.parse().expect("a literal address"), port, 0, link);
    client.send_to(b"hello", to).expect("sent");
    (echo, server.recv(&mut [0; 5]).is_ok())
}

#[test]
fn a_pod_without_ipv6_does_not_reach_its_host_by_link_local_addresses() {
    let (host, pod) = (Namespace::new("host"), Namespace::pristine("pod"));
    let path = pod.path();
    setup(&host, &pod_network(&path, &["10.244.166.128"])).unwrap();
    assert_eq!(hears_over_link_local(&host, &pod), (false, false));
    setup(&host, &pod_network(&path, &["10.244.166.128", "fd00:10:244::1"])).unwrap();
    assert_eq!(hears_over_link_local(&host, &pod), (true, true));
}

#[test]
fn routes_can_be_chosen() {
    let (host, pod) = (Namespace::new("host"), Namespace::pristine("pod"));
    let path = pod.path();
    let mut network = pod_network(&path, &["10.244.166.128"]);
    network.routes =
        ["10.0.0.0/8", "192.168.0.0/16", "fd00::/8"].iter().map(|net| net.parse::<IpNet>().unwrap()).collect();
    setup(&host, &network).unwrap();
    let expect = [
        "10.0.0.0/8 via 169.254.1.1 dev eth0",
        "169.254.1.1 dev eth0 scope link",
        "192.168.0.0/16 via 169.254.1.1 dev eth0",
    ];
    assert_eq!(pod.routes(), expect);
}

#[test]
fn teardown_leaves_nothing_and_may_be_repeated() {
    let (host, pod) = (Namespace::new("host"), Namespace::pristine("pod"));
    let (host_before, pod_before) = (host.links(), pod.links());
    let path = pod.path();
    setup(&host, &pod_network(&path, &["10.244.166.128"])).unwrap();
    assert_ne!(host.links(), host_before);
    let eth0 = IfName::from("eth0");
    for _ in 0..2 {
        host.run(|| teardown(&path, &eth0)).unwrap();
        assert_eq!(host.links(), host_before);
        assert_eq!(pod.links(), pod_before);
        assert_eq!(host.ip("route"), "");
        assert_eq!(pod.ip("route"), "");
    }
    drop(pod);
    host.run(|| teardown(&path, &eth0)).unwrap();
    // what is left of a namespace that was unmounted but not removed
    let stale = tempfile::NamedTempFile::new().unwrap();
    host.run(|| teardown(stale.path(), &eth0)).unwrap();
}

#[test]
fn all_is_gone_when_teardown_returns() {
    let (host, pod) = (Namespace::new("host"), Namespace::pristine("pod"));
    let (path, eth0) = (pod.path(), IfName::from("eth0"));
    let network = pod_network(&path, &["10.244.166.128"]);
    let (mut host_netlink, mut pod_netlink) =
        (host.run(Netlink::open).expect("a socket"), pod.run(Netlink::open).expect("a socket"));
    // the kernel is not through with one pair's memory when the next pair with its names is made
    for _ in 0..20 {
        setup(&host, &network).unwrap();
        host.run(|| teardown(&path, &eth0)).unwrap();
        assert_eq!(host_netlink.link(&network.host_interface).unwrap(), None);
        assert_eq!(pod_netlink.link(&eth0).unwrap(), None);
        assert_eq!(host_netlink.routes().unwrap(), []);
    }
}

#[test]
fn a_refused_teardown_says_why() {
    let (host, pod) = (Namespace::new("host"), Namespace::pristine("pod"));
    let error = host.run(|| teardown(&pod.path(), &IfName::from("lo"))).unwrap_err();
    assert_eq!(error.to_string(), "delete link lo: Operation not supported (os error 95)");
}

#[test]
fn a_second_setup_takes_the_place_of_the_first() {
    let (host, old, new) = (Namespace::new("host"), Namespace::pristine("old"), Namespace::pristine("new"));
    let (old_path, new_path) = (old.path(), new.path());
    setup(&host, &pod_network(&old_path, &["10.244.166.128"])).unwrap();
    setup(&host, &pod_network(&new_path, &["10.244.166.128"])).unwrap();
    old.ip_refused("link show eth0");
    assert!(new.ip("link show eth0").contains("eth0@"));
    assert_eq!(host.ip("route"), "10.244.166.128 dev calicid1 scope link\n");
}

#[test]
fn a_host_end_is_known_by_its_other_end() {
    let (host, pod, other) = (Namespace::new("host"), Namespace::pristine("pod"), Namespace::pristine("other"));
    let (path, elsewhere) = (pod.path(), other.path());
    let host_end = |netns: &Path| host.run(|| host_end(netns, &IfName::from("calicid1"))).unwrap();
    assert_eq!(host_end(&path), HostEnd::Missing);
    setup(&host, &pod_network(&path, &["10.244.166.128"])).unwrap();
    assert_eq!(host_end(&path), HostEnd::OfPod(IfName::from("eth0")));
    assert_eq!(host_end(&elsewhere), HostEnd::Elsewhere);
    assert_eq!(host_end(Path::new("/run/netns/tortie-dp-no-such-namespace")), HostEnd::Elsewhere);
    // a pair of its own, whatever its numbers
    other.ip("link add eth0 type veth peer name eth1");
    assert_eq!(host_end(&elsewhere), HostEnd::Elsewhere);
    pod.ip("link set eth0 down");
    pod.ip("link set eth0 name net7");
    assert_eq!(host_end(&path), HostEnd::OfPod(IfName::from("net7")));
    host.ip("link del calicid1");
    assert_eq!(host_end(&path), HostEnd::Missing);
}

#[test]
fn a_failed_setup_undoes_everything_and_says_who_is_in_the_way() {
    let (host, pod, other) = (Namespace::new("host"), Namespace::pristine("pod"), Namespace::pristine("other"));
    let other_path = other.path();
    let first =
        PodNetwork { host_interface: IfName::from("caliother"), ..pod_network(&other_path, &["10.244.166.128"]) };
    setup(&host, &first).unwrap();
    let (host_before, pod_before) = (host.links(), pod.links());
    let path = pod.path();
    let error = setup(&host, &pod_network(&path, &["10.244.166.127", "10.244.166.128"])).unwrap_err();
    assert_eq!(error.to_string(), "address 10.244.166.128 is routed to interface caliother already");
    assert_eq!(host.links(), host_before);
    assert_eq!(pod.links(), pod_before);
    assert_eq!(host.ip("route"), "10.244.166.128 dev caliother scope link\n");

    let missing = Path::new("/run/netns/tortie-dp-no-such-namespace");
    let error = setup(&host, &pod_network(missing, &["10.244.166.130"])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "open network namespace /run/netns/tortie-dp-no-such-namespace: No such file or directory (os error 2)"
    );
    other.ip("link add eth1 type veth peer name eth2");
    let taken =
        PodNetwork { container_interface: IfName::from("eth1"), ..pod_network(&other_path, &["10.244.166.131"]) };
    let error = setup(&host, &taken).unwrap_err();
    assert!(error.to_string().starts_with("create veth pair eth1 and calicid1: File exists"), "{error}");
}
