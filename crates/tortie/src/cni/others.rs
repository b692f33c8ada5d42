//! What a container has from its other attachments: ADD must not take it away, nor DEL.
//!
//! A runtime may attach a container twice, to another network or with another interface name (Multus does). The host's
//! end has one name for each pod or container, as Calico has it, so a second interface would take the first one's
//! place: its ADD is refused. Outside Kubernetes a second network may share the interface, and joins its endpoint.
//! The kernel says which interface lives, the endpoints say whose it is.

use super::call::Call;
use super::cluster;
use super::error::CniError;
use super::ipam_plugin;
use super::netconf::NetConf;
use super::workload::{Orchestrator, Workload};
use crate::client::Client;
use api::Key;
use api::kind::WorkloadEndpointSpec;
use api::resource::{Kind, Typed};
use dataplane::podnet::{self, HostEnd};
use std::path::Path;

type Endpoint = Typed<WorkloadEndpointSpec>;

/// Refuses an ADD that would take the place of an interface that lives.
pub(crate) async fn refuse_to_displace(
    client: &Client,
    netns: &Path,
    conf: &NetConf,
    workload: &Workload,
    present: Option<&Endpoint>,
) -> Result<(), CniError> {
    let (id, interface, ifname) = (&workload.container_id, workload.interface(), &workload.endpoint);
    match host_end(netns, workload)? {
        HostEnd::OfPod(name) if name.0 != *ifname => Err(CniError::failed(format!(
            "container {id} has interface {name} already, {interface} on the host: a second one, {ifname} of network \
             {:?}, would take its place; a pod has one interface of this plugin",
            conf.name
        ))),
        HostEnd::OfPod(name) => match present.filter(|it| it.spec.container_id == *id && is_others(&it.spec, conf)) {
            Some(present) => Err(CniError::failed(format!(
                "container {id} has interface {name} already, of network {:?}: network {:?} would take its place",
                present.spec.profiles.join(", "),
                conf.name
            ))),
            None => Ok(()),
        },
        HostEnd::Elsewhere if workload.orchestrator == Orchestrator::Cni => {
            // the name on the host has room for the first characters of the container's ID alone
            let listed = client.list_readable(Kind::WorkloadEndpoint, "").await?;
            // one that cannot be read may be the other, if it is of this node
            let of_node = format!("{}-", workload.node.replace('-', "--"));
            let is_ours = |key: &Key| matches!(key, Key::Resource { name, .. } if name.starts_with(&of_node));
            if let Some(unreadable) = listed.unreadable.into_iter().find(|it| is_ours(&it.key)) {
                return Err(datastore::Error::from(unreadable).into());
            }
            let mut endpoints = listed.resources.into_iter().filter_map(|resource| Endpoint::try_from(resource).ok());
            let other = endpoints.find(|it| {
                let spec = &it.spec;
                spec.node == workload.node && spec.interface_name == interface.0 && spec.container_id != *id
            });
            other.map_or(Ok(()), |other| {
                Err(CniError::failed(format!(
                    "container {id} would have {interface} on the host, which is container {}'s: their IDs begin alike",
                    other.spec.container_id
                )))
            })
        }
        HostEnd::Elsewhere | HostEnd::Missing => Ok(()),
    }
}

/// How much of a container one DEL takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it.
    Whole,
    /// The network's profile: other networks live on the same interface and addresses.
    Membership,
    /// What IPAM holds for the network: the interface is another network's.
    Addresses,
    /// Nothing: another interface of the network has what IPAM holds.
    Nothing,
}

/// Finds how much of a container is the attachment's alone; `present` is its endpoint.
pub(crate) async fn extent(
    client: &Client,
    call: &Call,
    conf: &NetConf,
    workload: &Workload,
    present: Option<&Endpoint>,
) -> Result<Extent, CniError> {
    let Some(netns) = &call.netns else { return Ok(Extent::Whole) };
    let of_container = |it: &&Endpoint| it.spec.container_id == workload.container_id;
    match host_end(netns, workload)? {
        HostEnd::OfPod(name) if name.0 == workload.endpoint => {
            let Some(present) = present.filter(of_container) else { return Ok(Extent::Whole) };
            if is_others(&present.spec, conf) {
                return Ok(Extent::Addresses);
            }
            let is_shared = workload.orchestrator == Orchestrator::Cni && present.spec.profiles.len() > 1;
            // of another IPAM plugin, only the network that assigned an address can release it
            let may_go = conf.ipam.plugin == ipam_plugin::NAME || present.spec.profiles.first() != Some(&conf.name);
            Ok(if is_shared && may_go { Extent::Membership } else { Extent::Whole })
        }
        HostEnd::OfPod(name) => {
            let other = Workload { endpoint: name.0, ..workload.clone() };
            let other = cluster::endpoint(client, &other.namespace, &other.endpoint_name()?).await?;
            let is_networks = |it: &Endpoint| it.spec.profiles.contains(&conf.name) || !is_others(&it.spec, conf);
            let keeps = other.as_ref().filter(of_container).is_some_and(is_networks);
            // another IPAM plugin tells one interface from another itself
            let keeps = keeps && conf.ipam.plugin == ipam_plugin::NAME;
            Ok(if keeps { Extent::Nothing } else { Extent::Addresses })
        }
        HostEnd::Elsewhere | HostEnd::Missing => Ok(Extent::Whole),
    }
}

/// Whether an endpoint is of other networks alone.
///
/// One with profiles of Kubernetes' namespaces does not say which network it is of.
fn is_others(spec: &WorkloadEndpointSpec, conf: &NetConf) -> bool {
    let says_network = !spec.profiles.is_empty() && !spec.profiles.iter().any(|it| it.starts_with("kns."));
    says_network && !spec.profiles.contains(&conf.name)
}

fn host_end(netns: &Path, workload: &Workload) -> Result<HostEnd, CniError> {
    podnet::host_end(netns, &workload.interface()).map_err(|error| CniError::failed(error.to_string()))
}
