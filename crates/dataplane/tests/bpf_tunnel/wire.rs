//! What is on the wire, and what decap makes of what it is sent.

use crate::lab::{Lab, address, ensure};
use crate::packet::{Capture, Packet};
use dataplane::bpf::BpfTunnel;
use dataplane::netlink::Netlink;
use dataplane::tunnel::Tunnel as _;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd as _, OwnedFd};

const IPIP: u8 = 4;
const DF: u16 = 0x4000;
const MF: u16 = 0x2000;
const POD1: Ipv4Addr = Ipv4Addr::new(172, 16, 1, 2);
const POD2: Ipv4Addr = Ipv4Addr::new(172, 16, 2, 2);

#[test]
fn tcpdump_reads_two_ip_headers() {
    let lab = Lab::start();
    let capture = Capture::start(&lab, "router", "n2", "proto 4");
    assert!(lab.pings("pod1", "-c 1 172.16.2.2"));
    capture.wait_for(2);
    let text = capture.text();
    for line in [
        "192.168.10.1 > 192.168.20.1: IP (tos 0x0, ttl 63,",
        "172.16.1.2 > 172.16.2.2: ICMP echo request",
        "192.168.20.1 > 192.168.10.1: IP (tos 0x0, ttl 63,",
        "172.16.2.2 > 172.16.1.2: ICMP echo reply",
        "proto IPIP (4)",
    ] {
        assert!(text.contains(line), "{line:?} is missing in:\n{text}");
    }
}

#[test]
fn outer_headers_are_those_of_kernel_ipip() {
    let lab = Lab::start();
    let capture = Capture::start(&lab, "n1", "eth0", "proto 4 and src 192.168.10.1");
    let cases = [
        // ping's options, fragment field, TTL after one hop, outer TOS
        ("-Q 0x00 -M do -t 64", DF, 63, 0x00),
        ("-Q 0x00 -M dont -t 64", 0, 63, 0x00),
        ("-Q 0x00 -M do -t 9", DF, 8, 0x00),
        ("-Q 0xb8 -M do -t 255", DF, 254, 0x00),
        ("-Q 0x01 -M do -t 64", DF, 63, 0x01),
        ("-Q 0x02 -M do -t 64", DF, 63, 0x02),
        ("-Q 0x03 -M do -t 64", DF, 63, 0x02),
        ("-Q 0xbb -M dont -t 64", 0, 63, 0x02),
    ];
    for (position, (options, fragment, ttl, tos)) in cases.into_iter().enumerate() {
        assert!(lab.pings("pod1", &format!("-c 1 -s 100 {options} 172.16.2.2")), "ping {options}");
        let packets = capture.wait_for(position + 1);
        let outer = &packets[position];
        let inner = outer.inner();
        assert_eq!(outer.0[0], 0x45, "{options}: version and header length");
        assert_eq!(outer.protocol(), IPIP, "{options}: protocol");
        assert_eq!(outer.fragment(), fragment, "{options}: flags and offset");
        assert_eq!(outer.ttl(), ttl, "{options}: TTL");
        assert_eq!(inner.ttl(), ttl, "{options}: inner TTL");
        assert_eq!(outer.tos(), tos, "{options}: DSCP and ECN");
        assert_ne!(outer.id(), 0, "{options}: identification");
        assert_eq!(outer.total_length(), 20 + 20 + 8 + 100, "{options}: total length");
        assert!(outer.is_sound(), "{options}: header checksum");
        assert!(inner.is_sound(), "{options}: inner header checksum");
    }
}

#[test]
fn packets_that_may_be_fragmented_count_their_identification() {
    let lab = Lab::start();
    let capture = Capture::start(&lab, "n1", "eth0", "proto 4 and src 192.168.10.1");
    assert!(lab.pings("pod1", "-c 5 -i 0.01 -M dont 172.16.2.2"));
    let ids: Vec<u16> = capture.wait_for(5).iter().map(Packet::id).collect();
    assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "{ids:?}");
}

