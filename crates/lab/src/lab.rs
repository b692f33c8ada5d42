//! A lab as its user holds it: bring it up, look at it, run commands in it, take it down.

use crate::control::{self, Request};
use crate::exec::{Exec, Place};
use crate::init::host::{SEARCH_PATH, endpoint};
use crate::init::{self, supervisor};
use crate::process::{self, Pidfd, Process, ProcessId};
use crate::ready::{self, Condition, Missing};
use crate::router::programs;
use crate::rundir::{LabName, Record, RunDir};
use crate::topology::{Datastore, Topology};
use crate::{isolate, modules, router, wire};
use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
use nix::unistd::{Uid, setsid};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

mod cluster;
mod pods;
mod status;

pub use pods::{Applied, Outcome};
pub use status::{NodeStatus, RouterStatus, Status, StoreStatus};

/// How long the kernel may take to end a lab's processes: long where it is emulated, with dozens of namespaces to free.
const END: Duration = Duration::from_secs(60);
/// How long the machines of a lab may take to stand on the wire.
const WIRED: Duration = Duration::from_secs(30);

/// One lab, running or not, by its name.
#[derive(Debug)]
pub struct Lab {
    name: LabName,
    dir: RunDir,
}

/// What `lab up` builds.
#[derive(Debug)]
pub struct UpOptions {
    /// The lab's shape.
    pub topology: Topology,
    /// Whether the cluster's processes run on the machines.
    pub agents: Agents,
}

/// Whether a lab is a cluster or only machines on a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agents {
    /// Datastore and agents run.
    Run,
    /// Nothing runs on the machines.
    Absent,
}

/// Hears how far a long step has come, and may end it.
pub trait Progress {
    /// A step has begun.
    fn step(&mut self, what: &str);
    /// Called many times a second during long steps; an error ends them.
    fn tick(&mut self) -> Result<()>;
}

/// What [`Lab::down`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// A lab, and it is gone.
    Removed,
    /// Nothing of that name.
    Nothing,
}

impl Lab {
    /// Names a lab, whether it exists or not.
    pub fn named(name: LabName) -> Lab {
        let dir = RunDir::of(&name);
        Lab { name, dir }
    }

    /// Returns the lab's name.
    pub fn name(&self) -> &LabName {
        &self.name
    }

    /// Builds the lab and returns when its cluster works; after an error nothing of it is left.
    pub fn up(&self, options: &UpOptions, progress: &mut dyn Progress) -> Result<()> {
        check_machine(&options.topology, options.agents)?;
        let routers = programs::folder(&options.topology)?;
        let me = ProcessId::of(std::process::id() as i32).context("/proc does not show this process")?;
        let mut record = Record {
            topology: options.topology.clone(),
            up: me,
            supervisor: None,
            agents: options.agents == Agents::Run,
            routers,
            modules: Vec::new(),
            ready: false,
        };
        self.take_name(&record)?;
        let built = self.build(&mut record, progress);
        if built.is_err() {
            self.down().context("remove what was built")?;
        }
        built
    }

