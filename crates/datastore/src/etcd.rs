//! The etcd v3 client, for etcd itself and for `tortie store` (control reference §2.2).

use crate::config::{Config, TlsFiles};
use crate::{Change, Error, Listing, Query, Scope, Store, Watch, Write, layout};
use api::event::{Entry, Key, Revision};
use async_trait::async_trait;
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, EventType, GetOptions, Identity, KeyValue, KvClient,
    TlsOptions, Txn, TxnOp, TxnOpResponse, WatchClient, WatchOptions, WatchStream,
};
use std::collections::VecDeque;
use std::error::Error as _;
use std::future::Future;
use std::time::Duration;
use tonic::transport::Endpoint;

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How many operations one transaction may have: etcd's `--max-txn-ops` unless told otherwise.
const OPERATIONS_PER_TRANSACTION: usize = 128;

/// The largest answer that is taken, in bytes: etcd's own client's. A list is one answer, and has no limit of its own.
const ANSWER_BYTES: usize = i32::MAX as usize;

/// A connection to an etcd cluster.
pub struct Etcd {
    client: Client,
    endpoints: String,
}

impl Etcd {
    /// Prepares a client. Nothing is sent before the first request, unless a password has to be exchanged.
    ///
    /// Endpoints are `http://HOST:PORT`, `https://HOST:PORT`, or `unix:///PATH` (one only).
    pub async fn connect(config: &Config) -> Result<Etcd, Error> {
        let endpoints = config.etcd_endpoints.join(",");
        let mut options = ConnectOptions::new()
            .with_connect_timeout(REQUEST_TIMEOUT)
            .with_keep_alive(Duration::from_secs(30), Duration::from_secs(10));
        if let (Some(user), Some(password)) = (&config.etcd_username, &config.etcd_password) {
            options = options.with_user(user, password);
        }
        if let Some(files) = &config.tls {
            options = options.with_tls(tls(files)?);
        }
        let unavailable =
            |error: etcd_client::Error| Error::Unavailable(format!("etcd at {endpoints}: {}", reason(&error)));
        let client = match config.etcd_endpoints.as_slice() {
            [unix] if unix.starts_with("unix:") => {
                let endpoint = Endpoint::from_shared(unix.clone())
                    .map_err(|error| Error::Unavailable(format!("etcd endpoint {unix:?}: {error}")))?;
                {
                    let channel = etcd_client::Channel::Tonic(endpoint.connect_lazy());
                    Client::from_channel(channel, Some(options)).await.map_err(unavailable)?
                }
            }
            many => Client::connect(many, Some(options)).await.map_err(unavailable)?,
        };
        Ok(Etcd { client, endpoints })
    }

    fn kv(&self) -> KvClient {
        self.client.kv_client().max_decoding_message_size(ANSWER_BYTES)
    }

    async fn timed<T>(&self, request: impl Future<Output = Result<T, etcd_client::Error>>) -> Result<T, Error> {
        match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
            Ok(answer) => answer.map_err(|error| self.unavailable(&error)),
            Err(_) => Err(Error::Unavailable(format!("etcd at {}: no answer within 10 s", self.endpoints))),
        }
    }

    fn unavailable(&self, error: &etcd_client::Error) -> Error {
        Error::Unavailable(format!("etcd at {}: {}", self.endpoints, reason(error)))
    }
}

/// What went wrong, in a line for an operator: what the server or the transport said, and the last cause.
fn reason(error: &etcd_client::Error) -> String {
    let (text, mut cause) = if let etcd_client::Error::GRpcStatus(status) = error {
        let message = Some(status.message()).filter(|message| !message.is_empty());
        (message.map_or_else(|| status.code().to_string(), str::to_owned), status.source())
    } else {
        (error.to_string(), error.source())
    };
    while let Some(deeper) = cause.and_then(|cause| cause.source()) {
        cause = Some(deeper);
    }
    match cause.map(ToString::to_string) {
        Some(root) if !text.contains(&root) => format!("{text}: {root}"),
        _ => text,
    }
}

fn tls(files: &TlsFiles) -> Result<TlsOptions, Error> {
    let mut options = TlsOptions::new();
    if let Some(authority) = &files.ca {
        options = options.ca_certificate(Certificate::from_pem(authority));
    }
    if let (Some(certificate), Some(key)) = (&files.certificate, &files.key) {
        options = options.identity(Identity::from_pem(certificate, key));
    }
    Ok(options)
}

