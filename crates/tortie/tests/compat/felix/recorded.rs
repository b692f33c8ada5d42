//! What a case tells, as far as it can be replayed.

use super::listing::Listing;
use crate::store::Content;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What the keys of resources start with.
pub(super) const RESOURCES: &str = "/calico/resources/v3/projectcalico.org/";

/// How Calico wrote its packet rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    Iptables,
    Nftables,
}

/// A case.
#[derive(Clone)]
pub(super) struct Recorded {
    pub(super) name: String,
    pub(super) rules: Rules,
    /// The store's content.
    pub(super) content: Content,
    /// What iptables shows of IPv4 and IPv6; empty where nftables was used.
    pub(super) saved: Listing,
    pub(super) saved6: Listing,
    /// What nft shows.
    pub(super) ruleset: Listing,
    /// What ipset shows; empty where nftables was used.
    pub(super) sets: Listing,
    /// A warning of whoever recorded it.
    pub(super) note: Option<String>,
    pub(super) files: BTreeMap<String, String>,
}

/// An address of a link, with its prefix length.
pub(super) struct Address<'a> {
    pub(super) link: &'a str,
    pub(super) address: &'a str,
    pub(super) length: &'a str,
}

impl Recorded {
    /// What the store holds when an agent starts.
    ///
    /// Where a node has no FelixConfiguration of its own, an agent gives it one, which lets workloads reach the node;
    /// as in Calico, where not the agent that was recorded does that.
    pub(super) fn for_agent(&self) -> Result<Content> {
        let name = format!("node.{}", self.node()?);
        let own = json!({
            "kind": "FelixConfiguration", "apiVersion": "projectcalico.org/v3", "metadata": {"name": name}, "spec": {},
        });
        let mut content = self.content.clone();
        content.entry(format!("{RESOURCES}felixconfigurations/{name}")).or_insert_with(|| own.to_string());
        Ok(content)
    }

    /// A file's text; empty where it was not recorded.
    pub(super) fn file(&self, name: &str) -> &str {
        self.files.get(name).map_or("", String::as_str)
    }

    /// IPv4 routes, without blanks around them.
    fn all_routes(&self) -> impl Iterator<Item = &str> {
        self.file("ip-route.txt").lines().map(str::trim).filter(|line| !line.contains(':'))
    }

    /// IPv4 routes of the main table that somebody made: pods', blocks', to the outside.
    pub(super) fn routes(&self) -> impl Iterator<Item = &str> {
        self.all_routes().filter(|line| !line.contains("proto kernel") && !line.contains("table "))
    }

    /// Pods' IPv4 addresses by their interfaces.
    pub(super) fn pods(&self) -> BTreeMap<&str, &str> {
        let pod = |line| {
            let interface = after(line, "dev").filter(|name| name.starts_with("cali"))?;
            Some((interface, line.split_whitespace().next()?))
        };
        self.routes().filter_map(pod).collect()
    }

    /// The names of workloads' interfaces, some of which may have no pod yet.
    pub(super) fn interfaces(&self) -> BTreeSet<&str> {
        // `7: cali00001@p00001: …`; the lines about a link are indented
        let heads = self.file("ip-link.txt").lines().filter(|line| !line.starts_with(' '));
        let names = heads.filter_map(|line| line.split(' ').nth(1)?.split(['@', ':']).next());
        let all = names.chain(self.file("links.txt").split_whitespace());
        all.filter(|name| name.starts_with("cali")).collect()
    }

    /// The IPv4 addresses of the node's own links, that of the uplink first.
    ///
    /// The kernel's routes tell them: to each address itself, and to the subnet around it.
    pub(super) fn addresses(&self) -> Result<Vec<Address<'_>>> {
        let kernels = || self.all_routes().filter(|line| line.contains("proto kernel"));
        let length = |link, address| {
            let around = kernels().filter(|line| !line.contains("table ") && after(line, "dev") == Some(link));
            let subnet =
                around.filter(|line| after(line, "src") == Some(address)).find_map(|line| line.split(' ').next());
            subnet.and_then(|subnet| subnet.split_once('/')).map_or("32", |(_, length)| length)
        };
        let own = kernels().filter_map(|line| {
            let address = line.strip_prefix("local ")?.split(' ').next().filter(|address| !address.contains('/'))?;
            let link = after(line, "dev").filter(|link| *link != "lo" && !link.starts_with("cali"))?;
            Some(Address { link, address, length: length(link, address) })
        });
        let mut own: Vec<Address<'_>> = own.collect();
        // tunnels' addresses are given by agents
        own.retain(|it| it.link != "tunl0");
        let uplink = own.iter().position(|it| self.node_at(it.address).is_some());
        let uplink = uplink.context("no link in ip-route.txt has the address of a registered node")?;
        own.swap(0, uplink);
        Ok(own)
    }

    /// The uplink's address.
    pub(super) fn uplink(&self) -> Result<Address<'_>> {
        self.addresses()?.into_iter().next().context("no link with an address")
    }

    /// The name under which the node with the uplink's address is registered.
    pub(super) fn node(&self) -> Result<String> {
        let uplink = self.uplink()?;
        self.node_at(uplink.address).context("no node has the uplink's address")
    }

    fn node_at(&self, address: &str) -> Option<String> {
        let named = |(key, value): (&String, &String)| {
            let node: Value = serde_json::from_str(value).ok().filter(|_| key.contains("/nodes/"))?;
            let has = node["spec"]["bgp"]["ipv4Address"].as_str()?.split('/').next() == Some(address);
            has.then(|| node["metadata"]["name"].as_str().map(str::to_owned)).flatten()
        };
        self.content.iter().find_map(named)
    }

    /// Parameters as `sysctl` takes them, from `ipv4.LINK.NAME VALUE` or `ipv4.conf.LINK.NAME=VALUE`.
    pub(super) fn sysctls(&self) -> Vec<String> {
        let parameter = |line: &str| {
            let (key, value) = line.split_once([' ', '='])?;
            let (family, rest) = key.split_once('.')?;
            let (link, name) = rest.strip_prefix("conf.").unwrap_or(rest).rsplit_once('.')?;
            // a dot in a link's name is a slash to sysctl
            Some(format!("net.{family}.conf.{}.{name}={value}", link.replace('.', "/")))
        };
        self.file("sysctl.txt").lines().filter_map(parameter).collect()
    }
}

/// The word after another one.
fn after<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    line.split_whitespace().skip_while(|it| *it != word).nth(1)
}
