//! The user's resources, `projectcalico.org/v3`: schema, defaults, validation, and the keys and events of a
//! datastore.
//!
//! Field names, their order and what is omitted when empty are Calico's, since stored bytes and `calicoctl`
//! output depend on them. What a user writes is read strictly; what a datastore holds may have fields of newer versions.
//! Nothing here does IO.

pub mod column;
pub mod crd;
pub mod duration;
pub mod event;
pub mod initial;
pub mod invalid;
pub mod ipam;
pub mod kind;
mod lenient;
pub mod meta;
pub mod port;
pub mod resource;
pub mod selector;
pub mod validate;
pub mod word;

pub use event::{Entry, Event, Key, Object, Revision, Unreadable};
pub use invalid::Invalid;
pub use meta::ObjectMeta;
pub use resource::{Kind, Resource, Typed};
