//! Links as the kernel has them, and the parameters that workloads' interfaces and the node need.
//!
//! The CNI plugin sets most of them when it makes an interface; here they are kept, and given to interfaces that
//! something else made. Nothing is deleted but permanent neighbours: with one, the node never asks for the pod.
//!
//! The rules are for IPv4 alone, so the interface of a workload without IPv6 addresses has no IPv6 either: else the pod
//! would reach its node over link-local addresses, and, where the node has a way, send IPv6 packets of any source out.

use crate::apply::Affected;
use crate::netlink::{Error, Link, Netlink};
use crate::rules::Standing;
use crate::sysctl::{self, SysctlError, Written};
use model::desired::Ipv6;
use model::name::{IfName, WORKLOAD_PREFIX};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The namespace's links at one moment.
#[derive(Clone, Debug, Default)]
pub struct Links {
    by_index: BTreeMap<u32, Link>,
    /// Looked up for every workload in every apply, and never gone through.
    indices: HashMap<IfName, u32>,
    /// Whether all could be read.
    complete: bool,
}

impl Links {
    /// Lists the namespace's links.
    pub fn read(netlink: &mut Netlink) -> Result<Links, Error> {
        let listing = netlink.list_links()?;
        let by_index: BTreeMap<u32, Link> = listing.objects.into_iter().map(|link| (link.index, link)).collect();
        let indices = by_index.values().map(|link| (link.name.clone(), link.index)).collect();
        Ok(Links { by_index, indices, complete: listing.complete })
    }

    /// Tells whether what is not here is not there: no link was unreadable.
    pub fn are_complete(&self) -> bool {
        self.complete
    }

    /// Finds a link by name.
    pub fn named(&self, name: &IfName) -> Option<&Link> {
        self.by_index.get(self.indices.get(name)?)
    }

    /// Finds a link by the kernel's number.
    pub fn numbered(&self, index: u32) -> Option<&Link> {
        self.by_index.get(&index)
    }

    /// Names a link for an operator, one that is gone by its number.
    pub fn name_of(&self, index: u32) -> String {
        self.numbered(index).map_or_else(|| format!("if{index}"), |link| link.name.0.clone())
    }

    /// Lists the links.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Link> {
        self.by_index.values()
    }

    /// Lists the links that have workloads' names.
    pub fn workloads(&self) -> impl Iterator<Item = &Link> {
        self.by_index.values().filter(|link| link.name.0.starts_with(WORKLOAD_PREFIX))
    }

    /// Tells whether the number is that of a workload's interface, by its name alone.
    pub fn is_workload(&self, index: u32) -> bool {
        self.numbered(index).is_some_and(|link| link.name.0.starts_with(WORKLOAD_PREFIX))
    }
}

/// What closes a workload's interface; `{}` is its name. Before what opens it: no router may be learned before forwarding.
const CLOSING: (&str, &str) = ("net/ipv6/conf/{}/accept_ra", "0");
/// No IPv6 packet comes in or goes out by an interface that has it set.
const DISABLE_IPV6: &str = "net/ipv6/conf/{}/disable_ipv6";
/// What lets packets through a workload's interface.
const OPENING: [(&str, &str); 6] = [
    ("net/ipv4/conf/{}/route_localnet", "1"),
    ("net/ipv4/neigh/{}/proxy_delay", "0"),
    ("net/ipv4/conf/{}/proxy_arp", "1"),
    ("net/ipv4/conf/{}/forwarding", "1"),
    ("net/ipv6/conf/{}/proxy_ndp", "1"),
    ("net/ipv6/conf/{}/forwarding", "1"),
];

/// What the node needs to route at all.
const NODE_SYSCTLS: [(&str, &str); 2] = [("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1")];

/// Makes the node forward packets; returns how many parameters it wrote.
pub fn enable_forwarding() -> Result<usize, SysctlError> {
    let mut writes = 0;
    for (key, value) in NODE_SYSCTLS {
        writes += write_if_supported(key, value)?;
    }
    Ok(writes)
}

/// Tells whether the node forwards packets of either family.
pub fn forwards() -> bool {
    NODE_SYSCTLS.iter().any(|(key, value)| sysctl::read(key).is_ok_and(|read| read == *value))
}

