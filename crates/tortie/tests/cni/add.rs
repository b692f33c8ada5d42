//! ADD outside Kubernetes and inside: result, kernel, datastore.

use crate::common::{Container, ENDPOINTS, Node, PROFILES, holders};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// The result in version 0.3.1, to the byte; `routes` is one destination an address.
fn result(host: &str, container: &Container, interface: &str, addresses: &[(&str, &str)]) -> String {
    let version = |address: &str| if address.contains(':') { 6 } else { 4 };
    let ips: Vec<String> = addresses
        .iter()
        .map(|(address, _)| {
            let version = version(address);
            format!(
                "        {{\n            \"version\": \"{version}\",\n            \"interface\": 1,\n            \"address\": \"{address}\"\n        }}"
            )
        })
        .collect();
    let routes: Vec<String> = addresses
        .iter()
        .map(|(_, route)| format!("        {{\n            \"dst\": \"{route}\"\n        }}"))
        .collect();
    format!(
        "{{\n    \"cniVersion\": \"0.3.1\",\n    \"interfaces\": [\n        {{\n            \"name\": \"{host}\"\n        }},\n        {{\n            \"name\": \"{interface}\",\n            \"mac\": \"{}\",\n            \"sandbox\": \"{}\"\n        }}\n    ],\n    \"ips\": [\n{}\n    ],\n    \"routes\": [\n{}\n    ],\n    \"dns\": {{}}\n}}",
        container.mac(interface),
        container.path(),
        ips.join(",\n"),
        routes.join(",\n"),
    )
}

/// A stored resource without what differs each time.
fn anonymous(mut object: Value) -> Value {
    let metadata = object["metadata"].as_object_mut().expect("a resource has metadata");
    assert!(metadata.remove("uid").is_some_and(|uid| uid.as_str().is_some_and(|uid| uid.len() == 36)));
    assert!(metadata.remove("creationTimestamp").is_some_and(|time| time.as_str().is_some_and(|t| t.ends_with('Z'))));
    object
}

#[test]
fn a_container_is_connected_as_calico_does() {
    let node = Node::new();
    let container = node.container("cid1");
    let outcome = node.call("ADD", &container).run();
    outcome.success();
    let expect = result("calicid1", &container, "eth0", &[("10.244.166.128/32", "10.244.166.128/26")]);
    assert_eq!(outcome.stdout, expect);

    assert_eq!(node.namespace.routes(""), ["10.244.166.128 dev calicid1 scope link"]);
    let link = &node.namespace.json("link show calicid1")[0];
    assert_eq!((&link["address"], &link["mtu"]), (&json!("ee:ee:ee:ee:ee:ee"), &json!(1500)));
    assert_eq!(link["linkinfo"]["info_kind"], "veth");
    for (key, expect) in [("proxy_arp", "1"), ("forwarding", "1"), ("route_localnet", "1"), ("rp_filter", "0")] {
        assert_eq!(node.namespace.sysctl(&format!("ipv4/conf/calicid1/{key}")), expect, "{key}");
    }
    let pod = &container.namespace;
    assert_eq!(pod.routes(""), ["169.254.1.1 dev eth0 scope link", "default via 169.254.1.1 dev eth0"]);
    let address = &pod.json("-4 addr show eth0")[0]["addr_info"][0];
    assert_eq!((&address["local"], &address["prefixlen"]), (&json!("10.244.166.128"), &json!(32)));
    assert_eq!(pod.sysctl("ipv4/ip_forward"), "0");
    assert_eq!(pod.ip("-j neigh").trim(), "[]", "no neighbour is installed");

    let key = format!("{ENDPOINTS}default/node1-cni-cid1-eth0");
    let stored = node.datastore.json(&key);
    let (uid, created) = (&stored["metadata"]["uid"], &stored["metadata"]["creationTimestamp"]);
    let mac = container.mac("eth0");
    assert_eq!(
        node.datastore.text(&key),
        format!(
            r#"{{"kind":"WorkloadEndpoint","apiVersion":"projectcalico.org/v3","metadata":{{"name":"node1-cni-cid1-eth0","namespace":"default","uid":{uid},"creationTimestamp":{created},"labels":{{"projectcalico.org/namespace":"default","projectcalico.org/orchestrator":"cni"}}}},"spec":{{"orchestrator":"cni","node":"node1","containerID":"cid1","endpoint":"eth0","ipNetworks":["10.244.166.128/32"],"profiles":["net1"],"interfaceName":"calicid1","mac":"{mac}"}}}}"#
        )
    );
    let profile = anonymous(node.datastore.json(&format!("{PROFILES}net1")));
    let spec = json!({
        "ingress": [{"action": "Allow", "source": {"selector": "has(net1)"}, "destination": {}}],
        "egress": [{"action": "Allow", "source": {}, "destination": {}}],
        "labelsToApply": {"net1": ""},
    });
    assert_eq!(profile["spec"], spec);

    let block = node.block("10.244.166.128-26");
    assert_eq!(block["affinity"], "host:node1");
    assert_eq!(holders(&block), [(0, "net1.cid1".to_owned())]);
    let attributes = &block["attributes"][0]["secondary"];
    assert_eq!(attributes["node"], "node1");
    assert!(attributes["timestamp"].as_str().is_some_and(|time| time.ends_with(" +0000 UTC")), "{attributes}");
    assert_eq!(
        node.datastore.text("/calico/ipam/v2/handle/net1.cid1"),
        r#"{"block":{"10.244.166.128/26":1},"deleted":false}"#
    );
    assert_eq!(
        node.datastore.text("/calico/ipam/v2/host/node1/ipv4/block/10.244.166.128-26"),
        r#"{"state":"confirmed","deleted":false}"#
    );
}

