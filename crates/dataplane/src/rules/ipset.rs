//! Sets of prefixes and addresses for iptables rules, with the program `ipset`.
//!
//! A set is ours by its name. Members are added and removed one by one in one run of `ipset restore`; a set
//! whose type or size is wrong is written anew under a temporary name and swapped in, so that rules which name
//! it never see it half full.

use super::model::{Family, Set, SetKind, SetName};
use super::{RulesError, nft, tool};
use ipnet::{IpNet, Ipv4Net};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;
use tracing::warn;

const IPSET: &str = "ipset";
/// `maxIpsetSize`'s default.
const MAX_ELEMENTS: &str = "1048576";
/// What the names of temporary IPv4 sets start with, as in Calico.
const TEMPORARY_PREFIX: &str = "cali4t";
const TEMPORARY: &str = "cali4t0";
/// What the names of Calico's IPv6 sets start with.
pub(super) const IPV6_PREFIXES: [&str; 2] = ["cali60", "cali6t"];

/// Our sets as far as they are known.
#[derive(Default)]
pub(super) struct IpSets {
    actual: Option<BTreeMap<String, Actual>>,
}

/// Whether rules that named a set have just been removed. The kernel lets go of their sets some milliseconds
/// after it has answered, and until then a set cannot be destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// Rules have been removed: a set may be free in a moment.
    Soon,
    /// No rules have been removed: a set that is in use stays so.
    No,
}

impl Release {
    const ATTEMPTS: usize = 50;
    const PAUSE: Duration = Duration::from_millis(20);

    /// Tries to destroy a set until it is free, or for a second.
    pub(super) fn wait<T, E>(self, mut destroy: impl FnMut() -> Result<T, E>) -> Result<T, E> {
        let attempts = match self {
            Release::Soon => Self::ATTEMPTS,
            Release::No => 1,
        };
        for _ in 1..attempts {
            if let Ok(done) = destroy() {
                return Ok(done);
            }
            thread::sleep(Self::PAUSE);
        }
        destroy()
    }
}

/// A set as read, or as it must be after what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Actual {
    shape: Shape,
    /// What `ipset` calls its type and family.
    header: Header,
    /// Members as `ipset save` prints them.
    members: BTreeSet<String>,
}

/// A set's type and family in ipset's words.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Header(String);

impl Header {
    fn of(family: Family, kind: SetKind) -> Header {
        let kind = match kind {
            SetKind::Networks => "hash:net",
            SetKind::Addresses => "hash:ip",
        };
        let family = match family {
            Family::Ipv4 => "inet",
            Family::Ipv6 => "inet6",
        };
        Header(format!("{kind} family {family}"))
    }
}

/// Whether a set has the size and options that ours have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Right,
    /// Another size or option: to be swapped for a right one.
    Other,
}

impl IpSets {
    /// Forgets what is known, so that the next write reads.
    pub(super) fn invalidate(&mut self) {
        self.actual = None;
    }

    /// Makes every desired set exist with its members; returns how many were written.
    pub(super) fn write(&mut self, family: Family, desired: &BTreeMap<SetName, Set>) -> Result<usize, RulesError> {
        let mut actual = self.known()?;
        let mut input = String::new();
        let mut writes = 0;
        for (name, set) in desired {
            let members: BTreeSet<String> = set.members.iter().flat_map(printed).collect();
            let wanted = Actual { shape: Shape::Right, header: Header::of(family, set.kind), members };
            let commands = difference(&name.0, actual.get(&name.0), &wanted);
            if !commands.is_empty() {
                input.push_str(&commands);
                writes += 1;
            }
            actual.insert(name.0.clone(), wanted);
        }
        if writes > 0 {
            if actual.remove(TEMPORARY).is_some() {
                tool::run(IPSET, &["destroy", TEMPORARY], "")?;
            }
            tool::run(IPSET, &["-exist", "restore"], &input)?;
        }
        self.actual = Some(actual);
        Ok(writes)
    }

    /// Destroys sets of ours that are not desired; one that some rule still names stays, with a warning.
    pub(super) fn sweep(&mut self, desired: &BTreeMap<SetName, Set>, release: Release) -> Result<usize, RulesError> {
        let mut actual = self.known()?;
        let unwanted: Vec<String> =
            actual.keys().filter(|name| !desired.contains_key(&SetName((*name).clone()))).cloned().collect();
        let mut writes = 0;
        for name in unwanted {
            match release.wait(|| tool::run(IPSET, &["destroy", &name], "")) {
                Ok(_) => {
                    actual.remove(&name);
                    writes += 1;
                }
                Err(error) => warn!(set = name, %error, "set stays"),
            }
        }
        self.actual = Some(actual);
        Ok(writes)
    }

