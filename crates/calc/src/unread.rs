//! What the datastore holds and cannot be read: it is not absent, so what was known of it stays.
//!
//! A value of the right form whose words make no sense counts too: an address that is none, a pool without a range.

use crate::tables::Tables;
use api::event::Key;
use api::kind::WorkloadEndpointName;
use api::resource::{Kind, Resource};
use ipnet::{IpNet, Ipv4Net};
use model::name::{IfName, WORKLOAD_PREFIX, container_interface, pod_interface};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// An object that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    pub(crate) why: Why,
    /// Whether the tables have what was known before; if not, what of it makes sense.
    pub(crate) kept: bool,
}

/// Why an object cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its value cannot be decoded; with it, why.
    Value(String),
    /// A field makes no sense; with it, the field and its text.
    Field(String),
}

/// The field of a resource that makes no sense, with its text.
#[expect(clippy::wildcard_enum_match_arm, reason = "nothing is read of the other kinds that could make no sense")]
pub(crate) fn senseless_field(resource: &Resource) -> Option<Why> {
    let (field, text) = match resource {
        Resource::IPPool(pool) => {
            let cidr = &pool.spec.cidr;
            ("cidr", Some(cidr).filter(|cidr| cidr.parse::<IpNet>().is_err()))
        }
        Resource::Node(node) => {
            let address = node.spec.bgp.as_ref().map(|bgp| &bgp.ipv4_address).filter(|text| !text.is_empty());
            ("bgp.ipv4Address", address.filter(|text| interface_address(text).is_none()))
        }
        Resource::WorkloadEndpoint(endpoint) => {
            let interface = Some(&endpoint.spec.interface_name).filter(|name| !is_workload_interface(name));
            match interface {
                Some(interface) => ("interfaceName", Some(interface)),
                None => ("ipNetworks", endpoint.spec.ip_networks.iter().find(|text| text.parse::<IpNet>().is_err())),
            }
        }
        _ => return None,
    };
    text.map(|text| Why::Field(format!("spec.{field} {text:?}")))
}

/// Whether a name may stand in rules, and is of a workload's interface or not said yet: others' interfaces are not to be
/// set up as workloads', and blanks or wildcards would be read as more than a name.
fn is_workload_interface(name: &str) -> bool {
    let harmless = name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    name.is_empty() || (name.starts_with(WORKLOAD_PREFIX) && name.len() <= IfName::MAX && harmless)
}

/// Reads an address with or without prefix length; without, it is its own subnet.
pub(crate) fn interface_address(text: &str) -> Option<Ipv4Net> {
    text.parse().ok().or_else(|| text.parse::<Ipv4Addr>().ok().map(Ipv4Net::from))
}

impl Tables {
    /// A line for each object that cannot be read and concerns the node.
    pub(crate) fn unread_problems(&self, node: &str) -> Vec<String> {
        let concerned = self.unread.iter().filter(|(key, _)| self.concerns(key, node));
        let line = |(key, unread): (&Key, &Unread)| {
            let what = match &unread.why {
                Why::Value(reason) => format!("{}: cannot be read: {reason}", named(key)),
                Why::Field(field) => format!("{}: {field}: cannot be read", named(key)),
            };
            let fate = match unread.why {
                _ if unread.kept => "what was known of it stays",
                Why::Value(_) if interface_of(key, node).is_some() => "its interface stays as it is",
                Why::Value(_) if matches!(key, Key::Block(_)) => "its affinity says that it is this node's",
                Why::Value(_) => "nothing is known of it",
                Why::Field(_) => "it is left out",
            };
            format!("{what}; {fate}")
        };
        concerned.map(line).collect()
    }

    /// The interfaces of local endpoints of which nothing is known but their names.
    pub(crate) fn unread_workloads(&self, node: &str) -> BTreeSet<IfName> {
        let unknown = self.unread.iter().filter(|(_, unread)| !unread.kept);
        unknown.filter_map(|(key, _)| interface_of(key, node)).collect()
    }

    fn concerns(&self, key: &Key, node: &str) -> bool {
        match key {
            Key::Resource { kind: Kind::WorkloadEndpoint, name, .. } => {
                self.endpoints.contains_key(key) || WorkloadEndpointName::parse(name).map_or(true, |it| it.node == node)
            }
            Key::Resource { kind: Kind::FelixConfiguration, name, .. } => {
                name == "default" || *name == format!("node.{node}")
            }
            Key::Resource { .. } => true,
            Key::Block(IpNet::V4(cidr)) => self.is_local_block(cidr),
            Key::Affinity { owner, block: IpNet::V4(_), .. } => owner == node,
            Key::Block(_) | Key::Affinity { .. } | Key::Handle(_) | Key::IpamConfig | Key::Ready => false,
        }
    }
}

/// The host's interface of an endpoint, where its name tells it.
fn interface_of(key: &Key, node: &str) -> Option<IfName> {
    let Key::Resource { kind: Kind::WorkloadEndpoint, namespace, name } = key else { return None };
    let name = WorkloadEndpointName::parse(name).ok().filter(|name| name.node == node)?;
    match name.orchestrator.as_str() {
        "k8s" => Some(pod_interface(namespace, &name.workload)),
        "cni" => Some(container_interface(&name.workload)),
        _ => None,
    }
}

/// How problems name a key.
fn named(key: &Key) -> String {
    match key {
        Key::Resource { kind, namespace, name } => {
            let within = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
            format!("{} {within}{name}", kind.name().to_lowercase())
        }
        Key::Block(cidr) => format!("block {cidr}"),
        Key::Affinity { owner, block, .. } => format!("affinity of {owner} for block {block}"),
        Key::Handle(_) | Key::IpamConfig | Key::Ready => format!("{key:?}"),
    }
}
