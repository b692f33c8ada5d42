//! What each verb does to one resource: calicoctl's layer over the client (control reference §5.3).

use super::Failed;
use super::args::Common;
use crate::client::{Client, ClientError};
use api::meta::ObjectMeta;
use api::resource::{Kind, Resource};
use std::time::Duration;

/// How often a change starts again when somebody else was faster.
const TRIES: usize = 5;

/// From where on a word may be meant for another: 0 to 1.
const NEAR: f64 = 0.8;

/// Creates a resource; of its metadata only what a user may choose counts.
pub(super) async fn create(client: &Client, mut resource: Resource) -> Result<Resource, ClientError> {
    refuse_read_only(resource.kind(), "create or apply", "")?;
    let given = std::mem::take(resource.metadata_mut());
    *resource.metadata_mut() = ObjectMeta {
        name: given.name,
        namespace: given.namespace,
        resource_version: given.resource_version,
        labels: given.labels,
        annotations: given.annotations,
        ..ObjectMeta::default()
    };
    client.create(resource).await
}

/// Creates a resource, or changes the one that exists.
pub(super) async fn apply(client: &Client, resource: Resource) -> Result<Resource, ClientError> {
    refuse_read_only(resource.kind(), "apply", "resource is readonly")?;
    let mut new = resource.clone();
    new.metadata_mut().resource_version.clear();
    match create(client, new).await {
        Err(error) if error.exists() => update(client, resource).await,
        other => other,
    }
}

/// Changes a resource that exists: if it is still at the given revision, or whatever it is where none is given.
pub(super) async fn update(client: &Client, mut resource: Resource) -> Result<Resource, ClientError> {
    refuse_read_only(resource.kind(), "apply or replace", "")?;
    let given = std::mem::take(resource.metadata_mut());
    let mut tries = 0;
    loop {
        tries += 1;
        let present = client.get(resource.kind(), &given.namespace, &given.name).await?;
        let mut merged = present.metadata().clone();
        if !given.resource_version.is_empty() && given.resource_version != merged.resource_version {
            let key = datastore::layout::describe(&api::Key::of(&present));
            return Err(ClientError::Conflict(key));
        }
        merged.labels.clone_from(&given.labels);
        merged.annotations.clone_from(&given.annotations);
        *resource.metadata_mut() = merged;
        match client.update(resource.clone()).await {
            Err(error) if error.conflict() && given.resource_version.is_empty() && tries < TRIES => {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            other => return other,
        }
    }
}

/// Deletes a resource by name.
pub(super) async fn delete(client: &Client, kind: Kind, namespace: &str, name: &str) -> Result<(), ClientError> {
    refuse_read_only(kind, "delete", "")?;
    if name.is_empty() {
        return Err(ClientError::Invalid("resource name may not be empty".to_owned()));
    }
    client.delete(kind, namespace, name, "").await.map(|_| ())
}

fn refuse_read_only(kind: Kind, operation: &str, reason: &str) -> Result<(), ClientError> {
    if kind != Kind::ClusterInformation {
        return Ok(());
    }
    Err(ClientError::NotSupported {
        operation: operation.to_owned(),
        key: kind.name().to_owned(),
        reason: reason.to_owned(),
    })
}

/// Finds a kind by the word that the user typed; for a word that is none, says which there are.
pub(super) fn kind(word: &str) -> Result<Kind, String> {
    Kind::by_alias(word).ok_or_else(|| {
        let lower = word.to_lowercase();
        let aliases = Kind::ALL.iter().flat_map(|kind| kind.aliases());
        let near = aliases.map(|alias| (strsim::jaro_winkler(&lower, alias), *alias));
        let nearest = near.max_by(|(one, _), (other, _)| one.total_cmp(other)).filter(|(near, _)| *near > NEAR);
        let meant = nearest.map(|(_, alias)| format!("\nDid you mean {alias}?")).unwrap_or_default();
        let all: Vec<String> = Kind::ALL.iter().map(|kind| kind.name().to_lowercase()).collect();
        format!("resource type '{word}' is not supported{meant}\nThere are: {}", all.join(", "))
    })
}

/// The namespace that counts for one kind: the given one, or `default`; empty for kinds without namespaces.
pub(super) fn namespace(kind: Kind, common: &Common) -> Result<String, Failed> {
    match (&common.namespace, kind.namespaced()) {
        (Some(_), false) => Err(Failed(format!("{} is not namespaced", kind.name()))),
        (None, false) => Ok(String::new()),
        (given, true) => Ok(given.clone().unwrap_or_else(|| "default".to_owned())),
    }
}

/// Gives a resource from a file its namespace, or says why what it has cannot be.
pub(super) fn settle_namespace(resource: &mut Resource, common: &Common) -> Result<(), ClientError> {
    let kind = resource.kind();
    let own = resource.metadata().namespace.clone();
    if !kind.namespaced() {
        if own.is_empty() {
            return Ok(());
        }
        return Err(ClientError::Invalid(format!(
            "namespace should not be specified for a non-namespaced resource. {} is not a namespaced resource",
            kind.name()
        )));
    }
    let wanted = match &common.namespace {
        Some(given) if !own.is_empty() && own != *given => {
            return Err(ClientError::Invalid(format!(
                "resource namespace does not match client namespace. {own} != {given}"
            )));
        }
        Some(given) => given.clone(),
        None if own.is_empty() => "default".to_owned(),
        None => own,
    };
    resource.metadata_mut().namespace = wanted;
    Ok(())
}
