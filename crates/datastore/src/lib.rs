//! One interface to a cluster's datastore, and its clients.
//!
//! [`Store`] is get, list, create, update with compare-and-swap, delete and watch over [`api::Key`]s;
//! [`etcd`] keeps Calico's etcd v3 layout, [`memory`] serves tests. A client does not cache, and repeats nothing but
//! what another endpoint of its cluster may still answer: callers branch on [`Error`]'s kinds.

pub mod config;
pub mod etcd;
pub mod layout;
pub mod memory;
mod srv;
pub mod syncer;
mod tls;

use api::{Entry, Key, Object, Revision, Unreadable};
use async_trait::async_trait;

/// Why an operation on the datastore failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing has this key.
    #[error("resource does not exist: {0}")]
    NotFound(String),
    /// Something has this key already.
    #[error("resource already exists: {0}")]
    Exists(String),
    /// The object is not at the revision that the caller saw.
    #[error("update conflict: {0}")]
    Conflict(String),
    /// The stored bytes are not such an object.
    #[error("{key}: stored value cannot be read: {reason}")]
    Corrupt {
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The datastore cannot be reached, or refused.
    #[error("{0}")]
    Unavailable(String),
}

impl From<Unreadable> for Error {
    fn from(Unreadable { key, reason }: Unreadable) -> Error {
        Error::Corrupt { key: layout::path(&key), reason }
    }
}

impl Error {
    /// When trying again may help.
    pub fn retry(&self) -> Retry {
        match self {
            Error::NotFound(_) | Error::Exists(_) | Error::Conflict(_) => Retry::AfterReading,
            Error::Corrupt { .. } => Retry::Never,
            Error::Unavailable(_) => Retry::Later,
        }
    }
}

/// When a failed operation may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// After reading the object again.
    AfterReading,
    /// When the datastore is reachable again.
    Later,
    /// Not before somebody repairs something.
    Never,
}

/// The keys that [`Store::list`] and [`Store::watch`] cover.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// All resources of a kind, in every namespace.
    Kind(api::Kind),
    /// All resources of a namespaced kind in one namespace.
    Namespace(api::Kind, String),
    /// All IPAM blocks.
    Blocks,
    /// All affinities of one owner.
    AffinitiesOf(api::event::OwnerType, String),
    /// All affinities.
    Affinities,
    /// All handles.
    Handles,
}

/// One part of a [`Store::read`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// The object of a key, if there is one.
    Get(Key),
    /// The objects of a scope, ordered by key.
    List(Scope),
}

/// A change seen by a watch.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Created or updated.
    Put(Entry),
    /// Deleted.
    Deleted(Key),
    /// Created or updated, with a value that cannot be read.
    Unreadable(Unreadable),
}

/// What a list found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// The objects that can be read, ordered by key.
    pub entries: Vec<Entry>,
    /// The objects that cannot, ordered by key.
    ///
    /// Whoever concludes something from an object's absence has to look here first.
    pub unreadable: Vec<Unreadable>,
}

impl Listing {
    /// The objects, or an error that names one that cannot be read.
    pub fn whole(self) -> Result<Vec<Entry>, Error> {
        match self.unreadable.into_iter().next() {
            Some(unreadable) => Err(unreadable.into()),
            None => Ok(self.entries),
        }
    }

    /// The one object of a [`Query::Get`], or none, or why it cannot be read.
    pub fn one(self) -> Result<Option<Entry>, Error> {
        Ok(self.whole()?.pop())
    }

    /// Adds what is stored under a key.
    fn add(&mut self, key: Key, value: &[u8], revision: Revision) {
        match layout::decode(&key, value, &revision) {
            Ok(object) => self.entries.push(Entry { key, object, revision }),
            Err(reason) => self.unreadable.push(Unreadable { key, reason }),
        }
    }
}

/// A running watch. Dropping it ends it.
#[async_trait]
pub trait Watch: Send {
    /// Waits for the next changes, in order; several when they came together.
    ///
    /// An error ends the watch: watch again from [`Watch::told`], or list again and watch from there.
    async fn next(&mut self) -> Result<Vec<Change>, Error>;

    /// A revision up to which it has told everything, for another watch to begin from; none if it cannot say.
    ///
    /// That other one may tell again what came last.
    fn told(&self) -> Option<Revision> {
        None
    }
}

