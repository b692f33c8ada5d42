//! DEL: takes a container off the network; what is not there any more is success (dataplane reference §1.7).

use super::call::Call;
use super::error::CniError;
use super::log::{Level, Log};
use super::netconf::NetConf;
use super::workload::{Orchestrator, Workload};
use super::{Role, cluster, delegate, ipam_plugin};
use crate::client::Client;
use api::resource::Kind;
use dataplane::podnet;

/// How often the endpoint is read again when somebody else wrote it.
const ATTEMPTS: usize = 6;

/// Disconnects a container.
///
/// Kubernetes: endpoint, namespace, addresses; others: addresses, endpoint, namespace.
pub(crate) async fn del(call: &Call, conf: &NetConf, input: &[u8], log: &Log) -> Result<(), CniError> {
    let workload = Workload::new(call, conf, conf.node(Role::Main)?);
    let client = cluster::connect(conf).await?;
    cluster::require_ready(&client).await?;
    match workload.orchestrator {
        Orchestrator::Kubernetes { .. } => {
            delete_endpoint(&client, &workload, log).await?;
            teardown(call)?;
            release(&client, call, conf, input, log).await
        }
        Orchestrator::Cni => {
            let released = release(&client, call, conf, input, log).await;
            delete_endpoint(&client, &workload, log).await?;
            teardown(call)?;
            released
        }
    }
}

fn teardown(call: &Call) -> Result<(), CniError> {
    let Some(netns) = &call.netns else { return Ok(()) };
    podnet::teardown(netns, &call.ifname.as_str().into()).map_err(|error| CniError::failed(error.to_string()))
}

/// Deletes the endpoint, unless a newer sandbox of the same pod has taken it over.
async fn delete_endpoint(client: &Client, workload: &Workload, log: &Log) -> Result<(), CniError> {
    let (namespace, name) = (&workload.namespace, workload.endpoint_name()?);
    for _ in 0..ATTEMPTS {
        let Some(present) = cluster::endpoint(client, namespace, &name).await? else { return Ok(()) };
        let holder = &present.spec.container_id;
        if !holder.is_empty() && *holder != workload.container_id {
            log.write(Level::Info, &format!("endpoint {namespace}/{name} is container {holder}'s now; it stays"));
            return Ok(());
        }
        let key = api::Key::namespaced(Kind::WorkloadEndpoint, namespace, &name);
        let revision = api::Revision(present.metadata.resource_version);
        match client.store().delete(&key, Some(&revision)).await {
            Ok(()) | Err(datastore::Error::NotFound(_)) => return Ok(()),
            Err(datastore::Error::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(CniError::failed(format!("delete endpoint {namespace}/{name}: it was changed {ATTEMPTS} times meanwhile")))
}

async fn release(client: &Client, call: &Call, conf: &NetConf, input: &[u8], log: &Log) -> Result<(), CniError> {
    match conf.ipam.plugin.as_str() {
        ipam_plugin::NAME => ipam_plugin::del(client.store(), call, conf, log).await,
        other => delegate::del(other, call, input),
    }
}
