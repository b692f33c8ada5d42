//! Which addresses the network's containers on this node hold.

use super::Endpoint;
use crate::client::Client;
use crate::cni::error::CniError;
use crate::cni::log::{Level, Log};
use crate::cni::netconf::NetConf;
use api::Unreadable;
use ipam::check::Allocation;
use ipam::{Ipam, Release, SystemClock};
use ipnet::IpNet;
use model::name::{IfName, container_interface, pod_interface};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The node's allocations.
#[derive(Default)]
pub(super) struct Holdings {
    /// Those of the network, by container.
    network: BTreeMap<String, Vec<Allocation>>,
    /// All of them.
    node: Vec<Allocation>,
    /// Blocks that cannot be read.
    unreadable: Vec<Unreadable>,
}

impl Holdings {
    /// Reads all blocks and sorts what is assigned on the node.
    pub(super) async fn read(
        client: &Client,
        conf: &NetConf,
        node: &str,
        endpoints: &[Endpoint],
        log: &Log,
    ) -> Result<Holdings, CniError> {
        let (mut allocations, unreadable) = Ipam::new(client.store(), &SystemClock).allocations().await?;
        allocations.retain(|it| it.attribute("node") == Some(node) && it.attribute("type").is_none());
        let mut network: BTreeMap<String, Vec<Allocation>> = BTreeMap::new();
        for allocation in &allocations {
            let handle = allocation.handle.as_deref().unwrap_or_default();
            let Some(id) = handle.strip_prefix(&conf.name).and_then(|rest| rest.strip_prefix('.')) else { continue };
            // `a.b.c` is container `b.c` of network `a`, or container `c` of network `a.b`
            let confirms = |it: &&Endpoint| it.spec.container_id == id && it.spec.profiles.contains(&conf.name);
            if id.contains('.') && !endpoints.iter().any(|it| confirms(&it)) {
                let address = allocation.address;
                log.write(Level::Info, &format!("address {address} stays: {handle} may be another network's"));
                continue;
            }
            network.entry(id.to_owned()).or_default().push(allocation.clone());
        }
        Ok(Holdings { network, node: allocations, unreadable })
    }

    /// The containers of the network that hold addresses.
    pub(super) fn containers(&self) -> impl Iterator<Item = &str> {
        self.network.keys().map(String::as_str)
    }

    /// Whether a container holds an address in the network.
    pub(super) fn has(&self, id: &str) -> bool {
        self.network.contains_key(id)
    }

    /// The name of a container's interface on the host, from what IPAM knows of it.
    pub(super) fn interface(&self, id: &str) -> IfName {
        self.pod(id).map_or_else(|| container_interface(id), |(namespace, pod)| pod_interface(namespace, pod))
    }

    /// The namespace and name of a container's pod, from what IPAM knows of it.
    pub(super) fn pod(&self, id: &str) -> Option<(&str, &str)> {
        let first = self.network.get(id).and_then(|allocations| allocations.first())?;
        first.attribute("namespace").zip(first.attribute("pod"))
    }

    /// The blocks that cannot be read, of whatever node.
    pub(super) fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// Releases the addresses of a container's endpoints and, if it is gone, all of the network's that it holds.
    ///
    /// An endpoint may have its address from another network, which the container had joined first. An address that
    /// was given out anew meanwhile stays.
    pub(super) async fn release(
        &self,
        client: &Client,
        id: &str,
        endpoints: &[&Endpoint],
        gone: bool,
    ) -> Result<Vec<IpAddr>, CniError> {
        let networks = endpoints.iter().flat_map(|it| &it.spec.ip_networks);
        let of_endpoints: Vec<IpAddr> =
            networks.filter_map(|text| text.parse::<IpNet>().ok()).map(|net| net.addr()).collect();
        let suffix = format!(".{id}");
        let is_containers = |it: &&Allocation| it.handle.as_deref().is_some_and(|it| it.ends_with(&suffix));
        let of_endpoints = self.node.iter().filter(|it| of_endpoints.contains(&it.address)).filter(is_containers);
        let of_network = self.network.get(id).into_iter().flatten().filter(|_| gone);
        let releases: BTreeMap<IpAddr, Release> = of_endpoints
            .chain(of_network)
            .map(|it| {
                let handle = it.handle.clone();
                (it.address, Release { address: it.address, handle, sequence: it.sequence })
            })
            .collect();
        let addresses = releases.keys().copied().collect();
        let releases: Vec<Release> = releases.into_values().collect();
        if !releases.is_empty() {
            let released = Ipam::new(client.store(), &SystemClock).release_ips(&releases).await;
            released.map_err(|error| CniError::failed(error.to_string()))?;
        }
        Ok(addresses)
    }
}
