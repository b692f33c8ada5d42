//! What an agent does once at its start: the cluster's first objects, this node's own resource, a first pool
//! (control reference §4.3, §4.4).

use super::address;
use super::detect::interfaces;
use super::options::{Options, truthy};
use crate::client::Client;
use anyhow::{Context, bail};
use api::event::Unreadable;
use api::kind::{BgpConfigurationSpec, FelixConfigurationSpec, IpPoolSpec, NodeBgpSpec, NodeSpec};
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
    if let Some(text) = options.as_number.as_deref().filter(|text| !text.is_empty()) {
        let number = api::validate::parse_as_number(text).map_err(|reason| anyhow::anyhow!("AS: {reason}"))?;
        node.spec.bgp.get_or_insert_default().as_number = Some(number);
    }
    let warning = address::settle(client, &mut node, options).await?;
    if !warning.is_empty() {
        tracing::warn!(node = name, "{warning}");
    }
    node.spec.bgp = node.spec.bgp.filter(|bgp| *bgp != NodeBgpSpec::default());
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
    let cidr = if options.ipv4pool_cidr.is_empty() { free_range()? } else { Some(options.ipv4pool_cidr.clone()) };
    let Some(cidr) = cidr else {
        tracing::warn!(
            "not all of this host's addresses can be read, and a pool's range must have none of them; no default pool is \
             created without CALICO_IPV4POOL_CIDR"
        );
        return Ok(());
    };
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

/// 192.168.0.0/16, or when the host is inside it the first free of 172.16.0.0/16 to 172.31.0.0/16; none while not all of
/// the host's addresses can be read.
fn free_range() -> anyhow::Result<Option<String>> {
    let seen = interfaces().context("list this host's addresses")?;
    if !seen.complete {
        return Ok(None);
    }
    let held: Vec<Ipv4Addr> = seen.all.iter().flat_map(|interface| &interface.addresses).map(Ipv4Net::addr).collect();
    let free = |range: &Ipv4Net| !held.iter().any(|address| range.contains(address));
    let first = Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16);
    let others = (16..32).map(|octet| Ipv4Net::new_assert(Ipv4Addr::new(172, octet, 0, 0), 16));
    Ok(Some(std::iter::once(first).chain(others).find(free).unwrap_or(first).to_string()))
}
