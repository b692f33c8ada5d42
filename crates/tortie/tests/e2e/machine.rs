//! A lab leaves the machine as it was: its network while the lab is up, everything after the lab is gone.
//!
//! Other labs may run beside these, so what a lab could leave behind is asked for by identity: the namespaces,
//! the processes and the directory that this lab had.

use crate::cluster::{Lab, pod, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long the end of a killed lab may take: an emulated kernel frees its namespaces in some ten seconds.
const ENDS: Duration = Duration::from_secs(60);

/// What of the machine a lab must not touch, a line for each thing.
#[derive(PartialEq)]
struct Machine(BTreeSet<String>);

impl Machine {
    fn look() -> Machine {
        let mut lines = BTreeSet::new();
        for (program, arguments) in [
            ("ip", &["-o", "link"][..]),
            ("ip", &["route", "show", "table", "all"]),
            ("ip", &["-6", "route", "show", "table", "all"]),
            ("ip", &["rule"]),
            ("sysctl", &["-a", "--pattern", r"^net\.(ipv4\.ip_forward|ipv[46]\.conf)"]),
            ("iptables-save", &[]),
            ("nft", &["-s", "list", "ruleset"]),
        ] {
            let output = Command::new(program).args(arguments).output().expect("the program is installed");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let kept = text.lines().filter(|line| !line.starts_with('#'));
            lines.extend(kept.map(|line| format!("{program}: {}", without_counters(line))));
        }
        let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc is mounted");
        // named namespaces are not the lab's way, and neighbours make them
        lines.extend(mounts.lines().filter(|line| !line.contains("/run/netns")).map(|line| format!("mount: {line}")));
        let hierarchies = entries(Path::new("/sys/fs/cgroup"));
        lines.extend(hierarchies.iter().flat_map(|hierarchy| entries(Path::new(hierarchy))));
        for directory in ["/etc", "/opt", "/var/lib", "/var/log", "/run", "/var/lib/cni", "/etc/cni"] {
            lines.extend(entries(Path::new(directory)));
        }
        // the directory of all labs, which neighbours have too
        lines.remove("/run/tortie-lab");
        Machine(lines)
    }

    fn expect_same(&self, when: &str) {
        let now = Machine::look();
        let added: Vec<&String> = now.0.difference(&self.0).collect();
        let missing: Vec<&String> = self.0.difference(&now.0).collect();
        assert!(added.is_empty() && missing.is_empty(), "{when}: added {added:#?}, missing {missing:#?}");
    }
}

fn entries(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().display().to_string()).collect()
}

/// Drops what runs on by itself: packet counters and lifetimes.
fn without_counters(line: &str) -> String {
    let mut words = Vec::new();
    let mut all = line.split(' ');
    while let Some(word) = all.next() {
        if ["expires", "timeout", "packets", "bytes"].contains(&word) {
            all.next();
        } else if !(word.starts_with('[') && word.contains(':')) {
            words.push(word);
        }
    }
    words.join(" ")
}

/// What one lab consists of, to be looked for after its end.
///
/// Numbers of processes and namespaces are used again by neighbours, so only who was there before the end counts.
struct Traces {
    directory: String,
    namespaces: BTreeSet<String>,
    processes: BTreeSet<Process>,
    everyone: BTreeSet<Process>,
}

impl Traces {
    /// Follows the lab's processes down from the one whose record the lab keeps.
    fn of(lab: &Lab) -> Traces {
        let directory = format!("/run/tortie-lab/{}", lab.name);
        let everyone = Process::all();
        let mut numbers = BTreeSet::from([supervisor(lab)]);
        loop {
            let children = everyone.iter().filter(|process| numbers.contains(&process.parent));
            let before = numbers.len();
            numbers.extend(children.map(|process| process.pid).collect::<Vec<_>>());
            if numbers.len() == before {
                break;
            }
        }
        let processes: BTreeSet<Process> =
            everyone.iter().filter(|process| numbers.contains(&process.pid)).cloned().collect();
        let ours = Process::of(std::process::id() as i32).map(|test| test.namespaces()).unwrap_or_default();
        let namespaces = processes.iter().flat_map(Process::namespaces);
        let namespaces = namespaces.filter(|namespace| !ours.contains(namespace)).collect();
        Traces { directory, namespaces, processes, everyone }
    }

    fn some_run(&self) -> bool {
        self.processes.iter().any(Process::runs)
    }

    fn expect_gone(&self) {
        assert!(!Path::new(&self.directory).exists(), "{} is left", self.directory);
        assert!(!self.some_run(), "processes are left: {:?}", self.processes);
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
        let held: Vec<&String> = self.namespaces.iter().filter(|namespace| mounts.contains(*namespace)).collect();
        assert!(held.is_empty(), "mounts hold namespaces of the lab: {held:?}");
        for process in self.everyone.iter().filter(|process| process.runs()) {
            let held: Vec<String> = process.namespaces().intersection(&self.namespaces).cloned().collect();
            assert!(held.is_empty(), "{process:?} is in namespaces of the lab: {held:?}");
        }
    }
}

