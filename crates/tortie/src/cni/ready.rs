//! ADD's last step: the agent's word that the pod's routes and rules stand.
//!
//! Before, its packets are dropped, as those of any link that is no workload's. The agent says so in a file (Calico's form,
//! dataplane reference §1.4 and §3.10). Calico's plugin looks for it where `policy_setup_timeout_seconds` tells how long;
//! where nothing tells, this one does so while an agent of ours runs, since it answers within milliseconds: a new pod's
//! network works the moment ADD returns. ADD never fails for want of that word.

use super::log::{Level, Log};
use super::netconf::NetConf;
use super::workload::Workload;
use crate::node::NodeLock;
use crate::paths::{ENDPOINT_STATUS, NODE_LOCK};
use ipnet::IpNet;
use model::name::endpoint_status_file;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde_json::Value;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long to wait for an agent that runs, where the configuration does not tell.
const PATIENCE: Duration = Duration::from_secs(1);
/// The folder is looked into without an announcement too, as Calico's plugin does.
const AT_LEAST_EVERY: Duration = Duration::from_millis(500);

/// Waits until the endpoint with these addresses stands, or for as long as the configuration says, then warns.
pub(super) fn wait(conf: &NetConf, workload: &Workload, ips: &[IpNet], mac: &str, log: &Log) {
    let Some(patience) = patience(conf) else { return };
    let folder =
        Path::new(Some(conf.endpoint_status_dir.as_str()).filter(|it| !it.is_empty()).unwrap_or(ENDPOINT_STATUS));
    let id = workload.spec().workload_id(&workload.namespace);
    let file = folder.join(endpoint_status_file(workload.orchestrator_name(), &id, &workload.endpoint));
    let deadline = Instant::now() + patience;
    // before the first look: what comes after it is announced
    let announcements = watch(folder);
    loop {
        if says(&file, ips, mac) {
            return;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let message =
                "the agent has not said yet that the pod's routes and rules stand: its packets are dropped until then";
            return log.write(Level::Warning, &format!("{message} ({} is not there)", file.display()));
        }
        pause(announcements.as_ref(), left.min(AT_LEAST_EVERY));
    }
}

/// How long to wait, if at all.
fn patience(conf: &NetConf) -> Option<Duration> {
    match conf.policy_setup_timeout_seconds {
        Some(seconds) => u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs),
        None => NodeLock::is_held(Path::new(NODE_LOCK)).then_some(PATIENCE),
    }
}

/// Whether the file is about this very interface: one of the same name may be left of another sandbox.
fn says(file: &PathBuf, ips: &[IpNet], mac: &str) -> bool {
    let content: Option<Value> = std::fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let Some(content) = content else { return false };
    let nets: Vec<&str> = ["ipv4Nets", "ipv6Nets"]
        .iter()
        .filter_map(|key| content[*key].as_array())
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let same_mac = content["mac"].as_str().is_none_or(|said| said.eq_ignore_ascii_case(mac));
    same_mac && ips.iter().all(|ip| nets.contains(&ip.to_string().as_str()))
}

fn watch(folder: &Path) -> Option<Inotify> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok()?;
    inotify.add_watch(folder, AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CLOSE_WRITE).ok()?;
    Some(inotify)
}

/// Waits for an announcement, or for the time.
fn pause(announcements: Option<&Inotify>, time: Duration) {
    let Some(inotify) = announcements else { return std::thread::sleep(time) };
    let timeout = PollTimeout::try_from(time + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
    let _ = poll(&mut [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)], timeout);
    // taken out, or the next wait would end at once
    let _ = inotify.read_events();
}