#[test]
fn a_container_outside_kubernetes_is_connected_once() {
    let node = Node::new();
    let container = node.container("cid1");
    let first = node.add(&container);
    let before = node.state().and(container.state());
    let again = node.add(&container);
    assert_eq!((&again["interfaces"], &again["ips"]), (&first["interfaces"], &first["ips"]));
    assert_eq!(again.get("routes"), None);
    node.state().and(container.state()).is_still(&before, "ADD again");

    // another network: only its profile is added
    let kernel = node.namespace.state();
    let other = node.call("ADD", &container).set("name", "net2").run().success();
    assert_eq!(other["ips"], first["ips"]);
    let endpoint = node.datastore.json(&format!("{ENDPOINTS}default/node1-cni-cid1-eth0"));
    assert_eq!(endpoint["spec"]["profiles"], json!(["net1", "net2"]));
    assert_eq!(node.datastore.keys(PROFILES).len(), 2);
    node.namespace.state().is_still(&kernel, "ADD to another network");
}

#[test]
fn addresses_come_in_order_or_as_asked_for() {
    let node = Node::new();
    node.datastore.put_pool("second", "10.99.0.0/16", 26);
    let ip = |outcome: Value| outcome["ips"][0]["address"].clone();
    let containers: Vec<Container> = (1..=5).map(|n| node.container(&format!("cid{n}"))).collect();
    let first = |container| {
        node.call("ADD", container).set("ipam", json!({"type": "calico-ipam", "ipv4_pools": ["10.244.0.0/16"]}))
    };
    assert_eq!(ip(first(&containers[0]).run().success()), "10.244.166.128/32");
    assert_eq!(ip(first(&containers[1]).run().success()), "10.244.166.129/32");

    let asked = node.call("ADD", &containers[2]).args("IP=10.244.7.7").run();
    asked.success();
    let expect = result("calicid3", &containers[2], "eth0", &[("10.244.7.7/32", "10.244.7.7/32")]);
    assert_eq!(asked.stdout, expect);
    assert_eq!(holders(&node.block("10.244.7.0-26")), [(7, "net1.cid3".to_owned())]);

    let taken = node.call("ADD", &containers[3]).args("IP=10.244.7.7").run().failure();
    assert_eq!(
        taken,
        (999, "resource already exists: 10.244.7.7 with error: Address already assigned in block".into())
    );

    let by_name = json!({"type": "calico-ipam", "ipv4_pools": ["second"]});
    let address = ip(node.call("ADD", &containers[4]).set("ipam", by_name).run().success());
    assert!(address.as_str().is_some_and(|text| text.starts_with("10.99.")), "{address}");
}

