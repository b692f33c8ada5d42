//! The nftables driver: one table `ip calico`, spoken to over nfnetlink without any program.
//!
//! The table is ours by its name, all of it. It is read by dumps, compared rule by rule (comment and decoded
//! steps) and interval by interval, and changed in one batch that the kernel carries out as a whole, and only if
//! nobody changed the ruleset since it was read.

mod abi;
mod actual;
mod compile;
mod expression;
pub(super) mod hooked;
mod monitor;
mod plan;
pub(super) mod policy;
pub(super) mod purge;
mod removal;
mod socket;
mod sweep;
mod text;
mod wire;

use super::iptables::is_our_chain;
use super::model::{Ruleset, Table};
use super::{Applied, Driver, Invalidate, Knowledge, RulesError, calico};
pub(super) use monitor::shows;
pub use monitor::{Change, Monitor};

use actual::{Actual, ActualSet, Presence};
use compile::SetContent;
use ipnet::{Ipv4Net, Ipv4Subnets};
use nix::errno::Errno;
use plan::{Plan, Repair};
use socket::{Family, Refusal, Socket};
#[cfg(test)]
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use tracing::debug;

/// The table's name, in the family `ip`.
const TABLE: &str = "calico";

/// How often rules are read and written in one go before somebody else is suspected of changing them.
const ROUNDS: usize = 10;

/// Writes rules and sets over netlink.
#[derive(Default)]
pub(super) struct Nftables {
    socket: Option<Socket>,
    actual: Option<Actual>,
    repair: Repair,
    other_driver: sweep::OtherDriver,
}

impl Driver for Nftables {
    fn apply(&mut self, ruleset: &Ruleset) -> Result<Applied, RulesError> {
        let desired = compile::compile(ruleset);
        let repair = self.repair;
        let mut writes = self.settle(|actual| {
            warn_of_policy(actual, |name| desired.chains.contains_key(name));
            plan::plan(&desired, actual, repair)
        })?;
        let first = self.other_driver == sweep::OtherDriver::Unknown;
        writes += self.other_driver.sweep(socket(&mut self.socket)?)?;
        if first {
            calico::warn_of_leftovers(&leftovers());
        }
        Ok(Applied { writes })
    }

    fn invalidate(&mut self, _: Invalidate) {
        self.actual = None;
    }

    fn on_change(&mut self, change: Change) -> Knowledge {
        match (change, &self.actual) {
            (Change::Iptables(_), _) => return Knowledge::Good,
            (Change::Nftables(generation), Some(actual)) if shows(actual.generation, generation) => {
                return Knowledge::Good;
            }
            (Change::Nftables(_) | Change::Overrun, _) => {}
        }
        self.actual = None;
        Knowledge::Stale
    }

    fn remove_all(&mut self) -> Result<Applied, RulesError> {
        self.actual = None;
        let writes = self.settle(|actual| match actual.presence {
            Presence::Absent => Plan::default(),
            Presence::Present | Presence::Unusable => {
                warn_of_policy(actual, |_| false);
                plan::removal()
            }
        })?;
        Ok(Applied { writes })
    }
}

impl Nftables {
    /// Reads, plans and writes until nothing differs; returns how many objects were written.
    fn settle(&mut self, plan: impl Fn(&Actual) -> Plan) -> Result<usize, RulesError> {
        let socket = socket(&mut self.socket)?;
        let mut writes = 0;
        for _ in 0..ROUNDS {
            let actual = match self.actual.take() {
                Some(actual) => actual,
                None => actual::read(socket)?,
            };
            let plan = plan(&actual);
            if plan.writes == 0 {
                self.actual = Some(actual);
                self.repair = Repair::InPlace;
                return Ok(writes);
            }
            debug!(objects = plan.writes, "writing nftables");
            match socket.commit(&plan.batch, actual.generation) {
                Ok(()) => writes += plan.writes,
                Err(Refusal::Stale) => debug!("the nftables ruleset changed meanwhile"),
                Err(Refusal::Request(operation, source)) => {
                    self.repair = Repair::Rebuild;
                    return Err(failed(operation)(source));
                }
            }
        }
        Err(RulesError::Unsettled { what: "nftables rules".to_owned(), rounds: ROUNDS })
    }
}

/// Warns of policy in chains of the table filter that are about to go.
fn warn_of_policy(actual: &Actual, stays: impl Fn(&str) -> bool) {
    let going = actual.chains.keys().filter(|name| !stays(name));
    calico::warn_of_policy(going.filter_map(|name| name.strip_prefix("filter-")));
}

/// Names the tables of other families than ours that hold rules of Calico's, for a warning; none where the kernel cannot
/// be asked.
pub(super) fn leftovers() -> Vec<String> {
    let Ok(mut socket) = Socket::open() else { return Vec::new() };
    let mut tables = Vec::new();
    for (family, name) in purge::TABLES.into_iter().filter(|(family, _)| *family != Family::Ipv4) {
        let presence = actual::presence_of(&mut socket, family, name).unwrap_or_default();
        tables.extend((presence != Presence::Absent).then(|| format!("{} {name}", family.name())));
    }
    for table in Table::ALL.map(Table::name) {
        let chains = actual::chains(&mut socket, Family::Ipv6, table).unwrap_or_default();
        let any = chains.iter().any(|(name, _)| is_our_chain(name));
        tables.extend(any.then(|| format!("{} {table}", Family::Ipv6.name())));
    }
    tables
}