#[test]
fn decap_carries_congestion_inside() {
    let lab = Lab::start();
    let received = lab.inside("pod2", || raw(SockProtocol::Udp));
    let sender = lab.inside("n1", || raw(SockProtocol::Raw));
    let cases = [
        // outer TOS, inner TOS, inner TOS on arrival (RFC 6040 §4.2, as the kernel applies it)
        (0x00, 0x00, Some(0x00)),
        (0x02, 0x00, Some(0x00)),
        (0x03, 0x00, None),
        (0x03, 0xb8, None),
        (0x03, 0x02, Some(0x03)),
        (0x03, 0xba, Some(0xbb)),
        (0x03, 0x01, Some(0x03)),
        (0x03, 0x03, Some(0x03)),
        (0x00, 0x03, Some(0x03)),
        (0xb8, 0x02, Some(0x02)),
    ];
    for (port, (outer, inner, arrives)) in (7000..).zip(cases) {
        let case = format!("outer {outer:#04x}, inner {inner:#04x}");
        let inside = Packet::udp(inner, POD1, POD2, port);
        send(&sender, &Packet::new(outer, 0, IPIP, address(1), address(2), &inside.0));
        // the order of arrival is that of sending, so this one tells when the first has had its time
        send(&sender, &tunnelled(&Packet::udp(0, POD1, POD2, 6999)));
        let first = receive(&received).unwrap_or_else(|| panic!("{case}: not even the packet behind it arrived"));
        match arrives {
            None => assert_eq!(first.port(), 6999, "{case}: it should be dropped"),
            Some(tos) => {
                assert_eq!(first.port(), port, "{case}: it should arrive");
                assert_eq!(first.tos(), tos, "{case}");
                assert!(first.is_sound(), "{case}: header checksum");
                assert_eq!(receive(&received).map(|packet| packet.port()), Some(6999), "{case}");
            }
        }
    }
}

#[test]
fn decap_leaves_alone_what_it_cannot_open() {
    let lab = Lab::start();
    let received = lab.inside("pod2", || raw(SockProtocol::Udp));
    let sender = lab.inside("n1", || raw(SockProtocol::Raw));
    let inside = Packet::udp(0, POD1, POD2, 7000);
    let from = |source: Ipv4Addr| Packet::new(0, 0, IPIP, source, address(2), &inside.0);
    // what follows may come from n1 or be forged by it: decap sees no difference
    let cases = [
        ("first fragment", Packet::new(0, MF, IPIP, address(1), address(2), &inside.0)),
        ("later fragment", Packet::new(0, 2, IPIP, address(1), address(2), &inside.0)),
        ("other protocol", Packet::new(0, 0, 94, address(1), address(2), &inside.0)),
        ("unknown node", from(Ipv4Addr::new(192, 168, 10, 77))),
        ("pod as node", from(POD1)),
        ("tunnel in a tunnel", Packet::new(0, 0, IPIP, address(1), Ipv4Addr::new(172, 16, 2, 1), &inside.0)),
    ];
    for (case, packet) in cases {
        send(&sender, &packet);
        send(&sender, &tunnelled(&Packet::udp(0, POD1, POD2, 6999)));
        assert_eq!(receive(&received).map(|packet| packet.port()), Some(6999), "{case}");
    }
}

