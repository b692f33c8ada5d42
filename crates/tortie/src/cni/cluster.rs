//! The cluster as the plugin sees it: its datastore, whether it is ready, and the network's profile.

use super::error::CniError;
use super::netconf::NetConf;
use super::workload::Orchestrator;
use crate::client::{Client, ClientError};
use api::kind::{EntityRule, ProfileSpec, Rule, WorkloadEndpointSpec};
use api::meta::ObjectMeta;
use api::resource::{Kind, Resource, Typed};

impl From<ClientError> for CniError {
    fn from(error: ClientError) -> Self {
        CniError::failed(error.to_string())
    }
}

impl From<datastore::Error> for CniError {
    fn from(error: datastore::Error) -> Self {
        ClientError::from(error).into()
    }
}

/// Connects to the datastore that the configuration names.
pub(crate) async fn connect(conf: &NetConf) -> Result<Client, CniError> {
    Ok(Client::new(datastore::connect(&conf.datastore()?).await?))
}

/// Refuses to work while the datastore is not there yet, or locked for a migration.
pub(crate) async fn require_ready(client: &Client) -> Result<(), CniError> {
    let ready = match client.get(Kind::ClusterInformation, "", "default").await {
        Ok(Resource::ClusterInformation(object)) => object.spec.datastore_ready.unwrap_or(false),
        Ok(_) => false,
        Err(error) if error.not_found() => false,
        Err(error) => return Err(error.into()),
    };
    if ready { Ok(()) } else { Err(CniError::failed("Calico is currently not ready to process requests")) }
}

/// Reads an endpoint; none is no error.
pub(crate) async fn endpoint(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<Typed<WorkloadEndpointSpec>>, CniError> {
    match client.get(Kind::WorkloadEndpoint, namespace, name).await {
        Ok(resource) => Typed::try_from(resource)
            .map(Some)
            .map_err(|kind: Kind| CniError::failed(format!("expected an endpoint, found a {}", kind.name()))),
        Err(error) if error.not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The network's profile, created once: all may leave, and enter (outside Kubernetes from the same network).
pub(crate) async fn ensure_profile(
    client: &Client,
    network: &str,
    orchestrator: &Orchestrator,
) -> Result<(), CniError> {
    match client.get(Kind::Profile, "", network).await {
        Ok(_) => return Ok(()),
        Err(error) if error.not_found() => {}
        Err(error) => return Err(error.into()),
    }
    let selector = match orchestrator {
        Orchestrator::Kubernetes { .. } => None,
        Orchestrator::Cni => Some(format!("has({network})").into()),
    };
    let allow = Rule { action: "Allow".to_owned(), ..Rule::default() };
    let source = EntityRule { selector, ..EntityRule::default() };
    let spec = ProfileSpec {
        ingress: vec![Rule { source: Some(source), ..allow.clone() }],
        egress: vec![allow],
        labels_to_apply: [(network.to_owned(), String::new())].into(),
    };
    match client.create(Resource::from(Typed::new(ObjectMeta::named(network), spec))).await {
        Err(error) if !error.exists() => Err(error.into()),
        _ => Ok(()),
    }
}
