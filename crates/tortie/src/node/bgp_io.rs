//! Sockets and sleeps around [`bgp::Speaker`]: nothing here knows what a message means.
//!
//! One task owns the speaker. Each connection has a reader task; writes go through a bounded queue per connection,
//! and a peer that does not read is cut off when it is full, which its speaker learns as a lost connection.

use bgp::{Config, ConnId, Event, Input, NextHopMode, PeerConfig, PeerKind, Speaker, Transmit};
use model::desired::Learned;
use model::peering::{PeerSource, Peering};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Messages that may wait for a peer to read them.
const QUEUE: usize = 1024;

/// What the agent tells the speaker's task.
pub(crate) enum Command {
    /// Peers and announcements; none while the node is not registered.
    Configure(Option<Peering>),
    /// Asks for the peers' states.
    Status(oneshot::Sender<Vec<bgp::PeerStatus>>),
}

/// What comes from sockets.
enum Io {
    Accepted(TcpStream, SocketAddr),
    Connected(ConnId, TcpStream),
    ConnectFailed(ConnId, String),
    Received(ConnId, Vec<u8>),
    Closed(ConnId, String),
}

struct Connection {
    outgoing: mpsc::Sender<Vec<u8>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// The speaker and its sockets.
pub(crate) struct Shell {
    speaker: Speaker,
    connections: BTreeMap<ConnId, Connection>,
    dialling: BTreeMap<ConnId, JoinHandle<()>>,
    listener: Option<(u16, JoinHandle<()>)>,
    accepted: u64,
    io: mpsc::Sender<Io>,
    events: mpsc::Receiver<Io>,
    learned: Box<dyn Fn(Learned) + Send>,
}

impl Shell {
    /// A speaker without peers, which passes the routes it learns to `learned`.
    ///
    /// `retained` are the routes that an earlier agent left in the kernel: they stay until the peers had their say.
    pub(crate) fn new(first: &Peering, retained: Learned, learned: Box<dyn Fn(Learned) + Send>) -> Shell {
        let (io, events) = mpsc::channel(256);
        let seed = u64::from(u32::from(first.address)) ^ u64::from(std::process::id());
        let speaker = Speaker::new(config(first), retained, Instant::now(), seed);
        Shell {
            speaker,
            connections: BTreeMap::new(),
            dialling: BTreeMap::new(),
            listener: None,
            accepted: 0,
            io,
            events,
            learned,
        }
    }