#[test]
fn both_families() {
    let node = Node::new();
    node.datastore.put_pool("p6", "fd00:10:244::/64", 122);
    let container = node.container("cid11");
    let ipam = json!({"type": "calico-ipam", "assign_ipv4": "true", "assign_ipv6": "true"});
    let outcome = node.call("ADD", &container).set("ipam", ipam).run();
    outcome.success();
    let six = "fd00:10:244:0:c11:b42f:f17e:a680";
    let addresses = [
        ("10.244.166.128/32".to_owned(), "10.244.166.128/26".to_owned()),
        (format!("{six}/128"), format!("{six}/122")),
    ];
    let addresses: Vec<(&str, &str)> = addresses.iter().map(|(ip, route)| (ip.as_str(), route.as_str())).collect();
    assert_eq!(outcome.stdout, result("calicid11", &container, "eth0", &addresses));
    let pod = &container.namespace;
    assert!(
        pod.routes("-6").contains(&"default via fe80::ecee:eeff:feee:eeee dev eth0 metric 1024 pref medium".into())
    );
    assert!(node.namespace.routes("-6").contains(&format!("{six} dev calicid11 metric 1024 pref medium")));
    assert_eq!(node.namespace.sysctl("ipv6/conf/calicid11/proxy_ndp"), "1");
    assert_eq!(
        node.datastore.json("/calico/ipam/v2/handle/net1.cid11")["block"],
        json!({"10.244.166.128/26": 1, "fd00:10:244:0:c11:b42f:f17e:a680/122": 1})
    );

    let alone = node.container("cid12");
    let ipam = json!({"type": "calico-ipam", "assign_ipv4": "false", "assign_ipv6": "true"});
    let added = node.call("ADD", &alone).set("ipam", ipam).run().success();
    assert_eq!(
        added["ips"],
        json!([{"version": "6", "interface": 1, "address": "fd00:10:244:0:c11:b42f:f17e:a681/128"}])
    );
    assert_eq!(alone.namespace.routes(""), [] as [&str; 0]);
}

#[test]
fn pools_and_addresses_of_either_family_can_be_asked_for() {
    let node = Node::new();
    for (name, cidr) in [("six", "fd00:10:244::/64"), ("other-six", "fd00:20::/64")] {
        node.datastore.put_pool(name, cidr, 122);
    }
    node.datastore.put_pool("other-four", "10.99.0.0/16", 26);
    let mut count = 0;
    let mut added = |ipam: Value, args: &str| -> Vec<String> {
        count += 1;
        let container = node.container(&format!("cid{count}"));
        let added = node.call("ADD", &container).set("ipam", ipam).args(args).run().success();
        let ips = added["ips"].as_array().expect("addresses");
        ips.iter().map(|ip| ip["address"].as_str().expect("an address").to_owned()).collect()
    };
    for (four, six) in [("other-four", "other-six"), ("10.99.0.0/16", "fd00:20::/64")] {
        let ipam = json!({
            "type": "calico-ipam", "assign_ipv6": "true", "ipv4_pools": [four], "ipv6_pools": [six],
        });
        let addresses = added(ipam, "");
        assert!(addresses[0].starts_with("10.99.") && addresses[1].starts_with("fd00:20::"), "{addresses:?}");
    }
    // one family bound to a pool leaves the other free
    let addresses = added(json!({"type": "calico-ipam", "assign_ipv6": "true", "ipv6_pools": ["other-six"]}), "");
    assert!(addresses[1].starts_with("fd00:20::"), "{addresses:?}");
    let any = json!({"type": "calico-ipam"});
    assert_eq!(added(any.clone(), "IP=fd00:10:244::77"), ["fd00:10:244::77/128"]);
    assert_eq!(added(any, "IgnoreUnknown=1;IP=10.99.1.2;COLOUR=blue"), ["10.99.1.2/32"]);
}

#[test]
fn what_a_runtime_asks_in_vain_is_warned_of() {
    let node = Node::new();
    let container = node.container("cid1");
    let call = node.call("ADD", &container).set("runtimeConfig", json!({"ips": ["10.244.7.7/32"]}));
    let outcome = call.run();
    assert_eq!(outcome.success()["ips"][0]["address"], "10.244.166.128/32");
    assert!(outcome.stderr.contains("[WARNING]") && outcome.stderr.contains("runtimeConfig.ips is not acted on"));
}

#[test]
fn settings_of_the_network_reach_the_pod() {
    let node = Node::new();
    let small = node.container("cid12");
    node.call("ADD", &small).set("mtu", 1400).run().success();
    assert_eq!(small.namespace.json("link show eth0")[0]["mtu"], 1400);
    assert_eq!(node.namespace.json("link show calicid12")[0]["mtu"], 1400);

    let router = node.container("cid13");
    let settings = json!({"allow_ip_forwarding": true});
    node.call("ADD", &router).set("container_settings", settings).set("num_queues", 3).run().success();
    assert_eq!(router.namespace.sysctl("ipv4/ip_forward"), "1");
    assert_eq!(router.namespace.json("link show eth0")[0]["num_tx_queues"], 3);

    let other = node.container("cid14");
    let outcome = node.call("ADD", &other).env("CNI_IFNAME", "net7").run();
    outcome.success();
    let expect = result("calicid14", &other, "net7", &[("10.244.166.130/32", "10.244.166.128/26")]);
    assert_eq!(outcome.stdout, expect);
    assert_eq!(node.datastore.keys("cid14-net7").len(), 1);

    let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let long = node.container(id);
    assert_eq!(node.add(&long)["interfaces"][0]["name"], "cali0123456789a");
    assert_eq!(node.datastore.keys(&format!("default/node1-cni-{id}-eth0")).len(), 1);
}

