//! A datastore with pools and nodes, a clock that stands, and a store that counts, yields and fails on demand.

use api::event::{Entry, Key, Object, Revision};
use api::ipam::Block;
use api::kind::{IpPoolSpec, IpReservationSpec, NodeSpec};
use api::{ObjectMeta, Resource, Typed};
use async_trait::async_trait;
use datastore::memory::Memory;
use datastore::{Error, Listing, Query, Scope, Store, Watch, Write};
use ipam::{AutoAssign, Clock, Ipam};
use ipnet::IpNet;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// 2026-11-22T23:38:31Z and a bit: the sequence number of the recorded first block.
pub(crate) const EPOCH: i64 = 1_795_390_711_219_867_863;

#[derive(Default)]
pub(crate) struct Cluster {
    pub(crate) store: Probe,
    clock: StandingClock,
}

struct StandingClock(Mutex<Timestamp>);

impl Default for StandingClock {
    fn default() -> Self {
        StandingClock(Mutex::new(Timestamp::from_nanosecond(EPOCH.into()).unwrap()))
    }
}

impl Clock for StandingClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

impl Cluster {
    /// A cluster with the nodes `n1`, `n2`, `n3` and one pool `pool` of blocks of 64.
    pub(crate) async fn with_pool(cidr: &str) -> Self {
        let cluster = Cluster::default();
        for node in ["n1", "n2", "n3"] {
            cluster.node(node, &[]).await;
        }
        cluster.pool("pool", cidr, |_| {}).await;
        cluster
    }

    pub(crate) fn ipam(&self) -> Ipam<'_> {
        Ipam::new(&self.store, &self.clock)
    }

    pub(crate) fn set_time(&self, nanoseconds: i64) {
        *self.clock.0.lock().unwrap() = Timestamp::from_nanosecond(nanoseconds.into()).unwrap();
    }

    /// Creates a pool, or replaces it.
    pub(crate) async fn pool(&self, name: &str, cidr: &str, change: impl FnOnce(&mut IpPoolSpec)) {
        let mut spec = IpPoolSpec { cidr: cidr.to_owned(), ..IpPoolSpec::default() };
        change(&mut spec);
        self.put(Typed::new(ObjectMeta::named(name), spec).into()).await;
    }

    /// Creates a reservation, or replaces it.
    pub(crate) async fn reserve(&self, name: &str, cidrs: &[&str]) {
        let spec = IpReservationSpec { reserved_cidrs: cidrs.iter().map(|cidr| (*cidr).to_owned()).collect() };
        self.put(Typed::new(ObjectMeta::named(name), spec).into()).await;
    }

    /// Creates a node, or replaces it.
    pub(crate) async fn node(&self, name: &str, labels: &[(&str, &str)]) {
        self.node_with(name, labels, |_| {}).await;
    }

    pub(crate) async fn node_with(&self, name: &str, labels: &[(&str, &str)], change: impl FnOnce(&mut NodeSpec)) {
        let mut spec = NodeSpec::default();
        change(&mut spec);
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.put(Typed::new(ObjectMeta { labels, ..ObjectMeta::named(name) }, spec).into()).await;
    }

    async fn put(&self, resource: Resource) {
        let key = Key::of(&resource);
        let object = Object::Resource(resource);
        match self.store.memory.get(&key).await {
            Ok(entry) => self.store.memory.update(&key, &object, &entry.revision).await.unwrap(),
            Err(_) => self.store.memory.create(&key, &object).await.unwrap(),
        };
    }

    pub(crate) async fn configure(&self, change: impl Fn(&mut api::ipam::Config)) {
        self.ipam().change_config(change).await.unwrap();
    }

    /// Everything stored below `/calico/ipam/v2/`, without that prefix.
    pub(crate) fn stored(&self) -> BTreeMap<String, String> {
        let dump = self.store.memory.dump().into_iter();
        dump.filter_map(|(path, value)| Some((path.strip_prefix("/calico/ipam/v2/")?.to_owned(), value))).collect()
    }

    pub(crate) fn put_raw(&self, path: &str, value: &str) {
        self.store.memory.put_raw(&format!("/calico/ipam/v2/{path}"), value.as_bytes());
    }

    /// The paths below a prefix.
    pub(crate) fn paths(&self, prefix: &str) -> Vec<String> {
        self.stored().into_keys().filter(|path| path.starts_with(prefix)).collect()
    }

    pub(crate) async fn block(&self, cidr: &str) -> Block {
        let Object::Block(block) = self.store.memory.get(&Key::Block(net(cidr))).await.unwrap().object else {
            panic!("{cidr} is not a block")
        };
        block
    }

    pub(crate) async fn blocks(&self) -> Vec<Block> {
        let (listing, _) = self.store.memory.list(&Scope::Blocks).await.unwrap();
        let blocks = listing.entries.into_iter().filter_map(|entry| {
            let Object::Block(block) = entry.object else { return None };
            Some(block)
        });
        blocks.collect()
    }

    /// Assigns `count` IPv4 addresses on a host.
    pub(crate) async fn assign(&self, host: &str, handle: &str, count: usize) -> Vec<String> {
        let assigned = self.ipam().auto_assign(&request(host, handle, count)).await.unwrap();
        assert_eq!(assigned.shortages, []);
        texts(&assigned.v4)
    }
}

