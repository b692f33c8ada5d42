//! ipam release: giving back what nothing uses any more.

use super::args::Release;
use super::{address, failed};
use crate::ctl::args::Cli;
use crate::ctl::{Failed, Output, World};
use ipam::{Ipam, SystemClock};

pub(super) async fn run(cli: &Cli, args: &Release, world: &World<'_>) -> Result<Output, Failed> {
    let address = address(args.ip.as_deref().unwrap_or_default())?;
    let client = world.client_at(cli, &args.datastore.config).await?;
    let ipam = Ipam::new(client.store(), &SystemClock);
    let unassigned = ipam.release_ips(&[ipam::Release::of(address)]).await.map_err(failed)?;
    if unassigned.is_empty() {
        Ok(Output::success(format!("Successfully released IP address {address}\n")))
    } else {
        Err(Failed(format!("IP address {address} is not assigned")))
    }
}
