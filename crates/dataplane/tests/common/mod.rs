//! Network namespaces for tests: each test makes its own, and they vanish with it, also when it fails.

#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod walkthrough;

use dataplane::netns::NetNs;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{self, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A named network namespace with its loopback up.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace whose name says which test run it belongs to.
    pub(crate) fn new(label: &str) -> Namespace {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("tortie-dp-{}-{}-{label}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        command("ip", &["netns", "add", &name]);
        let namespace = Namespace { name };
        namespace.ip("link set lo up");
        namespace
    }

    /// Makes a namespace whose loopback is down, as a container runtime hands it over.
    pub(crate) fn pristine(label: &str) -> Namespace {
        let namespace = Namespace::new(label);
        namespace.ip("link set lo down");
        namespace
    }

    /// Returns the namespace's name, for `ip -n`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the namespace's path.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Runs `ip WORDS` in the namespace; returns what it printed, trailing blanks of lines removed.
    pub(crate) fn ip(&self, words: &str) -> String {
        let mut arguments = vec!["-n", &self.name];
        arguments.extend(words.split_whitespace());
        command("ip", &arguments)
    }

    /// Runs `ip WORDS`, which is expected to be refused; returns what it complained.
    pub(crate) fn ip_refused(&self, words: &str) -> String {
        let output = Command::new("ip").args(["-n", &self.name]).args(words.split_whitespace()).output();
        let output = output.unwrap_or_else(|error| panic!("tests need iproute2's ip: {error}"));
        assert!(!output.status.success(), "ip {words} was expected to fail");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Runs a program inside the namespace; tells whether it succeeded.
    pub(crate) fn exec(&self, program: &str, arguments: &[&str]) -> bool {
        let status = Command::new("ip").args(["netns", "exec", &self.name, program]).args(arguments).output();
        status.unwrap_or_else(|error| panic!("tests need iproute2's ip: {error}")).status.success()
    }

    /// Reads a parameter below `/proc/sys/net`.
    pub(crate) fn sysctl(&self, key: &str) -> String {
        let value = self.run(|| fs::read_to_string(format!("/proc/sys/net/{key}")));
        value.unwrap_or_else(|error| panic!("sysctl net/{key}: {error}")).trim().to_owned()
    }

    /// Does `work` with the calling thread inside the namespace.
    pub(crate) fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let opened = NetNs::open(&self.path()).and_then(|netns| netns.run(work));
        opened.unwrap_or_else(|error| panic!("namespace {}: {error}", self.name))
    }

    /// Lists the main table's IPv4 routes, one a line, sorted.
    pub(crate) fn routes(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.ip("route show").lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// Lists the links' names; their states take a moment to settle.
    pub(crate) fn links(&self) -> Vec<String> {
        let text = self.ip("-br link");
        text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    }

    /// Tells whether the namespace was born with the `tunl0` of a kernel that has the ipip module.
    pub(crate) fn is_born_with_tunl0(&self) -> bool {
        self.links().iter().any(|link| link.starts_with("tunl0@NONE"))
    }

    /// Joins two namespaces by a veth pair with a name for each end, both up.
    pub(crate) fn join(&self, link: &str, other: &Namespace, other_link: &str) {
        self.ip(&format!("link add {link} type veth peer name {other_link} netns {}", other.name));
        self.ip(&format!("link set {link} up"));
        other.ip(&format!("link set {other_link} up"));
        eventually(Duration::from_secs(5), || {
            self.ip(&format!("link show {link}")).contains("LOWER_UP").then_some(()).ok_or("no carrier")
        });
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Repeats `probe` until it succeeds; panics with its last complaint when time is up.
pub(crate) fn eventually<T, E: std::fmt::Display>(within: Duration, mut probe: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + within;
    loop {
        match probe() {
            Ok(value) => return value,
            Err(complaint) if Instant::now() > deadline => panic!("after {within:?}: {complaint}"),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Does `work` on a thread that finds no programs: empty folders stand in place of those where they are looked for.
pub(crate) fn without_programs<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let hidden = || {
        unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).expect("a mount namespace needs root");
        let nothing: Option<&str> = None;
        mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).expect("mounts become private");
        let path = env::var_os("PATH").expect("PATH is set");
        let folders: BTreeSet<PathBuf> =
            env::split_paths(&path).filter_map(|folder| folder.canonicalize().ok()).collect();
        for folder in folders {
            mount(Some("none"), &folder, Some("tmpfs"), MsFlags::empty(), nothing).expect("an empty folder");
        }
        work()
    };
    thread::scope(|scope| scope.spawn(hidden).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Runs a program that has to succeed; returns what it printed.
pub(crate) fn command(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("tests need {program}: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?} (as root?): {complaint}");
    String::from_utf8_lossy(&output.stdout).lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
