//! BGPPeers and BGPConfigurations, and the peers that node `n1` gets of them.
//!
//! What is expected is what Calico v3.32.1 makes BIRD do with such content; a row is a peer, with the settings that are
//! not the defaults.

mod content;

use api::event::{Event, Key, Object, Unreadable};
use api::resource::{Kind, Resource};
use calc::{Graph, Output};
use content::{State, block, endpoint, node, pool, resource, snapshot, with};
use model::Asn;
use model::name::NodeName;
use model::peering::{Listen, NextHopMode, Peer, PeerSource, Peering, SourceAddress};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddrV4;

fn output(state: &State) -> Output {
    let mut graph = Graph::new(NodeName::from("n1"), BTreeMap::new());
    graph.on_events(snapshot(state));
    graph.flush().expect("the first snapshot yields an output")
}

fn peering(state: &State) -> Peering {
    output(state).peering.expect("n1 is registered")
}

/// Three nodes in AS 64512, 10.192.0.2 (n1), .3 and .4, without the mesh.
fn nodes(configuration: Value) -> State {
    let mut spec = json!({"nodeToNodeMeshEnabled": false});
    spec.as_object_mut().expect("a map").extend(configuration.as_object().expect("a map").clone());
    [
        node("n1", "10.192.0.2/16"),
        node("n2", "10.192.0.3/16"),
        node("n3", "10.192.0.4/16"),
        resource(Kind::BGPConfiguration, "default", spec),
    ]
    .into()
}

fn peer(name: &str, spec: Value) -> (Key, Object) {
    resource(Kind::BGPPeer, name, spec)
}

/// A node with labels, and more in `spec.bgp`.
fn labelled(name: &str, address: &str, labels: Value, more: Value) -> (Key, Object) {
    let mut bgp = json!({"ipv4Address": address});
    bgp.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
    let body = json!({
        "kind": "Node", "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": name, "labels": labels}, "spec": {"bgp": bgp},
    });
    let node = Resource::decode(Kind::Node, body).expect("a node");
    (Key::namespaced(Kind::Node, "", name), Object::Resource(node))
}

/// The peers, a line each.
fn rows(state: &State) -> Vec<String> {
    peering(state).peers.iter().map(|(at, peer)| row(at, peer)).collect()
}

fn row(at: &SocketAddrV4, peer: &Peer) -> String {
    let source = match peer.source {
        PeerSource::Mesh => "mesh",
        PeerSource::Global => "global",
        PeerSource::Node => "node",
    };
    let mut text = format!("{at} as {} {source}", peer.remote_as);
    let next_hop = match peer.next_hop {
        NextHopMode::Auto => None,
        NextHopMode::Self_ => Some("next hop self".to_owned()),
        NextHopMode::Keep => Some("next hop keep".to_owned()),
    };
    for word in [
        peer.local_as.map(|asn| format!("local as {asn}")),
        peer.passive.then(|| "passive".to_owned()),
        (peer.from == SourceAddress::Any).then(|| "from any".to_owned()),
        next_hop,
        peer.reflector_client.then(|| "client".to_owned()),
        (peer.allowed_local_as != 0).then(|| format!("allow local as {}", peer.allowed_local_as)),
        peer.keepalive_time.map(|time| format!("keepalive {}s", time.as_secs())),
        peer.restart_time.map(|time| format!("restart {}s", time.as_secs())),
        peer.ttl_security.map(|hops| format!("ttl security {hops}")),
        peer.password.as_ref().map(|secret| format!("password {}/{}", secret.name, secret.key)),
    ] {
        text.extend(word.map(|word| format!(", {word}")));
    }
    text
}

