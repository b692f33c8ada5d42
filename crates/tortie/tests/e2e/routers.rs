//! Routers of others beside the nodes: BIRD 1.6, BIRD 2, FRR and GoBGP, with a session to every node that has a
//! BGPPeer.

use crate::cluster::Lab;
use std::process::Stdio;

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
