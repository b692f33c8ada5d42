//! VERSION, the result in each version of the specification, and the commands that are not served.

use crate::common::Node;
use serde_json::json;

const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

#[test]
fn version_lists_what_add_takes() {
    let node = Node::without_objects(crate::common::Datastore::store);
    let container = node.container("x");
    for plugin in ["calico", "calico-ipam"] {
        let call = node.call("VERSION", &container).plugin(plugin);
        let call = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]
            .iter()
            .fold(call, |call, name| call.env(name, ""));
        // Calico says 1.1.0 too, but does not list it and its ADD refuses it
        assert_eq!(call.run().success(), json!({"cniVersion": "1.1.0", "supportedVersions": VERSIONS}));
    }
}

#[test]
fn each_version_has_its_form() {
    let node = Node::new();
    for (index, version) in VERSIONS.iter().enumerate() {
        let container = node.container(&format!("cid{index}"));
        let outcome = node.call("ADD", &container).set("cniVersion", *version).run();
        let added = outcome.success();
        let ip = format!("10.244.166.{}/32", 128 + index);
        let routes = json!([{"dst": "10.244.166.128/26"}]);
        let (mac, sandbox) = (container.mac("eth0"), container.path());
        let interfaces = json!([{"name": format!("calicid{index}")}, {"name": "eth0", "mac": mac, "sandbox": sandbox}]);
        let sized = json!([
            {"name": format!("calicid{index}"), "mtu": 1500},
            {"name": "eth0", "mac": mac, "mtu": 1500, "sandbox": sandbox},
        ]);
        let expect = match *version {
            "0.1.0" | "0.2.0" => json!({"cniVersion": version, "ip4": {"ip": ip, "routes": routes}, "dns": {}}),
            "1.0.0" | "1.1.0" => json!({
                "cniVersion": version, "interfaces": if *version == "1.1.0" { sized } else { interfaces },
                "ips": [{"address": ip, "interface": 1}], "routes": routes,
            }),
            _ => json!({
                "cniVersion": version, "interfaces": interfaces,
                "ips": [{"version": "4", "interface": 1, "address": ip}], "routes": routes, "dns": {},
            }),
        };
        assert_eq!(added, expect, "{version}");
        assert!(outcome.stdout.starts_with("{\n    \"cniVersion\": ") && outcome.stdout.ends_with("\n}"), "{version}");
        node.call("DEL", &container).set("cniVersion", *version).run().success();
    }
    let container = node.container("unversioned");
    assert_eq!(node.call("ADD", &container).set("cniVersion", "").run().success()["cniVersion"], "0.2.0");
}

#[test]
fn what_a_version_does_not_have_is_refused() {
    let node = Node::new();
    let container = node.container("cid1");
    let spoken = r#"["0.1.0" "0.2.0" "0.3.0" "0.3.1" "0.4.0" "1.0.0" "1.1.0"]"#;
    assert_eq!(
        node.call("ADD", &container).set("cniVersion", "1.2.0").run().failure(),
        (1, format!("incompatible CNI versions config is \"1.2.0\", plugin supports {spoken}"))
    );
    for (command, since) in [("CHECK", "0.4.0"), ("GC", "1.1.0"), ("STATUS", "1.1.0")] {
        let first = VERSIONS.iter().position(|version| *version == since).expect("a version");
        for version in &VERSIONS[..first] {
            for plugin in ["calico", "calico-ipam"] {
                let message =
                    format!("config version does not allow {command} config is {version:?}, {command} needs {since:?}");
                let call = node.call(command, &container).plugin(plugin).set("cniVersion", *version);
                assert_eq!(call.run().failure(), (1, message));
            }
        }
    }
}

#[test]
fn without_a_command_it_introduces_itself() {
    let node = Node::new();
    let container = node.container("cid1");
    for (plugin, name) in [("calico", "Calico CNI plugin "), ("calico-ipam", "Calico CNI IPAM ")] {
        let outcome = node.call("", &container).plugin(plugin).run();
        outcome.success();
        assert!(outcome.stderr.starts_with(name), "{}", outcome.stderr);
        assert!(
            outcome
                .stderr
                .contains("\nCNI protocol versions supported: 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0\n")
        );
        let outcome = node.call("", &container).plugin(plugin).flag("-v").run();
        assert!(outcome.status.success());
        assert_eq!(outcome.stdout, format!("{}\n", env!("CARGO_PKG_VERSION")));
        let (code, message) = node.call("", &container).plugin(plugin).flag("x").run().failure();
        assert_eq!((code, message.as_str()), (100, "unknown arguments: x"));
    }
}

#[test]
fn flags_act_and_words_are_passed_over() {
    let node = Node::new();
    let container = node.container("cid1");
    for (plugin, name) in [("calico", "Calico"), ("calico-ipam", "calico-ipam")] {
        for command in ["", "ADD", "DEL"] {
            let call = || node.call(command, &container).plugin(plugin);
            let outcome = call().flag("-v").run();
            assert_eq!((outcome.status.code(), outcome.stdout), (Some(0), format!("{}\n", env!("CARGO_PKG_VERSION"))));
            let outcome = call().flag("-x").run();
            assert_eq!((outcome.status.code(), outcome.stdout.as_str()), (Some(2), ""));
            let expect = format!("flag provided but not defined: -x\nUsage of {name}:\n");
            assert!(outcome.stderr.starts_with(&expect), "{}", outcome.stderr);
        }
        for words in [&[r#"{"name": "another"}"#, "-v"][..], &["node"], &["--", "-x"]] {
            for command in ["ADD", "DEL"] {
                let call = node.call(command, &container).plugin(plugin);
                let added = words.iter().fold(call, |call, word| call.flag(word)).run().success();
                let address = added["ips"][0]["address"].as_str().unwrap_or_default();
                assert_eq!(address.starts_with("10.244."), command == "ADD", "{plugin} {words:?}: {added}");
            }
        }
    }
}

#[test]
fn the_connection_can_be_tested() {
    let node = Node::new();
    let container = node.container("cid1");
    node.call("", &container).flag("-t").run().success();
    node.datastore.delete("/calico/resources/v3/projectcalico.org/clusterinformations/default");
    assert_eq!(
        node.call("", &container).flag("-t").run().failure(),
        (100, "data store connection failed Calico is currently not ready to process requests".into())
    );
    let (code, message) =
        node.call("", &container).flag("-t").set("etcd_endpoints", "unix:///nowhere.sock").run().failure();
    assert!(code == 100 && message.contains("unix:///nowhere.sock"), "{message}");
}
