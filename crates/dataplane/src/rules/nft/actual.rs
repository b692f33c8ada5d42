//! What the kernel has in our table, read by dumps between two looks at the ruleset's generation.

use super::abi::{chain, element, expression, generation, message, rule, set, subsystem, table};
use super::compile::{Base, Chain, CompiledRule, Interval, SetContent};
use super::expression::Expression;
use super::socket::{Family, Message, Socket};
use super::wire::{Attributes, Parsed, iterate};
use super::{TABLE, failed};
use crate::rules::RulesError;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// How often a ruleset that changes while it is read is read again.
const ATTEMPTS: usize = 20;

/// Our table as read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Actual {
    /// The ruleset's generation when it was read.
    pub(super) generation: u32,
    pub(super) presence: Presence,
    pub(super) sets: BTreeMap<String, ActualSet>,
    pub(super) chains: BTreeMap<String, Chain>,
}

/// Whether our table is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Presence {
    #[default]
    Absent,
    /// There, but with a flag that we do not set: dormant, or owned by another program.
    Unusable,
    Present,
}

/// A named set as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ActualSet {
    /// One of the kinds that ours are.
    Known(SetContent),
    /// A set or map of something else.
    Other,
}

/// Reads our table.
pub(super) fn read(socket: &mut Socket) -> Result<Actual, RulesError> {
    for _ in 0..ATTEMPTS {
        let before = read_generation(socket)?;
        let actual = read_once(socket);
        if read_generation(socket)? == before {
            let mut actual = actual.map_err(failed("read nftables table calico"))?;
            actual.generation = before;
            return Ok(actual);
        }
    }
    Err(RulesError::Unsettled { what: "nftables rules".to_owned(), rounds: ATTEMPTS })
}

/// Reads the number that counts changes of the ruleset.
pub(super) fn read_generation(socket: &mut Socket) -> Result<u32, RulesError> {
    let operation = "read the nftables generation";
    let answer = socket.get(&request(message::GET_GENERATION, Attributes::default())).map_err(failed(operation))?;
    Parsed::new(&answer)
        .number(generation::ID)
        .ok_or_else(|| RulesError::Answer { operation: operation.to_owned(), reason: "no generation in it" })
}

/// Whether our table exists.
pub(super) fn presence(socket: &mut Socket) -> io::Result<Presence> {
    presence_of(socket, Family::Ipv4, TABLE)
}

/// Whether a table exists.
pub(super) fn presence_of(socket: &mut Socket, family: Family, name: &str) -> io::Result<Presence> {
    let tables = socket.dump(&about(family, message::GET_TABLE, Attributes::default()))?;
    let ours = tables.iter().map(|bytes| Parsed::new(bytes)).find(|it| it.text(table::NAME).as_deref() == Some(name));
    Ok(match ours.map(|ours| ours.number(table::FLAGS).unwrap_or(0)) {
        None => Presence::Absent,
        Some(0) => Presence::Present,
        Some(_) => Presence::Unusable,
    })
}

fn read_once(socket: &mut Socket) -> io::Result<Actual> {
    let mut actual = Actual { presence: presence(socket)?, ..Actual::default() };
    if actual.presence == Presence::Absent {
        return Ok(actual);
    }
    for (name, chain) in chains(socket, Family::Ipv4, TABLE)? {
        actual.chains.insert(name, chain);
    }
    for (_, chain, rule) in rules(socket, Family::Ipv4, TABLE)? {
        if let Some(chain) = actual.chains.get_mut(&chain) {
            chain.rules.push(rule);
        }
    }
    for bytes in socket.dump(&request(message::GET_SET, Attributes::default().text(set::TABLE, TABLE)))? {
        let one = Parsed::new(&bytes);
        let (Some(name), Some(flags)) = (one.text(set::NAME), Some(one.number(set::FLAGS).unwrap_or(0))) else {
            continue;
        };
        if one.text(set::TABLE).as_deref() != Some(TABLE) || flags & set::ANONYMOUS != 0 {
            continue;
        }
        let is_address = [set::IPV4_ADDRESS, set::IPV6_ADDRESS].map(Some).contains(&one.number(set::KEY_TYPE));
        let is_dispatch =
            one.number(set::KEY_TYPE) == Some(set::LINK_NAME) && one.number(set::DATA_TYPE) == Some(set::VERDICT);
        let content = match flags {
            set::INTERVAL if is_address => ActualSet::Known(SetContent::Intervals(intervals(socket, &name)?)),
            0 if is_address => ActualSet::Known(SetContent::Addresses(addresses(socket, &name)?)),
            set::MAP if is_dispatch => match chains_by_link(socket, &name)? {
                Some(chains) => ActualSet::Known(SetContent::Chains(chains)),
                None => ActualSet::Other,
            },
            _ => ActualSet::Other,
        };
        actual.sets.insert(name, content);
    }
    Ok(actual)
}

