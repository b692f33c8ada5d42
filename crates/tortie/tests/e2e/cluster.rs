//! A lab for one test, driven by the built binary's own command line.
//!
//! TORTIE_BIN names another binary than the one that cargo built beside the tests (an optimised one, on a slow
//! machine). One lab runs at a time, since the tests measure time; it is taken down also when the test fails, after
//! printing what every node knows.

// by path: other test programs include this file by theirs
#[path = "cluster/clean.rs"]
mod clean;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
static NUMBER: AtomicU32 = AtomicU32::new(0);

pub(crate) fn binary() -> PathBuf {
    std::env::var_os("TORTIE_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_tortie")), PathBuf::from)
}

/// Waits until `condition` yields something; the panic says what it last said instead.
pub(crate) fn eventually<T>(within: Duration, what: &str, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + within;
    loop {
        match condition() {
            Ok(value) => return value,
            Err(last) if Instant::now() >= deadline => panic!("{what}: not within {within:?}; last seen: {last}"),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn until(within: Duration, what: &str, holds: impl Fn() -> bool) {
    eventually(within, what, || if holds() { Ok(()) } else { Err("not so".to_owned()) });
}

/// What a command printed, and how it ended.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

impl Ran {
    fn new(output: Output) -> Ran {
        Ran {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code().unwrap_or(-1),
        }
    }

    /// The output of a command that must succeed.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self.stdout
    }

    /// Both streams of a command that must fail.
    #[track_caller]
    pub(crate) fn refused(self) -> String {
        assert_ne!(self.code, 0, "it succeeded: {}", self.stdout);
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// A lab that is up, or was.
pub(crate) struct Lab {
    pub(crate) name: String,
    _turn: MutexGuard<'static, ()>,
}

impl Lab {
    /// A lab's name, and the only right to run one.
    pub(crate) fn reserve() -> Lab {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Lab { name: format!("e2e{}x{number}", std::process::id()), _turn: turn }
    }

    /// The default cluster, with more arguments for `lab up`.
    #[track_caller]
    pub(crate) fn up(arguments: &[&str]) -> Lab {
        let lab = Lab::reserve();
        lab.run(&[&["up"], arguments].concat()).ok();
        lab
    }

    /// Machines on a wire, without store and agents.
    #[track_caller]
    pub(crate) fn bare() -> Lab {
        Lab::up(&["--no-agents"])
    }

    /// A cluster of another shape.
    #[track_caller]
    pub(crate) fn up_with(topology: &str) -> Lab {
        let lab = Lab::reserve();
        lab.run_with(&["up", "--topology", "-"], topology).ok();
        lab
    }

    /// `tortie lab …`.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "")
    }

    /// `tortie lab …` with standard input.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Ran {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the built binary runs");
        // a command that does not read its input may have ended already
        let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
        Ran::new(child.wait_with_output().expect("an output"))
    }

    /// `tortie lab …`, to be started by the caller.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.arg("lab").args(arguments).env("TORTIE_LAB", &self.name);
        command
    }

    /// A command on a node.
    pub(crate) fn node(&self, node: &str, command: &[&str]) -> Ran {
        self.run(&[&["exec", "--node", node, "--"], command].concat())
    }

    /// A command in a pod of namespace default.
    pub(crate) fn pod(&self, pod: &str, command: &[&str]) -> Ran {
        self.run(&[&["exec", pod, "--"], command].concat())
    }

    /// What a shell command on a node prints; it must succeed.
    #[track_caller]
    pub(crate) fn on(&self, node: &str, shell: &str) -> String {
        self.node(node, &["sh", "-c", shell]).ok()
    }

    /// What a shell command in a pod of namespace default prints; it must succeed.
    #[track_caller]
    pub(crate) fn inside(&self, pod: &str, shell: &str) -> String {
        self.pod(pod, &["sh", "-c", shell]).ok()
    }

    /// `lab apply` of a manifest.
    pub(crate) fn apply(&self, manifest: &str) -> Ran {
        self.run_with(&["apply", "-f", "-"], manifest)
    }

    /// `calicoctl …` on a node, with standard input.
    pub(crate) fn calicoctl(&self, node: &str, arguments: &[&str], input: &str) -> Ran {
        self.run_with(&[&["exec", "-i", "--node", node, "--", "calicoctl"], arguments].concat(), input)
    }

    /// Whether a node tells of so many sessions that are Established, or what it tells.
    pub(crate) fn has_sessions(&self, node: &str, count: usize) -> Result<(), String> {
        let status = self.calicoctl(node, &["node", "status"], "");
        if status.stdout.matches("Established").count() == count {
            Ok(())
        } else {
            Err(format!("{node}: {}{}", status.stdout, status.stderr))
        }
    }

    /// `calicoctl ipam check` finds nothing wrong: no address is lost, held twice or used by another.
    #[track_caller]
    pub(crate) fn books_are_right(&self) {
        let text = self.calicoctl("k8s-m", &["ipam", "check", "--show-problem-ips"], "").ok();
        assert!(text.ends_with("Check complete; found 0 problems.\n"), "{text}");
    }

    /// Waits until no pod is left of those being deleted: DEL is called again, a second later, until it succeeds.
    #[track_caller]
    pub(crate) fn deletions_end(&self, within: Duration) {
        eventually(within, "what was half made or half deleted is gone", || {
            let listed = self.run(&["get", "pods"]).ok();
            if listed.contains("Terminating") { Err(listed) } else { Ok(()) }
        });
    }

    /// Leaves no space on the disk under the store.
    #[track_caller]
    pub(crate) fn fill_store(&self) {
        let balloon = self.balloon();
        let said = self.on("router", &format!("cat /dev/zero >>{balloon}; true"));
        assert_eq!(said, "");
        self.on("router", &format!("[ -s {balloon} ] && ! head -c 4096 /dev/zero >{balloon}.more 2>&-"));
    }

    /// Gives it back.
    #[track_caller]
    pub(crate) fn empty_store(&self) {
        self.on("router", &format!("rm {0} {0}.more", self.balloon()));
    }

    fn balloon(&self) -> String {
        format!("/run/tortie-lab/{}/store/balloon", self.name)
    }

    /// Starts pods in namespace default: name and node.
    #[track_caller]
    pub(crate) fn start_pods(&self, pods: &[(&str, &str)]) {
        self.run_with(&["apply", "-f", "-"], &manifest(pods)).ok();
    }

    /// A pod's address.
    #[track_caller]
    pub(crate) fn address(&self, pod: &str) -> String {
        self.address_if_up(pod).expect("an address")
    }

    /// A pod's address, or why it has none.
    pub(crate) fn address_if_up(&self, pod: &str) -> Result<String, String> {
        let shown = self.pod(pod, &["ip", "-4", "-o", "addr", "show", "eth0"]);
        let address = shown.stdout.split_once("inet ").and_then(|(_, rest)| rest.split_once("/32"));
        address.map(|(address, _)| address.to_owned()).ok_or(shown.stdout + &shown.stderr)
    }

    /// Whether one ping out of a pod is answered.
    pub(crate) fn reaches(&self, pod: &str, address: &str) -> Result<(), String> {
        let ran = self.pod(pod, &["ping", "-c", "1", "-W", "1", address]);
        if ran.code == 0 { Ok(()) } else { Err(ran.stdout) }
    }

    /// What `lab status` tells.
    #[track_caller]
    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.run(&["status", "-o", "json"]).ok()).expect("JSON")
    }

    /// The process ids that `lab status` tells: (node, agent).
    pub(crate) fn agents(&self) -> Vec<(String, Option<i32>)> {
        let status = self.status();
        let nodes = status["nodes"].as_array().expect("nodes");
        let pid = |node: &serde_json::Value| node["agent"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        nodes.iter().map(|node| (node["name"].as_str().expect("a name").to_owned(), pid(node))).collect()
    }

    /// The names of nodes and routers.
    fn machines(&self) -> Vec<String> {
        let status = self.status();
        let machines = ["nodes", "routers"].iter().filter_map(|kind| status[kind].as_array()).flatten();
        machines.map(|machine| machine["name"].as_str().expect("a name").to_owned()).collect()
    }

    /// The name of the host outside; empty for a lab that is not there, or whose machines are bare.
    fn outside(&self) -> String {
        let record = std::fs::read(PathBuf::from("/run/tortie-lab").join(&self.name).join("lab.json"));
        let record: serde_json::Value =
            record.ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let name = record["topology"]["outside"]["name"].as_str().filter(|_| record["agents"] == true);
        name.unwrap_or_default().to_owned()
    }

    /// A node's first process.
    #[track_caller]
    pub(crate) fn init(&self, node: &str) -> i32 {
        self.init_if_up(node).expect("the node is up")
    }

    /// A node's first process, unless the node is down.
    pub(crate) fn init_if_up(&self, node: &str) -> Option<i32> {
        let status = self.status();
        let nodes = status["nodes"].as_array().expect("nodes");
        let found = nodes.iter().find(|other| other["name"] == node).and_then(|node| node["init"].as_i64());
        found.and_then(|pid| i32::try_from(pid).ok())
    }

    /// One node's agent.
    #[track_caller]
    pub(crate) fn agent(&self, node: &str) -> i32 {
        let agents = self.agents();
        agents.iter().find(|(name, _)| name == node).and_then(|(_, pid)| *pid).expect("the agent runs")
    }

    /// The datastore's process.
    #[track_caller]
    pub(crate) fn store(&self) -> i32 {
        self.status()["store"]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("the store runs")
    }
}

