//! One TCP connection of the speaker: a task that reads, and one that writes from a bounded queue.
//!
//! What can go wrong here: a peer that does not read must not make the speaker wait, and the last words before a close
//! (a NOTIFICATION) must arrive.

use super::bgp_io::Io;
use super::bgp_socket::{probe, words};
use bgp::ConnId;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Octets that may wait for a peer to read them: more than a table of a million routes.
const QUEUE: usize = 16 << 20;
/// How long a closed connection may take to deliver what was sent on it.
const LINGER: Duration = Duration::from_secs(2);

/// What is told of a connection that the peer ended in good order.
pub(super) const CLOSED: &str = "the peer closed the connection";

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is on its way.
    Queued,
    /// Too many wait already.
    Full,
}

/// A connection in use.
pub(super) struct Connection {
    outgoing: mpsc::UnboundedSender<Vec<u8>>,
    /// How many octets wait.
    waiting: Arc<AtomicUsize>,
    /// The socket once more, to look into.
    socket: Option<OwnedFd>,
    /// Whether the reader holds something that nobody has taken yet.
    held: Arc<AtomicBool>,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
}

impl Connection {
    /// Starts to read, and tells `io` what comes and how it ends.
    pub(super) fn start(conn: ConnId, stream: TcpStream, io: mpsc::Sender<Io>) -> Connection {
        let _ = stream.set_nodelay(true);
        let _ = probe(&stream);
        let socket = stream.as_fd().try_clone_to_owned().ok();
        let held = Arc::new(AtomicBool::new(false));
        let holds = Arc::clone(&held);
        let (mut incoming, mut sending) = stream.into_split();
        let (outgoing, mut queue) = mpsc::unbounded_channel::<Vec<u8>>();
        let waiting = Arc::new(AtomicUsize::new(0));
        let written = Arc::clone(&waiting);
        let reader = tokio::spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            let reason = loop {
                match incoming.read(&mut buffer).await {
                    Ok(0) => break CLOSED.to_owned(),
                    Ok(count) => {
                        holds.store(true, Ordering::Relaxed);
                        if io.send(Io::Received(conn, buffer[..count].to_vec())).await.is_err() {
                            return;
                        }
                        holds.store(false, Ordering::Relaxed);
                    }
                    Err(error) => break words(&error),
                }
            };
            holds.store(true, Ordering::Relaxed);
            let _ = io.send(Io::Closed(conn, reason)).await;
        });
        let writer = tokio::spawn(async move {
            while let Some(bytes) = queue.recv().await {
                if sending.write_all(&bytes).await.is_err() {
                    return;
                }
                written.fetch_sub(bytes.len(), Ordering::Relaxed);
            }
            let _ = sending.shutdown().await;
        });
        Connection { outgoing, waiting, socket, held, reader, writer }
    }

    /// Tells whether something of the peer, be it the end, has come and is not on its way to the speaker yet.
    pub(super) fn has_unread(&self) -> bool {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        let nothing = |socket: &OwnedFd| recv(socket.as_raw_fd(), &mut [0], flags) == Err(Errno::EAGAIN);
        self.held.load(Ordering::Relaxed) || self.socket.as_ref().is_some_and(|socket| !nothing(socket))
    }

    /// Queues a message. A connection that broke is no news here: the reader says why.
    pub(super) fn send(&self, bytes: Vec<u8>) -> Sent {
        if self.waiting.fetch_add(bytes.len(), Ordering::Relaxed) > QUEUE {
            return Sent::Full;
        }
        let _ = self.outgoing.send(bytes);
        Sent::Queued
    }

    /// Lets what was sent go out, then closes.
    ///
    /// The reader goes on until the peer has closed too: a socket closed with unread octets would be reset, and the
    /// reset overtakes a NOTIFICATION.
    pub(super) fn close(self) {
        let Connection { outgoing, mut reader, mut writer, .. } = self;
        drop(outgoing);
        tokio::spawn(async move {
            let delivered = async {
                let _ = (&mut writer).await;
                let _ = (&mut reader).await;
            };
            if tokio::time::timeout(LINGER, delivered).await.is_err() {
                writer.abort();
                reader.abort();
            }
        });
    }

    /// Gives up what still waits.
    pub(super) fn cut(self) {
        self.writer.abort();
        self.reader.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const CONN: ConnId = ConnId::Incoming(1);

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let limited = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), test).await });
        limited.expect("the test ends in time");
    }

    /// Ours, the peer's end, and what ours tells.
    async fn connection() -> (Connection, TcpStream, mpsc::Receiver<Io>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (peer, ours) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (io, events) = mpsc::channel(256);
        (Connection::start(CONN, ours.expect("a connection").0, io), peer.expect("a connection"), events)
    }

    #[test]
    fn last_words_arrive_although_the_peer_speaks() {
        run(async {
            let (connection, mut peer, mut events) = connection().await;
            let mut heard = Vec::new();
            for _ in 0..100 {
                assert_eq!(connection.send(vec![7; 1000]), Sent::Queued);
            }
            connection.close();
            // more than one read of it is under way when ours closes
            peer.write_all(&vec![1; 300_000]).await.expect("ours still takes it");
            peer.read_to_end(&mut heard).await.expect("the end, and not a reset");
            assert_eq!(heard, vec![7; 100_000]);
            drop(peer);
            let mut received = 0;
            while let Some(event) = events.recv().await {
                match event {
                    Io::Received(CONN, bytes) => received += bytes.len(),
                    Io::Closed(CONN, reason) => assert_eq!(reason, CLOSED),
                    Io::Received(..)
                    | Io::Closed(..)
                    | Io::Accepted(..)
                    | Io::Connected(..)
                    | Io::ConnectFailed(..) => {
                        panic!("nothing else is told")
                    }
                }
            }
            assert_eq!(received, 300_000);
        });
    }

    #[test]
    fn what_has_come_and_was_not_read_is_seen() {
        run(async {
            let (connection, mut peer, mut events) = connection().await;
            assert!(!connection.has_unread());
            peer.write_all(b"word").await.expect("sent");
            // the reader has had no turn since: on loopback the octets are there at once
            assert!(connection.has_unread());
            assert!(matches!(events.recv().await, Some(Io::Received(CONN, bytes)) if bytes == b"word"));
            assert!(!connection.has_unread());
            drop(peer);
            assert!(connection.has_unread(), "the end is to be read, too");
            assert!(matches!(events.recv().await, Some(Io::Closed(CONN, _))));
        });
    }

    #[test]
    fn a_peer_that_does_not_read() {
        run(async {
            let (connection, peer, mut events) = connection().await;
            while connection.send(vec![0; 100_000]) == Sent::Queued {
                tokio::task::yield_now().await;
            }
            // both tasks end, and with them the last senders of events
            connection.close();
            while events.recv().await.is_some() {}
            drop(peer);
        });
    }
}