/// Makes the node forward no packets; returns how many parameters it wrote.
pub fn disable_forwarding() -> Result<usize, SysctlError> {
    let mut writes = 0;
    for (key, _) in NODE_SYSCTLS {
        writes += write_if_supported(key, "0")?;
    }
    Ok(writes)
}

/// Keeps workloads' interfaces as they should be.
#[derive(Debug, Default)]
pub struct WorkloadLinks {
    /// Links done, by number, since one made anew has another; each with what its parameters were chosen by.
    configured: BTreeMap<u32, (Ipv6, Standing)>,
}

impl WorkloadLinks {
    /// Forgets what was done, so that the next [`apply`](WorkloadLinks::apply) finds drift.
    pub fn invalidate(&mut self) {
        self.configured.clear();
    }

    /// Forgets what was done to the link with this index.
    pub fn forget(&mut self, link: u32) {
        self.configured.remove(&link);
    }

    /// Configures each interface that came up since; returns how much was written, and what failed.
    ///
    /// While no packet rules stand, only what closes an interface is written.
    pub fn apply<'a>(
        &mut self,
        netlink: &mut Netlink,
        links: &Links,
        workloads: impl Iterator<Item = (&'a IfName, Ipv6)>,
        rules: Standing,
    ) -> (usize, Vec<(Affected, String)>) {
        let links = workloads.filter_map(|(name, ipv6)| Some((links.named(name)?, (ipv6, rules))));
        let up = links.filter(|(link, _)| link.is_up());
        let (done, new): (Vec<_>, Vec<_>) = up.partition(|(link, by)| self.configured.get(&link.index) == Some(by));
        self.configured = done.iter().map(|(link, by)| (link.index, *by)).collect();
        let (mut writes, mut failures) = (0, Vec::new());
        for (link, by) in &new {
            match configure(&link.name, *by) {
                Ok(count) => {
                    writes += count;
                    self.configured.insert(link.index, *by);
                }
                // it went away while we looked; its end will be announced
                Err(error) if error.is_missing() => {}
                Err(error) => failures.push((Affected::Link(link.name.clone()), error.to_string())),
            }
        }
        if !new.is_empty()
            && let Err(error) = forget_permanent_neighbours(netlink, &new.iter().map(|(link, _)| link.index).collect())
        {
            failures.push((Affected::All, error.to_string()));
        }
        (writes, failures)
    }
}

fn configure(name: &IfName, (ipv6, rules): (Ipv6, Standing)) -> Result<usize, SysctlError> {
    let mut writes = 0;
    let mut write =
        |key: &str, value: &str| write_if_supported(&key.replace("{}", &name.0), value).map(|count| writes += count);
    if ipv6 == Ipv6::Absent {
        write(DISABLE_IPV6, "1")?;
    }
    write(CLOSING.0, CLOSING.1)?;
    if rules == Standing::Missing {
        return Ok(writes);
    }
    if ipv6 == Ipv6::Present {
        write(DISABLE_IPV6, "0")?;
    }
    for (key, value) in OPENING {
        write(key, value)?;
    }
    // a link may be stricter than the namespace's default, and pods' packets would be lost
    let default = sysctl::read("net/ipv4/conf/default/rp_filter")?;
    writes += write_if_supported(&format!("net/ipv4/conf/{name}/rp_filter"), &default)?;
    Ok(writes)
}

/// Deletes the permanent neighbours that Calico's agent leaves for endpoints with an Ethernet address.
fn forget_permanent_neighbours(netlink: &mut Netlink, links: &BTreeSet<u32>) -> Result<(), Error> {
    let neighbours = netlink.neighbours()?;
    for neighbour in neighbours.iter().filter(|neighbour| neighbour.permanent && links.contains(&neighbour.link)) {
        match netlink.delete_neighbour(neighbour) {
            Err(error) if error.is_missing() => {}
            result => result?,
        }
    }
    Ok(())
}

/// Writes a parameter, unless it is of IPv6 and the kernel or the link has none.
fn write_if_supported(key: &str, value: &str) -> Result<usize, SysctlError> {
    match sysctl::write(key, value) {
        Ok(Written::Changed) => Ok(1),
        Ok(Written::Unchanged) => Ok(0),
        Err(error) if error.is_missing() && key.starts_with("net/ipv6/") => Ok(0),
        Err(error) => Err(error),
    }
}