/// The manifest of one pod that does nothing.
pub(crate) fn pod(name: &str, node: &str) -> String {
    manifest(&[(name, node)])
}

/// Manifests of pods that do nothing.
pub(crate) fn manifest(pods: &[(&str, &str)]) -> String {
    pods.iter().fold(String::new(), |mut text, (name, node)| {
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  nodeName: {node}\n  terminationGracePeriodSeconds: 0\n  containers: [{{name: c, image: test, command: [tail, -f, /dev/null]}}]\n"
        );
        text
    })
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for machine in std::panic::catch_unwind(|| self.machines()).unwrap_or_default() {
                for command in
                    ["ip route", "cd /var/log; tail -qn 100 calico/node.log bird/* frr/* gobgp/* 2>/dev/null"]
                {
                    eprintln!("--- {machine}: {command}\n{}", self.node(&machine, &["sh", "-c", command]).stdout);
                }
            }
        }
        let up = !std::thread::panicking() && !self.outside().is_empty() && self.run(&["status"]).code == 0;
        let clean = if up { std::panic::catch_unwind(|| clean::leaves_nothing(self)) } else { Ok(Ok(())) };
        let down = self.run(&["down"]);
        if down.code != 0 {
            eprintln!("lab down: {}{}", down.stdout, down.stderr);
        }
        match clean {
            Ok(Ok(())) => assert!(std::thread::panicking() || down.code == 0, "lab down ends with {}", down.code),
            Ok(Err(complaint)) => panic!("{complaint}"),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Sends a signal to a process that the lab started.
pub(crate) fn signal(pid: i32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("the process is there");
}
