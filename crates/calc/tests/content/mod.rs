//! A datastore's content, written down in few words.

#![allow(dead_code, reason = "each test binary uses its part")]

use api::event::{Entry, Event, Key, Object, OwnerType, Revision};
use api::ipam::{Affinity, Block};
use api::resource::{Kind, Resource};
use ipnet::IpNet;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A datastore's content, by key.
pub(crate) type State = BTreeMap<Key, Object>;

pub(crate) fn resource(kind: Kind, name: &str, spec: Value) -> (Key, Object) {
    let namespace = if kind.namespaced() { "default" } else { "" };
    let body = json!({
        "kind": kind.name(), "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    });
    let resource = Resource::decode(kind, body).expect("a resource");
    (Key::namespaced(kind, namespace, name), Object::Resource(resource))
}

pub(crate) fn node(name: &str, address: &str) -> (Key, Object) {
    resource(Kind::Node, name, json!({"bgp": {"ipv4Address": address}}))
}

pub(crate) fn pool(name: &str, cidr: &str, more: Value) -> (Key, Object) {
    let mut spec = json!({"cidr": cidr});
    spec.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
    resource(Kind::IPPool, name, spec)
}

pub(crate) fn endpoint(name: &str, node: &str, interface: &str, address: &str) -> (Key, Object) {
    let spec = json!({"node": node, "orchestrator": "k8s", "pod": name, "endpoint": "eth0",
        "interfaceName": interface, "ipNetworks": [address]});
    resource(Kind::WorkloadEndpoint, name, spec)
}

pub(crate) fn block(cidr: &str, owner: &str) -> [(Key, Object); 2] {
    let cidr: IpNet = cidr.parse().expect("a CIDR");
    let block = Block {
        cidr,
        affinity: Some(format!("host:{owner}")),
        affinity_claim_time: None,
        allocations: Vec::new(),
        unallocated: Vec::new(),
        attributes: Vec::new(),
        sequence_number: 0,
        sequence_number_for_allocation: BTreeMap::new(),
        deleted: false,
        host_affinity: None,
    };
    let affinity = Key::Affinity { owner_type: OwnerType::Host, owner: owner.to_owned(), block: cidr };
    [(Key::Block(cidr), Object::Block(block)), (affinity, Object::Affinity(Affinity::default()))]
}

pub(crate) fn with(mut state: State, more: impl IntoIterator<Item = (Key, Object)>) -> State {
    state.extend(more);
    state
}

pub(crate) fn entry((key, object): (&Key, &Object)) -> Entry {
    Entry { key: key.clone(), object: object.clone(), revision: Revision::default() }
}

pub(crate) fn snapshot(state: &State) -> Vec<Event> {
    let inside = state.iter().map(|pair| Event::InitApply(entry(pair)));
    std::iter::once(Event::Init).chain(inside).chain([Event::InitDone]).collect()
}