/// A process, told from a later one of the same number by its start.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Process {
    pid: i32,
    parent: i32,
    started: String,
}

impl Process {
    /// A process that runs; a zombie does not.
    fn of(pid: i32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let parent = fields[1].parse().ok()?;
        (fields[0] != "Z").then(|| Process { pid, parent, started: fields[19].to_owned() })
    }

    fn all() -> BTreeSet<Process> {
        let pids = entries(Path::new("/proc"));
        pids.iter().filter_map(|path| path.strip_prefix("/proc/")?.parse().ok()).filter_map(Process::of).collect()
    }

    fn runs(&self) -> bool {
        // its parent may be another after the first one's end
        Process::of(self.pid).is_some_and(|now| now.started == self.started)
    }

    fn namespaces(&self) -> BTreeSet<String> {
        let namespace = |kind: &str| fs::read_link(format!("/proc/{}/ns/{kind}", self.pid)).ok();
        ["net", "mnt", "pid", "uts"]
            .iter()
            .filter_map(|kind| namespace(kind))
            .map(|link| link.display().to_string())
            .collect()
    }
}

fn supervisor(lab: &Lab) -> i32 {
    let record = fs::read(format!("/run/tortie-lab/{}/lab.json", lab.name)).expect("the lab has a record");
    let record: serde_json::Value = serde_json::from_slice(&record).expect("it is JSON");
    i32::try_from(record["supervisor"]["pid"].as_i64().expect("a process id")).expect("it fits")
}

#[test]
fn a_lab_leaves_the_machine_as_it_was() {
    let before = Machine::look();
    let lab = Lab::up(&[]);
    lab.apply(&pod("alpha", "k8s-w1")).ok();
    let traces = Traces::of(&lab);
    assert!(traces.processes.len() >= 12, "supervisor, store, five hosts, four agents, a pod: {:?}", traces.processes);
    assert!(traces.namespaces.len() >= 4 * 6, "{:?}", traces.namespaces);
    before.expect_same("while the lab is up");
    lab.run(&["down"]).ok();
    traces.expect_gone();
    before.expect_same("after the lab");
    let again = lab.run(&["down"]);
    assert_eq!(again.code, 0);
    assert_eq!(again.stderr, format!("there is no lab {}\n", lab.name));
}

#[test]
fn after_a_killed_supervisor_down_removes_the_rest() {
    let before = Machine::look();
    let lab = Lab::up(&[]);
    let traces = Traces::of(&lab);
    kill(Pid::from_raw(supervisor(&lab)), Signal::SIGKILL).expect("it runs");
    until(ENDS, "every process ends with the supervisor", || !traces.some_run());
    assert!(lab.run(&["status"]).refused().contains("has ended; `lab down` removes its remains"));
    lab.run(&["down"]).ok();
    traces.expect_gone();
    before.expect_same("after the lab");
}

#[test]
fn a_crashed_labs_name_can_be_used_again() {
    let lab = Lab::bare();
    kill(Pid::from_raw(supervisor(&lab)), Signal::SIGKILL).expect("it runs");
    until(ENDS, "up takes the name over", || lab.run(&["up", "--no-agents"]).code == 0);
}

/// Starts a lab and signals `lab up` once its machines stand and the cluster does not.
fn interrupted_up(signal: Signal) -> (Lab, Traces, Machine, String) {
    let before = Machine::look();
    let lab = Lab::reserve();
    let mut up = lab.command(&["up"]).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut lines = BufReader::new(up.stderr.take().expect("stderr is piped")).lines();
    let begun = lines.by_ref().map_while(Result::ok).find(|line| line.ends_with("starting the agents"));
    assert!(begun.is_some(), "lab up says what it does");
    let traces = Traces::of(&lab);
    assert!(!traces.processes.is_empty());
    kill(Pid::from_raw(up.id() as i32), signal).expect("it runs");
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    up.wait().expect("it ends");
    (lab, traces, before, rest.join("\n"))
}

#[test]
fn an_interrupted_up_leaves_nothing() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let (_lab, traces, before, said) = interrupted_up(signal);
        assert!(said.contains("error: interrupted"), "{said}");
        traces.expect_gone();
        before.expect_same("after the lab");
    }
}

#[test]
fn a_killed_up_takes_the_lab_with_it() {
    let (lab, traces, before, _) = interrupted_up(Signal::SIGKILL);
    until(ENDS, "every process ends with lab up", || !traces.some_run());
    lab.run(&["down"]).ok();
    traces.expect_gone();
    before.expect_same("after the lab");
}
