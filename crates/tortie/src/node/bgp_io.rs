//! Sockets and sleeps around [`bgp::Speaker`]: nothing here knows what a message means.
//!
//! One task owns the speaker; what happens to sockets comes to it over a channel. A peer that does not read is cut off
//! when its [`Connection`] is full, which the speaker learns as a lost connection.

use super::connection::{Connection, Sent};
use bgp::{Config, ConnId, Event, Input, NextHopMode, PeerConfig, PeerKind, Speaker, State, Transmit};
use model::desired::Learned;
use model::peering::{PeerSource, Peering};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Pause before a port that could not be had is tried again.
const LISTEN_RETRY: Duration = Duration::from_secs(1);
/// Pause after the listener was refused a connection, such as for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What the agent tells the speaker's task.
pub(crate) enum Command {
    /// Peers and announcements; none while the node is not registered.
    Configure(Option<Peering>),
    /// Asks for the peers' states.
    Status(oneshot::Sender<Vec<bgp::PeerStatus>>),
}

/// What comes from sockets.
pub(super) enum Io {
    Accepted(TcpStream, SocketAddr),
    Connected(ConnId, TcpStream),
    ConnectFailed(ConnId, String),
    Received(ConnId, Vec<u8>),
    Closed(ConnId, String),
}

/// The port that peers connect to.
struct Listening {
    port: u16,
    /// None while the port cannot be had.
    task: Option<JoinHandle<()>>,
    retry_at: Instant,
}

/// The speaker and its sockets.
pub(crate) struct Shell {
    speaker: Speaker,
    config: Config,
    connections: BTreeMap<ConnId, Connection>,
    dialling: BTreeMap<ConnId, JoinHandle<()>>,
    listening: Option<Listening>,
    accepted: u64,
    io: mpsc::Sender<Io>,
    events: mpsc::Receiver<Io>,
    learned: Box<dyn Fn(Learned) + Send>,
    said: Said,
}

impl Shell {
    /// A speaker without peers, which passes the routes it learns to `learned`.
    ///
    /// `retained` are the routes that an earlier agent left in the kernel: they stay until the peers had their say.
    pub(crate) fn new(first: &Peering, retained: Learned, learned: Box<dyn Fn(Learned) + Send>) -> Shell {
        let (io, events) = mpsc::channel(256);
        let seed = u64::from(u32::from(first.address)) ^ u64::from(std::process::id());
        let config = config(first);
        let speaker = Speaker::new(config.clone(), retained, Instant::now(), seed);
        Shell {
            speaker,
            config,
            connections: BTreeMap::new(),
            dialling: BTreeMap::new(),
            listening: None,
            accepted: 0,
            io,
            events,
            learned,
            said: Said::default(),
        }
    }

    /// Runs until `commands` ends; then the sessions close without a word, so that peers keep our routes.
    pub(crate) async fn run(mut self, first: Peering, mut commands: mpsc::UnboundedReceiver<Command>) {
        self.configure(Some(first));
        loop {
            self.drain();
            let retry = self.listening.as_ref().filter(|listening| listening.task.is_none()).map(|l| l.retry_at);
            let timeout = self.speaker.poll_timeout().map(|(at, _)| at).into_iter().chain(retry).min();
            let sleep = async move {
                match timeout {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = commands.recv() => match command {
                    None => return,
                    Some(Command::Configure(peering)) => self.configure(peering),
                    Some(Command::Status(answer)) => drop(answer.send(self.speaker.status())),
                },
                event = self.events.recv() => {
                    let event = event.expect("the shell holds a sender of this channel itself");
                    self.on_io(event);
                }
                () = sleep => {
                    self.listen_again();
                    self.handle(Input::Timeout);
                }
            }
        }
    }

    fn handle(&mut self, input: Input) {
        self.speaker.handle(input, Instant::now());
    }

    /// Follows the datastore; a node that lost its address parts from its peers and announces nothing.
    fn configure(&mut self, peering: Option<Peering>) {
        match peering {
            Some(peering) => {
                self.listen(peering.listen_port);
                self.config = config(&peering);
                self.handle(Input::Configure(self.config.clone()));
                self.handle(Input::Originate(peering.originate));
            }
            None => {
                self.config.peers.clear();
                self.handle(Input::Configure(self.config.clone()));
                self.handle(Input::Originate(BTreeSet::new()));
            }
        }
    }

    fn listen(&mut self, port: u16) {
        match &self.listening {
            Some(listening) if listening.port == port => return,
            Some(Listening { task: Some(task), .. }) => task.abort(),
            Some(_) | None => {}
        }
        let task = accept_on(port, &self.io);
        let task = task.inspect_err(|error| {
            tracing::error!(port, %error, "cannot listen for BGP, trying again; only peers that we dial are reached");
        });
        self.listening = Some(Listening { port, task: task.ok(), retry_at: Instant::now() + LISTEN_RETRY });
    }

    fn listen_again(&mut self) {
        let now = Instant::now();
        let Some(listening) = self.listening.as_mut().filter(|l| l.task.is_none() && l.retry_at <= now) else {
            return;
        };
        listening.retry_at = now + LISTEN_RETRY;
        if let Ok(task) = accept_on(listening.port, &self.io) {
            tracing::info!(port = listening.port, "listening for BGP");
            listening.task = Some(task);
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
                if let Some(connection) = self.connections.remove(&conn) {
                    connection.close();
                    self.handle(Input::Closed { conn, reason });
                }
            }
        }
    }

    fn adopt(&mut self, conn: ConnId, stream: TcpStream) {
        self.connections.insert(conn, Connection::start(conn, stream, self.io.clone()));
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

    fn drain(&mut self) {
        let mut learned = None;
        loop {
            while let Some(transmit) = self.speaker.poll_transmit() {
                self.transmit(transmit);
            }
            let Some(event) = self.speaker.poll_event() else { break };
            match event {
                Event::Learned(routes) => learned = Some(routes),
                Event::PeerState { peer, state, reason } => self.said.note(peer, state, reason),
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
                if self.connections.get(&conn).is_some_and(|connection| connection.send(bytes) == Sent::Full) {
                    self.connections.remove(&conn).into_iter().for_each(Connection::cut);
                    self.handle(Input::Closed { conn, reason: "the peer does not read".to_owned() });
                }
            }
            Transmit::Close { conn } => {
                self.connections.remove(&conn).into_iter().for_each(Connection::close);
                if let Some(task) = self.dialling.remove(&conn) {
                    task.abort();
                }
            }
        }
    }
}

/// What was last logged of each peer: every attempt has its states, but only the outcome is news.
#[derive(Default)]
struct Said(BTreeMap<IpAddr, (bool, Option<String>)>);

impl Said {
    fn note(&mut self, peer: IpAddr, state: State, reason: Option<String>) {
        let outcome = (state == State::Established, reason.clone());
        let reason = reason.as_deref().unwrap_or_default();
        if self.0.get(&peer).is_none_or(|said| *said != outcome) {
            tracing::info!(%peer, %state, reason, "BGP session");
            self.0.insert(peer, outcome);
        } else {
            tracing::debug!(%peer, %state, reason, "BGP session");
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

/// Listens on every address, as BIRD does, and passes on who connects until it is aborted.
fn accept_on(port: u16, io: &mpsc::Sender<Io>) -> io::Result<JoinHandle<()>> {
    let (listener, io) = (listener(port)?, io.clone());
    Ok(tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, from)) => {
                    if io.send(Io::Accepted(stream, from)).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::debug!(port, %error, "accept");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }))
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