#[test]
fn decap_opens_only_sound_packets_for_this_host() {
    let lab = Lab::start();
    let received = lab.inside("pod2", || raw(SockProtocol::Udp));
    let mac = |namespace: &str, device: &str| {
        lab.inside(namespace, || {
            let mut netlink = Netlink::open().expect("rtnetlink opens in any namespace");
            let link = netlink.link(&device.into()).expect("links can be read").expect("the lab wired it");
            (link.index, link.mac.expect("a veth has one").0)
        })
    };
    let ((port, _), (_, node)) = (mac("router", "n2"), mac("n2", "eth0"));
    let inside = Packet::udp(0, POD1, POD2, 7000);
    let good = tunnelled(&inside);
    let changed = |change: fn(&mut Vec<u8>)| {
        let mut packet = good.clone();
        change(&mut packet.0);
        packet
    };
    let long = changed(|bytes| {
        // one more than there is, the checksum following
        bytes[3] += 1;
        bytes[11] -= 1;
    });
    assert!(long.is_sound());
    let cases = [
        ("good", node, 0x0800, good.clone(), true),
        ("wrong checksum", node, 0x0800, changed(|bytes| bytes[11] ^= 1), false),
        ("longer than it is", node, 0x0800, long, false),
        ("header of six words", node, 0x0800, changed(|bytes| bytes[0] = 0x46), false),
        ("another host's", [2, 0, 0, 0, 0, 9], 0x0800, good.clone(), false),
        ("not IPv4's EtherType", node, 0x88b5, good.clone(), false),
        ("padded", node, 0x0800, changed(|bytes| bytes.extend([0; 18])), true),
    ];
    for (case, to, ether_type, packet, arrives) in cases {
        lab.inside("router", || send_frame(port, to, ether_type, &packet));
        lab.inside("router", || send_frame(port, node, 0x0800, &tunnelled(&Packet::udp(0, POD1, POD2, 6999))));
        let first = receive(&received).unwrap_or_else(|| panic!("{case}: not even the packet behind it arrived"));
        assert_eq!(first.port(), if arrives { 7000 } else { 6999 }, "{case}");
        assert!(!arrives || receive(&received).is_some_and(|packet| packet.port() == 6999), "{case}");
    }
}

#[test]
fn who_is_in_no_list_of_nodes_is_not_heard() {
    let lab = Lab::start();
    // an address of the node that is not the one it is known by
    lab.ip("n2", "address add 192.168.20.2/24 dev eth0");
    let received = lab.inside("pod2", || raw(SockProtocol::Udp));
    let sender = lab.inside("n1", || raw(SockProtocol::Raw));
    let inside = Packet::udp(0, POD1, POD2, 7000);
    let outside = Ipv4Addr::new(192, 168, 10, 77);
    let of = |source, to| Packet::new(0, 0, IPIP, source, to, &inside.0);
    // as the agent's relay meets them: in two fragments, of which decap opens neither
    let pieces = |source, to| {
        let piece = |fragment, bytes: &[u8]| Packet::new(0, fragment, IPIP, source, to, bytes);
        [piece(MF, &inside.0[..24]), piece(3, &inside.0[24..])]
    };
    let cases: [(&str, &[&str], Ipv4Addr, Ipv4Addr, bool); 7] = [
        ("unknown", &[], outside, address(2), false),
        ("external, by address", &["192.168.10.77/32"], outside, address(2), true),
        ("external, by prefix", &["192.168.10.64/26", "192.0.2.0/24"], outside, address(2), true),
        (
            "external, to another address of the node",
            &["192.168.10.77/32"],
            outside,
            Ipv4Addr::new(192, 168, 20, 2),
            false,
        ),
        ("beside the prefix", &["192.168.10.80/28"], outside, address(2), false),
        ("a node, to another address of the node", &[], address(1), Ipv4Addr::new(192, 168, 20, 2), false),
        ("the node itself, though a prefix has it", &["192.168.0.0/16"], address(2), address(2), false),
    ];
    for (case, external, source, to, arrives) in cases {
        let mut spec = lab.spec(2);
        spec.external_nodes = external.iter().map(|text| text.parse().expect("a prefix")).collect();
        let mut tunnel = BpfTunnel::new();
        lab.inside("n2", || ensure(&mut tunnel, &spec));
        for (form, packets) in [("whole", vec![of(source, to)]), ("in fragments", pieces(source, to).to_vec())] {
            packets.iter().for_each(|packet| send(&sender, packet));
            // what the relay has is opened when it is served
            lab.inside("n2", || eventually_idle(&mut tunnel));
            send(&sender, &tunnelled(&Packet::udp(0, POD1, POD2, 6999)));
            let first = receive(&received).unwrap_or_else(|| panic!("{case}, {form}: not even the one behind it"));
            assert_eq!(first.port(), if arrives { 7000 } else { 6999 }, "{case}, {form}");
            assert!(!arrives || receive(&received).is_some_and(|packet| packet.port() == 6999), "{case}, {form}");
        }
    }
}

