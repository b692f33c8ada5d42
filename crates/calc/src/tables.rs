//! The datastore's content as far as one node cares, kept up to date by events.

use crate::status;
use crate::unenforced;
use crate::unread::{Unread, Why, senseless_field};
use api::event::{Entry, Event, Key, Object, OwnerType, Unreadable};
use api::ipam::{AffinityState, Block};
use api::kind::{
    BgpConfigurationSpec, BgpFilterSpec, BgpPeerSpec, FelixConfigurationSpec, IpPoolSpec, NodeSpec,
    WorkloadEndpointSpec,
};
use api::meta::ObjectMeta;
use api::resource::{Kind, Resource, Spec, Typed};
use ipnet::{IpNet, Ipv4Net};
use model::desired::{Ipv6, StatusFile};
use model::name::IfName;
use std::collections::{BTreeMap, BTreeSet};

/// Everything seen, by key. Deletes of what is not there are normal.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) nodes: BTreeMap<String, Typed<NodeSpec>>,
    pub(crate) pools: BTreeMap<String, Typed<IpPoolSpec>>,
    pub(crate) endpoints: BTreeMap<Key, LocalEndpoint>,
    /// Every block, and whether it names this node as its owner.
    blocks: BTreeMap<Ipv4Net, Named>,
    /// This node's affinities.
    affinities: BTreeMap<Ipv4Net, AffinityState>,
    pub(crate) bgp_configurations: BTreeMap<String, BgpConfigurationSpec>,
    pub(crate) bgp_peers: BTreeMap<String, BgpPeerSpec>,
    pub(crate) bgp_filters: BTreeMap<String, BgpFilterSpec>,
    pub(crate) felix_configurations: BTreeMap<String, FelixConfigurationSpec>,
    /// What closes something on this node, by kind and name.
    pub(crate) closing: BTreeMap<Key, String>,
    /// What is there and cannot be read. Of those keys the tables have what was known before, if anything.
    pub(crate) unread: BTreeMap<Key, Unread>,
    /// While a snapshot arrives: the keys it has named.
    resync: Option<BTreeSet<Key>>,
    /// Every key held, to find what a snapshot no longer names.
    held: BTreeSet<Key>,
    /// How many of them are workload endpoints, on whatever node.
    pub(crate) endpoints_held: usize,
    pub(crate) in_sync: bool,
}

/// Whom a block names as its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    /// This node.
    Us,
    /// Another node, or nobody.
    NotUs,
}

/// A workload endpoint of this node, as far as its kernel cares.
#[derive(Debug, PartialEq)]
pub(crate) struct LocalEndpoint {
    /// The host's end; empty while the CNI plugin has not said.
    pub(crate) interface: IfName,
    /// The pod's IPv4 addresses, with their prefix length.
    pub(crate) networks: Vec<Ipv4Net>,
    /// Whether it has IPv6 addresses too.
    pub(crate) ipv6: Ipv6,
    /// What is said of it once its routes and rules stand.
    pub(crate) status: StatusFile,
}

impl LocalEndpoint {
    fn new(namespace: &str, spec: &WorkloadEndpointSpec) -> LocalEndpoint {
        let networks = spec.ip_networks.iter().filter_map(|network| match network.parse() {
            Ok(IpNet::V4(network)) => Some(network),
            Ok(IpNet::V6(_)) | Err(_) => None,
        });
        let has_ipv6 = spec.ip_networks.iter().any(|network| network.contains(':'));
        LocalEndpoint {
            interface: IfName(spec.interface_name.clone()),
            networks: networks.collect(),
            ipv6: if has_ipv6 { Ipv6::Present } else { Ipv6::Absent },
            status: status::file(namespace, spec),
        }
    }
}