pub(crate) fn request(host: &str, handle: &str, num_v4: usize) -> AutoAssign {
    AutoAssign {
        num_v4,
        handle: Some(handle.to_owned()),
        attrs: BTreeMap::from([("node".to_owned(), host.to_owned())]),
        host: host.to_owned(),
        ..AutoAssign::default()
    }
}

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

pub(crate) fn texts(nets: &[IpNet]) -> Vec<String> {
    nets.iter().map(IpNet::to_string).collect()
}

/// The store in memory, which lets other tasks run before every operation, counts, and fails on demand.
#[derive(Default)]
pub(crate) struct Probe {
    pub(crate) memory: Memory,
    reads: AtomicUsize,
    writes: AtomicUsize,
    /// Transactions to let pass before one fails; 0 means none fails.
    pub(crate) fail_after: AtomicUsize,
    /// What another program writes just before the next transaction.
    pub(crate) meanwhile: Mutex<Vec<(String, Option<String>)>>,
}

impl Probe {
    /// Reads and transactions since the last call.
    pub(crate) fn take_counts(&self) -> (usize, usize) {
        (self.reads.swap(0, Ordering::SeqCst), self.writes.swap(0, Ordering::SeqCst))
    }

    async fn turn(&self, counter: &AtomicUsize) {
        counter.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
    }
}

#[async_trait]
impl Store for Probe {
    async fn get(&self, key: &Key) -> Result<Entry, Error> {
        self.turn(&self.reads).await;
        self.memory.get(key).await
    }

    async fn list(&self, scope: &Scope) -> Result<(Listing, Revision), Error> {
        self.turn(&self.reads).await;
        self.memory.list(scope).await
    }

    async fn read(&self, queries: &[Query]) -> Result<(Vec<Listing>, Revision), Error> {
        self.turn(&self.reads).await;
        self.memory.read(queries).await
    }

    async fn create(&self, key: &Key, object: &Object) -> Result<Entry, Error> {
        self.turn(&self.writes).await;
        self.memory.create(key, object).await
    }

    async fn update(&self, key: &Key, object: &Object, revision: &Revision) -> Result<Entry, Error> {
        self.turn(&self.writes).await;
        self.memory.update(key, object, revision).await
    }

    async fn delete(&self, key: &Key, revision: Option<&Revision>) -> Result<(), Error> {
        self.turn(&self.writes).await;
        self.memory.delete(key, revision).await
    }

    async fn transact(&self, writes: &[Write]) -> Result<Revision, Error> {
        self.turn(&self.writes).await;
        let meanwhile = std::mem::take(&mut *self.meanwhile.lock().unwrap());
        for (path, value) in meanwhile {
            match value {
                Some(value) => self.memory.put_raw(&path, value.as_bytes()),
                None => self.memory.delete(&datastore::layout::parse(&path).unwrap(), None).await.unwrap(),
            }
        }
        let left = self.fail_after.load(Ordering::SeqCst);
        if left > 0 {
            self.fail_after.store(left - 1, Ordering::SeqCst);
            if left == 1 {
                return Err(Error::Unavailable("the test's store fails".to_owned()));
            }
        }
        self.memory.transact(writes).await
    }

    async fn watch(&self, scope: &Scope, from: &Revision) -> Result<Box<dyn Watch>, Error> {
        self.memory.watch(scope, from).await
    }
}
