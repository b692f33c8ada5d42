//! The machines of a lab: each is booted, linked to the wire, and booted again when its first process ends.
//!
//! With a first process goes everything in its PID namespace, and with that the host's other namespaces: what follows
//! is like a loss of power. The next boot finds the host's folder, which is its disk, and nothing else; `/run` is
//! emptied as on a machine whose `/run` is in memory.

use crate::control::{self, Request};
use crate::isolate;
use crate::reaper::{Reaper, Running};
use crate::rundir::RunDir;
use crate::service::report;
use crate::topology::Topology;
use crate::wire;
use anyhow::{Context, Result, bail};
use nix::sched::CloneFlags;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Pause before a host is booted again, which a real machine takes too.
const REBOOT: Duration = Duration::from_millis(300);

/// The hosts of a lab, by their place in [`wire::hosts`].
pub(super) struct Hosts {
    pub(super) dir: RunDir,
    pub(super) topology: Topology,
    pub(super) reaper: Arc<Reaper>,
    /// The lab's binary, to be started as their first processes.
    pub(super) binary: PathBuf,
    /// Whether nodes run agents, and routers their programs.
    pub(super) work: bool,
}

impl Hosts {
    /// Boots every host, links each to the wire, and returns when all have their addresses. Must be called before the
    /// reaper runs.
    pub(super) fn start(self: Arc<Hosts>) -> Result<()> {
        let mut hosts = Vec::new();
        let mut links = String::new();
        for index in 0..wire::hosts(&self.topology).len() {
            let host = self.spawn(index)?;
            links += &wire::link(&self.topology, index, host.pid());
            hosts.push(host);
        }
        wire::run(&links)?;
        for host in &mut hosts {
            // the end of a host's input says that its link exists
            drop(host.child.stdin.take());
        }
        for (index, host) in hosts.iter_mut().enumerate() {
            self.await_ready(index, host)?;
        }
        for (index, host) in hosts.into_iter().enumerate() {
            let hosts = Arc::clone(&self);
            thread::spawn(move || hosts.keep(index, host));
        }
        Ok(())
    }

    /// Boots a host again whenever it ends.
    fn keep(&self, index: usize, mut host: Running) {
        let name = self.name(index);
        loop {
            report(&format!("host {name} ended: {:?}", host.wait()));
            host = loop {
                thread::sleep(REBOOT);
                match self.boot_again(index) {
                    Ok(host) => break host,
                    Err(error) => report(&format!("host {name} did not boot: {error:#}")),
                }
            };
        }
    }

    fn boot_again(&self, index: usize) -> Result<Running> {
        // the link went with the host, unless a socket that is not yet closed still holds the host's network
        let _ = wire::run_by(&self.reaper, &wire::unlink(&self.topology, index));
        let mut host = self.spawn(index)?;
        wire::run_by(&self.reaper, &wire::link(&self.topology, index, host.pid()))?;
        drop(host.child.stdin.take());
        self.await_ready(index, &mut host)?;
        if self.work && self.name(index) != self.topology.outside.name {
            // as an enabled service, also when it was stopped before
            control::ask(&self.dir.init(self.name(index)), &Request::Start)?;
        }
        report(&format!("host {} has booted again", self.name(index)));
        Ok(host)
    }

    fn name(&self, index: usize) -> &str {
        wire::hosts(&self.topology)[index]
    }

    /// Starts a host's first process, which waits for its link.
    fn spawn(&self, index: usize) -> Result<Running> {
        let name = self.name(index);
        fs::create_dir_all(self.dir.init(name))?;
        let log = File::options().create(true).append(true).open(self.dir.host(name).join("init.log"))?;
        let mut command = Command::new(&self.binary);
        command.arg0("tortie").args(super::SUBCOMMAND).arg("host").arg(self.dir.path()).arg(name).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let namespaces =
            CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS;
        self.reaper
            .spawn_by(&mut command, |command| isolate::spawn_in_new(command, namespaces))
            .with_context(|| format!("start host {name}"))
    }

    fn await_ready(&self, index: usize, host: &mut Running) -> Result<()> {
        let mut line = String::new();
        BufReader::new(host.child.stdout.take().expect("stdout is piped")).read_line(&mut line)?;
        if line.trim() != super::host::READY {
            let name = self.name(index);
            let log = fs::read_to_string(self.dir.host(name).join("init.log")).unwrap_or_default();
            bail!("host {name} did not start: {}", log.lines().last().unwrap_or_default());
        }
        Ok(())
    }
}
