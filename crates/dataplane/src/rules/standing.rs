//! Whether rules of ours stand that an earlier process wrote, whichever driver wrote them, or Calico.

use super::iptables::{self, Backend};
use super::model::{Hook, Ruleset, Table};
use super::{legacy, nft};
use std::collections::BTreeSet;

/// Whether packets go through rules of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// They do, everywhere that ours are wanted.
    Complete,
    /// Not everywhere, or nobody can say.
    Missing,
}

/// Looks whether each of the kernel's chains in which `ruleset` has rules leads to a chain of ours.
///
/// Nothing is written. What is in those chains is not looked at.
pub fn standing(ruleset: &Ruleset) -> Standing {
    let wanted: BTreeSet<(Table, Hook)> = ruleset.hooks.keys().copied().collect();
    let legacy = || match legacy::has_tables() {
        Ok(true) => iptables::hooked(Backend::Legacy).ok(),
        Ok(false) | Err(_) => None,
    };
    let stand = nft::hooked::in_our_table().is_ok_and(|found| wanted.is_subset(&found))
        || nft::hooked::in_iptables_tables().is_ok_and(|found| wanted.is_subset(&found))
        || legacy().is_some_and(|found| wanted.is_subset(&found));
    if stand { Standing::Complete } else { Standing::Missing }
}