#[test]
fn peers_by_address() {
    let listening = json!({"asNumber": 64567, "listenPort": 150});
    for (what, configuration, peers, expect) in [
        (
            "for every node: a node listens where it is told to, others at 179 or where the address says",
            listening,
            vec![
                json!({"peerIP": "10.192.0.3", "asNumber": 64567, "sourceAddress": "None"}),
                json!({"peerIP": "10.192.0.9:166", "asNumber": 64567}),
                json!({"peerIP": "10.192.0.9", "asNumber": 64567}),
            ],
            vec![
                "10.192.0.3:150 as 64567 global, passive, from any",
                "10.192.0.9:166 as 64567 global",
                "10.192.0.9:179 as 64567 global",
            ]
            .into_iter()
            .rev()
            .collect(),
        ),
        (
            "for one node: it dials",
            json!({}),
            vec![
                json!({"node": "n1", "peerIP": "10.192.0.3", "asNumber": 64512}),
                json!({"node": "n1", "peerIP": "10.192.0.4", "asNumber": 64566}),
                json!({"node": "n2", "peerIP": "10.192.0.9", "asNumber": 64566}),
            ],
            vec!["10.192.0.3:179 as 64512 node", "10.192.0.4:179 as 64566 node"],
        ),
        (
            "an AS of its own for a peer, and the own AS in paths",
            json!({}),
            vec![
                json!({"node": "n1", "peerIP": "10.192.0.3", "asNumber": 64512, "localASNumber": 64512,
                    "numAllowedLocalASNumbers": 1}),
                json!({"node": "n1", "peerIP": "10.192.0.4", "asNumber": 64566, "localASNumber": 65001}),
            ],
            vec![
                "10.192.0.3:179 as 64512 node, local as 64512, allow local as 1",
                "10.192.0.4:179 as 64566 node, local as 65001",
            ],
        ),
        (
            "next hops: the old word counts for other ASes alone",
            json!({"asNumber": 64532}),
            vec![
                json!({"peerIP": "172.19.4.1", "asNumber": 64533, "keepOriginalNextHop": true}),
                json!({"peerIP": "172.19.4.2", "asNumber": 64532, "keepOriginalNextHop": true}),
                json!({"peerIP": "172.19.4.3", "asNumber": 64532, "nextHopMode": "Keep"}),
                json!({"peerIP": "172.19.4.4", "asNumber": 64532, "nextHopMode": "Self"}),
                json!({"peerIP": "172.19.4.5", "asNumber": 64533, "nextHopMode": "Auto"}),
            ],
            vec![
                "172.19.4.1:179 as 64533 global, next hop keep",
                "172.19.4.2:179 as 64532 global",
                "172.19.4.3:179 as 64532 global, next hop keep",
                "172.19.4.4:179 as 64532 global, next hop self",
                "172.19.4.5:179 as 64533 global",
            ],
        ),
        (
            "TTL security, times, a password",
            json!({}),
            vec![
                json!({"node": "n1", "peerIP": "10.192.0.3", "asNumber": 64517, "ttlSecurity": 1}),
                json!({"node": "n1", "peerIP": "10.192.0.4", "asNumber": 64517, "ttlSecurity": 0}),
                json!({"node": "n1", "peerIP": "10.192.0.5", "asNumber": 64517, "keepaliveTime": "1m0.6s",
                    "maxRestartTime": "5m", "password": {"secretKeyRef": {"name": "bgp", "key": "rack"}}}),
            ],
            vec![
                "10.192.0.3:179 as 64517 node, ttl security 1",
                "10.192.0.4:179 as 64517 node",
                "10.192.0.5:179 as 64517 node, keepalive 61s, restart 300s, password bgp/rack",
            ],
        ),
        (
            "of two for one address the one for every node stays",
            json!({}),
            vec![
                json!({"node": "n1", "peerIP": "10.192.0.9", "asNumber": 65001}),
                json!({"peerIP": "10.192.0.9", "asNumber": 65002}),
            ],
            vec!["10.192.0.9:179 as 65002 global"],
        ),
        ("oneself is no peer", json!({}), vec![json!({"node": "n1", "peerIP": "10.192.0.2", "asNumber": 1})], vec![]),
    ] {
        let peers = peers.into_iter().enumerate().map(|(index, spec)| peer(&format!("peer-{index}"), spec));
        let mut found = rows(&with(nodes(configuration), peers));
        let mut expect: Vec<String> = expect.into_iter().map(str::to_owned).collect();
        found.sort();
        expect.sort();
        assert_eq!(found, expect, "{what}");
    }
}

