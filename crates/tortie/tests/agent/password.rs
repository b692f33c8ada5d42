//! TCP-MD5: the same password on both sides or no session, and one that changes while the agent runs.

use crate::bird::Bird;
use crate::cluster::{Cluster, SOON, eventually, throughout};
use crate::host::Host;
use std::fs;
use std::time::Duration;

fn protocol(more: &str) -> String {
    format!("protocol bgp p0 from peer {{ neighbor 192.168.10.1 as 64512; {more} }}")
}

fn peer(cluster: &Cluster, more: &str) {
    cluster.apply(&format!(
        "{{apiVersion: projectcalico.org/v3, kind: BGPPeer, metadata: {{name: router}}, \
         spec: {{peerIP: 192.168.10.9, asNumber: 64512, password: {{secretKeyRef: {{name: bgp, key: router}}}}{more}}}}}"
    ));
}

fn secret(host: &Host, key: &str, password: &str) {
    let folder = host.secrets().join("bgp");
    fs::create_dir_all(&folder).expect("a secret");
    fs::write(folder.join(key), password).expect("a password");
}

#[test]
fn a_password_shared_with_bird() {
    let cluster = Cluster::new();
    let mut one = cluster.host(1);
    cluster.claim("172.16.1.0/24", "n1");
    // BIRD waits for us, so that it is our connection that is signed
    let bird = Bird::start(cluster.host(9), &protocol("password \"first\"; passive on;"));
    peer(&cluster, "");
    one.start_agent();
    let missing = ["Idle", "password: secret bgp key router: there is no file"];
    one.says_of("192.168.10.9", &missing, SOON);
    secret(&one, "router", "first\n");
    one.established(&["Global_192_168_10_9"], SOON);
    eventually(SOON, || bird.has("172.16.1.0/24", &["BGP.next_hop: 192.168.10.1"]));
    one.learns(&["10.99.0.0/16"], SOON);

    // another one is followed without a restart, and does not meet BIRD's
    secret(&one, "router", "second");
    one.says_of("192.168.10.9", &["no answer from 192.168.10.9 port 179", "its TCP-MD5 password is another"], SOON);
    one.shows(&["node", "status"], &["192.168.10.9", "start"], SOON);
    // until BIRD has it too; now it is the one that dials
    bird.configure(&protocol("password \"second\";"));
    one.established(&["Global_192_168_10_9"], SOON);
    one.learns(&["10.99.0.0/16"], SOON);
}

#[test]
fn our_listener_takes_signed_connections_alone() {
    let cluster = Cluster::new();
    let mut one = cluster.host(1);
    cluster.claim("172.16.1.0/24", "n1");
    secret(&one, "router", "first");
    one.start_agent();
    one.logs("this node is registered", SOON);
    // BIRD listens where we do not look for it, so that it is its connection that is signed
    let elsewhere = "local 192.168.10.9 port 1179 as 64512;";
    let bird = Bird::start(cluster.host(9), &protocol(elsewhere));
    peer(&cluster, "");
    one.says_of("192.168.10.9", &["no answer", "nothing listens there"], SOON);
    throughout(Duration::from_secs(5), || match one.sessions().as_slice() {
        [(_, state)] if !state.contains("Established") => Ok(()),
        sessions => Err(format!("{sessions:?}")),
    });
    bird.configure(&protocol(&format!("{elsewhere} password \"first\";")));
    one.established(&["Global_192_168_10_9"], SOON);
    one.learns(&["10.99.0.0/16"], SOON);
}

#[test]
fn a_mesh_with_a_password() {
    let cluster = Cluster::new();
    cluster.apply(
        "{apiVersion: projectcalico.org/v3, kind: BGPConfiguration, metadata: {name: default}, \
         spec: {nodeToNodeMeshEnabled: true, nodeMeshPassword: {secretKeyRef: {name: bgp, key: mesh}}}}",
    );
    let (mut one, mut two) = (cluster.host(1), cluster.host(2));
    for host in [&mut one, &mut two] {
        cluster.claim(&format!("172.16.{}.0/24", &host.name[1..]), &host.name);
        secret(host, "mesh", "of all");
        host.start_agent();
    }
    one.established(&["Mesh_192_168_10_2"], SOON);
    two.established(&["Mesh_192_168_10_1"], SOON);
    one.learns(&["172.16.2.0/24"], SOON);
    secret(&two, "mesh", "of nobody");
    one.says_of("192.168.10.2", &["0/0"], SOON);
    secret(&one, "mesh", "of nobody");
    one.established(&["Mesh_192_168_10_2"], SOON);
    two.learns(&["172.16.1.0/24"], SOON);
}