    /// Runs until `commands` ends; then the sessions close without a word, so that peers keep our routes.
    pub(crate) async fn run(mut self, first: Peering, mut commands: mpsc::UnboundedReceiver<Command>) {
        self.configure(first);
        loop {
            self.drain().await;
            let timeout = self.speaker.poll_timeout().map(|(at, _)| at);
            let sleep = async move {
                match timeout {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = commands.recv() => match command {
                    None => return,
                    Some(Command::Configure(Some(peering))) => self.configure(peering),
                    Some(Command::Configure(None)) => self.handle(Input::Shutdown),
                    Some(Command::Status(answer)) => drop(answer.send(self.speaker.status())),
                },
                event = self.events.recv() => {
                    let event = event.expect("the shell holds a sender of this channel itself");
                    self.on_io(event);
                }
                () = sleep => self.handle(Input::Timeout),
            }
        }
    }

    fn handle(&mut self, input: Input) {
        self.speaker.handle(input, Instant::now());
    }

    fn configure(&mut self, peering: Peering) {
        if self.listener.as_ref().is_none_or(|(port, task)| *port != peering.listen_port || task.is_finished()) {
            self.listen(peering.listen_port);
        }
        self.handle(Input::Configure(config(&peering)));
        self.handle(Input::Originate(peering.originate));
    }

    fn listen(&mut self, port: u16) {
        if let Some((_, task)) = self.listener.take() {
            task.abort();
        }
        match listener(port) {
            Ok(listener) => {
                let io = self.io.clone();
                let task = tokio::spawn(async move {
                    while let Ok((stream, from)) = listener.accept().await {
                        if io.send(Io::Accepted(stream, from)).await.is_err() {
                            return;
                        }
                    }
                });
                self.listener = Some((port, task));
            }
            Err(error) => tracing::error!(port, %error, "cannot listen for BGP; only peers that we dial are reached"),
        }
    }

    fn on_io(&mut self, event: Io) {
        match event {
            Io::Accepted(stream, from) => {
                let Ok(local) = stream.local_addr() else { return };
                self.accepted += 1;
                let conn = ConnId::Incoming(self.accepted);
                self.adopt(conn, stream);
                self.handle(Input::Accepted { conn, peer: from.ip(), local: local.ip() });
            }
            Io::Connected(conn, stream) => {
                if self.dialling.remove(&conn).is_none() {
                    return;
                }
                let Ok(local) = stream.local_addr() else {
                    return self.handle(Input::ConnectFailed { conn, reason: "the connection is gone".to_owned() });
                };
                self.adopt(conn, stream);
                self.handle(Input::Connected { conn, local: local.ip() });
            }
            Io::ConnectFailed(conn, reason) => {
                if self.dialling.remove(&conn).is_some() {
                    self.handle(Input::ConnectFailed { conn, reason });
                }
            }
            Io::Received(conn, bytes) => {
                if self.connections.contains_key(&conn) {
                    self.handle(Input::Received { conn, bytes });
                }
            }
            Io::Closed(conn, reason) => {
                if self.connections.remove(&conn).is_some() {
                    self.handle(Input::Closed { conn, reason });
                }
            }
        }
    }

    fn adopt(&mut self, conn: ConnId, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let (mut reader, mut writer) = stream.into_split();
        let (outgoing, mut queue) = mpsc::channel::<Vec<u8>>(QUEUE);
        let io = self.io.clone();
        let read = tokio::spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            let reason = loop {
                match reader.read(&mut buffer).await {
                    Ok(0) => break "the peer closed the connection".to_owned(),
                    Ok(count) => {
                        if io.send(Io::Received(conn, buffer[..count].to_vec())).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => break error.to_string(),
                }
            };
            let _ = io.send(Io::Closed(conn, reason)).await;
        });
        let write = tokio::spawn(async move {
            while let Some(bytes) = queue.recv().await {
                if writer.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            let _ = writer.shutdown().await;
        });
        drop(write);
        self.connections.insert(conn, Connection { outgoing, tasks: vec![read] });
    }

    fn dial(&mut self, conn: ConnId, peer: SocketAddr, local: Option<IpAddr>) {
        let io = self.io.clone();
        let task = tokio::spawn(async move {
            let event = match connect(peer, local).await {
                Ok(stream) => Io::Connected(conn, stream),
                Err(error) => Io::ConnectFailed(conn, error.to_string()),
            };
            let _ = io.send(event).await;
        });
        self.dialling.insert(conn, task);
    }

    async fn drain(&mut self) {
        let mut learned = None;
        loop {
            while let Some(transmit) = self.speaker.poll_transmit() {
                self.transmit(transmit);
            }
            let Some(event) = self.speaker.poll_event() else { break };
            match event {
                Event::Learned(routes) => learned = Some(routes),
                Event::PeerState { peer, state, reason: Some(reason) } => {
                    tracing::info!(%peer, %state, reason, "BGP session");
                }
                Event::PeerState { peer, state, reason: None } => tracing::info!(%peer, %state, "BGP session"),
                Event::Warning { peer, text } => tracing::warn!(%peer, "{text}"),
            }
        }
        if let Some(routes) = learned {
            (self.learned)(routes);
        }
    }

    fn transmit(&mut self, transmit: Transmit) {
        match transmit {
            Transmit::Connect { conn, peer, local } => self.dial(conn, peer, local),
            Transmit::Send { conn, bytes } => {
                let full = self.connections.get(&conn).is_some_and(|c| c.outgoing.try_send(bytes).is_err());
                if full {
                    self.connections.remove(&conn);
                    self.handle(Input::Closed { conn, reason: "the peer does not read".to_owned() });
                }
            }
            Transmit::Close { conn } => {
                self.connections.remove(&conn);
                if let Some(task) = self.dialling.remove(&conn) {
                    task.abort();
                }
            }
        }
    }
}

fn config(peering: &Peering) -> Config {
    let mut config = Config::new(peering.local_as, peering.address);
    config.listen_port = peering.listen_port;
    for (address, peer) in &peering.peers {
        let kind = match peer.source {
            PeerSource::Mesh => PeerKind::Mesh,
            PeerSource::Global => PeerKind::Global,
            PeerSource::Node => PeerKind::Node,
        };
        let mut wanted = PeerConfig::new(peer.remote_as, kind);
        wanted.local_address = Some(IpAddr::V4(peering.address));
        wanted.port = peer.port;
        wanted.passive = peer.passive;
        wanted.next_hop = NextHopMode::Auto;
        config.peers.insert(IpAddr::V4(*address), wanted);
    }
    config
}

fn listener(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from(([0, 0, 0, 0], port)).into())?;
    socket.listen(128)?;
    TcpListener::from_std(socket.into())
}

async fn connect(peer: SocketAddr, local: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if peer.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(local) = local {
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(local, 0))?;
    }
    socket.connect(peer).await
}