#[test]
fn peers_by_selector_both_dial() {
    let label = json!({"rack": "1"});
    let mut state = nodes(json!({}));
    for (name, address) in [("n1", "10.192.0.2/16"), ("n2", "10.192.0.3/16"), ("n3", "10.192.0.4/16")] {
        state.extend([labelled(name, address, label.clone(), json!({}))]);
    }
    let state = with(state, [peer("rack", json!({"peerSelector": "has(rack)", "ttlSecurity": 1}))]);
    let expect = ["10.192.0.3:179 as 64512 global, ttl security 1", "10.192.0.4:179 as 64512 global, ttl security 1"];
    assert_eq!(rows(&state), expect);
    let none = with(state.clone(), [peer("rack", json!({"peerSelector": "rack == '2'"}))]);
    assert_eq!(rows(&none), [""; 0]);
    let unreadable =
        with(state, [peer("rack", json!({"nodeSelector": "rack ==", "peerIP": "10.1.1.1", "asNumber": 1}))]);
    assert_eq!(rows(&unreadable), [""; 0]);
}

#[test]
fn a_reflector_and_its_clients() {
    let cluster = |id: &str| json!({"routeReflectorClusterID": id});
    let reflector = labelled("n1", "10.192.0.2/16", json!({"reflector": "yes"}), cluster("10.0.0.1"));
    let to_reflectors = json!({"nodeSelector": "all()", "peerSelector": "has(reflector)"});
    let both = with(nodes(json!({})), [reflector.clone(), peer("to-reflectors", to_reflectors.clone())]);
    // one BGPPeer makes both ends: the reflector peers back
    let clients = ["10.192.0.3:179 as 64512 node, client", "10.192.0.4:179 as 64512 node, client"];
    assert_eq!(rows(&both), clients);
    assert_eq!(peering(&both).cluster_id, Some([10, 0, 0, 1].into()));
    // by the reflector's address it is the same, and a router outside is no client
    let by_address = with(
        nodes(json!({"asNumber": 64532})),
        [
            reflector.clone(),
            peer("others", json!({"peerIP": "10.192.0.2"})),
            peer("outside", json!({"nodeSelector": "has(reflector)", "peerIP": "172.19.4.87", "asNumber": 64533})),
        ],
    );
    let expect = [
        "10.192.0.3:179 as 64532 node, client",
        "10.192.0.4:179 as 64532 node, client",
        "172.19.4.87:179 as 64533 node",
    ];
    assert_eq!(rows(&by_address), expect);
    // another reflector is a client unless it is of the same cluster
    for (other, expect) in [("10.0.0.1", "10.192.0.3:179 as 64512 node"), ("10.0.0.2", clients[0])] {
        let second = labelled("n2", "10.192.0.3/16", json!({}), cluster(other));
        assert_eq!(rows(&with(both.clone(), [second]))[0], expect, "cluster {other}");
    }
    let mut manual = to_reflectors;
    manual["reversePeering"] = json!("Manual");
    assert_eq!(rows(&with(both.clone(), [peer("to-reflectors", manual)])), [""; 0]);
    // a reflector is out of the mesh, on either side of it
    let mesh = resource(Kind::BGPConfiguration, "default", json!({}));
    let inside =
        with(nodes(json!({})), [mesh.clone(), labelled("n2", "10.192.0.3/16", json!({}), cluster("10.0.0.2"))]);
    assert_eq!(rows(&inside), ["10.192.0.4:179 as 64512 mesh, passive"]);
    assert_eq!(rows(&with(nodes(json!({})), [mesh, reflector])), [""; 0]);
    let unreadable = with(both, [labelled("n1", "10.192.0.2/16", json!({}), cluster("one"))]);
    let output = output(&unreadable);
    assert_eq!(output.peering.expect("a node").cluster_id, None);
    assert_eq!(output.problems, ["node n1: routeReflectorClusterID \"one\" is no IPv4 address; nothing is reflected"]);
}

