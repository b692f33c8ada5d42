//! Calico's own writers on the same datastore: one object per write, each by compare-and-swap, in Calico's order.

use crate::cluster::{Cluster, net, request};
use crate::races::check_consistency;
use api::event::{Entry, Key, Object, OwnerType};
use api::ipam::{Affinity, AffinityState, Block, Handle};
use datastore::{Error, Store};
use ipam::block::{self, Holder, Sequence};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::task::JoinSet;

/// A writer that takes Calico's steps for one host.
pub(crate) struct Calico<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) host: &'static str,
}

impl Calico<'_> {
    fn affinity_key(&self, block: IpNet) -> Key {
        Key::Affinity { owner_type: OwnerType::Host, owner: self.host.to_owned(), block }
    }

    fn owns(&self, block: &Block) -> bool {
        block.affinity.as_deref() == Some(format!("host:{}", self.host).as_str())
    }

    async fn block(&self, cidr: IpNet) -> Option<(Block, Entry)> {
        let entry = self.store.get(&Key::Block(cidr)).await.ok()?;
        let Object::Block(block) = entry.object.clone() else { return None };
        Some((block, entry))
    }

    /// Pending affinity, block, confirmed affinity; takes the affinity back if the block is another's.
    pub(crate) async fn claim(&self, cidr: IpNet) -> bool {
        let key = self.affinity_key(cidr);
        let state = |state| Object::Affinity(Affinity { state, deleted: false });
        let mut affinity = match self.store.create(&key, &state(AffinityState::Pending)).await {
            Ok(entry) => entry,
            Err(_) => match self.store.get(&key).await {
                Ok(entry) => entry,
                Err(_) => return false,
            },
        };
        if affinity.object != state(AffinityState::Confirmed) {
            match self.store.update(&key, &state(AffinityState::Pending), &affinity.revision).await {
                Ok(entry) => affinity = entry,
                Err(_) => return false,
            }
        }
        let fresh = block::new(cidr, &format!("host:{}", self.host), "2026-11-22T23:38:31Z", 1);
        if self.store.create(&Key::Block(cidr), &Object::Block(fresh)).await.is_err() {
            match self.block(cidr).await {
                Some((block, _)) if self.owns(&block) => {}
                _ => {
                    let _ = self.store.delete(&key, Some(&affinity.revision)).await;
                    return false;
                }
            }
        }
        affinity.object == state(AffinityState::Confirmed)
            || self.store.update(&key, &state(AffinityState::Confirmed), &affinity.revision).await.is_ok()
    }

    /// Counts the handle up, writes the block, and counts the handle down again if that was overtaken.
    pub(crate) async fn assign(&self, cidr: IpNet, handle: &str) -> Option<IpNet> {
        let (mut block, entry) = self.block(cidr).await?;
        let holder = Holder { handle: Some(handle.to_owned()), ..Holder::default() };
        let taken = block::assign(&mut block, 1, &holder, &[]);
        let address = *taken.first()?;
        self.count(handle, cidr, 1).await;
        if self.store.update(&Key::Block(cidr), &Object::Block(block), &entry.revision).await.is_ok() {
            return Some(address);
        }
        self.count(handle, cidr, -1).await;
        None
    }

    pub(crate) async fn release(&self, cidr: IpNet, handle: &str) {
        loop {
            let (mut block, entry) = self.block(cidr).await.unwrap();
            let ordinals = block::held_by(&block, handle);
            block::release(&mut block, &ordinals, Sequence::Keep);
            let key = Key::Block(cidr);
            let written = if block.affinity.is_none() && block::is_empty(&block) {
                self.store.delete(&key, Some(&entry.revision)).await
            } else {
                self.store.update(&key, &Object::Block(block), &entry.revision).await.map(|_| ())
            };
            if written.is_ok() {
                return self.count(handle, cidr, -1).await;
            }
        }
    }

    async fn count(&self, handle: &str, cidr: IpNet, step: i64) {
        let key = Key::Handle(handle.to_owned());
        loop {
            let read = self.store.get(&key).await;
            let (mut value, revision) = match read {
                Ok(Entry { object: Object::Handle(value), revision, .. }) => (value, Some(revision)),
                Ok(other) => panic!("{other:?} is no handle"),
                Err(Error::NotFound(_)) => (Handle::default(), None),
                Err(error) => panic!("{error}"),
            };
            let count = value.block.entry(cidr.to_string()).or_default();
            *count = count.checked_add_signed(step).unwrap();
            value.block.retain(|_, count| *count > 0);
            let outcome = match revision {
                None => self.store.create(&key, &Object::Handle(value)).await.map(|_| ()),
                Some(revision) if value.block.is_empty() => self.store.delete(&key, Some(&revision)).await,
                Some(revision) => self.store.update(&key, &Object::Handle(value), &revision).await.map(|_| ()),
            };
            if outcome.is_ok() {
                return;
            }
        }
    }
}

#[tokio::test]
async fn calico_and_tortie_write_at_once() {
    let cluster = Arc::new(Cluster::with_pool("10.0.0.0/24").await);
    let mut tasks = JoinSet::new();
    for (index, host) in ["n1", "n2", "n1"].into_iter().enumerate() {
        let calicos = cluster.clone();
        tasks.spawn(async move {
            let calico = Calico { store: &calicos.store, host };
            let mut got = Vec::new();
            for round in 0..12 {
                for cidr in ["10.0.0.0/26", "10.0.0.64/26", "10.0.0.128/26", "10.0.0.192/26"].map(net) {
                    let handle = format!("calico-{index}-{round}-{}", cidr.network());
                    if !calico.claim(cidr).await {
                        continue;
                    }
                    let Some(address) = calico.assign(cidr, &handle).await else { continue };
                    if round % 2 == 0 {
                        calico.release(cidr, &handle).await;
                    } else {
                        got.push(address);
                    }
                }
            }
            got
        });
        let ours = cluster.clone();
        tasks.spawn(async move {
            let mut got = Vec::new();
            for round in 0..12 {
                let handle = format!("tortie-{index}-{round}");
                let assigned = ours.ipam().auto_assign(&request(host, &handle, 1)).await.unwrap();
                if round % 2 == 0 {
                    ours.ipam().release_by_handle(&handle).await.unwrap();
                } else {
                    got.extend(assigned.v4);
                }
            }
            got
        });
    }
    let mut all = BTreeSet::new();
    while let Some(got) = tasks.join_next().await {
        for address in got.unwrap() {
            assert!(all.insert(address.addr()), "{address} was given twice");
        }
    }
    assert!(all.len() >= 18 + 18, "both sides got addresses: {}", all.len());
    check_consistency(&cluster).await;
}
