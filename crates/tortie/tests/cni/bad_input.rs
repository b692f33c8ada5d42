//! Bad input: one clear error object, and nothing half-done.

use crate::common::{Call, Container, Node};
use serde_json::json;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

/// How long a call may take that cannot reach its datastore.
const BOUND: Duration = Duration::from_secs(30);

/// A node whose IPAM has been used before, so that its own configuration is there, and a new container.
struct Bench {
    node: Node,
    container: Container,
    _first: Container,
}

impl Bench {
    fn new() -> Bench {
        let node = Node::new();
        let first = node.container("first");
        node.add(&first);
        let container = node.container("cid1");
        Bench { node, container, _first: first }
    }

    /// Calls ADD; it must fail, and nothing may have changed.
    fn refused<'a>(&'a self, adjust: impl FnOnce(Call<'a>) -> Call<'a>) -> (u64, String) {
        let state = || self.node.state().and(self.container.state());
        let before = state();
        let failure = adjust(self.node.call("ADD", &self.container)).run().failure();
        state().is_still(&before, &format!("{failure:?}"));
        failure
    }
}

#[test]
fn variables() {
    let bench = Bench::new();
    for (name, value, message) in [
        ("CNI_NETNS", "", "required env variables [CNI_NETNS] missing"),
        ("CNI_CONTAINERID", "a/b", "invalid characters in containerID: \"a/b\""),
        ("CNI_COMMAND", "FOO", "unknown CNI_COMMAND: FOO"),
        ("CNI_ARGS", "K8S_POD_NAME", "CNI_ARGS: invalid pair \"K8S_POD_NAME\""),
    ] {
        assert_eq!(bench.refused(|call| call.env(name, value)), (4, message.to_owned()));
    }
    let (code, message) = bench.refused(|call| call.env("CNI_NETNS", "/run/netns/tortie-cni-never"));
    assert_eq!(code, 999);
    assert!(message.starts_with("failed to open netns") && message.contains("No such file or directory"), "{message}");
    let file = bench.node.dir.path().join("no-namespace");
    std::fs::write(&file, "").expect("a file");
    let (code, message) = bench.refused(|call| call.env("CNI_NETNS", &file.display().to_string()));
    assert!(code == 999 && message.contains("no-namespace") && message.contains("Invalid argument"), "{message}");
    assert_eq!(bench.refused(|call| call.args("IP=10.244.7")), (999, "invalid IP address: 10.244.7".to_owned()));
}

#[test]
fn configuration() {
    let bench = Bench::new();
    let (code, message) = bench.refused(|call| call.input("{foo"));
    assert_eq!(code, 6);
    assert!(message.starts_with("error unmarshall network config: "), "{message}");
    let (code, message) = bench.refused(|call| call.set("mtu", "1400"));
    assert_eq!(code, 6);
    assert!(message.starts_with("error unmarshall network config: mtu: invalid type: string"), "{message}");
    assert_eq!(bench.refused(|call| call.set("name", "")), (7, "missing network name:".to_owned()));
    for (key, value, message) in [
        ("device_type", json!("netkit"), "network \"net1\": device_type not supported yet"),
        ("readiness_gates", json!([]), "network \"net1\": readiness_gates not supported yet"),
        (
            "policy",
            json!({"type": "k8s"}),
            "network \"net1\": policy.type \"k8s\" (the Kubernetes datastore) not supported yet",
        ),
    ] {
        assert_eq!(bench.refused(|call| call.set(key, value)), (7, message.to_owned()));
    }
    for (key, value, message) in [
        (
            "feature_control",
            json!({"ip_addrs_no_ipam": true, "floating_ips": true}),
            "requested feature is not supported for this runtime: ip_addrs_no_ipam".to_owned(),
        ),
        (
            "ipam",
            json!({"type": "nosuch"}),
            format!("failed to find plugin \"nosuch\" in path [{}]", bench.node.bin().display()),
        ),
        ("nodename", json!("nosuchnode"), "resource does not exist: Node(nosuchnode) with error: <nil>".to_owned()),
        (
            "datastore_type",
            json!("kubernetes"),
            "datastoreType: kubernetes is not supported yet; set it to etcdv3, and etcdEndpoints (ETCD_ENDPOINTS)"
                .to_owned(),
        ),
    ] {
        assert_eq!(bench.refused(|call| call.set(key, value)), (999, message));
    }
    let nowhere = bench.node.dir.path().join("nodename").display().to_string();
    let message = format!(
        "stat {nowhere}: no such file or directory: check that the node agent is running and has mounted /var/lib/calico/"
    );
    let failure =
        bench.refused(|call| call.set("nodename_file_optional", false).set("nodename_file", nowhere.as_str()));
    assert_eq!(failure, (999, message));
}

/// A program is named, not reached by a path: what CNI_PATH holds is all that a configuration may start.
#[test]
fn an_ipam_plugin_with_a_path_is_refused() {
    let bench = Bench::new();
    let started = bench.node.dir.path().join("started");
    bench.node.script("outside", &format!("touch {}; exit 1", started.display()));
    let outside = bench.node.bin().join("outside").display().to_string();
    let folder = bench.node.bin().file_name().expect("a folder's name").to_string_lossy().into_owned();
    let names =
        [outside.as_str(), &format!("../{folder}/outside"), "./outside", "outside/", "..", ".", "/", "a/../outside"];
    for name in names {
        let failure = bench.refused(|call| call.set("ipam", json!({"type": name})));
        assert_eq!(failure, (7, format!("invalid plugin name: {name:?}: ipam.type names a program in CNI_PATH")));
        assert!(!started.exists(), "{name} was started");
    }
}

