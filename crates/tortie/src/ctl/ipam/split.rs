//! ipam split: smaller pools for one that is to be given away in part.

use super::args::Split;
use crate::client::Client;
use crate::ctl::args::Cli;
use crate::ctl::migrate::is_locked;
use crate::ctl::{Failed, Output, World};
use api::kind::IpPoolSpec;
use api::resource::{Kind, Typed};
use ipnet::IpNet;

pub(super) async fn run(cli: &Cli, args: &Split, world: &World<'_>) -> Result<Output, Failed> {
    let number = &args.number;
    let parts: i64 = number.parse().map_err(|error| {
        Failed(format!("error reading number to split IP pools into. {number} is not a valid number: {error}"))
    })?;
    let client = world.client_at(cli, &args.datastore.config).await?;
    if !is_locked(&client).await? {
        return Err(Failed(
            "datastore is not locked. Run the `calicoctl datastore migrate lock` command in order split the IP pools"
                .to_owned(),
        ));
    }
    let pool = find(&client, args).await?;
    let made = client.split_pool(&pool, parts).await.map_err(|error| Failed(error.to_string()))?;
    // the first two sentences share a line, and the last line has no end, as calicoctl's
    let mut text = format!("IP Pool {} was successfully split into {parts} smaller pools.", pool.metadata.name);
    for part in made {
        text += &format!("Created {} with CIDR {}.\n", part.metadata.name, part.spec.cidr);
    }
    text += "Please refer to the documentation for final steps.";
    Ok(Output::success(text))
}

async fn find(client: &Client, args: &Split) -> Result<Typed<IpPoolSpec>, Failed> {
    if let Some(name) = &args.name {
        let found = client.get(Kind::IPPool, "", name).await;
        let found = found.map_err(|error| Failed(format!("unable to find IP pool with name {name}: {error}")))?;
        return found.try_into().map_err(|kind: Kind| Failed(format!("found a {}", kind.name())));
    }
    let cidr = args.cidr.as_deref().unwrap_or_default();
    let missing = || Failed(format!("unable to find IP pool covering the specified CIDR {cidr}"));
    let wanted: IpNet = cidr.parse().map_err(|_| missing())?;
    let pools = client.list(Kind::IPPool, "").await?.into_iter().filter_map(|resource| resource.try_into().ok());
    let mut pools =
        pools.filter(|pool: &Typed<IpPoolSpec>| pool.spec.cidr.parse::<IpNet>().is_ok_and(|range| range == wanted));
    pools.next().ok_or_else(missing)
}
