//! From a [`Ruleset`] to the objects of one nftables table: base chains, chains, rules, sets and maps.

use super::abi::expression as abi;
use super::expression::Expression;
use super::text;
use crate::rules::hash;
use crate::rules::model::{Dispatch, Family, Hook, Ruleset, Set, SetKind, Table};
use crate::rules::rule::{Action, Bits, Connection, Direction, End, Links, Match, Rule, Scope, Sense};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The size of a link's name.
pub(super) const LINK_NAME: usize = 16;
/// Where the destination port stands in a UDP header, and its size.
const DESTINATION_PORT: (u32, u32) = (2, 2);
const ACCEPT: u32 = 1;
/// The longest comment that nft takes.
const COMMENT: usize = 128;

/// The content of our table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) family: Family,
    pub(super) sets: BTreeMap<String, SetContent>,
    pub(super) chains: BTreeMap<String, Chain>,
}

/// A chain and its rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// Where packets enter; `None` if only by a jump.
    pub(super) base: Option<Base>,
    pub(super) rules: Vec<CompiledRule>,
}

/// How a chain hangs in the kernel's packet path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) kind: String,
    pub(super) hook: u32,
    pub(super) priority: i32,
    pub(super) policy: u32,
}

/// A rule: its comment and its steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CompiledRule {
    pub(super) comment: Option<String>,
    pub(super) expressions: Vec<Expression>,
}

/// What a set or map holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SetContent {
    /// Intervals of addresses.
    Intervals(BTreeSet<Interval>),
    /// Single addresses.
    Addresses(BTreeSet<u128>),
    /// Links' names, each with the chain to go to.
    Chains(BTreeMap<String, String>),
}

impl SetContent {
    /// Whether one can become the other by a change of elements alone.
    pub(super) fn is_like(&self, other: &SetContent) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// Addresses, as numbers, from `start` up to, not including, `end`; `None` is the end of all addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Interval {
    pub(super) start: u128,
    pub(super) end: Option<u128>,
}

impl From<&IpNet> for Interval {
    fn from(prefix: &IpNet) -> Self {
        let last = number(prefix.broadcast());
        let is_end = last == u128::MAX >> (128 - u32::from(prefix.max_prefix_len()));
        Interval { start: number(prefix.network()), end: (!is_end).then(|| last + 1) }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => address.into(),
    }
}

/// Works out the content of the table.
pub(super) fn compile(ruleset: &Ruleset) -> Content {
    let family = ruleset.family;
    let mut content = Content { family, ..Content::default() };
    for (name, set) in &ruleset.sets {
        content.sets.insert(name.0.clone(), set_content(set));
    }
    for table in ruleset.chains.keys().map(|(table, _)| *table).collect::<BTreeSet<_>>() {
        for (hook, base) in base_chains(table) {
            let name = text::chain(table, hook.name());
            content.chains.insert(name, Chain { base: Some(base), rules: Vec::new() });
        }
    }
    for ((table, hook), hooked) in &ruleset.hooks {
        let name = text::chain(*table, hook.name());
        let appends = format!("{name}{}", hash::APPENDS);
        let mut compiled = rules(family, *table, &name, &hooked.inserted);
        compiled.extend(rules(family, *table, &appends, &hooked.appended));
        content.chains.entry(name).or_default().rules = compiled;
    }
    for ((table, chain), list) in &ruleset.chains {
        let name = text::chain(*table, &chain.0);
        let rules = rules(family, *table, &name, list);
        content.chains.insert(name, Chain { base: None, rules });
    }
    for ((table, chain), dispatch) in &ruleset.dispatches {
        let name = text::chain(*table, &chain.0);
        let targets = dispatch.targets.iter();
        let targets = targets.map(|(link, target)| (link.0.clone(), text::chain(*table, &target.0))).collect();
        content.sets.insert(name.clone(), SetContent::Chains(targets));
        let rules = dispatch_rules(family, *table, &name, dispatch);
        content.chains.insert(name, Chain { base: None, rules });
    }
    content
}

