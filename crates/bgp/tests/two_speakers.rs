//! Speakers against each other: sessions, routes, collisions, loss.

mod network;

use bgp::{Config, Input, PeerConfig, PeerKind, State};
use model::Asn;
use network::{Network, ip, mesh, routes};
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

/// What node `own` of the four should have learned.
fn others(own: &str) -> model::desired::Learned {
    let pairs: Vec<_> = BLOCKS.into_iter().zip(NODES).filter(|(_, node)| *node != own).collect();
    routes(&pairs)
}

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

#[test]
fn two_speakers_exchange_routes() {
    let mut network = Network::new(Duration::from_millis(1), None);
    for (node, block) in [(A, BLOCKS[0]), (B, BLOCKS[1])] {
        network.boot(node, mesh(node, &[A, B]), Default::default());
        network.originate(node, &[block]);
    }
    network.until("both learn", seconds(3), |network| {
        network.node(A).learned == routes(&[(BLOCKS[1], B)]) && network.node(B).learned == routes(&[(BLOCKS[0], A)])
    });
    assert_eq!(network.state(A, B), State::Established);
    network.originate(B, &[]);
    network.until("A unlearns", seconds(1), |network| network.node(A).learned.is_empty());
}
