//! The cluster as the plugin sees it: its datastore, whether it is ready, and the network's profile.

use super::error::CniError;
use super::netconf::NetConf;
use super::workload::Orchestrator;
use crate::client::{Client, ClientError};
use api::kind::{EntityRule, ProfileSpec, Rule, WorkloadEndpointSpec};
use api::meta::ObjectMeta;
use api::resource::{Kind, Resource, Typed};
use api::{Key, Object};
use datastore::{Listing, Query};

/// The one object of its kind.
const CLUSTER: &str = "default";

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
    match client.get(Kind::ClusterInformation, "", CLUSTER).await {
        Ok(resource) => demand_ready(Some(&resource)),
        Err(error) if error.not_found() => demand_ready(None),
        Err(error) => Err(error.into()),
    }
}

fn demand_ready(resource: Option<&Resource>) -> Result<(), CniError> {
    match resource {
        Some(Resource::ClusterInformation(object)) if object.spec.datastore_ready == Some(true) => Ok(()),
        _ => Err(CniError::failed("Calico is currently not ready to process requests")),
    }
}

/// What an ADD finds.
pub(crate) struct Found {
    /// The container's endpoint, if it has one.
    pub(crate) endpoint: Option<Typed<WorkloadEndpointSpec>>,
    /// Whether the network's profile is there.
    pub(crate) profile: bool,
}

/// Reads a ready cluster, in one round trip.
pub(crate) async fn find(client: &Client, namespace: &str, name: &str, network: &str) -> Result<Found, CniError> {
    let queries = [
        Query::Get(Key::global(Kind::ClusterInformation, CLUSTER)),
        Query::Get(Key::namespaced(Kind::WorkloadEndpoint, namespace, name)),
        Query::Get(Key::global(Kind::Profile, network)),
    ];
    let (answers, _) = client.store().read(&queries).await?;
    let mut answers = answers.into_iter().map(|answer| {
        // what is in the profile does not matter, only that there is one
        let is_there = !answer.entries.is_empty() || !answer.unreadable.is_empty();
        (answer, is_there)
    });
    let mut next = || answers.next().unwrap_or_default();
    let read = |(answer, _): (Listing, bool)| match answer.one()?.map(|entry| entry.object) {
        Some(Object::Resource(resource)) => Ok::<_, CniError>(Some(resource)),
        _ => Ok(None),
    };
    demand_ready(read(next())?.as_ref())?;
    let endpoint = read(next())?.map(as_endpoint).transpose()?;
    let (_, profile) = next();
    Ok(Found { endpoint, profile: profile || network == api::initial::DEFAULT_ALLOW })
}

/// Reads an endpoint; none is no error.
pub(crate) async fn endpoint(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<Typed<WorkloadEndpointSpec>>, CniError> {
    match client.get(Kind::WorkloadEndpoint, namespace, name).await {
        Ok(resource) => as_endpoint(resource).map(Some),
        Err(error) if error.not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn as_endpoint(resource: Resource) -> Result<Typed<WorkloadEndpointSpec>, CniError> {
    Typed::try_from(resource)
        .map_err(|kind: Kind| CniError::failed(format!("expected an endpoint, found a {}", kind.name())))
}

/// Creates the network's profile: all may leave, and enter (outside Kubernetes from the same network).
pub(crate) async fn create_profile(
    client: &Client,
    network: &str,
    orchestrator: &Orchestrator,
) -> Result<(), CniError> {
    let selector = match orchestrator {
        Orchestrator::Kubernetes { .. } => String::new(),
        Orchestrator::Cni => format!("has({network})"),
    };
    let allow = Rule { action: "Allow".into(), ..Rule::default() };
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
