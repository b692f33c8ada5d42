//! The embedded datastore: a server of the etcd v3 gRPC API over redb, for when one host is enough.
//!
//! It speaks the API as etcd 3.4 does, so every etcd client works against it, and knows nothing of what is stored. It
//! is one member without raft: a write is answered when it is on the disk. Not served: users, and JSON over HTTP.
//!
//! One thread carries out what changes something (modules `writer` and `write`); reads use the latest committed snapshot
//! on the connection's own task; each watch stream is a task that follows the commits (module `watch`).

mod authority;
mod lease;
mod listen;
mod metrics;
mod mvcc;
#[cfg(test)]
mod power_cut;
mod quota;
mod refusal;
mod service;
mod shared;
pub mod snapshot;
mod timers;
mod watch;
mod write;
mod writer;

use std::{
    future::Future,
    path::PathBuf,
    pin::pin,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use futures::{FutureExt, TryStreamExt, future::try_join_all};
use tokio::{sync::oneshot, task::JoinHandle};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{
    service::Routes,
    transport::{Server, server::TcpIncoming},
};

pub use listen::{
    BindError, Exposure, ListenUrl, ListenUrlError,
    tls::{TlsError, TlsFiles},
};
pub use mvcc::storage::OpenError;
pub use refusal::Fault;

use crate::{
    authority::Connection,
    lease::Lessor,
    listen::{Listener, tls::Tls},
    metrics::Metrics,
    mvcc::storage::Storage,
    quota::Quota,
    shared::{Origin, Shared},
    writer::Writer,
};

/// How long connections may take to finish their requests when the server stops.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// HTTP/2 pings find clients that vanished without a word.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// What a store is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of the database; made when missing, and given mode 0700. `--data-dir`, etcd's default `default.etcd`.
    pub data_dir: PathBuf,
    /// Where to listen; at least one. `--listen-client-urls`.
    pub listen_client_urls: Vec<ListenUrl>,
    /// Which addresses that others reach may be listened on. `--insecure-cleartext-on-network` and
    /// `--insecure-any-client-on-network`, default none without TLS and certificates of clients.
    pub exposure: Exposure,
    /// The certificates of `https:` URLs. `--cert-file`, `--key-file`, `--trusted-ca-file` and `--client-crl-file`.
    pub tls: Option<TlsFiles>,
    /// Where to listen for `/metrics`, `/health` and `/version` alone, besides the URLs of clients, which have them too.
    /// `--listen-metrics-urls`.
    pub listen_metrics_urls: Vec<ListenUrl>,
    /// What the member list shows; the listen URLs when empty. `--advertise-client-urls`.
    pub advertise_client_urls: Vec<String>,
    /// The member's name. `--name`, default `default`.
    pub name: String,
    /// Which history is dropped by itself. `--auto-compaction-mode` and `--auto-compaction-retention`, default the last
    /// 10,000 revisions are kept.
    pub auto_compaction: AutoCompaction,
    /// How much of the database may be in use, in bytes, before writes that add data are refused and the alarm NOSPACE is
    /// raised; zero is no limit. The file may be twice as long. `--quota-backend-bytes`, default 2 GiB, which is etcd's.
    pub quota_backend_bytes: u64,
}

impl Config {
    /// Makes a configuration of defaults, for a directory and the URLs to listen on.
    pub fn new(data_dir: PathBuf, listen_client_urls: Vec<ListenUrl>) -> Self {
        Self {
            data_dir,
            listen_client_urls,
            exposure: Exposure::default(),
            tls: None,
            listen_metrics_urls: Vec::new(),
            advertise_client_urls: Vec::new(),
            name: "default".to_owned(),
            auto_compaction: AutoCompaction::default(),
            quota_backend_bytes: 2 << 30,
        }
    }
}

/// Which history the store drops by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutoCompaction {
    /// None.
    Off,
    /// All but the last so many revisions, looked at every minute (mode `revision`).
    Revisions(u64),
    /// All older than this (mode `periodic`).
    Period(Duration),
}

impl Default for AutoCompaction {
    fn default() -> Self {
        Self::Revisions(10_000)
    }
}

