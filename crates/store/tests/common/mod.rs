//! Servers for the tests: the store in this process, and a real etcd beside it.

#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicU16, Ordering},
        mpsc::RecvTimeoutError,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use etcd_client::{Channel, Client};
use store::{Config, ListenUrl, ServeError};
use tempfile::TempDir;
use tokio::{runtime, sync::oneshot, time::timeout};
use tonic::transport::Endpoint;

/// How long anything in these tests may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How long nothing has to come before nothing is taken to come.
pub(crate) const QUIET: Duration = Duration::from_millis(150);

/// A store served by a thread of this process, on a unix socket and on TCP.
pub(crate) struct Server {
    pub(crate) directory: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) tcp: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Server {
    /// Starts a store in a directory that outlives it.
    pub(crate) fn start(directory: &Path) -> Self {
        Self::start_with(directory, |_| {})
    }

    pub(crate) fn start_with(directory: &Path, adjust: impl FnOnce(&mut Config)) -> Self {
        let socket = directory.join("store.sock");
        let tcp = format!("http://{}", free());
        let urls = vec![ListenUrl::Unix(socket.clone()), tcp.parse().unwrap()];
        let mut config = Config::new(directory.join("data"), urls);
        adjust(&mut config);
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            block_on(store::serve(config, move || ready.send(()).unwrap(), async {
                let _ = stopped.await;
            }))
        });
        match is_ready.recv_timeout(PATIENCE) {
            Ok(()) => Self { directory: directory.into(), socket, tcp, stop: Some(stop), thread: Some(thread) },
            Err(RecvTimeoutError::Disconnected) => panic!("the store does not start: {:?}", thread.join()),
            Err(RecvTimeoutError::Timeout) => panic!("the store is not ready within {PATIENCE:?}"),
        }
    }

    pub(crate) async fn client(&self) -> Client {
        unix_client(&self.socket).await
    }

    pub(crate) async fn tcp_client(&self) -> Client {
        Client::connect([&self.tcp], None).await.unwrap()
    }

    /// Stops the store and waits until the directory is free.
    pub(crate) fn stop(mut self) {
        self.shut_down().unwrap();
    }

    fn shut_down(&mut self) -> Result<(), ServeError> {
        drop(self.stop.take());
        self.thread.take().map_or(Ok(()), |thread| thread.join().expect("the store does not panic"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let outcome = self.shut_down();
        if !std::thread::panicking() {
            outcome.unwrap();
        }
    }
}

pub(crate) async fn unix_client(socket: &Path) -> Client {
    let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display())).unwrap();
    let channel = endpoint.connect().await.unwrap();
    Client::from_channel(Channel::Tonic(channel), None).await.unwrap()
}

/// A real etcd of one member.
pub(crate) struct Etcd {
    pub(crate) url: String,
    pub(crate) peer: String,
    child: Child,
    _directory: TempDir,
}

impl Etcd {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("http://{}", free());
        let peer = format!("http://{}", free());
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let child = Command::new("etcd")
            .arg("--data-dir")
            .arg(directory.path().join("data"))
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("this test compares with a real etcd: install the package etcd-server");
        let etcd = Self { url, peer, child, _directory: directory };
        let start = Instant::now();
        let mut client = etcd.client().await;
        while !matches!(timeout(PATIENCE, client.status()).await, Ok(Ok(_))) {
            assert!(start.elapsed() < PATIENCE, "etcd does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        etcd
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect([&self.url], None).await.unwrap()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // it may have died by itself
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a condition holds.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A free address, `IP:PORT`, of this host's own; no other process of these tests takes one of that IP.
pub(crate) fn free() -> String {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let [.., high, low] = std::process::id().to_be_bytes();
    // below those that the kernel gives to who asks for any, and seldom another process's, for who listens elsewhere too
    let start = u16::from(low) * 40;
    let port = 20_000 + (start + COUNT.fetch_add(1, Ordering::Relaxed)) % 12_000;
    let address = SocketAddr::from(([127, high.max(1), low, 1], port));
    TcpListener::bind(address).map(|_| address.to_string()).expect("a free port")
}
