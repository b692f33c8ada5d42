//! The endpoints of an etcd cluster: which one is asked, and after which failures another one is.
//!
//! With several endpoints, one counts as usable when it has answered a request for its status, which a member without
//! a leader refuses. Endpoints are dialled one shortly after the other and the first usable one wins, so that those
//! that are down or silent cost little wherever they stand. It is kept until it fails. What may be repeated elsewhere:
//! a read always, a write only where nothing of it can have happened.

use super::failure::{Fate, broken, compacted, fate, plain, reason, says_etcd, stale};
use crate::Error;
use crate::config::Config;
use etcd_client::{
    Certificate, Client, ConnectOptions, Identity, KvClient, MaintenanceClient, TlsOptions, WatchClient,
};
use futures::stream::{FuturesUnordered, StreamExt};
use std::collections::BTreeMap;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tonic::transport::Endpoint;

/// How long one request may take at the last endpoint there is to ask.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a read may take where another endpoint is left to ask.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an endpoint has to become usable: connection, TLS, password and status.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an endpoint has a lead before the next one is dialled too.
const STAGGER: Duration = Duration::from_millis(250);

/// How long a connection is quiet before it is probed, and how long the probe may take. etcd ends connections that are
/// probed more often than every 5 s.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(10));

/// The largest answer that is taken, in bytes: etcd's own client's.
const ANSWER_BYTES: usize = i32::MAX as usize;

/// Whether a request may be sent again when nobody knows what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// It changes nothing.
    Read,
    /// It may change something.
    Write,
}

/// Why a request has no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The revision asked for is compacted.
    Compacted(String),
    /// Anything else.
    Other(String),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        let (Failure::Compacted(text) | Failure::Other(text)) = failure;
        Error::Unavailable(text)
    }
}

/// A usable endpoint.
#[derive(Clone)]
pub(super) struct Link {
    client: Client,
    index: usize,
    dialled: u64,
}

impl Link {
    /// A client for keys that takes answers of any size.
    pub(super) fn kv(&self) -> KvClient {
        self.client.kv_client().max_decoding_message_size(ANSWER_BYTES)
    }

    /// A client for what concerns the server itself.
    pub(super) fn maintenance(&self) -> MaintenanceClient {
        self.client.maintenance_client()
    }

    /// A client for watches that takes answers of any size.
    pub(super) fn watch(&self) -> WatchClient {
        self.client.watch_client().max_decoding_message_size(ANSWER_BYTES)
    }
}

/// One endpoint.
struct Member {
    name: String,
    endpoint: Endpoint,
    /// Whether there is TLS, and with a certificate of our own.
    tls: Tls,
    /// Whether it ever answered.
    proven: AtomicBool,
}

/// The endpoints, and the one in use.
pub(super) struct Endpoints {
    all: Vec<Member>,
    options: ConnectOptions,
    state: Mutex<State>,
}

struct State {
    link: Option<Link>,
    /// The endpoint that is dialled first.
    first: usize,
    /// How many links there were.
    dialled: u64,
}

impl Endpoints {
    /// Takes the endpoints of a configuration. Nothing is sent.
    pub(super) fn new(config: &Config) -> Result<Endpoints, Error> {
        let mut options = ConnectOptions::new().with_require_leader(true).with_auto_token_refresh(true);
        if let (Some(user), Some(password)) = (&config.etcd_username, &config.etcd_password) {
            options = options.with_user(user, &password.0);
        }
        let mut all = Vec::new();
        for name in &config.etcd_endpoints {
            let endpoint = endpoint(name, config).map_err(|error| {
                let alone = name.starts_with("https://") && config.tls.as_ref().is_none_or(|tls| tls.ca.is_none());
                let hint = if alone { ": etcdCACertFile may name an authority" } else { "" };
                let reason = reason(&error.into());
                Error::Unavailable(format!("etcd at {name}: {reason}{hint}"))
            })?;
            let tls = match &config.tls {
                _ if !name.starts_with("https://") => Tls::No,
                Some(files) if files.certificate.is_some() => Tls::Mutual,
                Some(_) | None => Tls::Yes,
            };
            all.push(Member { name: name.clone(), endpoint, tls, proven: AtomicBool::new(false) });
        }
        // clients spread over the cluster
        let random = RandomState::new().hash_one(0);
        let first = usize::try_from(random % all.len().max(1) as u64).unwrap_or_default();
        Ok(Endpoints { all, options, state: Mutex::new(State { link: None, first, dialled: 0 }) })
    }

