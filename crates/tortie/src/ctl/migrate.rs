//! datastore migrate: the lock that keeps CNI plugins from changing anything (control reference §5.7).

use super::args::{Cli, MigrateVerb};
use super::{Failed, Output, World};
use crate::client::Client;
use api::kind::ClusterInformationSpec;
use api::resource::{Kind, Typed};

pub(super) async fn run(cli: &Cli, verb: &MigrateVerb, world: &World<'_>) -> Result<Output, Failed> {
    let (ready, text, config) = match verb {
        MigrateVerb::Lock(datastore) => (false, "Datastore locked.\n", &datastore.config),
        MigrateVerb::Unlock(datastore) => (true, "Datastore unlocked.\n", &datastore.config),
    };
    let client = world.client_at(cli, config).await?;
    let mut object = information(&client).await?;
    object.spec.datastore_ready = Some(ready);
    client.update(object.into()).await?;
    Ok(Output::success(text.to_owned()))
}

/// Whether the datastore is locked.
pub(super) async fn is_locked(client: &Client) -> Result<bool, Failed> {
    Ok(information(client).await?.spec.datastore_ready == Some(false))
}

/// The cluster's ClusterInformation.
pub(super) async fn information(client: &Client) -> Result<Typed<ClusterInformationSpec>, Failed> {
    let resource = client.get(Kind::ClusterInformation, "", "default").await?;
    resource.try_into().map_err(|kind: Kind| Failed(format!("found a {}", kind.name())))
}
