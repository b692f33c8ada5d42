//! How a node's kernel differs from what an agent has to leave that has adopted the case.

use super::listing::{Listing, Printer};
use super::node::Node;
use super::packet::{Packet, TABLES, without_hash};
use super::recorded::{RESOURCES, Recorded, Rules};
use super::stated::{self, TunnelAddress};
use crate::store::{Content, Store};
use anyhow::Result;
use serde_json::Value;

/// Says what differs.
pub(super) fn differences(node: &Node, case: &Recorded, store: &Store) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let routes = node.printed("ip", &["route"], "")?;
    for (interface, address) in case.pods() {
        let wanted = format!("{address} dev {interface} scope link");
        let leads = |line: &&str| line.split_whitespace().any(|word| word == interface);
        let ours: Vec<&str> = routes.lines().map(str::trim).filter(leads).collect();
        compare(&mut found, "routes", &[wanted.as_str()], &ours);
    }
    let neighbours = node.printed("ip", &["neigh", "show", "nud", "permanent"], "")?;
    compare(&mut found, "permanent neighbours", &[], &neighbours.lines().collect::<Vec<_>>());
    let shown = Shown::of(node, case.rules)?;
    let recorded = Packet::of(case.rules, &case.saved, &case.sets, &case.ruleset);
    let wanted = stated::wanted(recorded, case.rules, &tunnel_address(case, &store.content()?)?);
    found.extend(wanted.differences(&Packet::of(case.rules, &shown.saved, &shown.sets, &shown.ruleset)));
    match case.rules {
        Rules::Iptables => {
            for table in TABLES {
                let (recorded, ours) = (rules(&case.saved6, table), rules(&shown.saved6, table));
                compare(&mut found, &format!("IPv6 rules of table {table}"), &strs(&recorded), &strs(&ours));
            }
        }
        Rules::Nftables => {
            let (recorded, ours) = (rules(&case.ruleset, "ip6 calico"), rules(&shown.ruleset, "ip6 calico"));
            compare(&mut found, "rules of table ip6 calico", &strs(&recorded), &strs(&ours));
        }
    }
    let (recorded, ours) = (rules(&case.ruleset, "arp calico-arp"), rules(&shown.ruleset, "arp calico-arp"));
    compare(&mut found, "rules of table arp calico-arp", &strs(&recorded), &strs(&ours));
    Ok(found)
}

/// What the programs print of the node.
struct Shown {
    saved: Listing,
    saved6: Listing,
    ruleset: Listing,
    sets: Listing,
}

impl Shown {
    fn of(node: &Node, rules: Rules) -> Result<Shown> {
        let tables = |ruleset: &str| Listing::read(Printer::Nft, ruleset);
        let nothing = || Listing::new(Printer::Iptables);
        Ok(match rules {
            Rules::Iptables => Shown {
                saved: Listing::read(Printer::Iptables, &node.printed("iptables-nft-save", &[], "")?),
                saved6: Listing::read(Printer::Iptables, &node.printed("ip6tables-nft-save", &[], "")?),
                ruleset: tables(&node.printed("nft", &["-s", "list", "ruleset", "arp"], "")?),
                sets: Listing::read(Printer::Ipset, &node.printed("ipset", &["save"], "")?),
            },
            Rules::Nftables => Shown {
                saved: nothing(),
                saved6: nothing(),
                ruleset: tables(&node.printed("nft", &["-s", "list", "ruleset"], "")?),
                sets: Listing::new(Printer::Ipset),
            },
        })
    }
}

/// A table's rules and members, each with its chain or set.
fn rules(listing: &Listing, table: &str) -> Vec<String> {
    let all = listing.table(table).flat_map(|(name, lines)| lines.iter().map(move |line| (name, line)));
    all.map(|(name, line)| format!("{name}: {}", without_hash(line))).collect()
}

/// The address of this node's tunnel device as it was recorded, and as it is stored.
fn tunnel_address(case: &Recorded, stored: &Content) -> Result<TunnelAddress> {
    let key = format!("{RESOURCES}nodes/{}", case.node()?);
    let address = |content: &Content| {
        let node: Value = serde_json::from_str(content.get(&key)?).ok()?;
        node["spec"]["bgp"]["ipv4IPIPTunnelAddr"].as_str().filter(|text| !text.is_empty()).map(str::to_owned)
    };
    Ok(TunnelAddress { recorded: address(&case.content), ours: address(stored) })
}

/// Notes what is only in one of two lists, whatever their order.
fn compare(found: &mut Vec<String>, what: &str, recorded: &[&str], ours: &[&str]) {
    let (mut recorded, mut ours) = (recorded.to_vec(), ours.to_vec());
    recorded.sort_unstable();
    ours.sort_unstable();
    if recorded != ours {
        let only = |these: &[&str], those: &[&str], sign| -> String {
            these.iter().filter(|line| !those.contains(line)).map(|line| format!("\n{sign} {line}")).collect()
        };
        let (less, more) = (only(&recorded, &ours, '-'), only(&ours, &recorded, '+'));
        found.push(format!("{what}: {} recorded, {} ours{less}{more}", recorded.len(), ours.len()));
    }
}

fn strs<'a>(list: impl IntoIterator<Item = &'a String>) -> Vec<&'a str> {
    list.into_iter().map(String::as_str).collect()
}
