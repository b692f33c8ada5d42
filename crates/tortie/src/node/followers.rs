//! Those who follow the graph: the dataplane's thread, and the speaker's task once the node has an address.

use super::bgp_config::Local;
use super::bgp_io;
use super::bird_socket::{self, Row};
use super::metrics::DataplaneSeries;
use super::sessions::{self, Peer};
use super::unenforced;
use crate::paths::{CONTROL_SOCKET, SILENT_CONTROL_SOCKET};
use anyhow::Context;
use calc::Output;
use dataplane::{BgpDaemon, Input, Status, TunnelChoice};
use ipnet::Ipv4Net;
use model::peering::Peering;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, watch};

/// Starts the dataplane's thread: what it is told never blocks the teller, and it says how the kernel stands.
pub(crate) fn spawn_dataplane(
    tunnel: TunnelChoice,
    bgp: BgpDaemon,
) -> anyhow::Result<(dataplane::Sender, watch::Receiver<Status>)> {
    let monitor_buffer = dataplane::netlink::MONITOR_BUFFER;
    let config = dataplane::Config {
        tunnel,
        state_directory: crate::paths::STATE.into(),
        status_directory: crate::paths::ENDPOINT_STATUS.into(),
        monitor_buffer,
        bgp,
    };
    let (sender, mailbox) = dataplane::mailbox().context("dataplane")?;
    let (said, status) = watch::channel(Status::default());
    std::thread::Builder::new()
        .name("dataplane".to_owned())
        .spawn(move || {
            let mut series = DataplaneSeries::new(Instant::now());
            let report = move |status: Status| {
                series.note(&status);
                said.send_replace(status);
            };
            if let Err(error) = dataplane::run(config, mailbox, report) {
                tracing::error!("dataplane: {error}");
                std::process::exit(1);
            }
        })
        .context("start the dataplane's thread")?;
    Ok((sender, status))
}

/// Who follows the graph.
pub(crate) struct Followers {
    dataplane: dataplane::Sender,
    speaker: Speaker,
    last: Option<Output>,
}

impl Followers {
    /// Nobody follows before the first output; without `bgp` no speaker ever does.
    pub(crate) fn new(bgp: Option<Local>, dataplane: dataplane::Sender, kernel: watch::Receiver<Status>) -> Followers {
        Followers { speaker: Speaker::new(bgp, &dataplane, kernel), dataplane, last: None }
    }

    /// Passes on what changed.
    pub(crate) fn tell(&mut self, output: Output) {
        let last = self.last.as_ref();
        for problem in output.problems.iter().filter(|problem| last.is_none_or(|last| !last.problems.contains(problem)))
        {
            tracing::warn!("{problem}");
        }
        let problem = unenforced::problem(&output.unenforced);
        if let Some(problem) = problem.as_ref().filter(|_| last.is_none_or(|last| last.unenforced != output.unenforced))
        {
            tracing::error!("{problem}");
        }
        self.speaker.unenforced.replace(problem);
        // first of all: the routes that an earlier agent learned must be known before the tunnel is gone over
        if last.is_none_or(|last| last.peering != output.peering) {
            let pools = output.desired.pools.keys().copied().collect();
            self.speaker.configure(output.peering.clone(), &pools);
        }
        if last.is_none_or(|last| !Arc::ptr_eq(&last.desired, &output.desired)) {
            self.dataplane.send(Input::Desired(Arc::clone(&output.desired)));
        }
        self.last = Some(output);
    }
}

/// The BGP task: it starts once the node has an address, since that is its identifier.
struct Speaker {
    /// What the host adds to the configuration; none if there is to be no BGP.
    local: Option<Local>,
    dataplane: dataplane::Sender,
    kernel: watch::Receiver<Status>,
    /// What the control socket says of policy.
    unenforced: Rc<RefCell<Option<String>>>,
    /// What the task is to do, once there is one.
    task: Option<watch::Sender<Option<Peering>>>,
}

impl Speaker {
    fn new(local: Option<Local>, dataplane: &dataplane::Sender, kernel: watch::Receiver<Status>) -> Speaker {
        let speaker = Speaker { local, dataplane: dataplane.clone(), kernel, unenforced: Rc::default(), task: None };
        if speaker.local.is_none() {
            speaker.serve(Path::new(SILENT_CONTROL_SOCKET), async || Vec::new());
        }
        speaker
    }

    /// Answers at a control socket; `peers` is asked anew for each command.
    fn serve(&self, path: &'static Path, peers: impl AsyncFn() -> Vec<(Row, Peer)> + 'static) {
        let (kernel, unenforced) = (self.kernel.clone(), Rc::clone(&self.unenforced));
        tokio::task::spawn_local(async move {
            let tunnel = || kernel.borrow().tunnel.as_ref().map(ToString::to_string);
            let problem = || unenforced.borrow().clone();
            if let Err(error) = bird_socket::serve(path, peers, tunnel, problem).await {
                tracing::error!("{}: {error}", path.display());
            }
        });
    }

    fn configure(&mut self, peering: Option<Peering>, pools: &BTreeSet<Ipv4Net>) {
        let Some(local) = &self.local else { return };
        match (&self.task, peering) {
            (Some(task), peering) => drop(task.send_replace(peering)),
            (None, None) => {}
            (None, Some(first)) => self.task = Some(self.start(local.clone(), first, pools)),
        }
    }

    fn start(&self, local: Local, first: Peering, pools: &BTreeSet<Ipv4Net>) -> watch::Sender<Option<Peering>> {
        let retained = dataplane::read_retained(pools).unwrap_or_else(|error| {
            // to go on as if there were none would delete them
            tracing::error!("cannot read the routes that an earlier agent left: {error}");
            std::process::exit(1);
        });
        let retained = Arc::new(retained);
        tracing::info!(peers = first.peers.len(), retained = retained.len(), "BGP starts");
        let dataplane = self.dataplane.clone();
        dataplane.send(Input::Learned(Arc::clone(&retained)));
        let learned = move |routes| dataplane.send(Input::Learned(routes));
        let shell = bgp_io::Shell::new(local, &first, retained, Box::new(learned));
        let (wanted, receiver) = watch::channel(Some(first));
        // the control socket has one client at a time
        let (asking, questions) = mpsc::channel(1);
        tokio::spawn(shell.run(receiver, questions));
        self.serve(Path::new(CONTROL_SOCKET), async move || sessions::peers(&asking).await);
        wanted
    }
}