#[test]
fn settings_of_the_mesh_and_the_listener() {
    let mesh = json!({
        "nodeToNodeMeshEnabled": true, "bindMode": "NodeIP", "listenPort": 1790, "ipv4NormalRoutePriority": 700,
        "nodeMeshPassword": {"secretKeyRef": {"name": "bgp", "key": "mesh"}}, "nodeMeshMaxRestartTime": "90s",
    });
    let state = nodes(mesh);
    let settings = "mesh, passive, restart 90s, password bgp/mesh";
    let expect = ["10.192.0.3", "10.192.0.4"].map(|address| format!("{address}:1790 as 64512 {settings}"));
    assert_eq!(rows(&state), expect);
    let wanted = peering(&state);
    assert_eq!((wanted.listen, wanted.listen_port, wanted.metric), (Listen::NodeAddress, 1790, 700));
    let own = resource(Kind::BGPConfiguration, "node.n1", json!({"bindMode": "None", "listenPort": 179}));
    let wanted = peering(&with(state, [own]));
    assert_eq!((wanted.listen, wanted.listen_port), (Listen::Everywhere, 179));
    assert_eq!(peering(&nodes(json!({}))).metric, 1024);
}

#[test]
fn a_peer_behind_a_gateway() {
    let spec = json!({"peerIP": "172.19.4.87", "asNumber": 64533, "reachableBy": "10.192.0.1"});
    let state = with(nodes(json!({})), [peer("behind", spec.clone())]);
    assert_eq!(peering(&state).gateways, [([172, 19, 4, 87].into(), [10, 192, 0, 1].into())].into());
    let mut other = spec;
    other["node"] = json!("n2");
    assert!(peering(&with(state, [peer("behind", other)])).gateways.is_empty());
}

#[test]
fn ipv6_peers_are_named_as_left_out() {
    let state = with(nodes(json!({})), [peer("six", json!({"peerIP": "[fd00::9]:50", "asNumber": 64533}))]);
    let output = output(&state);
    assert!(output.peering.expect("a node").peers.is_empty());
    let expect = "bgppeer six: peerIP [fd00::9]:50 is left out: BGP over IPv6 is not supported yet";
    assert_eq!(output.problems, [expect]);
}

#[test]
fn a_peer_whose_filters_are_not_known_is_held_down() {
    let spec = json!({"peerSelector": "rack == 'a'", "filters": ["known", "missing"]});
    let known = json!({"importV4": [{"action": "Reject"}]});
    let senseless = json!({"exportV4": [{"cidr": "10.0.0.0/33", "matchOperator": "In", "action": "Accept"}]});
    // BIRD refuses a whole configuration for this one
    let lengths = json!({"max": 8});
    let short = json!({"importV4": [
        {"cidr": "10.0.0.0/16", "matchOperator": "In", "prefixLength": lengths, "action": "Reject"},
    ]});
    let unreadable = Unreadable { key: Key::global(Kind::BGPFilter, "spoilt"), reason: "no JSON".to_owned() };
    let state = with(
        nodes(json!({})),
        [
            labelled("n4", "10.192.0.4", json!({"rack": "a"}), json!({})),
            peer("to-rack", spec),
            peer("router", json!({"peerIP": "10.192.0.9", "asNumber": 64533, "filters": ["spoilt"]})),
            peer("other", json!({"peerIP": "10.192.0.11", "asNumber": 64533, "filters": ["senseless"]})),
            peer("open", json!({"peerIP": "10.192.0.10", "asNumber": 64533, "filters": ["known"]})),
            peer("short", json!({"peerIP": "10.192.0.12", "asNumber": 64533, "filters": ["short"]})),
            resource(Kind::BGPFilter, "short", short),
            resource(Kind::BGPFilter, "known", known),
            resource(Kind::BGPFilter, "senseless", senseless),
            resource(Kind::BGPFilter, "spoilt", json!({"importV4": [{"action": "Reject"}]})),
        ],
    );
    let mut graph = Graph::new(NodeName::from("n1"), BTreeMap::new());
    graph.on_events(snapshot(&state));
    graph.flush().expect("the first snapshot yields an output");
    graph.on_events(vec![Event::Unreadable(unreadable)]);
    let output = graph.flush().expect("what it says may not hold any more");
    let peers = output.peering.expect("a node").peers;
    let held = |address: &str| peers[&address.parse().expect("a socket")].held_down.as_deref();
    let why = "bgppeer to-rack: there is no filter missing, so there is no session";
    assert_eq!(held("10.192.0.4:179"), Some(why));
    let spoilt = "bgppeer router: filter spoilt cannot be read, so there is no session";
    assert_eq!(held("10.192.0.9:179"), Some(spoilt), "also where it could be read before");
    let other =
        "bgppeer other: filter senseless: exportV4[0]: cidr \"10.0.0.0/33\" makes no sense, so there is no session";
    assert_eq!(held("10.192.0.11:179"), Some(other));
    let short = "bgppeer short: filter short: importV4[0]: prefixLength 16 to 8 within 10.0.0.0/16 makes no sense, so there is \
                 no session";
    assert_eq!(held("10.192.0.12:179"), Some(short));
    assert_eq!(held("10.192.0.10:179"), None);
    assert_eq!(peers[&"10.192.0.10:179".parse().expect("a socket")].import.len(), 1);
    for why in [why, spoilt, other] {
        assert!(output.problems.iter().any(|problem| problem == why), "{:?}", output.problems);
    }
}

