//! An object that is stored and cannot be read is not deleted: what was known of it stays, and a problem names it.

mod content;

use api::event::{Event, Key, Unreadable};
use api::resource::Kind;
use calc::{Graph, Output};
use content::{State, block, endpoint, entry, node, pool, resource, snapshot, with};
use model::name::{IfName, NodeName, container_interface, pod_interface};
use serde_json::json;
use std::collections::BTreeMap;

fn cluster() -> State {
    let mut state: State = [
        node("n1", "192.168.10.10/24"),
        node("n2", "192.168.10.101/24"),
        pool("default", "172.16.0.0/16", json!({"ipipMode": "Always", "natOutgoing": true})),
        endpoint("n1-k8s-pod1-eth0", "n1", "cali1", "172.16.116.1/32"),
        endpoint("n2-k8s-pod2-eth0", "n2", "cali2", "172.16.158.1/32"),
        resource(Kind::BGPPeer, "tor", json!({"peerIP": "192.168.10.254", "asNumber": 65010})),
        resource(Kind::BGPConfiguration, "default", json!({"asNumber": 65001})),
        resource(Kind::FelixConfiguration, "default", json!({"routeRefreshInterval": "7s"})),
    ]
    .into();
    state.extend(block("172.16.116.0/24", "n1"));
    state
}

fn unreadable(key: &Key) -> Event {
    Event::Unreadable(Unreadable { key: key.clone(), reason: "expected a map".to_owned() })
}

/// A snapshot in which some objects cannot be read.
fn spoilt_snapshot(state: &State, spoilt: &[Key]) -> Vec<Event> {
    let kept = state.iter().filter(|(key, _)| !spoilt.contains(key));
    let inside = kept.map(|pair| Event::InitApply(entry(pair))).chain(spoilt.iter().map(unreadable));
    std::iter::once(Event::Init).chain(inside).chain([Event::InitDone]).collect()
}

fn graph(state: &State) -> (Graph, Output) {
    let mut graph = Graph::new(NodeName::from("n1"), BTreeMap::new());
    graph.on_events(snapshot(state));
    let output = graph.flush().expect("the first snapshot yields an output");
    (graph, output)
}

#[test]
fn what_was_known_stays_until_it_is_deleted_or_readable() {
    let state = cluster();
    let concerns = |key: &Key| !matches!(key, Key::Resource { name, .. } if name == "n2-k8s-pod2-eth0");
    for key in state.keys().filter(|key| concerns(key)) {
        for lost_watch in [false, true] {
            let (mut graph, before) = graph(&state);
            assert_eq!(before.problems, [] as [&str; 0]);
            let spoil =
                || if lost_watch { spoilt_snapshot(&state, std::slice::from_ref(key)) } else { vec![unreadable(key)] };
            graph.on_events(spoil());
            let after = graph.flush().expect("a problem to tell");
            assert_eq!(after.problems.len(), 1, "{key:?}");
            let problem = &after.problems[0];
            assert!(problem.ends_with(": cannot be read: expected a map; what was known of it stays"), "{problem}");
            assert_eq!(Output { problems: Vec::new(), ..after }, before, "{key:?}");
            graph.on_events(spoil());
            assert_eq!(graph.flush(), None, "said once: {key:?}");
            graph.on_events(vec![Event::Apply(entry((key, &state[key])))]);
            assert_eq!(graph.flush().as_ref(), Some(&before), "readable again: {key:?}");

            graph.on_events(vec![unreadable(key), Event::Delete(key.clone())]);
            let mut never = Graph::new(NodeName::from("n1"), BTreeMap::new());
            let without: State = state.clone().into_iter().filter(|(other, _)| other != key).collect();
            never.on_events(snapshot(&without));
            assert_eq!(graph.flush().or(Some(before)), never.flush(), "deleted: {key:?}");
        }
    }
}

#[test]
fn a_snapshot_that_no_longer_names_it_deletes_it() {
    let state = cluster();
    let key = Key::global(Kind::IPPool, "default");
    let (mut graph, _) = graph(&state);
    graph.on_events(vec![unreadable(&key)]);
    let without: State = state.into_iter().filter(|(other, _)| *other != key).collect();
    graph.on_events(snapshot(&without));
    let output = graph.flush().expect("the pool is gone");
    assert!(output.desired.pools.is_empty() && output.problems.is_empty(), "{:?}", output.problems);
}

#[test]
fn what_is_anothers_is_no_problem_of_this_node() {
    let (mut graph, _) = graph(&cluster());
    let other = |name: &str| Key::namespaced(Kind::WorkloadEndpoint, "default", name);
    let foreign = block("172.16.158.0/24", "n2").map(|(key, _)| key);
    let keys = [other("n2-k8s-pod2-eth0"), other("n1--b-cni-c-eth0"), foreign[0].clone(), foreign[1].clone()];
    graph.on_events(keys.iter().map(unreadable).collect());
    assert_eq!(graph.flush(), None);
}

