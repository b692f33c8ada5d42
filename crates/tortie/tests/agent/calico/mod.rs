//! A node as Calico v3.32 leaves it, BIRD's routes included: a reduced form of what was recorded of one.
//!
//! The templates beside this file are input of `iptables-restore`, `ipset restore` and `nft`. A line that names a pod's
//! interface or address is there once for each pod. `@ours@` is the comment by which Calico marks a rule; where the
//! hash in it matters, it is written out.

use crate::cluster::{Cluster, eventually};
use crate::host::{Host, Namespace};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

const POOL: &str = "172.16.0.0/16";

/// How Calico wrote its packet rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    Iptables,
    Nftables,
}

/// A pod that Calico's CNI plugin attached.
pub(crate) struct Pod {
    pub(crate) interface: &'static str,
    pub(crate) address: &'static str,
    pub(crate) namespace: Namespace,
}

impl Pod {
    /// Attaches a pod to a host, and tells the datastore.
    pub(crate) fn attach(
        cluster: &Cluster,
        host: &Host,
        name: &'static str,
        interface: &'static str,
        address: &'static str,
    ) -> Pod {
        let namespace = cluster.namespace(name);
        let pod = namespace.name().to_owned();
        host.namespace
            .ip(&format!("link add {interface} address ee:ee:ee:ee:ee:ee type veth peer name eth0 netns {pod}"));
        host.namespace.ip(&format!("link set {interface} up"));
        namespace.ip("link set eth0 up");
        namespace.ip(&format!("addr add {address}/32 dev eth0"));
        namespace.ip("route add 169.254.1.1 dev eth0 scope link");
        namespace.ip("route add default via 169.254.1.1");
        for (key, value) in [
            ("ipv4.conf.IF.route_localnet", 1),
            ("ipv4.neigh.IF.proxy_delay", 0),
            ("ipv4.conf.IF.proxy_arp", 1),
            ("ipv4.conf.IF.forwarding", 1),
        ] {
            run(host, "sysctl", &["-qw", &format!("net.{}={value}", key.replace("IF", interface))], "");
        }
        // as Calico's agent does for an endpoint with an Ethernet address
        let shown = namespace.ip("link show eth0");
        let mac = shown.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).expect("a MAC").to_owned();
        host.namespace.ip(&format!("neigh add {address} lladdr {mac} dev {interface} nud permanent"));
        host.namespace.ip(&format!("route add {address} dev {interface} scope link metric 1024"));
        cluster.apply(&format!(
            "{{apiVersion: projectcalico.org/v3, kind: WorkloadEndpoint, \
             metadata: {{name: {node}-k8s-{name}-eth0, namespace: default}}, \
             spec: {{node: {node}, orchestrator: k8s, pod: {name}, endpoint: eth0, containerID: {name}, \
             ipNetworks: [{address}/32], interfaceName: {interface}, mac: '{mac}'}}}}",
            node = host.name
        ));
        eventually(Duration::from_secs(5), || match namespace.ip("link show eth0") {
            shown if shown.contains("LOWER_UP") => Ok(()),
            shown => Err(shown),
        });
        Pod { interface, address, namespace }
    }
}

impl Pod {
    /// Runs `nft` in the pod; returns what it printed.
    pub(crate) fn nft(&self, words: &str) -> String {
        let output = self.namespace.command("nft").arg(words).output();
        let output = output.unwrap_or_else(|error| panic!("tests need ip and nft: {error}"));
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// Brings a host's packet rules, sets and forwarding to the state that Calico leaves them in.
pub(crate) fn replay(host: &Host, rules: Rules, pods: &[Pod], remote: &str) {
    let fill = |template: &str, ours: &str| fill(template, ours, host, pods, remote);
    run(host, "sysctl", &["-qw", "net.ipv4.ip_forward=1"], "");
    match rules {
        Rules::Iptables => {
            let ours = "-m comment --comment \"cali:HASH\"";
            run(host, "ipset", &["restore"], &fill(include_str!("node.ipset"), ours));
            run(host, "iptables-nft-restore", &["--noflush"], &fill(include_str!("node.iptables"), ours));
            run(host, "ip6tables-nft-restore", &["--noflush"], &fill(include_str!("node.ip6tables"), ours));
        }
        Rules::Nftables => {
            run(host, "nft", &["-f", "-"], &fill(include_str!("node.nft"), "comment \"cali:HASH;\""));
        }
    }
}

fn fill(template: &str, ours: &str, host: &Host, pods: &[Pod], remote: &str) -> String {
    let (mut text, mut count) = (String::new(), 0);
    let mut add = |line: &str| {
        let mut line = line.replace("@host@", &host.address).replace("@pool@", POOL).replace("@remote@", remote);
        while line.contains("@ours@") {
            count += 1;
            line = line.replacen("@ours@", &ours.replace("HASH", &format!("{count:0>16}")), 1);
        }
        text += &(line + "\n");
    };
    for line in template.lines() {
        if ["@interface@", "@address@"].iter().any(|word| line.contains(word)) {
            for pod in pods {
                add(&line.replace("@interface@", pod.interface).replace("@address@", pod.address));
            }
        } else {
            add(line);
        }
    }
    text
}

/// Runs a program on a host's network, which has to succeed; returns what it printed.
pub(crate) fn run(host: &Host, program: &str, arguments: &[&str], input: &str) -> String {
    let mut call: Command = host.command(program);
    call.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = call.spawn().unwrap_or_else(|error| panic!("tests need ip: {error}"));
    child.stdin.take().expect("its input is piped").write_all(input.as_bytes()).expect("it reads its input");
    let output = child.wait_with_output().expect("its output");
    assert!(output.status.success(), "{program}: {}\n{input}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
