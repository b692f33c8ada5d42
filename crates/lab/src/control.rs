//! Requests to the init of a node or a router, over a unix socket in the run directory: one JSON line each way.

use crate::pod::{Pod, PodName};
use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

const SOCKET: &str = "control.sock";

/// What can be asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Start the node's agent or the router's programs, and keep them running.
    Start,
    /// End them, and keep them ended.
    Stop,
    /// Make a pod; the answer is its record.
    AddPod {
        /// What it is.
        pod: Box<Pod>,
        /// Its identity among all pods of its name.
        uid: String,
        /// Its sandbox's identity towards CNI plugins.
        container_id: String,
    },
    /// Replace a running pod's manifest.
    UpdatePod(Box<Pod>),
    /// End a pod.
    DeletePod(PodName),
}

/// Answers requests in threads of their own, on a socket in `directory`.
pub(crate) fn serve(directory: &Path, answer: impl Fn(Request) -> Result<Value> + Send + Sync + 'static) -> Result<()> {
    let path = directory.join(SOCKET);
    if path.exists() {
        fs::remove_file(&path)?;
    }
    let (_held, near) = near(&path)?;
    let listener = UnixListener::bind(near).with_context(|| format!("listen on {}", path.display()))?;
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            // a client that goes away early takes nothing with it
            thread::spawn(move || drop(converse(&stream, answer.as_ref())));
        }
    });
    Ok(())
}

fn converse(mut stream: &UnixStream, answer: &dyn Fn(Request) -> Result<Value>) -> Result<()> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let answer: Result<Value, String> =
        serde_json::from_str(&line).map_err(Into::into).and_then(answer).map_err(|error| format!("{error:#}"));
    writeln!(stream, "{}", serde_json::to_string(&answer)?)?;
    Ok(())
}

/// Asks the process that serves in `directory` and returns its answer.
pub(crate) fn ask(directory: &Path, request: &Request) -> Result<Value> {
    let path = directory.join(SOCKET);
    let (_held, near) = near(&path)?;
    let mut stream = UnixStream::connect(near).with_context(|| format!("connect to {}", path.display()))?;
    writeln!(stream, "{}", serde_json::to_string(request)?)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let answer: Result<Value, String> = serde_json::from_str(&line).context("the node ended without an answer")?;
    answer.map_err(|error| anyhow!(error))
}

/// Names a socket by its directory's descriptor: a socket's path may have only 108 bytes.
fn near(path: &Path) -> Result<(File, String)> {
    let directory = path.parent().context("a socket's path has a directory")?;
    let held = File::open(directory).with_context(|| format!("open {}", directory.display()))?;
    let near = format!("/proc/self/fd/{}/{SOCKET}", held.as_raw_fd());
    Ok((held, near))
}
