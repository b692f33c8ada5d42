//! `tortie node`, the agent: registers the node, then keeps kernel and BGP in step with the datastore.
//!
//! Three owners of state and nothing shared: the graph (this task), the dataplane (a thread of its own, since
//! netlink blocks), the speaker ([`bgp_io`]'s task). The syncer feeds the graph; the speaker's routes go to the
//! dataplane directly. When the agent dies the kernel keeps forwarding; when it comes back it adopts what it finds.

mod bgp_io;
mod bird_socket;
mod detect;
mod options;
mod register;
mod sessions;
mod tunnel_address;

use crate::client::Client;
use anyhow::{Context, bail};
use api::event::OwnerType;
use api::resource::Kind;
use bgp_io::Command;
use calc::{Graph, Output};
use clap::Parser;
use dataplane::{Input, TunnelChoice};
use datastore::{Scope, Store};
use ipnet::Ipv4Net;
use model::desired::Learned;
use model::name::NodeName;
use options::Options;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Where BIRD's control socket is expected.
const CONTROL_SOCKET: &str = "/var/run/calico/bird.ctl";
/// Where the CNI plugin reads the pods' MTU, in the file `mtu`.
const STATE_DIRECTORY: &str = "/var/lib/calico";
/// Pause before the datastore is tried again at start.
const RETRY: Duration = Duration::from_millis(500);