    fn take_name(&self, record: &Record) -> Result<()> {
        for _ in 0..2 {
            match RunDir::create(&self.name, record) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("create {}", self.dir.path().display())),
            }
            if self.dir.record()?.is_some_and(|other| other.up.runs() || other.supervisor.is_some_and(|id| id.runs())) {
                break;
            }
            self.down().with_context(|| format!("remove the remains of an earlier lab {}", self.name))?;
        }
        bail!("lab name {} is in use: choose another with --name, or end it with `lab down`", self.name)
    }

    fn build(&self, record: &mut Record, progress: &mut dyn Progress) -> Result<()> {
        let routers = match record.topology.routers.len() {
            0 => String::new(),
            count => format!(" and {count} routers"),
        };
        progress.step(&format!("wiring {} nodes{routers}", record.topology.nodes.len()));
        let mut supervisor = self.start_supervisor()?;
        record.supervisor = ProcessId::of(supervisor.id() as i32);
        self.dir.write_record(record)?;
        let wired = Condition {
            what: "the wire".to_owned(),
            host: String::new(),
            look: Box::new(|| if self.dir.wired().exists() { Ok(()) } else { Err("not yet complete".to_owned()) }),
        };
        let awaited = ready::all(vec![wired], WIRED, &mut |_| {
            let ended = supervisor.try_wait()?.is_some();
            ensure!(!ended, "{}", tail(&self.dir.supervisor_log(), 5));
            progress.tick()
        });
        awaited.map_err(|missing| self.explain(&record.topology, missing))?;
        // after the wire, as on real machines: a tunl0 that is there before eth0 gives its address to ARP requests
        if let Some(module) = modules::wanted(&record.topology) {
            progress.step(&format!("loading kernel module {module}: it puts a tunl0 into every network namespace"));
            modules::load(module)?;
            record.modules.push(module.to_owned());
            self.dir.write_record(record)?;
        }
        if record.agents {
            let topology = &record.topology;
            self.start_cluster(topology, progress).map_err(|missing| self.explain(topology, missing))?;
        }
        record.ready = true;
        self.dir.write_record(record)?;
        let mut lifeline = supervisor.stdin.take().context("the supervisor's input is a pipe")?;
        writeln!(lifeline, "{}", supervisor::OUTLIVE).context("let the supervisor go on alone")?;
        Ok(())
    }

    fn start_supervisor(&self) -> Result<Child> {
        let log = File::create(self.dir.supervisor_log())?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("tortie").args(init::SUBCOMMAND).arg("supervisor").arg(self.dir.path()).current_dir("/");
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        isolate::fresh_signals(&mut command);
        // SAFETY: setsid is a bare system call.
        unsafe { command.pre_exec(|| setsid().map(drop).map_err(io::Error::from)) };
        let namespaces =
            CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS;
        isolate::spawn_in_new(&mut command, namespaces).context("start the lab's supervisor")
    }

    /// Turns what is missing into an error that carries the logs of those concerned.
    fn explain(&self, topology: &Topology, missing: Missing) -> anyhow::Error {
        let mut text = missing.lines.join("\n");
        for host in missing.hosts.iter().filter(|host| !host.is_empty()) {
            let (program, log) = log_of(topology, host);
            let log = self.dir.host(host).join(log.strip_prefix("/").unwrap_or(&log));
            text += &format!("\n--- {host}, last lines of its {program}'s log:\n{}", tail(&log, 10));
        }
        anyhow!(text)
    }

    /// Ends the lab and removes what is left of it, also of one that crashed.
    pub fn down(&self) -> Result<Down> {
        ensure!(Uid::effective().is_root(), "a lab needs root");
        if !self.dir.path().exists() {
            // an unfinished making of the directory may be left
            self.dir.remove()?;
            return Ok(Down::Nothing);
        }
        let record = self.dir.record().unwrap_or_default();
        if let Some(supervisor) = record.as_ref().and_then(|record| record.supervisor)
            && let Some(process) = supervisor.pidfd()?
        {
            process.signal(Signal::SIGKILL)?;
            ensure!(process.wait(END)?, "process {} of lab {} does not end", supervisor.pid, self.name);
        }
        self.dir.remove()?;
        let loaded = record.map(|record| record.modules).unwrap_or_default();
        match RunDir::any() {
            Some(heir) if !loaded.is_empty() => leave_modules(&heir, loaded)?,
            Some(_) => {}
            None => loaded.iter().for_each(|module| modules::unload(module)),
        }
        Ok(Down::Removed)
    }

    /// Runs a command on a host, as the caller's own, and returns its exit status.
    pub fn exec_on_host(&self, host: &str, exec: &Exec) -> Result<i32> {
        self.host(host)?.run(exec)
    }

    /// Ends a node's agent, or a router's programs, which stay ended until [`start`](Lab::start).
    ///
    /// A node's kernel forwards on; a router's does as its programs have it.
    pub fn stop(&self, host: &str) -> Result<()> {
        self.ask_about_programs(host, &Request::Stop)
    }

    /// Starts a node's agent, or a router's programs, that were stopped.
    pub fn start(&self, host: &str) -> Result<()> {
        self.ask_about_programs(host, &Request::Start)
    }

    fn ask_about_programs(&self, host: &str, request: &Request) -> Result<()> {
        let record = self.running()?.record;
        let known: Vec<&str> = record.topology.machines().collect();
        let what = if record.topology.routers.is_empty() { "node" } else { "node or router" };
        ensure!(known.contains(&host), "lab {} has no {what} {host:?}; it has {}", self.name, known.join(", "));
        ensure!(record.agents, "lab {} has no agents: it was made without", self.name);
        self.ask(host, request).map(drop)
    }

    fn host(&self, host: &str) -> Result<Place> {
        let running = self.running()?;
        let topology = &running.record.topology;
        let known: Vec<&str> = wire::hosts(topology).into_iter().chain(["router"]).collect();
        ensure!(known.contains(&host), "lab {} has no host {host:?}; it has {}", self.name, known.join(", "));
        let pid = if host == "router" { Some(running.supervisor) } else { running.host(host) };
        let process = pid.map(Pidfd::open).transpose()?.flatten();
        let process = process.with_context(|| format!("host {host} of lab {} is down, it boots again", self.name))?;
        let router = topology.routers.iter().find(|router| router.name == host);
        let path = router.map_or_else(|| SEARCH_PATH.to_owned(), |router| programs::search_path(router.kind));
        let environment = [
            ("PATH", path),
            ("HOME", "/root".to_owned()),
            ("HOSTNAME", host.to_owned()),
            ("ETCDCTL_API", "3".to_owned()),
            ("ETCDCTL_ENDPOINTS", endpoint(topology)),
        ];
        let environment =
            environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<BTreeMap<_, _>>();
        Ok(Place { process, environment })
    }

    fn running(&self) -> Result<Running> {
        ensure!(Uid::effective().is_root(), "a lab needs root");
        let record = self.dir.record()?;
        let record = record.with_context(|| format!("there is no lab {}; `lab up` makes one", self.name))?;
        let supervisor = record.supervisor.filter(ProcessId::runs);
        let supervisor =
            supervisor.with_context(|| format!("lab {} has ended; `lab down` removes its remains", self.name))?;
        Ok(Running { record, supervisor: supervisor.pid, children: process::children(supervisor.pid) })
    }

    fn ask(&self, node: &str, request: &Request) -> Result<serde_json::Value> {
        control::ask(&self.dir.init(node), request)
    }
}

