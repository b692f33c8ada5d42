//! `tortie node cleanup`: takes off this node what the agent, the CNI plugin or a Calico before them left.
//!
//! The dataplane knows what that is; here are the flags, the check that no agent runs, and the files beside the kernel.

use super::lock::NodeLock;
use crate::paths::{self, CONTROL_SOCKET, NODE_LOCK, SILENT_CONTROL_SOCKET};
use anyhow::{Context, bail};
use clap::Parser;
use dataplane::BgpDaemon;
use dataplane::cleanup::{self, Forwarding, Pods, Scope, Step};
use ipnet::Ipv4Net;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use std::fs;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

/// Removes everything that Tortie, or a Calico before it, keeps on this node, and nothing else: routes, tunl0, BPF
/// programs, packet rules, sets, and the files in /var/run/calico and /var/lib/calico/mtu.
///
/// The agent must be stopped. The datastore is not asked and not changed: `calicoctl delete node` is for that. The
/// node's name in /var/lib/calico/nodename, the CNI plugin with its configuration, and the logs stay.
/// Each object is named as it goes; it can be called again. The status is 1 if something is left that should be gone.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "tortie node cleanup",
    after_help = "Examples:
  tortie node cleanup                         pods that run keep their interfaces, and reach each other on this node
  tortie node cleanup --pods --forwarding     as if there had never been an agent
  tortie node cleanup --pool 10.244.0.0/16    BGP's routes into this pool too, where no set is left that names it"
)]
struct Arguments {
    /// Remove pods' interfaces as well: running pods lose their network
    #[arg(long)]
    pods: bool,
    /// Turn packet forwarding off, which the agent turned on; Docker, kube-proxy or a VPN may rely on it
    #[arg(long)]
    forwarding: bool,
    /// An IP pool, beside those that the packet rules' sets name; may be given more than once
    #[arg(long = "pool", value_name = "CIDR")]
    pools: Vec<Ipv4Net>,
    /// Who speaks BGP here, as the agent is told: `bird` for the agent, `none` for another program, whose routes stay. If
    /// not said: none where an agent without BGP left its socket, /var/run/calico/tortie.ctl
    #[arg(long, env = "CALICO_NETWORKING_BACKEND", default_value = "", hide_default_value = true)]
    backend: String,
}

/// What has been done so far.
#[derive(Default)]
struct Tally {
    removed: usize,
    left: usize,
}

