//! Which of the kernel's two iptables interfaces to write to.
//!
//! A node has `iptables-nft` and `iptables-legacy`; whoever else writes rules uses one of them, and rules split
//! over both are run twice and hard to follow. Kubernetes' own chains decide, then the number of rules, then
//! what the plain name `iptables` stands for, since that is what an operator will look with. (Calico decides a
//! tie for legacy.) The legacy interface is only asked if it has tables: asking makes them.

use crate::rules::{RulesError, legacy, tool};

/// An iptables interface, by the infix of its programs' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rules) enum Backend {
    /// `iptables-nft-…`.
    Nft,
    /// `iptables-legacy-…`.
    Legacy,
    /// `ip6tables-legacy-…`, where nothing is written but removals.
    LegacyIpv6,
    /// Whatever `iptables-…` is.
    Plain,
}

impl Backend {
    fn program(self, verb: &str) -> String {
        format!("{}-{verb}", self.words())
    }

    /// Names the interface for an operator.
    pub(in crate::rules) fn words(self) -> &'static str {
        match self {
            Backend::Nft => "iptables-nft",
            Backend::Legacy => "iptables-legacy",
            Backend::LegacyIpv6 => "ip6tables-legacy",
            Backend::Plain => "iptables",
        }
    }

    /// Chooses the interface for this network namespace.
    pub(super) fn detect() -> Result<Backend, RulesError> {
        let nft = match Backend::Nft.save() {
            Ok(text) => text,
            Err(RulesError::MissingTool { .. }) => return Ok(Backend::Plain),
            Err(error) => return Err(error),
        };
        if has_kubernetes(&nft) {
            return Ok(Backend::Nft);
        }
        let legacy = if legacy::has_tables()? {
            match Backend::Legacy.save() {
                Ok(text) => text,
                Err(RulesError::MissingTool { .. }) => return Ok(Backend::Nft),
                Err(error) => return Err(error),
            }
        } else {
            String::new()
        };
        Ok(choose(&nft, &legacy))
    }

    /// The other one of the kernel's two interfaces.
    pub(super) fn other(self) -> Result<Backend, RulesError> {
        let is_nft = match self {
            Backend::Nft => true,
            Backend::Legacy | Backend::LegacyIpv6 => false,
            // versions that say nothing of it are older than the other interface
            Backend::Plain => tool::run("iptables", &["--version"], "")?.contains("(nf_tables)"),
        };
        Ok(if is_nft { Backend::Legacy } else { Backend::Nft })
    }

    /// Reads all tables.
    pub(in crate::rules) fn save(self) -> Result<String, RulesError> {
        tool::run(&self.program("save"), &[], "")
    }

    /// Writes tables, each in one transaction, leaving alone what `input` does not name.
    pub(in crate::rules) fn restore(self, input: &str) -> Result<(), RulesError> {
        tool::run(&self.program("restore"), &["--noflush", "--wait", tool::LOCK_WAIT], input).map(drop)
    }
}

/// Chooses by what both interfaces hold.
fn choose(nft: &str, legacy: &str) -> Backend {
    let rules = |text: &str| text.lines().filter(|line| line.starts_with("-A ")).count();
    if has_kubernetes(legacy) || rules(legacy) > rules(nft) {
        Backend::Legacy
    } else if rules(nft) > rules(legacy) {
        Backend::Nft
    } else {
        Backend::Plain
    }
}

/// Whether the kubelet has left its mark in the table mangle, which it does in the interface it uses.
fn has_kubernetes(saved: &str) -> bool {
    let mangle = saved.split("\nCOMMIT").find(|table| table.contains("*mangle\n"));
    mangle
        .is_some_and(|table| [":KUBE-IPTABLES-HINT ", ":KUBE-KUBELET-CANARY "].iter().any(|mark| table.contains(mark)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_decides_then_the_number_of_rules_then_the_plain_name() {
        let one = "*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n";
        let hint = "*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n";
        for (nft, legacy, expect) in [
            ("", "", Backend::Plain),
            (one, one, Backend::Plain),
            (one, "", Backend::Nft),
            ("", one, Backend::Legacy),
            (one, hint, Backend::Legacy),
        ] {
            assert_eq!(choose(nft, legacy), expect, "nft {nft:?}, legacy {legacy:?}");
        }
        assert!(has_kubernetes(hint));
        assert!(!has_kubernetes(&hint.replace("mangle", "nat")));
    }
}