#[test]
fn what_is_announced_and_what_is_passed_on() {
    let net = |text: &str| text.parse::<ipnet::Ipv4Net>().expect("a prefix");
    let mut state = with(
        nodes(json!({})),
        [
            pool("open", "192.168.1.0/24", json!({})),
            pool("kept", "192.168.2.0/24", json!({"disableBGPExport": true})),
            pool("disabled", "192.168.3.0/24", json!({"disabled": true})),
            endpoint("one", "n1", "cali1", "10.2.0.1/32"),
            endpoint("two", "n1", "cali2", "192.168.1.200/32"),
            endpoint("three", "n1", "cali3", "192.168.2.200/32"),
            endpoint("four", "n1", "cali4", "192.168.3.200/32"),
        ],
    );
    // blocks outside every pool are announced too, and one of a single address while somebody has it
    for cidr in ["10.0.0.0/30", "10.2.0.1/32", "10.2.0.2/32", "192.168.1.0/26", "192.168.2.0/26", "192.168.3.0/26"] {
        state.extend(block(cidr, "n1"));
    }
    let wanted = peering(&state);
    let announced = ["10.0.0.0/30", "10.2.0.1/32", "192.168.1.0/26", "192.168.1.200/32", "192.168.3.0/26"];
    assert_eq!(wanted.originate, announced.map(net).into());
    assert_eq!(wanted.pools, [net("192.168.1.0/24")].into());
    assert_eq!(wanted.withheld, [net("192.168.2.0/24")].into());
    assert_eq!(wanted.local_as, Asn(64512));
}

#[test]
fn cluster_routes_may_be_left_to_others() {
    let state = |configuration| {
        with(
            nodes(configuration),
            [
                pool("tunnelled", "192.168.0.0/16", json!({"ipipMode": "Always"})),
                pool("plain", "172.17.0.0/16", json!({})),
            ],
        )
    };
    for (configuration, programmed) in [
        (json!({}), true),
        (json!({"programClusterRoutes": "Enabled"}), true),
        (json!({"programClusterRoutes": "Disabled"}), false),
    ] {
        let desired = output(&state(configuration)).desired;
        let route = |prefix: &str| {
            desired.kernel_route(&prefix.parse().expect("a prefix"), std::net::Ipv4Addr::new(10, 192, 0, 3).into())
        };
        for inside in ["192.168.9.0/26", "172.17.9.0/26"] {
            assert_eq!(route(inside).is_some(), programmed, "{inside}");
        }
        assert!(route("10.9.0.0/16").is_some());
    }
}
