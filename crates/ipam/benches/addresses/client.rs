//! Clients that assign addresses at once, and what that took.

use anyhow::{Result, ensure};
use api::event::{Entry, Key, Object, Revision};
use api::kind::{IpPoolSpec, NodeSpec};
use api::{ObjectMeta, Resource, Typed};
use async_trait::async_trait;
use datastore::config::Config;
use datastore::{Error, Listing, Query, Scope, Store, Watch, Write};
use ipam::{AutoAssign, Ipam, SystemClock};
use std::collections::BTreeSet;
use std::fs::File;
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

/// How many addresses the clients hold together at the end of a round, on one host: a busy node's pods.
const HELD_ON_A_HOST: usize = 96;

/// Where the clients are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hosts {
    /// All on one.
    One,
    /// Each on one of its own.
    OneEach,
}

/// Whether clients of a host take turns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turns {
    /// By a lock on a file, which they hold from their second read to the transaction.
    Lock,
    /// They do not: the datastore refuses those who were overtaken.
    None,
}

/// Who does what.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) clients: usize,
    pub(crate) hosts: Hosts,
    pub(crate) turns: Turns,
}

impl Setting {
    fn host(&self, client: usize) -> String {
        match self.hosts {
            Hosts::One => "node".to_owned(),
            Hosts::OneEach => format!("node-{client}"),
        }
    }

    /// How many addresses a client assigns in a round; a lone client as many as 16 do together.
    fn per_round(&self) -> usize {
        HELD_ON_A_HOST / self.clients
    }
}

/// What the assignments took.
#[derive(Default)]
pub(crate) struct Outcome {
    /// The time of each.
    pub(crate) times: Vec<Duration>,
    /// The time in which all were made.
    pub(crate) elapsed: Duration,
    pub(crate) reads: usize,
    pub(crate) transactions: usize,
}

/// Measures a setting against the server at `url`.
pub(crate) fn run(setting: Setting, url: &str, rounds: usize) -> Result<Outcome> {
    block_on(async { prepare(&Counting::connect(url).await?, setting).await })?;
    let folder = tempfile::tempdir()?;
    let meeting = Arc::new(Meeting { barrier: Barrier::new(setting.clients), failed: AtomicBool::new(false) });
    let threads: Vec<_> = (0..setting.clients)
        .map(|number| {
            let meeting = meeting.clone();
            let (url, lock) = (url.to_owned(), folder.path().join(setting.host(number)));
            std::thread::spawn(move || {
                block_on(async {
                    let client = Client::new(setting, number, &url, &lock).await;
                    meeting.wait(client.is_err())?;
                    client?.work(rounds, &meeting).await
                })
            })
        })
        .collect();
    let mut total = Outcome::default();
    for thread in threads {
        let outcome = thread.join().expect("a client does not panic")?;
        total.times.extend(outcome.times);
        total.reads += outcome.reads;
        total.transactions += outcome.transactions;
        // from one meeting to the next, hence nearly the same for all
        total.elapsed = total.elapsed.max(outcome.elapsed);
    }
    Ok(total)
}

/// Where clients wait for each other, and learn that one has failed.
struct Meeting {
    barrier: Barrier,
    failed: AtomicBool,
}

impl Meeting {
    fn wait(&self, failed: bool) -> Result<()> {
        self.failed.fetch_or(failed, Ordering::SeqCst);
        self.barrier.wait();
        // nobody goes on with what may fail before all have looked
        let stop = self.failed.load(Ordering::SeqCst);
        self.barrier.wait();
        ensure!(failed || !stop, "another client failed");
        Ok(())
    }
}

/// A pool, and the nodes.
async fn prepare(store: &Counting, setting: Setting) -> Result<()> {
    let spec = IpPoolSpec { cidr: "10.0.0.0/16".to_owned(), ..IpPoolSpec::default() };
    let mut resources: Vec<Resource> = vec![Typed::new(ObjectMeta::named("pool"), spec).into()];
    let hosts: BTreeSet<String> = (0..setting.clients).map(|client| setting.host(client)).collect();
    resources.extend(hosts.iter().map(|host| Typed::new(ObjectMeta::named(host), NodeSpec::default()).into()));
    for resource in resources {
        store.create(&Key::of(&resource), &Object::Resource(resource)).await?;
    }
    Ok(())
}

/// One client: a connection, and its host's lock.
struct Client {
    setting: Setting,
    number: usize,
    store: Counting,
    lock: File,
}