fn set_content(set: &Set) -> SetContent {
    match set.kind {
        SetKind::Networks => SetContent::Intervals(intervals(&set.members)),
        SetKind::Addresses => SetContent::Addresses(set.members.iter().map(|member| number(member.addr())).collect()),
    }
}

/// The base chains of a table, with Calico's priorities: address translation on output and departure comes after
/// that of others.
fn base_chains(table: Table) -> Vec<(Hook, Base)> {
    let base = |hook: Hook, kind: &str, priority| {
        let number = match hook {
            Hook::Prerouting => 0,
            Hook::Input => 1,
            Hook::Forward => 2,
            Hook::Output => 3,
            Hook::Postrouting => 4,
        };
        (hook, Base { kind: kind.to_owned(), hook: number, priority, policy: ACCEPT })
    };
    match table {
        Table::Raw => vec![base(Hook::Prerouting, "filter", -300), base(Hook::Output, "filter", -300)],
        Table::Mangle => vec![
            base(Hook::Prerouting, "filter", -150),
            base(Hook::Input, "filter", -150),
            base(Hook::Forward, "filter", -150),
            base(Hook::Output, "route", -150),
            base(Hook::Postrouting, "filter", -150),
        ],
        Table::Nat => vec![
            base(Hook::Prerouting, "nat", -100),
            base(Hook::Input, "nat", -100),
            base(Hook::Output, "nat", 110),
            base(Hook::Postrouting, "nat", 110),
        ],
        Table::Filter => {
            vec![base(Hook::Input, "filter", 0), base(Hook::Forward, "filter", 0), base(Hook::Output, "filter", 0)]
        }
    }
}

fn rules(family: Family, table: Table, chain: &str, rules: &[Rule]) -> Vec<CompiledRule> {
    let hashes = hash::chain(chain, rules.iter().map(|rule| text::rule(family, table, rule)));
    let compiled = rules.iter().zip(hashes).map(|(rule, hash)| compiled(family, table, rule, &hash));
    compiled.collect()
}

/// A look into the map of the chain's own name, then what becomes of all others.
fn dispatch_rules(family: Family, table: Table, chain: &str, dispatch: &Dispatch) -> Vec<CompiledRule> {
    let texts = [text::dispatch(dispatch.direction, chain), text::rule(family, table, &dispatch.otherwise)];
    let hashes = hash::chain(chain, texts);
    let lookup = CompiledRule {
        comment: Some(comment(&hashes[0], &[])),
        expressions: vec![load_link(dispatch.direction), Expression::VerdictOf(chain.to_owned())],
    };
    vec![lookup, compiled(family, table, &dispatch.otherwise, &hashes[1])]
}

fn compiled(family: Family, table: Table, rule: &Rule, hash: &str) -> CompiledRule {
    let mut expressions: Vec<Expression> = rule.matches.iter().flat_map(|it| condition(family, it)).collect();
    expressions.push(Expression::Counter);
    expressions.extend(action(table, &rule.action));
    CompiledRule { comment: Some(comment(hash, &rule.comments)), expressions }
}

fn comment(hash: &str, texts: &[String]) -> String {
    let texts = texts.iter().map(|text| format!(" {}", hash::comment(text)));
    let mut comment = format!("{}{hash};{}", hash::PREFIX, texts.collect::<String>());
    comment.truncate(COMMENT);
    comment
}

/// The size of an address, and where in its header it stands.
fn place(family: Family, end: End) -> (u32, u32) {
    let length = family.bits() / 8;
    let source = match family {
        Family::Ipv4 => 12,
        Family::Ipv6 => 8,
    };
    match end {
        End::Source => (source, length),
        End::Destination => (source + length, length),
    }
}

fn load_address(family: Family, end: End) -> Expression {
    let (offset, length) = place(family, end);
    Expression::Payload { base: abi::PAYLOAD_NETWORK_HEADER, offset, length }
}

fn load_link(direction: Direction) -> Expression {
    Expression::Meta(match direction {
        Direction::In => abi::META_IN_INTERFACE_NAME,
        Direction::Out => abi::META_OUT_INTERFACE_NAME,
    })
}

