//! Pods talking: reachability, the path's MTU, and content through every kind of segmentation offload.

use crate::lab::Lab;
use crate::packet::{Capture, Packet};
use sha2::{Digest, Sha256};
use std::io::{self, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// `ETHTOOL_S…` commands of linux/ethtool.h.
pub(crate) const TX_CHECKSUM: u32 = 0x17;
pub(crate) const TSO: u32 = 0x1f;
pub(crate) const GSO: u32 = 0x24;
pub(crate) const GRO: u32 = 0x2c;

/// How long a connection may be silent.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const MEGABYTE: usize = 1 << 20;

#[test]
fn pods_and_nodes_reach_each_other() {
    let lab = Lab::start();
    for (from, to) in [
        ("pod1", "172.16.2.2"),
        ("pod2", "172.16.1.2"),
        ("pod1", "172.16.3.2"),
        ("pod3", "172.16.1.2"),
        ("pod2", "172.16.3.2"),
        ("n1", "172.16.2.2"),
        ("n2", "172.16.1.0"),
    ] {
        assert!(lab.pings(from, &format!("-c 2 -i 0.01 {to}")), "{from} to {to}");
    }
}

#[test]
fn a_node_speaks_from_its_tunnel_address() {
    let lab = Lab::start();
    let capture = Capture::start(&lab, "pod2", "eth0", "icmp");
    assert!(lab.pings("n1", "-c 1 172.16.2.2"));
    assert_eq!(capture.wait_for(1)[0].0[12..16], [172, 16, 1, 0]);
}

#[test]
fn tunl0_shows_inner_packets_both_ways() {
    let lab = Lab::start();
    let capture = Capture::start(&lab, "n1", "tunl0", "icmp");
    assert!(lab.pings("pod1", "-c 1 172.16.2.2"));
    capture.wait_for(2);
    let text = capture.text();
    assert!(text.contains("172.16.1.2 > 172.16.2.2: ICMP echo request"), "{text}");
    assert!(text.contains("172.16.2.2 > 172.16.1.2: ICMP echo reply"), "{text}");
}

#[test]
fn the_tunnel_takes_twenty_bytes_of_the_mtu() {
    let lab = Lab::start();
    assert!(lab.pings("pod1", "-c 1 -M do -s 1452 172.16.2.2"));
    let refused = lab.output("pod1", "ping -n -W 1 -c 1 -M do -s 1453 172.16.2.2");
    let text = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(!refused.status.success(), "{text}");
    assert!(text.contains("mtu = 1480"), "{text}");
    assert!(lab.pings("pod1", "-c 1 -M dont -s 4000 172.16.2.2"), "inner fragments pass");
}

#[test]
fn content_survives_every_offload() {
    let lab = Lab::start();
    let rounds = [
        ("as the kernel sets them", vec![]),
        ("with receive offload", vec![(GRO, 1)]),
        ("with receive offload, segments made in software", vec![(GRO, 1), (TSO, 0)]),
        ("without segmentation offload", vec![(TSO, 0), (GSO, 0), (GRO, 0)]),
        ("without any", vec![(GRO, 0), (TSO, 0), (GSO, 0), (TX_CHECKSUM, 0)]),
    ];
    let sent = sent_digest(16 * MEGABYTE);
    for (port, (round, settings)) in (7000..).zip(rounds) {
        for (namespace, devices) in [
            ("n1", &["eth0", "pod", "tunl0", "tunl0p"][..]),
            ("n2", &["eth0", "pod", "tunl0", "tunl0p"]),
            ("router", &["n1", "n2"]),
            ("pod1", &["eth0"]),
            ("pod2", &["eth0"]),
        ] {
            for device in devices {
                lab.inside(namespace, || settings.iter().for_each(|(command, on)| set(device, *command, *on)));
            }
        }
        assert_eq!(received(&lab, 1, 2, port, 16 * MEGABYTE), sent, "{round}");
    }
}

#[test]
fn segments_made_of_a_tunnelled_packet_are_full() {
    let lab = Lab::start();
    // TCP's large packets get their outer header whole, and are cut at the uplink
    lab.inside("n1", || [TSO, GSO].map(|command| set("eth0", command, 0)));
    let capture = Capture::start(&lab, "router", "n1", "proto 4 and src 192.168.10.1 and greater 100");
    received(&lab, 1, 2, 7000, 4 * MEGABYTE);
    let lengths: Vec<_> = capture.wait_for(1000).iter().map(Packet::total_length).collect();
    assert!(lengths.iter().all(|length| *length <= 1500), "{:?}", lengths.iter().max());
    let full = lengths.iter().filter(|length| **length == 1500).count();
    assert!(full * 10 >= lengths.len() * 9, "{full} of {} segments are full", lengths.len());
}

/// Sends over TCP from one pod to another; returns the digest of what arrived.
pub(crate) fn received(lab: &Lab, from: u8, to: u8, port: u16, length: usize) -> Vec<u8> {
    received_at(lab, from, to, SocketAddrV4::new(Ipv4Addr::new(172, 16, to, 2), port), length)
}

/// The same to an address of the other pod's.
pub(crate) fn received_at(lab: &Lab, from: u8, to: u8, address: SocketAddrV4, length: usize) -> Vec<u8> {
    let listener = lab.inside(&format!("pod{to}"), || TcpListener::bind(address).expect("the pod's own address"));
    let mut sender = lab.inside(&format!("pod{from}"), || TcpStream::connect(address).expect("the other listens"));
    let (receiver, _) = listener.accept().expect("the sender has connected");
    receiver.set_read_timeout(Some(PATIENCE)).expect("a socket has timeouts");
    sender.set_write_timeout(Some(PATIENCE)).expect("a socket has timeouts");
    let writer = thread::spawn(move || {
        content(length).for_each(|chunk| sender.write_all(&chunk).expect("the receiver reads to the end"));
    });
    let mut digest = Sha256::new();
    // a read with a timeout is interrupted by any signal, and goes on
    let mut receiver = BufReader::with_capacity(MEGABYTE, receiver);
    io::copy(&mut receiver, &mut digest).expect("the sender writes to the end");
    writer.join().expect("the writer's failures are shown above");
    digest.finalize().to_vec()
}

pub(crate) fn sent_digest(length: usize) -> Vec<u8> {
    let mut digest = Sha256::new();
    content(length).for_each(|chunk| digest.update(&chunk));
    digest.finalize().to_vec()
}

/// Bytes without a period, the same in every run (xorshift).
pub(crate) fn content(length: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut state = 88_172_645_463_325_252_u64;
    (0..length / MEGABYTE).map(move |_| {
        let mut chunk = Vec::with_capacity(MEGABYTE);
        while chunk.len() < MEGABYTE {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            chunk.extend(state.to_ne_bytes());
        }
        chunk
    })
}

/// Switches an offload of a device in the calling thread's namespace.
pub(crate) fn set(device: &str, command: u32, on: u32) {
    ethtool(device, command, on);
}

/// Reads an offload of a device in the calling thread's namespace.
pub(crate) fn value(device: &str, command: u32) -> u32 {
    ethtool(device, command, 0)
}

fn ethtool(device: &str, command: u32, on: u32) -> u32 {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("any socket carries device requests");
    let mut value = [command, on];
    // SAFETY: ifreq is plain data, for which zero bytes are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // SAFETY: the kernel reads ethtool_value, two 32-bit words, behind the pointer; both outlive the call.
    let outcome = unsafe { libc::ioctl(descriptor, libc::SIOCETHTOOL, &raw mut request) };
    assert_eq!(outcome, 0, "{device}: ethtool command {command:#x}: {}", std::io::Error::last_os_error());
    value[1]
}
