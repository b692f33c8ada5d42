//! Replays what Calico was recorded to answer, store and leave in the kernel against our binary, and says case by case
//! what is equal, what differs, and what is better on purpose.
//!
//! ```text
//! VECTORS=DIR  the folder with the recordings: DIR/cni-*/, DIR/calicoctl-*/, a file a case; DIR/felix-*/, a folder a
//!              case, or a folder a scenario with one for each step (`felix/form.rs`)
//! CASES=cni    which of them (cni, calicoctl, felix), separated by commas; all that DIR has when not given
//! ONLY=010     only the cases whose name contains this; those before them still run where they build on each other
//! TORTIE_BIN   another binary than the one that cargo built
//! ```
//!
//! A row a case: `ok`, `better` with the rules that say why, `not ok` with what differs, `skip` with what is missing.
//! The last line counts them; the exit status is 1 when one failed, 2 when nothing could be compared.
//!
//! Without VECTORS the runner is tried on recordings of its own, right ones and wrong ones: `own`.
//! The recordings name commands, which run as root, though in namespaces of their own: use folders that you trust.

mod better;
mod calicoctl;
mod cni;
mod compare;
mod felix;
mod own;
mod process;
mod report;
mod step;
mod store;
mod vary;
mod world;

use anyhow::{Context, Result, bail};
use report::Report;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use world::World;

/// Recorded cases of one form.
trait Suite {
    /// Replays them.
    fn run(&self, world: &World, report: &mut Report) -> Result<()>;
}

/// Reads the recordings in folders.
type Load = fn(&[PathBuf]) -> Result<Box<dyn Suite>>;

/// What marks folders beside them whose recordings have another form: of the Kubernetes datastore.
const OTHER_FORMS: [&str; 1] = ["k8s"];

/// The forms of recordings; the folders of one are `NAME` and `NAME-VERSION`.
const SUITES: [(&str, Load); 3] = [("cni", cni::load), ("calicoctl", calicoctl::load), ("felix", felix::load)];

fn main() -> ExitCode {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let vectors = PathBuf::from(variable("VECTORS"));
    let outcome = if vectors.as_os_str().is_empty() {
        own::prove()
    } else if world::is_inside() {
        replay(&vectors, &words(&variable("CASES")), words(&variable("ONLY")))
    } else {
        world::run_inside()
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("compat: {error:#}");
        ExitCode::from(2)
    })
}

fn words(text: &str) -> Vec<String> {
    text.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Replays the wanted recordings of a folder.
fn replay(vectors: &Path, wanted: &[String], only: Vec<String>) -> Result<ExitCode> {
    if let Some(unknown) = wanted.iter().find(|word| !SUITES.iter().any(|(name, _)| name == word)) {
        let known: Vec<&str> = SUITES.iter().map(|(name, _)| *name).collect();
        bail!("CASES={unknown}: there are {}", known.join(", "));
    }
    let mut suites = Vec::new();
    for (name, load) in SUITES {
        let folders = folders(vectors, name)?;
        if !wanted.is_empty() && !wanted.iter().any(|word| word == name) {
            continue;
        }
        if !folders.is_empty() {
            suites.push(load(&folders)?);
        } else if !wanted.is_empty() {
            bail!("{}: no folder {name} or {name}-… in it", vectors.display());
        }
    }
    // what follows cannot see every folder of the machine
    let world = World::enter()?;
    let mut report = Report::new(only);
    for suite in suites {
        suite.run(&world, &mut report)?;
    }
    report.end()
}

/// The folders with recordings of one form.
fn folders(vectors: &Path, suite: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(vectors).with_context(|| format!("VECTORS={}", vectors.display()))?;
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.path().is_dir() || !(name == suite || name.starts_with(&format!("{suite}-"))) {
            continue;
        }
        match name.split('-').find(|part| OTHER_FORMS.contains(part)) {
            Some(form) => writeln!(std::io::stdout(), "skip {name}: recordings of {form} cannot be replayed yet")?,
            None => folders.push(entry.path()),
        }
    }
    folders.sort();
    Ok(folders)
}
