//! A narrow link between two nodes: what the agent and the kernel make of it together.
//!
//! The router's links to both subnets carry 1,400 bytes, as two routers' link in the middle would; the nodes' own
//! carry 1,500. What pods are told is what the kernel's ipip tells them: 1,400 less the outer header.

use crate::lab::{Lab, address, eventually};
use crate::packet::{Capture, Packet};
use crate::traffic::{GSO, MEGABYTE, TSO, content, received, sent_digest, set};
use dataplane::netlink::MONITOR_BUFFER;
use dataplane::{BgpDaemon, Config, Input, Sender, TunnelChoice, mailbox, run};
use model::Mtu;
use model::desired::{Desired, Encapsulation, Ipip, Learned, PacketRules, Pool, Settings};
use model::name::NodeName;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

const IPIP: u8 = 4;
const MF: u16 = 0x2000;

/// A node's dataplane on a thread, as the agent runs it.
pub(crate) struct Agent {
    pub(crate) sender: Sender,
    thread: Option<JoinHandle<()>>,
    pub(crate) state: tempfile::TempDir,
}

impl Agent {
    /// Starts with everything told.
    pub(crate) fn start(lab: &Lab, number: u8) -> Agent {
        Agent::with(lab, number, None)
    }

    /// Starts with a fixed MTU of the tunnel.
    fn with(lab: &Lab, number: u8, mtu: Option<Mtu>) -> Agent {
        let namespace = File::open(format!("/run/netns/{}", lab.namespace(&format!("n{number}"))));
        let namespace = namespace.expect("the lab made it");
        let state = tempfile::tempdir().expect("a directory for the test");
        let state_directory = state.path().to_owned();
        let status_directory = state.path().join("endpoint-status");
        let config = Config {
            tunnel: TunnelChoice::Bpf,
            state_directory,
            status_directory,
            monitor_buffer: MONITOR_BUFFER,
            bgp: BgpDaemon::Agent,
        };
        let (sender, mailbox) = mailbox().expect("a socket pair");
        let others = [1, 2, 3].into_iter().filter(|other| *other != number);
        let block = |number| format!("172.16.{number}.0/24").parse().expect("a prefix");
        let learned: Learned = others.map(|other| (block(other), address(other).into())).collect();
        sender.send(Input::Learned(Arc::new(learned)));
        sender.send(Input::Desired(Arc::new(desired(number, mtu))));
        let thread = std::thread::spawn(move || {
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).expect("it takes root");
            run(config, mailbox, |_| {}).expect("netlink sockets keep working");
        });
        Agent { sender, thread: Some(thread), state }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.sender.send(Input::Stop);
        let _ = self.thread.take().expect("taken here alone").join();
    }
}

pub(crate) fn desired(number: u8, mtu: Option<Mtu>) -> Desired {
    let pool = Pool { ipip: Encapsulation::Always, ..Pool::default() };
    let subnet = format!("{}/24", address(number)).parse::<ipnet::Ipv4Net>().expect("a prefix").trunc();
    Desired {
        node: NodeName::from(format!("n{number}").as_str()),
        address: Some((address(number), subnet)),
        workloads: BTreeMap::new(),
        unread_workloads: BTreeSet::new(),
        local_blocks: BTreeSet::new(),
        pools: BTreeMap::from([("172.16.0.0/16".parse().expect("a prefix"), pool)]),
        ipip: Some(Ipip { address: Some(Ipv4Addr::new(172, 16, number, 0)), mtu }),
        hosts: (1..=3).map(|number| (NodeName::from(format!("n{number}").as_str()), address(number))).collect(),
        settings: Settings { packet_rules: PacketRules::Nftables, ..Settings::default() },
    }
}

/// Says what the router passes on to either subnet; what it takes from there is not limited.
fn forward_at_most(lab: &Lab, mtu: u32) {
    for (link, subnet, own) in
        [("lan", "192.168.10.0/24", "192.168.10.254"), ("n2", "192.168.20.0/24", "192.168.20.254")]
    {
        lab.ip("router", &format!("route replace {subnet} dev {link} proto kernel scope link src {own} mtu {mtu}"));
    }
}