/// At a first start nothing is known but the name, which tells the interface: what stands there may stay.
#[test]
fn at_a_first_start_interfaces_are_known_by_their_endpoints_names() {
    let named = |namespace: &str, name: &str| Key::namespaced(Kind::WorkloadEndpoint, namespace, name);
    let spoilt = [
        named("shop", "n1-k8s-web--0-eth0"),
        named("default", "n1-cni-0123456789abcdef-eth0"),
        named("default", "n2-k8s-other-eth0"),
        named("default", "n1-libnetwork-libnetwork-ep"),
        named("default", "what is this"),
        Key::global(Kind::IPPool, "second"),
    ];
    let mut graph = Graph::new(NodeName::from("n1"), BTreeMap::new());
    graph.on_events(spoilt_snapshot(&cluster(), &spoilt));
    let output = graph.flush().expect("an output");
    let interfaces = [pod_interface("shop", "web-0"), container_interface("0123456789abcdef")];
    assert_eq!(output.desired.unread_workloads, interfaces.into());
    let problems = [
        "ippool second: cannot be read: expected a map; nothing is known of it",
        "workloadendpoint default/n1-cni-0123456789abcdef-eth0: cannot be read: expected a map; its interface stays as \
         it is",
        "workloadendpoint default/n1-libnetwork-libnetwork-ep: cannot be read: expected a map; nothing is known of it",
        "workloadendpoint default/what is this: cannot be read: expected a map; nothing is known of it",
        "workloadendpoint shop/n1-k8s-web--0-eth0: cannot be read: expected a map; its interface stays as it is",
    ];
    assert_eq!(output.problems, problems);

    let key = named("shop", "n1-k8s-web--0-eth0");
    let (_, object) = endpoint("n1-k8s-web--0-eth0", "n1", "cali9", "172.16.116.9/32");
    graph.on_events(vec![Event::Apply(entry((&key, &object))), Event::Delete(spoilt[1].clone())]);
    let output = graph.flush().expect("one is known, one is gone");
    assert!(output.desired.unread_workloads.is_empty());
    assert!(output.desired.workloads.contains_key(&IfName::from("cali9")));
}

/// A block that never could be read is this node's by its affinity.
#[test]
fn at_a_first_start_a_blocks_affinity_counts() {
    let [(spoilt, _), _] = block("172.16.116.0/24", "n1");
    let mut graph = Graph::new(NodeName::from("n1"), BTreeMap::new());
    graph.on_events(spoilt_snapshot(&cluster(), &[spoilt]));
    let output = graph.flush().expect("an output");
    let cidr = "172.16.116.0/24".parse().expect("a CIDR");
    assert_eq!(output.desired.local_blocks, [cidr].into());
    assert_eq!(output.peering.expect("a registered node").originate, [cidr].into());
    let problem = "block 172.16.116.0/24: cannot be read: expected a map; its affinity says that it is this node's";
    assert_eq!(output.problems, [problem]);
}

/// JSON of the right form whose words make no sense is unreadable too.
#[test]
fn words_without_sense_do_not_delete_either() {
    let cases = [
        (pool("default", "172.16.0.0/99", json!({})), "ippool default: spec.cidr \"172.16.0.0/99\""),
        (node("n2", "192.168.10.1O1/24"), "node n2: spec.bgp.ipv4Address \"192.168.10.1O1/24\""),
        (
            endpoint("n1-k8s-pod1-eth0", "n1", "cali1", "172.16.116.1/3x"),
            "workloadendpoint default/n1-k8s-pod1-eth0: spec.ipNetworks \"172.16.116.1/3x\"",
        ),
    ];
    for ((key, object), problem) in cases {
        let (mut graph, before) = graph(&cluster());
        graph.on_events(vec![Event::Apply(entry((&key, &object)))]);
        let after = graph.flush().expect("a problem");
        assert_eq!(after.problems, [format!("{problem}: cannot be read; what was known of it stays")]);
        assert_eq!(Output { problems: Vec::new(), ..after }, before, "{key:?}");
        // with nothing known, the rest of the object counts
        let state: State = with(cluster(), [(key.clone(), object)]);
        let mut graph = Graph::new(NodeName::from("n1"), BTreeMap::new());
        graph.on_events(snapshot(&state));
        let output = graph.flush().expect("an output");
        assert_eq!(output.problems, [format!("{problem}: cannot be read; it is left out")]);
    }
}
