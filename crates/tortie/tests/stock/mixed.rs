//! The lab of both forms, and that its nodes work together.

use crate::cluster::{Lab, binary};
use crate::traffic::transfer;
use std::fs;
use std::process::Command;

/// How long a ping waits: emulated machines are slow.
const PATIENCE: &str = "5";
/// The bytes that a file's transfer carries.
const FILE_SIZE: u64 = 16 << 20;

/// Pods and the nodes they are on; `one` is behind the BPF tunnel.
const PODS: [(&str, &str); 4] = [("home", "k8s-m"), ("one", "k8s-w1"), ("two", "k8s-w2"), ("far", "k8s-w0")];

/// The cluster with a pod on every node.
pub(crate) struct Mixed {
    pub(crate) lab: Lab,
}

impl Mixed {
    #[track_caller]
    pub(crate) fn start() -> Mixed {
        Mixed::start_with(&[])
    }

    /// The same with some of the topology's text replaced.
    #[track_caller]
    pub(crate) fn start_with(edits: &[(&str, &str)]) -> Mixed {
        let only_init = fs::read_to_string("/proc/sys/net/core/fb_tunnels_only_for_init_net").unwrap_or_default();
        assert_eq!(only_init.trim(), "1", "needs the sysctl net.core.fb_tunnels_only_for_init_net=1");
        let default = Command::new(binary()).args(["lab", "topology"]).output().expect("the built binary runs");
        let default = String::from_utf8(default.stdout).expect("a topology is text");
        let mut mixed = default;
        for (from, to) in [("address: 192.168.10.101}", "address: 192.168.10.101, tunl0: bpf}")].iter().chain(edits) {
            assert!(mixed.contains(from), "the default topology has no {from:?}");
            mixed = mixed.replace(from, to);
        }
        let lab = Lab::up_with(&mixed);
        lab.start_pods(&PODS);
        Mixed { lab }
    }

    /// Tells whether one ping with these options is answered.
    pub(crate) fn ping(&self, from: &str, to: &str, options: &str) -> bool {
        let ping = format!("ping -c 1 -W {PATIENCE} {options} {}", self.lab.address(to));
        self.lab.pod(from, &["sh", "-c", &ping]).code == 0
    }
}

#[test]
fn nodes_of_both_forms_are_one_cluster() {
    let mixed = Mixed::start();
    the_forms_are_as_asked(&mixed);
    pods_reach_each_other(&mixed);
    nodes_speak_from_their_tunnel_addresses(&mixed);
    a_file_arrives_whole(&mixed);
}

fn the_forms_are_as_asked(mixed: &Mixed) {
    for (_, node) in PODS {
        let link = mixed.lab.on(node, "ip -d link show tunl0");
        eprintln!("{node}: {}", link.trim_end());
        assert!(link.contains("mtu 1480") && link.contains("UP"), "{link}");
        if node == "k8s-w1" {
            assert!(link.contains("veth"), "{link}");
        } else {
            // as the device that comes with the module
            assert!(link.contains("ipip any remote any local any ttl inherit nopmtudisc"), "{link}");
        }
    }
}

fn pods_reach_each_other(mixed: &Mixed) {
    for (pod, _) in PODS {
        for (other, _) in PODS.iter().filter(|(other, _)| *other != pod) {
            assert!(mixed.ping(pod, other, ""), "{pod} does not reach {other}");
        }
    }
    for (from, to) in [("one", "two"), ("two", "one"), ("one", "far"), ("far", "one")] {
        assert!(mixed.ping(from, to, "-M do -s 1452"), "1,480 bytes do not pass from {from} to {to}");
        assert!(!mixed.ping(from, to, "-M do -s 1453"), "1,481 bytes pass from {from} to {to}");
    }
}

fn nodes_speak_from_their_tunnel_addresses(mixed: &Mixed) {
    for (node, pod, tunnel) in
        [("k8s-w1", "two", "172.16.158.0"), ("k8s-w2", "one", "172.16.184.0"), ("k8s-w0", "one", "172.16.34.0")]
    {
        let address = mixed.lab.address(pod);
        let seen = mixed.capture(pod, "eth0", "icmp[icmptype] == icmp-echo", 1, || {
            mixed.lab.on(node, &format!("ping -c 1 -W {PATIENCE} {address}"));
        });
        assert_eq!(seen[0].source().to_string(), tunnel, "{node} to {pod}");
    }
}

fn a_file_arrives_whole(mixed: &Mixed) {
    for (from, to) in [("one", "two"), ("two", "one"), ("one", "far"), ("far", "one")] {
        let (sent, received) = transfer(&mixed.lab, from, to, FILE_SIZE);
        assert_eq!(sent.len(), 64, "{sent}");
        assert_eq!(sent, received, "{from} to {to}");
        eprintln!("{from} to {to}: {FILE_SIZE} bytes, SHA-256 {received}");
    }
}
