//! DEL: takes a container off the network; what is not there any more is success (dataplane reference §1.7).

use super::call::Call;
use super::error::CniError;
use super::log::{Level, Log};
use super::netconf::NetConf;
use super::others::{self, Extent};
use super::workload::{Orchestrator, Workload};
use super::{Role, cluster, delegate, ipam_plugin};
use crate::client::Client;
use api::kind::WorkloadEndpointSpec;
use api::resource::{Kind, Resource, Typed};
use dataplane::podnet;
use ipnet::IpNet;
use std::net::IpAddr;

/// How often the endpoint is read again when somebody else wrote it.
const ATTEMPTS: usize = 6;

type Endpoint = Typed<WorkloadEndpointSpec>;

/// Disconnects a container, and leaves what its other attachments have.
///
/// Kubernetes: endpoint, namespace, addresses; others: addresses, endpoint, namespace.
pub(crate) async fn del(call: &Call, conf: &NetConf, input: &[u8], log: &Log) -> Result<(), CniError> {
    let workload = Workload::new(call, conf, conf.node(Role::Main)?);
    let client = cluster::connect(conf).await?;
    cluster::require_ready(&client).await?;
    let (namespace, name) = (&workload.namespace, workload.endpoint_name()?);
    let present = cluster::endpoint(&client, namespace, &name).await?;
    let extent = others::extent(&client, call, conf, &workload, present.as_ref()).await?;
    if extent != Extent::Whole {
        log.write(Level::Info, &format!("another attachment of the container lives: DEL takes {extent:?} alone"));
    }
    match extent {
        Extent::Nothing => return Ok(()),
        Extent::Addresses => return release(&client, call, conf, input, log).await,
        Extent::Membership => {
            leave(&client, conf, present).await?;
            // an address that was assigned in this network lives on; the last network takes it along
            return match conf.ipam.plugin.as_str() {
                ipam_plugin::NAME => Ok(()),
                other => delegate::del(other, call, input),
            };
        }
        Extent::Whole => {}
    }
    match workload.orchestrator {
        Orchestrator::Kubernetes { .. } => {
            delete_endpoint(&client, &workload, present, log).await?;
            teardown(call)?;
            release(&client, call, conf, input, log).await
        }
        Orchestrator::Cni => {
            let released = release_all(&client, call, conf, input, present.as_ref(), log).await;
            delete_endpoint(&client, &workload, present, log).await?;
            teardown(call)?;
            released
        }
    }
}

/// Takes the network's profile from the endpoint that it shares with others.
async fn leave(client: &Client, conf: &NetConf, present: Option<Endpoint>) -> Result<(), CniError> {
    let Some(mut endpoint) = present else { return Ok(()) };
    endpoint.spec.profiles.retain(|profile| *profile != conf.name);
    client.update(Resource::from(endpoint)).await?;
    Ok(())
}

fn teardown(call: &Call) -> Result<(), CniError> {
    let Some(netns) = &call.netns else { return Ok(()) };
    podnet::teardown(netns, &call.ifname.as_str().into()).map_err(|error| CniError::failed(error.to_string()))
}

/// Deletes the endpoint, unless a newer sandbox of the same pod has taken it over; `found` is what was read of it.
async fn delete_endpoint(
    client: &Client,
    workload: &Workload,
    mut found: Option<Endpoint>,
    log: &Log,
) -> Result<(), CniError> {
    let (namespace, name) = (&workload.namespace, workload.endpoint_name()?);
    for _ in 0..ATTEMPTS {
        let Some(present) = found else { return Ok(()) };
        let holder = &present.spec.container_id;
        if !holder.is_empty() && *holder != workload.container_id {
            log.write(Level::Info, &format!("endpoint {namespace}/{name} is container {holder}'s now; it stays"));
            return Ok(());
        }
        let key = api::Key::namespaced(Kind::WorkloadEndpoint, namespace, &name);
        let revision = api::Revision(present.metadata.resource_version);
        match client.store().delete(&key, Some(&revision)).await {
            Ok(()) | Err(datastore::Error::NotFound(_)) => return Ok(()),
            Err(datastore::Error::Conflict(_)) => found = cluster::endpoint(client, namespace, &name).await?,
            Err(error) => return Err(error.into()),
        }
    }
    Err(CniError::failed(format!("delete endpoint {namespace}/{name}: it was changed {ATTEMPTS} times meanwhile")))
}

/// Releases what the network's IPAM plugin gave the container.
async fn release(client: &Client, call: &Call, conf: &NetConf, input: &[u8], log: &Log) -> Result<(), CniError> {
    match conf.ipam.plugin.as_str() {
        ipam_plugin::NAME => ipam_plugin::del(client.store(), call, conf, log).await.map(|_| ()),
        other => delegate::del(other, call, input),
    }
}

/// Releases that, and what the endpoint has from a network that the container has left.
async fn release_all(
    client: &Client,
    call: &Call,
    conf: &NetConf,
    input: &[u8],
    present: Option<&Endpoint>,
    log: &Log,
) -> Result<(), CniError> {
    if conf.ipam.plugin != ipam_plugin::NAME {
        return delegate::del(&conf.ipam.plugin, call, input);
    }
    let released = ipam_plugin::del(client.store(), call, conf, log).await?;
    let networks = present.iter().filter(|it| it.spec.container_id == call.container_id);
    let networks = networks.flat_map(|it| &it.spec.ip_networks).filter_map(|text| text.parse::<IpNet>().ok());
    let rest: Vec<IpAddr> = networks.map(|net| net.addr()).filter(|address| !released.contains(address)).collect();
    if rest.is_empty() {
        return Ok(());
    }
    ipam_plugin::release_of_container(client.store(), call, conf, &rest, log).await
}
