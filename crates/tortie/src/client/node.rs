//! What deleting a node takes along (control reference §1.7).

use super::{Client, ClientError};
use api::event::{Key, Revision};
use api::kind::WorkloadEndpointName;
use api::resource::{Kind, Resource};
use ipam::{Condition, Ipam, Owner, ReleaseError, SystemClock};
use std::net::IpAddr;

impl Client {
    /// Releases a node's addresses and affinities, and deletes its endpoints, host endpoints, peers and per-node settings.
    pub(super) async fn release_node(&self, node: &str) -> Result<(), ClientError> {
        let ipam = Ipam::new(self.store(), &SystemClock);
        let failed = |error: &dyn std::fmt::Display| ClientError::Ipam(error.to_string());
        let endpoints = self.list_readable(Kind::WorkloadEndpoint, "").await?;
        // nobody could tell later whose addresses these were
        if let Some(unreadable) = endpoints.unreadable.into_iter().find(|it| may_be_on(&it.key, node)) {
            return Err(datastore::Error::from(unreadable).into());
        }
        for endpoint in endpoints.resources {
            let Resource::WorkloadEndpoint(endpoint) = endpoint else { continue };
            if endpoint.spec.node != node {
                continue;
            }
            let networks = endpoint.spec.ip_networks.iter();
            let addresses: Vec<IpAddr> =
                networks.filter_map(|network| network.split('/').next()?.parse().ok()).collect();
            ipam.release_held_on(node, &addresses).await.map_err(|error| failed(&error))?;
            let metadata = &endpoint.metadata;
            let key = Key::namespaced(Kind::WorkloadEndpoint, &metadata.namespace, &metadata.name);
            self.gone(&key, Some(&metadata.resource_version)).await?;
        }
        for kind in ["ipip", "vxlan", "vxlan-v6", "wireguard", "wireguard-v6"] {
            let handle = format!("{kind}-tunnel-addr-{node}");
            match ipam.release_by_handle(&handle).await {
                Ok(_) | Err(ReleaseError::NoSuchHandle(_)) => {}
                Err(error) => return Err(failed(&error)),
            }
        }
        ipam.release_host_affinities(&Owner::host(node), Condition::Any).await.map_err(|error| failed(&error))?;
        for peer in self.list_readable(Kind::BGPPeer, "").await?.resources {
            let Resource::BGPPeer(peer) = peer else { continue };
            if peer.spec.node == node {
                let key = Key::global(Kind::BGPPeer, &peer.metadata.name);
                self.gone(&key, Some(&peer.metadata.resource_version)).await?;
            }
        }
        for endpoint in self.list_readable(Kind::HostEndpoint, "").await?.resources {
            let Resource::HostEndpoint(endpoint) = endpoint else { continue };
            if endpoint.spec.node == node {
                let key = Key::global(Kind::HostEndpoint, &endpoint.metadata.name);
                self.gone(&key, Some(&endpoint.metadata.resource_version)).await?;
            }
        }
        let settings = format!("node.{node}");
        self.gone(&Key::global(Kind::FelixConfiguration, &settings), None).await?;
        self.gone(&Key::global(Kind::BGPConfiguration, &settings), None).await
    }

    /// Deletes an object if it is still at the version that was read; with none, whatever it is.
    async fn gone(&self, key: &Key, version: Option<&String>) -> Result<(), ClientError> {
        let revision = version.cloned().map(Revision);
        match self.store().delete(key, revision.as_ref()).await {
            Ok(()) | Err(datastore::Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether an endpoint may be a node's, as far as its name tells.
fn may_be_on(key: &Key, node: &str) -> bool {
    let Key::Resource { name, .. } = key else { return false };
    WorkloadEndpointName::parse(name).map_or(true, |name| name.node == node)
}