#[test]
fn the_agents_mtu_file_counts_where_the_network_has_none() {
    let node = Node::new();
    let script = node.bin().join("calico-mtu");
    let calico = node.bin().join("calico");
    let text = format!(
        "#!/bin/sh\nexport PATH=/usr/sbin:/usr/bin:/sbin:/bin\nexec unshare -m sh -c 'mount -t tmpfs none /var/lib && mkdir /var/lib/calico && {{ test -z \"$MTU\" || echo \"$MTU\" >/var/lib/calico/mtu; }} && exec {}'\n",
        calico.display()
    );
    fs::write(&script, text).expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("an executable script");
    let container = node.container("cid1");
    let call =
        |mtu: &str| node.call("ADD", &container).plugin("calico-mtu").env("MTU", mtu).set("require_mtu_file", true);
    let (code, message) = call("").run().failure();
    assert!(code == 999 && message.contains("/var/lib/calico/mtu"), "{message}");
    assert_eq!(call("many").run().failure(), (999, "/var/lib/calico/mtu: \"many\" is not an MTU".into()));
    call("1410").run().success();
    assert_eq!(container.namespace.json("link show eth0")[0]["mtu"], 1410);
}

#[test]
fn a_kubernetes_pod() {
    let node = Node::new();
    let container = node.container("cid18");
    let added = node
        .call("ADD", &container)
        .pod("ns1", "my-pod")
        .set("kubernetes", json!({"k8s_api_root": "http://127.0.0.1:1"}));
    let outcome = added.run();
    outcome.success();
    let expect = result("cali21f984b8c6d", &container, "eth0", &[("10.244.166.128/32", "10.244.166.128/26")]);
    assert_eq!(outcome.stdout, expect);
    let mac = container.mac("eth0");
    let endpoint = anonymous(node.datastore.json(&format!("{ENDPOINTS}ns1/node1-k8s-my--pod-eth0")));
    assert_eq!(
        endpoint,
        json!({
            "kind": "WorkloadEndpoint", "apiVersion": "projectcalico.org/v3",
            "metadata": {
                "name": "node1-k8s-my--pod-eth0", "namespace": "ns1",
                "labels": {"projectcalico.org/namespace": "ns1", "projectcalico.org/orchestrator": "k8s"},
            },
            "spec": {
                "orchestrator": "k8s", "node": "node1", "containerID": "cid18", "pod": "my-pod", "endpoint": "eth0",
                "ipNetworks": ["10.244.166.128/32"], "profiles": ["net1"], "interfaceName": "cali21f984b8c6d", "mac": mac,
            },
        })
    );
    let attributes = &node.block("10.244.166.128-26")["attributes"][0];
    assert_eq!(attributes["handle_id"], "net1.cid18");
    assert_eq!(
        (&attributes["secondary"]["pod"], &attributes["secondary"]["namespace"]),
        (&json!("my-pod"), &json!("ns1"))
    );
    let profile = node.datastore.json(&format!("{PROFILES}net1"));
    assert_eq!(profile["spec"]["ingress"], json!([{"action": "Allow", "source": {}, "destination": {}}]));
}

#[test]
fn with_a_type_of_policy_the_profile_is_somebody_elses() {
    let node = Node::new();
    for (count, word) in ["none", "K8S", "calico"].into_iter().enumerate() {
        let container = node.container(&format!("cid{count}"));
        let call = |command: &str| {
            let call = node.call(command, &container).set("name", word).set("cniVersion", "1.1.0");
            let call = if count == 2 { call.pod("ns1", "my-pod") } else { call };
            call.set("policy", json!({"type": word}))
        };
        let outcome = call("ADD").run();
        outcome.success();
        let expect = format!("policy.type {word:?}: profile {word:?}, which the endpoint names, does not exist");
        assert!(outcome.stderr.contains("[WARNING]") && outcome.stderr.contains(&expect), "{}", outcome.stderr);
        assert_eq!(node.datastore.keys(PROFILES), [] as [&str; 0]);
        let key = node.datastore.keys(ENDPOINTS).remove(0);
        assert_eq!(node.datastore.json(&key)["spec"]["profiles"], json!([word]));
        call("CHECK").run().success();
        call("STATUS").run().success();
        call("DEL").run().success();
        assert_eq!(node.datastore.keys(ENDPOINTS), [] as [&str; 0]);
    }
    // one that is there needs no warning
    node.add(&node.container("cid8"));
    let container = node.container("cid9");
    let outcome = node.call("ADD", &container).set("policy", json!({"type": "none"})).run();
    outcome.success();
    assert!(!outcome.stderr.contains("policy.type"), "{}", outcome.stderr);
}