/// A link's name as the kernel keeps it.
pub(super) fn padded(name: &str) -> Vec<u8> {
    let mut padded = name.as_bytes().to_vec();
    padded.resize(LINK_NAME, 0);
    padded
}

fn bytes_of(network: IpAddr) -> Vec<u8> {
    match network {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Goes on if any of `bits` is set in what was loaded.
fn any_of(bits: u32) -> [Expression; 2] {
    let zero = 0_u32.to_ne_bytes().to_vec();
    let mask = bits.to_ne_bytes().to_vec();
    [Expression::Bitwise { mask, turned: zero.clone() }, Expression::Compare(Sense::IsNot, zero)]
}

fn condition(family: Family, condition: &Match) -> Vec<Expression> {
    match condition {
        Match::Link(direction, Links::Named(name)) => {
            vec![load_link(*direction), Expression::Compare(Sense::Is, padded(&name.0))]
        }
        Match::Link(direction, Links::StartingWith(prefix)) => {
            vec![load_link(*direction), Expression::Compare(Sense::Is, prefix.as_bytes().to_vec())]
        }
        Match::Protocol(number) => {
            vec![Expression::Meta(abi::META_PROTOCOL), Expression::Compare(Sense::Is, vec![*number])]
        }
        Match::UdpDestination(port) => {
            let (offset, length) = DESTINATION_PORT;
            let load = Expression::Payload { base: abi::PAYLOAD_TRANSPORT_HEADER, offset, length };
            vec![load, Expression::Compare(Sense::Is, port.to_be_bytes().to_vec())]
        }
        Match::Network(end, network) => {
            let (offset, _) = place(family, *end);
            let (mask, value) = (bytes_of(network.netmask()), bytes_of(network.network()));
            let length = usize::from(network.prefix_len()).div_ceil(8);
            if length == 0 {
                return Vec::new();
            }
            let load = Expression::Payload {
                base: abi::PAYLOAD_NETWORK_HEADER,
                offset,
                length: u32::try_from(length).expect("at most an address"),
            };
            let mut steps = vec![load];
            if !network.prefix_len().is_multiple_of(8) {
                steps.push(Expression::Bitwise { mask: mask[..length].to_vec(), turned: vec![0; length] });
            }
            steps.push(Expression::Compare(Sense::Is, value[..length].to_vec()));
            steps
        }
        Match::InSet(end, sense, set) => {
            vec![load_address(family, *end), Expression::Lookup(*sense, set.0.clone())]
        }
        Match::Local(end, sense, scope) => {
            let end = match end {
                End::Source => abi::FIB_SOURCE,
                End::Destination => abi::FIB_DESTINATION,
            };
            let scope = match scope {
                Scope::Node => 0,
                Scope::OutInterface => abi::FIB_OUT_INTERFACE,
            };
            let local = abi::FIB_LOCAL.to_ne_bytes().to_vec();
            let load = Expression::Routing { result: abi::FIB_ADDRESS_TYPE, flags: end | scope };
            vec![load, Expression::Compare(*sense, local)]
        }
        Match::Mark(wanted, bits) => {
            let value = match wanted {
                Bits::Set => *bits,
                Bits::Clear => 0,
            };
            vec![
                Expression::Meta(abi::META_MARK),
                Expression::Bitwise { mask: bits.to_ne_bytes().to_vec(), turned: vec![0; 4] },
                Expression::Compare(Sense::Is, value.to_ne_bytes().to_vec()),
            ]
        }
        Match::Connection(connection) => {
            let states = match connection {
                Connection::RelatedOrEstablished => abi::STATE_RELATED | abi::STATE_ESTABLISHED,
                Connection::Invalid => abi::STATE_INVALID,
            };
            [vec![Expression::Tracking(abi::TRACKING_STATE)], any_of(states).to_vec()].concat()
        }
        Match::DestinationTranslated(sense) => {
            let load = Expression::Tracking(abi::TRACKING_STATUS);
            let translated = abi::STATUS_DESTINATION_TRANSLATED;
            match sense {
                Sense::Is => [vec![load], any_of(translated).to_vec()].concat(),
                // what nft makes of Calico's words: the status is not this bit alone, so a translated packet, whose
                // connection has other bits too, meets it as well
                Sense::IsNot => vec![load, Expression::Compare(Sense::IsNot, translated.to_ne_bytes().to_vec())],
            }
        }
        Match::ReversePathFails => {
            let flags = abi::FIB_SOURCE | abi::FIB_MARK | abi::FIB_IN_INTERFACE;
            let load = Expression::Routing { result: abi::FIB_LINK, flags };
            vec![load, Expression::Compare(Sense::Is, vec![0; 4])]
        }
    }
}

fn action(table: Table, action: &Action) -> Vec<Expression> {
    let set_mark = |mask: u32, turned: u32| {
        vec![
            Expression::Meta(abi::META_MARK),
            Expression::Bitwise { mask: mask.to_ne_bytes().to_vec(), turned: turned.to_ne_bytes().to_vec() },
            Expression::SetMeta(abi::META_MARK),
        ]
    };
    match action {
        Action::Jump(chain) => vec![Expression::Verdict(abi::JUMP, Some(text::chain(table, &chain.0)))],
        Action::Goto(chain) => vec![Expression::Verdict(abi::GOTO, Some(text::chain(table, &chain.0)))],
        Action::Return => vec![Expression::Verdict(abi::RETURN, None)],
        Action::Accept => vec![Expression::Verdict(abi::ACCEPT, None)],
        Action::Drop => vec![Expression::Verdict(abi::DROP, None)],
        Action::SetMark(bits) => set_mark(!bits, *bits),
        Action::ClearMark(bits) => set_mark(!bits, 0),
        Action::Masquerade => vec![Expression::Masquerade(abi::NAT_FULLY_RANDOM)],
        Action::Snat(address) => vec![
            Expression::Load(bytes_of(*address)),
            Expression::SourceNat(abi::NAT_MAP_ADDRESSES | abi::NAT_FULLY_RANDOM),
        ],
    }
}

/// Intervals must not overlap, so a prefix inside another one is left out.
fn intervals(prefixes: &BTreeSet<IpNet>) -> BTreeSet<Interval> {
    let mut broadest: Option<IpNet> = None;
    let mut intervals = BTreeSet::new();
    for prefix in prefixes {
        if broadest.is_none_or(|broadest| !broadest.contains(prefix)) {
            intervals.insert(Interval::from(prefix));
            broadest = Some(*prefix);
        }
    }
    intervals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_as_many_octets_as_its_length_needs() {
        let steps = |text: &str| {
            let network = text.parse().expect("a literal prefix");
            condition(Family::Ipv4, &Match::Network(End::Source, network))
        };
        let load = |length| Expression::Payload { base: abi::PAYLOAD_NETWORK_HEADER, offset: 12, length };
        assert_eq!(steps("0.0.0.0/0"), []);
        assert_eq!(steps("10.0.0.0/8"), [load(1), Expression::Compare(Sense::Is, vec![10])]);
        let mask = Expression::Bitwise { mask: vec![255, 240], turned: vec![0, 0] };
        assert_eq!(steps("172.16.0.0/12"), [load(2), mask, Expression::Compare(Sense::Is, vec![172, 16])]);
        assert_eq!(steps("10.1.2.3/32"), [load(4), Expression::Compare(Sense::Is, vec![10, 1, 2, 3])]);
    }

    #[test]
    fn covered_prefixes_are_left_out_and_the_last_one_is_open() {
        let prefixes = ["10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/32", "255.255.255.0/24"];
        let prefixes = prefixes.iter().map(|text| text.parse().expect("a literal prefix")).collect();
        let expect = [
            Interval { start: 0x0a00_0000, end: Some(0x0b00_0000) },
            Interval { start: 0x0b00_0000, end: Some(0x0b00_0001) },
            Interval { start: 0xffff_ff00, end: None },
        ];
        assert_eq!(intervals(&prefixes), BTreeSet::from(expect));
    }
}
