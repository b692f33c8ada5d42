//! A node loses its power and comes back: its kernel is empty, its disk is not.

use crate::cluster::{Lab, eventually, pod, signal};
use nix::sys::signal::Signal;
use std::process::Stdio;
use std::time::Duration;

const BOOTED: Duration = Duration::from_secs(60);

/// Logs each call of the plugin on the node's disk.
const WRAPPER: &str = r#"mv /opt/cni/bin/calico /opt/cni/bin/calico.real && cat >/opt/cni/bin/calico <<'EOF' && chmod +x /opt/cni/bin/calico
#!/bin/sh
echo "$CNI_COMMAND $CNI_CONTAINERID ${CNI_NETNS:-lost}" >>/var/log/calico/calls
exec /run/tortie/bin/calico
EOF"#;

/// The blocks that a node holds, as its kernel shows them.
fn blocks(lab: &Lab, node: &str) -> Result<String, String> {
    let routes = lab.node(node, &["ip", "route", "show", "type", "blackhole"]);
    if routes.stdout.is_empty() { Err(routes.stderr) } else { Ok(routes.stdout) }
}

#[test]
fn a_killed_node_boots_again_with_its_block_and_its_pods() {
    let lab = Lab::up(&[]);
    lab.on("k8s-w2", WRAPPER);
    lab.start_pods(&[("alpha", "k8s-w1"), ("beta", "k8s-w2"), ("gamma", "k8s-w0"), ("once", "k8s-w2")]);
    let never = pod("never", "k8s-w2").replace("spec:", "spec:\n  restartPolicy: Never");
    lab.apply(&never).ok();
    lab.on("k8s-w2", "touch /var/lib/cni/kept /run/not-kept");
    let (init, block) = (lab.init("k8s-w2"), blocks(&lab, "k8s-w2").expect("a block"));
    let calls_before = lab.on("k8s-w2", "cat /var/log/calico/calls");

    let mut watch = lab.command(&["exec", "--node", "k8s-m", "--", "ip", "-4", "monitor", "route"]);
    let watch = watch.stdout(Stdio::piped()).spawn().expect("ip runs");
    let gamma = lab.address("gamma");
    let mut ping = lab.command(&["exec", "alpha", "--", "ping", "-i", "0.01", "-c", "1000", "-W", "1", &gamma]);
    let ping = ping.stdout(Stdio::piped()).spawn().expect("ping runs");
    signal(init, Signal::SIGKILL);

    eventually(BOOTED, "its sessions are Established", || lab.has_sessions("k8s-w2", 3));
    let beta = eventually(BOOTED, "its pods run", || {
        lab.address_if_up("once")?;
        lab.address_if_up("beta")
    });
    for from in ["alpha", "gamma"] {
        eventually(BOOTED, &format!("{from} reaches beta"), || lab.reaches(from, &beta));
    }
    lab.reaches("beta", &gamma).expect("a path");
    let output = ping.wait_with_output().expect("ping ends");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1000 packets transmitted, 1000 received"), "{text}");

    // what a boot keeps, and what not
    assert_ne!(lab.init("k8s-w2"), init);
    assert_eq!(blocks(&lab, "k8s-w2").as_deref(), Ok(block.as_str()), "its block is adopted again");
    lab.on("k8s-w2", "test -e /var/lib/cni/kept && ! test -e /run/not-kept");
    assert_eq!(lab.on("k8s-w2", "ls /run/netns").lines().count(), 2, "sandboxes of beta and once");
    let listed = lab.run(&["get", "pods"]).ok();
    for (name, state, restarts) in [("alpha", "Running", "0"), ("beta", "Running", "1"), ("never", "Error", "0")] {
        let row = listed.lines().find(|line| line.starts_with(name)).expect("a row");
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!((words[2], words[3]), (state, restarts), "{listed}");
    }

    // as a kubelet does it: DEL of what is lost, then ADD of a new sandbox
    let calls = lab.on("k8s-w2", "cat /var/log/calico/calls");
    let calls: Vec<Vec<&str>> = calls[calls_before.len()..].lines().map(|line| line.split(' ').collect()).collect();
    let count = |command: &str| calls.iter().filter(|call| call[0] == command).count();
    assert_eq!((count("DEL"), count("ADD")), (3, 2), "{calls:?}");
    for call in &calls {
        let known = calls_before.contains(call[1]);
        assert_eq!((call[0] == "DEL", call[2] == "lost"), (known, known), "{calls:?}");
    }

    // graceful restart: nobody took the node's routes away meanwhile
    signal(i32::try_from(watch.id()).expect("process ids are small"), Signal::SIGINT);
    let seen = watch.wait_with_output().expect("it ends").stdout;
    let seen = String::from_utf8_lossy(&seen);
    let prefix = block.split(' ').nth(1).expect("a prefix");
    assert!(!seen.contains(&format!("Deleted {prefix}")), "{seen}");

    lab.run(&["delete", "pod", "once", "never"]).ok();
    lab.start_pods(&[("once", "k8s-w2")]);
    lab.books_are_right();
}