impl Tables {
    /// Takes one event; answers whether anything relevant to `node` changed.
    pub(crate) fn apply(&mut self, event: Event, node: &str) -> bool {
        match event {
            Event::Init => {
                self.resync = Some(BTreeSet::new());
                false
            }
            Event::InitApply(entry) => {
                if let Some(named) = &mut self.resync {
                    named.insert(entry.key.clone());
                }
                self.put(entry, node)
            }
            Event::InitDone => {
                let named = self.resync.take().unwrap_or_default();
                let seen = self.held.iter().chain(self.unread.keys());
                let gone: BTreeSet<Key> = seen.filter(|key| !named.contains(*key)).cloned().collect();
                let mut changed = !std::mem::replace(&mut self.in_sync, true);
                for key in &gone {
                    changed |= self.remove(key, node);
                }
                changed
            }
            Event::Apply(entry) => self.put(entry, node),
            Event::Delete(key) => self.remove(&key, node),
            Event::Unreadable(Unreadable { key, reason }) => {
                if let Some(named) = &mut self.resync {
                    named.insert(key.clone());
                }
                let unread = Unread { why: Why::Value(reason), kept: self.is_kept(&key) };
                // what was known of it may not hold any more
                let closing = unenforced::may_close(&key);
                let closing = closing.is_some_and(|words| replace(&mut self.closing, key.clone(), words));
                replace(&mut self.unread, key, unread) || closing
            }
        }
    }

