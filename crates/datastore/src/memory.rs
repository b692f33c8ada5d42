//! A datastore in memory, for tests and trials: the stored bytes are those of the etcd layout.

use crate::{Change, Error, Listing, Query, Scope, Store, Watch, Write, layout};
use api::Kind;
use api::event::{Entry, Key, Revision};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;

/// The store. Clones share their content.
#[derive(Clone, Default)]
pub struct Memory {
    content: Arc<Mutex<Content>>,
    changed: Arc<Notify>,
}

#[derive(Clone, Default)]
struct Content {
    revision: u64,
    values: BTreeMap<String, (Vec<u8>, u64)>,
    /// Revision, path, and the value or its absence.
    log: Vec<(u64, String, Option<Vec<u8>>)>,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Memory::default()
    }

    /// A store of its own with the same content and history.
    pub fn fork(&self) -> Self {
        let content = self.content().clone();
        Memory { content: Arc::new(Mutex::new(content)), changed: Arc::default() }
    }

    /// A store with all that another one holds; objects have the revisions that they have there.
    pub async fn copy_of(store: &dyn Store) -> Result<Memory, Error> {
        let kinds = Kind::ALL.iter().map(|kind| Query::List(Scope::Kind(*kind)));
        let scopes = [Scope::Blocks, Scope::Affinities, Scope::Handles].map(Query::List);
        let keys = [Key::IpamConfig, Key::Ready].map(Query::Get);
        let queries: Vec<Query> = kinds.chain(scopes).chain(keys).collect();
        let (found, revision) = store.read(&queries).await?;
        let number = |revision: &Revision| revision.0.parse::<u64>().unwrap_or(1);
        let mut content = Content { revision: number(&revision), ..Content::default() };
        for Listing { entries, unreadable } in found {
            for entry in entries {
                let at = number(&entry.revision);
                content.revision = content.revision.max(at);
                content.values.insert(layout::path(&entry.key), (layout::encode(&entry.object), at));
            }
            // they stay what they are: there, and not readable
            content.values.extend(unreadable.into_iter().map(|it| (layout::path(&it.key), (Vec::new(), 1))));
        }
        Ok(Memory { content: Arc::new(Mutex::new(content)), changed: Arc::default() })
    }

    /// Everything stored, by path.
    pub fn dump(&self) -> BTreeMap<String, String> {
        let content = self.content();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        content.values.iter().map(|(path, (bytes, _))| (path.clone(), text(bytes))).collect()
    }

    /// Puts raw bytes at a path, as another program would.
    pub fn put_raw(&self, path: &str, bytes: &[u8]) {
        let mut content = self.content();
        content.revision += 1;
        content.put(path, Some(bytes.to_vec()));
        drop(content);
        self.changed.notify_waiters();
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().expect("no holder of this lock panics")
    }
}

impl Content {
    fn get(&self, key: &Key) -> Listing {
        let mut found = Listing::default();
        if let Some((bytes, revision)) = self.values.get(&layout::path(key)) {
            found.add(key.clone(), bytes, Revision(revision.to_string()));
        }
        found
    }

    fn list(&self, scope: &Scope) -> Listing {
        let of_prefix = |prefix: String| {
            let from = self.values.range(prefix.clone()..);
            from.take_while(move |(path, _)| path.starts_with(&prefix))
        };
        let mut found = Listing::default();
        for (path, (bytes, revision)) in layout::prefixes(scope).into_iter().flat_map(of_prefix) {
            if let Some(key) = layout::parse(path) {
                found.add(key, bytes, Revision(revision.to_string()));
            }
        }
        found
    }

    fn check(&self, write: &Write) -> Result<(), Error> {
        let (key, expected) = match write {
            Write::Create(key, _) | Write::Expect(key, None) => {
                let taken = self.values.contains_key(&layout::path(key));
                return if taken { Err(Error::Exists(layout::describe(key))) } else { Ok(()) };
            }
            Write::Update(key, _, revision) | Write::Delete(key, revision) | Write::Expect(key, Some(revision)) => {
                (key, revision)
            }
        };
        match self.values.get(&layout::path(key)) {
            None => Err(Error::NotFound(layout::describe(key))),
            Some((_, revision)) if revision.to_string() != expected.0 => Err(Error::Conflict(layout::describe(key))),
            Some(_) => Ok(()),
        }
    }