/// The store cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// There is no URL to listen on.
    #[error("no listen URL is given")]
    NoListenUrl,
    /// The data directory cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A socket cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The certificates cannot be used.
    #[error("TLS")]
    Tls(#[from] TlsError),
    /// The series to count in cannot be made.
    #[error("prepare the metrics")]
    Metrics(#[source] metrics_exporter_prometheus::BuildError),
    /// The writer thread cannot be started.
    #[error("start the writer thread")]
    Thread(#[source] std::io::Error),
    /// Serving connections failed.
    #[error("serve connections")]
    Transport(#[source] tonic::transport::Error),
    /// The writer thread panicked; what was acknowledged is on disk.
    #[error("the writer thread panicked, its message is on standard error")]
    WriterPanicked,
    /// The database failed under way; what was acknowledged is on disk.
    #[error("write to the database in {}", directory.display())]
    Storage {
        /// The data directory.
        directory: PathBuf,
        /// What went wrong.
        #[source]
        source: Fault,
    },
}

/// Serves until `shutdown` completes; `ready` is called once, when clients can connect.
///
/// Needs a tokio runtime with IO and time enabled; a current-thread one is enough. Every acknowledged write is on disk,
/// however the process ends; waiting for a clean stop saves only the next start a check of the file.
pub async fn serve(config: Config, ready: impl FnOnce(), shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
    if config.listen_client_urls.is_empty() {
        return Err(ServeError::NoListenUrl);
    }
    let directory = config.data_dir.clone();
    let failed = |source| ServeError::Storage { directory: directory.clone(), source };
    let tls = config.tls.clone().map(|files| Tls::load(files).map(Arc::new)).transpose()?;
    let mut places = Vec::new();
    for url in &config.listen_client_urls {
        places.push((url, url.place(tls.as_ref(), config.exposure).await?));
    }
    for url in &config.listen_metrics_urls {
        places.push((url, url.harmless_place(tls.as_ref()).await?));
    }
    let storage = Storage::open(&config.data_dir)?;
    let mut listeners = Vec::new();
    for (url, place) in &places {
        listeners.push(url.bind(place).await?);
    }
    let for_metrics = listeners.split_off(config.listen_client_urls.len());

    let (to_writer, commands) = mpsc::channel();
    let metrics = Metrics::new(storage.identity, config.quota_backend_bytes).map_err(ServeError::Metrics)?;
    let shared = Arc::new(Shared::new(origin(&config, &storage, metrics).map_err(&failed)?, to_writer));
    let quota = Some(config.quota_backend_bytes).filter(|quota| *quota > 0).map(Quota::new);
    let mut writer = start_writer(Writer::new(storage, shared.clone(), commands, quota))?;
    let timers = [
        tokio::spawn(timers::expire_leases(shared.clone())),
        tokio::spawn(timers::compact(shared.clone(), config.auto_compaction)),
        tokio::spawn(timers::sum_up(shared.metrics.clone())),
    ];
    tracing::info!(data_dir = %config.data_dir.display(), revision = shared.snapshot().revision, "store is ready");
    ready();

    let (routes, harmless) = (service::routes(shared.clone()), service::harmless_routes(shared.clone()));
    let connections = listeners.into_iter().map(|listener| accept(listener, routes.clone(), &shared));
    let connections = connections.chain(for_metrics.into_iter().map(|it| accept(it, harmless.clone(), &shared)));
    // fused, because it is waited for again below
    let mut connections = pin!(try_join_all(connections).fuse());
    let (served, written) = tokio::select! {
        served = &mut connections => (served.map(|_| ()), None),
        written = &mut writer => (Ok(()), Some(written)),
        () = shutdown => (Ok(()), None),
    };
    shared.stopping.send_replace(true);
    // clients that hold on longer lose their connection when the process ends
    let _ = tokio::time::timeout(STOP_GRACE, connections).await;
    timers.iter().for_each(JoinHandle::abort);
    let written = match written {
        Some(written) => written,
        None => {
            shared.stop_writer();
            writer.await
        }
    };
    written.map_err(|_| ServeError::WriterPanicked)?.map_err(failed)?;
    served.map_err(ServeError::Transport)
}

/// Reads what the server starts from: the file's state, and its leases with their full time.
fn origin(config: &Config, storage: &Storage, metrics: Metrics) -> Result<Origin, Fault> {
    let mut lessor = Lessor::default();
    for (id, seconds) in storage.leases()? {
        lessor.insert(id, seconds, Instant::now());
    }
    let urls = &config.advertise_client_urls;
    let snapshot = storage.snapshot()?;
    Ok(Origin {
        identity: storage.identity,
        file: storage.file.clone(),
        name: config.name.clone(),
        advertise_client_urls: if urls.is_empty() {
            config.listen_client_urls.iter().map(ListenUrl::to_string).collect()
        } else {
            urls.clone()
        },
        metrics,
        quota_alarm: snapshot.no_space()?,
        snapshot,
        lessor,
    })
}

/// Starts the writer thread; the receiver yields how it ended.
fn start_writer(writer: Writer) -> Result<oneshot::Receiver<Result<(), Fault>>, ServeError> {
    let (ended, outcome) = oneshot::channel();
    thread::Builder::new()
        .name("store-writer".to_owned())
        .spawn(move || {
            // nobody waits for the outcome of a server that was dropped
            let _ = ended.send(writer.run());
        })
        .map_err(ServeError::Thread)?;
    Ok(outcome)
}

/// Serves the connections of one listener until the server stops.
async fn accept(listener: Listener, routes: Routes, shared: &Shared) -> Result<(), tonic::transport::Error> {
    let mut stopping = shared.stopping.subscribe();
    let stop = async move {
        // an error means that the server is gone, which is a stop as well
        let _ = stopping.wait_for(|stopping| *stopping).await;
    };
    let server = Server::builder()
        .accept_http1(true)
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .max_concurrent_streams(u32::MAX)
        .add_routes(routes);
    let metrics = shared.metrics.clone();
    match listener {
        Listener::Tcp(listener) => {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            let incoming = incoming.map_ok(|stream| Connection::new(stream, metrics.clone()));
            server.serve_with_incoming_shutdown(incoming, stop).await
        }
        Listener::Tls(listener, tls) => {
            let incoming = listen::tls::connections(listener, tls);
            let incoming = incoming.map_ok(|stream| Connection::new(stream, metrics.clone()));
            server.serve_with_incoming_shutdown(incoming, stop).await
        }
        Listener::Unix(listener, _file) => {
            let incoming = UnixListenerStream::new(listener);
            let incoming = incoming.map_ok(|stream| Connection::new(stream, metrics.clone()));
            server.serve_with_incoming_shutdown(incoming, stop).await
        }
    }
}
