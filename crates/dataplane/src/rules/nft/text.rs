//! Rules in nft's words, as Calico writes them: what their hash comments are made from.

use crate::rules::model::{Family, Table};
use crate::rules::rule::{Action, Bits, Connection, Direction, End, Links, Match, Rule, Scope, Sense};

/// Spells a rule of one of `table`'s chains, without its comments. Every rule counts before its verdict.
pub(super) fn rule(family: Family, table: Table, rule: &Rule) -> String {
    let conditions = rule.matches.iter().map(|it| condition(family, it));
    let words = conditions.chain(["counter".to_owned(), action(table, &rule.action)]);
    words.collect::<Vec<_>>().join(" ")
}

/// Spells the rule that takes its verdict from a map, by a link's name.
pub(super) fn dispatch(direction: Direction, map: &str) -> String {
    format!("{} vmap @{map}", link(direction))
}

/// Names a chain of `table`; iptables' tables are prefixes here.
pub(super) fn chain(table: Table, chain: &str) -> String {
    format!("{}-{chain}", table.name())
}

fn condition(family: Family, condition: &Match) -> String {
    let ip = match family {
        Family::Ipv4 => "ip",
        Family::Ipv6 => "ip6",
    };
    match condition {
        Match::Link(direction, Links::Named(name)) => format!("{} {name}", link(*direction)),
        Match::Link(direction, Links::StartingWith(prefix)) => format!("{} {prefix}*", link(*direction)),
        Match::Protocol(number) => format!("meta l4proto {number}"),
        Match::UdpDestination(port) => format!("udp dport {{ {port} }}"),
        Match::Network(end, network) => format!("{ip} {} {network}", address(*end)),
        Match::InSet(end, sense, set) => format!("{ip} {} {}@{set}", address(*end), not(*sense)),
        Match::Local(end, sense, scope) => {
            let scope = match scope {
                Scope::Node => "",
                Scope::OutInterface => " . oif",
            };
            format!("fib {}{scope} type {}local", address(*end), not(*sense))
        }
        Match::Mark(Bits::Set, bits) => format!("meta mark & {bits:#x} == {bits:#x}"),
        Match::Mark(Bits::Clear, bits) => format!("meta mark & {bits:#x} == 0"),
        Match::Connection(Connection::RelatedOrEstablished) => "ct state related,established".to_owned(),
        Match::Connection(Connection::Invalid) => "ct state invalid".to_owned(),
        Match::DestinationTranslated(sense) => format!("ct status {}dnat", not(*sense)),
        Match::ReversePathFails => "fib saddr . mark . iif oif 0".to_owned(),
    }
}

fn link(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "iifname",
        Direction::Out => "oifname",
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
        Action::Goto(name) => format!("goto {}", chain(table, &name.0)),
        Action::Return => "return".to_owned(),
        Action::Accept => "accept".to_owned(),
        Action::Drop => "drop".to_owned(),
        Action::SetMark(bits) => format!("meta mark set mark or {bits:#x}"),
        Action::ClearMark(bits) => format!("meta mark set mark & {:#x}", !bits),
        Action::Masquerade => "masquerade fully-random".to_owned(),
        Action::Snat(address) => format!("snat to {address} fully-random"),
    }
}
