//! What a check does not know, because it cannot be read, and must not judge by its absence.

use super::Snapshot;
use crate::owner::Owner;
use api::Kind;
use api::event::{Key, Unreadable};
use ipnet::IpNet;
use std::net::IpAddr;

/// What of a snapshot cannot be read.
pub(super) struct Unknown<'s>(&'s [Unreadable]);

impl<'s> Unknown<'s> {
    pub(super) fn of(snapshot: &'s Snapshot) -> Self {
        Unknown(&snapshot.unreadable)
    }

    fn any(&self, is: impl Fn(&Key) -> bool) -> bool {
        self.0.iter().any(|unreadable| is(&unreadable.key))
    }

    fn kind(&self, wanted: Kind) -> bool {
        self.any(|key| matches!(key, Key::Resource { kind, .. } if *kind == wanted))
    }

    /// Whether somebody may use addresses who is not among the users.
    pub(super) fn users(&self) -> bool {
        self.kind(Kind::Node) || self.kind(Kind::WorkloadEndpoint)
    }

    /// Whether there may be more pools.
    pub(super) fn pools(&self) -> bool {
        self.kind(Kind::IPPool)
    }

    pub(super) fn node(&self, name: &str) -> bool {
        self.any(|key| *key == Key::global(Kind::Node, name))
    }

    pub(super) fn handle(&self, id: &str) -> bool {
        self.any(|key| *key == Key::Handle(id.to_owned()))
    }

    pub(super) fn affinity(&self, owner: &Owner, block: IpNet) -> bool {
        self.any(|key| *key == owner.key(block))
    }

    /// Whether a block cannot be read.
    pub(super) fn block(&self, block: IpNet) -> bool {
        self.any(|key| *key == Key::Block(block))
    }

    /// Whether an address is one of a block that cannot be read.
    pub(super) fn holder(&self, address: IpAddr) -> bool {
        self.any(|key| matches!(key, Key::Block(block) if block.contains(&address)))
    }
}
