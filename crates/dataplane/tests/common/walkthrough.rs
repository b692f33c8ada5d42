//! The walkthrough's node `k8s-m`, as intent.

use dataplane::netlink::MONITOR_BUFFER;
use dataplane::{BgpDaemon, Config, TunnelChoice};
use ipnet::Ipv4Net;
use model::desired::{
    Desired, Encapsulation, EndpointToHost, Ipip, Learned, Pool, RuleSettings, Settings, StatusFile, Workload,
};
use model::name::{IfName, NodeName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

/// A dataplane that finds out its tunnel, and puts its files in a directory of the test.
pub(crate) fn config(state: &Path) -> Config {
    Config {
        tunnel: TunnelChoice::Auto,
        state_directory: state.to_owned(),
        status_directory: state.join("endpoint-status"),
        monitor_buffer: MONITOR_BUFFER,
        bgp: BgpDaemon::Agent,
    }
}

/// Reads a literal address.
pub(crate) fn ip(text: &str) -> Ipv4Addr {
    text.parse().expect("a literal address")
}

/// Reads a literal prefix.
pub(crate) fn prefix(text: &str) -> Ipv4Net {
    text.parse().expect("a literal prefix")
}

/// What the datastore asks of `k8s-m`: two workloads, a block, a pool with IPIP and natOutgoing.
pub(crate) fn desired() -> Desired {
    let workload = |address, pod| {
        let status = StatusFile {
            name: format!("k8s default%2F{pod} eth0"),
            content: format!(r#"{{"ipv4Nets":["{address}/32"]}}"#),
        };
        Workload { addresses: BTreeSet::from([ip(address)]), statuses: vec![status], ..Workload::default() }
    };
    let pool = Pool { ipip: Encapsulation::Always, nat_outgoing: true, ..Pool::default() };
    Desired {
        node: NodeName::from("k8s-m"),
        address: Some((ip("192.168.10.10"), prefix("192.168.10.0/24"))),
        workloads: BTreeMap::from([
            (IfName::from("cali1"), workload("172.16.116.1", "pod1")),
            (IfName::from("cali2"), workload("172.16.116.2", "pod2")),
        ]),
        unread_workloads: BTreeSet::new(),
        local_blocks: BTreeSet::from([prefix("172.16.116.0/24")]),
        pools: BTreeMap::from([(prefix("172.16.0.0/16"), pool)]),
        ipip: Some(Ipip { address: Some(ip("172.16.116.0")), mtu: None }),
        hosts: BTreeMap::from([
            (NodeName::from("k8s-m"), ip("192.168.10.10")),
            (NodeName::from("k8s-w1"), ip("192.168.10.101")),
        ]),
        // as in Calico's manifests: pods reach their node
        settings: Settings {
            rules: RuleSettings { endpoint_to_host: EndpointToHost::Accept, ..RuleSettings::default() },
            ..Settings::default()
        },
    }
}

/// What BGP taught: one block of another node.
pub(crate) fn learned() -> Arc<Learned> {
    Arc::new(Learned::from([(prefix("172.16.158.0/24"), ip("192.168.10.101").into())]))
}
