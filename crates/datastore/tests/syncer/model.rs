//! A datastore that fails when it is told: lists and watches break, forget what they promised, and tell the changes of
//! different keys in another order.

use api::event::{Entry, Key, Object, Revision, Unreadable};
use async_trait::async_trait;
use datastore::{Change, Error, Listing, Pages, Query, Scope, Store, Watch, Write};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;

/// How many of a list come in a page.
const PAGE: usize = 3;

/// The store. Clones share their content.
#[derive(Clone, Default)]
pub(crate) struct Model {
    content: Arc<Mutex<Content>>,
    changed: Arc<Notify>,
}

#[derive(Default)]
pub(crate) struct Content {
    pub(crate) revision: u64,
    pub(crate) values: BTreeMap<Key, Value>,
    /// Each change, with its revision.
    log: Vec<(u64, Change)>,
    /// What came before is forgotten.
    compacted: u64,
    /// How many of the next requests fail.
    pub(crate) failing: u64,
    /// How many lists were told to end.
    broken_lists: u64,
    /// How many watches were told to end.
    broken_watches: u64,
    /// Decides which keys a watch holds back.
    pub(crate) shuffle: u64,
    /// How many changes watches and lists told.
    pub(crate) told: usize,
}

/// What is stored: the revision, and whether it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) revision: u64,
    pub(crate) readable: bool,
}

/// Whether a scope covers a key, which is of a resource, a block or a handle.
fn of(scope: &Scope, key: &Key) -> bool {
    if let Key::Resource { kind, .. } = key {
        return *scope == Scope::Kind(*kind);
    }
    *scope == if matches!(key, Key::Block(_)) { Scope::Blocks } else { Scope::Handles }
}

fn entry(key: &Key, revision: u64) -> Entry {
    // the revision is what tells one value from another
    Entry { key: key.clone(), object: Object::Ready(true), revision: Revision(revision.to_string()) }
}

fn unreadable(key: &Key) -> Unreadable {
    Unreadable { key: key.clone(), reason: "it is spoilt".to_owned() }
}

fn away(what: &str) -> Error {
    Error::Unavailable(what.to_owned())
}

impl Model {
    pub(crate) fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().expect("no holder of this lock panics")
    }

    pub(crate) fn put(&self, key: &Key, readable: bool) {
        let mut content = self.content();
        content.revision += 1;
        let revision = content.revision;
        content.values.insert(key.clone(), Value { revision, readable });
        let change = if readable { Change::Put(entry(key, revision)) } else { Change::Unreadable(unreadable(key)) };
        content.log.push((revision, change));
        self.changed.notify_waiters();
    }

    pub(crate) fn delete(&self, key: &Key) {
        let mut content = self.content();
        if content.values.remove(key).is_some() {
            content.revision += 1;
            let revision = content.revision;
            content.log.push((revision, Change::Deleted(key.clone())));
            self.changed.notify_waiters();
        }
    }

    /// Forgets what happened until now.
    pub(crate) fn compact(&self) {
        let mut content = self.content();
        content.compacted = content.revision;
        self.changed.notify_waiters();
    }

    /// Ends every watch that runs, and with `lists` every list.
    pub(crate) fn break_all(&self, lists: bool) {
        let mut content = self.content();
        content.broken_watches += 1;
        content.broken_lists += u64::from(lists);
        self.changed.notify_waiters();
    }

    fn request(&self) -> Result<(), Error> {
        let mut content = self.content();
        if content.failing > 0 {
            content.failing -= 1;
            return Err(away("told to fail"));
        }
        Ok(())
    }
}

#[async_trait]
impl Store for Model {
    async fn get(&self, _: &Key) -> Result<Entry, Error> {
        unimplemented!("nothing is read alone")
    }

    async fn list(&self, _: &Scope) -> Result<(Listing, Revision), Error> {
        unimplemented!("lists are read in pages")
    }

    async fn pages(&self, scope: &Scope) -> Result<Box<dyn Pages>, Error> {
        self.request()?;
        let content = self.content();
        let found = content.values.iter().filter(|(key, _)| of(scope, key));
        let mut left: Vec<(Key, Value)> = found.map(|(key, value)| (key.clone(), *value)).collect();
        left.reverse();
        let broken = content.broken_lists;
        Ok(Box::new(ModelPages { store: self.clone(), left, revision: content.revision, broken, ended: false }))
    }

