//! The node's IPv4 address in the datastore: what it should be, that no other node has it, and another look at both
//! while the agent runs (control reference §4.3).
//!
//! How an address is found among the host's is [`super::detect`]'s; what follows from another one is the graph's, which
//! sees the node's resource change like any other.

use super::detect::{DetectError, Interface, Interfaces, detect, interfaces, is_excluded};
use super::options::{Options, truthy};
use crate::client::Client;
use anyhow::{Context, bail};
use api::event::Unreadable;
use api::kind::{NodeBgpSpec, NodeInterface, NodeSpec};
use api::resource::{Kind, Resource, Typed};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Pause after a look that could not be ended: an address that another node has may be free soon.
const RETRY: Duration = Duration::from_secs(1);

/// Another node has the address.
#[derive(Debug, thiserror::Error)]
#[error("IPv4 address conflict: node {node} wants {address}, which node {holder} has{given_up}")]
pub(crate) struct Conflict {
    node: String,
    address: String,
    holder: String,
    /// What became of the address that the node had until now, to be read after the rest.
    given_up: String,
}

/// Puts into `node` the address that it should have, and with an operator's own address the host's interfaces too.
///
/// The address is checked against other nodes if it is another than the node had. When it is taken, and was detected,
/// the node's own old one is deleted in the datastore before this fails: so nodes that changed addresses among
/// themselves each find theirs free at last. Returns what an operator should be warned of; empty if nothing.
pub(crate) async fn settle(client: &Client, node: &mut Typed<NodeSpec>, options: &Options) -> anyhow::Result<String> {
    let seen = interfaces().context("list this host's addresses")?;
    let before = node.spec.bgp.clone().unwrap_or_default();
    let (wanted, warning) = match wanted(options, &before, &seen)? {
        Wanted::Address(address) => (address.to_string(), String::new()),
        Wanted::Registered => (before.ipv4_address.clone(), String::new()),
        Wanted::RegisteredFor(reason) => {
            (before.ipv4_address.clone(), format!("{reason}; the registered address {} is kept", before.ipv4_address))
        }
    };
    if wanted != before.ipv4_address {
        if !truthy(&options.disable_node_ip_check)
            && let Some(conflict) = conflict(client, &node.metadata.name, &wanted).await?
        {
            return Err(give_up(client, node, options, conflict).await?.into());
        }
        node.spec.bgp.get_or_insert_default().ipv4_address = wanted;
    }
    if !["", "autodetect", "none"].contains(&options.ip.as_str()) {
        let known = &mut node.spec.interfaces;
        if seen.complete || known.is_empty() {
            *known = described(&seen.all);
        }
    }
    Ok(warning)
}

/// Which address is to be registered.
enum Wanted {
    Address(Ipv4Net),
    /// The one that is, or none where none is.
    Registered,
    /// The one that is, since no other was found, or not for certain.
    RegisteredFor(String),
}

/// A list of interfaces that is not complete never changes what is registered; where nothing is, it has to do.
fn wanted(options: &Options, before: &NodeBgpSpec, seen: &Interfaces) -> anyhow::Result<Wanted> {
    let registered = before.ipv4_address.as_str();
    match options.ip.as_str() {
        "none" => Ok(Wanted::Registered),
        "" if !registered.is_empty() => Ok(Wanted::Registered),
        "" | "autodetect" => match detect(&options.ip_autodetection_method, &seen.all) {
            Ok(address) if !seen.complete && !registered.is_empty() && address.to_string() != registered => {
                let reason = "not all that the kernel lists of links and addresses can be read";
                Ok(Wanted::RegisteredFor(format!("{reason}, and the rest speaks for {address}")))
            }
            Ok(address) => Ok(Wanted::Address(address)),
            Err(error @ DetectError::Nothing { .. }) if !registered.is_empty() => {
                Ok(Wanted::RegisteredFor(error.to_string()))
            }
            Err(error) => Err(error.into()),
        },
        text => {
            if let Ok(network) = text.parse::<Ipv4Net>() {
                return Ok(Wanted::Address(network));
            }
            let Ok(address) = text.parse::<Ipv4Addr>() else {
                bail!("IP {text:?}: neither autodetect, none, nor an IPv4 address with or without prefix length");
            };
            let mut addresses = seen.all.iter().flat_map(|interface| &interface.addresses).copied();
            let held = addresses.find(|held| held.addr() == address);
            // an interface that is away for a moment does not change the subnet
            let known = registered.parse::<Ipv4Net>().ok().filter(|known| known.addr() == address);
            let network = if seen.complete { held.or(known) } else { known.or(held) };
            Ok(Wanted::Address(network.unwrap_or_else(|| Ipv4Net::from(address))))
        }
    }
}

/// Finds another node with the address.
async fn conflict(client: &Client, name: &str, address: &str) -> anyhow::Result<Option<Conflict>> {
    let host = |text: &str| text.split('/').next().unwrap_or("").to_owned();
    let nodes = client.list_readable(Kind::Node, "").await.context("list nodes")?;
    for Unreadable { key, reason } in nodes.unreadable {
        let key = datastore::layout::path(&key);
        tracing::warn!(key, reason, "a node cannot be read; whether it has this node's address is not known");
    }
    for resource in nodes.resources {
        let Resource::Node(other) = resource else { continue };
        let theirs = other.spec.bgp.as_ref().map(|bgp| host(&bgp.ipv4_address)).unwrap_or_default();
        if other.metadata.name != name && !theirs.is_empty() && theirs == host(address) {
            let (node, holder) = (name.to_owned(), other.metadata.name);
            return Ok(Some(Conflict { node, address: theirs, holder, given_up: String::new() }));
        }
    }
    Ok(None)
}

