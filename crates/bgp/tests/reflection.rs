//! Route reflection (RFC 4456): a cluster without a mesh.
//!
//! ```text
//!   A ─── R ─── B        R reflects between its clients A and B, cluster 10.0.0.1
//!         │
//!         S ─── C        S reflects for C, cluster 10.0.0.2; R and S are no clients of each other
//! ```

mod network;

use bgp::{Config, Input, PeerConfig, PeerKind, State};
use model::Asn;
use model::desired::Learned;
use network::{Network, at, ip, routes};
use std::net::Ipv4Addr;
use std::time::Duration;

const R: &str = "192.168.10.1";
const S: &str = "192.168.10.2";
const A: &str = "192.168.10.11";
const B: &str = "192.168.10.12";
const C: &str = "192.168.10.13";
const BLOCKS: [(&str, &str); 5] =
    [("172.16.1.0/24", R), ("172.16.2.0/24", S), ("172.16.11.0/24", A), ("172.16.12.0/24", B), ("172.16.13.0/24", C)];
const SOON: Duration = Duration::from_secs(10);

fn speaker(address: &str, cluster: Option<&str>, peers: &[(&str, bool)]) -> Config {
    let mut config = Config::new(Asn(64512), address.parse().expect("an address"));
    config.cluster_id = cluster.map(|id| id.parse().expect("a cluster ID"));
    for (peer, client) in peers {
        let mut wanted = PeerConfig::new(Asn(64512), PeerKind::Node);
        wanted.local_address = Some(ip(address));
        wanted.reflector_client = *client;
        config.peers.insert(at(peer), wanted);
    }
    config
}

fn configs() -> [(&'static str, Config); 5] {
    [
        (R, speaker(R, Some("10.0.0.1"), &[(A, true), (B, true), (S, false)])),
        (S, speaker(S, Some("10.0.0.2"), &[(C, true), (R, false)])),
        (A, speaker(A, None, &[(R, false)])),
        (B, speaker(B, None, &[(R, false)])),
        (C, speaker(C, None, &[(S, false)])),
    ]
}

fn start(configs: impl IntoIterator<Item = (&'static str, Config)>) -> Network {
    let mut network = Network::new(Duration::from_millis(1), None);
    for (node, config) in configs {
        network.boot(node, config, Learned::new());
        let own: Vec<&str> = BLOCKS.iter().filter(|(_, owner)| *owner == node).map(|(block, _)| *block).collect();
        network.originate(node, &own);
    }
    network
}

/// Every block but the node's own, by its owner: a reflector leaves the next hop as it is.
fn others(node: &str) -> Learned {
    let others: Vec<_> = BLOCKS.into_iter().filter(|(_, owner)| *owner != node).collect();
    routes(&others)
}

#[test]
fn everyone_learns_everything_without_a_mesh() {
    let mut network = start(configs());
    network.until("all learn", SOON, |network| {
        [R, S, A, B, C].iter().all(|node| network.node(node).learned == others(node))
    });
    network.originate(A, &[]);
    network.until("the block is withdrawn everywhere", SOON, |network| {
        [R, S, B, C].iter().all(|node| network.node(node).learned.len() == 3)
    });
}

#[test]
fn without_a_cluster_id_nothing_is_reflected() {
    let mut network = start([
        (R, speaker(R, None, &[(A, true), (B, true)])),
        (A, speaker(A, None, &[(R, false)])),
        (B, speaker(B, None, &[(R, false)])),
    ]);
    network.until("R learns", SOON, |network| network.node(R).learned.len() == 2);
    network.run(Duration::from_secs(60));
    assert_eq!(network.node(A).learned, routes(&[BLOCKS[0]]));
}

#[test]
fn a_ring_of_reflectors_ends() {
    // each reflects to the other two as clients: ORIGINATOR_ID and CLUSTER_LIST stop what comes round
    let ring = [(R, "10.0.0.1"), (S, "10.0.0.2"), (A, "10.0.0.3")];
    let mut network = start(ring.map(|(node, cluster)| {
        let peers: Vec<_> = ring.iter().filter(|(other, _)| *other != node).map(|(other, _)| (*other, true)).collect();
        (node, speaker(node, Some(cluster), &peers))
    }));
    let learned = |network: &Network| ring.iter().all(|(node, _)| network.node(node).learned.len() == 2);
    network.until("all learn", SOON, learned);
    network.run(Duration::from_secs(300));
    network.originate(A, &[]);
    network.until("nothing comes round", SOON, |network| {
        network.node(R).learned == routes(&[BLOCKS[1]]) && network.node(S).learned == routes(&[BLOCKS[0]])
    });
}

#[test]
fn two_reflectors_of_one_cluster_do_not_tell_each_other_what_clients_said() {
    let mut network = start([
        (R, speaker(R, Some("10.0.0.1"), &[(A, true), (S, false)])),
        (S, speaker(S, Some("10.0.0.1"), &[(A, true), (R, false)])),
        (A, speaker(A, None, &[(R, false), (S, false)])),
    ]);
    network.until("all learn", SOON, |network| [R, S, A].iter().all(|node| network.node(node).learned.len() == 2));
    let heard = |network: &Network, node: &str, peer: &str| {
        let status = network.node(node).speaker.status().into_iter().find(|status| status.peer == at(peer));
        status.expect("a peer").received
    };
    assert_eq!((heard(&network, R, A), heard(&network, R, S)), (1, 1), "S's own block alone");
}

#[test]
fn graceful_restart_through_a_reflector_loses_nothing() {
    let mut network = start(configs());
    let complete = |network: &Network| [R, S, A, B, C].iter().all(|node| network.node(node).learned == others(node));
    network.until("all learn", SOON, complete);
    for restarted in [R, A] {
        let marks: Vec<usize> = [S, B, C].iter().map(|node| network.node(node).history.len()).collect();
        let kept = network.kill(restarted);
        network.run(Duration::from_secs(5));
        let (_, config) = configs().into_iter().find(|(node, _)| *node == restarted).expect("one of them");
        network.boot(restarted, config, kept.clone());
        assert_eq!(network.node(restarted).learned, kept);
        let own: Vec<&str> = BLOCKS.iter().filter(|(_, owner)| *owner == restarted).map(|(block, _)| *block).collect();
        network.originate(restarted, &own);
        network.run(Duration::from_secs(300));
        assert!(complete(&network));
        for (node, mark) in [S, B, C].iter().zip(marks) {
            for snapshot in &network.node(node).history[mark..] {
                assert_eq!(*snapshot, others(node), "{node}, while {restarted} restarts");
            }
        }
        assert!(network.node(restarted).history.iter().all(|snapshot| *snapshot == others(restarted)));
    }
}

#[test]
fn a_cluster_id_that_changes_takes_effect() {
    let mut network = start(configs());
    network.until("all learn", SOON, |network| network.node(A).learned == others(A));
    let mut config = speaker(R, None, &[(A, false), (B, false), (S, false)]);
    network.input(R, Input::Configure(config.clone()));
    network.until("R reflects no more", SOON, |network| {
        network.node(A).learned == routes(&[BLOCKS[0]]) && network.state(R, A) == State::Established
    });
    config = speaker(R, Some("10.0.0.1"), &[(A, true), (B, true), (S, false)]);
    config.router_id = R.parse::<Ipv4Addr>().expect("an address");
    network.input(R, Input::Configure(config));
    network.until("R reflects again", SOON, |network| network.node(A).learned == others(A));
}