/// Cleans this node; `arguments` come after `tortie node cleanup`.
pub(super) fn run(arguments: &[String]) -> ExitCode {
    let arguments: Arguments = match crate::options::parse("tortie node cleanup", arguments) {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    match clean(&arguments) {
        Ok(Tally { removed, left: 0 }) => {
            say(&mut io::stdout(), &format!("{removed} removed, nothing is left"));
            ExitCode::SUCCESS
        }
        Ok(Tally { removed, left }) => {
            say(&mut io::stderr(), &format!("{removed} removed, {left} left: see above, and call again"));
            ExitCode::FAILURE
        }
        Err(error) => {
            say(&mut io::stderr(), &format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn clean(arguments: &Arguments) -> anyhow::Result<Tally> {
    if !nix::unistd::geteuid().is_root() {
        bail!("routes, links and packet rules are changed: run it as root");
    }
    let lock = NodeLock::take(Path::new(NODE_LOCK)).context("an agent runs on this node: stop it first")?;
    let answering =
        answering(Path::new(CONTROL_SOCKET)).with_context(|| format!("ask who answers on {CONTROL_SOCKET}"))?;
    if let Some(pid) = answering {
        bail!("process {pid} answers on {CONTROL_SOCKET}, an agent or BIRD: stop it first");
    }
    let scope = Scope {
        pods: if arguments.pods { Pods::Disconnect } else { Pods::Keep },
        bgp: bgp_daemon(arguments.backend.trim(), Path::new(SILENT_CONTROL_SOCKET))?,
        forwarding: if arguments.forwarding { Forwarding::Stop } else { Forwarding::Keep },
        pools: arguments.pools.iter().map(Ipv4Net::trunc).collect(),
        state_directory: paths::STATE.into(),
        status_directory: paths::ENDPOINT_STATUS.into(),
    };
    let mut tally = Tally::default();
    let mut tell = |step| match step {
        Step::Removed(what) => {
            tally.removed += 1;
            say(&mut io::stdout(), &format!("removed {what}"));
        }
        Step::Kept(what) => say(&mut io::stdout(), &format!("kept {what}")),
        Step::Left(what) => {
            tally.left += 1;
            say(&mut io::stderr(), &format!("left: {what}"));
        }
    };
    cleanup::cleanup(&scope, &mut tell).context("look at the kernel")?;
    // the CNI plugin's, where its configuration names no others
    let calls_lock = Path::new(paths::IPAM_LOCK).with_file_name(paths::CALLS_LOCK_NAME);
    let sockets = [CONTROL_SOCKET, SILENT_CONTROL_SOCKET].map(Path::new);
    for file in sockets.into_iter().chain([Path::new(paths::IPAM_LOCK), &calls_lock]) {
        match fs::remove_file(file) {
            Ok(()) => tell(Step::Removed(format!("file {}", file.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tell(Step::Left(format!("remove {}: {error}", file.display()))),
        }
    }
    if let Err(error) = lock.remove() {
        tell(Step::Left(format!("remove {NODE_LOCK}: {error}")));
    }
    // what others keep there stays, and the folder with it
    let _ = fs::remove_dir(paths::RUN);
    Ok(tally)
}

/// Finds out who wrote the routes of protocol 12: as told, or else by the socket of an agent that speaks no BGP.
fn bgp_daemon(backend: &str, silent: &Path) -> anyhow::Result<BgpDaemon> {
    match backend {
        "bird" => Ok(BgpDaemon::Agent),
        "none" => Ok(BgpDaemon::Another),
        "" => match silent.try_exists().with_context(|| format!("look for {}", silent.display()))? {
            true => Ok(BgpDaemon::Another),
            false => Ok(BgpDaemon::Agent),
        },
        other => bail!("CALICO_NETWORKING_BACKEND {other:?} is not supported yet: use bird or none"),
    }
}

/// Finds the process that answers on a unix socket; none where nobody does, as behind one that a dead process left.
fn answering(path: &Path) -> io::Result<Option<i32>> {
    match UnixStream::connect(path) {
        Ok(stream) => Ok(Some(getsockopt(&stream, PeerCredentials).map_or(0, |peer| peer.pid()))),
        Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused].contains(&error.kind()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a line; a reader that went away does not stop the work.
fn say(out: &mut dyn Write, line: &str) {
    let _ = writeln!(out, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_backend_is_as_told_or_that_of_the_last_agent() {
        let folder = tempfile::tempdir().expect("a folder");
        let silent = folder.path().join("tortie.ctl");
        let found = |told: &str| bgp_daemon(told, &silent).map_err(|error| error.to_string());
        assert_eq!(found(""), Ok(BgpDaemon::Agent));
        assert_eq!(found("none"), Ok(BgpDaemon::Another));
        fs::write(&silent, "").expect("written");
        assert_eq!(found(""), Ok(BgpDaemon::Another));
        assert_eq!(found("bird"), Ok(BgpDaemon::Agent));
        let refused = "CALICO_NETWORKING_BACKEND \"vxlan\" is not supported yet: use bird or none";
        assert_eq!(found("vxlan"), Err(refused.to_owned()));
        assert!(bgp_daemon("", &silent.join("below")).is_err(), "what cannot be looked for is not absent");
    }

    #[test]
    fn only_nobody_is_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bird.ctl");
        assert_eq!(answering(&path).expect("there is nothing"), None);
        let listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
        let own = i32::try_from(std::process::id()).expect("a process id");
        assert_eq!(answering(&path).expect("it answers"), Some(own));
        drop(listener);
        assert_eq!(answering(&path).expect("left by a dead process"), None);
        fs::remove_file(&path).and_then(|()| fs::write(&path, "")).expect("a file in its place");
        answering(&path.join("below")).expect_err("nobody can tell");
    }
}
