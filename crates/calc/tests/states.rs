//! Named datastore states and what node `n1` should do in each, replayed forwards, backwards, from nothing and
//! through a lost watch: the outcome may depend on nothing but the content.

mod content;

use api::event::{Event, Key, Object, Unreadable};
use api::ipam::{Affinity, AffinityState};
use api::resource::Kind;
use calc::{Graph, Output};
use content::{State, block, endpoint, entry, node, pool, resource, snapshot, with};
use ipnet::Ipv4Net;
use model::Asn;
use model::desired::{AllowAction, Encapsulation, EndpointToHost, Ipv6, Learned, Route, RuleSettings, Target};
use model::name::{IfName, NodeName};
use model::peering::PeerSource;
use model::{RouteProtocol, desired::PacketRules};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The walkthrough's cluster, seen from `n1`.
fn cluster() -> State {
    let mut state: State = [
        node("n1", "192.168.10.10/24"),
        node("n2", "192.168.10.101/24"),
        node("n3", "192.168.20.100/24"),
        pool("default", "172.16.0.0/16", json!({"ipipMode": "Always", "natOutgoing": true})),
        endpoint("pod1", "n1", "cali1", "172.16.116.1/32"),
        endpoint("pod2", "n2", "cali2", "172.16.158.1/32"),
    ]
    .into();
    state.extend(block("172.16.116.0/24", "n1"));
    state.extend(block("172.16.158.0/24", "n2"));
    state
}

fn changes(from: &State, to: &State) -> Vec<Event> {
    let gone = from.keys().filter(|key| !to.contains_key(key)).map(|key| Event::Delete(key.clone()));
    let put = to.iter().filter(|(key, object)| from.get(key) != Some(object)).map(|pair| Event::Apply(entry(pair)));
    put.chain(gone).collect()
}

fn graph() -> Graph {
    Graph::new(NodeName::from("n1"), BTreeMap::new())
}

fn outcome(state: &State) -> Output {
    let mut graph = graph();
    graph.on_events(snapshot(state));
    graph.flush().expect("the first snapshot yields an output")
}

fn policies() -> [(Key, Object); 3] {
    [
        resource(Kind::NetworkPolicy, "deny", json!({})),
        resource(Kind::HostEndpoint, "n1-eth0", json!({"node": "n1", "interfaceName": "eth0"})),
        resource(Kind::Profile, "closed", json!({"ingress": [{"action": "Deny"}]})),
    ]
}

/// The states that every expander goes through.
fn states() -> Vec<(&'static str, State)> {
    let mut second_pool = cluster();
    second_pool.extend([pool("second", "10.0.0.0/16", json!({"vxlanMode": "Always"}))]);
    second_pool.extend(block("10.0.1.0/26", "n1"));
    vec![
        ("empty", State::new()),
        ("cluster", cluster()),
        (
            "pods gone",
            cluster()
                .into_iter()
                .filter(|(key, _)| !matches!(key, Key::Resource { kind: Kind::WorkloadEndpoint, .. }))
                .collect(),
        ),
        ("pod moved", with(cluster(), [endpoint("pod1", "n2", "cali1", "172.16.116.1/32")])),
        ("second pool", second_pool),
        (
            "mesh off",
            with(cluster(), [resource(Kind::BGPConfiguration, "default", json!({"nodeToNodeMeshEnabled": false}))]),
        ),
        ("policies", with(cluster(), policies())),
        ("unregistered", cluster().into_iter().filter(|(key, _)| *key != Key::global(Kind::Node, "n1")).collect()),
    ]
}