fn socket(place: &mut Option<Socket>) -> Result<&mut Socket, RulesError> {
    if place.is_none() {
        *place = Some(Socket::open().map_err(failed("open an nfnetlink socket"))?);
    }
    Ok(place.as_mut().expect("opened above"))
}

/// Reads the ruleset's generation, for the other driver; a kernel without nftables has none.
pub(super) fn generation() -> Option<u32> {
    actual::read_generation(&mut Socket::open().ok()?).ok()
}

/// The hashes of every chain, for tests of composition.
#[cfg(test)]
pub(super) fn comments(ruleset: &Ruleset) -> BTreeMap<String, Vec<String>> {
    let chains = compile::compile(ruleset).chains.into_iter();
    chains.map(|(name, chain)| (name, chain.rules.into_iter().filter_map(|rule| rule.comment).collect())).collect()
}

/// Deletes the table, for the other driver; a kernel without nftables has none.
pub(super) fn remove_table() -> Result<usize, RulesError> {
    let Some(mut socket) = socket_if_supported()? else { return Ok(0) };
    match actual::presence(&mut socket).map_err(failed("read nftables table calico"))? {
        Presence::Absent => Ok(0),
        Presence::Present | Presence::Unusable => {
            let mut nftables = Nftables { socket: Some(socket), ..Nftables::default() };
            Ok(nftables.remove_all()?.writes)
        }
    }
}

/// Removes what is ours from the tables of `iptables-nft`, for the other driver; a kernel without nftables has none.
pub(super) fn sweep_iptables() -> Result<usize, RulesError> {
    socket_if_supported()?.map_or(Ok(0), |mut socket| sweep::sweep_iptables(&mut socket))
}

/// Names ipset's sets, without its program; a kernel without ipset has none.
pub(super) fn ipset_names() -> Result<Vec<String>, RulesError> {
    socket_if_supported()?.map_or(Ok(Vec::new()), |mut socket| sweep::set_names(&mut socket))
}

/// Reads the prefixes in the named sets of our table; none where the kernel has no such table.
pub(super) fn members(names: &[String]) -> Result<BTreeSet<Ipv4Net>, RulesError> {
    let Some(mut socket) = socket_if_supported()? else { return Ok(BTreeSet::new()) };
    let actual = actual::read(&mut socket)?;
    let mut prefixes = BTreeSet::new();
    for (_, set) in actual.sets.into_iter().filter(|(name, _)| names.contains(name)) {
        let ActualSet::Known(SetContent::Intervals(intervals)) = set else { continue };
        let address = |number: u128| u32::try_from(number).unwrap_or(u32::MAX);
        for interval in intervals {
            let last = interval.end.map_or(u32::MAX, |end| address(end).saturating_sub(1));
            prefixes.extend(Ipv4Subnets::new(address(interval.start).into(), last.into(), 0));
        }
    }
    Ok(prefixes)
}

/// Opens a socket to ask for what is there; none where the kernel has no nftables, and so nothing in them.
fn socket_if_supported() -> Result<Option<Socket>, RulesError> {
    let mut socket = match Socket::open() {
        Err(error) if is_unsupported(&error) => return Ok(None),
        socket => socket.map_err(failed("open an nfnetlink socket"))?,
    };
    match actual::read_generation(&mut socket) {
        Ok(_) => Ok(Some(socket)),
        Err(RulesError::Netlink { source, .. }) if is_unsupported(&source) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an answer says that the kernel has no such thing, or not this part of nfnetlink. Any other failure leaves it
/// open what there is.
fn is_unsupported(error: &io::Error) -> bool {
    let unsupported = [Errno::EPROTONOSUPPORT, Errno::EINVAL, Errno::EOPNOTSUPP, Errno::ENOENT];
    error.raw_os_error().is_some_and(|number| unsupported.contains(&Errno::from_raw(number)))
}

/// Wraps the kernel's answer with what was asked for, and with what may help.
fn failed(operation: impl Into<String>) -> impl FnOnce(io::Error) -> RulesError {
    let operation = operation.into();
    move |source| {
        let only_looks = ["open", "read"].iter().any(|verb| operation.starts_with(verb));
        let hint = match source.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EPERM | Errno::EACCES) => " (needs CAP_NET_ADMIN)",
            Some(Errno::EPROTONOSUPPORT | Errno::EINVAL) if only_looks => {
                " (the kernel lacks nf_tables: load the module, or set nftablesMode to Disabled)"
            }
            Some(Errno::ENOENT | Errno::EOPNOTSUPP) if !only_looks => {
                " (the kernel may lack nft_chain_nat, nft_masq, nft_nat or nft_fib_ipv4: load the modules, or set \
                 nftablesMode to Disabled)"
            }
            _ => "",
        };
        RulesError::Netlink { operation, source, hint }
    }
}
