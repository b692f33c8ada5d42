//! A network namespace for the calling thread, the machine's tools in it, and the intent that tests start from.

use dataplane::rules::{Driver, Family, Invalidate, Ruleset};
use ipnet::Ipv4Net;
use model::desired::{Desired, Ipip, Pool, Settings, Workload};
use model::name::{IfName, NodeName};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Moves the calling thread into a network namespace of its own, which ends with the thread.
pub(crate) fn enter_namespace() {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace needs root");
}

/// Puts empty folders in place of those that programs are looked for in, for the calling thread alone.
pub(crate) fn hide_programs() {
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace needs root");
    let nothing: Option<&str> = None;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).expect("mounts become private");
    for folder in program_folders() {
        mount(Some("none"), &folder, Some("tmpfs"), MsFlags::empty(), nothing).expect("an empty folder");
    }
}

/// Undoes [`hide_programs`].
pub(crate) fn show_programs() {
    for folder in program_folders() {
        umount2(&folder, MntFlags::MNT_DETACH).expect("the folder was covered");
    }
}

/// The folders of `PATH`, each once.
fn program_folders() -> BTreeSet<PathBuf> {
    let path = env::var_os("PATH").expect("PATH is set");
    env::split_paths(&path).filter_map(|folder| folder.canonicalize().ok()).collect()
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

/// The walkthrough's node `k8s-m`: one pool with natOutgoing, a tunnel address, three pods.
pub(crate) fn desired() -> Desired {
    Desired {
        node: NodeName::from("k8s-m"),
        address: None,
        workloads: ["calic04819f12a9", "cali357b53e100c", "cali76abd27fd49"]
            .map(|link| (IfName::from(link), Workload::default()))
            .into(),
        unread_workloads: BTreeSet::new(),
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

/// The IPv4 rules of a node whose own addresses are these two.
pub(crate) fn compose(desired: &Desired) -> Ruleset {
    let local = ["127.0.0.1", "192.168.10.10"].map(|text| text.parse().expect("a literal address"));
    dataplane::rules::compose(desired, Family::Ipv4, &local.into())
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
