//! Rows, and their count.

use anyhow::Result;
use std::collections::BTreeSet;
use std::io::Write;
use std::process::ExitCode;

/// What was found about one case.
#[derive(Default)]
pub(crate) struct Findings {
    /// What differs, a line or more each.
    pub(crate) differences: Vec<String>,
    /// The rules by which ours is better.
    pub(crate) better: BTreeSet<&'static str>,
    /// What the case needs and we do not have.
    pub(crate) needs: Option<String>,
}

impl Findings {
    /// Notes a difference.
    pub(crate) fn differs(&mut self, what: impl Into<String>) {
        self.differences.push(what.into());
    }
}

/// The rows of a run.
pub(crate) struct Report {
    only: Vec<String>,
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Report {
    /// A report of the cases whose names contain one of these words; of all when there are none.
    pub(crate) fn new(only: Vec<String>) -> Report {
        Report { only, passed: 0, failed: 0, skipped: 0 }
    }

    /// Whether somebody wants to know about a case.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|word| name.contains(word.as_str()))
    }

    /// Prints a case's row, if somebody wants to know.
    pub(crate) fn row(&mut self, name: &str, findings: &Findings) -> Result<()> {
        if !self.wants(name) {
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        if !findings.differences.is_empty() {
            self.failed += 1;
            writeln!(out, "not ok {name}")?;
            for line in findings.differences.iter().flat_map(|difference| difference.lines()) {
                writeln!(out, "    {line}")?;
            }
            return Ok(());
        }
        if let Some(needs) = &findings.needs {
            self.skipped += 1;
            writeln!(out, "skip {name}: needs {needs}")?;
            return Ok(());
        }
        self.passed += 1;
        if findings.better.is_empty() {
            writeln!(out, "ok {name}")?;
        } else {
            let rules: Vec<&str> = findings.better.iter().copied().collect();
            writeln!(out, "better {name}: {}", rules.join("; "))?;
        }
        Ok(())
    }

    /// Prints the count; the exit status says whether all is well.
    pub(crate) fn end(self) -> Result<ExitCode> {
        let skipped = if self.skipped == 0 { String::new() } else { format!(", {} skipped", self.skipped) };
        writeln!(std::io::stdout(), "{} passed, {} failed{skipped}", self.passed, self.failed)?;
        Ok(match (self.passed, self.failed) {
            (0, 0) => ExitCode::from(2),
            (_, 0) => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        })
    }
}