/// Three nodes with agents, and the router's links made narrow.
fn narrow() -> (Lab, [Agent; 3]) {
    let lab = Lab::without_tunnels();
    forward_at_most(&lab, 1400);
    let agents = [1, 2, 3].map(|number| Agent::start(&lab, number));
    for (from, to) in [(1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2)] {
        eventually("pods reach each other", || lab.pings(&format!("pod{from}"), &format!("-c 1 172.16.{to}.2")));
    }
    (lab, agents)
}

/// Sends a large ping that must not be cut; returns what the pod was told.
fn told(lab: &Lab, from: u8, to: u8, size: u32) -> String {
    let line = format!("ping -n -W 1 -c 1 -M do -s {size} 172.16.{to}.2");
    String::from_utf8_lossy(&lab.output(&format!("pod{from}"), &line).stdout).into_owned()
}

/// Waits until a pod was told the path's MTU towards another.
fn learn(lab: &Lab, from: u8, to: u8) {
    eventually("the pod is told that fragmentation is needed", || {
        let text = told(lab, from, to, 1452);
        text.contains("mtu = 1380") || text.contains("mtu=1380")
    });
}

/// The MTU of a node's route to another's block.
fn route(lab: &Lab, from: u8, to: u8) -> String {
    let text = lab.ip(&format!("n{from}"), &format!("route show 172.16.{to}.0/24"));
    text.split_once(" mtu ").map_or("", |(_, mtu)| mtu).trim().to_owned()
}

#[test]
fn large_packets_that_must_not_be_cut_are_answered_with_the_right_mtu() {
    let (lab, _agents) = narrow();
    for (from, to) in [(1, 2), (2, 1), (3, 2)] {
        let told_by = Capture::start(&lab, &format!("pod{from}"), "eth0", "icmp[icmptype] == icmp-unreach");
        learn(&lab, from, to);
        told_by.wait_for(1);
        let text = told_by.text();
        let gateway = format!("172.16.{from}.1 > 172.16.{from}.2: ICMP 172.16.{to}.2 unreachable");
        assert!(text.contains(&gateway) && text.contains("need to frag (mtu 1380)"), "{text}");
        assert_eq!(route(&lab, from, to), "1380");
        assert!(lab.pings(&format!("pod{from}"), &format!("-c 1 -M do -s 1352 172.16.{to}.2")), "1,380 bytes pass");
    }
    assert_eq!(route(&lab, 1, 3), "", "a path without narrow link");
    assert!(lab.pings("pod1", "-c 1 -M do -s 1452 172.16.3.2"));
}

#[test]
fn large_packets_that_may_be_cut_arrive_whole() {
    let (lab, _agents) = narrow();
    let capture = Capture::start(&lab, "n2", "eth0", "proto 4 and src 192.168.10.1");
    let fragments = || {
        let is_fragment = |packet: &&Packet| packet.protocol() == IPIP && packet.fragment() & MF != 0;
        capture.packets().iter().filter(is_fragment).count()
    };
    let all_arrive = || {
        for (from, to) in [(1, 2), (2, 1)] {
            for size in [1452, 1453, 3000, 8000, 65000] {
                datagrams_arrive(&lab, from, to, size);
            }
        }
    };
    all_arrive();
    let by_router = fragments();
    assert!(by_router > 0, "the router cut no outer packet");
    learn(&lab, 1, 2);
    learn(&lab, 2, 1);
    all_arrive();
    assert_eq!(fragments(), by_router, "the node cuts the inner packets");
}

#[test]
fn tcp_does_not_hang() {
    let (lab, _agents) = narrow();
    // so that the router meets segments as they are on a wire
    for node in ["n1", "n2", "n3"] {
        lab.inside(node, || [TSO, GSO].map(|command| set("eth0", command, 0)));
    }
    let sent = sent_digest(8 * MEGABYTE);
    for (port, (from, to)) in (7000..).zip([(1, 2), (2, 3), (1, 3)]) {
        assert_eq!(received(&lab, from, to, port, 8 * MEGABYTE), sent, "{from} to {to}");
    }
    assert_eq!((route(&lab, 1, 2).as_str(), route(&lab, 2, 3).as_str()), ("1380", "1380"));
}

