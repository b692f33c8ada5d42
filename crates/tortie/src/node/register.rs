//! What an agent does once at its start: the cluster's first objects, this node's own resource, a first pool
//! (control reference §4.3, §4.4).

use super::detect::{candidates, detect};
use super::options::{Options, truthy};
use crate::client::Client;
use anyhow::{Context, bail};
use api::event::Unreadable;
use api::kind::{BgpConfigurationSpec, FelixConfigurationSpec, IpPoolSpec, NodeBgpSpec, NodeInterface, NodeSpec};
use api::meta::ObjectMeta;
use api::resource::{Kind, Resource, Typed};
use ipnet::Ipv4Net;
use serde_json::json;
use std::net::Ipv4Addr;

/// Registers the node and makes sure that the cluster's default objects exist.
pub(crate) async fn register(client: &Client, node: &str, options: &Options) -> anyhow::Result<()> {
    client.ensure_initialized(crate::ctl::CALICO_VERSION, &options.cluster_type).await?;
    register_node(client, node, options).await?;
    ensure_default_pool(client, options).await?;
    let felix = [("reportingInterval", json!("0s")), ("logSeverityScreen", json!("Info"))];
    let own = [("defaultEndpointToHostAction", json!("Return"))];
    for (name, spec) in [("default".to_owned(), felix.as_slice()), (format!("node.{node}"), own.as_slice())] {
        let spec = FelixConfigurationSpec(spec.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect());
        create_if_absent(client, Typed::new(ObjectMeta::named(&name), spec).into()).await?;
    }
    let bgp = Typed::new(ObjectMeta::named("default"), BgpConfigurationSpec::default());
    create_if_absent(client, bgp.into()).await
}

async fn create_if_absent(client: &Client, resource: Resource) -> anyhow::Result<()> {
    let (kind, name) = (resource.kind(), resource.metadata().name.clone());
    match client.create(resource).await {
        Ok(_) => {
            tracing::info!(kind = kind.name(), name, "created the default object");
            Ok(())
        }
        Err(error) if error.exists() => Ok(()),
        Err(error) => Err(error).with_context(|| format!("create the default {} {name}", kind.name())),
    }
}

async fn register_node(client: &Client, name: &str, options: &Options) -> anyhow::Result<()> {
    let present = match client.get(Kind::Node, "", name).await {
        Ok(resource) => Some(resource),
        Err(error) if error.not_found() => None,
        Err(error) => return Err(error).with_context(|| format!("read node {name}")),
    };
    let mut node: Typed<NodeSpec> = match present.clone() {
        Some(resource) => {
            resource.try_into().map_err(|kind: Kind| anyhow::anyhow!("node {name} is a {}", kind.name()))?
        }
        None => Typed::new(ObjectMeta::named(name), NodeSpec::default()),
    };
    let before = node.spec.bgp.clone().unwrap_or_default();
    let mut bgp = before.clone();
    if let Some(address) = wanted_address(options, &before)? {
        bgp.ipv4_address = address.to_string();
    }
    if let Some(text) = &options.as_number {
        bgp.as_number = Some(api::validate::parse_as_number(text).map_err(|reason| anyhow::anyhow!("AS: {reason}"))?);
    }
    if bgp.ipv4_address != before.ipv4_address && !truthy(&options.disable_node_ip_check) {
        refuse_conflict(client, name, &bgp.ipv4_address).await?;
    }
    node.spec.bgp = (bgp != NodeBgpSpec::default()).then_some(bgp);
    if !["", "autodetect", "none"].contains(&options.ip.as_str()) {
        node.spec.interfaces = interfaces()?;
    }
    node.status.get_or_insert_default();
    let address = node.spec.bgp.as_ref().map_or("none", |bgp| bgp.ipv4_address.as_str()).to_owned();
    let resource = Resource::from(node);
    match present {
        None => client.create(resource).await.map(|_| ()).with_context(|| format!("create node {name}"))?,
        Some(present) if present == resource => {}
        Some(_) => client.update(resource).await.map(|_| ()).with_context(|| format!("update node {name}"))?,
    }
    tracing::info!(node = name, address, "this node is registered");
    Ok(())
}

