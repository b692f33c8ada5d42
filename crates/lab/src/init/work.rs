//! What a host is there for: a node's agent, or a router's programs, supervised together.

use super::host::{SEARCH_PATH, log_to};
use crate::reaper::Reaper;
use crate::router::{self, Setup, programs};
use crate::service::Service;
use crate::topology::{Node, Router, Topology};
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

/// Makes a program's command anew for each start.
type Start = Box<dyn Fn() -> Command + Send>;

/// Programs that are started and stopped as one.
pub(super) struct Work {
    programs: Mutex<Programs>,
    /// A directory of what running programs need, emptied when they are stopped.
    volatile: Option<PathBuf>,
}

enum Programs {
    Waiting(Vec<(&'static str, Start)>),
    Started(Vec<Service>),
}

impl Work {
    /// A node's agent.
    pub(super) fn agent(topology: &Topology, node: &Node, endpoint: String) -> Work {
        let node = node.clone();
        let environment = topology.environment.clone();
        let start = move || {
            let mut command = Command::new("/run/tortie/bin/tortie");
            command.arg0("tortie").arg("node").current_dir("/").stdin(Stdio::null()).env_clear();
            // as Calico's manifests have it: pods reach their node
            command.env("FELIX_DEFAULTENDPOINTTOHOSTACTION", "ACCEPT");
            command.envs(&environment).env("PATH", SEARCH_PATH).env("HOME", "/root");
            command.env("NODENAME", &node.name).env("IP", "autodetect").env("CALICO_NETWORKING_BACKEND", "bird");
            command.env("NO_DEFAULT_POOLS", "true").env("CLUSTER_TYPE", "bgp");
            command.env("DATASTORE_TYPE", "etcdv3").env("ETCD_ENDPOINTS", &endpoint);
            command.env("TORTIE_TUNL0", node.tunl0.to_string());
            if let Some(number) = node.as_number {
                command.env("AS", number.to_string());
            }
            log_to(&mut command, Path::new("/var/log/calico/node.log"));
            command
        };
        Work::new(vec![("agent", Box::new(start))], None)
    }

    /// A router's programs.
    pub(super) fn router(topology: &Topology, router: &Router) -> Work {
        let Setup { daemons, .. } = router::setup(topology, router);
        let kind = router.kind;
        let path = programs::search_path(kind);
        let starts = daemons.into_iter().map(|daemon| {
            let path = path.clone();
            let name = daemon.name;
            let start: Start = Box::new(move || {
                let mut words = daemon.arguments();
                let mut command = Command::new(words.next().expect("a command has a program"));
                command.args(words).env_clear();
                command.current_dir("/").stdin(Stdio::null()).env("PATH", &path).env("HOME", "/root");
                log_to(&mut command, &router::log(kind, daemon.name));
                command
            });
            (name, start)
        });
        let [.., volatile] = router::directories(kind);
        Work::new(starts.collect(), Some(Path::new("/").join(volatile)))
    }

    fn new(programs: Vec<(&'static str, Start)>, volatile: Option<PathBuf>) -> Work {
        Work { programs: Mutex::new(Programs::Waiting(programs)), volatile }
    }

    /// Starts what does not run.
    pub(super) fn start(&self, reaper: &Arc<Reaper>) {
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *programs {
            Programs::Started(services) => services.iter().for_each(Service::resume),
            Programs::Waiting(starts) => {
                let starts = std::mem::take(starts).into_iter();
                let start = |(name, command)| Service::start(Arc::clone(reaper), name, command);
                *programs = Programs::Started(starts.map(start).collect());
            }
        }
    }

    /// Stops everything, the last first, until it is started again.
    pub(super) fn stop(&self) -> Result<()> {
        let programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        let Programs::Started(services) = &*programs else { return Ok(()) };
        for service in services.iter().rev() {
            service.stop().context("stop the host's programs")?;
        }
        for entry in self.volatile.iter().flat_map(fs::read_dir).flatten() {
            let path = entry?.path();
            fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
        Ok(())
    }
}