fn number(revision: &Revision) -> Result<i64, Error> {
    revision.0.parse().map_err(|_| Error::Conflict(format!("resourceVersion {:?} is not a number", revision.0)))
}

/// The ranges that answer a query, each with the query's place.
fn ranges((index, query): (usize, &Query)) -> Vec<(usize, String, GetOptions)> {
    match query {
        Query::Get(key) => vec![(index, layout::path(key), GetOptions::new())],
        Query::List(scope) => {
            let prefixes = layout::prefixes(scope).into_iter();
            prefixes.map(|prefix| (index, prefix, GetOptions::new().with_prefix())).collect()
        }
    }
}

fn revision(found: &KeyValue) -> Revision {
    Revision(found.mod_revision().to_string())
}

/// Adds what a range of keys found; nothing where the key is not one of ours.
fn listed(listing: &mut Listing, found: &KeyValue) {
    if let Some(key) = layout::parse(&String::from_utf8_lossy(found.key())) {
        listing.add(key, found.value(), revision(found));
    }
}

#[async_trait]
impl Store for Etcd {
    async fn get(&self, key: &Key) -> Result<Entry, Error> {
        let mut kv = self.kv();
        let answer = self.timed(kv.get(layout::path(key), None)).await?;
        let found = answer.kvs().first().ok_or_else(|| Error::NotFound(layout::describe(key)))?;
        let mut listing = Listing::default();
        listing.add(key.clone(), found.value(), revision(found));
        listing.one()?.ok_or_else(|| Error::NotFound(layout::describe(key)))
    }

    async fn list(&self, scope: &Scope) -> Result<(Listing, Revision), Error> {
        let mut kv = self.kv();
        let mut listing = Listing::default();
        let mut at = 0;
        for prefix in layout::prefixes(scope) {
            let options = GetOptions::new().with_prefix().with_revision(at);
            let answer = self.timed(kv.get(prefix, Some(options))).await?;
            if at == 0 {
                at = answer.header().map_or(0, |header| header.revision());
            }
            answer.kvs().iter().for_each(|found| listed(&mut listing, found));
        }
        Ok((listing, Revision(at.to_string())))
    }

    async fn read(&self, queries: &[Query]) -> Result<(Vec<Listing>, Revision), Error> {
        let ranges: Vec<(usize, String, GetOptions)> = queries.iter().enumerate().flat_map(ranges).collect();
        let mut found = vec![Listing::default(); queries.len()];
        let mut at = 0;
        for part in ranges.chunks(OPERATIONS_PER_TRANSACTION) {
            // a read too large for one transaction goes on at the revision it began at
            let operations =
                part.iter().map(|(_, path, options)| TxnOp::get(path.clone(), Some(options.clone().with_revision(at))));
            let mut kv = self.kv();
            let answer = self.timed(kv.txn(Txn::new().and_then(operations.collect::<Vec<_>>()))).await?;
            if at == 0 {
                at = answer.header().map_or(0, |header| header.revision());
            }
            for ((index, ..), response) in part.iter().zip(answer.op_responses()) {
                let TxnOpResponse::Get(response) = response else { continue };
                for value in response.kvs() {
                    match &queries[*index] {
                        Query::Get(key) => found[*index].add(key.clone(), value.value(), revision(value)),
                        Query::List(_) => listed(&mut found[*index], value),
                    }
                }
            }
        }
        Ok((found, Revision(at.to_string())))
    }

    async fn delete(&self, key: &Key, revision: Option<&Revision>) -> Result<(), Error> {
        if let Some(revision) = revision {
            return self.transact(&[Write::Delete(key.clone(), revision.clone())]).await.map(|_| ());
        }
        let mut kv = self.kv();
        let answer = self.timed(kv.delete(layout::path(key), None)).await?;
        if answer.deleted() == 0 { Err(Error::NotFound(layout::describe(key))) } else { Ok(()) }
    }

