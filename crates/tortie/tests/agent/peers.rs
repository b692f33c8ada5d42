//! Peers by BGPPeer: in another AS, and those with whom there is no session, and why.

use crate::bird::Bird;
use crate::cluster::{Cluster, SOON, eventually, throughout};
use std::time::Duration;

/// A BGPPeer called `router`, with some fields.
fn router(spec: &str) -> String {
    format!("{{apiVersion: projectcalico.org/v3, kind: BGPPeer, metadata: {{name: router}}, spec: {{{spec}}}}}")
}

#[test]
fn a_peer_in_another_as() {
    let cluster = Cluster::new();
    let mut one = cluster.host(1);
    one.namespace.ip("route add default via 192.168.10.254");
    cluster.claim("172.16.1.0/24", "n1");
    let protocols = "protocol static { ipv4; route 0.0.0.0/0 blackhole; }\n\
        protocol bgp p0 from peer { local 192.168.10.9 as 65001; neighbor 192.168.10.1 as 64512; }";
    let mut bird = Bird::start(cluster.host(9), protocols);
    cluster.apply(&router("node: n1, peerIP: 192.168.10.9, asNumber: 65001"));
    one.start_agent();
    one.established(&["Node_192_168_10_9"], SOON);
    let ours = ["BGP.as_path: 64512\n", "BGP.next_hop: 192.168.10.1"];
    eventually(SOON, || bird.has("172.16.1.0/24", &ours));
    one.learns(&["10.99.0.0/16", "default"], SOON);
    // the host's own default route is preferred
    let defaults = one.namespace.ip("route show default");
    let expect = "default via 192.168.10.254 dev eth0 \n\
                  default via 192.168.10.9 dev eth0 proto bird metric 2147483547";
    assert_eq!(defaults.trim(), expect);
    one.says_of("192.168.10.9", &["node", "65001", "Established", "2/1"], SOON);

    // a restart of either side is not noticed by the other's routes
    let route = || match one.namespace.ip("route show 10.99.0.0/16") {
        route if route.contains("via 192.168.10.9") => Ok(()),
        route => Err(format!("the route is {route:?}")),
    };
    bird.kill();
    throughout(Duration::from_secs(1), route);
    bird.restart();
    eventually(SOON, || bird.has("172.16.1.0/24", &ours));
    throughout(Duration::from_secs(2), route);
    one.kill_agent();
    throughout(Duration::from_secs(1), || bird.has("172.16.1.0/24", &ours));
    one.start_agent();
    one.established(&["Node_192_168_10_9"], SOON);
    throughout(Duration::from_secs(2), || bird.has("172.16.1.0/24", &ours));

    // our AS in the path means that the route was here before, unless the peer may say so
    bird.configure(
        "protocol bgp p0 from peer { local 192.168.10.9 as 65001; neighbor 192.168.10.1 as 64512; \
         ipv4 { import all; export filter { bgp_path.prepend(64512); accept; }; }; }",
    );
    one.learns(&[], SOON);
    cluster.apply(&router("node: n1, peerIP: 192.168.10.9, asNumber: 65001, numAllowedLocalASNumbers: 1"));
    one.learns(&["10.99.0.0/16"], SOON);
}

#[test]
fn another_local_as_and_a_shorter_keepalive() {
    let cluster = Cluster::new();
    let mut one = cluster.host(1);
    cluster.claim("172.16.1.0/24", "n1");
    let bird = Bird::start(
        cluster.host(9),
        "protocol bgp p0 from peer { local 192.168.10.9 as 65001; neighbor 192.168.10.1 as 65010; hold time 90; }",
    );
    cluster.apply(&router("peerIP: 192.168.10.9, asNumber: 65001, localASNumber: 65010, keepaliveTime: 10s"));
    one.start_agent();
    one.established(&["Global_192_168_10_9"], SOON);
    eventually(SOON, || bird.has("172.16.1.0/24", &["BGP.as_path: 65010\n"]));
    eventually(SOON, || bird.says("p0", "Neighbor AS:      65010"));
}

#[test]
fn the_ttl_says_how_far_away_a_peer_is() {
    let cluster = Cluster::new();
    let mut one = cluster.host(1);
    cluster.claim("172.16.1.0/24", "n1");
    let with = |security: &str| {
        format!("protocol bgp p0 from peer {{ neighbor 192.168.10.1 as 64512; ttl security {security}; multihop 1; }}")
    };
    let bird = Bird::start(cluster.host(9), &with("on"));
    cluster.apply(&router("peerIP: 192.168.10.9, asNumber: 64512, ttlSecurity: 1"));
    one.start_agent();
    one.established(&["Global_192_168_10_9"], SOON);
    eventually(SOON, || bird.has("172.16.1.0/24", &["BGP.next_hop: 192.168.10.1"]));
    // one that sends with a TTL of 1 looks as if it were far away; only its answer to our SYN has another
    bird.configure(&with("off"));
    one.says_of("192.168.10.9", &["OpenSent", "too far away for ttlSecurity"], SOON);
    one.learns(&[], SOON);
}

