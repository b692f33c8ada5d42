//! `tortie node cleanup`: when it refuses, what it says, and the files that go with the kernel's state.

use crate::cluster::{Cluster, SOON, eventually};
use crate::host::Host;
use std::process::Command;

const LOCK: &str = "/var/run/calico/tortie-node.lock";

/// Runs a call that ends by itself; returns its status and both outputs.
fn ended(mut call: Command) -> (Option<i32>, String, String) {
    let output = call.output().expect("the built binary");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// What a host's kernel has, as far as an agent changes it.
fn look(host: &Host) -> String {
    ["ip -br link", "ip -br addr", "ip route", "nft -s list ruleset", "ipset save", "sysctl net.ipv4.ip_forward"]
        .map(|words| {
            let mut call = host.command("sh");
            let output = call.args(["-c", words]).output().expect("ip netns exec");
            format!("{words}\n{}", String::from_utf8_lossy(&output.stdout))
        })
        .concat()
}

#[test]
fn beside_an_agent_nothing_is_touched() {
    let cluster = Cluster::new();
    for backend in ["bird", "none"] {
        let mut host = cluster.host(if backend == "bird" { 1 } else { 2 });
        host.set("CALICO_NETWORKING_BACKEND", backend);
        host.start_agent();
        host.logs("this node is registered", SOON);
        // the last things that an agent makes
        eventually(SOON, || match host.namespace.ip("-4 addr show") + &host.namespace.ip("route") {
            shown if shown.contains("scope global tunl0") && shown.contains("169.254.1.1 dev lo proto 80") => Ok(()),
            shown => Err(shown),
        });
        let before = look(&host);
        let pid = host.agent().id();
        let (status, said, error) = ended(host.tortie(&["node", "cleanup"]));
        let expect = format!("error: an agent runs on this node: stop it first: process {pid} holds {LOCK}\n");
        assert_eq!((status, said.as_str(), error), (Some(1), "", expect));
        assert_eq!(look(&host), before);
        let (status, _, error) = ended(host.agent_command());
        let expect = format!("another agent, or a cleanup, runs on this node: process {pid} holds {LOCK}");
        assert!(status == Some(1) && error.contains(&expect), "{error}");
        assert!(host.agent().runs());
    }
}

#[test]
fn after_a_killed_agent_kernel_and_files_are_as_before() {
    for mode in ["Disabled", "Enabled"] {
        let cluster = Cluster::new();
        cluster.claim("172.16.1.0/24", "n1");
        cluster.claim("172.16.2.0/24", "n2");
        let (mut one, mut two) = (cluster.host(1), cluster.host(2));
        one.set("FELIX_NFTABLESMODE", mode);
        let before = look(&one);
        one.start_agent();
        two.start_agent();
        one.learns(&["172.16.2.0/24"], SOON);
        assert!(one.files("run/calico").contains(&"bird.ctl".to_owned()));
        assert_eq!(look(&one).contains("table ip calico {"), mode == "Enabled");
        one.kill_agent();
        let (status, said, error) = ended(one.tortie(&["node", "cleanup", "--forwarding"]));
        assert_eq!((status, error.as_str()), (Some(0), ""), "{said}");
        for line in [
            "removed route 172.16.2.0/24 via 192.168.10.2 dev tunl0 onlink proto 12",
            "removed route blackhole 172.16.1.0/24 proto 80",
            "removed file /var/lib/calico/mtu",
            "removed file /var/run/calico/bird.ctl",
            "removed packet forwarding",
        ] {
            assert!(said.lines().any(|said| said == line), "{line:?} is not in\n{said}");
        }
        let (last, lines) = (said.lines().next_back(), said.lines().count() - 1);
        assert_eq!(last, Some(format!("{lines} removed, nothing is left").as_str()), "{said}");
        assert_eq!(look(&one), before, "nftablesMode {mode}");
        assert!(!one.files("run").contains(&"calico".to_owned()));
        assert_eq!(one.files("lib/calico"), ["nodename"]);
        let (status, said, _) = ended(one.tortie(&["node", "cleanup", "--forwarding"]));
        assert_eq!((status, said.as_str()), (Some(0), "0 removed, nothing is left\n"));
        // and the node can come back
        one.start_agent();
        one.learns(&["172.16.2.0/24"], SOON);
    }
}

#[test]
fn after_an_agent_without_bgp_the_routes_of_another_daemon_stay() {
    let cluster = Cluster::new();
    let mut host = cluster.host(1);
    host.set("CALICO_NETWORKING_BACKEND", "none");
    host.start_agent();
    host.logs("this node is registered", SOON);
    eventually(SOON, || match host.files("run/calico") {
        files if files.contains(&"tortie.ctl".to_owned()) => Ok(()),
        files => Err(files.join(" ")),
    });
    host.namespace.ip("route add 172.16.9.0/26 via 192.168.10.2 proto bird");
    host.kill_agent();
    let pool = ["--pool", "172.16.0.0/16"];
    let (status, said, error) = ended(host.tortie(&[&["node", "cleanup"], &pool[..]].concat()));
    assert_eq!((status, error.as_str()), (Some(0), ""), "{said}");
    let kept = "kept route 172.16.9.0/26 via 192.168.10.2 dev eth0 proto 12: the networking backend is none";
    assert!(said.contains(kept), "{said}");
    // the socket has gone: who knows says it
    let (status, _, _) = ended(host.tortie(&[&["node", "cleanup", "--backend", "none"], &pool[..]].concat()));
    assert!(status == Some(0) && host.namespace.ip("route").contains("172.16.9.0/26"));
    let (status, _, _) = ended(host.tortie(&[&["node", "cleanup", "--backend", "bird"], &pool[..]].concat()));
    assert!(status == Some(0) && !host.namespace.ip("route").contains("172.16.9.0/26"));
}

#[test]
fn another_programs_socket_is_respected_and_others_files_stay() {
    let cluster = Cluster::new();
    let host = cluster.host(1);
    let script = "mkdir -p /var/run/calico && touch /var/run/calico/theirs && exec python3 -c \"import socket, sys
s = socket.socket(socket.AF_UNIX); s.bind('/var/run/calico/bird.ctl'); s.listen(); print('listens', flush=True); sys.stdin.read()\"";
    let mut bird = host.start(script);
    let (status, _, error) = ended(host.tortie(&["node", "cleanup"]));
    let expect =
        format!("error: process {} answers on /var/run/calico/bird.ctl, an agent or BIRD: stop it first\n", bird.id());
    assert_eq!((status, error), (Some(1), expect));
    bird.kill().and_then(|()| bird.wait()).expect("it was running");
    let (status, said, _) = ended(host.tortie(&["node", "cleanup"]));
    assert_eq!((status, said.lines().next()), (Some(0), Some("removed file /var/run/calico/bird.ctl")), "{said}");
    assert_eq!(host.files("run/calico"), ["theirs"]);
}

#[test]
fn mistakes_and_ordinary_users_are_told() {
    let cluster = Cluster::new();
    let host = cluster.host(1);
    let (status, _, error) = ended(host.tortie(&["node", "cleanup", "--pool", "10.0.0.0/40"]));
    assert!(status == Some(1) && error.contains("'10.0.0.0/40' for '--pool <CIDR>'"), "{status:?} {error}");
    let (status, said, _) = ended(host.tortie(&["node", "cleanup", "--help"]));
    assert!(status == Some(0) && said.contains("Examples:") && said.contains("--pods"), "{said}");
    let mut call = Command::new("setpriv");
    call.args(["--reuid=65534", "--regid=65534", "--clear-groups", env!("CARGO_BIN_EXE_tortie"), "node", "cleanup"]);
    let (status, _, error) = ended(call);
    let expect = "error: routes, links and packet rules are changed: run it as root\n";
    assert_eq!((status, error.as_str()), (Some(1), expect));
}
