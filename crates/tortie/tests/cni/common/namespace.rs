//! Network namespaces that vanish with their owner.

use super::{State, eventually, printed};
use dataplane::netns::NetNs;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{self, Command};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What `ip` is asked for to see everything the plugin could have touched.
const EVERYTHING: [&str; 6] =
    ["-d -j link", "-j addr", "-j route show table all", "-6 -j route show table all", "-j neigh", "-j rule"];

/// The parameters of a whole namespace that the plugin could touch.
const SYSCTLS: [&str; 4] =
    ["ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv6/conf/all/disable_ipv6", "ipv6/conf/default/disable_ipv6"];

/// A named network namespace; its loopback is down.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace whose name says which test run it belongs to.
    pub(crate) fn new(label: &str) -> Namespace {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("tortie-cni-{}-{}-{label}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        printed(Command::new("ip").args(["netns", "add", &name]));
        let namespace = Namespace { name };
        // addresses are there at once or not at all, or two looks at the same thing would differ
        namespace.run(|| fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0")).expect("a sysctl to be set");
        namespace
    }

    /// The namespace's path.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Runs `ip WORDS` in the namespace; returns what it printed.
    pub(crate) fn ip(&self, words: &str) -> String {
        printed(Command::new("ip").args(["-n", &self.name]).args(words.split_whitespace()))
    }

    /// Runs `tc WORDS` in the namespace; returns what it printed.
    pub(crate) fn tc(&self, words: &str) -> String {
        printed(Command::new("tc").args(["-n", &self.name]).args(words.split_whitespace()))
    }

    /// Runs `ip -d -j WORDS` in the namespace.
    pub(crate) fn json(&self, words: &str) -> Value {
        serde_json::from_str(&self.ip(&format!("-d -j {words}"))).expect("ip -j prints JSON")
    }

    /// The routes of the main table, one a line, sorted.
    pub(crate) fn routes(&self, family: &str) -> Vec<String> {
        let mut lines: Vec<String> =
            self.ip(&format!("{family} route")).lines().map(|line| line.trim_end().to_owned()).collect();
        lines.sort();
        lines
    }

    /// The names of the links, sorted.
    pub(crate) fn links(&self) -> Vec<String> {
        let links = self.json("link");
        let links = links.as_array().expect("a list of links");
        let mut names: Vec<String> =
            links.iter().map(|link| link["ifname"].as_str().unwrap_or("").to_owned()).collect();
        names.sort();
        names
    }

    /// A parameter below `/proc/sys/net`.
    pub(crate) fn sysctl(&self, key: &str) -> String {
        let value = self.run(|| fs::read_to_string(format!("/proc/sys/net/{key}")));
        value.unwrap_or_else(|error| panic!("sysctl net/{key}: {error}")).trim().to_owned()
    }

    /// Everything in it that the plugin could touch, once its links have settled.
    pub(crate) fn state(&self) -> State {
        eventually(|| {
            // ip prints an empty object for a link that is not asked for
            let links = self.json("link show up type veth");
            let waiting: Vec<&Value> = links
                .as_array()
                .into_iter()
                .flatten()
                .filter(|link| link["operstate"] != "UP" && link["ifname"].is_string())
                .collect();
            if waiting.is_empty() { Ok(()) } else { Err(format!("{waiting:?}")) }
        });
        let facts = |words: &&str| -> Vec<String> {
            let list: Value = serde_json::from_str(&self.ip(words)).expect("ip -j prints JSON");
            list.as_array().into_iter().flatten().map(|fact| format!("{words}: {fact}")).collect()
        };
        let sysctl = |key: &&str| format!("{key} {}", self.sysctl(key));
        EVERYTHING.iter().flat_map(facts).chain(SYSCTLS.iter().map(sysctl)).collect()
    }

    /// Does `work` with the calling thread inside the namespace; a process started there stays there.
    pub(crate) fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let done = NetNs::open(&self.path()).and_then(|netns| netns.run(work));
        done.unwrap_or_else(|error| panic!("namespace {}: {error}", self.name))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}