#[test]
fn pools() {
    let bench = Bench::new();
    let pools = |pools: &[&str]| json!({"type": "calico-ipam", "ipv4_pools": pools});
    for (ipam, message) in [
        (pools(&["10.99.0.0/16"]), "the given pool (10.99.0.0/16) does not exist, or is not enabled"),
        (pools(&["nosuch"]), "error parsing pool \"nosuch\": no such pool, nor a CIDR"),
        (pools(&["fd00::/64"]), "fd00::/64 isn't a IPv4 address pool"),
        (
            json!({"type": "calico-ipam", "assign_ipv4": "false", "assign_ipv6": "true"}),
            "cannot find a qualified ippool",
        ),
        (json!({"type": "calico-ipam", "assign_ipv6": "true"}), "cannot find a qualified ippool"),
    ] {
        assert_eq!(bench.refused(|call| call.set("ipam", ipam)), (999, message.to_owned()));
    }
    let message = "the provided IP address 192.0.2.7 is not in a configured pool";
    assert_eq!(bench.refused(|call| call.args("IP=192.0.2.7")), (999, message.to_owned()));
}

#[test]
fn an_exhausted_pool_is_named() {
    let bench = Bench::new();
    bench.node.datastore.put_pool("tiny", "10.99.0.0/30", 30);
    let ipam = json!({"type": "calico-ipam", "ipv4_pools": ["tiny"]});
    let containers: Vec<Container> = (0..4).map(|n| bench.node.container(&format!("full{n}"))).collect();
    for container in &containers {
        bench.node.call("ADD", container).set("ipam", ipam.clone()).run().success();
    }
    let (code, message) = bench.refused(|call| call.set("ipam", ipam));
    assert_eq!(code, 999);
    let start = "failed to request IPv4 addresses: Assigned 0 out of 1 requested IPv4 addresses; ";
    assert!(message.starts_with(start) && message.contains("tiny"), "{message}");
}

#[test]
fn a_cluster_that_is_not_ready() {
    let bench = Bench::new();
    let message = "Calico is currently not ready to process requests";
    let key = "/calico/resources/v3/projectcalico.org/clusterinformations/default";
    bench.node.datastore.put_resource(
        "ClusterInformation",
        "clusterinformations",
        "default",
        &json!({"datastoreReady": false}),
    );
    assert_eq!(bench.refused(|call| call), (999, message.to_owned()));
    bench.node.datastore.delete(key);
    assert_eq!(bench.refused(|call| call), (999, message.to_owned()));
    assert_eq!(bench.refused(|call| call.env("CNI_COMMAND", "DEL")), (999, message.to_owned()));
}

#[test]
fn an_unreachable_datastore_is_named_in_time() {
    let bench = Bench::new();
    let silent = bench.node.dir.path().join("silent.sock");
    let _accepts = UnixListener::bind(&silent).expect("a socket");
    let silent = format!("unix://{}", silent.display());
    for (endpoint, reason) in [
        ("unix:///nowhere/store.sock", "No such file or directory (os error 2)"),
        ("http://127.0.0.1:9", "tcp connect error: Connection refused (os error 111)"),
        ("http://192.0.2.1:2379", "tcp connect error: Network is unreachable (os error 101)"),
        (&silent, "no answer within 10 s"),
    ] {
        for command in ["ADD", "DEL"] {
            let start = Instant::now();
            let failure = bench.refused(|call| call.env("CNI_COMMAND", command).set("etcd_endpoints", endpoint));
            assert_eq!(failure, (999, format!("etcd at {endpoint}: {reason}")), "{command}");
            assert!(start.elapsed() < BOUND, "{command} with {endpoint}: {:?}", start.elapsed());
        }
    }
    let failure = bench.refused(|call| call.set("etcd_endpoints", "127.0.0.1:2379"));
    assert_eq!(failure, (999, "etcdEndpoints: \"127.0.0.1:2379\" is not http://, https:// or unix:".to_owned()));
}

#[test]
fn endpoints_and_a_domain_that_knows_them_are_one_too_many() {
    let bench = Bench::new();
    let message =
        r#"multiple discovery or bootstrap options specified, use either "etcdEndpoints" or "etcdDiscoverySrv""#;
    for command in ["ADD", "DEL"] {
        let failure = bench.refused(|call| call.env("CNI_COMMAND", command).set("etcd_discovery_srv", "example.org"));
        assert_eq!(failure, (999, message.to_owned()), "{command}");
    }
}

#[test]
fn the_configuration_wins_over_the_environment() {
    let bench = Bench::new();
    let call = bench.node.call("ADD", &bench.container);
    let call = call.env("ETCD_ENDPOINTS", "unix:///nowhere.sock").env("CALICO_ETCD_ENDPOINTS", "unix:///nowhere.sock");
    call.run().success();
}
