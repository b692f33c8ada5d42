//! The shape of a lab: pools, subnets, nodes, the host outside, and what the cluster runs on.
//!
//! A topology is a YAML document. Reading it reports every mistake at once, each with the field and the reason.
//! The default one is compiled in; `lab topology --help` tells of every field that it does not show.

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

mod router;

pub(crate) use router::DEFAULT_AS;
pub use router::{Kind, Router};

/// The topology that `lab up` builds when no file is given, as text.
pub const DEFAULT: &str = include_str!("topology.yaml");

/// A whole lab.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Topology {
    /// IP pools that the cluster starts with.
    pub pools: Vec<Pool>,
    /// Networks that nodes stand in, each a bridge with the router as gateway.
    pub subnets: Vec<Subnet>,
    /// Nodes, in the order in which they are started and listed.
    pub nodes: Vec<Node>,
    /// Routers that speak BGP, each a host beside the nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routers: Vec<Router>,
    /// AS number of the nodes that name none: the cluster's own, `asNumber` of the default BGPConfiguration.
    #[serde(default = "router::default_as")]
    pub node_as: u32,
    /// The host beyond the router.
    pub outside: Outside,
    /// The server of the datastore.
    #[serde(default)]
    pub datastore: Datastore,
    /// How the agents write packet rules.
    #[serde(default)]
    pub dataplane: Dataplane,
    /// Variables that agents and the datastore's server are started with, besides what the lab tells them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
}

/// An IPPool resource to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Pool {
    /// The resource's name.
    pub name: String,
    /// The pool's range.
    pub cidr: Ipv4Net,
    /// Prefix length of a block, 20 to 32.
    #[serde(default = "default_block_size")]
    pub block_size: u8,
    /// When IPIP carries the pool's packets: `Always`, `CrossSubnet` or `Never`.
    #[serde(default)]
    pub ipip_mode: Encapsulation,
    /// When VXLAN does.
    #[serde(default)]
    pub vxlan_mode: Encapsulation,
    /// Whether packets to destinations outside all pools leave with the node's address.
    #[serde(default)]
    pub nat_outgoing: bool,
    /// Whether the pool gives no addresses.
    #[serde(default)]
    pub disabled: bool,
}

fn default_block_size() -> u8 {
    26
}

/// When a pool's packets travel in a tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encapsulation {
    /// Between any two nodes.
    Always,
    /// Between nodes of different subnets.
    CrossSubnet,
    /// Never.
    #[default]
    Never,
}

/// A network of nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    /// Its range.
    pub cidr: Ipv4Net,
    /// The router's address in it.
    pub gateway: Ipv4Addr,
    /// MTU of the router's link into it; the nodes' own links are as wide as ever.
    ///
    /// What is larger the router answers with ICMP, or cuts where it may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
}

/// A machine of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Host name and name of the Node resource.
    pub name: String,
    /// Address of its uplink, in one of the subnets.
    pub address: Ipv4Addr,
    /// Which form `tunl0` takes on it.
    #[serde(default)]
    pub tunl0: Tunl0,
    /// Its AS number, where it is another than the cluster's: `spec.bgp.asNumber` of the Node resource.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub as_number: Option<u32>,
    /// MTU of its uplink, at both ends.
    ///
    /// What neighbours send beyond it is lost without a word, as on a switch; the router sends no larger packet into
    /// the node's subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
}

/// The form of a node's IPIP device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tunl0 {
    /// The kernel's device where the kernel has one, else the BPF tunnel.
    #[default]
    Auto,
    /// The kernel's device.
    Kernel,
    /// The BPF tunnel.
    Bpf,
}

/// The host outside, which has no route back to any pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outside {
    /// Its host name.
    pub name: String,
    /// Its address, in a /24 of its own.
    pub address: Ipv4Addr,
}

/// What serves the datastore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Datastore {
    /// `tortie store`, on a unix socket.
    #[default]
    Store,
    /// The machine's `etcd`, over TCP on the first gateway.
    Etcd,
}

/// How packet rules reach the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dataplane {
    /// iptables and ipset.
    #[default]
    Iptables,
    /// nftables.
    Nftables,
}

impl fmt::Display for Tunl0 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tunl0::Auto => "auto",
            Tunl0::Kernel => "kernel",
            Tunl0::Bpf => "bpf",
        })
    }
}

