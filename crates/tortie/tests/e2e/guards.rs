//! What a pod, and somebody outside, may not do: with each kind of packet rules, and whatever the tunnel is.
//!
//! Listeners write down what reaches them until an honest datagram tells them to end. It takes the same way as the
//! forged ones before it, so none of those is still under way then.

use crate::cluster::{Lab, manifest, until};
use crate::traffic::{ended, python, python_on};
use std::process::Child;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// Makes packets by hand.
const PACKETS: &str = "
import socket, struct
def words(b):
    s = sum(struct.unpack('!%dH' % (len(b) // 2), b))
    while s > 0xffff: s = (s & 0xffff) + (s >> 16)
    return ~s & 0xffff
def ip(protocol, source, to, payload):
    head = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(payload), 7, 0, 64, protocol, 0, socket.inet_aton(source), socket.inet_aton(to))
    return head[:10] + struct.pack('!H', words(head)) + head[12:] + payload
def udp(port, payload):
    return struct.pack('!HHHH', 5400, port, 8 + len(payload), 0) + payload
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
def send(packet, to): raw.sendto(packet, (to, 0))
def honest(to, port, payload): socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(payload, (to, port))
";

/// A program that prints who sent what until it hears `end`.
fn listener(address: &str, port: u16) -> String {
    format!(
        "import socket\n\
         s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('{address}', {port})); s.settimeout(60)\n\
         while True:\n\
         \x20 b, a = s.recvfrom(999); print(a[0], b.decode(), flush=True)\n\
         \x20 if b == b'end': break"
    )
}

fn listens(lab: &Lab, pod: &str) -> Child {
    let child = python(lab, pod, &listener("0.0.0.0", 5400));
    until(PATIENCE, "the pod listens", || lab.inside(pod, "cat /proc/net/udp").contains(":1518 "));
    child
}

fn nothing_forged_arrives(dataplane: &str) {
    let lab = Lab::up(&["--dataplane", dataplane]);
    lab.apply(&manifest(&[("pod1", "k8s-w1"), ("near", "k8s-w1"), ("far", "k8s-w2")])).ok();
    let [own, near, far] = ["pod1", "near", "far"].map(|pod| lab.address(pod));
    let far_node = "192.168.10.102";
    let (at_near, at_far) = (listens(&lab, "near"), listens(&lab, "far"));
    let on_loopback = python_on(&lab, "k8s-w1", &listener("127.0.0.1", 5401));
    until(PATIENCE, "the node listens", || lab.on("k8s-w1", "cat /proc/net/udp").contains("0100007F:1519 "));

    // from outside, in a tunnel to a node: the sender is no node
    let outside = format!(
        "{PACKETS}
send(ip(4, '203.0.113.10', '{far_node}', ip(17, '{near}', '{far}', udp(5400, b'tunnelled from outside'))), '{far_node}')"
    );
    ended(python_on(&lab, "internet", &outside));
    let attacks = format!(
        "{PACKETS}
for to in ['{near}', '{far}']:
    send(ip(17, '172.16.34.9', to, udp(5400, b'with an address of another block')), to)
    send(ip(17, '203.0.113.10', to, udp(5400, b'with an address of the outside')), to)
    send(ip(17, '192.168.10.10', to, udp(5400, b'with a node\\'s address')), to)
inner = ip(17, '172.16.34.9', '{far}', udp(5400, b'tunnelled'))
send(ip(4, '{own}', '{far_node}', inner), '{far_node}')
send(ip(4, '192.168.10.101', '{far_node}', inner), '{far_node}')
send(ip(4, '{own}', '{far}', inner), '{far}')
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); link.bind(('eth0', 0x800))
mac = link.getsockname()[4]
link.send(bytes.fromhex('eeeeeeeeeeee') + mac + b'\\x08\\x00' + ip(17, '{own}', '127.0.0.1', udp(5401, b'to loopback')))
for to in ['{near}', '{far}']: honest(to, 5400, b'end')
"
    );
    ended(python(&lab, "pod1", &attacks));
    let only_honest = format!("{own} end\n");
    assert_eq!(ended(at_near), only_honest, "the pod on the same node");
    assert_eq!(ended(at_far), only_honest, "the pod on another node");
    // what the pod sent is behind it: the other two have heard what came after
    ended(python_on(&lab, "k8s-w1", &format!("{PACKETS}honest('127.0.0.1', 5401, b'end')")));
    assert_eq!(ended(on_loopback), "127.0.0.1 end\n", "the node's loopback address");
}

#[test]
fn nothing_forged_arrives_with_iptables() {
    nothing_forged_arrives("iptables");
}

#[test]
fn nothing_forged_arrives_with_nftables() {
    nothing_forged_arrives("nftables");
}

#[test]
fn pods_pass_where_others_drop_what_is_forwarded() {
    let lab = Lab::up(&["--dataplane", "iptables"]);
    for node in ["k8s-w1", "k8s-w2"] {
        lab.on(node, "iptables -P FORWARD DROP; iptables -A FORWARD -i eth7 -j ACCEPT");
    }
    lab.apply(&manifest(&[("pod1", "k8s-w1"), ("near", "k8s-w1"), ("far", "k8s-w2")])).ok();
    for to in [lab.address("near"), lab.address("far"), "203.0.113.10".to_owned()] {
        until(PATIENCE, "the pod is answered", || lab.reaches("pod1", &to).is_ok());
    }
    for node in ["k8s-w1", "k8s-w2"] {
        lab.on(node, "iptables -P FORWARD ACCEPT; iptables -D FORWARD -i eth7 -j ACCEPT");
    }
}