/// The address to register; none keeps what is there.
fn wanted_address(options: &Options, before: &NodeBgpSpec) -> anyhow::Result<Option<Ipv4Net>> {
    match options.ip.as_str() {
        "none" => Ok(None),
        "" if !before.ipv4_address.is_empty() => Ok(None),
        "" | "autodetect" => {
            let seen = candidates().context("list this host's addresses")?;
            Ok(Some(detect(&options.ip_autodetection_method, &seen)?))
        }
        text => {
            if let Ok(network) = text.parse::<Ipv4Net>() {
                return Ok(Some(network));
            }
            let Ok(address) = text.parse::<Ipv4Addr>() else {
                bail!("IP {text:?}: neither autodetect, none, nor an IPv4 address with or without prefix length");
            };
            let seen = candidates().context("list this host's addresses")?;
            let found = seen.iter().find(|candidate| candidate.address.addr() == address);
            Ok(Some(found.map_or_else(|| Ipv4Net::from(address), |candidate| candidate.address)))
        }
    }
}

async fn refuse_conflict(client: &Client, name: &str, address: &str) -> anyhow::Result<()> {
    let host = |text: &str| text.split('/').next().unwrap_or("").to_owned();
    let nodes = client.list_readable(Kind::Node, "").await.context("list nodes")?;
    for Unreadable { key, reason } in nodes.unreadable {
        let key = datastore::layout::path(&key);
        tracing::warn!(key, reason, "a node cannot be read; whether it has this node's address is not known");
    }
    for resource in nodes.resources {
        let Resource::Node(other) = resource else { continue };
        let theirs = other.spec.bgp.as_ref().map(|bgp| host(&bgp.ipv4_address)).unwrap_or_default();
        if other.metadata.name != name && !theirs.is_empty() && theirs == host(address) {
            bail!("IPv4 address conflict: node {name} wants {theirs}, which node {} has", other.metadata.name);
        }
    }
    Ok(())
}

fn interfaces() -> anyhow::Result<Vec<NodeInterface>> {
    let mut interfaces: Vec<NodeInterface> = Vec::new();
    for candidate in candidates().context("list this host's addresses")? {
        if super::detect::is_excluded(&candidate.interface) {
            continue;
        }
        let address = candidate.address.addr().to_string();
        match interfaces.iter_mut().find(|interface| interface.name == candidate.interface) {
            Some(interface) => interface.addresses.push(address),
            None => interfaces.push(NodeInterface { name: candidate.interface, addresses: vec![address] }),
        }
    }
    interfaces.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(interfaces)
}

/// Creates `default-ipv4-ippool` when there is no IPv4 pool.
async fn ensure_default_pool(client: &Client, options: &Options) -> anyhow::Result<()> {
    if truthy(&options.no_default_pools) {
        if !options.ipv4pool_cidr.is_empty() {
            bail!("NO_DEFAULT_POOLS and CALICO_IPV4POOL_CIDR are both set: they contradict each other");
        }
        return Ok(());
    }
    let pools = client.list_readable(Kind::IPPool, "").await.context("list pools")?;
    let ipv4 = |resource: &Resource| matches!(resource, Resource::IPPool(pool) if !pool.spec.cidr.contains(':'));
    if options.ipv4pool_cidr == "none" || pools.resources.iter().any(ipv4) {
        return Ok(());
    }
    if let Some(Unreadable { key, reason }) = pools.unreadable.first() {
        let key = datastore::layout::path(key);
        tracing::warn!(key, reason, "a pool cannot be read and may be an IPv4 pool; no default pool is created");
        return Ok(());
    }
    let cidr = if options.ipv4pool_cidr.is_empty() { free_range()? } else { options.ipv4pool_cidr.clone() };
    let ipip_mode = match options.ipv4pool_ipip.to_lowercase().as_str() {
        "" | "off" | "never" => "Never",
        "always" => "Always",
        "crosssubnet" | "cross-subnet" => "CrossSubnet",
        other => bail!("CALICO_IPV4POOL_IPIP {other:?}: one of Never, Always, CrossSubnet is expected"),
    };
    let spec = IpPoolSpec {
        cidr,
        ipip_mode: ipip_mode.to_owned(),
        nat_outgoing: Some(truthy(&options.ipv4pool_nat_outgoing)),
        block_size: Some(options.ipv4pool_block_size),
        ..IpPoolSpec::default()
    };
    create_if_absent(client, Typed::new(ObjectMeta::named("default-ipv4-ippool"), spec).into()).await
}

/// 192.168.0.0/16, or when the host is inside it the first free of 172.16.0.0/16 to 172.31.0.0/16.
fn free_range() -> anyhow::Result<String> {
    let seen = candidates().context("list this host's addresses")?;
    let free = |range: &Ipv4Net| !seen.iter().any(|candidate| range.contains(&candidate.address.addr()));
    let first = Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16);
    let others = (16..32).map(|octet| Ipv4Net::new_assert(Ipv4Addr::new(172, octet, 0, 0), 16));
    Ok(std::iter::once(first).chain(others).find(free).unwrap_or(first).to_string())
}
