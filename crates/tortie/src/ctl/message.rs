//! How a command over several resources reports: all done, some done, none done.

use super::{Failed, Output};
use api::resource::Kind;
use std::collections::BTreeMap;

/// The count of a command over resources.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// How many resources there were.
    pub(super) total: usize,
    /// How many are done.
    pub(super) done: usize,
    /// How many were passed over because the user said so.
    pub(super) skipped: usize,
    /// Why others are not done.
    pub(super) errors: Vec<String>,
    /// Their kind, if they have one in common.
    pub(super) kind: Option<Kind>,
    /// What the user should know besides.
    pub(super) warnings: Vec<String>,
}

/// How many objects are named that warn of the same.
const NAMED: usize = 3;

/// A line for each warning, `KIND NAME: WHAT`; of many that say the same of their objects, the first is named.
fn warned(warnings: &[String]) -> String {
    let parts = |warning: &String| {
        let (object, what) = warning.split_once(": ").unwrap_or(("", warning));
        let kind = object.split(' ').next().unwrap_or_default();
        (kind.to_owned(), what.to_owned())
    };
    let mut alike: BTreeMap<(String, String), usize> = BTreeMap::new();
    for warning in warnings {
        *alike.entry(parts(warning)).or_default() += 1;
    }
    let mut text = String::new();
    for warning in warnings {
        match alike.get_mut(&parts(warning)) {
            Some(count) if *count > NAMED => {
                let (object, what) = warning.split_once(": ").unwrap_or(("", warning));
                text += &format!("warning: {object} and {} others: {what}\n", *count - 1);
                *count = 0;
            }
            // told with the first
            Some(0) => {}
            Some(_) | None => text += &format!("warning: {warning}\n"),
        }
    }
    text
}

impl Tally {
    /// A count over resources of these kinds.
    pub(super) fn of(kinds: impl IntoIterator<Item = Kind>) -> Self {
        let mut kinds: Vec<Kind> = kinds.into_iter().collect();
        let total = kinds.len();
        kinds.dedup();
        let kind = if let [kind] = kinds.as_slice() { Some(*kind) } else { None };
        Tally { total, kind, ..Tally::default() }
    }

    /// `'KIND' ` or nothing.
    fn label(&self) -> String {
        self.kind.map(|kind| format!("'{}' ", kind.name())).unwrap_or_default()
    }

    /// The report of create, apply, replace and validate; `verb` as in "failed to VERB", `past` as in "PAST 3".
    pub(super) fn report(self, verb: &str, past: &str) -> Result<Output, Failed> {
        let (label, total, done) = (self.label(), self.total, self.done);
        let mut stderr = warned(&self.warnings);
        if self.errors.is_empty() {
            let mut stdout = String::new();
            if done > 0 || self.skipped == 0 {
                stdout = format!("Successfully {past} {done} {label}resource(s)\n");
            }
            if self.skipped > 0 {
                stdout += &format!("Skipped {} {label}resource(s) that exist already\n", self.skipped);
            }
            return Ok(Output { stdout, stderr, code: 0 });
        }
        let errors = format!("[{}]", self.errors.join(" "));
        let mut stdout = String::new();
        if done > 0 {
            stdout = format!("Partial success: {past} the first {done} out of {total} {label}resources:\n");
            let hit = if matches!(verb, "apply" | "validate") { "hit error(s)" } else { "hit error" };
            stderr += &format!("{hit}: {errors}\n");
        } else if total == 1 {
            stderr += &format!("failed to {verb} {label}resource: {errors}\n");
        } else {
            stderr += &format!("failed to {verb} any {label}resources: {errors}\n");
        }
        Ok(Output { stdout, stderr, code: 1 })
    }

    /// The report of delete: a line for each failure.
    pub(super) fn report_deleted(self) -> Output {
        let label = self.label();
        let mut stdout = String::new();
        if self.done > 0 {
            stdout = format!("Successfully deleted {} {label}resource(s)\n", self.done);
        }
        if self.skipped > 0 {
            stdout += &format!("Skipped {} {label}resource(s) that do not exist\n", self.skipped);
        }
        let line = |error: &String| format!("Failed to delete {label}resource: {error}\n");
        let mut stderr: String = self.errors.iter().map(line).collect();
        if !stderr.is_empty() {
            stderr.push('\n');
        }
        Output { stdout, code: u8::from(!stderr.is_empty()), stderr }
    }
}
