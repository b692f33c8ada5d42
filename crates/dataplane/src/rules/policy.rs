//! Which chains of Calico's in this network namespace close something: those of policies, of groups of policies and of
//! host endpoints, and those of profiles that do not let everything through.
//!
//! The chains of pods' own interfaces and those that dispatch to them are there without any policy, and do not count.
//! IPv6 does not either: nobody removes those rules while the agent runs.

use super::iptables::{self, Backend};
use super::{RulesError, legacy, nft};
use std::collections::BTreeSet;

/// What the names of chains start with that are there for a policy or a host endpoint.
const OF_POLICY: [&str; 8] =
    ["cali-pi-", "cali-po-", "cali-gi-", "cali-go-", "cali-fh-", "cali-th-", "cali-fhfw-", "cali-thfw-"];
/// And those of profiles, which most endpoints have.
const OF_PROFILE: [&str; 2] = ["cali-pri-", "cali-pro-"];

/// Whether a chain closes something, as far as its name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Closing,
    /// It hangs on its rules.
    Profile,
    Other,
}

pub(super) fn named(chain: &str) -> Named {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| chain.starts_with(prefix));
    if starts(&OF_POLICY) {
        Named::Closing
    } else if starts(&OF_PROFILE) {
        Named::Profile
    } else {
        Named::Other
    }
}

/// A rule of a profile's chain, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Whether it is for every packet.
    pub(super) certain: bool,
    pub(super) effect: Effect,
}

/// What a rule does with the packets that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing, but a comment or a line in a log.
    Nothing,
    /// Marks them, for a verdict that follows.
    Mark,
    /// Drops or rejects them.
    Refuse,
    Other,
}

/// Whether a profile's chain lets everything through, or has no opinion. What it lets through it marks, and then
/// returns; what it refuses it marks as well, and then drops.
pub(super) fn lets_through(steps: &[Step]) -> bool {
    let mut deciding = steps.iter().filter(|step| step.effect != Effect::Nothing);
    match deciding.next() {
        None => true,
        Some(first) => {
            let refused = deciding.next().is_some_and(|second| second.effect == Effect::Refuse);
            first.certain && first.effect == Effect::Mark && !refused
        }
    }
}

/// Names the chains that close something on the calling thread's network; the programs of iptables are started only
/// where such chains may be theirs.
pub fn closing_chains() -> Result<BTreeSet<String>, RulesError> {
    let mut found = nft::policy::closing_chains()?;
    let suspects = nft::policy::suspects()?;
    if !suspects.is_empty() {
        found.extend(match iptables::closing_chains(Backend::Nft) {
            Ok(chains) => chains,
            // nobody can say what the profiles' chains do
            Err(RulesError::MissingTool { .. }) => suspects,
            Err(error) => return Err(error),
        });
    }
    if legacy::has_tables()? {
        found.extend(iptables::closing_chains(Backend::Legacy)?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_by_name() {
        for (chain, expect) in [
            ("cali-pi-default.deny", Named::Closing),
            ("cali-po-_hFb8AN0B2FzvrYMJHBl", Named::Closing),
            ("cali-gi-yrUtH2lrXyYhBf2fPfcS", Named::Closing),
            ("cali-fh-any-interface-at-all", Named::Closing),
            ("cali-thfw-eth0", Named::Closing),
            ("cali-pri-kns.default", Named::Profile),
            ("cali-pro-_TI1Jm4dJqQzYb0Rx3u", Named::Profile),
            ("cali-tw-cali20aafc107a9", Named::Other),
            ("cali-fw-cali20aafc107a9", Named::Other),
            ("cali-from-wl-dispatch", Named::Other),
            ("cali-from-host-endpoint", Named::Other),
            ("cali-to-hep-forward", Named::Other),
            ("cali-failsafe-in", Named::Other),
            ("cali-rpf-skip", Named::Other),
            ("cali-wl-to-host", Named::Other),
            ("cali-cidr-block", Named::Other),
        ] {
            assert_eq!(named(chain), expect, "{chain}");
        }
    }
}