/// Deletes the node's detected address, which is out of date, for others to have; returns what to say of the conflict.
async fn give_up(
    client: &Client,
    node: &Typed<NodeSpec>,
    options: &Options,
    conflict: Conflict,
) -> anyhow::Result<Conflict> {
    let mut node = node.clone();
    let Some(bgp) = node.spec.bgp.as_mut().filter(|bgp| options.ip == "autodetect" && !bgp.ipv4_address.is_empty())
    else {
        return Ok(conflict);
    };
    let old = std::mem::take(&mut bgp.ipv4_address);
    if *bgp == NodeBgpSpec::default() {
        node.spec.bgp = None;
    }
    let name = node.metadata.name.clone();
    client.update(Resource::from(node)).await.with_context(|| format!("take {old} from node {name}"))?;
    let given_up = format!("; {old}, which {name} had until now, is given up, so that another try may succeed");
    Ok(Conflict { given_up, ..conflict })
}

/// The interfaces with IPv4 addresses, as a Node shows them.
fn described(seen: &[Interface]) -> Vec<NodeInterface> {
    let counts = |interface: &&Interface| !interface.addresses.is_empty() && !is_excluded(&interface.name);
    let described = |interface: &Interface| NodeInterface {
        name: interface.name.clone(),
        addresses: interface.addresses.iter().map(|address| address.addr().to_string()).collect(),
    };
    let mut interfaces: Vec<NodeInterface> = seen.iter().filter(counts).map(described).collect();
    interfaces.sort_by(|a, b| a.name.cmp(&b.name));
    interfaces
}

/// Looks at the address again and again, and registers what has changed, for as long as the agent runs.
///
/// An address that another node has does not end the agent: its old one is given up as at the start, and it looks again
/// soon. A node whose resource somebody deleted is left alone.
pub(crate) async fn keep(client: Client, name: String, options: Options) {
    let interval = options.poll_interval();
    let (mut pause, mut said) = (interval, String::new());
    loop {
        tokio::time::sleep(pause).await;
        let outcome = look(&client, &name, &options).await;
        pause = if outcome.is_ok() { interval } else { interval.min(RETRY) };
        let words = match outcome {
            Ok(warning) => warning,
            Err(error) => format!("looking again soon: {error:#}"),
        };
        if words != said && !words.is_empty() {
            tracing::warn!(node = name, "this node's address: {words}");
        }
        said = words;
    }
}

async fn look(client: &Client, name: &str, options: &Options) -> anyhow::Result<String> {
    let present = match client.get(Kind::Node, "", name).await {
        Ok(resource) => resource,
        Err(error) if error.not_found() => return Ok(String::new()),
        Err(error) => return Err(error).with_context(|| format!("read node {name}")),
    };
    let Ok(before) = Typed::<NodeSpec>::try_from(present) else { bail!("node {name} is not a Node") };
    let mut node = before.clone();
    let warning = settle(client, &mut node, options).await?;
    if node == before {
        return Ok(warning);
    }
    let address = |node: &Typed<NodeSpec>| node.spec.bgp.as_ref().map_or("", |bgp| &bgp.ipv4_address).to_owned();
    let (from, to) = (address(&before), address(&node));
    client.update(Resource::from(node)).await.with_context(|| format!("update node {name}"))?;
    if from != to {
        tracing::warn!(node = name, from, to, "this node's address has changed");
    }
    Ok(warning)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    const ADDRESSES: [(&str, &str); 2] = [("eth0", "192.168.10.10/24"), ("eth1", "10.1.2.3/16")];

    /// What is registered at last, and the warning.
    fn settled(ip: &str, registered: &str, complete: bool) -> (String, Option<String>) {
        let interface = |(name, address): (&str, &str)| Interface {
            name: name.to_owned(),
            addresses: vec![address.parse().expect("a literal address")],
        };
        let options = Options::parse_from(["tortie node", "--ip", ip]);
        let before = NodeBgpSpec { ipv4_address: registered.to_owned(), ..NodeBgpSpec::default() };
        let seen = Interfaces { all: ADDRESSES.map(interface).into(), complete };
        match wanted(&options, &before, &seen).expect("an address") {
            Wanted::Address(address) => (address.to_string(), None),
            Wanted::Registered => (registered.to_owned(), None),
            Wanted::RegisteredFor(reason) => (registered.to_owned(), Some(reason)),
        }
    }

    #[test]
    fn a_list_of_which_a_part_cannot_be_read_changes_no_address() {
        let doubt =
            "not all that the kernel lists of links and addresses can be read, and the rest speaks for 10.1.2.3/16";
        for (ip, registered, complete, expect, warning) in [
            ("autodetect", "192.0.2.7/24", true, "10.1.2.3/16", None),
            ("autodetect", "192.0.2.7/24", false, "192.0.2.7/24", Some(doubt)),
            ("autodetect", "10.1.2.3/16", false, "10.1.2.3/16", None),
            // there is nothing better to go by
            ("autodetect", "", false, "10.1.2.3/16", None),
            ("", "", false, "10.1.2.3/16", None),
            // an operator's word counts; only the subnet is looked up
            ("10.1.2.3", "192.0.2.7/24", false, "10.1.2.3/16", None),
            ("10.1.2.3", "10.1.2.3/24", false, "10.1.2.3/24", None),
            ("10.1.2.3", "10.1.2.3/24", true, "10.1.2.3/16", None),
            ("192.0.2.9/30", "192.0.2.7/24", false, "192.0.2.9/30", None),
        ] {
            let expect = (expect.to_owned(), warning.map(str::to_owned));
            assert_eq!(settled(ip, registered, complete), expect, "{ip:?} {registered:?} {complete}");
        }
    }
}
