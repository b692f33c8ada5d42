//! `datastore migrate export`, in the form that was recorded.

use super::{Shell, pool};

const NODE: &str = "
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: host-1}
spec:
  orchRefs: [{nodeName: k1, orchestrator: k8s}]
";

const NAMED: &str = "
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: node.host-1}
spec: {logSeverityScreen: Debug}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: own, namespace: web}
spec: {selector: all()}
";

const BLOCK: &str = r#"{"cidr":"10.1.0.0/30","affinity":"host:host-1","allocations":[0,null,null,null],"unallocated":[1,2,3],"attributes":[{"handle_id":"ipip-tunnel-addr-host-1","secondary":{"node":"host-1","type":"ipipTunnelAddress"}}],"sequenceNumber":4,"sequenceNumberForAllocation":{"0":3},"deleted":false}"#;

#[test]
fn what_a_cluster_is_with_the_nodes_names_in_kubernetes() {
    let shell = Shell::new();
    shell.run("create -f -", &pool("p", "10.1.0.0/16"));
    let refused =
        "datastore is not locked. Run the `calicoctl datastore migrate lock` command in order to begin migration\n";
    shell.fails("datastore migrate export", "", refused);
    shell.run("create -f -", NODE);
    assert_eq!(shell.run("create -f -", NAMED).stdout, "Successfully created 2 resource(s)\n");
    let put = |path: &str, value: &str| shell.store.put_raw(&format!("/calico/{path}"), value.as_bytes());
    put(
        "resources/v3/projectcalico.org/networkpolicies/web/knp.default.of-kubernetes",
        r#"{"kind":"NetworkPolicy","apiVersion":"projectcalico.org/v3","metadata":{"name":"knp.default.of-kubernetes","namespace":"web"},"spec":{}}"#,
    );
    put("ipam/v2/assignment/ipv4/block/10.1.0.0-30", BLOCK);
    put("ipam/v2/host/host-1/ipv4/block/10.1.0.0-30", r#"{"state":"confirmed","deleted":false}"#);
    put("ipam/v2/handle/ipip-tunnel-addr-host-1", r#"{"block":{"10.1.0.0/30":1},"deleted":false}"#);
    shell.run("datastore migrate lock", "");
    let output = shell.run("datastore migrate export", "");
    assert_eq!((output.stderr.as_str(), output.code), ("", 0));
    let parts: Vec<&str> = output.stdout.split("===\n").collect();
    let [resources, information, ipam] = parts.as_slice() else { panic!("three parts: {parts:?}") };
    let lists: Vec<&str> = resources.split("---\n").collect();
    assert_eq!(lists.len(), 18, "17 kinds, each with a separator after it");
    let first = "apiVersion: projectcalico.org/v3\nitems:\n- apiVersion: projectcalico.org/v3\n  kind: IPPool\n  metadata:\n    \
                 name: p\n  spec:\n    allowedUses:\n    - Workload\n    - Tunnel\n    assignmentMode: Automatic\n    \
                 blockSize: 26\n    cidr: 10.1.0.0/16\n    ipipMode: Never\n    nodeSelector: all()\n    vxlanMode: \
                 Never\nkind: IPPoolList\nmetadata:\n  resourceVersion: ";
    assert!(lists[0].starts_with(first), "{}", lists[0]);
    assert!(lists[1].starts_with("apiVersion: projectcalico.org/v3\nitems: []\nkind: BGPPeerList\n"), "{}", lists[1]);
    assert!(lists[12].contains("    name: k1\n") && !lists[12].contains("name: host-1"), "{}", lists[12]);
    assert!(lists[14].contains("    name: node.k1\n"), "{}", lists[14]);
    assert!(lists[8].contains("name: own") && !lists[8].contains("of-kubernetes"), "{}", lists[8]);
    assert!(information.starts_with("{\n  \"kind\": \"ClusterInformation\",\n  \"apiVersion\": "), "{information}");
    assert!(information.contains("    \"datastoreReady\": false\n"), "{information}");
    let ipam: serde_json::Value = serde_json::from_str(ipam).expect("JSON");
    assert_eq!(ipam["block_affinities"][0]["Key"], "/calico/ipam/v2/host/k1/ipv4/block/10.1.0.0-30");
    assert_eq!(ipam["handles"][0]["Key"], "/calico/ipam/v2/handle/ipip-tunnel-addr-k1");
    let block = &ipam["blocks"][0];
    assert_eq!(
        (&block["Key"], &block["TTL"]),
        (&"/calico/ipam/v2/assignment/ipv4/block/10.1.0.0-30".into(), &0.into())
    );
    assert_eq!(block["Value"]["affinity"], "host:k1");
    assert_eq!(block["Value"]["attributes"][0]["handle_id"], "ipip-tunnel-addr-k1");
    assert_eq!(block["Value"]["attributes"][0]["secondary"]["node"], "k1");
}

#[test]
fn a_node_without_a_name_in_kubernetes_is_named() {
    let shell = Shell::new();
    let node = "apiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {name: host-1}\n";
    shell.run("create -f -", node);
    shell.run("datastore migrate lock", "");
    let expect = "node host-1 missing a 'k8s' orchestrator reference. Unable to export data unless every node has a 'k8s' \
                  orchestrator reference\n";
    shell.fails("datastore migrate export", "", expect);
}
