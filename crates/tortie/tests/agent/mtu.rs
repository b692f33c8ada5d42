//! The MTU that pods to come are told to have.

use crate::cluster::{Cluster, SOON, eventually};

#[test]
fn a_node_whose_address_is_on_the_loopback() {
    let cluster = Cluster::new();
    cluster.patch("ippool", "default-ipv4-ippool", r#"{"spec": {"ipipMode": "Never"}}"#);
    let mut one = cluster.host(1);
    one.namespace.ip("link set lo up");
    one.namespace.ip("addr add 10.255.0.1/32 dev lo");
    one.set("IP", "autodetect");
    one.set("IP_AUTODETECTION_METHOD", "interface=lo");
    one.start_agent();
    let has = |mtu: &str| {
        eventually(SOON, || match one.pods_mtu() {
            found if found == mtu => Ok(()),
            found => Err(format!("the file says {found:?}, not {mtu}")),
        });
    };
    one.logs("10.255.0.1/32", SOON);
    has("1500");
    one.namespace.ip("link add eth1 mtu 1400 up type veth peer name other");
    one.namespace.ip("link set other up");
    has("1400");
    cluster.patch("ippool", "default-ipv4-ippool", r#"{"spec": {"ipipMode": "Always"}}"#);
    has("1380");
    cluster.patch("felixconfiguration", "default", r#"{"spec": {"mtuIfacePattern": "^eth0$"}}"#);
    has("1480");
    cluster.patch("felixconfiguration", "default", r#"{"spec": {"mtuIfacePattern": "^none$"}}"#);
    has("1440");
}