    async fn transact(&self, writes: &[Write]) -> Result<Revision, Error> {
        let mut compares = Vec::new();
        let mut then = Vec::new();
        let mut otherwise = Vec::new();
        for write in writes {
            let absent = |path: String| Compare::version(path, CompareOp::Equal, 0);
            let at = |path: String, revision: &Revision| {
                Ok::<_, Error>(Compare::mod_revision(path, CompareOp::Equal, number(revision)?))
            };
            let (key, compare, operation) = match write {
                Write::Create(key, object) => {
                    let path = layout::path(key);
                    (key, absent(path.clone()), Some(TxnOp::put(path, layout::encode(object), None)))
                }
                Write::Update(key, object, revision) => {
                    let path = layout::path(key);
                    (key, at(path.clone(), revision)?, Some(TxnOp::put(path, layout::encode(object), None)))
                }
                Write::Delete(key, revision) => {
                    let path = layout::path(key);
                    (key, at(path.clone(), revision)?, Some(TxnOp::delete(path, None)))
                }
                Write::Expect(key, None) => (key, absent(layout::path(key)), None),
                Write::Expect(key, Some(revision)) => (key, at(layout::path(key), revision)?, None),
            };
            compares.push(compare);
            then.extend(operation);
            otherwise.push(TxnOp::get(layout::path(key), Some(GetOptions::new().with_keys_only())));
        }
        let mut kv = self.kv();
        let answer = self.timed(kv.txn(Txn::new().when(compares).and_then(then).or_else(otherwise))).await?;
        if answer.succeeded() {
            let revision = answer.header().map_or(0, |header| header.revision());
            return Ok(Revision(revision.to_string()));
        }
        for (write, found) in writes.iter().zip(answer.op_responses()) {
            let TxnOpResponse::Get(found) = found else { continue };
            let found = found.kvs().first().map(|kv| kv.mod_revision().to_string());
            match (write, found) {
                (Write::Create(key, _) | Write::Expect(key, None), Some(_)) => {
                    return Err(Error::Exists(layout::describe(key)));
                }
                (Write::Create(..) | Write::Expect(_, None), None) => {}
                (Write::Update(key, ..) | Write::Delete(key, _) | Write::Expect(key, Some(_)), None) => {
                    return Err(Error::NotFound(layout::describe(key)));
                }
                (
                    Write::Update(key, _, expected) | Write::Delete(key, expected) | Write::Expect(key, Some(expected)),
                    Some(found),
                ) => {
                    if found != expected.0 {
                        return Err(Error::Conflict(layout::describe(key)));
                    }
                }
            }
        }
        Err(Error::Conflict("the transaction met another writer".to_owned()))
    }

    async fn watch(&self, scope: &Scope, from: &Revision) -> Result<Box<dyn Watch>, Error> {
        let start = number(from)? + 1;
        let mut watches = Vec::new();
        for prefix in layout::prefixes(scope) {
            let options = WatchOptions::new().with_prefix().with_start_revision(start).with_prev_key();
            let mut client: WatchClient = self.client.watch_client().max_decoding_message_size(ANSWER_BYTES);
            let stream = self.timed(client.watch(prefix, Some(options))).await?;
            watches.push(stream);
        }
        let endpoints = self.endpoints.clone();
        Ok(match <[WatchStream; 1]>::try_from(watches) {
            Ok([stream]) => Box::new(EtcdWatch { stream, endpoints, ready: VecDeque::new() }),
            Err(streams) => {
                let watch = |stream| EtcdWatch { stream, endpoints: endpoints.clone(), ready: VecDeque::new() };
                Box::new(Merged(streams.into_iter().map(watch).collect()))
            }
        })
    }
}

struct EtcdWatch {
    stream: WatchStream,
    endpoints: String,
    ready: VecDeque<Change>,
}

#[async_trait]
impl Watch for EtcdWatch {
    async fn next(&mut self) -> Result<Vec<Change>, Error> {
        loop {
            if !self.ready.is_empty() {
                return Ok(self.ready.drain(..).collect());
            }
            let lost = |reason: String| Error::Unavailable(format!("etcd at {}: watch {reason}", self.endpoints));
            let answer = self.stream.message().await.map_err(|error| lost(format!("failed: {}", reason(&error))))?;
            let answer = answer.ok_or_else(|| lost("ended".to_owned()))?;
            if answer.canceled() {
                return Err(lost(format!("cancelled: {}", answer.cancel_reason())));
            }
            for event in answer.events() {
                let Some(kv) = event.kv() else { continue };
                let Some(key) = layout::parse(&String::from_utf8_lossy(kv.key())) else { continue };
                let value = (event.event_type() == EventType::Put).then_some(kv.value());
                self.ready.push_back(crate::change(key, value, Revision(kv.mod_revision().to_string())));
            }
        }
    }
}

/// Several watches as one.
struct Merged(Vec<EtcdWatch>);

#[async_trait]
impl Watch for Merged {
    async fn next(&mut self) -> Result<Vec<Change>, Error> {
        futures::future::select_all(self.0.iter_mut().map(|watch| watch.next())).await.0
    }
}
