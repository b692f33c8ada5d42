//! Sockets and sleeps around [`bgp::Speaker`]: nothing here knows what a message means.
//!
//! One task owns the speaker; what happens to sockets comes to it over a channel. A peer that does not read is cut off
//! when its [`Connection`] is full, which the speaker learns as a lost connection.

use super::bgp_config::{Local, asks_for_interface};
use super::bgp_socket::{self, Listener};
use super::connection::{Connection, Sent};
use bgp::{Config, ConnId, Event, Input, Password, PeerConfig, Speaker, State, Transmit};
use ipnet::Ipv4Net;
use model::desired::{Hop, Learned};
use model::peering::{Listen, Peering};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// Pause before a port that could not be had is tried again.
const LISTEN_RETRY: Duration = Duration::from_secs(1);
/// Pause after the listener was refused a connection, such as for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How often secrets are read again, while there are any.
const HOST_REFRESH: Duration = Duration::from_secs(5);
/// How much of what sockets bring is taken before anybody is told what follows from it.
const BATCH: usize = 32;

/// Asks for the peers' states.
pub(crate) type Question = oneshot::Sender<Vec<Known>>;

/// A peer's state, with what was configured.
pub(crate) struct Known {
    /// How it stands.
    pub(crate) status: bgp::PeerStatus,
    /// What is wanted of it.
    pub(crate) config: PeerConfig,
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
    at: (Ipv4Addr, u16),
    /// None while the port cannot be had.
    open: Option<Open>,
    retry_at: Instant,
}

struct Open {
    listener: Listener,
    accepting: JoinHandle<()>,
}

/// The speaker and its sockets.
pub(crate) struct Shell {
    local: Local,
    speaker: Speaker,
    /// What the graph last asked for.
    wanted: Option<Peering>,
    /// What the speaker was told of it.
    config: Config,
    /// When secrets are read again.
    refresh_at: Option<Instant>,
    connections: BTreeMap<ConnId, Connection>,
    dialling: BTreeMap<ConnId, JoinHandle<()>>,
    listening: Option<Listening>,
    accepted: u64,
    io: mpsc::Sender<Io>,
    events: mpsc::Receiver<Io>,
    /// The speaker's routes as last heard, and what is passed on of them with the gateways' routes.
    routes: Arc<Learned>,
    gateways: BTreeMap<Ipv4Addr, Ipv4Addr>,
    learned: Box<dyn Fn(Arc<Learned>) + Send>,
    said: Said,
}

impl Shell {
    /// A speaker without peers, which passes the routes it learns to `learned`.
    ///
    /// `retained` are the routes that an earlier agent left in the kernel: they stay until the peers had their say.
    pub(crate) fn new(
        local: Local,
        first: &Peering,
        retained: Arc<Learned>,
        learned: Box<dyn Fn(Arc<Learned>) + Send>,
    ) -> Shell {
        let (io, events) = mpsc::channel(BATCH);
        let seed = u64::from(u32::from(first.address)) ^ u64::from(std::process::id());
        let config = local.config(first);
        let speaker = Speaker::new(config.clone(), Arc::clone(&retained), Instant::now(), seed);
        Shell {
            local,
            speaker,
            wanted: None,
            config,
            refresh_at: None,
            connections: BTreeMap::new(),
            dialling: BTreeMap::new(),
            listening: None,
            accepted: 0,
            io,
            events,
            routes: retained,
            gateways: BTreeMap::new(),
            learned,
            said: Said::default(),
        }
    }

    /// Follows what is `wanted`, the newest of it, until that ends; then the sessions close without a word, so that peers
    /// keep our routes. Nothing is wanted while the node is not registered.
    pub(crate) async fn run(
        mut self,
        mut wanted: watch::Receiver<Option<Peering>>,
        mut questions: mpsc::Receiver<Question>,
    ) {
        let first = wanted.borrow_and_update().clone();
        self.configure(first);
        loop {
            self.drain();
            let retry = self.listening.as_ref().filter(|listening| listening.open.is_none()).map(|l| l.retry_at);
            let due = self.speaker.poll_timeout().map(|(at, _)| at);
            let timeout = due.into_iter().chain(retry).chain(self.refresh_at).min();
            let sleep = async move {
                match timeout {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let peering = wanted.borrow_and_update().clone();
                    self.configure(peering);
                }
                Some(question) = questions.recv() => drop(question.send(self.status())),
                event = self.events.recv() => {
                    let event = event.expect("the shell holds a sender of this channel itself");
                    self.on_io(event);
                    for _ in 1..BATCH {
                        let Ok(event) = self.events.try_recv() else { break };
                        self.on_io(event);
                    }
                }
                () = sleep => {
                    self.listen_again();
                    self.refresh_host();
                    self.expire();
                }
            }
        }
    }

