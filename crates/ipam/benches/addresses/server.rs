//! A datastore of one member in a temporary folder, for one measurement.

use anyhow::{Context, Result, ensure};
use std::fmt;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A program that serves the etcd v3 API.
pub(crate) enum Program {
    /// Ours, as `store`.
    Tortie(PathBuf),
    /// etcd itself.
    Etcd(PathBuf),
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Program::Tortie(_) => "tortie store",
            Program::Etcd(_) => "etcd",
        })
    }
}

/// A running server; it ends with this.
pub(crate) struct Server {
    pub(crate) url: String,
    process: Child,
    _folder: TempDir,
}

impl Server {
    /// Starts a server with an empty database, and waits until it listens.
    pub(crate) fn start(program: &Program) -> Result<Server> {
        let folder = tempfile::tempdir()?;
        let (address, peer) = (free_address()?, format!("http://{}", free_address()?));
        let url = format!("http://{address}");
        let mut command = match program {
            Program::Tortie(path) => {
                let mut command = Command::new(path);
                command.arg("store");
                command
            }
            Program::Etcd(path) => {
                let mut command = Command::new(path);
                command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
                command.args(["--initial-cluster", &format!("default={peer}")]);
                command
            }
        };
        command.arg("--data-dir").arg(folder.path().join("data"));
        command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
        let log = std::fs::File::create(folder.path().join("log"))?;
        let process = command.stdout(Stdio::null()).stderr(log).spawn();
        let process = process.with_context(|| format!("start {}", command.get_program().display()))?;
        let mut server = Server { url, process, _folder: folder };
        let start = Instant::now();
        while TcpStream::connect(&address).is_err() {
            ensure!(server.process.try_wait()?.is_none(), "{program} ended at once");
            ensure!(start.elapsed() < PATIENCE, "{program} does not listen on {address}");
            std::thread::yield_now();
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // it may have ended by itself
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
