//! Each kind of fault once, then at random: agents, the store, CNI calls and nodes killed, an uplink cut, two nodes
//! parted, the store's disk full, the clock stepped.
//!
//! Pods keep talking where a path exists; when a fault has ended everything converges, and the books of IPAM are right:
//! no address is lost or given twice. SOAK_SECONDS (60) says for how long, SOAK_SEED repeats a run; the seed is printed.

use crate::clock::Clock;
use crate::cluster::{Lab, Ran, eventually, manifest, signal};
use crate::running::{Killed, Ping};
use nix::sys::signal::Signal;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const NODES: [&str; 4] = ["k8s-m", "k8s-w1", "k8s-w2", "k8s-w0"];
/// Pods that live through everything, on nodes of both subnets.
const PODS: [(&str, &str); 3] = [("alpha", "k8s-w1"), ("beta", "k8s-w2"), ("gamma", "k8s-w0")];
/// How long a cluster may take to be whole again.
const CONVERGE: Duration = Duration::from_secs(60);

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// One agent is killed.
    Agent,
    /// All agents are killed.
    Agents,
    /// The store is killed.
    Store,
    /// CNI calls are killed while pods come and go.
    Calls,
    /// A node's uplink loses its carrier, and has it again.
    Uplink,
    /// Two nodes of a subnet do not hear each other, and do again.
    Parted,
    /// A node's first process is killed, with or without a last word to its peers; it boots again.
    Node,
    /// The disk under the store is full, and has space again.
    Full,
    /// The clock of all agents and the store jumps by hours, and stays there.
    Clock,
}

impl Fault {
    const ALL: [Fault; 9] = [
        Fault::Agent,
        Fault::Agents,
        Fault::Store,
        Fault::Calls,
        Fault::Uplink,
        Fault::Parted,
        Fault::Node,
        Fault::Full,
        Fault::Clock,
    ];

    /// Two pods between which a path exists throughout, if the fault on `node` leaves any.
    fn path(self, node: &str) -> Option<(&'static str, &'static str)> {
        let others = || PODS.iter().filter(|(_, at)| *at != node).map(|(pod, _)| *pod);
        match self {
            Fault::Agent | Fault::Agents | Fault::Store | Fault::Calls | Fault::Full | Fault::Clock => {
                Some(("alpha", "gamma"))
            }
            Fault::Node => others().next().zip(others().next_back()),
            Fault::Uplink | Fault::Parted => None,
        }
    }
}

#[test]
fn faults_at_random_end_in_a_whole_cluster() {
    let variable = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_nanos() as u64;
    let seed = variable("SOAK_SEED").unwrap_or(now) | 1;
    let time = Duration::from_secs(variable("SOAK_SECONDS").unwrap_or(60));
    eprintln!("faults: SOAK_SEED={seed} for {time:?}");
    let clock = Clock::new();
    let mut world = World { lab: clock.lab(), clock, random: Random(seed), number: 0 };
    world.lab.start_pods(&PODS);
    world.converges("at the start");
    let end = Instant::now() + time;
    let mut seen = Vec::new();
    while Instant::now() < end {
        // each kind once, then any
        let left: Vec<Fault> = match seen.len() {
            rounds if rounds < Fault::ALL.len() => vec![Fault::ALL[rounds]],
            _ => Fault::ALL.to_vec(),
        };
        let fault = left[world.random.below(left.len())];
        seen.push(fault);
        world.round(fault);
        world.converges(&format!("after fault {} ({fault:?}), seed {seed}", seen.len()));
    }
    eprintln!("faults: {} of them, seed {seed}: {seen:?}", seen.len());
}

/// A lab under faults.
struct World {
    lab: Lab,
    clock: Clock,
    random: Random,
    /// Pods made so far, for names.
    number: usize,
}