#[test]
fn a_node_is_heard_only_while_it_is_known() {
    let lab = Lab::start();
    assert!(lab.pings("pod1", "-c 1 172.16.2.2"));
    let mut spec = lab.spec(2);
    spec.hosts.remove(&address(1));
    lab.inside("n2", || ensure(&mut BpfTunnel::new(), &spec));
    assert!(!lab.pings("pod1", "-c 1 172.16.2.2"));
    assert!(lab.pings("pod3", "-c 1 172.16.2.2"), "another node's packets still pass");
    lab.inside("n2", || ensure(&mut BpfTunnel::new(), &lab.spec(2)));
    assert!(lab.pings("pod1", "-c 1 172.16.2.2"));
}

#[test]
fn encap_drops_what_has_no_node_and_prefers_the_longer_prefix() {
    let lab = Lab::start();
    let capture = Capture::start(&lab, "n1", "eth0", "proto 4 and src 192.168.10.1");
    assert!(!lab.pings("pod1", "-c 1 172.16.99.2"));
    assert_eq!(capture.packets(), []);
    // an address of n2's block that n3 borrowed
    lab.ip("pod3", "address add 172.16.2.9/32 dev eth0");
    lab.ip("n3", "route add 172.16.2.9/32 dev pod");
    let mut spec = lab.spec(1);
    spec.peers.insert("172.16.2.9/32".parse().expect("a prefix"), address(3));
    lab.inside("n1", || ensure(&mut BpfTunnel::new(), &spec));
    assert!(lab.pings("pod1", "-c 1 172.16.2.9"));
    assert!(lab.pings("pod1", "-c 1 172.16.2.2"));
    let to: Vec<_> = capture.wait_for(2).iter().map(|packet| packet.0[16..20].to_vec()).collect();
    assert_eq!(to, [address(3).octets(), address(2).octets()]);
}

fn tunnelled(inside: &Packet) -> Packet {
    Packet::new(0, 0, IPIP, address(1), address(2), &inside.0)
}

fn raw(protocol: SockProtocol) -> OwnedFd {
    let raw = socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), protocol).expect("raw sockets take root");
    setsockopt(&raw, sockopt::ReceiveTimeout, &TimeVal::new(5, 0)).expect("a socket has timeouts");
    raw
}

fn send(socket: &OwnedFd, packet: &Packet) {
    let to: [u8; 4] = packet.0[16..20].try_into().expect("four bytes");
    let to = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::from(to), 0));
    let sent = sendto(socket.as_raw_fd(), &packet.0, &to, MsgFlags::empty()).expect("the node has a default route");
    assert_eq!(sent, packet.0.len());
}

/// Serves a tunnel until a tenth of a second has brought it nothing.
fn eventually_idle(tunnel: &mut BpfTunnel) {
    loop {
        let wakes = tunnel.wakes().expect("a tunnel that was ensured has a relay");
        let mut wait = [PollFd::new(wakes, PollFlags::POLLIN)];
        if poll(&mut wait, 100_u16).expect("a descriptor can be waited for") == 0 {
            return;
        }
        tunnel.serve();
    }
}

/// Sends an Ethernet frame out of a link, from the router's side.
fn send_frame(link: u32, to: [u8; 6], ether_type: u16, packet: &Packet) {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), None).expect("it takes root");
    let mut frame = to.to_vec();
    frame.extend([2, 0, 0, 0, 0, 1]);
    frame.extend(ether_type.to_be_bytes());
    frame.extend(&packet.0);
    // SAFETY: sockaddr_ll is plain data, for which zero bytes are a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).expect("a family has 16 bits");
    address.sll_ifindex = i32::try_from(link).expect("the kernel's link indexes are positive ints");
    let size = u32::try_from(size_of_val(&address)).expect("an address is small");
    // SAFETY: frame and address outlive the call and are as long as it is told.
    let sent = unsafe {
        let address = (&raw const address).cast();
        libc::sendto(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, address, size)
    };
    assert_eq!(sent, isize::try_from(frame.len()).expect("a frame is small"), "{}", std::io::Error::last_os_error());
}

/// Receives the next packet, header included; `None` after five seconds.
fn receive(socket: &OwnedFd) -> Option<Packet> {
    let mut buffer = [0; 2048];
    let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).ok()?;
    Some(Packet(buffer[..length].to_vec()))
}
