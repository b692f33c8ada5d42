//! `tortie node`, the agent: registers the node, then keeps kernel and BGP in step with the datastore.
//!
//! Three owners of state and nothing shared: the graph (this task), the dataplane (a thread of its own, since
//! netlink blocks), the speaker (`bgp_io`'s task). The syncer feeds the graph; the speaker's routes go to the
//! dataplane directly. When the agent dies the kernel keeps forwarding; when it comes back it adopts what it finds.

mod address;
mod bgp_config;
mod bgp_io;
mod bgp_socket;
pub(crate) mod bird_socket;
mod cleanup;
mod connection;
mod detect;
mod followers;
mod health;
mod http;
mod lock;
mod metrics;
mod options;
pub(crate) mod process;
mod register;
mod reporter;
pub(crate) mod sessions;
mod tunnel_address;
mod unenforced;

use crate::client::Client;
use crate::paths;
use anyhow::{Context, bail};
use api::Event;
use api::event::OwnerType;
use api::resource::Kind;
use bgp_config::{Local, RouterId};
use calc::{Graph, Reporting};
use dataplane::{BgpDaemon, TunnelChoice};
use datastore::{Scope, Store};
use followers::{Followers, spawn_dataplane};
pub(crate) use lock::NodeLock;
use model::name::NodeName;
use options::Options;
use reporter::Reporter;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::SignalKind;
use tokio::sync::{Notify, mpsc};

/// Pause before the datastore is tried again at start.
const RETRY: Duration = Duration::from_millis(500);
/// How often the agent shows that it is alive.
const TICK: Duration = Duration::from_secs(10);

/// Runs the agent until it is told to stop, or cleans up after it; `arguments` come after `tortie node`.
pub fn run(arguments: &[String]) -> ExitCode {
    if let Some(("cleanup", rest)) = arguments.split_first().map(|(word, rest)| (word.as_str(), rest)) {
        return cleanup::run(rest);
    }
    let options: Options = match crate::options::parse("tortie node", arguments) {
        Ok(options) => options,
        Err(status) => return status,
    };
    crate::logging::init(&options.log_level);
    crate::open_files::raise();
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
    let _lock =
        NodeLock::take(Path::new(paths::NODE_LOCK)).context("another agent, or a cleanup, runs on this node")?;
    let node = options.node_name().context("find this node's name")?;
    let router_id = RouterId::read(&options.router_id, &node).map_err(anyhow::Error::msg)?;
    let local = Local { router_id, secrets: options.bgp_secrets.clone() };
    let overrides = options::felix_overrides(std::env::vars());
    let mut reporter = Reporter::new(&node)?;
    reporter.serve(&Reporting::of_environment(&overrides));
    let store = open_store(&options).await?;
    let client = Client::new(Arc::clone(&store));
    start(&client, &node, &options, &overrides).await?;
    reporter.started();

    let (dataplane, mut kernel) =
        spawn_dataplane(tunnel, if speaks_bgp { BgpDaemon::Agent } else { BgpDaemon::Another })?;
    let tunnel_address = Rc::new(Notify::new());
    if speaks_bgp {
        tokio::task::spawn_local(address::keep(client.clone(), node.clone(), options));
    }
    tokio::task::spawn_local(tunnel_address::run(client, node.clone(), Rc::clone(&tunnel_address)));
    // what is slower than the datastore has its changes put together before this channel
    let (events, mut batches) = mpsc::channel(1);
    tokio::task::spawn_local(datastore::syncer::run(store, scopes(&node), events));
    let mut graph = Graph::new(NodeName(node.clone()), overrides);
    let mut followers = Followers::new(speaks_bgp.then_some(local), dataplane, kernel.clone());
    let take = |batch: Vec<Event>, graph: &mut Graph, reporter: &Reporter| {
        if batch.iter().any(|event| tunnel_address::is_concerned(event, &node)) {
            tunnel_address.notify_one();
        }
        reporter.batch(&batch);
        graph.on_events(batch);
    };

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            batch = batches.recv() => {
                let Some(batch) = batch else { bail!("the datastore's watcher ended") };
                let begun = Instant::now();
                take(batch, &mut graph, &reporter);
                while let Ok(batch) = batches.try_recv() {
                    take(batch, &mut graph, &reporter);
                }
                let output = graph.flush();
                reporter.graph_updated(begun, graph.totals());
                if let Some(output) = output {
                    reporter.serve(&output.reporting);
                    followers.tell(output);
                }
            }
            changed = kernel.changed() => {
                changed.context("the dataplane's thread ended")?;
                let status = kernel.borrow_and_update().clone();
                reporter.dataplane(&status);
            }
            _ = tick.tick() => reporter.tick(),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tracing::info!("told to stop; the kernel keeps forwarding");
    Ok(())
}

fn signal(kind: SignalKind) -> anyhow::Result<tokio::signal::unix::Signal> {
    tokio::signal::unix::signal(kind).context("listen for signals")
}

/// The environment's datastore, or the configuration file's.
async fn open_store(options: &Options) -> anyhow::Result<Arc<dyn Store>> {
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let named = ["DATASTORE_TYPE", "ETCD_ENDPOINTS", "ETCD_DISCOVERY_SRV"];
    let is_named = |name: &&str| env(name).is_some() || env(&format!("CALICO_{name}")).is_some();
    let file = (!named.iter().any(is_named)).then_some(options.config.as_path());
    let config = datastore::config::Config::load(file, &env)
        .context("datastore configuration (DATASTORE_TYPE, ETCD_ENDPOINTS)")?;
    let mut waiting = false;
    loop {
        match datastore::connect(&config).await {
            // the domain that knows the endpoints cannot be asked yet
            Err(error) if config.etcd_discovery_srv.is_some() && error.retry() == datastore::Retry::Later => {
                if !std::mem::replace(&mut waiting, true) {
                    tracing::warn!("waiting for the datastore: {error:#}");
                }
                tokio::time::sleep(RETRY).await;
            }
            connected => return connected.context("datastore"),
        }
    }
}

/// Registers where nothing speaks against it, waiting for a datastore that is not there yet, and writes the nodename file.
async fn start(
    client: &Client,
    node: &str,
    options: &Options,
    overrides: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let attempt = async || {
        unenforced::admit(client.store(), node, options, overrides).await?;
        register::register(client, node, options).await
    };
    let mut waiting = false;
    while let Err(error) = attempt().await {
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
    for folder in [options.nodename_file.parent(), Some(Path::new(paths::RUN)), Some(Path::new("/var/log/calico"))] {
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
        Kind::BGPFilter,
        Kind::FelixConfiguration,
    ];
    let mut scopes: Vec<Scope> = kinds.map(Scope::Kind).into();
    scopes.extend(unenforced::scopes());
    scopes.extend([Scope::Blocks, Scope::AffinitiesOf(OwnerType::Host, node.to_owned())]);
    scopes
}