/// Lists the chains of a table, without their rules.
pub(super) fn chains(socket: &mut Socket, family: Family, table: &str) -> io::Result<Vec<(String, Chain)>> {
    let mut chains = Vec::new();
    for bytes in socket.dump(&about(family, message::GET_CHAIN, Attributes::default().text(chain::TABLE, table)))? {
        let one = Parsed::new(&bytes);
        if one.text(chain::TABLE).as_deref() != Some(table) {
            continue;
        }
        let base = one.nest(chain::HOOK).and_then(|hook| {
            Some(Base {
                kind: one.text(chain::TYPE)?,
                hook: hook.number(chain::HOOK_NUMBER)?,
                priority: hook.number(chain::HOOK_PRIORITY)?.cast_signed(),
                policy: one.number(chain::POLICY)?,
            })
        });
        chains.extend(one.text(chain::NAME).map(|name| (name, Chain { base, rules: Vec::new() })));
    }
    Ok(chains)
}

/// Lists the rules of a table in order, each with its handle and its chain. The comment is nft's, or that of a
/// rule written by iptables.
pub(super) fn rules(socket: &mut Socket, family: Family, table: &str) -> io::Result<Vec<(u64, String, CompiledRule)>> {
    let mut rules = Vec::new();
    for bytes in socket.dump(&about(family, message::GET_RULE, Attributes::default().text(rule::TABLE, table)))? {
        let one = Parsed::new(&bytes);
        let (Some(chain), Some(handle)) = (one.text(rule::CHAIN), one.long(rule::HANDLE)) else { continue };
        if one.text(rule::TABLE).as_deref() != Some(table) {
            continue;
        }
        let steps = one.raw(rule::EXPRESSIONS).unwrap_or_default();
        let comment = one.raw(rule::USER_DATA).and_then(comment).or_else(|| super::expression::xt_comment(steps));
        rules.push((handle, chain, CompiledRule { comment, expressions: Expression::decode_all(steps) }));
    }
    Ok(rules)
}

/// Finds the comment in a rule's user data: a list of type, length and value, an octet each for the first two.
fn comment(mut data: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = data {
        let value = rest.get(..usize::from(*length))?;
        if *kind == rule::COMMENT {
            return super::wire::text(value);
        }
        data = &rest[value.len()..];
    }
    None
}

/// Lists the elements of a set or map, as the attributes of each.
fn elements(socket: &mut Socket, name: &str) -> io::Result<Vec<Vec<u8>>> {
    let body = Attributes::default().text(element::TABLE, TABLE).text(element::SET, name);
    let mut elements = Vec::new();
    for bytes in socket.dump(&request(message::GET_ELEMENTS, body))? {
        let list = Parsed::new(&bytes).raw(element::LIST).unwrap_or_default();
        elements.extend(iterate(list).map(|(_, one)| one.to_vec()));
    }
    Ok(elements)
}

fn key<'a>(element: &Parsed<'a>) -> Option<&'a [u8]> {
    element.nest(element::KEY)?.raw(expression::DATA_VALUE)
}

/// An address, of whatever length, as a number.
fn number(key: &[u8]) -> u128 {
    key.iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

fn intervals(socket: &mut Socket, name: &str) -> io::Result<BTreeSet<Interval>> {
    let mut bounds = BTreeSet::new();
    for one in elements(socket, name)? {
        let one = Parsed::new(&one);
        let is_start = one.number(element::FLAGS).unwrap_or(0) & element::INTERVAL_END == 0;
        bounds.extend(key(&one).map(|key| (number(key), is_start)));
    }
    Ok(pair(&bounds))
}

fn addresses(socket: &mut Socket, name: &str) -> io::Result<BTreeSet<u128>> {
    let elements = elements(socket, name)?;
    Ok(elements.iter().filter_map(|one| key(&Parsed::new(one)).map(number)).collect())
}

/// The chain for each link; none if any element has another verdict than to go to a chain.
fn chains_by_link(socket: &mut Socket, name: &str) -> io::Result<Option<BTreeMap<String, String>>> {
    let target = |one: &Vec<u8>| {
        let one = Parsed::new(one);
        let verdict = one.nest(element::DATA)?.nest(expression::DATA_VERDICT)?;
        let is_goto = verdict.number(expression::VERDICT_CODE)?.cast_signed() == expression::GOTO;
        let chain = verdict.text(expression::VERDICT_CHAIN).filter(|_| is_goto)?;
        Some((super::wire::text(key(&one)?)?, chain))
    };
    Ok(elements(socket, name)?.iter().map(target).collect())
}

/// Pairs starts and ends. Where one interval ends and another starts, the end sorts first; an end without a start
/// is the mark that nft puts at the bottom of each set.
fn pair(bounds: &BTreeSet<(u128, bool)>) -> BTreeSet<Interval> {
    let mut intervals = BTreeSet::new();
    let mut open = None;
    for (key, is_start) in bounds {
        if *is_start {
            open = Some(*key);
        } else if let Some(start) = open.take() {
            intervals.insert(Interval { start, end: Some(*key) });
        }
    }
    intervals.extend(open.map(|start| Interval { start, end: None }));
    intervals
}

fn request(kind: u8, body: Attributes) -> Message {
    about(Family::Ipv4, kind, body)
}

/// A question about tables of a family.
pub(super) fn about(family: Family, kind: u8, body: Attributes) -> Message {
    Message { subsystem: subsystem::NFTABLES, family, kind, flags: 0, body }
}
