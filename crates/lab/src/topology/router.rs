//! Routers of a topology: hosts that run a BGP program of others, and what their fields may be.
//!
//! Not the machine `router`, which stands between the subnets. Names and addresses are checked with the nodes'.

use super::{Topology, overlap};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;

/// A host that runs another BGP program, with a session to every node that has a BGPPeer for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Router {
    /// Its host name.
    pub name: String,
    /// Which program it runs.
    pub kind: Kind,
    /// Address of its uplink, in one of the subnets.
    pub address: Ipv4Addr,
    /// Its AS number.
    #[serde(rename = "as")]
    pub as_number: u32,
    /// Prefixes that it announces; it has the first host address of each.
    #[serde(default)]
    pub networks: Vec<Ipv4Net>,
    /// TCP-MD5 password of all its sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Whether it reflects routes between the nodes of its own AS.
    #[serde(default)]
    pub reflector: bool,
    /// Hold time that it proposes, in seconds.
    #[serde(default = "default_hold_time")]
    pub hold_time: u16,
}

/// A BGP program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// BIRD 1.6.
    Bird,
    /// BIRD 2.
    Bird2,
    /// FRR's zebra and bgpd.
    Frr,
    /// GoBGP; it has no routes in its kernel.
    Gobgp,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Bird => "bird",
            Kind::Bird2 => "bird2",
            Kind::Frr => "frr",
            Kind::Gobgp => "gobgp",
        })
    }
}

/// What Calico takes for a cluster that names none.
pub(crate) const DEFAULT_AS: u32 = 64512;

pub(super) fn default_as() -> u32 {
    DEFAULT_AS
}

fn default_hold_time() -> u16 {
    90
}

/// The longest key the kernel signs with, in bytes (`TCP_MD5SIG_MAXKEYLEN`).
const LONGEST_PASSWORD: usize = 80;

impl Router {
    /// Returns the addresses behind it, one in each of its networks.
    pub fn own_addresses(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.networks.iter().filter_map(|network| network.hosts().next())
    }
}

impl Topology {
    /// Names what is wrong with fields that only routers and AS numbers have; names and addresses are every host's.
    pub(super) fn check_routers(&self, mistakes: &mut Vec<String>) {
        if self.node_as == 0 {
            mistakes.push(format!("nodeAs 0: {NO_AS}"));
        }
        for (index, node) in self.nodes.iter().enumerate() {
            if node.as_number == Some(0) {
                mistakes.push(format!("nodes[{index}].as 0: {NO_AS}"));
            }
        }
        for (index, router) in self.routers.iter().enumerate() {
            let at = format!("routers[{index}]");
            if router.as_number == 0 {
                mistakes.push(format!("{at}.as 0: {NO_AS}"));
            }
            // RFC 4271 §4.2; GoBGP takes 0, which is "for ever", for its default
            if router.hold_time < 3 {
                mistakes.push(format!("{at}.holdTime {}: must be 3 to {} seconds", router.hold_time, u16::MAX));
            }
            if let Some(password) = &router.password
                && !is_password(password)
            {
                mistakes.push(format!(
                    "{at}.password: must be 1 to {LONGEST_PASSWORD} printable ASCII characters without blanks, quotes, # and backslashes"
                ));
            }
            if router.reflector && self.nodes.iter().all(|node| self.as_of(node) != router.as_number) {
                mistakes.push(format!("{at}.reflector: no node is in its AS {}", router.as_number));
            }
            for (number, network) in router.networks.iter().enumerate() {
                self.check_network(&format!("{at}.networks[{number}] {network}"), network, mistakes);
            }
        }
    }

    fn check_network(&self, at: &str, network: &Ipv4Net, mistakes: &mut Vec<String>) {
        if *network != network.trunc() {
            mistakes.push(format!("{at}: has host bits, {} has none", network.trunc()));
        }
        let (outside, _) = self.outside_link();
        let subnets = self.subnets.iter().enumerate().map(|(index, it)| (format!("subnets[{index}].cidr"), it.cidr));
        let pools = self.pools.iter().enumerate().map(|(index, it)| (format!("pools[{index}].cidr"), it.cidr));
        let others = subnets.chain(pools).chain([("outside.address's network".to_owned(), outside)]);
        for (name, other) in others.filter(|(_, other)| overlap(network, other)) {
            mistakes.push(format!("{at}: overlaps {name} {other}"));
        }
    }
}

/// Why an AS number may not be 0 (RFC 7607).
const NO_AS: &str = "must be 1 to 4294967295";

/// Tells whether every program's configuration can carry the password as it is.
fn is_password(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\' | b'#');
    (1..=LONGEST_PASSWORD).contains(&text.len()) && text.bytes().all(fits)
}
