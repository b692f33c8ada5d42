//! Which routes go from one peer to another, and what Calico adds to them (control reference §3.4).
//!
//! Our own routes go to every peer; whether a learned one may is decided here. RFC rules (who reflects, what communities
//! forbid) are `rib::export`'s.

use crate::config::{HIGHEST_LOCAL_PREF, NORMAL_METRIC};
use ipnet::Ipv4Net;
use std::collections::BTreeSet;

/// Which learned routes are told to other peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passing {
    /// All.
    All,
    /// Those inside `pools`, but for those inside `withheld`, and inside our own blocks only what is preferred over
    /// every normal route.
    Inside {
        /// Where a cluster's routes lie.
        pools: BTreeSet<Ipv4Net>,
        /// What stays out of BGP.
        withheld: BTreeSet<Ipv4Net>,
    },
}

impl Passing {
    /// Whether a learned route may be told to other peers; `own` are the prefixes we announce ourselves.
    pub(crate) fn permits(&self, prefix: &Ipv4Net, local_pref: u32, own: &BTreeSet<Ipv4Net>) -> bool {
        match self {
            Passing::All => true,
            Passing::Inside { withheld, .. } if covers(withheld, prefix) => false,
            Passing::Inside { .. } if covers(own, prefix) => local_pref > HIGHEST_LOCAL_PREF - NORMAL_METRIC,
            Passing::Inside { pools, .. } => covers(pools, prefix),
        }
    }
}

/// Whether one of `nets` contains `prefix`, looked up length by length.
fn covers(nets: &BTreeSet<Ipv4Net>, prefix: &Ipv4Net) -> bool {
    !nets.is_empty()
        && (0..=prefix.prefix_len())
            .any(|length| Ipv4Net::new(prefix.addr(), length).is_ok_and(|net| nets.contains(&net.trunc())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(nets: &[&str]) -> BTreeSet<Ipv4Net> {
        nets.iter().map(|net| net.parse().expect("a prefix")).collect()
    }

    #[test]
    fn pools_withheld_pools_and_own_blocks() {
        let passing = Passing::Inside { pools: set(&["172.16.0.0/16", "10.0.0.0/8"]), withheld: set(&["10.9.0.0/16"]) };
        let own = set(&["172.16.1.0/24"]);
        for (prefix, local_pref, expect) in [
            ("172.16.2.0/24", 2_147_482_623, true),
            ("172.16.0.0/16", 100, true),
            ("172.0.0.0/8", 100, false),
            ("0.0.0.0/0", 100, false),
            ("10.8.0.0/26", 100, true),
            ("10.9.1.0/26", 100, false),
            ("172.16.1.7/32", 2_147_482_623, false),
            ("172.16.1.7/32", 2_147_483_135, true),
        ] {
            let permitted = passing.permits(&prefix.parse().expect("a prefix"), local_pref, &own);
            assert_eq!(permitted, expect, "{prefix} with LOCAL_PREF {local_pref}");
        }
        assert!(Passing::All.permits(&"0.0.0.0/0".parse().expect("a prefix"), 100, &own));
    }
}
