//! Other topologies: names, subnets, pools and block sizes that no default has; etcd; two labs at once.

use crate::cluster::{Lab, eventually};
use std::time::Duration;

/// Blocks that the names give in 10.244.0.0/16 with /26 blocks: computed by Go's own math/rand.
const BLOCKS: [(&str, &str); 3] =
    [("node-4711", "10.244.109.128"), ("worker.example.com", "10.244.1.64"), ("a", "10.244.73.128")];

const OTHER: &str = "\
pools: [{name: pods, cidr: 10.244.0.0/16, blockSize: 26, ipipMode: Always, natOutgoing: true}]
subnets: [{cidr: 172.30.1.0/25, gateway: 172.30.1.1}, {cidr: 172.30.9.0/24, gateway: 172.30.9.1}]
nodes: [{name: node-4711, address: 172.30.1.7}, {name: worker.example.com, address: 172.30.1.20}, {name: a, address: 172.30.9.9}]
outside: {name: world, address: 198.51.100.77}
";

/// The three paths, with this topology's own names.
fn the_three_paths(lab: &Lab) {
    lab.start_pods(&[("one", "node-4711"), ("two", "node-4711"), ("three", "worker.example.com"), ("four", "a")]);
    // the tunnel has the first address of the block, pods the next ones, in their order
    let expect =
        [("one", "10.244.109.129"), ("two", "10.244.109.130"), ("three", "10.244.1.65"), ("four", "10.244.73.129")];
    for (pod, address) in expect {
        assert_eq!(lab.address(pod), address, "{pod}");
    }
    for (node, block) in BLOCKS {
        let shown = lab.node(node, &["ip", "-4", "-o", "addr", "show", "tunl0"]).ok();
        assert!(shown.contains(&format!("inet {block}/32")), "{node}: {shown}");
        let routes = lab.node(node, &["ip", "route"]).ok();
        assert!(routes.contains(&format!("blackhole {block}/26")), "{node}: {routes}");
        for (other, block) in BLOCKS.iter().filter(|(other, _)| *other != node) {
            let found =
                routes.lines().any(|line| line.starts_with(&format!("{block}/26 via")) && line.contains("tunl0"));
            assert!(found, "{node} has no tunnel route to {other}'s block: {routes}");
        }
    }
    for (pod, address) in
        [("one", "10.244.109.130"), ("one", "10.244.1.65"), ("one", "10.244.73.129"), ("four", "10.244.1.65")]
    {
        lab.reaches(pod, address).unwrap_or_else(|shown| panic!("{pod} to {address}: {shown}"));
    }
    lab.reaches("three", "198.51.100.77").expect("the outside is reached");
    let pool = lab.calicoctl("a", &["get", "ippool", "pods", "-o", "yaml"], "").ok();
    let off = pool.replace("natOutgoing: true", "natOutgoing: false");
    lab.calicoctl("a", &["apply", "-f", "-"], &off).ok();
    eventually(Duration::from_secs(3), "the outside is shut", || match lab.reaches("three", "198.51.100.77") {
        Ok(()) => Err("it answers".to_owned()),
        Err(_) => Ok(()),
    });
}

#[test]
fn another_topology_with_small_blocks() {
    let lab = Lab::up_with(OTHER);
    the_three_paths(&lab);
}

#[test]
fn the_same_on_etcd_and_nftables() {
    let lab = Lab::up_with(&format!("{OTHER}datastore: etcd\ndataplane: nftables\n"));
    the_three_paths(&lab);
    let keys = lab.node("a", &["sh", "-c", "grep etcdEndpoints /etc/calico/calicoctl.cfg"]).ok();
    assert!(keys.contains("http://"), "etcd is reached over TCP: {keys}");
}
