//! Network policy, which no agent enforces: it does not start where some is, and says so where some appears.

use crate::cluster::{Cluster, SOON};
use crate::host::Host;
use api::event::{Key, Object};
use api::resource::{Kind, Resource};
use serde_json::{Value, json};

const FLAG: &str = "TORTIE_RUN_WITHOUT_ENFORCING_POLICY";

/// Puts an object into the datastore as Calico's client does.
fn put(cluster: &Cluster, kind: Kind, namespace: &str, name: &str, spec: Value) {
    let key = Key::namespaced(kind, namespace, name);
    let metadata = json!({"name": name, "namespace": namespace});
    let body = json!({"kind": kind.name(), "apiVersion": "projectcalico.org/v3", "metadata": metadata, "spec": spec});
    let object = Object::Resource(Resource::decode(kind, body).expect("an object"));
    cluster.with_store(async |store| store.create(&key, &object).await).expect("a new object");
}

fn delete(cluster: &Cluster, kind: Kind, namespace: &str, name: &str) {
    let key = Key::namespaced(kind, namespace, name);
    cluster.with_store(async |store| store.delete(&key, None).await).expect("an object");
}

/// What a start is refused for, between "some: " and the advice; nothing may have been changed.
fn refusal(cluster: &Cluster, host: &Host) -> String {
    let nodes = cluster.ctl(&["get", "nodes"], "");
    let links = host.namespace.ip("link");
    let text = host.refused();
    assert_eq!(cluster.ctl(&["get", "nodes"], ""), nodes);
    assert_eq!(host.namespace.ip("link"), links);
    let (_, words) = text.split_once("network policy is not enforced yet, and this node has some: ").expect(&text);
    let (words, advice) = words.split_once(". What it forbids would be allowed: ").expect(&text);
    assert!(advice.contains("--run-without-enforcing-policy") && advice.contains(FLAG), "{text}");
    words.to_owned()
}

#[test]
fn an_agent_does_not_start_where_the_datastore_asks_for_policy() {
    let cluster = Cluster::new();
    let mut one = cluster.host(1);
    put(&cluster, Kind::HostEndpoint, "", "n2-eth0", json!({"node": "n2", "interfaceName": "eth0"}));
    put(&cluster, Kind::NetworkPolicy, "web", "knp.default.deny", json!({"types": ["Ingress"]}));
    assert_eq!(refusal(&cluster, &one), "in the datastore NetworkPolicy web/knp.default.deny");
    put(&cluster, Kind::HostEndpoint, "", "n1-eth0", json!({"node": "n1", "interfaceName": "eth0"}));
    for number in 0..12 {
        put(&cluster, Kind::GlobalNetworkPolicy, "", &format!("deny-{number:02}"), json!({}));
    }
    let said = refusal(&cluster, &one);
    let expect = "in the datastore GlobalNetworkPolicy deny-00, GlobalNetworkPolicy deny-01, ";
    assert!(said.starts_with(expect) && said.ends_with("GlobalNetworkPolicy deny-09 and 4 more"), "{said}");
    one.set(FLAG, "true");
    one.start_agent();
    one.logs("this node is registered", SOON);
    one.logs("as it was told to, this agent runs without enforcing policy: in the datastore", SOON);
    one.shows(&["node", "status"], &["WARNING: network policy is not enforced", "GlobalNetworkPolicy deny-00"], SOON);
}

#[test]
fn an_agent_does_not_start_where_calicos_bpf_dataplane_is_on() {
    let cluster = Cluster::new();
    let mut one = cluster.host(1);
    let expect = "in the datastore Calico's BPF dataplane (bpfEnabled)";
    for name in ["default", "node.n1"] {
        cluster.apply(&format!(
            "{{apiVersion: projectcalico.org/v3, kind: FelixConfiguration, metadata: {{name: {name}}}, \
             spec: {{bpfEnabled: true}}}}"
        ));
        assert_eq!(refusal(&cluster, &one), expect);
        cluster.ctl(&["delete", "felixconfiguration", name], "");
    }
    one.set("FELIX_BPFENABLED", "true");
    assert_eq!(refusal(&cluster, &one), expect);
    one.set("FELIX_BPFENABLED", "false");
    one.start_agent();
    one.logs("this node is registered", SOON);
}

#[test]
fn an_agent_without_bgp_says_so_too() {
    let cluster = Cluster::new();
    let mut one = cluster.host(1);
    one.set("CALICO_NETWORKING_BACKEND", "none");
    one.start_agent();
    one.logs("this node is registered", SOON);
    put(&cluster, Kind::GlobalNetworkPolicy, "", "deny", json!({}));
    let words = "network policy is not enforced, and what it forbids is allowed: GlobalNetworkPolicy deny";
    one.logs(words, SOON);
    one.shows(&["node", "status"], &["WARNING: ", words], SOON);
    let text = one.ctl(&["node", "status"]).expect("a status");
    assert!(text.contains("The BGP backend process (BIRD) is not running."), "{text}");
}

#[test]
fn policy_that_appears_is_told_and_the_agent_goes_on() {
    let cluster = Cluster::new();
    let (mut one, _two) = cluster.pair();
    put(&cluster, Kind::NetworkPolicy, "web", "deny", json!({"types": ["Ingress"]}));
    let words = "network policy is not enforced, and what it forbids is allowed: NetworkPolicy web/deny";
    one.logs(words, SOON);
    one.shows(&["node", "status"], &["WARNING: ", words], SOON);
    assert!(one.log().lines().any(|line| line.contains("ERROR") && line.contains(words)), "{}", one.log());
    one.established(&["Mesh_192_168_10_2"], SOON);
    one.reaches("172.16.1.9", "172.16.2.9");
    assert!(one.agent().runs());
    delete(&cluster, Kind::NetworkPolicy, "web", "deny");
    crate::cluster::eventually(SOON, || match one.ctl(&["node", "status"])? {
        text if text.contains("WARNING") => Err(text),
        _ => Ok(()),
    });
}
