//! Rules in nft's words, as Calico writes them: what their hash comments are made from.

use crate::rules::model::{Action, End, Match, Rule, Scope, Sense, Table};

/// Spells a rule of one of `table`'s chains. Every rule counts before its verdict.
pub(super) fn rule(table: Table, rule: &Rule) -> String {
    let conditions = rule.matches.iter().map(condition);
    let words = conditions.chain(["counter".to_owned(), action(table, &rule.action)]);
    words.collect::<Vec<_>>().join(" ")
}

/// Names a chain of `table`; iptables' tables are prefixes here.
pub(super) fn chain(table: Table, chain: &str) -> String {
    format!("{}-{chain}", table.name())
}

fn condition(condition: &Match) -> String {
    match condition {
        Match::OutInterface(name) => format!("oifname {name}"),
        Match::InSet(end, sense, set) => format!("ip {} {}@{set}", address(*end), not(*sense)),
        Match::Local(end, sense, scope) => {
            let scope = match scope {
                Scope::Node => "",
                Scope::OutInterface => " . oif",
            };
            format!("fib {}{scope} type {}local", address(*end), not(*sense))
        }
    }
}

fn address(end: End) -> &'static str {
    match end {
        End::Source => "saddr",
        End::Destination => "daddr",
    }
}

fn not(sense: Sense) -> &'static str {
    match sense {
        Sense::Is => "",
        Sense::IsNot => "!= ",
    }
}

fn action(table: Table, action: &Action) -> String {
    match action {
        Action::Jump(name) => format!("jump {}", chain(table, &name.0)),
        Action::Masquerade => "masquerade fully-random".to_owned(),
        Action::Snat(address) => format!("snat to {address} fully-random"),
    }
}