/// The node with the lowest address but one waits for most of its peers to connect, and they do not know that it went.
#[test]
fn a_node_that_went_without_a_word_is_missed_before_the_next_keepalive() {
    let lab = Lab::up(&[]);
    let init = lab.init("k8s-w1");
    lab.on("router", "ip link set k8s-w1 down");
    signal(init, Signal::SIGKILL);
    eventually(BOOTED, "it boots again", || {
        let init = lab.init_if_up("k8s-w1").filter(|now| *now != init);
        init.ok_or_else(|| "not yet".to_owned())
    });
    eventually(BOOTED, "its sessions are Established", || lab.has_sessions("k8s-w1", 3));
}

#[test]
fn pods_that_were_not_yet_made_or_half_deleted_are_gone_after_a_boot() {
    const SLOW: &str = r#"mv /opt/cni/bin/calico /opt/cni/bin/calico.real && cat >/opt/cni/bin/calico <<'EOF' && chmod +x /opt/cni/bin/calico
#!/bin/sh
/run/tortie/bin/calico || exit
[ ! -e /run/hang ] || { touch /run/hanging; sleep 1000; }
EOF"#;
    let lab = Lab::up(&[]);
    lab.on("k8s-w2", SLOW);
    lab.start_pods(&[("old", "k8s-w2")]);
    for arguments in [&["apply", "-f", "-"][..], &["delete", "pod", "old"]] {
        lab.on("k8s-w2", "touch /run/hang");
        let mut call = lab.command(arguments);
        let mut call = call.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the built binary runs");
        let mut input = call.stdin.take().expect("a pipe");
        std::io::Write::write_all(&mut input, pod("new", "k8s-w2").as_bytes()).expect("it reads");
        drop(input);
        eventually(BOOTED, "the plugin has done its work", || {
            let there = lab.node("k8s-w2", &["test", "-e", "/run/hanging"]);
            if there.code == 0 { Ok(()) } else { Err("not yet".to_owned()) }
        });
        signal(lab.init("k8s-w2"), Signal::SIGKILL);
        let output = call.wait_with_output().expect("it ends");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(complaint.contains("the node ended without an answer"), "{complaint}");
        eventually(BOOTED, "its sessions are Established", || lab.has_sessions("k8s-w2", 3));
    }
    eventually(BOOTED, "no pod is left", || {
        let listed = lab.run(&["get", "pods"]).ok();
        if listed.is_empty() { Ok(()) } else { Err(listed) }
    });
    let endpoints = lab.on("k8s-m", "calicoctl get workloadendpoints -A");
    assert!(!endpoints.contains("k8s-w2"), "{endpoints}");
    lab.books_are_right();
    lab.start_pods(&[("new", "k8s-w2")]);
}
