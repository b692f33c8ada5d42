//! Each mistake gets one clear error with object, field and reason, a status, and nothing half-done.

use crate::cluster::{Lab, binary, eventually, pod, signal};
use nix::sys::signal::Signal;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[test]
fn a_name_in_use_is_refused_and_the_lab_goes_on() {
    let lab = Lab::bare();
    let error = lab.run(&["up", "--no-agents"]).refused();
    assert!(error.contains(&format!("lab name {} is in use", lab.name)), "{error}");
    assert_eq!(lab.on("k8s-m", "hostname"), "k8s-m\n");
}

#[test]
fn a_lab_needs_root() {
    let lab = Lab::reserve();
    for arguments in [["lab", "up"], ["lab", "down"], ["lab", "status"]] {
        let mut command = Command::new("/proc/self/fd/0");
        let binary = std::fs::File::open(binary()).expect("the binary is there");
        command.args(arguments).env("TORTIE_LAB", &lab.name).stdin(binary).uid(65534).gid(65534);
        let output = command.output().expect("the binary starts");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("a lab needs root"), "{arguments:?}: {error}");
    }
}

#[test]
fn a_lab_that_is_not_there_says_so() {
    let lab = Lab::reserve();
    for arguments in [&["status"][..], &["get", "pods"], &["exec", "--node", "k8s-m", "--", "true"]] {
        let error = lab.run(arguments).refused();
        assert!(error.contains(&format!("there is no lab {}", lab.name)), "{arguments:?}: {error}");
    }
}

#[test]
fn a_topology_with_mistakes_builds_nothing() {
    let lab = Lab::reserve();
    let topology = lab.run(&["topology"]).ok();
    for (from, to, expect) in [
        ("blockSize: 24", "blockSize: 12", "pools[0].blockSize 12: must be 20 to 32"),
        (
            "cidr: 172.16.0.0/16",
            "cidr: 172.16.0.0/28",
            "pools[0].cidr 172.16.0.0/28: the pool is smaller than one block of /24",
        ),
        ("outside:", "outsight:", "unknown field `outsight`"),
        ("gateway: 192.168.10.254", "gateway: here", "invalid IPv4 address"),
        ("natOutgoing: true", "natoutgoing: true", "unknown field `natoutgoing`"),
        ("blockSize: 24", "blockSize: [24]", "blockSize"),
        (
            "natOutgoing: true}]",
            "natOutgoing: true}, {name: second, cidr: 172.16.128.0/17}]",
            "pools[1].cidr 172.16.128.0/17: overlaps pools[0].cidr 172.16.0.0/16",
        ),
        ("cidr: 192.168.20.0/24", "cidr: 192.168.20.0/33", "invalid IP address syntax"),
        (
            "cidr: 192.168.20.0/24",
            "cidr: 192.168.0.0/16",
            "subnets[1].cidr 192.168.0.0/16: overlaps subnets[0].cidr 192.168.10.0/24",
        ),
        (
            "address: 192.168.20.100",
            "address: 192.168.30.100",
            "nodes[3].address 192.168.30.100: is in none of the subnets",
        ),
        ("name: k8s-w0", "name: k8s-w1", "nodes[3].name \"k8s-w1\": is taken"),
        ("192.168.10.102", "192.168.10.101", "nodes[2].address 192.168.10.101: is taken by another node"),
    ] {
        let edited = topology.replace(from, to);
        assert_ne!(edited, topology);
        let error = lab.run_with(&["up", "--topology", "-"], &edited).refused();
        assert!(error.contains(expect), "{from} → {to}: {error}");
        assert!(!Path::new("/run/tortie-lab").join(&lab.name).exists());
    }
}

#[test]
fn pods_with_mistakes_are_refused_together_and_none_is_made() {
    let lab = Lab::bare();
    for (manifest, expect) in [
        (
            pod("beta", "k8s-w9"),
            "pod default/beta spec.nodeName: there is no node \"k8s-w9\"; the lab has k8s-m, k8s-w1, k8s-w2, k8s-w0",
        ),
        (pod("beta", "k8s-m").replace("nodeName", "nodename"), "pod default/beta spec.nodename: unknown field"),
        (
            pod("beta", "k8s-m").replace("[tail, -f, /dev/null]", "tail"),
            "pod default/beta spec.containers[0].command: is \"tail\", must be a list of strings",
        ),
        (
            pod("beta", "k8s-m").replace("kind: Pod", "kind: Service"),
            "kind: is \"Service\", a lab applies only \"Pod\"",
        ),
        (
            pod("beta", "k8s-m").replace("[{name: c, image: test, command: [tail, -f, /dev/null]}]", "[]"),
            "pod default/beta spec.containers: needs at least one container",
        ),
        (pod("Beta", "k8s-m"), "document 2 metadata.name: \"Beta\" must be a DNS name in lower case"),
        (pod("alpha", "k8s-m"), "pod default/alpha metadata.name: the stream has this pod twice"),
        (String::from("---\nkind: [\n"), "unclosed bracket '['"),
    ] {
        let error = lab.apply(&(pod("alpha", "k8s-m") + &manifest)).refused();
        assert!(error.contains(expect), "{error}");
        assert_eq!(lab.run(&["get", "pods"]).ok(), "");
    }
}

