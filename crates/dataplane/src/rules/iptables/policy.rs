//! The chains behind one interface that close something.

use super::backend::Backend;
use super::saved::{self, Saved, SavedRule};
use crate::rules::RulesError;
use crate::rules::policy::{Effect, Named, Step, lets_through, named};
use std::collections::BTreeSet;

/// Names them.
pub(in crate::rules) fn closing_chains(backend: Backend) -> Result<BTreeSet<String>, RulesError> {
    Ok(closing(&saved::parse(&backend.save()?)))
}

fn closing(saved: &Saved) -> BTreeSet<String> {
    let chains = saved.values().flatten();
    let closing = chains.filter(|(name, chain)| match named(name) {
        Named::Closing => true,
        Named::Profile => !lets_through(&chain.rules.iter().map(step).collect::<Vec<_>>()),
        Named::Other => false,
    });
    closing.map(|(name, _)| name.clone()).collect()
}

fn step(rule: &SavedRule) -> Step {
    let mut words = rule.words.as_slice();
    while let [m, comment, _, _, rest @ ..] = words
        && (m.as_str(), comment.as_str()) == ("-m", "comment")
    {
        words = rest;
    }
    let effect = match rule.target.as_deref() {
        None | Some("LOG" | "NFLOG") => Effect::Nothing,
        Some("MARK") => Effect::Mark,
        Some("DROP" | "REJECT") => Effect::Refuse,
        Some(_) => Effect::Other,
    };
    Step { certain: words.first().is_some_and(|word| word == "-j" || word == "-g"), effect }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chains, of those below, that close something.
    fn found(rules: &str) -> Vec<String> {
        let declared: BTreeSet<&str> = rules.lines().filter_map(|line| line.split(' ').nth(1)).collect();
        let declared: String = declared.into_iter().map(|chain| format!(":{chain} - [0:0]\n")).collect();
        closing(&saved::parse(&format!("*filter\n{declared}{rules}\nCOMMIT\n"))).into_iter().collect()
    }

    #[test]
    fn profiles_as_calico_writes_them() {
        let open = r#"-A cali-pri-kns.prod -m comment --comment "cali:lf-f_jNcmFQW8C9u" -m comment --comment "Profile kns.prod ingress" -j MARK --set-xmark 0x10000/0x10000
-A cali-pro-kns.prod -m comment --comment "cali:lf-f_jNcmFQW8C9v" -j MARK --set-xmark 0x100/0x100
-A cali-pro-kns.prod -m comment --comment "cali:lf-f_jNcmFQW8C9w" -m mark --mark 0x100/0x100 -j RETURN
-A cali-pri-ksa.prod.db-sa -m comment --comment "cali:lf-f_jNcmFQW8C9x" -m comment --comment "Profile ksa.prod.db-sa ingress"
-A cali-pri-logged -j LOG --log-prefix "calico-packet: " --log-level 5
-A cali-pri-logged -j MARK --set-xmark 0x10000/0x10000"#;
        assert_eq!(found(open), Vec::<String>::new());
        let closed = r#"-A cali-pri-net1 -m comment --comment "cali:DDgLSVhmcHVSzf6L" -m comment --comment "Profile net1 ingress" -m set --match-set cali40s:dmxNq1uG7U174OAEUuueUSA src -j MARK --set-xmark 0x10000/0x10000
-A cali-pri-missing-prof -m comment --comment "cali:X90rhLOXZ6ao2vgY" -m comment --comment "Profile missing-prof ingress" -j MARK --set-xmark 0x40000/0x40000
-A cali-pri-missing-prof -m comment --comment "cali:G0A3NLstRDZIhvOS" -m mark --mark 0x40000/0x40000 -j DROP
-A cali-pro-rules-prof -d 10.65.0.0/16 -m comment --comment "cali:U10DzI2bU-b0CZYW" -m comment --comment "Profile rules-prof egress" -j MARK --set-xmark 0x10000/0x10000
-A cali-pro-rules-prof -m comment --comment "cali:1QvbIvDEBJdulqLp" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-pro-older -j DROP"#;
        let expect = ["cali-pri-missing-prof", "cali-pri-net1", "cali-pro-older", "cali-pro-rules-prof"];
        assert_eq!(found(closed), expect);
    }

    #[test]
    fn policies_count_and_endpoints_do_not() {
        let rules = r#"-A cali-pi-np/web/deny -m comment --comment "cali:lf-f_jNcmFQW8C9u"
-A cali-fw-cali1 -j DROP
-A cali-from-wl-dispatch -j DROP
-A cali-fh-eth0 -j cali-failsafe-in"#;
        assert_eq!(found(rules), ["cali-fh-eth0", "cali-pi-np/web/deny"]);
    }
}
