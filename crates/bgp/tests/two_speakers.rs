//! Speakers against each other: sessions, routes, collisions, loss.
//!
//! ```text
//!   A 192.168.10.10 ──┬── B 192.168.10.101 ── C 192.168.10.102 ──┬── D 192.168.20.100
//!                     └────────── full mesh, AS 64512 ───────────┘
//! ```

mod network;

use bgp::{Config, Input, NextHopMode, PeerConfig, PeerKind, State};
use model::Asn;
use model::desired::Learned;
use network::{Network, at, external, mesh, routes};
use std::net::Ipv4Addr;
use std::time::Duration;

const A: &str = "192.168.10.10";
const B: &str = "192.168.10.101";
const C: &str = "192.168.10.102";
const D: &str = "192.168.20.100";
const NODES: [&str; 4] = [A, B, C, D];
const BLOCKS: [&str; 4] = ["172.16.0.0/24", "172.16.1.0/24", "172.16.2.0/24", "172.16.3.0/24"];

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What node `own` of the four should have learned.
fn others(own: &str) -> model::desired::Learned {
    let pairs: Vec<_> = BLOCKS.into_iter().zip(NODES).filter(|(_, node)| *node != own).collect();
    routes(&pairs)
}

/// Starts the four nodes, each announcing its block.
fn full_mesh(latency: Duration, lose_every: Option<u64>) -> Network {
    let mut network = Network::new(latency, lose_every);
    for (node, block) in NODES.into_iter().zip(BLOCKS) {
        network.boot(node, mesh(node, &NODES), Default::default());
        network.originate(node, &[block]);
    }
    network
}

fn converged(network: &Network) -> bool {
    NODES.iter().all(|node| network.node(node).learned == others(node))
}

/// Two nodes with a session of other settings than the mesh's.
fn pair(change: impl Fn(&str, &mut Config)) -> Network {
    let mut network = Network::new(millis(1), None);
    for (node, block) in [(A, BLOCKS[0]), (B, BLOCKS[1])] {
        let mut config = mesh(node, &[A, B]);
        change(node, &mut config);
        network.boot(node, config, Default::default());
        network.originate(node, &[block]);
    }
    network
}

fn peer_config(config: &mut Config) -> &mut PeerConfig {
    config.peers.values_mut().next().expect("a pair has one peer each")
}

/// Both sessions are up and both routes across.
fn complete(network: &Network) -> bool {
    established(network)
        && network.node(A).learned == routes(&[(BLOCKS[1], B)])
        && network.node(B).learned == routes(&[(BLOCKS[0], A)])
}

fn established(network: &Network) -> bool {
    network.state(A, B) == State::Established && network.state(B, A) == State::Established
}

#[test]
fn two_speakers_exchange_and_withdraw_routes() {
    let mut network = pair(|_, _| {});
    network.until("both learn", seconds(3), complete);
    network.originate(B, &["172.16.9.0/24"]);
    let moved = routes(&[("172.16.9.0/24", B)]);
    network.until("A follows", seconds(1), |network| network.node(A).learned == moved);
    network.originate(B, &[]);
    network.until("A unlearns", seconds(1), |network| network.node(A).learned.is_empty());
}

#[test]
fn a_mesh_of_four_converges_with_latency_and_loss() {
    for (latency, lose_every) in [(millis(0), None), (millis(1), Some(7)), (millis(300), Some(3))] {
        let mut network = full_mesh(latency, lose_every);
        network.until("the mesh converges", seconds(12), converged);
        network.run(seconds(600));
        assert!(converged(&network));
        for node in NODES {
            let downs = network.node(node).states.iter().filter(|(_, state, _)| *state == State::Established).count();
            assert_eq!(downs, 3, "{node}: each session comes up once and stays: {:?}", network.node(node).states);
        }
    }
}

#[test]
fn a_mesh_comes_up_fast() {
    let mut network = full_mesh(millis(1), None);
    network.until("the mesh converges", seconds(3), converged);
}

#[test]
fn a_thousand_prefixes_cross_in_whole_messages() {
    let mut network = pair(|_, _| {});
    let prefixes: Vec<String> = (0..2000).map(|i| format!("10.{}.{}.0/24", i / 256, i % 256)).collect();
    network.originate(A, &prefixes.iter().map(String::as_str).collect::<Vec<_>>());
    network.until("B learns all", seconds(3), |network| network.node(B).learned.len() == 2000);
    network.originate(A, &[]);
    network.until("B unlearns all", seconds(3), |network| network.node(B).learned.is_empty());
}