#[test]
fn what_is_not_there_is_named() {
    let lab = Lab::bare();
    for (arguments, expect) in [
        (
            &["exec", "--node", "k8s-x", "--", "true"][..],
            "has no host \"k8s-x\"; it has k8s-m, k8s-w1, k8s-w2, k8s-w0, internet, router",
        ),
        (&["exec", "nobody", "--", "true"], "pod \"nobody\" not found in namespace \"default\""),
        (&["delete", "pod", "nobody", "-n", "shop"], "pod \"nobody\" not found in namespace \"shop\""),
        (&["get", "pod", "nobody"], "pod \"nobody\" not found in namespace \"default\""),
    ] {
        let error = lab.run(arguments).refused();
        assert!(error.contains(expect), "{arguments:?}: {error}");
    }
}

#[test]
fn a_tunnel_of_the_kernel_needs_the_kernels_module() {
    let lab = Lab::reserve();
    let topology = lab.run(&["topology"]).ok();
    let topology = topology.replace("{name: k8s-w2, ", "{name: k8s-w2, tunl0: kernel, ");
    assert!(topology.contains("tunl0: kernel"), "{topology}");
    let up = lab.run_with(&["up", "--topology", "-"], &topology);
    if kernel_has_ipip() {
        up.ok();
        assert!(lab.on("k8s-w2", "ip -d link show tunl0").contains("ipip"));
    } else {
        let error = up.refused();
        assert!(error.contains("error: nodes[2].tunl0 kernel: this kernel ("), "{error}");
        assert!(error.contains(") has no module ipip; auto or bpf does without"), "{error}");
        assert!(!Path::new("/run/tortie-lab").join(&lab.name).exists());
    }
}

/// Asks modprobe, which knows loaded modules, built-in ones and those on disk.
fn kernel_has_ipip() -> bool {
    let output = Command::new("modprobe").args(["--dry-run", "ipip"]).output().expect("modprobe is installed");
    output.status.success()
}

#[test]
fn resources_with_mistakes_change_nothing() {
    let lab = Lab::up(&[]);
    let state = || lab.on("k8s-m", "etcdctl get --prefix /calico/resources/v3/projectcalico.org/ippools/");
    let before = state();
    assert!(before.contains("172.16.0.0/16"), "{before}");
    for (spec, expect) in [
        (
            "cidr: 172.16.1.0/24",
            "'172.16.1.0/24' (IPPool(bad) CIDR overlaps with IPPool(default-ipv4-ippool) CIDR 172.16.0.0/16)",
        ),
        ("cidr: 10.50.0.0/28", "'10.50.0.0/28' (IP pool size is too small for use with Calico IPAM."),
        ("cidr: 10.50.0.0/33", "'10.50.0.0/33'"),
        ("cidr: 10.50.0.0/16, natOutgoin: true", "is not recognized or is in the wrong location: natOutgoin"),
        (
            "cidr: 10.50.0.0/16, natOutgoing: 7",
            "IPPool bad: spec.natOutgoing: invalid type: integer `7`, expected a boolean",
        ),
    ] {
        let document =
            format!("{{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {{name: bad}}, spec: {{{spec}}}}}");
        for verb in ["create", "apply"] {
            let error = lab.calicoctl("k8s-m", &[verb, "-f", "-"], &document).refused();
            assert!(error.contains(expect), "{verb} {spec}: {error}");
            assert_eq!(error.trim_end().lines().count(), 1, "{verb} {spec}: {error}");
            assert_eq!(state(), before, "{verb} {spec}");
        }
    }
}

/// What a pod's start makes on a node and in the datastore.
fn traces_of_pods(lab: &Lab, node: &str) -> String {
    lab.on(
        node,
        "ls /run/netns; ip -o link | cut -d' ' -f2; ip route; etcdctl get --prefix /calico/ipam; \
         etcdctl get --prefix /calico/resources/v3/projectcalico.org/workloadendpoints",
    )
}