    fn put(&mut self, path: &str, value: Option<Vec<u8>>) {
        let revision = self.revision;
        self.log.push((revision, path.to_owned(), value.clone()));
        match value {
            Some(bytes) => self.values.insert(path.to_owned(), (bytes, revision)),
            None => self.values.remove(path),
        };
    }
}

#[async_trait]
impl Store for Memory {
    async fn get(&self, key: &Key) -> Result<Entry, Error> {
        self.content().get(key).one()?.ok_or_else(|| Error::NotFound(layout::describe(key)))
    }

    async fn list(&self, scope: &Scope) -> Result<(Listing, Revision), Error> {
        let content = self.content();
        Ok((content.list(scope), Revision(content.revision.to_string())))
    }

    async fn read(&self, queries: &[Query]) -> Result<(Vec<Listing>, Revision), Error> {
        let content = self.content();
        let answer = |query: &Query| match query {
            Query::Get(key) => content.get(key),
            Query::List(scope) => content.list(scope),
        };
        Ok((queries.iter().map(answer).collect(), Revision(content.revision.to_string())))
    }

    async fn delete(&self, key: &Key, revision: Option<&Revision>) -> Result<(), Error> {
        let revision = match revision {
            Some(revision) => revision.clone(),
            None => {
                let content = self.content();
                let found = content.values.get(&layout::path(key));
                Revision(found.ok_or_else(|| Error::NotFound(layout::describe(key)))?.1.to_string())
            }
        };
        self.transact(&[Write::Delete(key.clone(), revision)]).await.map(|_| ())
    }

    async fn transact(&self, writes: &[Write]) -> Result<Revision, Error> {
        let mut content = self.content();
        for write in writes {
            content.check(write)?;
        }
        content.revision += 1;
        for write in writes {
            match write {
                Write::Create(key, object) | Write::Update(key, object, _) => {
                    content.put(&layout::path(key), Some(layout::encode(object)));
                }
                Write::Delete(key, _) => content.put(&layout::path(key), None),
                Write::Expect(..) => {}
            }
        }
        let revision = Revision(content.revision.to_string());
        drop(content);
        self.changed.notify_waiters();
        Ok(revision)
    }

    async fn watch(&self, scope: &Scope, from: &Revision) -> Result<Box<dyn Watch>, Error> {
        let seen = from.0.parse().map_err(|_| Error::Unavailable(format!("revision {:?} is not a number", from.0)))?;
        Ok(Box::new(MemoryWatch { store: self.clone(), prefixes: layout::prefixes(scope), seen }))
    }
}

struct MemoryWatch {
    store: Memory,
    prefixes: Vec<String>,
    seen: u64,
}

impl MemoryWatch {
    fn changes(&mut self) -> Vec<Change> {
        let content = self.store.content();
        let mut changes = Vec::new();
        for (revision, path, value) in content.log.iter().filter(|(revision, ..)| *revision > self.seen) {
            if self.prefixes.iter().any(|prefix| path.starts_with(prefix)) {
                let revision = Revision(revision.to_string());
                changes.extend(layout::parse(path).map(|key| crate::change(key, value.as_deref(), revision)));
            }
        }
        self.seen = content.revision;
        changes
    }
}

#[async_trait]
impl Watch for MemoryWatch {
    async fn next(&mut self) -> Result<Vec<Change>, Error> {
        let changed = self.store.changed.clone();
        loop {
            let notified = changed.notified();
            let changes = self.changes();
            if !changes.is_empty() {
                return Ok(changes);
            }
            notified.await;
        }
    }

    fn told(&self) -> Option<Revision> {
        Some(Revision(self.seen.to_string()))
    }
}