#[test]
fn only_the_content_counts() {
    let states = states();
    for (from_name, from) in &states {
        for (to_name, to) in &states {
            let expect = outcome(to);
            for (way, events) in [("by changes", changes(from, to)), ("by a new snapshot", snapshot(to))] {
                let mut graph = graph();
                graph.on_events(snapshot(from));
                let before = graph.flush();
                graph.on_events(events.clone());
                let after = graph.flush().or(before);
                assert_eq!(after.as_ref(), Some(&expect), "{from_name} to {to_name} {way}");
                graph.on_events(events);
                assert_eq!(graph.flush(), None, "{from_name} to {to_name} {way}: the same events again change nothing");
            }
            let mut squashed = graph();
            squashed.on_events(snapshot(from));
            squashed.on_events(changes(from, to).into_iter().rev().collect());
            assert_eq!(squashed.flush(), Some(expect), "{from_name} to {to_name} in one flush, reversed");
        }
    }
}

#[test]
fn what_is_not_enforced_is_named() {
    let unenforced = |state: State| outcome(&state).unenforced;
    assert_eq!(unenforced(cluster()), Vec::<String>::new());
    let expect = ["HostEndpoint n1-eth0", "NetworkPolicy default/deny", "Profile closed"];
    assert_eq!(unenforced(with(cluster(), policies())), expect);
    let felix = |name: &str, value| resource(Kind::FelixConfiguration, name, json!({"bpfEnabled": value}));
    let bpf = vec!["Calico's BPF dataplane (bpfEnabled)".to_owned()];
    assert_eq!(unenforced(with(cluster(), [felix("default", true)])), bpf);
    assert_eq!(unenforced(with(cluster(), [felix("default", false), felix("node.n1", true)])), bpf);
    assert_eq!(unenforced(with(cluster(), [felix("node.n2", true)])), Vec::<String>::new());
    let mut graph = graph();
    graph.on_events(snapshot(&cluster()));
    let key = Key::global(Kind::Profile, "broken");
    graph.on_events(vec![Event::Unreadable(Unreadable { key: key.clone(), reason: "no JSON".to_owned() })]);
    assert_eq!(graph.flush().expect("an output").unenforced, ["Profile broken"]);
    graph.on_events(vec![Event::Delete(key)]);
    assert_eq!(graph.flush().expect("an output").unenforced, Vec::<String>::new());
    assert_eq!(unenforced(with(cluster(), [felix("default", true), felix("node.n1", false)])), Vec::<String>::new());
    for (word, expect) in [("true", bpf), ("0", Vec::new())] {
        let mut graph = Graph::new(NodeName::from("n1"), BTreeMap::from([("bpfenabled".to_owned(), word.to_owned())]));
        graph.on_events(snapshot(&cluster()));
        assert_eq!(graph.flush().expect("an output").unenforced, expect, "FELIX_BPFENABLED={word}");
    }
}

#[test]
fn nothing_comes_out_before_the_snapshot_is_complete() {
    let mut graph = graph();
    let mut events = snapshot(&cluster());
    let done = events.pop();
    graph.on_events(events);
    assert_eq!(graph.flush(), None);
    graph.on_events(done.into_iter().collect());
    assert!(graph.flush().is_some());
}

#[test]
fn what_did_not_change_is_the_same_object() {
    let mut graph = graph();
    graph.on_events(snapshot(&cluster()));
    let first = graph.flush().expect("the first snapshot yields an output");
    let spec = json!({"asNumber": 64600});
    let configured = with(cluster(), [resource(Kind::BGPConfiguration, "default", spec)]);
    graph.on_events(changes(&cluster(), &configured));
    let second = graph.flush().expect("the AS number is another");
    assert_ne!(first.peering, second.peering);
    assert!(Arc::ptr_eq(&first.desired, &second.desired), "the kernel's part need not be compared again");
    graph.on_events(changes(&configured, &State::new()));
    let third = graph.flush().expect("all is gone");
    assert!(!Arc::ptr_eq(&second.desired, &third.desired));
}

fn cidr(text: &str) -> Ipv4Net {
    text.parse().expect("a CIDR")
}

