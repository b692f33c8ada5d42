//! Keys, values and events of a datastore, as every backend presents them.

use crate::ipam::{Affinity, Block, Config, Handle};
use crate::resource::{Kind, Resource};
use ipnet::IpNet;

/// A backend's revision of one object or of the whole store: opaque, comparable for equality only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Revision(pub String);

/// What a block affinity belongs to: the fourth segment of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OwnerType {
    /// A node.
    Host,
    /// A virtual owner, such as `load-balancer`.
    Virtual,
}

/// Names one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A user's resource; `namespace` is empty for kinds without one.
    Resource {
        /// Its kind.
        kind: Kind,
        /// Its namespace, or empty.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// An IPAM block.
    Block(IpNet),
    /// An owner's claim on a block.
    Affinity {
        /// Host or virtual.
        owner_type: OwnerType,
        /// The node's name.
        owner: String,
        /// The block.
        block: IpNet,
    },
    /// An IPAM handle, by its ID.
    Handle(String),
    /// The IPAM configuration.
    IpamConfig,
    /// The datastore's ready flag, `/calico/v1/Ready`.
    Ready,
}

impl Key {
    /// The key of a cluster-scoped resource.
    pub fn global(kind: Kind, name: &str) -> Key {
        Key::Resource { kind, namespace: String::new(), name: name.to_owned() }
    }

    /// The key of a namespaced resource.
    pub fn namespaced(kind: Kind, namespace: &str, name: &str) -> Key {
        Key::Resource { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The key of a resource, from its own metadata.
    pub fn of(resource: &Resource) -> Key {
        let metadata = resource.metadata();
        Key::namespaced(resource.kind(), &metadata.namespace, &metadata.name)
    }
}

/// A value that a key names.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// See [`Key::Resource`].
    Resource(Resource),
    /// See [`Key::Block`].
    Block(Block),
    /// See [`Key::Affinity`].
    Affinity(Affinity),
    /// See [`Key::Handle`].
    Handle(Handle),
    /// See [`Key::IpamConfig`].
    IpamConfig(Config),
    /// See [`Key::Ready`].
    Ready(bool),
}

/// A key, its value, and the revision at which the value was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The name.
    pub key: Key,
    /// The value.
    pub object: Object,
    /// The object's own revision, for compare-and-swap.
    pub revision: Revision,
}

/// An object that is stored, and whose value is not what its key says it is.
///
/// It is not absent: what it said before may still hold, and its key is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The name.
    pub key: Key,
    /// What is wrong with the value.
    pub reason: String,
}

/// What a watcher is told: a snapshot between `Init` and `InitDone`, then changes.
///
/// Both marks come once. After a lost watch only what is different is told. A `Delete` may name what was never told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A snapshot begins.
    Init,
    /// One object of the snapshot.
    InitApply(Entry),
    /// The snapshot is complete.
    InitDone,
    /// An object was created or changed.
    Apply(Entry),
    /// An object is gone.
    Delete(Key),
    /// An object is there and cannot be read, in a snapshot or after one.
    Unreadable(Unreadable),
}