#[test]
fn a_new_process_finds_what_was_learned() {
    let (lab, mut agents) = narrow();
    learn(&lab, 1, 2);
    // the kernel tells of every route that is written
    let before = lab.ip("n1", "route show table all");
    let log = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut monitor = lab.command("n1", "ip monitor route");
    let mut monitor = monitor.stdout(log.reopen().expect("it is there")).spawn().expect("ip is needed");
    eventually("the monitor hears", || {
        lab.ip("n1", "route add 203.0.113.0/24 via 192.168.10.254");
        lab.ip("n1", "route delete 203.0.113.0/24");
        fs::read_to_string(log.path()).is_ok_and(|text| text.contains("203.0.113.0"))
    });
    let [first, ..] = &mut agents;
    drop(std::mem::replace(first, Agent::start(&lab, 1)));
    lab.ip("n1", "route add 203.0.113.128/25 via 192.168.10.254");
    eventually("the monitor hears the last", || {
        fs::read_to_string(log.path()).is_ok_and(|text| text.contains("203.0.113.128"))
    });
    lab.ip("n1", "route delete 203.0.113.128/25");
    monitor.kill().expect("it runs");
    monitor.wait().expect("it is ours");
    let heard = fs::read_to_string(log.path()).expect("it is there");
    assert!(heard.lines().all(|line| line.contains("203.0.113.")), "{heard}");
    assert_eq!(lab.ip("n1", "route show table all"), before);
}

#[test]
fn what_was_learned_is_forgotten_in_the_kernels_time() {
    let (lab, _agents) = narrow();
    lab.inside("n1", || fs::write("/proc/sys/net/ipv4/route/mtu_expires", "2").expect("a namespace's own sysctl"));
    learn(&lab, 1, 2);
    forward_at_most(&lab, 1500);
    eventually("the route goes back", || route(&lab, 1, 2).is_empty());
    lab.ip("pod1", "route flush cache");
    assert!(lab.pings("pod1", "-c 1 -M do -s 1452 172.16.2.2"));
}

#[test]
fn a_narrow_uplink_is_known_without_asking_the_path() {
    let lab = Lab::without_tunnels();
    lab.ip("n1", "link set dev eth0 mtu 1400");
    // an operator's MTU that the uplink has no room for
    let _agents = [Agent::with(&lab, 1, Some(Mtu(1480))), Agent::start(&lab, 2), Agent::start(&lab, 3)];
    eventually("pods reach each other", || lab.pings("pod1", "-c 1 172.16.3.2"));
    for to in [2, 3] {
        assert_eq!(route(&lab, 1, to), "1380");
        assert!(told(&lab, 1, to, 1452).contains("mtu = 1380"));
        datagrams_arrive(&lab, 1, to, 3000);
    }
    lab.ip("n1", "link set dev eth0 mtu 1500");
    eventually("the routes go back", || route(&lab, 1, 2).is_empty() && route(&lab, 1, 3).is_empty());
}

#[test]
fn an_operators_route_to_a_node_is_heeded() {
    let (lab, _agents) = narrow();
    lab.ip("n1", "route add 192.168.10.3/32 dev eth0 mtu 1300");
    eventually("the block's route follows", || route(&lab, 1, 3) == "1280");
    lab.ip("n1", "route delete 192.168.10.3/32");
    eventually("and goes back", || route(&lab, 1, 3).is_empty());
}

#[test]
fn only_what_routers_say_about_nodes_is_believed() {
    let (lab, _agents) = narrow();
    let router = lab.inside("router", raw);
    let outer = |from, to| Packet::new(0, 0x4000, IPIP, from, to, &[0x45; 28]);
    let unknown = Ipv4Addr::new(192, 168, 20, 77);
    for (case, quoted) in [
        ("about a host that is no node", outer(address(1), unknown)),
        ("about another's packet", outer(address(3), address(2))),
        ("about another protocol", Packet::new(0, 0x4000, 94, address(1), address(2), &[0x45; 28])),
    ] {
        send(&router, &fragmentation_needed(&quoted, 1300));
        // what comes behind it has been dealt with once this is
        send(&router, &fragmentation_needed(&outer(address(1), address(3)), 1200));
        eventually(case, || route(&lab, 1, 3) == "1180");
        assert_eq!(route(&lab, 1, 2), "", "{case}");
        lab.ip("n1", "route replace 192.168.10.3/32 dev eth0");
        eventually("the kernel forgets with the route", || route(&lab, 1, 3).is_empty());
        lab.ip("n1", "route delete 192.168.10.3/32");
    }
    // net.ipv4.route.min_pmtu
    send(&router, &fragmentation_needed(&outer(address(1), address(3)), 68));
    eventually("the kernel's floor", || route(&lab, 1, 3) == "532");
}

