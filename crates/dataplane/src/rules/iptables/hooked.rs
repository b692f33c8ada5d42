//! Which of the kernel's chains lead to chains of ours, behind one interface.

use super::backend::Backend;
use super::saved::{self, Saved, is_our_chain};
use crate::rules::RulesError;
use crate::rules::model::{Hook, Table};
use std::collections::BTreeSet;

/// Lists them.
pub(in crate::rules) fn hooked(backend: Backend) -> Result<BTreeSet<(Table, Hook)>, RulesError> {
    Ok(leading(&saved::parse(&backend.save()?)))
}

fn leading(saved: &Saved) -> BTreeSet<(Table, Hook)> {
    let leads = |table: &Table, hook: &Hook| {
        let chain = saved.get(table).and_then(|chains| chains.get(hook.name()));
        chain.is_some_and(|chain| chain.rules.iter().any(|rule| rule.target.as_deref().is_some_and(is_our_chain)))
    };
    let hooks = saved.keys().flat_map(|table| Hook::ALL.into_iter().map(move |hook| (*table, hook)));
    hooks.filter(|(table, hook)| leads(table, hook)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_to_ours_is_hooked() {
        let saved = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:cali-FORWARD - [0:0]\n:cali-INPUT - [0:0]\n\
            -A INPUT -j KUBE-FIREWALL\n\
            -A FORWARD -m comment --comment \"cali:wUHhoiAYhphO9Mso\" -j cali-FORWARD\n\
            -A FORWARD -m comment --comment \"cali:S93hcgKJrXEqnTfs\" -j ACCEPT\nCOMMIT\n";
        assert_eq!(leading(&saved::parse(saved)), BTreeSet::from([(Table::Filter, Hook::Forward)]));
        assert_eq!(leading(&saved::parse("*nat\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n")), BTreeSet::new());
    }
}