fn address(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

#[test]
fn routes_of_the_walkthrough() {
    let learned: Learned = [
        (cidr("172.16.158.0/24"), address("192.168.10.101").into()),
        (cidr("172.16.34.0/24"), address("192.168.20.100").into()),
        (cidr("172.16.116.0/24"), address("192.168.10.101").into()),
        (cidr("198.51.100.0/24"), address("192.168.10.254").into()),
    ]
    .into();
    let routes = outcome(&cluster()).desired.routes(&learned);
    let tunl0 = |via| Target::Onlink(address(via), IfName::from("tunl0"));
    let expect: BTreeMap<Ipv4Net, Route> = [
        ("172.16.116.0/24", Target::Blackhole, RouteProtocol::FELIX),
        ("172.16.116.1/32", Target::Link(IfName::from("cali1")), RouteProtocol::BOOT),
        ("172.16.158.0/24", tunl0("192.168.10.101"), RouteProtocol::BIRD),
        ("172.16.34.0/24", tunl0("192.168.20.100"), RouteProtocol::BIRD),
        ("198.51.100.0/24", Target::Via(address("192.168.10.254")), RouteProtocol::BIRD),
    ]
    .map(|(destination, target, protocol)| (cidr(destination), Route { target, protocol, metric: 0 }))
    .into();
    assert_eq!(routes, expect);
}

#[test]
fn encapsulation_follows_pool_and_subnet() {
    let near = (cidr("172.16.158.0/24"), address("192.168.10.101"));
    let far = (cidr("172.16.34.0/24"), address("192.168.20.100"));
    for (spec, near_tunnelled, far_tunnelled) in [
        (json!({"ipipMode": "Always"}), Some(true), Some(true)),
        (json!({"ipipMode": "CrossSubnet"}), Some(false), Some(true)),
        (json!({"ipipMode": "Never"}), Some(false), Some(false)),
        (json!({"vxlanMode": "Always"}), None, None),
    ] {
        let desired = outcome(&with(cluster(), [pool("default", "172.16.0.0/16", spec.clone())])).desired;
        for ((prefix, via), expect) in [(near, near_tunnelled), (far, far_tunnelled)] {
            let tunnelled =
                desired.kernel_route(&prefix, via.into()).map(|route| matches!(route.target, Target::Onlink(..)));
            assert_eq!(tunnelled, expect, "{spec} {prefix}");
        }
        let ipip = spec.get("ipipMode").is_some_and(|mode| mode != "Never");
        assert_eq!(desired.ipip.is_some(), ipip, "{spec}");
    }
}

#[test]
fn the_mesh_dials_one_way() {
    let peering = outcome(&cluster()).peering.expect("a registered node");
    assert_eq!((peering.local_as, peering.address, peering.listen_port), (Asn(64512), address("192.168.10.10"), 179));
    let peers: Vec<_> = peering.peers.iter().map(|(peer, wanted)| (peer.ip().to_string(), wanted.passive)).collect();
    // the lexically larger address string waits for the other side
    assert_eq!(peers, [("192.168.10.101".to_owned(), true), ("192.168.20.100".to_owned(), true)]);
    assert!(peering.peers.values().all(|peer| peer.source == PeerSource::Mesh && peer.remote_as == Asn(64512)));
    assert_eq!(peering.originate, [cidr("172.16.116.0/24")].into());

    let off = states().into_iter().find(|(name, _)| *name == "mesh off").expect("a state").1;
    let peering = outcome(&off).peering.expect("a registered node");
    assert!(peering.peers.is_empty());
    let unregistered = states().into_iter().find(|(name, _)| *name == "unregistered").expect("a state").1;
    assert_eq!(outcome(&unregistered).peering, None);
}

#[test]
fn explicit_peers_and_as_numbers() {
    let state = with(
        cluster(),
        [
            resource(Kind::BGPConfiguration, "default", json!({"asNumber": 65001, "listenPort": 1790})),
            resource(Kind::BGPPeer, "tor", json!({"peerIP": "192.168.10.254:1179", "asNumber": 65010})),
            resource(Kind::BGPPeer, "mine", json!({"node": "n1", "peerIP": "192.168.10.253", "asNumber": 65011})),
            resource(Kind::BGPPeer, "theirs", json!({"node": "n2", "peerIP": "192.168.10.252", "asNumber": 65012})),
            resource(Kind::Node, "n3", json!({"bgp": {"ipv4Address": "192.168.20.100/24", "asNumber": 65003}})),
        ],
    );
    let peering = outcome(&state).peering.expect("a registered node");
    let peers: Vec<_> = peering
        .peers
        .iter()
        .map(|(at, peer)| (at.ip().to_string(), peer.remote_as.0, at.port(), peer.source))
        .collect();
    let row = |address: &str, asn, port, source| (address.to_owned(), asn, port, source);
    assert_eq!(
        peers,
        [
            row("192.168.10.101", 65001, 1790, PeerSource::Mesh),
            row("192.168.10.253", 65011, 179, PeerSource::Node),
            row("192.168.10.254", 65010, 1179, PeerSource::Global),
            row("192.168.20.100", 65003, 1790, PeerSource::Mesh),
        ]
    );
}

#[test]
fn only_confirmed_blocks_and_borrowed_addresses_are_announced() {
    let mut pending = block("172.16.7.0/24", "n1");
    pending[1].1 = Object::Affinity(Affinity { state: AffinityState::Pending, deleted: false });
    let mut state = with(cluster(), pending);
    state.extend([endpoint("borrower", "n1", "cali9", "172.16.158.9/32")]);
    let peering = outcome(&state).peering.expect("a registered node");
    assert_eq!(peering.originate, [cidr("172.16.116.0/24"), cidr("172.16.158.9/32")].into());

    let kept = with(state.clone(), [pool("default", "172.16.0.0/16", json!({"disableBGPExport": true}))]);
    assert!(outcome(&kept).peering.expect("a registered node").originate.is_empty());
    let disabled = with(state, [pool("default", "172.16.0.0/16", json!({"disabled": true}))]);
    let originate = outcome(&disabled).peering.expect("a registered node").originate;
    assert_eq!(originate, [cidr("172.16.116.0/24")].into(), "a disabled pool's blocks stay announced");
}

/// Better than Calico, which announces by affinity: of two that claim a block, the block itself says whose it is.
#[test]
fn a_block_is_announced_by_the_node_that_it_names() {
    let affinity = |cidr: &str, owner: &str, state| {
        let [_, (key, _)] = block(cidr, owner);
        (key, Object::Affinity(Affinity { state, deleted: false }))
    };
    let stale = affinity("172.16.158.0/24", "n1", AffinityState::Confirmed);
    let [block_of_n2, _] = block("172.16.158.0/24", "n2");
    let mut disowned = block_of_n2.clone();
    if let Object::Block(block) = &mut disowned.1 {
        block.affinity = None;
    }
    let [named_n1, of_n1] = block("172.16.158.0/24", "n1");
    let deleting = affinity("172.16.158.0/24", "n1", AffinityState::PendingDeletion);
    let without = |state: State, key: &Key| state.into_iter().filter(|(other, _)| other != key).collect::<State>();
    let cases = [
        ("stale", with(cluster(), [stale.clone()]), false, false),
        ("nobody's", with(cluster(), [disowned, stale.clone()]), false, false),
        ("no affinity", with(cluster(), [named_n1.clone()]), true, true),
        ("being deleted", with(cluster(), [named_n1.clone(), deleting]), true, true),
        ("no block", without(with(cluster(), [stale]), &block_of_n2.0), true, false),
        ("its own", with(cluster(), [named_n1, of_n1]), true, true),
    ];
    let prefix = cidr("172.16.158.0/24");
    for (name, state, announced, blackhole) in &cases {
        for (from, before) in cases.iter().map(|(from, before, ..)| (from, before)) {
            let mut graph = graph();
            graph.on_events(snapshot(before));
            let first = graph.flush();
            graph.on_events(changes(before, state));
            let output = graph.flush().or(first).expect("an output");
            let peering = output.peering.as_ref().expect("a registered node");
            assert_eq!(peering.originate.contains(&prefix), *announced, "{from} to {name}");
            assert_eq!(output.desired.local_blocks.contains(&prefix), *blackhole, "{from} to {name}");
        }
    }
}

/// What other nodes write all day is no work for this one.
#[test]
fn what_is_not_ours_is_not_computed() {
    let mut graph = graph();
    graph.on_events(snapshot(&cluster()));
    graph.flush().expect("the first snapshot yields an output");
    let computed = graph.computed();
    let mut foreign = |entry: api::Entry| {
        graph.on_events(vec![Event::Apply(entry)]);
        assert_eq!((graph.flush(), graph.computed()), (None, computed));
    };
    for sequence in 0..5 {
        for mut pair in [block("172.16.158.0/24", "n2"), block("172.16.116.0/24", "n1"), block("10.1.0.0/26", "n9")] {
            if let Object::Block(block) = &mut pair[0].1 {
                block.sequence_number = sequence;
                block.allocations = vec![Some(0); sequence as usize];
            }
            foreign(entry((&pair[0].0, &pair[0].1)));
        }
        let [_, (key, affinity)] = block("10.1.0.0/26", "n9");
        foreign(entry((&key, &affinity)));
        let (key, object) = endpoint("pod2", "n2", "cali2", &format!("172.16.158.{sequence}/32"));
        foreign(entry((&key, &object)));
        // a node's heartbeat: another revision, other annotations
        let (key, object) = node("n2", "192.168.10.101/24");
        let Object::Resource(mut resource) = object else { panic!("a resource") };
        resource.metadata_mut().resource_version = sequence.to_string();
        resource.metadata_mut().annotations.insert("beat".to_owned(), sequence.to_string());
        foreign(entry((&key, &Object::Resource(resource))));
        let (key, object) = pool("default", "172.16.0.0/16", json!({"ipipMode": "Always", "natOutgoing": true}));
        let Object::Resource(mut resource) = object else { panic!("a resource") };
        resource.metadata_mut().resource_version = sequence.to_string();
        foreign(entry((&key, &Object::Resource(resource))));
    }
    let [(key, taken), _] = block("172.16.158.0/24", "n1");
    graph.on_events(vec![Event::Apply(entry((&key, &taken)))]);
    assert!(graph.flush().is_some(), "a block that becomes ours is");
}

#[test]
fn settings_layer_and_bad_ones_are_named() {
    let state = with(
        cluster(),
        [
            resource(
                Kind::FelixConfiguration,
                "default",
                json!({"nftablesMode": "Enabled", "routeRefreshInterval": "2s", "ipipMTU": 1400}),
            ),
            resource(
                Kind::FelixConfiguration,
                "node.n1",
                json!({
                    "routeRefreshInterval": "3s", "deviceRouteProtocol": 300, "nftablesMode": "Auto",
                    "externalNodesList": ["192.0.2.7", "198.51.100.0/24", "2001:db8::1", "192.0.2.0/33"],
                }),
            ),
            resource(Kind::FelixConfiguration, "node.n2", json!({"routeRefreshInterval": "4s"})),
        ],
    );
    let output = outcome(&state);
    assert_eq!(output.desired.settings.packet_rules, PacketRules::Nftables);
    assert_eq!(output.desired.settings.route_refresh.as_secs(), 3);
    assert_eq!(output.desired.ipip.as_ref().map(|ipip| ipip.mtu), Some(Some(model::Mtu(1400))));
    assert_eq!(output.desired.settings.workload_protocol, RouteProtocol::BOOT);
    let external = &output.desired.settings.external_nodes;
    assert_eq!(*external, [cidr("192.0.2.7/32"), cidr("198.51.100.0/24")].into());
    assert_eq!(output.problems.len(), 2, "{:?}", output.problems);
    assert!(output.problems[1].starts_with("felixconfiguration externalNodesList \"192.0.2.0/33\": not a network"));
    assert!(output.problems[0].starts_with("felixconfiguration deviceRouteProtocol \"300\": not a number in range"));

    let overrides = [("routerefreshinterval".to_owned(), "5".to_owned())].into();
    let mut graph = Graph::new(NodeName::from("n1"), overrides);
    graph.on_events(snapshot(&state));
    let output = graph.flush().expect("an output");
    assert_eq!(output.desired.settings.route_refresh.as_secs(), 5);
}

#[test]
fn packet_rules_follow_the_configuration() {
    let settings = |spec: serde_json::Value, overrides: &[(&str, &str)]| {
        let state = with(cluster(), [resource(Kind::FelixConfiguration, "default", spec)]);
        let overrides = overrides.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut graph = Graph::new(NodeName::from("n1"), overrides);
        graph.on_events(snapshot(&state));
        let output = graph.flush().expect("an output");
        (output.desired.settings.rules.clone(), output.problems)
    };
    let default = RuleSettings::default();
    assert_eq!((default.endpoint_to_host, default.mark_mask), (EndpointToHost::Drop, 0xffff_0000));
    assert_eq!(settings(json!({}), &[]), (default.clone(), vec![]));
    let wanted = RuleSettings {
        endpoint_to_host: EndpointToHost::Accept,
        ipip_from_workloads: true,
        vxlan_from_workloads: true,
        vxlan_port: 4790,
        mark_mask: 0x7f00,
        filter_allow: AllowAction::Return,
        mangle_allow: AllowAction::Return,
        pass_invalid: true,
    };
    let spec = json!({
        "defaultEndpointToHostAction": "Accept", "allowIPIPPacketsFromWorkloads": true, "vxlanPort": 4790,
        "allowVXLANPacketsFromWorkloads": true, "disableConntrackInvalidCheck": true, "iptablesMarkMask": 32512,
        "iptablesFilterAllowAction": "Return", "iptablesMangleAllowAction": "Return",
    });
    assert_eq!(settings(spec.clone(), &[]), (wanted.clone(), vec![]));
    // those of iptables are not those of nftables
    let nftables = settings(spec.clone(), &[("nftablesmode", "Enabled")]).0;
    assert_eq!((nftables.mark_mask, nftables.filter_allow), (0xffff_0000, AllowAction::Accept));
    // the environment is stronger, and has its own spelling
    let overrides = [("defaultendpointtohostaction", "RETURN"), ("iptablesmarkmask", "0xff000000")];
    let strongest = RuleSettings { endpoint_to_host: EndpointToHost::Return, mark_mask: 0xff00_0000, ..wanted };
    assert_eq!(settings(spec, &overrides), (strongest, vec![]));
    // what cannot be read leaves the default, which is closed
    let bad = json!({"defaultEndpointToHostAction": "Acept", "iptablesMarkMask": 15});
    let (rules, problems) = settings(bad, &[]);
    assert_eq!(rules, default);
    assert_eq!(problems.len(), 2, "{problems:?}");
}

/// As Calico's agent was recorded to write them.
#[test]
fn what_is_said_of_endpoints_is_said_in_calicos_form() {
    for (pod, interface, networks, content) in [
        (
            "client",
            "calia7a3e029a7b",
            json!(["10.65.1.4/32"]),
            r#"{"ifaceName":"calia7a3e029a7b","ipv4Nets":["10.65.1.4/32"]}"#,
        ),
        (
            "web-0",
            "caliaa960f0d82e",
            json!(["10.65.1.2/32", "fd00:65::1:2/128"]),
            r#"{"ifaceName":"caliaa960f0d82e","ipv4Nets":["10.65.1.2/32"],"ipv6Nets":["fd00:65::1:2/128"]}"#,
        ),
    ] {
        let spec = json!({
            "orchestrator": "k8s", "node": "n1", "pod": pod, "endpoint": "eth0", "interfaceName": interface,
            "ipNetworks": networks,
        });
        let desired = outcome(&with(cluster(), [resource(Kind::WorkloadEndpoint, pod, spec)])).desired;
        let workload = &desired.workloads[&IfName::from(interface)];
        let ipv6 = if content.contains("ipv6Nets") { Ipv6::Present } else { Ipv6::Absent };
        assert_eq!(workload.ipv6, ipv6, "{interface}");
        let status = &workload.statuses[0];
        assert_eq!(status.name, format!("k8s default%2F{pod} eth0"));
        assert_eq!(status.content, content);
    }
}

#[test]
fn the_pods_mtu_follows_the_encapsulations_that_are_on() {
    let outcome = |spec: serde_json::Value, pool: serde_json::Value| {
        let objects =
            [resource(Kind::FelixConfiguration, "default", spec), resource(Kind::IPPool, "default-ipv4-ippool", pool)];
        outcome(&with(cluster(), objects))
    };
    let pool = |mode: serde_json::Value| {
        let mut pool = json!({"cidr": "172.16.0.0/16"});
        pool.as_object_mut().expect("a map").extend(mode.as_object().expect("a map").clone());
        pool
    };
    // dataplane reference §3.6: of a host whose interfaces carry 1500
    for (spec, mode, expect) in [
        (json!({}), json!({}), 1500),
        (json!({}), json!({"ipipMode": "CrossSubnet"}), 1480),
        (json!({"ipipEnabled": false}), json!({"ipipMode": "Always"}), 1500),
        (json!({"ipipMTU": 1300}), json!({"ipipMode": "Always"}), 1300),
        (json!({"ipipMTU": 1300}), json!({}), 1500),
        (json!({}), json!({"vxlanMode": "Always"}), 1450),
        (json!({"vxlanMTU": 1440}), json!({"vxlanMode": "CrossSubnet"}), 1440),
        (json!({"vxlanEnabled": true}), json!({"ipipMode": "Always"}), 1450),
        (json!({"wireguardEnabled": true}), json!({"ipipMode": "Always"}), 1440),
        (json!({"wireguardEnabledV6": true}), json!({}), 1420),
    ] {
        let output = outcome(spec.clone(), pool(mode.clone()));
        assert_eq!(output.desired.pods_mtu(model::Mtu(1500)).0, expect, "{spec} {mode}");
        assert_eq!(output.problems, [""; 0], "{spec} {mode}");
    }
    let output = outcome(json!({"mtuIfacePattern": "^bond[0-9]"}), pool(json!({})));
    assert_eq!(output.desired.settings.mtu_interfaces, "^bond[0-9]");
    let output = outcome(json!({"mtuIfacePattern": "eth("}), pool(json!({})));
    assert_eq!(output.desired.settings.mtu_interfaces, model::desired::Settings::MTU_INTERFACES);
    assert!(output.problems[0].starts_with("felixconfiguration mtuIfacePattern \"eth(\": "), "{:?}", output.problems);
    assert!(output.problems[0].ends_with("; the default applies"), "{:?}", output.problems);
}

#[test]
fn the_environment_has_names_of_its_own() {
    let overrides = [("externalnodescidrlist", "192.0.2.7, 10.0.0.0/8"), ("ipinipmtu", "1300")];
    let overrides = overrides.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut graph = Graph::new(NodeName::from("n1"), overrides);
    graph.on_events(snapshot(&cluster()));
    let desired = graph.flush().expect("an output").desired;
    assert_eq!(desired.settings.external_nodes, [cidr("192.0.2.7/32"), cidr("10.0.0.0/8")].into());
    assert_eq!(desired.ipip.as_ref().and_then(|ipip| ipip.mtu), Some(model::Mtu(1300)));
}

#[test]
fn pools_keep_what_matters() {
    let pools = outcome(&cluster()).desired.pools.clone();
    let pool = &pools[&cidr("172.16.0.0/16")];
    assert_eq!((pool.ipip, pool.nat_outgoing, pool.disabled), (Encapsulation::Always, true, false));
}
