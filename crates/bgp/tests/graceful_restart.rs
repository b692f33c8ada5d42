//! RFC 4724 in both roles: nothing that still works is withdrawn, nothing that is gone stays.

mod network;

use bgp::{Config, Input, PeerConfig, PeerKind, State};
use model::Asn;
use model::desired::Learned;
use network::{Network, at, ip, mesh, net, routes};
use std::time::Duration;

const A: &str = "192.168.10.10";
const B: &str = "192.168.10.101";
const C: &str = "192.168.10.102";
const NODES: [&str; 3] = [A, B, C];
const BLOCKS: [&str; 3] = ["172.16.0.0/24", "172.16.1.0/24", "172.16.2.0/24"];

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn others(own: &str) -> Learned {
    let pairs: Vec<_> = BLOCKS.into_iter().zip(NODES).filter(|(_, node)| *node != own).collect();
    routes(&pairs)
}

fn converged(network: &Network) -> bool {
    NODES.iter().all(|node| network.node(node).learned == others(node))
}

fn three() -> Network {
    let mut network = Network::new(Duration::from_millis(1), None);
    for (node, block) in NODES.into_iter().zip(BLOCKS) {
        network.boot(node, mesh(node, &NODES), Learned::new());
        network.originate(node, &[block]);
    }
    network.until("the mesh converges", seconds(5), converged);
    network
}

/// How many snapshots each node has seen, to look only at later ones.
fn marks(network: &Network) -> Vec<usize> {
    NODES.iter().map(|node| network.nodes.get(&ip(node)).map_or(0, |node| node.history.len())).collect()
}

/// Asserts that no snapshot since `marks` lacks any of what the mesh should have.
fn nothing_was_lost(network: &Network, marks: &[usize]) {
    for (node, mark) in NODES.iter().zip(marks) {
        for snapshot in &network.node(node).history[*mark..] {
            for (prefix, next_hop) in others(node) {
                assert_eq!(snapshot.get(&prefix), Some(&next_hop), "{node} lost {prefix}");
            }
        }
    }
}

#[test]
fn a_restart_drops_nothing_on_either_side() {
    for pause in [0, 1, 30, 115] {
        let mut network = three();
        let mut marks = marks(&network);
        let kept = network.kill(B);
        assert_eq!(kept, others(B));
        network.run(seconds(pause));
        network.boot(B, mesh(B, &NODES), kept);
        marks[1] = 0;
        network.run(seconds(4)); // sessions are up before the agent knows what to announce
        network.originate(B, &[BLOCKS[1]]);
        network.until("established again", seconds(20), |network| {
            [A, C].iter().all(|peer| network.state(B, peer) == State::Established)
        });
        network.run(seconds(300));
        assert!(converged(&network));
        nothing_was_lost(&network, &marks);
    }
}

#[test]
fn all_restart_at_once_and_nothing_is_lost() {
    let mut network = three();
    let kept = NODES.map(|node| network.kill(node));
    network.run(seconds(1));
    for (node, kept) in NODES.into_iter().zip(kept) {
        network.boot(node, mesh(node, &NODES), kept);
        network.run(Duration::from_millis(300));
    }
    for (node, block) in NODES.into_iter().zip(BLOCKS) {
        network.run(seconds(1));
        network.originate(node, &[block]);
    }
    network.run(seconds(200));
    assert!(converged(&network));
    nothing_was_lost(&network, &[0, 0, 0]);
}

#[test]
fn what_a_restarted_peer_does_not_announce_again_goes_with_its_end_of_rib() {
    let mut network = three();
    network.originate(B, &[BLOCKS[1], "172.16.9.0/24"]);
    network.until("A learns", seconds(1), |network| network.node(A).learned.contains_key(&net("172.16.9.0/24")));
    let kept = network.kill(B);
    network.run(seconds(10));
    assert!(network.node(A).learned.contains_key(&net("172.16.9.0/24")), "kept as stale");
    network.boot(B, mesh(B, &NODES), kept);
    network.originate(B, &[BLOCKS[1]]);
    network.until("the stale route goes", seconds(20), converged);
}

#[test]
fn a_peer_that_does_not_return_is_given_up_after_its_restart_time() {
    let mut network = three();
    network.kill(B);
    network.run(seconds(119));
    assert_eq!(network.node(A).learned, others(A));
    network.run(seconds(2));
    assert_eq!(network.node(A).learned, routes(&[(BLOCKS[2], C)]));
}

#[test]
fn a_crashed_peer_that_dials_again_is_taken_as_restarted() {
    let mut network = three();
    network.run(seconds(10));
    let marks = marks(&network);
    network.crash(B);
    network.run(seconds(3));
    network.boot(B, mesh(B, &NODES), others(B));
    network.originate(B, &[BLOCKS[1]]);
    // B dials A, and is known anew at once; C dials B, and finds out by its next keepalive
    network.until("A knows", seconds(3), |network| network.state(B, A) == State::Established);
    network.until("C knows", seconds(90), |network| network.state(B, C) == State::Established);
    network.run(seconds(10));
    assert!(converged(&network));
    nothing_was_lost(&network, &[marks[0], 0, marks[2]]);
}