/// Why a text is no topology: every mistake found, one per line.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Invalid(pub Vec<String>);

impl Topology {
    /// Reads and checks a YAML document.
    pub fn parse(text: &str) -> Result<Topology, Invalid> {
        let topology: Topology =
            serde_saphyr::from_str(text).map_err(|error| Invalid(vec![error.to_string().trim_end().to_owned()]))?;
        let mistakes = topology.mistakes();
        if mistakes.is_empty() { Ok(topology) } else { Err(Invalid(mistakes)) }
    }

    /// Returns the walkthrough's cluster.
    pub fn walkthrough() -> Topology {
        Topology::parse(DEFAULT).expect("the compiled-in topology is checked by a test")
    }

    /// Returns the subnet that an uplink's address lies in.
    pub fn subnet_of(&self, address: Ipv4Addr) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.cidr.contains(&address))
    }

    /// Returns a node's AS number.
    pub fn as_of(&self, node: &Node) -> u32 {
        node.as_number.unwrap_or(self.node_as)
    }

    /// Names of the hosts that run programs of their own: nodes, then routers.
    pub(crate) fn machines(&self) -> impl Iterator<Item = &str> {
        let nodes = self.nodes.iter().map(|node| node.name.as_str());
        nodes.chain(self.routers.iter().map(|router| router.name.as_str()))
    }

    /// Returns the network between the router and the host outside, and the router's address in it.
    pub fn outside_link(&self) -> (Ipv4Net, Ipv4Addr) {
        let net = Ipv4Net::new(self.outside.address, 24).expect("24 is a prefix length").trunc();
        let first = net.hosts().find(|address| *address != self.outside.address);
        (net, first.expect("a /24 has more than one host"))
    }

    fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        self.check_pools(&mut mistakes);
        self.check_subnets(&mut mistakes);
        self.check_hosts(&mut mistakes);
        self.check_mtus(&mut mistakes);
        self.check_routers(&mut mistakes);
        let (outside, _) = self.outside_link();
        for (index, subnet) in self.subnets.iter().enumerate() {
            if overlap(&subnet.cidr, &outside) {
                mistakes.push(format!(
                    "outside.address {}: its network {outside} overlaps subnets[{index}].cidr {}",
                    self.outside.address, subnet.cidr
                ));
            }
        }
        for (index, pool) in self.pools.iter().enumerate() {
            if pool.cidr.contains(&self.outside.address) {
                mistakes.push(format!(
                    "outside.address {}: lies in pools[{index}].cidr {}",
                    self.outside.address, pool.cidr
                ));
            }
        }
        mistakes
    }

    fn check_pools(&self, mistakes: &mut Vec<String>) {
        for (index, pool) in self.pools.iter().enumerate() {
            let at = format!("pools[{index}]");
            if !is_dns_name(&pool.name) {
                mistakes.push(format!("{at}.name {:?}: must be a DNS name in lower case", pool.name));
            }
            if pool.cidr != pool.cidr.trunc() {
                mistakes.push(format!("{at}.cidr {}: has host bits, {} has none", pool.cidr, pool.cidr.trunc()));
            }
            // IPPool's own limits, told before anything is built; the lab sees no resource
            if !(20..=32).contains(&pool.block_size) {
                mistakes.push(format!("{at}.blockSize {}: must be 20 to 32", pool.block_size));
            } else if pool.cidr.prefix_len() > pool.block_size {
                mistakes.push(format!(
                    "{at}.cidr {}: the pool is smaller than one block of /{}",
                    pool.cidr, pool.block_size
                ));
            }
            if pool.ipip_mode != Encapsulation::Never && pool.vxlan_mode != Encapsulation::Never {
                mistakes.push(format!("{at}: ipipMode and vxlanMode exclude each other"));
            }
            for (other_index, other) in self.pools.iter().enumerate().take(index) {
                if overlap(&pool.cidr, &other.cidr) {
                    mistakes
                        .push(format!("{at}.cidr {}: overlaps pools[{other_index}].cidr {}", pool.cidr, other.cidr));
                }
                if pool.name == other.name {
                    mistakes.push(format!("{at}.name {:?}: is also the name of pools[{other_index}]", pool.name));
                }
            }
            for (subnet_index, subnet) in self.subnets.iter().enumerate() {
                if overlap(&pool.cidr, &subnet.cidr) {
                    mistakes.push(format!(
                        "{at}.cidr {}: overlaps subnets[{subnet_index}].cidr {}",
                        pool.cidr, subnet.cidr
                    ));
                }
            }
        }
    }

    fn check_subnets(&self, mistakes: &mut Vec<String>) {
        if self.subnets.is_empty() {
            mistakes.push("subnets: must not be empty".to_owned());
        }
        for (index, subnet) in self.subnets.iter().enumerate() {
            let at = format!("subnets[{index}]");
            if subnet.cidr != subnet.cidr.trunc() {
                mistakes.push(format!("{at}.cidr {}: has host bits, {} has none", subnet.cidr, subnet.cidr.trunc()));
            }
            if subnet.cidr.prefix_len() > 30 {
                mistakes.push(format!("{at}.cidr {}: has no room for a gateway and a node", subnet.cidr));
            } else if !is_host(&subnet.cidr, subnet.gateway) {
                mistakes.push(format!("{at}.gateway {}: is no host address of {}", subnet.gateway, subnet.cidr));
            }
            for (other_index, other) in self.subnets.iter().enumerate().take(index) {
                if overlap(&subnet.cidr, &other.cidr) {
                    mistakes.push(format!(
                        "{at}.cidr {}: overlaps subnets[{other_index}].cidr {}",
                        subnet.cidr, other.cidr
                    ));
                }
            }
        }
    }

    fn check_mtus(&self, mistakes: &mut Vec<String>) {
        let subnets = self.subnets.iter().enumerate().map(|(index, subnet)| (format!("subnets[{index}]"), subnet.mtu));
        let nodes = self.nodes.iter().enumerate().map(|(index, node)| (format!("nodes[{index}]"), node.mtu));
        for (at, mtu) in subnets.chain(nodes).filter_map(|(at, mtu)| Some((at, mtu?))) {
            if mtu < SMALLEST_MTU {
                mistakes.push(format!("{at}.mtu {mtu}: must be {SMALLEST_MTU} to {}", u16::MAX));
            }
        }
    }

    fn check_hosts(&self, mistakes: &mut Vec<String>) {
        if self.nodes.is_empty() {
            mistakes.push("nodes: must not be empty".to_owned());
        }
        let mut names = BTreeSet::from(["router"]);
        let mut addresses = BTreeSet::new();
        for (at, name) in
            (self.nodes.iter().enumerate().map(|(index, node)| (format!("nodes[{index}].name"), &node.name)))
                .chain([("outside.name".to_owned(), &self.outside.name)])
                .chain(self.routers.iter().enumerate().map(|(index, it)| (format!("routers[{index}].name"), &it.name)))
        {
            if !is_dns_name(name) || name.len() > 64 {
                mistakes.push(format!("{at} {name:?}: must be a DNS name in lower case of at most 64 characters"));
            }
            if !names.insert(name) {
                mistakes.push(format!("{at} {name:?}: is taken"));
            }
        }
        let nodes = self.nodes.iter().enumerate().map(|(index, node)| (format!("nodes[{index}]"), node.address));
        let routers = self.routers.iter().enumerate().map(|(index, it)| (format!("routers[{index}]"), it.address));
        for (at, address) in nodes.chain(routers) {
            let at = format!("{at}.address {address}");
            if !addresses.insert(address) {
                mistakes.push(format!("{at}: is taken by another node or router"));
            }
            match self.subnet_of(address) {
                None => mistakes.push(format!("{at}: is in none of the subnets")),
                Some(subnet) if subnet.gateway == address => mistakes.push(format!("{at}: is the gateway's")),
                Some(subnet) if !is_host(&subnet.cidr, address) => {
                    mistakes.push(format!("{at}: is no host address of {}", subnet.cidr));
                }
                Some(_) => {}
            }
        }
    }
}

/// What every host has to take (RFC 791 §3.1).
const SMALLEST_MTU: u16 = 576;

fn overlap(one: &Ipv4Net, other: &Ipv4Net) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

fn is_host(net: &Ipv4Net, address: Ipv4Addr) -> bool {
    net.contains(&address) && address != net.network() && address != net.broadcast()
}

/// Tells whether a name is a DNS-1123 subdomain, the form of Kubernetes' node and pod names.
pub(crate) fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests;
