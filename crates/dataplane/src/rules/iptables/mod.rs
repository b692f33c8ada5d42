//! The iptables driver: `iptables-save` to read, `iptables-restore` to write, `ipset` for sets.
//!
//! What was written is read back at once; only when nothing differs any more is it believed. The binary formats
//! of the two kernel interfaces are left to the programs that own them.

mod backend;
mod hooked;
mod plan;
mod policy;
mod saved;
mod text;
mod tree;

pub(super) use backend::Backend;
pub(super) use hooked::hooked;
pub(super) use policy::closing_chains;
pub(super) use saved::is_our_chain;

use super::ipset::{IpSets, Release};
use super::model::{Ruleset, Table};
use super::{Applied, Change, Driver, Invalidate, Knowledge, RulesError, calico, legacy, nft};
use plan::Learned;
use saved::{Owner, Saved};
use std::collections::{BTreeMap, BTreeSet};
use text::Lines;
use tracing::{debug, warn};

/// How often rules are written in one go before somebody else is suspected of changing them.
const ROUNDS: usize = 5;

/// Writes rules with `iptables-restore` and sets with `ipset`.
#[derive(Default)]
pub(super) struct Iptables {
    tables: Option<Tables>,
    sets: IpSets,
    other_driver: OtherDriver,
}

/// Whether the nftables driver's table, and the rules in the interface that is not written to, have been looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum OtherDriver {
    #[default]
    Unknown,
    Gone,
}

impl Driver for Iptables {
    fn apply(&mut self, ruleset: &Ruleset) -> Result<Applied, RulesError> {
        let mut writes = self.sets.write(ruleset.family, &ruleset.sets)?;
        let rules = match self.tables()?.apply(ruleset) {
            Ok(rules) => rules,
            Err(error) => {
                // rules are refused for a set that somebody has destroyed, which nothing announces
                self.sets.invalidate();
                return Err(error);
            }
        };
        // rules behind both interfaces name the same sets: those of the other one go before sets do
        let swept = match self.other_driver {
            OtherDriver::Unknown => self.sweep_other_interface()?,
            OtherDriver::Gone => 0,
        };
        writes += rules + swept + self.sets.sweep(&ruleset.sets, release(rules + swept))?;
        if self.other_driver == OtherDriver::Unknown {
            writes += nft::remove_table()?;
            calico::warn_of_leftovers(&nft::leftovers());
            self.other_driver = OtherDriver::Gone;
        }
        Ok(Applied { writes })
    }

    fn invalidate(&mut self, what: Invalidate) {
        match what {
            Invalidate::Rules => {
                if let Some(tables) = &mut self.tables {
                    tables.saved = None;
                }
            }
            Invalidate::Sets => self.sets.invalidate(),
        }
    }

    fn on_change(&mut self, change: Change) -> Knowledge {
        let generation = match change {
            Change::Nftables(_) => return Knowledge::Good,
            Change::Iptables(generation) => Some(generation),
            Change::Overrun => None,
        };
        match &mut self.tables {
            Some(tables) if !tables.have_shown(generation) => tables.saved = None,
            Some(_) | None => return Knowledge::Good,
        }
        Knowledge::Stale
    }

    fn remove_all(&mut self) -> Result<Applied, RulesError> {
        self.invalidate(Invalidate::Rules);
        self.invalidate(Invalidate::Sets);
        let nothing = Ruleset::default();
        let rules = self.tables()?.apply(&nothing)?;
        Ok(Applied { writes: rules + self.sets.sweep(&nothing.sets, release(rules))? })
    }
}

fn release(rules_written: usize) -> Release {
    if rules_written > 0 { Release::Soon } else { Release::No }
}

impl Iptables {
    fn tables(&mut self) -> Result<&mut Tables, RulesError> {
        if self.tables.is_none() {
            let backend = Backend::detect()?;
            debug!(?backend, "iptables interface chosen");
            self.tables = Some(Tables::new(backend));
        }
        Ok(self.tables.as_mut().expect("made above"))
    }

    /// Removes what is ours from the kernel's other iptables interface: its chains see the same packets as ours, and
    /// drop those of pods that they do not know. Our own rules must stand by then.
    fn sweep_other_interface(&mut self) -> Result<usize, RulesError> {
        match self.tables()?.backend.other()? {
            Backend::Nft => nft::sweep_iptables(),
            Backend::Legacy | Backend::LegacyIpv6 | Backend::Plain => sweep_legacy(),
        }
    }
}

