//! A network namespace for the calling thread, the machine's tools in it, and the intent that tests start from.

use dataplane::rules::{Driver, Invalidate, Ruleset, compose};
use ipnet::Ipv4Net;
use model::desired::{Desired, Ipip, Pool, Settings};
use model::name::NodeName;
use nix::sched::{CloneFlags, unshare};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

/// Moves the calling thread into a network namespace of its own, which ends with the thread.
pub(crate) fn enter_namespace() {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace needs root");
}

/// Runs a command line in the thread's namespace and returns what it printed.
#[track_caller]
pub(crate) fn run(line: &str) -> String {
    run_with(line, "")
}

/// Runs a command line with some input and returns what it printed.
#[track_caller]
pub(crate) fn run_with(line: &str, input: &str) -> String {
    let mut child = Command::new("sh")
        .args(["-c", line])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sh is installed");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.as_bytes()).expect("the command reads its input");
    drop(stdin);
    let output = child.wait_with_output().expect("the command ends");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn prefix(text: &str) -> Ipv4Net {
    text.parse().expect("a literal prefix")
}

/// The walkthrough's node `k8s-m`: one pool with natOutgoing, a tunnel address.
pub(crate) fn desired() -> Desired {
    Desired {
        node: NodeName::from("k8s-m"),
        address: None,
        workloads: BTreeMap::new(),
        local_blocks: BTreeSet::new(),
        pools: BTreeMap::from([(prefix("172.16.0.0/16"), Pool { nat_outgoing: true, ..Pool::default() })]),
        ipip: Some(Ipip { address: "172.16.116.0".parse().ok(), mtu: None }),
        hosts: BTreeMap::from([
            (NodeName::from("k8s-m"), "192.168.10.10".parse().expect("a literal address")),
            (NodeName::from("k8s-w1"), "192.168.10.101".parse().expect("a literal address")),
        ]),
        settings: Settings::default(),
    }
}

/// Applies, and expects something or nothing to have been written.
#[track_caller]
pub(crate) fn apply(driver: &mut dyn Driver, ruleset: &Ruleset) -> usize {
    driver.apply(ruleset).expect("the rules are written").writes
}

/// Tells the driver that anything may have changed, and applies.
#[track_caller]
pub(crate) fn heal(driver: &mut dyn Driver, ruleset: &Ruleset) -> usize {
    driver.invalidate(Invalidate::Rules);
    driver.invalidate(Invalidate::Sets);
    apply(driver, ruleset)
}

/// The rules of the walkthrough's node.
pub(crate) fn ruleset() -> Ruleset {
    compose(&desired())
}

/// The same without natOutgoing.
pub(crate) fn ruleset_without_nat() -> Ruleset {
    let mut desired = desired();
    desired.pools.values_mut().for_each(|pool| pool.nat_outgoing = false);
    compose(&desired)
}
