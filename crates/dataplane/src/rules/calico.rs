//! What Calico leaves on a node that Tortie has nothing like: said once to the operator, since it matters to them.
//!
//! Chains of policy go when the agent starts, each table in one transaction, so that no packet meets half of them. IPv6
//! and ARP rules stay as they are: the agent keeps none of its own.

use super::policy::{self, Named};
use tracing::warn;

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

/// Warns of tables that keep rules of Calico's.
pub(super) fn warn_of_leftovers(tables: &[String]) {
    if !tables.is_empty() {
        warn!(
            tables = tables.join(", "),
            "IPv6 and ARP rules of Calico's stay: Tortie keeps none; `tortie node cleanup` removes them with the rest"
        );
    }
}