/// Runs the agent until it is told to stop; `arguments` come after `tortie node`.
pub fn run(arguments: &[String]) -> ExitCode {
    let words = std::iter::once("tortie node".to_owned()).chain(arguments.iter().cloned());
    let options = match Options::try_parse_from(words) {
        Ok(options) => options,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    crate::logging::init(&options.log_level);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.context("start the runtime").and_then(|runtime| {
        let tasks = tokio::task::LocalSet::new();
        runtime.block_on(tasks.run_until(agent(options)))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn agent(options: Options) -> anyhow::Result<()> {
    let tunnel = match options.tunl0.as_str() {
        "" | "auto" => TunnelChoice::Auto,
        "kernel" => TunnelChoice::Kernel,
        "bpf" => TunnelChoice::Bpf,
        other => bail!("TORTIE_TUNL0 {other:?}: one of auto, kernel, bpf is expected"),
    };
    let speaks_bgp = match options.backend.as_str() {
        "" | "bird" => true,
        "none" => false,
        other => bail!("CALICO_NETWORKING_BACKEND {other:?} is not supported yet: use bird or none"),
    };
    if !nix::unistd::geteuid().is_root() {
        bail!("the agent changes routes and rules: run it as root");
    }
    let node = options.node_name().context("find this node's name")?;
    let store = open_store(&options).await?;
    let client = Client::new(Arc::clone(&store));
    start(&client, &node, &options).await?;

    let dataplane = spawn_dataplane(tunnel)?;
    let (pools_changed, tunnel_changes) = watch::channel(0_u64);
    tokio::spawn(tunnel_address::run(client.clone(), node.clone(), tunnel_changes));
    let (events, mut batches) = mpsc::channel(16);
    tokio::task::spawn_local(datastore::syncer::run(store, scopes(&node), events));
    let speaker = Speaker::new(speaks_bgp, &dataplane);
    let mut graph = Graph::new(NodeName(node.clone()), options::felix_overrides(std::env::vars()));
    let mut followers = Followers { dataplane, speaker, pools_changed, last: None };

    let mut terminate = signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut interrupt = signal(tokio::signal::unix::SignalKind::interrupt())?;
    loop {
        tokio::select! {
            batch = batches.recv() => {
                let Some(batch) = batch else { bail!("the datastore's watcher ended") };
                graph.on_events(batch);
                while let Ok(batch) = batches.try_recv() {
                    graph.on_events(batch);
                }
                if let Some(output) = graph.flush() {
                    followers.tell(output);
                }
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tracing::info!("told to stop; the kernel keeps forwarding");
    Ok(())
}

fn signal(kind: tokio::signal::unix::SignalKind) -> anyhow::Result<tokio::signal::unix::Signal> {
    tokio::signal::unix::signal(kind).context("listen for signals")
}

/// The environment's datastore, or the configuration file's.
async fn open_store(options: &Options) -> anyhow::Result<Arc<dyn Store>> {
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let named = ["DATASTORE_TYPE", "ETCD_ENDPOINTS", "CALICO_DATASTORE_TYPE", "CALICO_ETCD_ENDPOINTS"];
    let file = (!named.iter().any(|name| env(name).is_some())).then_some(options.config.as_path());
    let config = datastore::config::Config::load(file, &env).context("datastore configuration")?;
    datastore::connect(&config).await.context("datastore")
}

/// Registers, waiting for a datastore that is not there yet, and writes the nodename file.
async fn start(client: &Client, node: &str, options: &Options) -> anyhow::Result<()> {
    let mut waiting = false;
    while let Err(error) = register::register(client, node, options).await {
        let unreachable = error.chain().any(|cause| {
            cause
                .downcast_ref::<crate::client::ClientError>()
                .is_some_and(|error| error.unavailable() || error.conflict())
        });
        if !unreachable {
            return Err(error);
        }
        if !std::mem::replace(&mut waiting, true) {
            tracing::warn!("waiting for the datastore: {error:#}");
        }
        tokio::time::sleep(RETRY).await;
    }
    for folder in
        [options.nodename_file.parent(), Path::new(CONTROL_SOCKET).parent(), Some(Path::new("/var/log/calico"))]
    {
        let Some(folder) = folder else { continue };
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    std::fs::write(&options.nodename_file, node).with_context(|| format!("write {}", options.nodename_file.display()))
}

fn scopes(node: &str) -> Vec<Scope> {
    let kinds = [
        Kind::Node,
        Kind::IPPool,
        Kind::WorkloadEndpoint,
        Kind::BGPConfiguration,
        Kind::BGPPeer,
        Kind::FelixConfiguration,
    ];
    let mut scopes: Vec<Scope> = kinds.map(Scope::Kind).into();
    scopes.extend([Scope::Blocks, Scope::AffinitiesOf(OwnerType::Host, node.to_owned())]);
    scopes
}

/// Starts the dataplane's thread; its inputs are cheap to send and never block.
fn spawn_dataplane(tunnel: TunnelChoice) -> anyhow::Result<dataplane::Sender> {
    let config = dataplane::Config { tunnel, state_directory: STATE_DIRECTORY.into() };
    let (sender, mailbox) = dataplane::mailbox().context("dataplane")?;
    std::thread::Builder::new()
        .name("dataplane".to_owned())
        .spawn(move || {
            let mut tunnel = None;
            let status = move |status: dataplane::Status| {
                if status.tunnel != tunnel {
                    tunnel = status.tunnel;
                    tracing::info!(?tunnel, "tunl0");
                }
            };
            if let Err(error) = dataplane::run(config, mailbox, status) {
                tracing::error!("dataplane: {error}");
                std::process::exit(1);
            }
        })
        .context("start the dataplane's thread")?;
    Ok(sender)
}

/// Who follows the graph.
struct Followers {
    dataplane: dataplane::Sender,
    speaker: Speaker,
    pools_changed: watch::Sender<u64>,
    last: Option<Output>,
}

impl Followers {
    fn tell(&mut self, output: Output) {
        let last = self.last.as_ref();
        for problem in output.problems.iter().filter(|problem| last.is_none_or(|last| !last.problems.contains(problem)))
        {
            tracing::warn!("{problem}");
        }
        if last.is_none_or(|last| last.desired != output.desired) {
            self.dataplane.send(Input::Desired(Box::new(output.desired.clone())));
            self.pools_changed.send_modify(|generation| *generation += 1);
        }
        if last.is_none_or(|last| last.peering != output.peering) {
            let pools = output.desired.pools.keys().copied().collect();
            self.speaker.configure(output.peering.clone(), &pools);
        }
        self.last = Some(output);
    }
}

/// The BGP task: it starts once the node has an address, since that is its identifier.
struct Speaker {
    enabled: bool,
    dataplane: dataplane::Sender,
    task: Option<mpsc::UnboundedSender<Command>>,
}

impl Speaker {
    fn new(enabled: bool, dataplane: &dataplane::Sender) -> Speaker {
        if !enabled {
            dataplane.send(Input::Learned(Learned::new()));
        }
        Speaker { enabled, dataplane: dataplane.clone(), task: None }
    }

    fn configure(&mut self, peering: Option<model::peering::Peering>, pools: &BTreeSet<Ipv4Net>) {
        if !self.enabled {
            return;
        }
        match (&self.task, peering) {
            (Some(task), peering) => drop(task.send(Command::Configure(peering))),
            (None, None) => {}
            (None, Some(first)) => self.task = Some(self.start(first, pools)),
        }
    }

    fn start(&self, first: model::peering::Peering, pools: &BTreeSet<Ipv4Net>) -> mpsc::UnboundedSender<Command> {
        let retained = dataplane::read_retained(pools).unwrap_or_else(|error| {
            tracing::warn!("cannot read the routes that an earlier agent left: {error}");
            Learned::new()
        });
        tracing::info!(peers = first.peers.len(), retained = retained.len(), "BGP starts");
        let dataplane = self.dataplane.clone();
        dataplane.send(Input::Learned(retained.clone()));
        let learned = move |routes| dataplane.send(Input::Learned(routes));
        let shell = bgp_io::Shell::new(&first, retained, Box::new(learned));
        let (commands, receiver) = mpsc::unbounded_channel();
        tokio::spawn(shell.run(first, receiver));
        let asking = commands.clone();
        tokio::task::spawn_local(async move {
            let path = Path::new(CONTROL_SOCKET);
            let rows = async || sessions::rows(&asking).await;
            if let Err(error) = bird_socket::serve(path, rows).await {
                tracing::error!("{}: {error}", path.display());
            }
        });
        commands
    }
}