#[test]
fn why_there_is_no_session() {
    let cluster = Cluster::new();
    let (mut one, eight) = (cluster.host(1), cluster.host(8));
    let bird = Bird::start(
        cluster.host(9),
        "protocol bgp p0 from peer { local 192.168.10.9 as 65001; neighbor 192.168.10.1 as 64512; }",
    );
    cluster.apply(&router("peerIP: 192.168.10.9, asNumber: 65002"));
    one.start_agent();
    let status = |words: &str| one.shows(&["node", "status"], &words.split('|').collect::<Vec<_>>(), SOON);
    status("192.168.10.9|global|start|Idle|BGP Error: Bad peer AS");
    one.says_of("192.168.10.9", &["Idle", "peer is in AS 65001, not 65002"], SOON);
    eventually(SOON, || bird.says("p0", "Received: Bad peer AS"));

    // BIRD sees it the other way round
    bird.configure("protocol bgp p0 from peer { local 192.168.10.9 as 65001; neighbor 192.168.10.1 as 64999; }");
    cluster.apply(&router("peerIP: 192.168.10.9, asNumber: 65001"));
    status("192.168.10.9|Received: Bad peer AS");
    one.says_of("192.168.10.9", &["the peer expects another AS here than 64512"], SOON);

    cluster.apply(&router(&format!("peerIP: {}, asNumber: 65001", eight.address)));
    status("192.168.10.8|global|start|Socket: Connection refused");
    one.says_of("192.168.10.8", &["connection refused: nothing listens at 192.168.10.8 port 179"], SOON);

    cluster.apply(&router("peerIP: 192.168.10.7, asNumber: 65001"));
    status("192.168.10.7|start|Socket: No route to host");
    one.says_of("192.168.10.7", &["no route to host 192.168.10.7"], SOON);

    cluster.apply(&router("peerIP: 203.0.113.9, asNumber: 65001, nextHopMode: Self"));
    one.says_of("203.0.113.9", &["no route leads to 203.0.113.9"], SOON);
    // with a gateway there is one, and the gateway knows no better
    cluster.apply(&router(&format!("peerIP: 203.0.113.9, asNumber: 65001, reachableBy: {}", eight.address)));
    eventually(SOON, || match one.namespace.ip("route show 203.0.113.9").trim() {
        "203.0.113.9 via 192.168.10.8 dev eth0 proto bird" => Ok(()),
        route => Err(format!("the route is {route:?}")),
    });
    cluster.ctl(&["delete", "bgppeer", "router"], "");
    eventually(SOON, || match one.namespace.ip("route show 203.0.113.9").trim() {
        "" => Ok(()),
        route => Err(format!("the route is {route:?}")),
    });
    one.shows(&["bgp", "peers"], &["No BGP peers are configured for this node."], SOON);
}

#[test]
fn two_nodes_that_dial_each_other_have_one_session() {
    let cluster = Cluster::new();
    cluster.apply("{apiVersion: projectcalico.org/v3, kind: BGPConfiguration, metadata: {name: default}, spec: {nodeToNodeMeshEnabled: false}}");
    let (mut one, mut two) = (cluster.host(1), cluster.host(2));
    for host in [&mut one, &mut two] {
        cluster.claim(&format!("172.16.{}.0/24", &host.name[1..]), &host.name);
        host.start_agent();
        host.logs("this node is registered", SOON);
    }
    cluster.apply(&router("nodeSelector: all(), peerSelector: all()"));
    one.established(&["Node_192_168_10_2"], SOON);
    two.established(&["Node_192_168_10_1"], SOON);
    one.learns(&["172.16.2.0/24"], SOON);
    two.learns(&["172.16.1.0/24"], SOON);
    let connections = || {
        let output =
            one.command("ss").args(["-Htn", "state", "established", "( sport = 179 or dport = 179 )"]).output();
        let output = output.unwrap_or_else(|error| panic!("tests need ss: {error}"));
        String::from_utf8_lossy(&output.stdout).lines().count()
    };
    eventually(SOON, || match connections() {
        1 => Ok(()),
        count => Err(format!("{count} connections")),
    });
    throughout(Duration::from_secs(2), || match connections() {
        1 => Ok(()),
        count => Err(format!("{count} connections")),
    });
    one.established(&["Node_192_168_10_2"], SOON);
}
