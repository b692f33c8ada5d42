//! A wire to a server that breaks, falls silent or is slow when told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, tcp};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mode {
    /// They arrive.
    Pass,
    /// They arrive, so many a second.
    Slow(f64),
    /// They vanish, and connections stay.
    Silent,
    /// Connections end.
    Cut,
    /// Connections end when the server answers.
    CutAnswers,
}

/// A listener on loopback whose connections lead to a server.
pub(crate) struct Wire {
    pub(crate) endpoint: String,
    mode: watch::Sender<Mode>,
    answered: Arc<AtomicUsize>,
    listener: JoinHandle<()>,
}

impl Wire {
    /// A wire to `http://ADDRESS`.
    pub(crate) async fn to(endpoint: &str) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let own = listener.local_addr().expect("an address");
        let address = endpoint.trim_start_matches("http://").to_owned();
        let (mode, modes) = watch::channel(Mode::Pass);
        let answered = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&answered);
        let listener = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(connection(near, address.clone(), modes.clone(), Arc::clone(&count)));
            }
        });
        Wire { endpoint: format!("http://{own}"), mode, answered, listener }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// How many bytes the server has answered.
    pub(crate) fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Nobody listens any more, and what is open ends.
    pub(crate) async fn down(&mut self) {
        self.set(Mode::Cut);
        self.listener.abort();
        let _ = (&mut self.listener).await;
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn connection(near: TcpStream, address: String, modes: watch::Receiver<Mode>, count: Arc<AtomicUsize>) {
    let Ok(far) = TcpStream::connect(address).await else { return };
    let (from_client, to_client) = near.into_split();
    let (from_server, to_server) = far.into_split();
    let mut cut = modes.clone();
    tokio::select! {
        () = pass(from_client, to_server, modes.clone(), None) => {}
        () = pass(from_server, to_client, modes, Some(count)) => {}
        _ = cut.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

/// Copies one direction until it ends; `count` is given for answers.
async fn pass(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    mut modes: watch::Receiver<Mode>,
    count: Option<Arc<AtomicUsize>>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let _ = modes.wait_for(|mode| *mode != Mode::Silent).await;
        let mode = *modes.borrow();
        match mode {
            Mode::CutAnswers if count.is_some() && has_answer(&buffer[..length]) => return,
            Mode::Slow(rate) => tokio::time::sleep(Duration::from_secs_f64(length as f64 / rate)).await,
            Mode::Pass | Mode::Silent | Mode::Cut | Mode::CutAnswers => {}
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
        if let Some(count) = &count {
            count.fetch_add(length, Ordering::Relaxed);
        }
    }
}

/// Tells whether HTTP/2 frames from a server are an answer or a part of one (RFC 9113 §4.1, types DATA and HEADERS); the
/// others it sends before it has done anything.
fn has_answer(mut frames: &[u8]) -> bool {
    while let [high, middle, low, kind, _, _, _, _, _, rest @ ..] = frames {
        if matches!(kind, 0 | 1) {
            return true;
        }
        let length = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
        frames = rest.get(length..).unwrap_or_default();
    }
    false
}
