//! An etcd of one's own.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take that takes no time.
const SOON: Duration = Duration::from_secs(20);

/// A member that ends with its value.
pub(crate) struct Etcd {
    process: Child,
    pub(crate) endpoint: String,
    _data: tempfile::TempDir,
}

impl Etcd {
    /// A cluster of one.
    pub(crate) fn start() -> Etcd {
        let peer = free();
        Etcd::member("default", &peer, &format!("default=http://{peer}"), &format!("http://{}", free()), &[])
    }

    /// A member; `arguments` come after those that every one has.
    pub(crate) fn member(name: &str, peer: &str, cluster: &str, endpoint: &str, arguments: &[&str]) -> Etcd {
        let data = tempfile::tempdir().expect("a temporary folder");
        let peer = format!("http://{peer}");
        let process = Command::new("etcd")
            .args(["--name", name, "--data-dir", data.path().to_str().expect("a UTF-8 path")])
            .args(["--listen-client-urls", endpoint, "--advertise-client-urls", endpoint])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", cluster])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd runs (Debian package etcd-server)");
        let etcd = Etcd { process, endpoint: endpoint.to_owned(), _data: data };
        let (_, address) = endpoint.split_once("://").expect("a scheme");
        let deadline = Instant::now() + SOON;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "etcd does not listen on {address}");
            std::thread::yield_now();
        }
        etcd
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `ADDRESS:PORT` that nobody listens on, nor connects from: each has a loopback address of its own.
pub(crate) fn free() -> String {
    static LAST: AtomicU8 = AtomicU8::new(0);
    let [.., high, low] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, high.max(1), low, LAST.fetch_add(1, Ordering::Relaxed) % 254 + 1);
    TcpListener::bind((own, 0)).and_then(|listener| listener.local_addr()).expect("a free port").to_string()
}
