//! Rules in `iptables-restore`'s words as Calico writes them, the hash comments over them, and the words in which
//! `iptables-save` gives them back.

use super::tree;
use crate::rules::hash;
use crate::rules::model::{Hook, HookRules, Ruleset, Table};
use crate::rules::rule::{Action, Bits, Connection, Direction, End, Links, Match, Rule, Scope, Sense};
use std::collections::BTreeMap;

/// A rule ready to be written, without its chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The characters of the hash comment after its prefix.
    pub(super) hash: String,
    /// Comments, matches and action.
    pub(super) body: String,
    /// The words that `iptables-save` prints, without the hash comment.
    pub(super) saved: Vec<String>,
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
    for ((table, root), dispatch) in &ruleset.dispatches {
        let chains = &mut tables.entry(*table).or_default().chains;
        chains.extend(tree::chains(root, dispatch).into_iter().map(|(name, rules)| {
            let lines = lines(&name.0, &rules);
            (name.0, lines)
        }));
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
    let rendered = hashes.into_iter().zip(bodies).zip(rules);
    rendered.map(|((hash, body), rule)| Line { hash, body, saved: saved(rule) }).collect()
}

fn body(rule: &Rule) -> String {
    let comments = rule.comments.iter().map(|text| format!("-m comment --comment \"{}\"", hash::comment(text)));
    let words = comments.chain(rule.matches.iter().map(condition)).chain([action(&rule.action)]);
    words.collect::<Vec<_>>().join(" ")
}

/// Addresses, links and the protocol come first there, and masks are written out.
fn saved(rule: &Rule) -> Vec<String> {
    let (mut first, rest): (Vec<&Match>, Vec<&Match>) = rule.matches.iter().partition(|it| head(it).is_some());
    first.sort_by_key(|it| head(it));
    let mut words: Vec<String> = first.into_iter().flat_map(|it| split(&saved_condition(it))).collect();
    for text in &rule.comments {
        words.extend(["-m", "comment", "--comment"].map(str::to_owned));
        words.push(hash::comment(text));
    }
    words.extend(rest.into_iter().flat_map(|it| split(&saved_condition(it))));
    words.extend(split(&saved_action(&rule.action)));
    words
}

fn split(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// The place of a condition among those that `iptables-save` prints before all others; none for the rest.
fn head(condition: &Match) -> Option<usize> {
    match condition {
        Match::Network(End::Source, _) => Some(1),
        Match::Network(End::Destination, _) => Some(2),
        Match::Link(Direction::In, _) => Some(3),
        Match::Link(Direction::Out, _) => Some(4),
        Match::Protocol(_) => Some(5),
        Match::UdpDestination(_)
        | Match::InSet(..)
        | Match::Local(..)
        | Match::Mark(..)
        | Match::Connection(_)
        | Match::DestinationTranslated(_)
        | Match::ReversePathFails => None,
    }
}

fn condition(condition: &Match) -> String {
    match condition {
        Match::Link(Direction::In, links) => format!("--in-interface {}", pattern(links)),
        Match::Link(Direction::Out, links) => format!("--out-interface {}", pattern(links)),
        Match::Protocol(number) => format!("-p {number}"),
        Match::UdpDestination(port) => format!("-m multiport --destination-ports {port}"),
        Match::Network(End::Source, network) => format!("--source {network}"),
        Match::Network(End::Destination, network) => format!("--destination {network}"),
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
        Match::Mark(Bits::Set, bits) => format!("-m mark --mark {bits:#x}/{bits:#x}"),
        Match::Mark(Bits::Clear, bits) => format!("-m mark --mark 0/{bits:#x}"),
        Match::Connection(Connection::RelatedOrEstablished) => "-m conntrack --ctstate RELATED,ESTABLISHED".to_owned(),
        Match::Connection(Connection::Invalid) => "-m conntrack --ctstate INVALID".to_owned(),
        Match::DestinationTranslated(sense) => format!("-m conntrack {}--ctstate DNAT", not(*sense)),
        Match::ReversePathFails => "-m rpfilter --invert --validmark".to_owned(),
    }
}

fn saved_condition(condition: &Match) -> String {
    match condition {
        Match::Link(Direction::In, links) => format!("-i {}", pattern(links)),
        Match::Link(Direction::Out, links) => format!("-o {}", pattern(links)),
        Match::UdpDestination(port) => format!("-m multiport --dports {port}"),
        Match::Network(End::Source, network) => format!("-s {network}"),
        Match::Network(End::Destination, network) => format!("-d {network}"),
        Match::Mark(Bits::Clear, bits) => format!("-m mark --mark 0x0/{bits:#x}"),
        Match::ReversePathFails => "-m rpfilter --validmark --invert".to_owned(),
        Match::Protocol(_)
        | Match::InSet(..)
        | Match::Local(..)
        | Match::Mark(Bits::Set, _)
        | Match::Connection(_)
        | Match::DestinationTranslated(_) => self::condition(condition),
    }
}

fn pattern(links: &Links) -> String {
    match links {
        Links::Named(name) => name.to_string(),
        Links::StartingWith(prefix) => format!("{prefix}+"),
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
        Action::Goto(chain) => format!("--goto {chain}"),
        Action::Return => "--jump RETURN".to_owned(),
        Action::Accept => "--jump ACCEPT".to_owned(),
        Action::Drop => "--jump DROP".to_owned(),
        Action::SetMark(bits) => format!("--jump MARK --set-mark {bits:#x}/{bits:#x}"),
        Action::ClearMark(bits) => format!("--jump MARK --set-mark 0/{bits:#x}"),
        Action::Masquerade => "--jump MASQUERADE --random-fully".to_owned(),
        Action::Snat(address) => format!("--jump SNAT --to-source {address} --random-fully"),
    }
}

fn saved_action(action: &Action) -> String {
    match action {
        Action::Goto(chain) => format!("-g {chain}"),
        Action::SetMark(bits) => format!("-j MARK --set-xmark {bits:#x}/{bits:#x}"),
        Action::ClearMark(bits) => format!("-j MARK --set-xmark 0x0/{bits:#x}"),
        Action::Jump(_) | Action::Return | Action::Accept | Action::Drop | Action::Masquerade | Action::Snat(_) => {
            self::action(action).replacen("--jump", "-j", 1)
        }
    }
}
