//! Reads of several of IPAM's objects at once, as of one moment.

use crate::Ipam;
use crate::owner::Owner;
use crate::pool::Pool;
use crate::stored::{Stored, as_affinity, as_block, as_config, as_handle};
use api::event::{Entry, Key, Object};
use api::ipam::{Affinity, Block, Config, Handle};
use api::{Kind, Resource};
use datastore::{Error, Listing, Query, Scope};
use ipnet::IpNet;
use std::collections::BTreeMap;

/// The answers to a list of queries, to be taken in the queries' order.
pub(crate) struct Answers(std::vec::IntoIter<Listing>);

impl Answers {
    /// The next answer as it came.
    pub(crate) fn next(&mut self) -> Vec<Entry> {
        self.0.next().expect("as many answers are taken as queries were asked").entries
    }

    fn only<T>(&mut self, read: impl FnOnce(Entry) -> Option<T>) -> Option<T> {
        self.next().pop().and_then(read)
    }

    /// Answers [`block`].
    pub(crate) fn block(&mut self) -> Option<Stored<Block>> {
        self.only(as_block)
    }

    /// Answers [`blocks`], in key order.
    pub(crate) fn blocks(&mut self) -> Vec<Stored<Block>> {
        self.next().into_iter().filter_map(as_block).collect()
    }

    /// Answers [`affinity`].
    pub(crate) fn affinity(&mut self) -> Option<Stored<Affinity>> {
        self.only(as_affinity).map(|(_, _, affinity)| affinity)
    }

    /// Answers [`affinities`], in key order.
    pub(crate) fn affinities(&mut self) -> Vec<(IpNet, Stored<Affinity>)> {
        self.next().into_iter().filter_map(as_affinity).map(|(_, block, affinity)| (block, affinity)).collect()
    }

    /// Answers [`handle`].
    pub(crate) fn handle(&mut self) -> Option<Stored<Handle>> {
        self.only(as_handle)
    }

    /// Answers [`config`].
    pub(crate) fn config(&mut self) -> Option<Stored<Config>> {
        self.only(as_config)
    }

    /// Answers [`pools`]: the readable ones, in the order of their names.
    pub(crate) fn pools(&mut self) -> Vec<Pool> {
        Pool::all(self.next())
    }

    /// Answers [`reservations`] with their ranges; what cannot be read reserves nothing.
    pub(crate) fn reservations(&mut self) -> Vec<IpNet> {
        let mut reserved = Vec::new();
        for entry in self.next() {
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
    pub(crate) fn node_labels(&mut self) -> Option<BTreeMap<String, String>> {
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
        for (query, listing) in queries.iter().zip(&found) {
            if let (Query::Get(_), Some(unreadable)) = (query, listing.unreadable.first()) {
                return Err(unreadable.clone().into());
            }
        }
        Ok(Answers(found.into_iter()))
    }
}