    fn put(&mut self, entry: Entry, node: &str) -> bool {
        let Entry { key, object, .. } = entry;
        let closing = match unenforced::closes(&key, &object, node) {
            Some(words) => replace(&mut self.closing, key.clone(), words),
            None => self.closing.remove(&key).is_some(),
        };
        let why = match &object {
            Object::Resource(Resource::WorkloadEndpoint(it)) if it.spec.node != node => None,
            Object::Resource(resource) => senseless_field(resource),
            Object::Block(_) | Object::Affinity(_) | Object::Handle(_) | Object::IpamConfig(_) | Object::Ready(_) => {
                None
            }
        };
        let kept = self.is_kept(&key);
        let unread = why.map(|why| Unread { why, kept });
        let changed = closing || self.unread.get(&key) != unread.as_ref();
        let is_unread = unread.is_some();
        match unread {
            Some(unread) => drop(self.unread.insert(key.clone(), unread)),
            None => drop(self.unread.remove(&key)),
        }
        if is_unread && kept {
            return changed;
        }
        self.put_readable(key, object, node) || changed
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "a kind that is not named is none of this node's")]
    fn put_readable(&mut self, key: Key, object: Object, node: &str) -> bool {
        if self.held.insert(key.clone()) && is_endpoint(&key) {
            self.endpoints_held += 1;
        }
        match (&key, object) {
            (Key::Resource { name, .. }, Object::Resource(resource)) => match resource {
                Resource::Node(it) => replace(&mut self.nodes, name.clone(), lasting(*it)),
                Resource::IPPool(it) => replace(&mut self.pools, name.clone(), lasting(*it)),
                Resource::WorkloadEndpoint(it) if it.spec.node == node => {
                    let endpoint = LocalEndpoint::new(&it.metadata.namespace, &it.spec);
                    replace(&mut self.endpoints, key, endpoint)
                }
                Resource::WorkloadEndpoint(_) => self.endpoints.remove(&key).is_some(),
                Resource::BGPConfiguration(it) => replace(&mut self.bgp_configurations, name.clone(), it.spec),
                Resource::BGPPeer(it) => replace(&mut self.bgp_peers, name.clone(), it.spec),
                Resource::BGPFilter(it) => replace(&mut self.bgp_filters, name.clone(), it.spec),
                Resource::FelixConfiguration(it) => replace(&mut self.felix_configurations, name.clone(), it.spec),
                // of the others it counts whether they close something
                _ => false,
            },
            (Key::Block(IpNet::V4(cidr)), Object::Block(block)) if !block.deleted => {
                let named = if is_of(&block, node) { Named::Us } else { Named::NotUs };
                let changed = replace(&mut self.blocks, *cidr, named);
                changed && (named == Named::Us || self.affinities.contains_key(cidr))
            }
            (Key::Affinity { owner_type: OwnerType::Host, owner, block: IpNet::V4(block) }, Object::Affinity(it))
                if owner == node && !it.deleted =>
            {
                replace(&mut self.affinities, *block, it.state)
            }
            _ => self.remove(&key, node),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "a kind that is not named is none of this node's")]
    fn remove(&mut self, key: &Key, node: &str) -> bool {
        let is_ours = matches!(key, Key::Affinity { owner, .. } if owner == node);
        let was_unread = self.unread.remove(key).is_some();
        if self.held.remove(key) && is_endpoint(key) {
            self.endpoints_held -= 1;
        }
        let was_closing = self.closing.remove(key).is_some();
        let was_held = match key {
            Key::Resource { kind, name, .. } => match kind {
                Kind::Node => self.nodes.remove(name).is_some(),
                Kind::IPPool => self.pools.remove(name).is_some(),
                Kind::WorkloadEndpoint => self.endpoints.remove(key).is_some(),
                Kind::BGPConfiguration => self.bgp_configurations.remove(name).is_some(),
                Kind::BGPPeer => self.bgp_peers.remove(name).is_some(),
                Kind::BGPFilter => self.bgp_filters.remove(name).is_some(),
                Kind::FelixConfiguration => self.felix_configurations.remove(name).is_some(),
                _ => false,
            },
            Key::Block(IpNet::V4(cidr)) => {
                let removed = self.blocks.remove(cidr);
                removed == Some(Named::Us) || (removed.is_some() && self.affinities.contains_key(cidr))
            }
            Key::Affinity { owner_type: OwnerType::Host, block: IpNet::V4(block), .. } if is_ours => {
                self.affinities.remove(block).is_some()
            }
            Key::Block(_) | Key::Affinity { .. } | Key::Handle(_) | Key::IpamConfig | Key::Ready => false,
        };
        was_closing || was_unread || was_held
    }

    /// Whether the tables have of a key what stays when it cannot be read.
    fn is_kept(&self, key: &Key) -> bool {
        let known = if is_endpoint(key) { self.endpoints.contains_key(key) } else { self.held.contains(key) };
        known && self.unread.get(key).is_none_or(|unread| unread.kept)
    }

    /// The blocks that name this node as their owner; of one that cannot be read, and never could, its affinity counts.
    pub(crate) fn local_blocks(&self) -> impl Iterator<Item = Ipv4Net> {
        let named = self.blocks.iter().filter(|(_, named)| **named == Named::Us).map(|(cidr, _)| *cidr);
        named.chain(self.blockless().filter(|cidr| self.unread.contains_key(&Key::Block(IpNet::V4(*cidr)))))
    }

    /// The blocks that this node announces: those that name it, unless its claim is still pending, and those of
    /// confirmed affinities that do not exist.
    pub(crate) fn announced_blocks(&self) -> impl Iterator<Item = Ipv4Net> {
        let settled = |cidr: &Ipv4Net| self.affinities.get(cidr) != Some(&AffinityState::Pending);
        self.local_blocks().filter(move |cidr| settled(cidr)).chain(self.blockless())
    }

    /// The confirmed affinities for which no block is known.
    fn blockless(&self) -> impl Iterator<Item = Ipv4Net> {
        let confirmed = self.affinities.iter().filter(|(_, state)| **state == AffinityState::Confirmed);
        confirmed.map(|(cidr, _)| *cidr).filter(|cidr| !self.blocks.contains_key(cidr))
    }

    /// Whether a block is this node's, or may be by its affinity.
    pub(crate) fn is_local_block(&self, cidr: &Ipv4Net) -> bool {
        self.blocks.get(cidr) == Some(&Named::Us) || self.affinities.contains_key(cidr)
    }
}

/// Whether a block names a node as its owner, also where Calico 2 kept it.
fn is_of(block: &Block, node: &str) -> bool {
    let owner = block.affinity.as_deref().or(block.host_affinity.as_deref());
    owner.and_then(|owner| owner.strip_prefix("host:")) == Some(node)
}

/// A resource without what changes with every write of it and means nothing here.
fn lasting<S: Spec>(mut resource: Typed<S>) -> Typed<S> {
    resource.metadata = ObjectMeta { labels: resource.metadata.labels, ..ObjectMeta::named(&resource.metadata.name) };
    resource.status = None;
    resource
}

fn is_endpoint(key: &Key) -> bool {
    matches!(key, Key::Resource { kind: Kind::WorkloadEndpoint, .. })
}

/// Puts a value into a table; answers whether that changed anything.
fn replace<K: Ord, V: PartialEq>(table: &mut BTreeMap<K, V>, key: K, value: V) -> bool {
    let changed = table.get(&key) != Some(&value);
    if changed {
        table.insert(key, value);
    }
    changed
}
