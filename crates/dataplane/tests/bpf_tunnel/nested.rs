//! Packets that have been in a tunnel before: transit through a third node, and tunnels of the pods' own.
//!
//! The kernel keeps a mark on a packet that once had two headers, and `bpf_skb_adjust_room` refuses to make a second
//! tunnel of it. Whatever has the mark, what arrives has to be what was sent, and the wire has plain IP in IP.

use crate::lab::{Lab, address, ensure, eventually};
use crate::packet::{Capture, Packet};
use crate::traffic::{GRO, GSO, MEGABYTE, TSO, TX_CHECKSUM, content, received, received_at, sent_digest, set};
use dataplane::bpf::BpfTunnel;
use nix::sys::socket::{MsgFlags, SockaddrIn, sendto, setsockopt, sockopt};
use sha2::{Digest as _, Sha256};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

const IPIP: u8 = 4;
/// Bytes of one UDP datagram that a pod sends, and how many the kernel cuts out of one write.
const DATAGRAM: usize = 1400;
const BURST: usize = 10;

/// Offloads, by what a failure calls them, and how many datagrams a write may have; what is not named stays as it is.
type Round = (&'static str, &'static [(u32, u32)], usize);
const ROUNDS: [Round; 4] = [
    ("as the kernel sets them", &[], BURST),
    ("with receive offload", &[(GRO, 1)], BURST),
    ("without segmentation offload", &[(TSO, 0), (GSO, 0), (GRO, 0)], BURST),
    // older kernels refuse to cut datagrams whose checksums the device leaves to them
    ("without any", &[(TX_CHECKSUM, 0)], 1),
];

#[test]
fn transit_through_a_third_node_loses_nothing() {
    let lab = by_way_of_n3();
    let capture = Capture::start(&lab, "n3", "eth0", "proto 4");
    for options in ["-c 3 -i 0.01", "-c 1 -M do -s 1452", "-c 1 -M dont -s 4000", "-c 1 -M dont -s 30000"] {
        assert!(lab.pings("pod1", &format!("{options} 172.16.2.2")), "ping {options}");
    }
    let way = |packet: &Packet| (source(packet), destination(packet));
    let ways: Vec<_> = capture.wait_for(4).iter().map(way).collect();
    for (from, to) in [(1, 3), (3, 2), (2, 3), (3, 1)] {
        assert!(ways.contains(&(address(from), address(to))), "no outer packet from n{from} to n{to}: {ways:?}");
    }
    for packet in capture.packets() {
        assert_eq!((packet.protocol(), packet.is_sound()), (IPIP, true), "{packet:?}");
        assert!([1, 17].contains(&packet.inner().protocol()) && packet.inner().is_sound(), "{packet:?}");
        assert_eq!(packet.total_length(), packet.inner().total_length() + 20, "{packet:?}");
    }
    drop(capture);
    in_every_round(&lab, |port, round| {
        let name = round.0;
        assert_eq!(received(&lab, 1, 2, port, 8 * MEGABYTE), sent_digest(8 * MEGABYTE), "{name}: from pod1");
        assert_eq!(received(&lab, 2, 1, port, 8 * MEGABYTE), sent_digest(8 * MEGABYTE), "{name}: from pod2");
        datagrams_arrive(&lab, Ipv4Addr::new(172, 16, 2, 2), port, round);
    });
}

#[test]
fn a_pods_own_vxlan_is_carried() {
    // not the port that Calico's own tunnels have
    let lab = with_own_tunnel("vxlan id 7 dstport 4790").expect("a kernel with VXLAN");
    own_tunnel_carries(&lab);
}

/// A small kernel has no GRE: `tools/test-stock` boots one that has.
#[test]
fn a_pods_own_gre_is_carried_where_the_kernel_has_it() {
    match with_own_tunnel("gre") {
        Ok(lab) => own_tunnel_carries(&lab),
        Err(refused) => assert!(refused.contains("Unknown device type"), "{refused}"),
    }
}

/// Pods of n1 and n2 with a tunnel between them, `10.77.0.1` and `10.77.0.2`; else what `ip` says of the kind.
fn with_own_tunnel(kind: &str) -> Result<Lab, String> {
    let lab = Lab::start();
    for (own, other) in [(1, 2), (2, 1)] {
        let name = format!("pod{own}");
        let made =
            lab.output(&name, &format!("ip link add own type {kind} local 172.16.{own}.2 remote 172.16.{other}.2"));
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).into_owned());
        }
        lab.ip(&name, "link set own mtu 1430");
        lab.ip(&name, &format!("address add 10.77.0.{own}/30 dev own"));
        lab.ip(&name, "link set own up");
    }
    eventually("the pods' tunnel is up", || lab.pings("pod1", "-c 1 10.77.0.2"));
    Ok(lab)
}