    /// Sends a request to a usable endpoint, and to others as long as that is allowed.
    pub(super) async fn ask<T, F>(&self, kind: Request, request: impl Fn(Link) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let mut failed = BTreeMap::new();
        let mut renewed = false;
        loop {
            let Some(link) = self.link(&mut failed).await else { return Err(self.all_failed(&failed)) };
            let last = failed.len() + 1 == self.all.len();
            let limit = if last || kind == Request::Write { REQUEST_TIMEOUT } else { READ_TIMEOUT };
            let (fate, reason) = match tokio::time::timeout(limit, request(link.clone())).await {
                Ok(Ok(answer)) => {
                    self.all[link.index].proven.store(true, Ordering::Relaxed);
                    return Ok(answer);
                }
                Ok(Err(error)) if compacted(&error) => {
                    return Err(Failure::Compacted(self.describe(link.index, &reason(&error))));
                }
                // a new link has a new token
                Ok(Err(error)) if stale(&error) && !std::mem::replace(&mut renewed, true) => {
                    self.distrust(&link).await;
                    continue;
                }
                Ok(Err(error)) => (fate(&error), self.all[link.index].reason(&error)),
                Err(_) => (Fate::Unknown, format!("no answer within {} s", limit.as_secs())),
            };
            if fate != Fate::Refused {
                self.distrust(&link).await;
            }
            if fate == Fate::Refused || (fate == Fate::Unknown && kind == Request::Write) {
                return Err(Failure::Other(self.describe(link.index, &reason)));
            }
            failed.insert(link.index, reason);
        }
    }

    /// Has the next request choose its endpoint anew, if this one is still in use.
    pub(super) async fn distrust(&self, link: &Link) {
        let mut state = self.state.lock().await;
        if state.link.as_ref().is_some_and(|current| current.dialled == link.dialled) {
            state.link = None;
        }
    }

    /// Names the endpoint that `link` leads to.
    pub(super) fn name(&self, link: &Link) -> &str {
        &self.all[link.index].name
    }

    /// The link in use, else the first of those not yet `failed` that becomes usable; adds the others to them.
    async fn link(&self, failed: &mut BTreeMap<usize, String>) -> Option<Link> {
        // who else needs a link waits here, and has the same
        let mut state = self.state.lock().await;
        if let Some(link) = state.link.as_ref().filter(|link| !failed.contains_key(&link.index)) {
            return Some(link.clone());
        }
        let count = self.all.len();
        let order: Vec<usize> = (0..count).map(|offset| (state.first + offset) % count).collect();
        let mut waiting = order.into_iter().filter(|index| !failed.contains_key(index)).collect::<Vec<_>>().into_iter();
        let mut dialling = FuturesUnordered::new();
        loop {
            if let Some(index) = waiting.next() {
                dialling.push(async move { (index, self.dial(index).await) });
            } else if dialling.is_empty() {
                return None;
            }
            let next = tokio::time::timeout(STAGGER, dialling.next());
            let done = if waiting.len() > 0 { next.await.ok().flatten() } else { dialling.next().await };
            match done {
                Some((index, Ok(client))) => {
                    state.dialled += 1;
                    state.first = index;
                    let link = Link { client, index, dialled: state.dialled };
                    state.link = Some(link.clone());
                    return Some(link);
                }
                Some((index, Err(reason))) => {
                    tracing::debug!(endpoint = self.all[index].name, reason, "an etcd endpoint is not usable");
                    failed.insert(index, reason);
                }
                None => {}
            }
        }
    }