impl Client {
    async fn new(setting: Setting, number: usize, url: &str, lock: &Path) -> Result<Client> {
        Ok(Client { setting, number, store: Counting::connect(url).await?, lock: File::create(lock)? })
    }

    async fn work(&self, rounds: usize, meeting: &Meeting) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        // the first round warms up: connections, blocks, the database's file
        for round in 0..=rounds {
            let requests: Vec<AutoAssign> =
                (0..self.setting.per_round()).map(|place| self.request(round, place)).collect();
            let (start, _) = (Instant::now(), self.store.take());
            let times = self.assign(&requests).await;
            let (reads, transactions) = self.store.take();
            meeting.wait(times.is_err())?;
            let (elapsed, times) = (start.elapsed(), times?);
            if round > 0 {
                outcome.elapsed += elapsed;
                outcome.times.extend(times);
                outcome.reads += reads;
                outcome.transactions += transactions;
            }
            let released = self.release(&requests).await;
            meeting.wait(released.is_err())?;
            released?;
        }
        Ok(outcome)
    }

    /// Assigns one after the other; returns the time of each.
    async fn assign(&self, requests: &[AutoAssign]) -> Result<Vec<Duration>> {
        let ipam = Ipam::new(&self.store, &SystemClock);
        let mut times = Vec::new();
        for request in requests {
            let start = Instant::now();
            let prepared = ipam.prepare(request.clone()).await?;
            let turn = self.turn()?;
            let assigned = ipam.assign_prepared(prepared).await?;
            drop(turn);
            times.push(start.elapsed());
            ensure!(assigned.v4.len() == 1, "one address was asked for: {assigned:?}");
        }
        Ok(times)
    }

    async fn release(&self, requests: &[AutoAssign]) -> Result<()> {
        let ipam = Ipam::new(&self.store, &SystemClock);
        for handle in requests.iter().filter_map(|request| request.handle.as_deref()) {
            let _turn = self.turn()?;
            ipam.release_by_handle(handle).await?;
        }
        Ok(())
    }

    fn turn(&self) -> Result<Option<Turn<'_>>> {
        if self.setting.turns == Turns::None {
            return Ok(None);
        }
        self.lock.lock()?;
        Ok(Some(Turn(&self.lock)))
    }

    /// A pod's request, with the attributes that the plugin gives it.
    fn request(&self, round: usize, place: usize) -> AutoAssign {
        let host = self.setting.host(self.number);
        let pod = format!("pod-{}-{round}-{place}", self.number);
        let handle = format!("network.{pod}");
        let attributes = [("namespace", "default".to_owned()), ("node", host.clone()), ("pod", pod)];
        let attrs = attributes.map(|(name, value)| (name.to_owned(), value)).into();
        AutoAssign { num_v4: 1, handle: Some(handle), attrs, host, ..AutoAssign::default() }
    }
}

/// The host's lock, held.
struct Turn<'f>(&'f File);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.unlock().expect("a lock that is held can be given up");
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime of one thread can be had").block_on(future)
}

/// A client of the datastore that counts its requests.
struct Counting {
    inner: Arc<dyn Store>,
    reads: AtomicUsize,
    transactions: AtomicUsize,
}

impl Counting {
    async fn connect(url: &str) -> Result<Counting> {
        let config = Config { etcd_endpoints: vec![url.to_owned()], ..Config::default() };
        let inner = datastore::connect(&config).await?;
        Ok(Counting { inner, reads: AtomicUsize::new(0), transactions: AtomicUsize::new(0) })
    }

    /// Reads and transactions since the last call.
    fn take(&self) -> (usize, usize) {
        (self.reads.swap(0, Ordering::Relaxed), self.transactions.swap(0, Ordering::Relaxed))
    }
}

#[async_trait]
impl Store for Counting {
    async fn get(&self, key: &Key) -> Result<Entry, Error> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.get(key).await
    }

    async fn list(&self, scope: &Scope) -> Result<(Listing, Revision), Error> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.list(scope).await
    }

    async fn read(&self, queries: &[Query]) -> Result<(Vec<Listing>, Revision), Error> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.read(queries).await
    }

    async fn delete(&self, key: &Key, revision: Option<&Revision>) -> Result<(), Error> {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.inner.delete(key, revision).await
    }

    async fn transact(&self, writes: &[Write]) -> Result<Revision, Error> {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.inner.transact(writes).await
    }

    async fn watch(&self, scope: &Scope, from: &Revision) -> Result<Box<dyn Watch>, Error> {
        self.inner.watch(scope, from).await
    }
}
