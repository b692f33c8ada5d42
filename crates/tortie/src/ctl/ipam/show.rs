//! ipam show: pools, blocks, one address, borrowed addresses, the configuration.

use super::args::Show;
use super::number::{count, share};
use super::{address, failed, unreadable_lines};
use crate::ctl::args::Cli;
use crate::ctl::{Failed, Output, World, format, table};
use api::ipam::Attribute;
use ipam::usage::{Borrowed, PoolUsage, Usage, borrowed};
use ipam::{Ipam, LookupError, SystemClock};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;

pub(super) async fn run(cli: &Cli, args: &Show, world: &World<'_>) -> Result<Output, Failed> {
    let json = format::wants_json(&args.output)?;
    let wanted = args.which.ip.as_deref().map(address).transpose()?;
    let client = world.client_at(cli, &args.datastore.config).await?;
    let ipam = Ipam::new(client.store(), &SystemClock);
    let (found, unreadable) = if let Some(wanted) = wanted {
        (Found::Holder(wanted, holder(&ipam, wanted).await?), Vec::new())
    } else if args.which.show_borrowed {
        let (blocks, unreadable) = ipam.blocks().await.map_err(failed)?;
        let (found, untold) = borrowed(&blocks);
        (Found::Borrowed(found, untold), unreadable)
    } else if args.which.show_configuration {
        (Found::Configuration(ipam.config().await.map_err(failed)?), Vec::new())
    } else {
        let (usage, unreadable) = ipam.usage().await.map_err(failed)?;
        (Found::Usage(usage, args.which.show_blocks), unreadable)
    };
    let text = if json { format!("{:#}\n", found.json()) } else { found.text() };
    Ok(Output { stderr: unreadable_lines(&unreadable), ..Output::success(text) })
}

/// What was asked for.
enum Found {
    /// An address, and who holds it.
    Holder(IpAddr, Option<Attribute>),
    /// What nodes hold in blocks of others, and how many allocations name no node.
    Borrowed(Vec<Borrowed>, usize),
    Configuration(api::ipam::Config),
    /// The pools, and whether their blocks are shown.
    Usage(Vec<PoolUsage>, bool),
}

impl Found {
    fn text(&self) -> String {
        match self {
            Found::Holder(address, Some(attribute)) => format!("IP {address} is in use\n{}", holder_text(attribute)),
            Found::Holder(address, None) => format!("{address} is not assigned\n"),
            Found::Borrowed(found, untold) => borrowed_table(found, *untold),
            Found::Configuration(config) => configuration(config),
            Found::Usage(pools, with_blocks) => usage_table(pools, *with_blocks),
        }
    }

    fn json(&self) -> Value {
        let usage = |usage: &Usage| {
            json!({
                "cidr": usage.cidr.to_string(), "total": usage.total.to_string(),
                "inUse": usage.in_use.to_string(), "free": usage.free().to_string(),
            })
        };
        match self {
            Found::Holder(address, holder) => json!({"ip": address, "inUse": holder.is_some(), "holder": holder}),
            Found::Borrowed(found, untold) => {
                let row = |it: &Borrowed| {
                    let (kind, to) = holder_cells(&it.holder);
                    json!({
                        "ip": it.address, "node": it.node, "block": it.block, "blockOwner": it.owner, "type": kind,
                        "allocatedTo": to,
                    })
                };
                json!({"borrowed": found.iter().map(row).collect::<Vec<_>>(), "withoutNode": untold})
            }
            Found::Configuration(config) => json!({
                "strictAffinity": config.strict_affinity,
                "autoAllocateBlocks": config.auto_allocate_blocks,
                "maxBlocksPerHost": config.max_blocks_per_host,
                "kubeVirtVMAddressPersistence": config.kube_virt_vm_address_persistence,
            }),
            Found::Usage(pools, with_blocks) => {
                let pool = |it: &PoolUsage| {
                    let mut value = json!({"pool": it.pool.as_ref().map(usage)});
                    if *with_blocks {
                        value["blocks"] = it.blocks.iter().map(usage).collect();
                    }
                    value
                };
                json!({"pools": pools.iter().map(pool).collect::<Vec<_>>()})
            }
        }
    }
}