    /// Connects to an endpoint and asks for its status. One that has no alternative is not asked: the request itself
    /// will tell, a round trip sooner.
    async fn dial(&self, index: usize) -> Result<Client, String> {
        let member = &self.all[index];
        let alone = self.all.len() == 1;
        let dial = async {
            let channel = if alone {
                member.endpoint.connect_lazy()
            } else {
                member.endpoint.connect().await.map_err(|error| member.reason(&error.into()))?
            };
            let channel = etcd_client::Channel::Tonic(channel);
            let client = Client::from_channel(channel, Some(self.options.clone())).await;
            let client = client.map_err(|error| member.reason(&error))?;
            if alone {
                return Ok(client);
            }
            match client.maintenance_client().status().await {
                Err(error) if fate(&error) != Fate::Refused || !says_etcd(&error) => Err(member.reason(&error)),
                Ok(_) | Err(_) => Ok(client),
            }
        };
        let limit = if alone { REQUEST_TIMEOUT } else { DIAL_TIMEOUT };
        let late = || Err(format!("no answer within {} s", limit.as_secs()));
        tokio::time::timeout(limit, dial).await.unwrap_or_else(|_| late())
    }

    fn describe(&self, index: usize, reason: &str) -> String {
        format!("etcd at {}: {reason}", self.all[index].name)
    }

    fn all_failed(&self, failed: &BTreeMap<usize, String>) -> Failure {
        let each = failed.iter().map(|(index, reason)| self.describe(*index, reason));
        Failure::Other(each.collect::<Vec<_>>().join("; "))
    }
}

/// What protects a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tls {
    No,
    Yes,
    /// With a certificate of our own.
    Mutual,
}

impl Member {
    /// What went wrong, and what that may mean.
    fn reason(&self, error: &etcd_client::Error) -> String {
        let hint = if self.proven.load(Ordering::Relaxed) { "" } else { self.suspicion(error) };
        format!("{}{hint}", reason(error))
    }

    /// What may be the matter when the very first connection ends.
    ///
    /// A server that refuses a client's certificate says so when the client has begun to speak already (TLS 1.3), and
    /// the transport does not always hear it.
    fn suspicion(&self, error: &etcd_client::Error) -> &'static str {
        match self.tls {
            Tls::No => "",
            Tls::Yes | Tls::Mutual if plain(error) => "; the server may not speak TLS (http://)",
            Tls::Yes if broken(error) => "; the server may want a client certificate (etcdCertFile, etcdKeyFile)",
            Tls::Mutual if broken(error) => "; the server may not accept the client certificate (etcdCertFile)",
            Tls::Yes | Tls::Mutual => "",
        }
    }
}

/// How an endpoint is reached.
fn endpoint(name: &str, config: &Config) -> Result<Endpoint, tonic::transport::Error> {
    let (quiet, patience) = KEEP_ALIVE;
    let endpoint = Endpoint::from_shared(name.to_owned())?
        .connect_timeout(REQUEST_TIMEOUT)
        .http2_keep_alive_interval(quiet)
        .keep_alive_timeout(patience)
        .keep_alive_while_idle(true);
    if !name.starts_with("https://") {
        return Ok(endpoint);
    }
    let files = config.tls.clone().unwrap_or_default();
    let options = TlsOptions::new().timeout(REQUEST_TIMEOUT);
    // as everywhere: an authority of one's own stands in the place of the system's
    let options = match &files.ca {
        Some(authority) => options.ca_certificate(Certificate::from_pem(authority)),
        None => options.with_native_roots(),
    };
    endpoint.tls_config(match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => options.identity(Identity::from_pem(certificate, &key.0)),
        _ => options,
    })
}