/// A list that is read a page at a time, all of one moment.
#[async_trait]
pub trait Pages: Send {
    /// The next page; none after the last.
    ///
    /// An error ends the list: its moment may be forgotten already.
    async fn next(&mut self) -> Result<Option<Listing>, Error>;

    /// The revision of the moment, to watch from; known from the first page on.
    fn revision(&self) -> Revision;
}

/// A list in one page.
struct OnePage(Option<Listing>, Revision);

#[async_trait]
impl Pages for OnePage {
    async fn next(&mut self) -> Result<Option<Listing>, Error> {
        Ok(self.0.take())
    }

    fn revision(&self) -> Revision {
        self.1.clone()
    }
}

/// A datastore.
#[async_trait]
pub trait Store: Send + Sync {
    /// Reads one object.
    async fn get(&self, key: &Key) -> Result<Entry, Error>;
    /// Reads many objects, and the revision to watch from.
    async fn list(&self, scope: &Scope) -> Result<(Listing, Revision), Error>;
    /// Reads many objects a page at a time, where the datastore can.
    async fn pages(&self, scope: &Scope) -> Result<Box<dyn Pages>, Error> {
        let (listing, revision) = self.list(scope).await?;
        Ok(Box::new(OnePage(Some(listing), revision)))
    }
    /// Answers several queries as of one moment, in one round trip where the datastore can: each with what it found,
    /// and the revision of that moment.
    async fn read(&self, queries: &[Query]) -> Result<(Vec<Listing>, Revision), Error>;
    /// Creates an object; [`Error::Exists`] if its key is taken.
    async fn create(&self, key: &Key, object: &Object) -> Result<Entry, Error> {
        let revision = self.transact(&[Write::Create(key.clone(), object.clone())]).await?;
        Ok(Entry { key: key.clone(), object: stamped(object, &revision), revision })
    }
    /// Replaces the object if it is still at `revision`.
    async fn update(&self, key: &Key, object: &Object, revision: &Revision) -> Result<Entry, Error> {
        let revision = self.transact(&[Write::Update(key.clone(), object.clone(), revision.clone())]).await?;
        Ok(Entry { key: key.clone(), object: stamped(object, &revision), revision })
    }
    /// Deletes the object if it is still at `revision`; with none, whatever it is.
    async fn delete(&self, key: &Key, revision: Option<&Revision>) -> Result<(), Error>;
    /// Performs several writes as one transaction: all or none ([`Error::Conflict`]).
    async fn transact(&self, writes: &[Write]) -> Result<Revision, Error>;
    /// Watches a scope for what happens after `from`.
    async fn watch(&self, scope: &Scope, from: &Revision) -> Result<Box<dyn Watch>, Error>;
}

/// One write of a transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// As [`Store::create`].
    Create(Key, Object),
    /// As [`Store::update`].
    Update(Key, Object, Revision),
    /// As [`Store::delete`] with a revision.
    Delete(Key, Revision),
    /// Changes nothing, but fails the transaction unless the object is still at the revision, or with none absent.
    Expect(Key, Option<Revision>),
}

/// Connects to the datastore that `config` names.
///
/// The endpoints of a domain are looked for once, here.
pub async fn connect(config: &config::Config) -> Result<std::sync::Arc<dyn Store>, Error> {
    Ok(std::sync::Arc::new(etcd::Etcd::new(&discovered(config).await?)?))
}

/// The configuration with the endpoints that its domain has at present.
async fn discovered(config: &config::Config) -> Result<config::Config, Error> {
    let mut config = config.clone();
    if let Some(domain) = &config.etcd_discovery_srv {
        config.etcd_endpoints = srv::discover(domain).await?;
    }
    Ok(config)
}

/// The object as a reader would get it: a resource carries its revision.
fn stamped(object: &Object, revision: &Revision) -> Object {
    let mut object = object.clone();
    if let Object::Resource(resource) = &mut object {
        resource.metadata_mut().resource_version.clone_from(&revision.0);
    }
    object
}

/// What a watch says of a key whose stored value is now `value`.
fn change(key: Key, value: Option<&[u8]>, revision: Revision) -> Change {
    match value.map(|bytes| layout::decode(&key, bytes, &revision)) {
        None => Change::Deleted(key),
        Some(Ok(object)) => Change::Put(Entry { key, object, revision }),
        Some(Err(reason)) => Change::Unreadable(Unreadable { key, reason }),
    }
}
