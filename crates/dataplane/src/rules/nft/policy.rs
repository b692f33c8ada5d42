//! The chains that close something in our table, and in those that `iptables-nft` writes.

use super::actual::{chains, rules};
use super::expression::Expression;
use super::socket::{Family, Socket};
use super::{TABLE, failed, is_unsupported};
use crate::rules::RulesError;
use crate::rules::model::Table;
use crate::rules::policy::{Effect, Named, Step, lets_through, named};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// `NF_DROP`, and what nft calls `continue`.
const DROP: i32 = 0;
const CONTINUE: i32 = -1;

/// Names those of the table `ip calico`.
pub(in crate::rules) fn closing_chains() -> Result<BTreeSet<String>, RulesError> {
    known(|socket| {
        let mut profiles: BTreeMap<String, Vec<Step>> = BTreeMap::new();
        let mut closing = BTreeSet::new();
        for (name, _) in chains(socket, Family::Ipv4, TABLE)? {
            match named(short(&name)) {
                Named::Closing => drop(closing.insert(short(&name).to_owned())),
                Named::Profile => drop(profiles.insert(name, Vec::new())),
                Named::Other => {}
            }
        }
        if !profiles.is_empty() {
            for (_, chain, rule) in rules(socket, Family::Ipv4, TABLE)? {
                profiles.entry(chain).and_modify(|steps| steps.push(step(&rule.expressions)));
            }
        }
        let closed = profiles.into_iter().filter(|(_, steps)| !lets_through(steps));
        closing.extend(closed.map(|(name, _)| short(&name).to_owned()));
        Ok(closing)
    })
}

/// Names those of iptables' tables that may close something: what a profile's rules do is written in a form of theirs.
pub(in crate::rules) fn suspects() -> Result<BTreeSet<String>, RulesError> {
    known(|socket| {
        let mut suspects = BTreeSet::new();
        for table in Table::ALL {
            let chains = chains(socket, Family::Ipv4, table.name())?.into_iter().map(|(name, _)| name);
            suspects.extend(chains.filter(|name| named(name) != Named::Other));
        }
        Ok(suspects)
    })
}

/// What the kernel answers; nothing from a kernel without nftables.
fn known(ask: impl FnOnce(&mut Socket) -> io::Result<BTreeSet<String>>) -> Result<BTreeSet<String>, RulesError> {
    match Socket::open().and_then(|mut socket| ask(&mut socket)) {
        Ok(names) => Ok(names),
        Err(error) if is_unsupported(&error) => Ok(BTreeSet::new()),
        Err(error) => Err(failed("read nftables chains")(error)),
    }
}

/// A chain's name without that of the table it would be in.
fn short(name: &str) -> &str {
    let tables = Table::ALL.map(Table::name);
    name.split_once('-').filter(|(table, _)| tables.contains(table)).map_or(name, |(_, rest)| rest)
}

fn step(expressions: &[Expression]) -> Step {
    let harmless = |expression: &Expression| match expression {
        Expression::Meta(_)
        | Expression::SetMeta(_)
        | Expression::Bitwise { .. }
        | Expression::Counter
        | Expression::Load(_)
        | Expression::Verdict(..) => true,
        Expression::Other(name) => ["bitwise", "meta", "log", "reject"].contains(&name.as_str()),
        Expression::Tracking(_)
        | Expression::Payload { .. }
        | Expression::Routing { .. }
        | Expression::Compare(..)
        | Expression::Lookup(..)
        | Expression::VerdictOf(_)
        | Expression::Masquerade(_)
        | Expression::SourceNat(_) => false,
    };
    let effect = |expression: &Expression| match expression {
        Expression::Verdict(CONTINUE, _) => None,
        Expression::Verdict(DROP, _) => Some(Effect::Refuse),
        Expression::Verdict(..) | Expression::VerdictOf(_) | Expression::Masquerade(_) | Expression::SourceNat(_) => {
            Some(Effect::Other)
        }
        Expression::SetMeta(_) => Some(Effect::Mark),
        Expression::Other(name) if name == "reject" => Some(Effect::Refuse),
        Expression::Meta(_)
        | Expression::Tracking(_)
        | Expression::Payload { .. }
        | Expression::Routing { .. }
        | Expression::Bitwise { .. }
        | Expression::Compare(..)
        | Expression::Lookup(..)
        | Expression::Counter
        | Expression::Load(_)
        | Expression::Other(_) => None,
    };
    let effect = expressions.iter().rev().find_map(effect).unwrap_or(Effect::Nothing);
    Step { certain: expressions.iter().all(harmless), effect }
}