    /// Takes what is known out, reading it if need be; it is put back when what was written has worked.
    fn known(&mut self) -> Result<BTreeMap<String, Actual>, RulesError> {
        match self.actual.take() {
            Some(actual) => Ok(actual),
            None => Ok(parse(&tool::run(IPSET, &["save"], "")?)),
        }
    }
}

/// Whether a set of that name is ours.
pub(super) fn is_our_set(name: &str) -> bool {
    name.starts_with(SetName::prefix(Family::Ipv4)) || name.starts_with(TEMPORARY_PREFIX)
}

/// Reads the prefixes in the named sets. The program is started only where the kernel has one of them.
pub(super) fn members(names: &[String]) -> Result<BTreeSet<Ipv4Net>, RulesError> {
    if !nft::ipset_names()?.iter().any(|name| names.contains(name)) {
        return Ok(BTreeSet::new());
    }
    let sets = parse(&tool::run(IPSET, &["save"], "")?).into_iter().filter(|(name, _)| names.contains(name));
    let prefix = |member: &String| {
        let address = member.split(' ').next()?;
        address.parse().ok().or_else(|| address.parse::<Ipv4Addr>().ok().map(Ipv4Net::from))
    };
    Ok(sets.flat_map(|(_, set)| set.members.iter().filter_map(prefix).collect::<Vec<_>>()).collect())
}

/// Spells a prefix as `ipset save` does. The type has no prefix of length 0: that one becomes its two halves.
fn printed(prefix: &IpNet) -> Vec<String> {
    match prefix.prefix_len() {
        0 => prefix.subnets(1).expect("1 is a longer prefix than 0").map(|half| half.to_string()).collect(),
        length if length == prefix.max_prefix_len() => vec![prefix.addr().to_string()],
        _ => vec![prefix.to_string()],
    }
}

/// The commands that turn a set into the wanted one; none if it is.
///
/// A set of another type goes first: no rule can name both.
fn difference(name: &str, actual: Option<&Actual>, wanted: &Actual) -> String {
    let mut commands = String::new();
    let nothing = BTreeSet::new();
    let (target, present) = match actual {
        Some(actual) if actual.header != wanted.header => {
            let _ = writeln!(commands, "destroy {name}");
            (name, None)
        }
        Some(actual) if actual.shape == Shape::Right => (name, Some(&actual.members)),
        Some(_) => (TEMPORARY, None),
        None => (name, None),
    };
    let present = present.unwrap_or_else(|| {
        let _ = writeln!(commands, "create {target} {} maxelem {MAX_ELEMENTS}", wanted.header.0);
        &nothing
    });
    for member in present.difference(&wanted.members) {
        let address = member.split(' ').next().unwrap_or(member);
        let _ = writeln!(commands, "del {target} {address}");
    }
    for member in wanted.members.difference(present) {
        let _ = writeln!(commands, "add {target} {member}");
    }
    if target != name {
        let _ = writeln!(commands, "swap {target} {name}\ndestroy {target}");
    }
    commands
}

/// Takes the output of `ipset save` apart, keeping only our sets.
fn parse(text: &str) -> BTreeMap<String, Actual> {
    let mut sets: BTreeMap<String, Actual> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.splitn(3, ' ');
        let (Some(verb), Some(name), Some(rest)) = (words.next(), words.next(), words.next()) else { continue };
        if !is_our_set(name) {
            continue;
        }
        match verb {
            "create" => {
                let (header, shape) = judge(rest);
                sets.insert(name.to_owned(), Actual { shape, header, members: BTreeSet::new() });
            }
            "add" => {
                if let Some(set) = sets.get_mut(name) {
                    set.members.insert(rest.to_owned());
                }
            }
            _ => {}
        }
    }
    sets
}

/// Judges a set by the words after its name, `hash:net family inet hashsize 1024 maxelem 1048576 …`.
fn judge(words: &str) -> (Header, Shape) {
    let words: Vec<&str> = words.split(' ').collect();
    let option = |key: &str| words.windows(2).find(|two| two[0] == key).map(|two| two[1]);
    let header = Header(format!("{} family {}", words[0], option("family").unwrap_or_default()));
    let right = option("maxelem") == Some(MAX_ELEMENTS) && option("timeout").is_none();
    (header, if right { Shape::Right } else { Shape::Other })
}
