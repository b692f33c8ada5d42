//! Packet rules: one representation, and two drivers that make the kernel agree with it.
//!
//! [`compose()`] turns intent into a [`Ruleset`]: tables, chains, rules and sets, without a word of any tool's
//! syntax. [`Driver`] is what writes one: with `iptables-restore` and `ipset`, or with nftables over netlink.
//! Chains, sets and hash comments are named as Calico v3.32 names them, so that what operators read is what
//! they know, and what Calico left on a node is recognised as ours.
//!
//! Both drivers are blocking and act on the network namespace of the calling thread.

mod calico;
mod compose;
mod error;
mod hash;
mod ipset;
mod iptables;
mod lack;
mod legacy;
mod model;
mod nft;
mod policy;
mod pools;
mod rule;
mod standing;
mod tool;

pub use compose::compose;
pub use error::RulesError;
pub use model::{ChainName, Dispatch, Family, Hook, HookRules, Placement, Ruleset, Set, SetKind, SetName, Table};
pub use nft::{Change, Monitor};

pub use policy::closing_chains;
pub use pools::known_pools;
pub use rule::{Action, Bits, Connection, Direction, End, Links, Match, Rule, Scope, Sense};
pub use standing::{Standing, standing};

use ::model::desired::PacketRules;

/// What an [`apply`](Driver::apply) did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// How many chains, hooks and sets were written or removed; 0 when everything was right already.
    pub writes: usize,
}

/// A part of the kernel's state that a driver must read again before it trusts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalidate {
    /// Chains and rules.
    Rules,
    /// Sets and their members.
    Sets,
}

/// Whether what a driver knows of the kernel still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// It does: the next apply has nothing to do for that reason.
    Good,
    /// It may not: the next apply reads first.
    Stale,
}

/// Makes the kernel's packet rules agree with a [`Ruleset`].
///
/// A driver reads the kernel once, remembers what it wrote, and reads again only when told to by
/// [`invalidate`](Driver::invalidate) or [`on_change`](Driver::on_change), or after a failure. Objects of others are never touched.
pub trait Driver: Send {
    /// Writes the difference between the kernel and `ruleset`: sets before the rules that name them, rules
    /// before the removal of sets that none names.
    ///
    /// The first call also removes what the other driver left. After an error the next call reads afresh.
    fn apply(&mut self, ruleset: &Ruleset) -> Result<Applied, RulesError>;

    /// Forgets a part of what is known, so that the next [`apply`](Driver::apply) finds drift.
    fn invalidate(&mut self, what: Invalidate);

    /// Takes notice of something that was done to packet rules; what the driver did itself it has read back already.
    fn on_change(&mut self, change: Change) -> Knowledge;

    /// Removes every chain, rule and set of ours, and nothing else.
    fn remove_all(&mut self) -> Result<Applied, RulesError>;
}

/// Makes the driver for `kind`; nothing is read or written before its first use.
pub fn driver(kind: PacketRules) -> Box<dyn Driver> {
    match kind {
        PacketRules::Iptables => Box::new(iptables::Iptables::default()),
        PacketRules::Nftables => Box::new(nft::Nftables::default()),
    }
}

/// Removes every chain, rule, table and set of ours, whichever driver made it, and what Calico left of both address
/// families; nothing of others. Tells `removed` of each, and returns what stays, with the reason.
pub fn purge(removed: &mut dyn FnMut(String)) -> Vec<RulesError> {
    nft::purge::purge(removed)
}