/// A lab's record and its supervisor's children.
struct Running {
    record: Record,
    supervisor: i32,
    children: Vec<Process>,
}

impl Running {
    /// Finds a host's first process by the arguments it was started with.
    fn host(&self, name: &str) -> Option<i32> {
        let is_host = |process: &&Process| match process.arguments.as_slice() {
            [_, one, two, role, _, host] => [one, two] == init::SUBCOMMAND && role == "host" && host == name,
            _ => false,
        };
        self.children.iter().find(is_host).map(|process| process.pid)
    }
}

/// What a host's main program is, and the file on the host that it writes to.
fn log_of(topology: &Topology, host: &str) -> (&'static str, PathBuf) {
    match topology.routers.iter().find(|router| router.name == host) {
        Some(router) => (router::speaker(router.kind), router::log(router.kind, router::speaker(router.kind))),
        None => ("agent", PathBuf::from("/var/log/calico/node.log")),
    }
}

/// Fails, with the reason, on a machine that cannot carry a lab.
fn check_machine(topology: &Topology, agents: Agents) -> Result<()> {
    ensure!(Uid::effective().is_root(), "a lab needs root: it makes namespaces and mounts");
    let mut programs = vec![("ip", "iproute2")];
    if topology.datastore == Datastore::Etcd && agents == Agents::Run {
        programs.push(("etcd", "etcd-server"));
    }
    let path = std::env::var("PATH").unwrap_or_default();
    for (program, package) in programs {
        let found = path.split(':').any(|directory| Path::new(directory).join(program).is_file());
        ensure!(found, "a lab needs the program {program} (Debian package {package})");
    }
    for kind in ["net", "mnt", "pid", "uts"] {
        ensure!(Path::new("/proc/self/ns").join(kind).exists(), "the kernel has no {kind} namespaces");
    }
    modules::check(topology)
}

/// Makes another lab, which may use them too, answer for modules that this one loaded.
fn leave_modules(heir: &RunDir, modules: Vec<String>) -> Result<()> {
    let Some(mut record) = heir.record()? else { return Ok(()) };
    record.modules.extend(modules);
    heir.write_record(&record).with_context(|| format!("write the record of {}", heir.path().display()))
}

fn tail(log: &Path, lines: usize) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    match all.len() {
        0 => format!("({} is empty)", log.display()),
        count => all[count.saturating_sub(lines)..].join("\n"),
    }
}