impl World {
    fn round(&mut self, fault: Fault) {
        let node = NODES[self.random.below(NODES.len())];
        let ping = fault.path(node).map(|(from, to)| Ping::start(&self.lab, from, &self.lab.address(to)));
        match fault {
            Fault::Agent => {
                signal(self.lab.agent(node), Signal::SIGKILL);
                self.pods_come_and_go();
            }
            Fault::Agents => {
                for (_, agent) in self.lab.agents() {
                    signal(agent.expect("an agent runs on every node"), Signal::SIGKILL);
                }
                self.pods_come_and_go();
            }
            Fault::Store => {
                signal(self.lab.store(), Signal::SIGKILL);
                // pods that come meanwhile wait or fail, and leave nothing
                let _ = self.churn();
                eventually(CONVERGE, "the store is back", || self.answers());
            }
            Fault::Calls => self.killed_calls(node),
            Fault::Uplink => {
                self.lab.on("router", &format!("ip link set {node} down"));
                let _ = self.churn();
                self.lab.on("router", &format!("ip link set {node} up"));
            }
            Fault::Parted => {
                let isolate = |how: &str| {
                    for node in ["k8s-w1", "k8s-w2"] {
                        self.lab.on("router", &format!("bridge link set dev {node} isolated {how}"));
                    }
                };
                isolate("on");
                let beta = self.lab.address("beta");
                assert!(self.lab.reaches("alpha", &beta).is_err(), "the partition is one");
                isolate("off");
                self.pods_come_and_go();
            }
            Fault::Node => {
                let before = self.lab.init(node);
                if self.random.below(2) == 0 {
                    // nobody hears the connections of the dead end
                    self.lab.on("router", &format!("ip link set {node} down"));
                }
                signal(before, Signal::SIGKILL);
                let _ = self.churn();
                eventually(CONVERGE, &format!("{node} boots again"), || self.has_booted(node, before));
            }
            Fault::Full => {
                let store = self.lab.store();
                self.lab.fill_store();
                // an agent must find its way also while nothing can be written
                signal(self.lab.agent(node), Signal::SIGKILL);
                let _ = self.churn();
                self.lab.empty_store();
                self.pods_come_and_go();
                assert_eq!(self.lab.store(), store, "the store needs no restart");
            }
            Fault::Clock => {
                let before = (self.lab.store(), self.lab.agents());
                // up to half a day away from the machine's
                self.clock.step(self.random.below(24) as i64 - 12);
                self.pods_come_and_go();
                assert_eq!((self.lab.store(), self.lab.agents()), before, "nothing ends with the clock");
            }
        }
        if let Some(ping) = ping {
            ping.lost_none(&format!("{fault:?}"));
        }
    }

    /// Two pods come, talk and go; all has to work.
    fn pods_come_and_go(&mut self) {
        for (what, ran) in self.churn() {
            assert_eq!(ran.code, 0, "{what}: {}{}", ran.stdout, ran.stderr);
        }
    }

    fn churn(&mut self) -> [(String, Ran); 2] {
        let names = [0, 1].map(|more| format!("p{}", self.number + more));
        self.number += 2;
        let nodes = [0, 1].map(|_| NODES[self.random.below(NODES.len())]);
        let text = manifest(&[(names[0].as_str(), nodes[0]), (names[1].as_str(), nodes[1])]);
        let applied = self.lab.apply(&text);
        let deleted = self.lab.run(&["delete", "pod", &names[0], &names[1]]);
        [(format!("apply on {nodes:?}"), applied), (format!("delete {names:?}"), deleted)]
    }

    /// Pods are made and unmade while their plugins are killed now and then.
    fn killed_calls(&mut self, node: &str) {
        let pause = 5 + self.random.below(20);
        let script = format!("while :; do pkill -KILL -x calico; sleep 0.0{pause:02}; done");
        let mut killer = self.lab.command(&["exec", "--node", node, "--", "sh", "-c", &script]);
        let mut killer = Killed(killer.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a shell"));
        let names: Vec<String> = (0..4).map(|more| format!("p{}", self.number + more)).collect();
        self.number += names.len();
        let pods: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), node)).collect();
        let _ = self.lab.apply(&manifest(&pods));
        killer.end();
        // as a kubelet does, what failed is deleted too
        for name in &names {
            let _ = self.lab.run(&["delete", "pod", name]);
        }
    }

    /// A node is another machine than before, and its agent answers.
    fn has_booted(&self, node: &str, before: i32) -> Result<(), String> {
        let status = self.lab.calicoctl(node, &["node", "status"], "");
        let booted = status.code == 0 && self.lab.init_if_up(node).is_some_and(|now| now != before);
        if booted { Ok(()) } else { Err(status.stdout + &status.stderr) }
    }

    fn answers(&self) -> Result<(), String> {
        let ran = self.lab.calicoctl("k8s-m", &["get", "nodes"], "");
        if ran.code == 0 { Ok(()) } else { Err(ran.stderr) }
    }

    /// Agents and sessions are up, every pod reaches every other, deletions that a fault refused are made up for, and
    /// the books are right.
    fn converges(&self, when: &str) {
        let lab = &self.lab;
        for node in NODES {
            eventually(CONVERGE, &format!("sessions of {node} {when}"), || lab.has_sessions(node, 3));
        }
        for (from, _) in PODS {
            for (to, _) in PODS {
                eventually(CONVERGE, &format!("{from} reaches {to} {when}"), || {
                    lab.reaches(from, &lab.address_if_up(to)?)
                });
            }
        }
        lab.deletions_end(CONVERGE);
        lab.books_are_right();
    }
}

/// A small generator, so that a seed alone repeats the choices.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).expect("smaller than a usize")
    }
}
