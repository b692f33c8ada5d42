//! Cases of calicoctl: each starts from an empty store, in a folder of its own.

use crate::Suite;
use crate::compare::Comparison;
use crate::report::Report;
use crate::step::Step;
use crate::store::{ENDPOINT, Store};
use crate::world::World;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

struct Calicoctl {
    cases: Vec<(String, Vec<Step>)>,
}

/// Reads the cases: the files of the folders, and of the folders in them.
pub(crate) fn load(folders: &[PathBuf]) -> Result<Box<dyn Suite>> {
    let mut cases = Vec::new();
    for folder in folders {
        read(folder, "", &mut cases)?;
    }
    cases.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(Box::new(Calicoctl { cases }))
}

fn read(folder: &Path, prefix: &str, cases: &mut Vec<(String, Vec<Step>)>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let Some(file) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if path.is_dir() {
            read(&path, &format!("{prefix}{file}/"), cases)?;
        } else if let Some(name) = file.strip_suffix(".json") {
            let text = fs::read(&path).with_context(|| path.display().to_string())?;
            let steps = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
            cases.push((format!("{prefix}{name}"), steps));
        }
    }
    Ok(())
}

/// The steps in the order in which they were done.
///
/// Where only the first has the store's content, and no other looks at anything, they prepared what it needs.
fn in_order(steps: &[Step]) -> Vec<&Step> {
    match steps {
        [own, others @ ..] if own.etcd.is_some() && others.iter().all(|step| step.etcd.is_none() && !step.looks()) => {
            others.iter().chain([own]).collect()
        }
        all => all.iter().collect(),
    }
}

impl Suite for Calicoctl {
    fn run(&self, world: &World, report: &mut Report) -> Result<()> {
        let store = Store::start(world, ENDPOINT)?;
        for (name, steps) in &self.cases {
            if !report.wants(name) {
                continue;
            }
            store.clear()?;
            let folder = world.folder("steps")?;
            let mut comparison = Comparison::default();
            for step in in_order(steps) {
                step.replay(world, &store, &folder, &mut comparison).with_context(|| name.clone())?;
            }
            report.row(name, &comparison.take())?;
        }
        Ok(())
    }
}
