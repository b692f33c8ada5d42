//! The same packets, sent through either form and received through either form.

use crate::mixed::Mixed;
use crate::packets::{Header, Packet};
use std::collections::BTreeSet;

/// Options of pings that differ in what an outer header takes from an inner one, and the packets each becomes.
const PINGS: [(&str, usize); 12] = [
    ("-M do", 1),
    ("-M dont", 1),
    ("-M do -Q 0x01", 1),
    ("-M do -Q 0x02", 1),
    ("-M do -Q 0x03", 1),
    ("-M dont -Q 0xb8", 1),
    ("-M do -Q 0xbb", 1),
    ("-M dont -Q 0x29", 1),
    ("-M do -t 9", 1),
    ("-M dont -t 255", 1),
    ("-M do -s 1452", 1),
    ("-M dont -s 3000", 3),
];
const DF: u16 = 0x4000;
const MF: u16 = 0x2000;

/// Sends all pings from a pod and returns the encapsulated requests as they arrive on the other pod's node.
fn sent(mixed: &Mixed, from: &str, from_node: &str, to: &str, to_node: &str) -> Vec<Packet> {
    let count = PINGS.iter().map(|(_, packets)| packets).sum();
    let filter = format!("ip proto 4 and src host {from_node}");
    mixed.capture(to_node, "eth0", &filter, count, || {
        for (options, _) in PINGS {
            assert!(mixed.ping(from, to, options), "{from} to {to}: ping {options}");
        }
    })
}

fn headers(packets: &[Packet]) -> Vec<(Header, Header)> {
    packets.iter().map(|packet| (packet.header(), packet.inner().header())).collect()
}

#[test]
fn outer_headers_are_the_kernels() {
    let mixed = Mixed::start();
    for (to, to_node) in [("home", "k8s-m"), ("far", "k8s-w0")] {
        let kernel = sent(&mixed, "two", "192.168.10.102", to, to_node);
        let bpf = sent(&mixed, "one", "192.168.10.101", to, to_node);
        // the kernel's packets differ in all that is compared
        let outer: Vec<Header> = kernel.iter().map(Packet::header).collect();
        assert_eq!(outer.iter().map(|header| header.tos).collect::<BTreeSet<_>>(), BTreeSet::from([0, 1, 2]));
        assert_eq!(
            outer.iter().map(|header| header.flags_and_offset).collect::<BTreeSet<_>>(),
            BTreeSet::from([0, DF])
        );
        assert_eq!(outer.iter().map(|header| header.ttl).collect::<BTreeSet<_>>().len(), 3);
        assert!(kernel.iter().any(|packet| packet.inner().header().flags_and_offset & MF != 0), "no inner fragment");

        assert_eq!(headers(&bpf), headers(&kernel), "to {to_node}");
        let zero = |packets: &[Packet]| packets.iter().filter(|packet| packet.identification() == 0).count();
        assert_eq!(zero(&bpf), zero(&kernel), "identifications that are zero");
        for (bpf, kernel) in headers(&bpf).iter().zip(headers(&kernel)) {
            eprintln!("BPF    {:?}\nkernel {:?}", bpf.0, kernel.0);
        }
    }
}

#[test]
fn congestion_marks_of_the_way_are_the_kernels() {
    let mixed = Mixed::start();
    // whatever passes the router in a tunnel met congestion
    let rule = "nft add table ip congested && \
                nft 'add chain ip congested forward { type filter hook forward priority 0; }' && \
                nft add rule ip congested forward ip protocol 4 ip ecn set ce";
    mixed.lab.on("router", rule);
    let received = |pod: &str| {
        let pings = ["-M do -Q 0x01", "-M do -Q 0x02", "-M dont -Q 0x03", "-M dont -Q 0xba"];
        let packets = mixed.capture(pod, "eth0", "icmp[icmptype] == icmp-echo", pings.len(), || {
            for options in pings {
                // the answer passes the router too, and arrives if its sender can take the mark
                assert!(mixed.ping("far", pod, options), "far to {pod}: ping {options}");
            }
        });
        let taken: Vec<Header> = packets.iter().map(Packet::header).collect();
        (taken, mixed.ping("far", pod, "-M do -Q 0x00"))
    };
    let (kernel, kernel_unmarkable) = received("two");
    let (bpf, bpf_unmarkable) = received("one");
    assert!(kernel.iter().all(|header| header.tos & 3 == 3), "{kernel:?}");
    assert_eq!(bpf, kernel);
    // a packet whose sender does not know the marks is lost where the kernel loses it
    assert_eq!(bpf_unmarkable, kernel_unmarkable);
    eprintln!("BPF    {bpf:?}\nkernel {kernel:?}");
}