/// Removes what is ours from the legacy interface; without its programs it stays, with a warning.
pub(super) fn sweep_legacy() -> Result<usize, RulesError> {
    if !legacy::has_tables()? {
        return Ok(0);
    }
    let mut tables = Tables::new(Backend::Legacy);
    let chains = match tables.our_chains() {
        Ok(chains) => chains,
        Err(error @ RulesError::MissingTool { .. }) => {
            warn!(%error, "rules of Calico's in legacy tables, if there are any, stay");
            return Ok(0);
        }
        Err(error) => return Err(error),
    };
    let writes = tables.apply(&Ruleset::default())?;
    calico::tell_of_sweep(Backend::Legacy.words(), &chains, writes);
    Ok(writes)
}

/// The tables behind one interface.
pub(super) struct Tables {
    backend: Backend,
    saved: Option<Saved>,
    /// The generation of the nftables ruleset before the tables were last read.
    generation: Option<u32>,
    learned: Learned,
}

impl Tables {
    /// Looks at nothing yet.
    pub(super) fn new(backend: Backend) -> Tables {
        Tables { backend, saved: None, generation: None, learned: Learned::new() }
    }

    /// Reads which chains of ours there are.
    fn our_chains(&mut self) -> Result<BTreeSet<String>, RulesError> {
        self.generation = nft::generation();
        let saved = self.saved.insert(saved::parse(&self.backend.save()?));
        let chains = saved.values().flatten().filter(|(_, chain)| chain.owner == Owner::Ours);
        Ok(chains.map(|(name, _)| name.clone()).collect())
    }

    /// Makes the tables hold `ruleset` and nothing else of ours; returns how many chains were written.
    pub(super) fn apply(&mut self, ruleset: &Ruleset) -> Result<usize, RulesError> {
        let desired = text::render(ruleset);
        let mut writes = 0;
        for _ in 0..ROUNDS {
            let saved = match self.saved.take() {
                Some(saved) => saved,
                None => {
                    self.generation = nft::generation();
                    saved::parse(&self.backend.save()?)
                }
            };
            if writes > 0 {
                self.learn(&desired, &saved);
            }
            let plan = plan::plan(&desired, ruleset.placement, &saved, &self.learned);
            if plan.writes == 0 {
                self.saved = Some(saved);
                return Ok(writes);
            }
            if writes == 0 {
                calico::warn_of_policy(plan.removed.iter().map(String::as_str));
            }
            debug!(chains = plan.writes, "writing iptables");
            self.backend.restore(&plan.input)?;
            writes += plan.writes;
        }
        Err(RulesError::Unsettled { what: "iptables rules".to_owned(), rounds: ROUNDS })
    }

    /// Whether what was last read shows what was done up to a generation of the ruleset.
    fn have_shown(&self, change: Option<u32>) -> bool {
        self.saved.is_some() && self.generation.zip(change).is_some_and(|(read, change)| nft::shows(read, change))
    }

    /// Remembers rules that came back, right after they were written, in other words than expected.
    fn learn(&mut self, desired: &BTreeMap<Table, Lines>, saved: &Saved) {
        for (table, lines) in desired {
            let Some(chains) = saved.get(table) else { continue };
            let hooks = lines.hooks.iter().map(|(name, (inserted, appended))| (*name, [&inserted[..], &appended[..]]));
            let ours = lines.chains.iter().map(|(name, lines)| (name.as_str(), [&lines[..], &[]]));
            for (name, groups) in hooks.chain(ours) {
                let Some(chain) = chains.get(name) else { continue };
                for line in groups.into_iter().flatten() {
                    let found = chain.rules.iter().find(|rule| rule.hash.as_ref() == Some(&line.hash));
                    if let Some(rule) = found.filter(|rule| !plan::is_right(rule, line, &self.learned)) {
                        self.learned.insert(line.hash.clone(), rule.text.clone());
                    }
                }
            }
        }
    }
}

/// The hashes of every chain of a table, ours and the kernel's, for tests of composition.
#[cfg(test)]
pub(super) fn hashes(ruleset: &Ruleset, table: Table) -> BTreeMap<String, Vec<String>> {
    let mut hashes = BTreeMap::new();
    let lines = text::render(ruleset).remove(&table).unwrap_or_default();
    let hooks =
        lines.hooks.into_iter().map(|(name, (inserted, appended))| (name.to_owned(), [inserted, appended].concat()));
    for (name, lines) in lines.chains.into_iter().chain(hooks) {
        hashes.insert(name, lines.into_iter().map(|line| line.hash).collect());
    }
    hashes
}