#[test]
fn a_pod_that_finds_no_address_leaves_nothing() {
    let lab = Lab::reserve();
    let topology = lab.run(&["topology"]).ok();
    // eight addresses: four for tunnels, four for pods
    let tiny = topology.replace("172.16.0.0/16, blockSize: 24", "172.16.0.0/29, blockSize: 31");
    assert_ne!(tiny, topology);
    lab.run_with(&["up", "--topology", "-"], &tiny).ok();
    lab.start_pods(&[("a", "k8s-w1"), ("b", "k8s-w1"), ("c", "k8s-w1"), ("d", "k8s-w1")]);
    let before = traces_of_pods(&lab, "k8s-w1");
    let error = lab.apply(&pod("e", "k8s-w1")).refused();
    let expect =
        "pool default-ipv4-ippool (172.16.0.0/29) has no free address for host:k8s-w1: 4 blocks of 2, all assigned";
    assert!(error.starts_with("error: pod default/e: CNI ADD by plugin calico: ") && error.contains(expect), "{error}");
    assert_eq!(traces_of_pods(&lab, "k8s-w1"), before);
    assert!(!lab.run(&["get", "pods"]).ok().contains("\ne "));

    let given = lab.address("b");
    lab.run(&["delete", "pod", "b"]).ok();
    lab.apply(&pod("e", "k8s-w1")).ok();
    assert_eq!(lab.address("e"), given, "the only free address");
}

#[test]
fn a_store_out_of_reach_is_named_and_waited_for() {
    const REASON: &str = "etcd at unix:///run/tortie/store.sock: No such file or directory (os error 2)";
    let lab = Lab::up(&[]);
    let before = traces_of_pods(&lab, "k8s-w1");
    lab.on("k8s-m", "mv /run/tortie/store.sock /run/tortie/away");
    let error = lab.calicoctl("k8s-w1", &["get", "nodes"], "").refused();
    assert_eq!(error, format!("{REASON}\n"));
    let error = lab.apply(&pod("alpha", "k8s-w1")).refused();
    assert_eq!(error, format!("error: pod default/alpha: CNI ADD by plugin calico: {REASON}\n"));
    let listed = lab.run(&["get", "pods"]).ok();
    assert!(listed.contains("alpha   0/1     Terminating"), "DEL cannot succeed either: {listed}");

    // an agent that starts without its datastore waits, and does not end again and again
    signal(lab.agent("k8s-w1"), Signal::SIGKILL);
    let log = || lab.on("k8s-w1", "cat /var/log/calico/node.log");
    eventually(Duration::from_secs(10), "the agent says what it waits for", || {
        let log = log();
        let waits = "waiting for the datastore: look for network policy in the datastore: ";
        if log.contains(&format!("{waits}{REASON}")) { Ok(()) } else { Err(log) }
    });
    let waiting = lab.agent("k8s-w1");
    lab.on("k8s-m", "mv /run/tortie/away /run/tortie/store.sock");
    eventually(Duration::from_secs(20), "its sessions are Established", || lab.has_sessions("k8s-w1", 3));
    assert_eq!(lab.agent("k8s-w1"), waiting);
    eventually(Duration::from_secs(5), "all is as before", || {
        let now = traces_of_pods(&lab, "k8s-w1");
        if now == before { Ok(()) } else { Err(now) }
    });
    lab.deletions_end(Duration::from_secs(10));
    assert_eq!(lab.run(&["get", "pods"]).ok(), "");
    lab.apply(&pod("alpha", "k8s-w1")).ok();
}

#[test]
fn a_full_disk_under_the_store_is_named_and_waited_for() {
    const REASON: &str =
        "etcd at unix:///run/tortie/store.sock: etcdserver: no space: the disk of the data directory is full";
    let lab = Lab::up(&[]);
    lab.start_pods(&[("alpha", "k8s-w1"), ("gamma", "k8s-w0")]);
    let (store, agents) = (lab.store(), lab.agents());
    lab.fill_store();
    // what the file has room for is served
    let mut made = 0;
    let error = loop {
        let ran = lab.apply(&pod(&format!("p{made}"), "k8s-w2"));
        if ran.code != 0 {
            break ran.stderr;
        }
        made += 1;
        assert!(made < 200, "the disk does not fill up");
    };
    assert_eq!(error, format!("error: pod default/p{made}: CNI ADD by plugin calico: {REASON}\n"));
    let label = lab.calicoctl("k8s-m", &["label", "nodes", "k8s-m", "full=1"], "").refused();
    assert!(label.contains(REASON), "{label}");

    // reads go on, and so do packets
    assert!(lab.calicoctl("k8s-w1", &["get", "nodes"], "").ok().contains("k8s-w0"));
    lab.reaches("alpha", &lab.address("gamma")).expect("a path");
    assert_eq!((lab.store(), lab.agents()), (store, agents), "nothing ended");

    lab.empty_store();
    lab.calicoctl("k8s-m", &["label", "nodes", "k8s-m", "full=1"], "").ok();
    lab.deletions_end(Duration::from_secs(10));
    lab.apply(&pod(&format!("p{made}"), "k8s-w2")).ok();
    lab.reaches("alpha", &lab.address(&format!("p{made}"))).expect("a path");
    assert_eq!(lab.store(), store, "without a restart");
    lab.books_are_right();
}
