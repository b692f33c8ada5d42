//! Rules in `iptables-restore`'s words, and the hash comments over them.

use crate::rules::hash;
use crate::rules::model::{Action, End, Hook, HookRules, Match, Rule, Ruleset, Scope, Sense, Table};
use std::collections::BTreeMap;

/// A rule ready to be written, without its chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The characters of the hash comment after its prefix.
    pub(super) hash: String,
    /// Matches and action.
    pub(super) body: String,
}

impl Line {
    /// The rule as `iptables-restore` takes it after `-A CHAIN`.
    pub(super) fn restore(&self) -> String {
        format!("-m comment --comment \"{}{}\" {}", hash::PREFIX, self.hash, self.body)
    }
}

/// A table's worth of rules, rendered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    /// Our chains by name.
    pub(super) chains: BTreeMap<String, Vec<Line>>,
    /// Rules in the kernel's chains by name: the placed ones and the appended ones.
    pub(super) hooks: BTreeMap<&'static str, (Vec<Line>, Vec<Line>)>,
}

/// Renders a whole ruleset.
pub(super) fn render(ruleset: &Ruleset) -> BTreeMap<Table, Lines> {
    let mut tables: BTreeMap<Table, Lines> = BTreeMap::new();
    for ((table, chain), rules) in &ruleset.chains {
        tables.entry(*table).or_default().chains.insert(chain.0.clone(), lines(&chain.0, rules));
    }
    for ((table, hook), rules) in &ruleset.hooks {
        tables.entry(*table).or_default().hooks.insert(hook.name(), hook_lines(*hook, rules));
    }
    tables
}

fn hook_lines(hook: Hook, rules: &HookRules) -> (Vec<Line>, Vec<Line>) {
    let appends = format!("{}{}", hook.name(), hash::APPENDS);
    (lines(hook.name(), &rules.inserted), lines(&appends, &rules.appended))
}

/// Renders the rules of one chain; what is hashed holds the word `HASH` where the comment will stand.
fn lines(chain: &str, rules: &[Rule]) -> Vec<Line> {
    let bodies: Vec<String> = rules.iter().map(body).collect();
    let hashes = hash::chain(chain, bodies.iter().map(|body| format!("-A {chain} HASH {body}")));
    hashes.into_iter().zip(bodies).map(|(hash, body)| Line { hash, body }).collect()
}

fn body(rule: &Rule) -> String {
    let words = rule.matches.iter().map(condition).chain([action(&rule.action)]);
    words.collect::<Vec<_>>().join(" ")
}

fn condition(condition: &Match) -> String {
    match condition {
        Match::OutInterface(name) => format!("--out-interface {name}"),
        Match::InSet(end, sense, set) => {
            let end = match end {
                End::Source => "src",
                End::Destination => "dst",
            };
            format!("-m set {}--match-set {set} {end}", not(*sense))
        }
        Match::Local(end, sense, scope) => {
            let end = match end {
                End::Source => "--src-type",
                End::Destination => "--dst-type",
            };
            let scope = match scope {
                Scope::Node => "",
                Scope::OutInterface => " --limit-iface-out",
            };
            format!("-m addrtype {}{end} LOCAL{scope}", not(*sense))
        }
    }
}

fn not(sense: Sense) -> &'static str {
    match sense {
        Sense::Is => "",
        Sense::IsNot => "! ",
    }
}

fn action(action: &Action) -> String {
    match action {
        Action::Jump(chain) => format!("--jump {chain}"),
        Action::Masquerade => "--jump MASQUERADE --random-fully".to_owned(),
        Action::Snat(address) => format!("--jump SNAT --to-source {address} --random-fully"),
    }
}
