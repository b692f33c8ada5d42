//! The supervisor: builds the wire in its own network namespace, starts the hosts, keeps the store running.

use crate::isolate;
use crate::mount;
use crate::reaper::{self, Reaper};
use crate::rundir::{Record, RunDir};
use crate::service::{self, Service};
use crate::topology::{Datastore, Topology};
use crate::wire;
use anyhow::{Context, Result, bail};
use nix::sched::CloneFlags;
use nix::unistd::sethostname;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

/// The line by which `lab up` lets the supervisor outlive it.
pub(crate) const OUTLIVE: &str = "outlive";
/// Names under which a node finds the binary on its search path.
const NAMES: [&str; 4] = ["calicoctl", "tortiectl", "calico", "calico-ipam"];

pub(super) fn run(directory: &Path) -> Result<()> {
    reaper::blocked_signals().thread_block()?;
    thread::spawn(die_with_starter);
    let dir = RunDir::at(directory);
    let record: Record = dir.record()?.context("the lab's directory holds no record")?;
    let topology = record.topology;
    mount::follow_machine()?;
    mount::proc()?;
    sethostname("router").context("set the host name")?;
    let binary = install(&dir)?;
    wire::run(&wire::router(&topology))?;
    wire::sysctls(true)?;

    let reaper = Arc::new(Reaper::default());
    start_hosts(&dir, &topology, &reaper, &binary)?;
    if record.agents {
        start_store(&dir, &topology, &reaper, binary);
    }
    File::create(dir.wired())?;
    reaper.run()?;
    Ok(())
}

/// Ends the lab when the `lab up` that holds the other end of the input ends without having finished.
fn die_with_starter() {
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    if read.is_err() || line.trim() != OUTLIVE {
        service::report("lab up ended early, so does the lab");
        std::process::exit(1);
    }
}

/// Shows the binary at a place all hosts share, under each of its names.
fn install(dir: &RunDir) -> Result<PathBuf> {
    let names = dir.shared().join("bin");
    fs::create_dir_all(&names)?;
    let binary = names.join("tortie");
    File::create(&binary)?;
    mount::bind(&fs::read_link("/proc/self/exe")?, &binary)?;
    for name in NAMES {
        symlink("tortie", names.join(name))?;
    }
    Ok(binary)
}

/// Starts every host, links each to the wire, and waits until all have their addresses.
fn start_hosts(dir: &RunDir, topology: &Topology, reaper: &Reaper, binary: &Path) -> Result<()> {
    let mut hosts = Vec::new();
    let mut pids = Vec::new();
    let nodes = topology.nodes.iter().map(|node| &node.name);
    let routers = topology.routers.iter().map(|router| &router.name);
    for name in nodes.chain(routers).chain([&topology.outside.name]) {
        fs::create_dir_all(dir.init(name))?;
        let mut command = Command::new(binary);
        command.arg0("tortie").args(super::SUBCOMMAND).arg("host").arg(dir.path()).arg(name).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(dir.host(name).join("init.log"))?);
        let namespaces =
            CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS;
        let host = reaper
            .spawn_by(&mut command, |command| isolate::spawn_in_new(command, namespaces))
            .with_context(|| format!("start host {name}"))?;
        pids.push(host.pid());
        hosts.push((name, host));
    }
    let outside = pids.pop().expect("the host outside is the last");
    wire::run(&(wire::uplinks(topology, &pids) + &wire::outside_link(topology, outside)))?;
    for (_, host) in &mut hosts {
        // the end of a host's input says that its link exists
        drop(host.child.stdin.take());
    }
    for (name, mut host) in hosts {
        let mut line = String::new();
        BufReader::new(host.child.stdout.take().expect("stdout is piped")).read_line(&mut line)?;
        if line.trim() != super::host::READY {
            let log = fs::read_to_string(dir.host(name).join("init.log")).unwrap_or_default();
            bail!("host {name} did not start: {}", log.trim());
        }
        let name = name.clone();
        thread::spawn(move || service::report(&format!("host {name} ended: {:?}", host.wait())));
    }
    Ok(())
}

fn start_store(dir: &RunDir, topology: &Topology, reaper: &Arc<Reaper>, binary: PathBuf) {
    let data = dir.store();
    let log = dir.path().join("store.log");
    let socket = dir.shared().join("store.sock");
    let endpoint = super::host::endpoint(topology);
    let datastore = topology.datastore;
    Service::start(Arc::clone(reaper), "store", move || {
        let mut command = match datastore {
            Datastore::Store => {
                // a store that was killed leaves its socket behind
                let _ = fs::remove_file(&socket);
                let mut command = Command::new(&binary);
                command.arg0("tortie").arg("store").arg("--data-dir").arg(&data);
                command.arg("--listen-client-urls").arg(format!("unix://{}", socket.display()));
                command
            }
            Datastore::Etcd => {
                let mut command = Command::new("etcd");
                command.arg("--data-dir").arg(&data).args(["--listen-client-urls", &endpoint]);
                command.args(["--advertise-client-urls", &endpoint, "--listen-peer-urls", "http://127.0.0.1:2380"]);
                command
            }
        };
        command.current_dir("/").stdin(Stdio::null());
        super::host::log_to(&mut command, &log);
        command
    });
}