fn own_tunnel_carries(lab: &Lab) {
    for options in ["-c 1 -M do -s 1402", "-c 1 -M dont -s 4000", "-c 1 -M dont -s 30000"] {
        assert!(lab.pings("pod1", &format!("{options} 10.77.0.2")), "ping {options}");
    }
    in_every_round(lab, |port, round| {
        let far = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 2), port);
        assert_eq!(received_at(lab, 1, 2, far, 8 * MEGABYTE), sent_digest(8 * MEGABYTE), "{}", round.0);
        datagrams_arrive(lab, *far.ip(), port, round);
    });
}

#[test]
fn what_was_cut_on_its_way_into_the_tunnel_is_full_segments() {
    let lab = by_way_of_n3();
    let capture = Capture::start(&lab, "n3", "eth0", "proto 4 and src 192.168.10.3 and greater 100");
    received(&lab, 1, 2, 7000, 4 * MEGABYTE);
    let lengths: Vec<_> = capture.wait_for(1000).iter().map(Packet::total_length).collect();
    assert!(lengths.iter().all(|length| *length <= 1500), "{:?}", lengths.iter().max());
    let full = lengths.iter().filter(|length| **length == 1500).count();
    assert!(full * 10 >= lengths.len() * 9, "{full} of {} segments are full", lengths.len());
}

/// Pods of n1 and n2 that reach each other through n3's tunnel.
fn by_way_of_n3() -> Lab {
    let lab = Lab::start();
    for (number, other) in [(1, 2), (2, 1)] {
        let mut spec = lab.spec(number);
        spec.peers.insert(format!("172.16.{other}.0/24").parse().expect("a prefix"), address(3));
        let node = format!("n{number}");
        lab.inside(&node, || ensure(&mut BpfTunnel::new(), &spec));
        lab.ip(&node, &format!("route replace 172.16.{other}.0/24 via {} dev tunl0 onlink", address(3)));
    }
    lab
}

/// Does something with every setting of the offloads; each time with another port.
fn in_every_round(lab: &Lab, work: impl Fn(u16, &Round)) {
    for (port, round) in (7000..).zip(&ROUNDS) {
        for (namespace, devices) in [
            ("n1", &["eth0", "pod"][..]),
            ("n2", &["eth0", "pod"]),
            ("n3", &["eth0"]),
            ("router", &["n1", "n2", "n3"]),
            ("pod1", &["eth0"]),
            ("pod2", &["eth0"]),
        ] {
            for device in devices {
                lab.inside(namespace, || round.1.iter().for_each(|(command, on)| set(device, *command, *on)));
            }
        }
        work(port, round);
    }
}

/// Sends datagrams to pod2 that the kernel cuts out of large writes; each burst is awaited before the next.
fn datagrams_arrive(lab: &Lab, to: Ipv4Addr, port: u16, (round, _, together): &Round) {
    let to = SocketAddrV4::new(to, port);
    let receiver = lab.inside("pod2", || UdpSocket::bind(to).expect("the pod's own address"));
    receiver.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket has timeouts");
    let sender = lab.inside("pod1", || UdpSocket::bind("0.0.0.0:0").expect("any port"));
    if *together > 1 {
        let size = i32::try_from(DATAGRAM).expect("small");
        setsockopt(&sender, sockopt::UdpGsoSegment, &size).expect("since Linux 4.18");
    }
    let (mut sent, mut arrived) = (Sha256::new(), Sha256::new());
    let mut buffer = [0; 2 * DATAGRAM];
    for chunk in
        content(MEGABYTE).flat_map(|chunk| chunk.chunks(DATAGRAM * together).map(<[u8]>::to_vec).collect::<Vec<_>>())
    {
        let length = sendto(sender.as_raw_fd(), &chunk, &SockaddrIn::from(to), MsgFlags::empty());
        assert_eq!(length, Ok(chunk.len()), "{round}");
        sent.update(&chunk);
        let mut left = chunk.len();
        while left > 0 {
            let length = receiver.recv(&mut buffer).unwrap_or_else(|error| panic!("{round}: a datagram: {error}"));
            arrived.update(&buffer[..length]);
            left -= length;
        }
    }
    assert_eq!(sent.finalize(), arrived.finalize(), "{round}: datagrams");
}

fn source(packet: &Packet) -> Ipv4Addr {
    Ipv4Addr::new(packet.0[12], packet.0[13], packet.0[14], packet.0[15])
}

fn destination(packet: &Packet) -> Ipv4Addr {
    Ipv4Addr::new(packet.0[16], packet.0[17], packet.0[18], packet.0[19])
}
