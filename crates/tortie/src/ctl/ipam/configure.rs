//! ipam configure: how addresses are given out.

use super::args::Configure;
use super::failed;
use crate::ctl::args::Cli;
use crate::ctl::{Failed, Output, World};
use ipam::{Ipam, SystemClock};

/// The most blocks that a limit may allow.
const MAX_BLOCKS: i64 = 1_000_000;

pub(super) async fn run(cli: &Cli, args: &Configure, world: &World<'_>) -> Result<Output, Failed> {
    let refused = |text: &str| Failed(text.to_owned());
    let strict = args.strict_affinity.as_deref().map(parse_bool).transpose();
    let strict = strict.map_err(|()| refused("invalid value. Use true or false to set strictaffinity"))?;
    let limit = args.max_blocks_per_host.as_deref().map(parse_limit).transpose();
    let limit = limit.map_err(|()| refused("invalid value for maxblockhost. Use a valid number"))?;
    let persistence = args.kubevirt_ip_persistence.clone();
    if persistence.as_deref().is_some_and(|word| !matches!(word, "Enabled" | "Disabled")) {
        return Err(refused("invalid value for --kubevirt-ip-persistence. Use Enabled or Disabled"));
    }
    if strict.is_none() && limit.is_none() && persistence.is_none() {
        return Err(refused("at least one configuration option must be specified"));
    }

    let client = world.client_at(cli, &args.datastore.config).await?;
    let ipam = Ipam::new(client.store(), &SystemClock);
    let change = |config: &mut api::ipam::Config| {
        config.strict_affinity = strict.unwrap_or(config.strict_affinity);
        config.max_blocks_per_host = limit.unwrap_or(config.max_blocks_per_host);
        if persistence.is_some() {
            config.kube_virt_vm_address_persistence.clone_from(&persistence);
        }
    };
    ipam.change_config(change).await.map_err(failed)?;

    let set = [
        strict.map(|value| ("StrictAffinity", value.to_string())),
        limit.map(|value| ("MaxBlocksPerHost", value.to_string())),
        persistence.map(|value| ("KubeVirtVMAddressPersistence", value)),
    ];
    let lines = set.into_iter().flatten().map(|(name, value)| format!("Successfully set {name} to: {value}\n"));
    let mut output = Output::success(lines.collect());
    if args.kubevirt_ip_persistence.is_some() {
        output.stderr = "warning: kubeVirtVMAddressPersistence is stored but not acted on yet\n".to_owned();
    }
    Ok(output)
}

/// Reads a truth value in any form that Go takes.
fn parse_bool(text: &str) -> Result<bool, ()> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(()),
    }
}

fn parse_limit(text: &str) -> Result<i64, ()> {
    text.parse().ok().filter(|limit| (0..=MAX_BLOCKS).contains(limit)).ok_or(())
}
