//! The supervisor: builds the wire in its own network namespace, boots the hosts, keeps them and the store running.

use super::hosts::Hosts;
use crate::mount;
use crate::reaper::{self, Reaper};
use crate::rundir::{Record, RunDir};
use crate::service::{self, Service};
use crate::topology::{Datastore, Topology};
use crate::wire;
use anyhow::{Context, Result};
use nix::unistd::sethostname;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

/// The line by which `lab up` lets the supervisor outlive it.
pub(crate) const OUTLIVE: &str = "outlive";
/// Size of the disk under `tortie store`, in MiB: a thousand times what a lab's cluster keeps there. etcd sets aside
/// more at its start.
const STORE_DISK: u32 = 128;
/// Names under which a node finds the binary on its search path.
const NAMES: [&str; 4] = ["calicoctl", "tortiectl", "calico", "calico-ipam"];

pub(super) fn run(directory: &Path) -> Result<()> {
    reaper::blocked_signals().thread_block()?;
    thread::spawn(die_with_starter);
    let dir = RunDir::at(directory);
    let record: Record = dir.record()?.context("the lab's directory holds no record")?;
    let topology = &record.topology;
    mount::follow_machine()?;
    mount::proc()?;
    mount::shared_memory()?;
    sethostname("router").context("set the host name")?;
    let binary = install(&dir)?;
    if let Some(folder) = &record.routers {
        let place = dir.shared().join("routers");
        fs::create_dir_all(&place)?;
        mount::bind(folder, &place)?;
    }
    wire::run(&wire::router(topology))?;
    wire::sysctls(true)?;

    let reaper = Arc::new(Reaper::default());
    Arc::new(Hosts {
        dir: dir.clone(),
        topology: topology.clone(),
        reaper: Arc::clone(&reaper),
        binary: binary.clone(),
        work: record.agents,
    })
    .start()?;
    if record.agents {
        start_store(&dir, topology, &reaper, binary)?;
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

fn start_store(dir: &RunDir, topology: &Topology, reaper: &Arc<Reaper>, binary: PathBuf) -> Result<()> {
    let data = dir.store();
    fs::create_dir_all(&data)?;
    if topology.datastore == Datastore::Store {
        // a disk of its own, which can be full without the machine's being so
        mount::small_tmpfs(&data, STORE_DISK)?;
    }
    let log = dir.path().join("store.log");
    let socket = dir.shared().join("store.sock");
    let endpoint = super::host::endpoint(topology);
    let datastore = topology.datastore;
    let environment = topology.environment.clone();
    Service::start(Arc::clone(reaper), "store", move || {
        let mut command = match datastore {
            Datastore::Store => {
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
        command.envs(&environment).current_dir("/").stdin(Stdio::null());
        super::host::log_to(&mut command, &log);
        command
    });
    Ok(())
}
