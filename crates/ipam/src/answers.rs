//! Reads of several of IPAM's objects at once, as of one moment.

use crate::Ipam;
use crate::owner::Owner;
use crate::pool::Pool;
use crate::stored::{Partial, Stored, as_affinity, as_block, as_config, as_handle};
use api::event::{Entry, Key, Object, Unreadable};
use api::ipam::{Affinity, Block, Config, Handle};
use api::{Kind, Resource};
use datastore::{Error, Listing, Query, Scope, layout};
use ipnet::IpNet;
use std::collections::BTreeMap;

/// The answers to a list of queries, to be taken in the queries' order.
pub(crate) struct Answers(std::vec::IntoIter<Listing>);

impl Answers {
    /// The next answer as it came.
    pub(crate) fn next(&mut self) -> Listing {
        self.0.next().expect("as many answers are taken as queries were asked")
    }

    fn only<T>(&mut self, read: impl FnOnce(Entry) -> Option<T>) -> Result<Option<T>, Error> {
        Ok(self.next().one()?.and_then(read))
    }

    /// Answers [`block`].
    pub(crate) fn block(&mut self) -> Result<Option<Stored<Block>>, Error> {
        self.only(as_block)
    }

    /// Answers [`blocks`].
    pub(crate) fn blocks(&mut self) -> Partial<Stored<Block>> {
        Partial::of(self.next(), as_block)
    }

    /// Answers [`affinity`].
    pub(crate) fn affinity(&mut self) -> Result<Option<Stored<Affinity>>, Error> {
        self.only(|entry| as_affinity(entry).map(|(_, _, affinity)| affinity))
    }

    /// Answers [`affinities`].
    pub(crate) fn affinities(&mut self) -> Partial<(IpNet, Stored<Affinity>)> {
        Partial::of(self.next(), |entry| as_affinity(entry).map(|(_, block, affinity)| (block, affinity)))
    }

    /// Answers [`handle`].
    pub(crate) fn handle(&mut self) -> Result<Option<Stored<Handle>>, Error> {
        self.only(as_handle)
    }

    /// Answers [`config`].
    pub(crate) fn config(&mut self) -> Result<Option<Stored<Config>>, Error> {
        self.only(as_config)
    }

    /// Answers [`pools`], in the order of their names.
    pub(crate) fn pools(&mut self) -> Partial<Pool> {
        Pool::all(self.next())
    }

    /// Answers [`reservations`] with their ranges; what cannot be read reserves nothing.
    pub(crate) fn reservations(&mut self) -> Vec<IpNet> {
        let mut reserved = Vec::new();
        let listing = self.next();
        for Unreadable { key, reason } in &listing.unreadable {
            tracing::warn!(key = %layout::path(key), reason, "a reservation that cannot be read reserves nothing");
        }
        for entry in listing.entries {
            let Object::Resource(Resource::IPReservation(reservation)) = entry.object else { continue };
            let (name, cidrs) = (&reservation.metadata.name, &reservation.spec.reserved_cidrs);
            let ranges: Vec<IpNet> = reservation.spec.ranges().collect();
            if ranges.len() < cidrs.len() {
                tracing::warn!(reservation = name, ?cidrs, ?ranges, "passing over what is no range");
            }
            reserved.extend(ranges);
        }
        reserved
    }

    /// Answers [`node`] with the node's labels; none if there is no such node.
    pub(crate) fn node_labels(&mut self) -> Result<Option<BTreeMap<String, String>>, Error> {
        self.only(|entry| {
            let Object::Resource(Resource::Node(node)) = entry.object else { return None };
            Some(node.metadata.labels)
        })
    }
}

/// Asks for a block.
pub(crate) fn block(cidr: IpNet) -> Query {
    Query::Get(Key::Block(cidr))
}

/// Asks for every block.
pub(crate) fn blocks() -> Query {
    Query::List(Scope::Blocks)
}

/// Asks for an owner's affinity for a block.
pub(crate) fn affinity(owner: &Owner, block: IpNet) -> Query {
    Query::Get(owner.key(block))
}

/// Asks for an owner's affinities.
pub(crate) fn affinities(owner: &Owner) -> Query {
    Query::List(Scope::AffinitiesOf(owner.kind, owner.name.clone()))
}

/// Asks for a handle.
pub(crate) fn handle(id: &str) -> Query {
    Query::Get(Key::Handle(id.to_owned()))
}

/// Asks for the configuration.
pub(crate) fn config() -> Query {
    Query::Get(Key::IpamConfig)
}

/// Asks for every pool.
pub(crate) fn pools() -> Query {
    Query::List(Scope::Kind(Kind::IPPool))
}

/// Asks for every reservation.
pub(crate) fn reservations() -> Query {
    Query::List(Scope::Kind(Kind::IPReservation))
}

/// Asks for a node.
pub(crate) fn node(name: &str) -> Query {
    Query::Get(Key::global(Kind::Node, name))
}

impl Ipam<'_> {
    /// Reads what is asked for, in one round trip.
    pub(crate) async fn ask(&self, queries: &[Query]) -> Result<Answers, Error> {
        let (found, _) = self.store.read(queries).await?;
        Ok(Answers(found.into_iter()))
    }
}