#[test]
fn retained_routes_end_with_the_last_end_of_rib() {
    let mut network = three();
    let mut kept = network.kill(B);
    // the first leads to a peer that is there and does not announce it; the second to nobody
    kept.extend(routes(&[("172.16.8.0/24", A), ("172.16.9.0/24", "192.168.10.77")]));
    network.boot(B, mesh(B, &NODES), kept.clone());
    network.originate(B, &[BLOCKS[1]]);
    assert_eq!(network.node(B).learned, kept);
    network.until("stale ones are gone", seconds(20), |network| network.node(B).learned == others(B));
    assert!(network.now - network.start < seconds(60), "by End-of-RIB, not by the timer");
}

#[test]
fn retained_routes_end_after_the_restart_time_if_a_peer_stays_away() {
    let mut network = three();
    let kept = network.kill(B);
    network.kill(C);
    network.boot(B, mesh(B, &NODES), kept);
    network.originate(B, &[BLOCKS[1]]);
    network.run(seconds(119));
    assert_eq!(network.node(B).learned, others(B));
    network.run(seconds(2));
    assert_eq!(network.node(B).learned, routes(&[(BLOCKS[0], A)]));
}

#[test]
fn retained_routes_wait_for_the_first_configuration() {
    let mut network = three();
    let marks = marks(&network);
    let kept = network.kill(B);
    network.boot(B, mesh(B, &[B]), kept);
    network.run(seconds(20));
    assert_eq!(network.node(B).learned, others(B));
    network.input(B, Input::Configure(mesh(B, &NODES)));
    network.originate(B, &[BLOCKS[1]]);
    network.run(seconds(20));
    assert!(converged(&network));
    nothing_was_lost(&network, &[marks[0], 0, marks[2]]);
}

#[test]
fn removing_the_peers_ends_retention_at_once() {
    let mut network = three();
    let kept = network.kill(B);
    network.boot(B, mesh(B, &NODES), kept);
    network.input(B, Input::Configure(mesh(B, &[B, C])));
    assert_eq!(network.node(B).learned, routes(&[(BLOCKS[2], C)]), "what led to the removed peer");
    network.input(B, Input::Configure(mesh(B, &[B])));
    assert!(network.node(B).learned.is_empty());
}

#[test]
fn removing_a_peer_that_is_away_ends_its_stale_routes_at_once() {
    let mut network = three();
    network.kill(B);
    network.run(seconds(5));
    assert_eq!(network.node(A).learned, others(A));
    network.input(A, Input::Configure(mesh(A, &[A, C])));
    assert_eq!(network.node(A).learned, routes(&[(BLOCKS[2], C)]));
}

#[test]
fn shutdown_lets_peers_keep_the_routes() {
    let mut network = three();
    let marks = marks(&network);
    network.input(B, Input::Shutdown);
    network.run(seconds(5));
    assert_ne!(network.state(A, B), State::Established);
    let kept = network.kill(B);
    network.boot(B, mesh(B, &NODES), kept);
    network.originate(B, &[BLOCKS[1]]);
    network.run(seconds(30));
    assert!(converged(&network));
    nothing_was_lost(&network, &[marks[0], 0, marks[2]]);
}

#[test]
fn what_an_external_peer_announces_outlives_our_restart_for_internal_ones() {
    const X: &str = "10.0.0.9";
    let node = || {
        let mut config = mesh(A, &[A, B]);
        let outside = PeerConfig { passive: true, ..PeerConfig::new(Asn(65001), PeerKind::Global) };
        config.peers.insert(at(X), outside);
        config
    };
    let mut network = Network::new(Duration::from_millis(1), None);
    network.boot(A, node(), Learned::new());
    network.boot(B, mesh(B, &[A, B]), Learned::new());
    let mut outside = Config::new(Asn(65001), "10.0.0.9".parse().expect("an address"));
    outside.peers.insert(at(A), PeerConfig::new(Asn(64512), PeerKind::Global));
    network.boot(X, outside, Learned::new());
    network.originate(A, &[BLOCKS[0]]);
    network.originate(X, &["10.1.0.0/16"]);
    network.originate(B, &[BLOCKS[1]]);
    network.until("B learns", seconds(5), |network| network.node(B).learned.len() == 2);
    let before = network.node(B).learned.clone();
    let mark = network.node(B).history.len();
    let kept = network.kill(A);
    network.run(seconds(3));
    network.cut(A, X); // B is back in session long before X
    network.boot(A, node(), kept);
    network.originate(A, &[BLOCKS[0]]);
    network.run(seconds(20));
    network.join(A, X);
    network.run(seconds(300));
    assert_eq!(network.node(B).learned, before);
    assert!(network.node(B).history[mark..].iter().all(|snapshot| *snapshot == before));
}
