//! The IP pools that the rules of an earlier process name, for those who have no datastore to ask.

use super::model::{Family, SetName};
use super::{RulesError, ipset, nft};
use ipnet::Ipv4Net;
use std::collections::BTreeSet;

/// Sets whose members are pools: Calico's of all times.
const POOL_SETS: [&str; 3] = ["all-ipam-pools", "network-ip-pools", "masq-ipam-pools"];

/// Reads which pools the kernel's sets hold, ipset's and nftables', and why some could not be read; none where there are
/// no sets of ours.
pub fn known_pools() -> (BTreeSet<Ipv4Net>, Vec<RulesError>) {
    let names: Vec<String> = POOL_SETS.iter().map(|id| SetName::of(Family::Ipv4, id).0).collect();
    let (mut pools, mut unread) = (BTreeSet::new(), Vec::new());
    for members in [ipset::members(&names), nft::members(&names)] {
        match members {
            Ok(members) => pools.extend(members),
            Err(error) => unread.push(error),
        }
    }
    (pools, unread)
}
