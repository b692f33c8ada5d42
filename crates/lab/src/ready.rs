//! When a cluster works: a list of conditions, polled until all hold or time is up.

use anyhow::Result;
use std::thread;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(200);

/// One thing that must be so.
pub(crate) struct Condition<'a> {
    /// What must be so, in an operator's words.
    pub(crate) what: String,
    /// Whose logs explain it when it is not.
    pub(crate) host: String,
    /// Looks, and says what is seen instead.
    pub(crate) look: Box<dyn Fn() -> Result<(), String> + 'a>,
}

/// Waits until every condition holds; a condition that held once is not looked at again.
///
/// Fails with what is missing and why. `tick` runs between looks and ends the wait by an error.
pub(crate) fn all(
    mut conditions: Vec<Condition<'_>>,
    within: Duration,
    tick: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<(), Missing> {
    let deadline = Instant::now() + within;
    loop {
        let mut reasons = Vec::new();
        conditions.retain(|condition| match (condition.look)() {
            Ok(()) => false,
            Err(seen) => {
                reasons.push(seen);
                true
            }
        });
        if conditions.is_empty() {
            return Ok(());
        }
        let missing = || Missing {
            lines: conditions
                .iter()
                .zip(&reasons)
                .map(|(condition, seen)| format!("{}: {seen}", condition.what))
                .collect(),
            hosts: conditions.iter().map(|condition| condition.host.clone()).collect(),
        };
        if let Err(error) = tick(conditions.len()) {
            return Err(Missing { lines: vec![format!("{error:#}")], hosts: Default::default() });
        }
        if Instant::now() >= deadline {
            return Err(missing());
        }
        thread::sleep(POLL);
    }
}

/// Conditions that do not hold.
#[derive(Debug)]
pub(crate) struct Missing {
    /// Each with what was seen.
    pub(crate) lines: Vec<String>,
    /// Hosts whose logs may tell why.
    pub(crate) hosts: std::collections::BTreeSet<String>,
}
