//! A link of 1,400 bytes between two nodes: pods are told, nothing is lost that may be cut, and TCP goes on.
//!
//! The same on a kernel with `ipip` and on one without. What pods are told is what the kernel's ipip says: the path
//! less the outer header of 20.

use crate::cluster::{Lab, eventually};
use crate::traffic::{TOO_LARGE, arrives_whole, goes_on, is_told, ping};
use std::time::Duration;

/// The default shape with some of its text replaced.
fn shape(edits: &[(&str, &str)]) -> String {
    let mut text = Lab::reserve().run(&["topology"]).ok();
    for (from, to) in edits {
        assert!(text.contains(from), "the default topology has no {from:?}");
        text = text.replace(from, to);
    }
    text
}

#[test]
fn a_narrow_link_behind_the_router() {
    let lab = Lab::up_with(&shape(&[
        ("gateway: 192.168.10.254", "gateway: 192.168.10.254, mtu: 1400"),
        ("gateway: 192.168.20.254", "gateway: 192.168.20.254, mtu: 1400"),
    ]));
    lab.start_pods(&[("home", "k8s-m"), ("one", "k8s-w1"), ("far", "k8s-w0")]);
    // before anything is known of the path
    arrives_whole(&lab, "one", "far");
    arrives_whole(&lab, "far", "one");
    goes_on(&lab, "one", "far");
    goes_on(&lab, "far", "home");
    is_told(&lab, "one", "far");
    is_told(&lab, "far", "one");
    arrives_whole(&lab, "one", "far");
    arrives_whole(&lab, "far", "one");
    let (passes, said) = ping(&lab, "home", "one", TOO_LARGE);
    assert!(passes, "the way within the subnet is as wide as ever: {said}");
}

#[test]
fn a_narrow_uplink() {
    let lab = Lab::up_with(&shape(&[("address: 192.168.10.102", "address: 192.168.10.102, mtu: 1400")]));
    lab.start_pods(&[("one", "k8s-w1"), ("two", "k8s-w2"), ("far", "k8s-w0")]);
    assert!(lab.inside("two", "ip link show eth0").contains("mtu 1380"), "the pod's MTU is the uplink's less 20");
    assert!(lab.inside("one", "ip link show eth0").contains("mtu 1480"));
    for other in ["one", "far"] {
        is_told(&lab, "two", other);
        arrives_whole(&lab, "two", other);
        goes_on(&lab, "two", other);
        goes_on(&lab, other, "two");
    }
    // only the router can speak for the link: within the subnet it is a switch's
    arrives_whole(&lab, "far", "two");
    is_told(&lab, "far", "two");
    arrives_whole(&lab, "far", "two");
}

#[test]
fn an_mtu_that_the_uplink_has_no_room_for() {
    let lab = Lab::up_with(&shape(&[("address: 192.168.10.102", "address: 192.168.10.102, mtu: 1400")]));
    let patch = ["patch", "felixconfiguration", "default", "-p", r#"{"spec":{"ipipMTU":1480}}"#];
    lab.calicoctl("k8s-m", &patch, "").ok();
    eventually(Duration::from_secs(10), "the agent takes it", || {
        let shown = lab.on("k8s-w2", "ip link show tunl0; cat /var/lib/calico/mtu");
        if shown.contains("mtu 1480") && shown.trim_end().ends_with("1480") { Ok(()) } else { Err(shown) }
    });
    lab.start_pods(&[("one", "k8s-w1"), ("two", "k8s-w2"), ("far", "k8s-w0")]);
    assert!(lab.inside("two", "ip link show eth0").contains("mtu 1480"));
    for other in ["one", "far"] {
        arrives_whole(&lab, "two", other);
        goes_on(&lab, "two", other);
        is_told(&lab, "two", other);
        arrives_whole(&lab, "two", other);
    }
}
