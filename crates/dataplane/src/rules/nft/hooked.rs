//! Which of the kernel's chains lead to chains of ours, in our table and in those that `iptables-nft` writes.

use super::TABLE;
use super::actual::rules;
use super::expression::Expression;
use super::socket::{Family, Socket};
use super::text;
use crate::rules::iptables::is_our_chain;
use crate::rules::model::{Hook, Table};
use std::collections::BTreeSet;
use std::io;

/// Lists those of the table `ip calico`.
pub(in crate::rules) fn in_our_table() -> io::Result<BTreeSet<(Table, Hook)>> {
    let leading = leading(&mut Socket::open()?, TABLE, |_| true)?;
    Ok(all().filter(|(table, hook)| leading.contains(&text::chain(*table, hook.name()))).collect())
}

/// Lists those of iptables' tables.
pub(in crate::rules) fn in_iptables_tables() -> io::Result<BTreeSet<(Table, Hook)>> {
    let mut socket = Socket::open()?;
    let mut found = BTreeSet::new();
    for table in Table::ALL {
        let leading = leading(&mut socket, table.name(), is_our_chain)?;
        found.extend(Hook::ALL.into_iter().filter(|hook| leading.contains(hook.name())).map(|hook| (table, hook)));
    }
    Ok(found)
}

fn all() -> impl Iterator<Item = (Table, Hook)> {
    Table::ALL.into_iter().flat_map(|table| Hook::ALL.into_iter().map(move |hook| (table, hook)))
}

/// The chains of a table from which a rule leads to a chain that counts.
fn leading(socket: &mut Socket, table: &str, counts: impl Fn(&str) -> bool) -> io::Result<BTreeSet<String>> {
    let leads = |expression: &Expression| matches!(expression, Expression::Verdict(_, Some(chain)) if counts(chain));
    let rules = rules(socket, Family::Ipv4, table)?.into_iter();
    Ok(rules.filter(|(_, _, rule)| rule.expressions.iter().any(leads)).map(|(_, chain, _)| chain).collect())
}