    fn handle(&mut self, input: Input) {
        self.speaker.handle(input, Instant::now());
    }

    /// Lets timers run out; an agent that stood still first hears what came meanwhile.
    fn expire(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.on_io(event);
        }
        let unread = self.connections.iter().filter(|(_, connection)| connection.has_unread()).map(|(conn, _)| *conn);
        for conn in unread.collect::<Vec<_>>() {
            self.handle(Input::Unread { conn });
        }
        self.handle(Input::Timeout);
    }

    fn status(&self) -> Vec<Known> {
        let status = self.speaker.status().into_iter();
        status
            .filter_map(|status| Some(Known { config: self.config.peers.get(&status.peer)?.clone(), status }))
            .collect()
    }

    /// Follows the datastore; a node that lost its address parts from its peers and announces nothing.
    fn configure(&mut self, peering: Option<Peering>) {
        let (config, gateways, originate) = match &peering {
            Some(peering) => {
                let address = match peering.listen {
                    Listen::Everywhere => Ipv4Addr::UNSPECIFIED,
                    Listen::NodeAddress => peering.address,
                };
                self.listen((address, peering.listen_port));
                (self.local.config(peering), peering.gateways.clone(), peering.originate.clone())
            }
            None => {
                let config = Config { peers: BTreeMap::new(), ..self.config.clone() };
                (config, BTreeMap::new(), BTreeSet::new())
            }
        };
        self.wanted = peering;
        self.apply(config);
        self.handle(Input::Originate(originate));
        if self.gateways != gateways {
            self.gateways = gateways;
            self.tell_routes();
        }
    }

    /// Tells sockets and speaker what is configured.
    fn apply(&mut self, config: Config) {
        self.config = config;
        let mut peers = self.wanted.iter().flat_map(|wanted| wanted.peers.values());
        let of_this_host = peers.any(|peer| peer.password.is_some() || asks_for_interface(peer));
        self.refresh_at = of_this_host.then(|| Instant::now() + HOST_REFRESH);
        self.sign();
        self.handle(Input::Configure(self.config.clone()));
    }

    /// Reads secrets and interfaces again when it is time, and follows those that changed.
    fn refresh_host(&mut self) {
        let now = Instant::now();
        if self.refresh_at.is_none_or(|at| at > now) {
            return;
        }
        self.refresh_at = Some(now + HOST_REFRESH);
        if let Some(config) = self.wanted.as_ref().map(|wanted| self.local.config(wanted))
            && config != self.config
        {
            tracing::info!("BGP passwords or this host's networks changed");
            self.apply(config);
        }
    }

    fn listen(&mut self, at: (Ipv4Addr, u16)) {
        if let Some(listening) = &self.listening {
            if listening.at == at {
                return;
            }
            listening.open.iter().for_each(|open| open.accepting.abort());
        }
        let (address, port) = at;
        let open = accept_on(at, &self.io).inspect_err(|error| {
            tracing::error!(
                %address, port, %error, "cannot listen for BGP, trying again; only peers that we dial are reached"
            );
        });
        self.listening = Some(Listening { at, open: open.ok(), retry_at: Instant::now() + LISTEN_RETRY });
    }

    fn listen_again(&mut self) {
        let now = Instant::now();
        let Some(listening) = self.listening.as_mut().filter(|l| l.open.is_none() && l.retry_at <= now) else {
            return;
        };
        listening.retry_at = now + LISTEN_RETRY;
        if let Ok(open) = accept_on(listening.at, &self.io) {
            tracing::info!(port = listening.at.1, "listening for BGP");
            listening.open = Some(open);
            self.sign();
        }
    }

    /// Gives the listener the peers' passwords.
    fn sign(&mut self) {
        let Some(open) = self.listening.as_mut().and_then(|listening| listening.open.as_mut()) else { return };
        let signed = self.config.peers.iter().filter_map(|(peer, wanted)| Some((peer.ip(), wanted.password.clone()?)));
        let signed: BTreeMap<IpAddr, Password> = signed.collect();
        if let Err(error) = open.listener.sign(signed) {
            tracing::error!(%error, "cannot set the peers' TCP-MD5 passwords; they cannot connect");
        }
    }

    /// The configuration of whoever connects from an address.
    fn peer_at(&self, address: IpAddr) -> Option<&PeerConfig> {
        let address = address.to_canonical();
        self.config.peers.iter().find(|(peer, _)| peer.ip() == address).map(|(_, config)| config)
    }

    fn on_io(&mut self, event: Io) {
        match event {
            Io::Accepted(stream, from) => {
                let prepared = bgp_socket::accepted(&stream, self.peer_at(from.ip()));
                let (Ok(local), Ok(())) = (stream.local_addr(), prepared) else { return };
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
        let (io, config) = (self.io.clone(), self.config.peers.get(&peer).cloned());
        let task = tokio::spawn(async move {
            let event = match bgp_socket::connect(peer, local, config.as_ref()).await {
                Ok(stream) => Io::Connected(conn, stream),
                Err(error) => Io::ConnectFailed(conn, bgp_socket::words(&error)),
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
            self.routes = routes;
            self.tell_routes();
        }
    }

    /// Passes on the routes for the kernel: what was learned, and the way to peers behind a gateway.
    fn tell_routes(&self) {
        let mut routes = Arc::clone(&self.routes);
        for (peer, gateway) in &self.gateways {
            let hop = Hop { gateway: *gateway, metric: Some(0) };
            Arc::make_mut(&mut routes).insert(Ipv4Net::from(*peer), hop);
        }
        (self.learned)(routes);
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
struct Said(BTreeMap<SocketAddr, (bool, Option<String>)>);

impl Said {
    fn note(&mut self, peer: SocketAddr, state: State, reason: Option<String>) {
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

/// Listens, and passes on who connects until it is aborted.
fn accept_on((address, port): (Ipv4Addr, u16), io: &mpsc::Sender<Io>) -> io::Result<Open> {
    let ((listener, accepting), io) = (Listener::bind(address, port)?, io.clone());
    let accepting = tokio::spawn(accept(accepting, port, io));
    Ok(Open { listener, accepting })
}

async fn accept(accepting: TcpListener, port: u16, io: mpsc::Sender<Io>) {
    loop {
        match accepting.accept().await {
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
}

#[cfg(test)]
mod tests {
    use super::super::bgp_config::RouterId;
    use super::*;
    use model::Asn;
    use std::sync::Mutex;

    /// Nobody to talk to, and a gateway towards 10.9.HIGH.LOW of a number.
    fn peering(number: u16) -> Peering {
        let [high, low] = number.to_be_bytes();
        Peering {
            local_as: Asn(64512),
            address: Ipv4Addr::LOCALHOST,
            listen_port: 0,
            listen: Listen::NodeAddress,
            cluster_id: None,
            metric: 1024,
            peers: BTreeMap::new(),
            gateways: BTreeMap::from([(Ipv4Addr::new(10, 9, high, low), Ipv4Addr::new(10, 0, 0, 1))]),
            originate: BTreeSet::new(),
            pools: BTreeSet::new(),
            withheld: BTreeSet::new(),
        }
    }

    #[test]
    fn of_many_configurations_the_newest_counts() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let local = Local { router_id: RouterId::Address, secrets: "/nonexistent".into() };
            let told: Arc<Mutex<Vec<Arc<Learned>>>> = Arc::default();
            let teller = Arc::clone(&told);
            let learned = Box::new(move |routes| teller.lock().expect("no panic").push(routes));
            let shell = Shell::new(local, &peering(0), Arc::default(), learned);
            let (wanted, receiver) = watch::channel(Some(peering(0)));
            let (ask, questions) = mpsc::channel(1);
            let running = tokio::spawn(shell.run(receiver, questions));
            let answered = async || {
                let (answer, status) = oneshot::channel();
                ask.send(answer).await.expect("it runs");
                status.await.expect("it answers")
            };
            assert!(answered().await.is_empty());
            // the shell has no turn while these come
            for number in 1..=1000 {
                wanted.send_replace(Some(peering(number)));
            }
            let newest = Ipv4Net::from(Ipv4Addr::new(10, 9, 3, 232));
            while !told.lock().expect("no panic").last().is_some_and(|routes| routes.contains_key(&newest)) {
                answered().await;
            }
            assert!(told.lock().expect("no panic").len() <= 4, "{} were told", told.lock().expect("no panic").len());
            drop(wanted);
            running.await.expect("it ends");
        });
    }
}
