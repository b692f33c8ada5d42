//! The IP pools that the rules of an earlier process name, for those who have no datastore to ask.

use super::model::{Family, SetName};
use super::{ipset, nft};
use ipnet::Ipv4Net;
use std::collections::BTreeSet;

/// Sets whose members are pools: Calico's of all times.
const POOL_SETS: [&str; 3] = ["all-ipam-pools", "network-ip-pools", "masq-ipam-pools"];

/// Reads which pools the kernel's sets hold; none where there are no sets of ours.
pub fn known_pools() -> BTreeSet<Ipv4Net> {
    let names: Vec<String> = POOL_SETS.iter().map(|id| SetName::of(Family::Ipv4, id).0).collect();
    let (mut pools, tables) = (ipset::members(&names), nft::members(&names));
    pools.extend(tables);
    pools
}
