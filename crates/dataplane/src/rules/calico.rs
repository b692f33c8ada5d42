//! What Calico leaves on a node that Tortie has nothing like: said once to the operator, since it matters to them.
//!
//! Chains of policy go when the agent starts, each table in one transaction, so that no packet meets half of them. IPv6
//! and ARP rules stay as they are: the agent keeps none of its own.

use super::policy::{self, Named};
use std::collections::BTreeSet;
use tracing::{info, warn};

/// How many names of chains one line of the log has.
const NAMES: usize = 10;

/// Warns of chains that are about to go, if any of them carries policy.
pub(super) fn warn_of_policy<'a>(going: impl Iterator<Item = &'a str>) {
    let count = going.filter(|name| policy::named(name) != Named::Other).count();
    if count > 0 {
        warn!(
            chains = count,
            "Calico's chains of network policy go: Tortie does not enforce policy, what they forbade is allowed"
        );
    }
}

/// Tells what has been removed from an iptables interface that is not written to, if anything has: our chains, and
/// `writes` changes in all.
pub(super) fn tell_of_sweep(interface: &str, chains: &BTreeSet<String>, writes: usize) {
    if writes == 0 {
        return;
    }
    let mut names = chains.iter().take(NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    if chains.len() > NAMES {
        names = format!("{names} and {} more", chains.len() - NAMES);
    }
    info!(interface, chains = names, changes = writes, "removed what Calico, or an earlier agent, had in iptables");
}

/// Warns of tables that keep rules of Calico's.
pub(super) fn warn_of_leftovers(tables: &[String]) {
    if !tables.is_empty() {
        warn!(
            tables = tables.join(", "),
            "IPv6 and ARP rules of Calico's stay: Tortie keeps none; `tortie node cleanup` removes them with the rest"
        );
    }
}
