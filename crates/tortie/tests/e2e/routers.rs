//! Routers of others beside the nodes: BIRD 1.6, BIRD 2, FRR and GoBGP, with a session to every node that has a
//! BGPPeer.

mod meshless;
mod restarts;
mod trouble;

use crate::cluster::{Lab, eventually};
use std::process::Stdio;
use std::time::Duration;

/// How long a session may take to come up, with its routes.
const SOON: Duration = Duration::from_secs(30);

/// A BGPPeer, as YAML.
fn peer(name: &str, spec: &str) -> String {
    format!("---\n{{apiVersion: projectcalico.org/v3, kind: BGPPeer, metadata: {{name: {name}}}, spec: {{{spec}}}}}\n")
}

/// Creates or replaces objects.
#[track_caller]
fn apply(lab: &Lab, documents: &str) {
    lab.calicoctl("k8s-m", &["apply", "-f", "-"], documents).ok();
}

/// Puts the password of a BGPPeer with `password: {secretKeyRef: {name: bgp, key: KEY}}` on a node.
fn secret(lab: &Lab, node: &str, key: &str, password: &str) {
    lab.on(node, &format!("mkdir -p /etc/tortie/secrets/bgp && echo {password} >/etc/tortie/secrets/bgp/{key}"));
}

/// The line of `tortie ctl bgp peers` for a peer.
fn line(lab: &Lab, node: &str, peer: &str) -> Result<String, String> {
    let table = lab.node(node, &["tortie", "ctl", "bgp", "peers"]);
    let mut lines = table.stdout.lines();
    let found = lines.find(|line| line.split(' ').next() == Some(peer)).map(str::to_owned);
    found.ok_or_else(|| format!("no {peer} in {}{}", table.stdout, table.stderr))
}

/// Waits until a node's session with a peer is up, and has taught as many routes as it has to.
#[track_caller]
fn established(lab: &Lab, node: &str, peer: &str, routes: usize) {
    eventually(SOON, &format!("{node}'s session with {peer}"), || {
        let line = line(lab, node, peer)?;
        if line.contains("Established") && line.contains(&format!(" {routes}/")) { Ok(()) } else { Err(line) }
    });
}

/// Waits until a host has a route with some words, as `ip route` has them.
#[track_caller]
fn has_route(lab: &Lab, host: &str, words: &[&str]) {
    eventually(SOON, &format!("{host}'s route {words:?}"), || {
        let table = lab.node(host, &["ip", "-o", "route"]).ok();
        let found = table.lines().any(|line| words.iter().all(|word| line.contains(word)));
        if found { Ok(()) } else { Err(table) }
    });
}

/// Waits until a host has no route to a destination.
#[track_caller]
fn lacks_route(lab: &Lab, host: &str, destination: &str) {
    eventually(SOON, &format!("{host} without a route to {destination}"), || {
        let table = lab.node(host, &["ip", "-o", "route"]).ok();
        let found = table.lines().any(|line| line.split(' ').next() == Some(destination));
        if found { Err(table) } else { Ok(()) }
    });
}

/// A node's own block in a pool whose addresses begin like this.
#[track_caller]
fn block(lab: &Lab, node: &str, begin: &str) -> String {
    eventually(SOON, &format!("{node}'s block"), || {
        let table = lab.node(node, &["ip", "route"]).ok();
        let own = table.lines().find_map(|line| line.strip_prefix("blackhole ")?.split(' ').next());
        own.filter(|block| block.starts_with(begin)).map(str::to_owned).ok_or(table)
    })
}

/// The process that speaks BGP on a router.
fn speaker(lab: &Lab, router: &str) -> Option<i32> {
    let status = lab.status();
    let routers = status["routers"].as_array().expect("routers");
    let pid = routers.iter().find(|it| it["name"] == router).and_then(|it| it["speaker"].as_i64());
    pid.and_then(|pid| i32::try_from(pid).ok())
}

/// The walkthrough without its last two nodes, with routers.
fn topology(routers: &str) -> String {
    format!(
        "pools: [{{name: default-ipv4-ippool, cidr: 172.16.0.0/16, blockSize: 24, ipipMode: Always, natOutgoing: true}}]\n\
         subnets: [{{cidr: 192.168.10.0/24, gateway: 192.168.10.254}}]\n\
         nodes: [{{name: k8s-m, address: 192.168.10.10}}, {{name: k8s-w1, address: 192.168.10.101}}]\n\
         outside: {{name: internet, address: 203.0.113.10}}\n\
         routers: [{routers}]\n"
    )
}

#[test]
fn a_missing_program_is_named_before_anything_is_built() {
    let lab = Lab::reserve();
    let folder = tempfile::tempdir().expect("an empty folder");
    let refused = |router: &str, variable: &str| {
        let file = folder.path().join("topology.yaml");
        std::fs::write(&file, topology(&format!("{{name: tor, address: 192.168.10.1, as: 65001, {router}}}")))
            .expect("a file");
        let mut up = lab.command(&["up", "--topology"]);
        let output = up.arg(&file).env(variable, folder.path()).stdin(Stdio::null()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let place = folder.path().display();
    for (kind, program, package) in [("bird", "bird", "bird"), ("frr", "zebra", "frr"), ("gobgp", "gobgpd", "gobgpd")] {
        assert_eq!(
            refused(&format!("kind: {kind}"), "TORTIE_ROUTERS"),
            format!(
                "error: routers[0].kind {kind}: there is no program {program} in {place} \
                 (Debian package {package}): run tools/routers\n"
            )
        );
    }
    std::os::unix::fs::symlink("/usr/sbin/bird", folder.path().join("bird")).expect("a link");
    std::fs::write(folder.path().join("birdc"), "").expect("a file");
    let other = refused("kind: bird", "TORTIE_ROUTERS");
    let (says, expect) = ("routers[0].kind bird (Debian package bird): ", "is \"BIRD version 2");
    assert!(other.contains(says) && other.contains(expect) && other.ends_with("not BIRD version 1.6\n"), "{other}");
}
