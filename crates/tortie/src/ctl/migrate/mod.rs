//! datastore migrate: the lock that keeps CNI plugins from changing anything, and what a cluster is (control reference
//! §5.7).

mod export;

use super::args::{Cli, Datastore, MigrateVerb};
use super::{Failed, Output, World};
use crate::client::Client;
use api::kind::ClusterInformationSpec;
use api::resource::{Kind, Typed};

pub(super) async fn run(cli: &Cli, verb: &MigrateVerb, world: &World<'_>) -> Result<Output, Failed> {
    match verb {
        MigrateVerb::Lock(args) => lock(cli, args, world, true).await,
        MigrateVerb::Unlock(args) => lock(cli, args, world, false).await,
        MigrateVerb::Export(args) => {
            let client = world.client_at(cli, &args.config).await?;
            let information = information(&client).await?;
            if information.spec.datastore_ready != Some(false) {
                let reason = "datastore is not locked. Run the `calicoctl datastore migrate lock` command in order to begin \
                              migration";
                return Err(Failed(reason.to_owned()));
            }
            Ok(Output::success(export::text(&client, &information.into()).await?))
        }
        MigrateVerb::Import(args) => {
            let config = args.datastore.config.display();
            Err(Failed(format!(
                "datastore migrate import is not supported yet: it belongs to the Kubernetes datastore ({} was not read, \
                 {config} not used)",
                args.filename.display()
            )))
        }
    }
}

/// Locks or unlocks the datastore.
async fn lock(cli: &Cli, args: &Datastore, world: &World<'_>, locked: bool) -> Result<Output, Failed> {
    let client = world.client_at(cli, &args.config).await?;
    let mut object = information(&client).await?;
    object.spec.datastore_ready = Some(!locked);
    client.update(object.into()).await?;
    Ok(Output::success(format!("Datastore {}.\n", if locked { "locked" } else { "unlocked" })))
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