#[test]
fn without_graceful_restart_a_lost_peer_loses_its_routes() {
    let mut network = pair(|_, config| peer_config(config).graceful_restart = false);
    network.until("complete", seconds(3), complete);
    network.kill(B);
    network.until("A unlearns", seconds(1), |network| network.node(A).learned.is_empty());
}

#[test]
fn a_silent_peer_expires_after_the_hold_time() {
    let mut network = pair(|_, config| peer_config(config).hold_time = seconds(9));
    network.until("complete", seconds(3), complete);
    network.run(seconds(60));
    assert!(established(&network), "keepalives hold it up");
    network.crash(B);
    network.until("A gives up", seconds(10), |network| network.node(A).learned.is_empty());
    let status = network.node(A).speaker.status().remove(0);
    assert_eq!(
        status.trouble.map(|trouble| trouble.to_string()).as_deref(),
        Some("hold timer expired after 9s without a message")
    );
    network.run(seconds(8));
    let mut config = mesh(B, &[A, B]);
    peer_config(&mut config).hold_time = seconds(9);
    network.boot(B, config, Default::default());
    network.originate(B, &[BLOCKS[1]]);
    network.until("it comes back", seconds(40), |network| !network.node(A).learned.is_empty());
}

#[test]
fn a_cut_wire_is_noticed_by_both_ends() {
    let mut network = pair(|_, config| peer_config(config).hold_time = seconds(9));
    network.until("complete", seconds(3), complete);
    network.cut(A, B);
    network.until("both give up", seconds(10), |network| {
        network.node(A).learned.is_empty() && network.node(B).learned.is_empty()
    });
    network.join(A, B);
    network.until("both return", seconds(40), complete);
}

#[test]
fn when_both_dial_one_connection_survives() {
    // more latency than jitter: both connections are on the way before either end knows of the other's
    for latency in [0, 1, 50, 400, 700] {
        let mut network = Network::new(millis(latency), None);
        for (node, block) in [(A, BLOCKS[0]), (B, BLOCKS[1])] {
            let mut config = mesh(node, &[A, B]);
            peer_config(&mut config).passive = false;
            network.boot(node, config, Default::default());
            network.originate(node, &[block]);
        }
        network.until("established", seconds(10), established);
        network.run(seconds(30));
        assert!(established(&network), "latency {latency} ms");
        assert_eq!(network.node(A).learned, routes(&[(BLOCKS[1], B)]), "latency {latency} ms");
        for node in [A, B] {
            let ups = network.node(node).states.iter().filter(|(_, state, _)| *state == State::Established).count();
            assert_eq!(ups, 1, "latency {latency} ms: {:?}", network.node(node).states);
        }
        assert_eq!(network.open_connections(), 1, "latency {latency} ms");
    }
}

#[test]
fn a_removed_peer_loses_its_routes_at_once() {
    let mut network = full_mesh(millis(1), None);
    network.until("the mesh converges", seconds(5), converged);
    for node in NODES {
        network.input(node, Input::Configure(mesh(node, &[node])));
        assert!(network.node(node).learned.is_empty(), "{node}");
    }
    network.run(seconds(60));
    assert_eq!(network.open_connections(), 0);
    for node in NODES {
        network.input(node, Input::Configure(mesh(node, &NODES)));
    }
    network.until("the mesh returns", seconds(5), converged);
}

#[test]
fn a_peer_that_was_removed_on_one_side_only_is_told() {
    let mut network = pair(|_, _| {});
    network.until("complete", seconds(3), complete);
    network.input(A, Input::Configure(mesh(A, &[A])));
    network.until("B unlearns", seconds(1), |network| network.node(B).learned.is_empty());
    let reason = network.node(B).states.last().and_then(|(_, _, reason)| reason.clone());
    assert_eq!(reason.as_deref(), Some("received Cease/Peer De-configured"));
    network.run(seconds(30));
    network.input(A, Input::Configure(mesh(A, &[A, B])));
    network.until("established again", seconds(10), established);
}

#[test]
fn unchanged_peers_do_not_notice_a_new_configuration() {
    let mut network = full_mesh(millis(1), None);
    network.until("the mesh converges", seconds(5), converged);
    let before: Vec<_> = NODES.iter().map(|node| network.node(node).states.len()).collect();
    let mut config = mesh(A, &[A, B, C, D, "192.168.10.103"]);
    config.peers.get_mut(&at(B)).expect("in the mesh").kind = PeerKind::Node;
    network.input(A, Input::Configure(config));
    network.run(seconds(1));
    let after: Vec<_> = NODES.iter().map(|node| network.node(node).states.len()).collect();
    assert_eq!(before[1..], after[1..]);
    assert!(converged(&network));
    let kinds: Vec<_> = network.node(A).speaker.status().iter().map(|status| status.kind).collect();
    assert_eq!(kinds, [PeerKind::Node, PeerKind::Mesh, PeerKind::Mesh, PeerKind::Mesh]);
}