/// Who holds an address, if anybody does.
async fn holder(ipam: &Ipam<'_>, address: IpAddr) -> Result<Option<Attribute>, Failed> {
    match ipam.attributes_of(address).await {
        Ok(attribute) => Ok(Some(attribute)),
        Err(LookupError::NotAssigned(_)) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn holder_text(attribute: &Attribute) -> String {
    let list = |title: &str, attributes: &Option<BTreeMap<String, String>>| {
        let attributes = attributes.as_ref().filter(|attributes| !attributes.is_empty())?;
        let lines: String = attributes.iter().map(|(name, value)| format!("  {name}: {value}\n")).collect();
        Some(format!("{title} Owner Attributes:\n{lines}"))
    };
    let mut text = format!("Handle ID: {}\n", attribute.handle_id.as_deref().unwrap_or("<none>"));
    text += &list("Active", &attribute.secondary).unwrap_or("No Active Owner attributes defined\n".to_owned());
    text += &list("Alternate", &attribute.alternate_owner_attrs).unwrap_or_default();
    text
}

fn usage_table(pools: &[PoolUsage], with_blocks: bool) -> String {
    let row = |kind: &str, usage: &Usage| {
        let Usage { cidr, total, in_use } = usage;
        vec![kind.to_owned(), cidr.to_string(), count(*total), share(*in_use, *total), share(usage.free(), *total)]
    };
    let mut rows = vec![["GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS FREE"].map(str::to_owned).to_vec()];
    for PoolUsage { pool, blocks } in pools {
        rows.extend(pool.iter().map(|pool| row("IP Pool", pool)));
        if with_blocks {
            rows.extend(blocks.iter().map(|block| row("Block", block)));
        }
    }
    table::boxed(&rows)
}

fn borrowed_table(found: &[Borrowed], untold: usize) -> String {
    let heading = ["IP", "BORROWING-NODE", "BLOCK", "BLOCK OWNER", "TYPE", "ALLOCATED-TO"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(found.iter().map(|it| {
        let (kind, to) = holder_cells(&it.holder);
        let owner = it.owner.clone().unwrap_or_default();
        vec![it.address.to_string(), it.node.clone(), it.block.to_string(), owner, kind, to]
    }));
    let mut text = table::boxed(&rows);
    if untold > 0 {
        text += &format!(
            "\nNote: found {untold} IP allocations without an explicit node association. Unable to determine if they \
             are borrowed.\n"
        );
    }
    text
}

/// What kind of thing holds an address, and its name.
fn holder_cells(holder: &Attribute) -> (String, String) {
    let attribute = |name: &str| holder.secondary.as_ref().and_then(|attributes| attributes.get(name)).cloned();
    let within = |name: String| format!("{}/{name}", attribute("namespace").unwrap_or_default());
    if let Some(machine) = attribute("vmi-name") {
        ("vmi".to_owned(), within(machine))
    } else if let Some(pod) = attribute("pod") {
        ("pod".to_owned(), within(pod))
    } else {
        (attribute("type").unwrap_or_default(), String::new())
    }
}

fn configuration(config: &api::ipam::Config) -> String {
    let persistence = config.kube_virt_vm_address_persistence.clone().unwrap_or_default();
    let rows = [
        ("PROPERTY", "VALUE".to_owned()),
        ("StrictAffinity", config.strict_affinity.to_string()),
        ("AutoAllocateBlocks", config.auto_allocate_blocks.to_string()),
        ("MaxBlocksPerHost", config.max_blocks_per_host.to_string()),
        ("KubeVirtVMAddressPersistence", persistence),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    table::boxed(&rows)
}
