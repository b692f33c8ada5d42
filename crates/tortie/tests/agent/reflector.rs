//! A cluster without a mesh: BIRD reflects between nodes, or a node reflects between a node and BIRD.

use crate::bird::Bird;
use crate::cluster::{Cluster, SOON, eventually, throughout};
use std::time::Duration;

/// A cluster without a mesh, with a BGPPeer.
fn cluster(spec: &str) -> Cluster {
    let cluster = Cluster::new();
    cluster.apply(
        "{apiVersion: projectcalico.org/v3, kind: BGPConfiguration, metadata: {name: default}, \
         spec: {nodeToNodeMeshEnabled: false}}",
    );
    cluster.apply(&format!(
        "{{apiVersion: projectcalico.org/v3, kind: BGPPeer, metadata: {{name: reflectors}}, spec: {{{spec}}}}}"
    ));
    cluster
}

#[test]
fn bird_reflects_between_nodes() {
    let cluster = cluster("peerIP: 192.168.10.9, asNumber: 64512");
    let client = |number: u8| {
        format!(
            "protocol bgp p{number} from peer {{ neighbor 192.168.10.{number} as 64512; rr client; ipv4 {{ import all; export all; }}; }}\n"
        )
    };
    let mut bird = Bird::start(cluster.host(9), &(client(1) + &client(2)));
    let (mut one, mut two) = (cluster.host(1), cluster.host(2));
    for (host, number) in [(&mut one, 1), (&mut two, 2)] {
        cluster.claim(&format!("172.16.{number}.0/24"), &host.name);
        host.own(&format!("172.16.{number}.9"));
        host.start_agent();
        host.established(&["Global_192_168_10_9"], SOON);
    }
    one.learns(&["10.99.0.0/16", "172.16.2.0/24"], SOON);
    two.learns(&["10.99.0.0/16", "172.16.1.0/24"], SOON);
    let route = one.namespace.ip("route show 172.16.2.0/24");
    assert_eq!(route.trim(), "172.16.2.0/24 via 192.168.10.2 dev tunl0 proto bird onlink");
    one.reaches("172.16.1.9", "172.16.2.9");

    // no packet is lost while the reflector restarts, nor while an agent does
    let ping = one.ping("172.16.1.9", "172.16.2.9", 600);
    bird.kill();
    throughout(Duration::from_secs(1), || match one.learned() {
        learned if learned.contains(&"172.16.2.0/24".to_owned()) => Ok(()),
        learned => Err(format!("n1 has learned {learned:?}")),
    });
    bird.restart();
    for host in [&one, &two] {
        host.established(&["Global_192_168_10_9"], SOON);
    }
    two.kill_agent();
    two.start_agent();
    two.established(&["Global_192_168_10_9"], SOON);
    ping.lost_none();
    one.learns(&["10.99.0.0/16", "172.16.2.0/24"], SOON);
}

#[test]
fn a_node_reflects_between_a_node_and_bird() {
    let cluster = cluster("nodeSelector: all(), peerSelector: has(reflector)");
    cluster.apply(
        "{apiVersion: projectcalico.org/v3, kind: BGPPeer, metadata: {name: bird}, \
         spec: {nodeSelector: has(reflector), peerIP: 192.168.10.9, asNumber: 64512}}",
    );
    let (mut one, mut two) = (cluster.host(1), cluster.host(2));
    for (host, number) in [(&mut one, 1), (&mut two, 2)] {
        cluster.claim(&format!("172.16.{number}.0/24"), &host.name);
        host.own(&format!("172.16.{number}.9"));
        host.start_agent();
        host.logs("this node is registered", SOON);
    }
    cluster.ctl(&["label", "nodes", "n1", "reflector=yes"], "");
    cluster.patch("node", "n1", r#"{"spec": {"bgp": {"routeReflectorClusterID": "10.0.0.1"}}}"#);
    // BIRD's own route lies in a pool: nothing else is passed on
    let protocols = "protocol static { ipv4; route 172.16.99.0/24 blackhole; }\n\
        protocol bgp p0 from peer { neighbor 192.168.10.1 as 64512; ipv4 { import all; export all; next hop self; }; }";
    let bird = Bird::start(cluster.host(9), protocols);
    one.established(&["Node_192_168_10_2", "Node_192_168_10_9"], SOON);
    two.established(&["Node_192_168_10_1"], SOON);
    let reflected = [
        "BGP.next_hop: 192.168.10.2",
        "BGP.local_pref: 2147482623",
        "BGP.originator_id: 192.168.10.2",
        "BGP.cluster_list: 10.0.0.1",
    ];
    eventually(SOON, || bird.has("172.16.2.0/24", &reflected));
    two.learns(&["172.16.1.0/24", "172.16.99.0/24"], SOON);
    one.learns(&["10.99.0.0/16", "172.16.2.0/24", "172.16.99.0/24"], SOON);
    one.says_of("192.168.10.9", &["Established", "2/2"], SOON);

    // a restart of the reflector takes nothing away from its clients
    one.kill_agent();
    one.start_agent();
    one.established(&["Node_192_168_10_2", "Node_192_168_10_9"], SOON);
    throughout(Duration::from_secs(3), || {
        bird.has("172.16.2.0/24", &reflected)?;
        match two.learned() {
            learned if learned == ["172.16.1.0/24", "172.16.99.0/24"] => Ok(()),
            learned => Err(format!("n2 has learned {learned:?}")),
        }
    });
    // without its cluster it reflects no more
    cluster.patch("node", "n1", r#"{"spec": {"bgp": {"routeReflectorClusterID": null}}}"#);
    eventually(SOON, || bird.lacks("172.16.2.0/24"));
    eventually(SOON, || bird.has("172.16.1.0/24", &["BGP.next_hop: 192.168.10.1"]));
    two.learns(&["172.16.1.0/24"], SOON);
}
