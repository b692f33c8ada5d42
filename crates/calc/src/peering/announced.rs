//! What a node tells its peers: its own prefixes, and which pools' routes it passes on (control reference §3.4).

use super::pools;
use crate::tables::Tables;
use ipnet::Ipv4Net;
use std::collections::BTreeSet;

/// Prefixes to announce, and what is passed on.
pub(super) struct Announced {
    pub(super) originate: BTreeSet<Ipv4Net>,
    pub(super) pools: BTreeSet<Ipv4Net>,
    pub(super) withheld: BTreeSet<Ipv4Net>,
}

/// The node's blocks, and its workloads' addresses outside them, less pools kept out of BGP.
///
/// A borrowed address is announced only while its pool is enabled (steps 1, 5 and 8); a block of one address only while
/// a workload has it, since there is no blackhole route for it.
pub(super) fn announced(tables: &Tables) -> Announced {
    let withheld: BTreeSet<Ipv4Net> = pools(tables, |pool| pool.disable_bgp_export).collect();
    let enabled: BTreeSet<Ipv4Net> = pools(tables, |pool| !pool.disable_bgp_export && !pool.disabled).collect();
    let inside = |pools: &BTreeSet<Ipv4Net>, prefix: &Ipv4Net| pools.iter().any(|pool| pool.contains(prefix));
    let blocks: BTreeSet<Ipv4Net> = tables.announced_blocks().collect();
    let workloads: BTreeSet<Ipv4Net> =
        tables.endpoints.values().flat_map(|endpoint| &endpoint.networks).copied().collect();
    let borrowed = workloads.iter().filter(|address| !inside(&blocks, address) && inside(&enabled, address));
    let own = blocks.iter().filter(|block| block.prefix_len() < 32 || workloads.contains(block));
    let originate = own.chain(borrowed).filter(|prefix| !inside(&withheld, prefix)).copied().collect();
    Announced { originate, pools: enabled, withheld }
}
