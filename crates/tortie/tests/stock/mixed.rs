//! The lab of both forms, and that its nodes work together.

use crate::cluster::{Lab, binary, until};
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

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
        let only_init = fs::read_to_string("/proc/sys/net/core/fb_tunnels_only_for_init_net").unwrap_or_default();
        assert_eq!(only_init.trim(), "1", "needs the sysctl net.core.fb_tunnels_only_for_init_net=1");
        let default = Command::new(binary()).args(["lab", "topology"]).output().expect("the built binary runs");
        let default = String::from_utf8(default.stdout).expect("a topology is text");
        let mixed = default.replace("address: 192.168.10.101}", "address: 192.168.10.101, tunl0: bpf}");
        assert_ne!(mixed, default);
        let lab = Lab::up_with(&mixed);
        lab.start_pods(&PODS);
        Mixed { lab }
    }

    /// Tells whether one ping with these options is answered.
    pub(crate) fn ping(&self, from: &str, to: &str, options: &str) -> bool {
        let ping = format!("ping -c 1 -W {PATIENCE} {options} {}", self.lab.address(to));
        self.lab.pod(from, &["sh", "-c", &ping]).code == 0
    }

    /// Sends a file of random bytes over TCP and returns its hash at both ends.
    fn transfer(&self, from: &str, to: &str) -> (String, String) {
        let write = format!("head -c {FILE_SIZE} /dev/urandom >/tmp/file && sha256sum /tmp/file");
        let sent = self.lab.inside(from, &write);
        let receiver = self.python(
            to,
            "import hashlib, socket\n\
             s = socket.create_server(('0.0.0.0', 5300)); c, _ = s.accept(); h = hashlib.sha256()\n\
             while b := c.recv(1 << 20): h.update(b)\n\
             print(h.hexdigest())",
        );
        until(Duration::from_secs(20), "the receiver listens", || {
            self.lab.inside(to, "cat /proc/net/tcp").contains(":14B4 00000000:0000 0A")
        });
        let address = self.lab.address(to);
        let send = format!(
            "import socket\ns = socket.create_connection(('{address}', 5300)); s.sendfile(open('/tmp/file', 'rb')); s.close()"
        );
        let sender = self.python(from, &send).wait_with_output().expect("the sender ends");
        assert!(sender.status.success(), "{}", String::from_utf8_lossy(&sender.stderr));
        let received = receiver.wait_with_output().expect("the receiver ends");
        assert!(received.status.success(), "{}", String::from_utf8_lossy(&received.stderr));
        let first = |text: &str| text.split_whitespace().next().unwrap_or_default().to_owned();
        (first(&sent), first(&String::from_utf8_lossy(&received.stdout)))
    }

    fn python(&self, pod: &str, program: &str) -> Child {
        let mut command = self.lab.command(&["exec", pod, "--", "python3", "-c", program]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts")
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
        let (sent, received) = mixed.transfer(from, to);
        assert_eq!(sent.len(), 64, "{sent}");
        assert_eq!(sent, received, "{from} to {to}");
        eprintln!("{from} to {to}: {FILE_SIZE} bytes, SHA-256 {received}");
    }
}