#[test]
fn fragments_are_opened_only_for_known_nodes() {
    let (lab, _agents) = narrow();
    lab.ip("router", "address add 192.168.10.77/24 dev lan");
    let receiver = lab.inside("pod2", || UdpSocket::bind("172.16.2.2:7000").expect("the pod's own address"));
    receiver.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket has timeouts");
    let inside = |port| Packet::udp(0, Ipv4Addr::new(172, 16, 1, 2), Ipv4Addr::new(172, 16, 2, 2), port);
    let router = lab.inside("router", raw);
    for (source, first) in [(Ipv4Addr::new(192, 168, 10, 77), 7000), (address(1), 7000)] {
        let packet = inside(first);
        let (head, tail) = packet.0.split_at(24);
        send(&router, &Packet::new(0, MF, IPIP, source, address(2), head));
        send(&router, &Packet::new(0, 3, IPIP, source, address(2), tail));
    }
    let mut buffer = [0; 16];
    assert_eq!(receiver.recv(&mut buffer).expect("the known node's packet arrives"), 0);
    receiver.set_nonblocking(true).expect("a socket may be");
    assert!(receiver.recv(&mut buffer).is_err(), "one packet, the known node's");
}

/// Sends datagrams that may be cut, and compares what arrives.
fn datagrams_arrive(lab: &Lab, from: u8, to: u8, size: usize) {
    let receiver = lab.inside(&format!("pod{to}"), || UdpSocket::bind(format!("172.16.{to}.2:0")));
    let receiver = receiver.expect("the pod's own address");
    receiver.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket has timeouts");
    let sender = lab.inside(&format!("pod{from}"), || UdpSocket::bind(format!("172.16.{from}.2:0")));
    let sender = sender.expect("the pod's own address");
    let never: libc::c_int = libc::IP_PMTUDISC_DONT;
    let length = u32::try_from(size_of_val(&never)).expect("a small number");
    // SAFETY: the option is an int, which outlives the call.
    let set = unsafe {
        let value = (&raw const never).cast();
        libc::setsockopt(sender.as_raw_fd(), libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, value, length)
    };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    let data = content(MEGABYTE).next().expect("a chunk");
    let mut buffer = vec![0; 1 << 16];
    for datagram in data.chunks(size).take(5) {
        let port = receiver.local_addr().expect("it is bound");
        sender.send_to(datagram, port).expect("the pod has a route");
        let length = receiver.recv(&mut buffer);
        let length = length.unwrap_or_else(|error| panic!("{size} bytes from {from} to {to}: {error}"));
        assert_eq!(Sha256::digest(&buffer[..length]), Sha256::digest(datagram), "{size} bytes from {from} to {to}");
    }
}

fn raw() -> OwnedFd {
    socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), SockProtocol::Raw).expect("raw sockets take root")
}

fn send(socket: &OwnedFd, packet: &Packet) {
    let to: [u8; 4] = packet.0[16..20].try_into().expect("four bytes");
    let to = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::from(to), 0));
    sendto(socket.as_raw_fd(), &packet.0, &to, MsgFlags::empty()).expect("the router has a route");
}

/// A router's complaint to n1 (RFC 1191 §4).
fn fragmentation_needed(quoted: &Packet, mtu: u16) -> Packet {
    let mut icmp = vec![3, 4, 0, 0, 0, 0];
    icmp.extend(mtu.to_be_bytes());
    icmp.extend(&quoted.0);
    let sum = !crate::packet::sum(&icmp);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    Packet::new(0, 0, 1, Ipv4Addr::new(192, 168, 10, 254), address(1), &icmp)
}