#[test]
fn a_peer_in_another_as_than_configured_is_refused() {
    let mut network = pair(|node, config| {
        if node == A {
            peer_config(config).remote_as = Asn(64999);
        }
    });
    network.run(seconds(20));
    assert!(!established(&network));
    let error = network.node(A).speaker.status().remove(0).trouble;
    let expect = "sent OPEN Message Error/Bad Peer AS: peer is in AS 64512, not 64999";
    assert!(network.node(A).states.iter().any(|(_, _, reason)| reason.as_deref() == Some(expect)), "{error:?}");
}

#[test]
fn an_unconfigured_peer_is_refused_until_it_is_configured() {
    let mut network = Network::new(millis(1), None);
    network.boot(A, mesh(A, &[A]), Default::default());
    network.boot(B, mesh(B, &[A, B]), Default::default());
    network.run(seconds(20));
    let told = |reason: &Option<String>| reason.as_deref() == Some("received Cease/Connection Rejected");
    assert!(network.node(B).states.iter().any(|(_, _, reason)| told(reason)), "{:?}", network.node(B).states);
    network.input(A, Input::Configure(mesh(A, &[A, B])));
    network.until("established", seconds(6), established);
}

#[test]
fn external_peers_prepend_and_pass_routes_on() {
    // X (65001) ── A (64512) ── B (64512): A tells B what X announced, and X what B announced
    const X: &str = "10.0.0.9";
    let mut network = Network::new(millis(1), None);
    let outside = |asn| PeerConfig::new(Asn(asn), PeerKind::Global);
    let mut config = mesh(A, &[A, B]);
    config.peers.insert(at(X), PeerConfig { passive: true, ..outside(65001) });
    network.boot(A, config.clone(), Default::default());
    network.boot(B, mesh(B, &[A, B]), Default::default());
    let mut other = Config::new(Asn(65001), Ipv4Addr::new(10, 0, 0, 9));
    other.peers.insert(at(A), outside(64512));
    network.boot(X, other, Default::default());
    network.originate(A, &[BLOCKS[0]]);
    network.originate(B, &[BLOCKS[1]]);
    network.originate(X, &["0.0.0.0/0"]);
    let learned =
        |hop| routes(&[(BLOCKS[0], A)]).into_iter().chain(external(&[("0.0.0.0/0", hop)])).collect::<Learned>();
    network.until("all learn", seconds(5), |network| {
        network.node(X).learned == external(&[(BLOCKS[0], A), (BLOCKS[1], A)])
            // towards an internal peer the next hop stays
            && network.node(B).learned == learned(X)
    });
    config.peers.get_mut(&at(B)).expect("in the mesh").next_hop = NextHopMode::Self_;
    network.input(A, Input::Configure(config));
    network.until("the next hop is A", seconds(5), |network| network.node(B).learned == learned(A));
}

#[test]
fn iterated_failures_back_off() {
    let mut network = Network::new(millis(1), None);
    network.boot(B, mesh(B, &[A, B]), Default::default());
    let attempts =
        |network: &Network| network.node(B).states.iter().filter(|(_, state, _)| *state == State::Connect).count();
    network.run(seconds(10));
    let early = attempts(&network);
    assert!((5..=10).contains(&early), "retries within 1–2 s at first: {early}");
    network.run(seconds(90));
    let late = attempts(&network) - early;
    assert!((17..=20).contains(&late), "every 5 s later: {late}");
    let status = network.node(B).speaker.status().remove(0);
    assert_eq!(status.trouble.map(|trouble| trouble.to_string()).as_deref(), Some("connection refused"));
}

#[test]
fn shutdown_tells_peers_without_graceful_restart() {
    let mut network = pair(|_, config| peer_config(config).graceful_restart = false);
    network.until("complete", seconds(3), complete);
    network.input(A, Input::Shutdown);
    network.until("B unlearns", seconds(1), |network| network.node(B).learned.is_empty());
    let reason = network.node(B).speaker.status().remove(0).trouble.map(|trouble| trouble.to_string());
    assert_eq!(reason.as_deref(), Some("received Cease/Administrative Shutdown"));
    assert_eq!(network.node(A).learned, routes(&[(BLOCKS[1], B)]), "its own routes stay in its kernel");
    assert_eq!(network.node(A).speaker.poll_timeout(), None);
}
