//! A narrow link between ends of both forms: pods behind either are told the same.

use crate::mixed::Mixed;
use crate::traffic::{arrives_whole, goes_on, is_told};

#[test]
fn a_narrow_link_between_both_forms() {
    let mixed = Mixed::start_with(&[
        ("gateway: 192.168.10.254", "gateway: 192.168.10.254, mtu: 1400"),
        ("gateway: 192.168.20.254", "gateway: 192.168.20.254, mtu: 1400"),
    ]);
    // before anybody knows the path, the router cuts the outer packets
    let fragments = mixed.capture("k8s-w1", "eth0", "ip proto 4 and ip[6:2] & 0x3fff != 0", 1, || {
        arrives_whole(&mixed.lab, "far", "one");
    });
    eprintln!("put together and opened by the BPF end: {:?}", fragments[0].header());
    // `one` is behind the BPF tunnel, `two` and `far` behind the kernel's
    for near in ["two", "one"] {
        for (from, to) in [(near, "far"), ("far", near)] {
            arrives_whole(&mixed.lab, from, to);
            goes_on(&mixed.lab, from, to);
            is_told(&mixed.lab, from, to);
            arrives_whole(&mixed.lab, from, to);
            eprintln!("{from} to {to}: told 1380, whole, in one stream");
        }
    }
}