#[test]
fn mesos_labels_reach_the_endpoint() {
    let node = Node::new();
    let container = node.container("cid20");
    let labels = json!([{"key": "k", "value": "v"}, {"key": "a/b", "value": "x y"}]);
    let args = json!({"org.apache.mesos": {"network_info": {"name": "n", "labels": {"labels": labels}}}});
    node.call("ADD", &container).set("args", args).run().success();
    let endpoint = node.datastore.json(&format!("{ENDPOINTS}default/node1-cni-cid20-eth0"));
    assert_eq!(
        endpoint["metadata"]["labels"],
        json!({"a.b": "x-y", "k": "v", "projectcalico.org/namespace": "default", "projectcalico.org/orchestrator": "cni"})
    );
}

#[test]
fn the_ipam_plugin_alone() {
    let node = Node::new();
    let container = node.container("cid24");
    let call = |command| node.call(command, &container).plugin("calico-ipam");
    assert_eq!(
        call("ADD").run().success(),
        json!({
            "cniVersion": "0.3.1", "ips": [{"version": "4", "address": "10.244.166.128/26"}],
            "routes": [{"dst": "10.244.166.128/26"}], "dns": {},
        })
    );
    assert_eq!(node.datastore.keys("handle"), ["/calico/ipam/v2/handle/net1.cid24"]);
    for _ in 0..2 {
        assert_eq!(call("DEL").run().success(), Value::Null);
        assert_eq!(node.datastore.keys("handle"), [] as [&str; 0]);
    }
    assert_eq!(container.namespace.links(), ["lo"]);
}

#[test]
fn the_ipam_plugin_alone_needs_a_name_and_no_file() {
    let node = Node::new();
    let own = "export PATH=/usr/sbin:/usr/bin:/sbin:/bin\nexec unshare -u sh -c 'hostname Machine-7; exec ";
    for plugin in ["calico", "calico-ipam"] {
        node.script(&format!("on-machine-{plugin}"), &format!("{own}{}'", node.bin().join(plugin).display()));
    }
    let file = node.dir.path().join("nodename");
    let settings = ["nodename", "file", "hostname", "machine-7"];
    for name in settings {
        node.datastore.put_resource("Node", "nodes", name, &json!({}));
    }
    for (count, expect) in settings.into_iter().enumerate() {
        let container = node.container(&format!("cid{count}"));
        // each time one more of the sources, in their order, is missing
        let given = |index: usize| if index < count { "" } else { settings[index] };
        let call = |plugin: &str, command: &str| {
            let call = node.call(command, &container).plugin(&format!("on-machine-{plugin}"));
            let call = call.set("nodename", given(0)).set("hostname", given(2)).set("nodename_file_optional", false);
            call.set("cniVersion", "0.4.0").set("nodename_file", file.display().to_string())
        };
        let _ = fs::remove_file(&file);
        if !given(1).is_empty() {
            fs::write(&file, format!("{}\n", given(1))).expect("a file");
        }
        call("calico-ipam", "ADD").run().success();
        call("calico-ipam", "CHECK").run().success();
        let block = &node.datastore.keys("/ipam/v2/assignment/")[0];
        assert_eq!(node.datastore.json(block)["attributes"][0]["secondary"]["node"], expect);
        call("calico-ipam", "DEL").run().success();
        if given(1).is_empty() {
            for command in ["ADD", "DEL"] {
                let (code, message) = call("calico", command).run().failure();
                assert!(code == 999 && message.starts_with("stat "), "{message}");
            }
        }
        for key in node.datastore.keys("/ipam/v2/") {
            node.datastore.delete(&key);
        }
    }
}

#[test]
fn the_nodes_name_comes_from_its_file() {
    let node = Node::new();
    let container = node.container("cid1");
    let file = node.dir.path().join("nodename");
    fs::write(&file, "node1\n").expect("a file");
    let named = node.call("ADD", &container).set("nodename", "").set("nodename_file", file.display().to_string());
    named.set("nodename_file_optional", false).set("hostname", "other").run().success();
    assert_eq!(node.datastore.keys("default/node1-cni-cid1-eth0").len(), 1);
}