    async fn read(&self, _: &[Query]) -> Result<(Vec<Listing>, Revision), Error> {
        unimplemented!("nothing is read together")
    }

    async fn delete(&self, _: &Key, _: Option<&Revision>) -> Result<(), Error> {
        unimplemented!("the model deletes by itself")
    }

    async fn transact(&self, _: &[Write]) -> Result<Revision, Error> {
        unimplemented!("the model writes by itself")
    }

    async fn watch(&self, scope: &Scope, from: &Revision) -> Result<Box<dyn Watch>, Error> {
        self.request()?;
        let from = from.0.parse().expect("one of the model's own");
        let content = self.content();
        let (broken, scope) = (content.broken_watches, scope.clone());
        Ok(Box::new(ModelWatch { store: self.clone(), scope, held: Vec::new(), seen: from, broken }))
    }
}

struct ModelPages {
    store: Model,
    left: Vec<(Key, Value)>,
    revision: u64,
    broken: u64,
    ended: bool,
}

#[async_trait]
impl Pages for ModelPages {
    async fn next(&mut self) -> Result<Option<Listing>, Error> {
        tokio::task::yield_now().await;
        self.store.request()?;
        let mut content = self.store.content();
        if self.broken < content.broken_lists || self.revision < content.compacted {
            return Err(away("the list's moment is forgotten"));
        }
        if self.ended {
            return Ok(None);
        }
        let mut listing = Listing::default();
        for (key, value) in self.left.split_off(self.left.len().saturating_sub(PAGE)).into_iter().rev() {
            content.told += 1;
            if value.readable {
                listing.entries.push(entry(&key, value.revision));
            } else {
                listing.unreadable.push(unreadable(&key));
            }
        }
        self.ended = self.left.is_empty();
        Ok(Some(listing))
    }

    fn revision(&self) -> Revision {
        Revision(self.revision.to_string())
    }
}

struct ModelWatch {
    store: Model,
    scope: Scope,
    /// What was not told yet.
    held: Vec<(u64, Change)>,
    /// Up to where the log was read.
    seen: u64,
    broken: u64,
}

fn key(change: &Change) -> &Key {
    match change {
        Change::Put(entry) => &entry.key,
        Change::Deleted(key) => key,
        Change::Unreadable(unreadable) => &unreadable.key,
    }
}

impl ModelWatch {
    /// What is told now: the changes of some keys, each key's in their order.
    fn some(&mut self) -> Result<Vec<Change>, Error> {
        let mut content = self.store.content();
        if self.broken < content.broken_watches {
            return Err(away("told to end"));
        }
        if self.seen < content.compacted {
            return Err(away("compacted"));
        }
        let news =
            content.log.iter().filter(|(revision, change)| *revision > self.seen && of(&self.scope, key(change)));
        self.held.extend(news.cloned());
        self.seen = content.revision;
        content.shuffle = content.shuffle.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ content.revision;
        let shuffle = content.shuffle;
        let first = self.held.first().map(|(_, change)| key(change).clone());
        let now = |change: &Change| {
            let hash =
                format!("{:?}", key(change)).bytes().fold(shuffle, |hash, byte| hash.rotate_left(5) ^ u64::from(byte));
            Some(key(change)) == first.as_ref() || hash.is_multiple_of(3)
        };
        let (told, held) = self.held.drain(..).partition(|(_, change)| now(change));
        self.held = held;
        let told: Vec<Change> = Vec::into_iter(told).map(|(_, change)| change).collect();
        content.told += told.len();
        Ok(told)
    }
}

#[async_trait]
impl Watch for ModelWatch {
    async fn next(&mut self) -> Result<Vec<Change>, Error> {
        tokio::task::yield_now().await;
        let changed = Arc::clone(&self.store.changed);
        loop {
            let notified = changed.notified();
            let told = self.some()?;
            if !told.is_empty() {
                return Ok(told);
            }
            notified.await;
        }
    }

    fn told(&self) -> Option<Revision> {
        let told = self.held.first().map_or(self.seen, |(revision, _)| revision - 1);
        Some(Revision(told.to_string()))
    }
}
