//! Each mistake gets one clear error with object, field and reason, a status, and nothing half-done.

use crate::cluster::{Lab, binary, pod};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

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
