//! Steps of calicoctl: a command line with its input files, as somebody typed it.

use crate::better::{self, Printed};
use crate::compare::Comparison;
use crate::process::{Outcome, run};
use crate::store::{Content, Store};
use crate::world::World;
use anyhow::Result;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// One recorded step.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    /// For the shell; empty where something else than a command was done.
    pub(crate) command: String,
    #[serde(rename = "in.yaml", default)]
    input_file: Option<String>,
    #[serde(default)]
    files: BTreeMap<String, String>,
    #[serde(default)]
    stdin: String,
    /// `NAME=VALUE`, one a line.
    #[serde(default)]
    env: String,
    #[serde(default)]
    stdout: String,
    #[serde(default)]
    stderr: String,
    #[serde(default)]
    exit: i64,
    /// What the store held afterwards.
    #[serde(default)]
    pub(crate) etcd: Option<Content>,
}

impl Step {
    /// Whether the command only shows something.
    pub(crate) fn looks(&self) -> bool {
        self.command.starts_with("calicoctl get ")
    }

    /// Runs the command in a folder.
    fn run(&self, world: &World, endpoint: &str, folder: &Path) -> Result<Outcome> {
        for (name, text) in self.files.iter().map(|(name, text)| (name.as_str(), text)) {
            fs::write(folder.join(name), text)?;
        }
        if let Some(text) = &self.input_file {
            fs::write(folder.join("in.yaml"), text)?;
        }
        let programs = world.program("calicoctl");
        let programs = programs.parent().unwrap_or(Path::new("/")).display();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("sh");
        command.arg("-c").arg(&self.command).current_dir(folder);
        command
            .env("PATH", format!("{programs}:{path}"))
            .env("DATASTORE_TYPE", "etcdv3")
            .env("ETCD_ENDPOINTS", endpoint);
        command.envs(self.env.lines().filter_map(|line| line.split_once('=')));
        run(&mut command, self.stdin.as_bytes())
    }

    /// Runs the command and compares what it printed and stored; what it stored otherwise is mended.
    pub(crate) fn replay(
        &self,
        world: &World,
        store: &Store,
        folder: &Path,
        comparison: &mut Comparison,
    ) -> Result<()> {
        let before = if self.exit == 0 { Content::new() } else { store.content()? };
        if !self.command.is_empty() {
            let outcome = self.run(world, store.endpoint(), folder)?;
            let what = |part: &str| format!("{}: {part}", self.command);
            if self.exit == 2 && self.stderr.starts_with("panic: ") && outcome.exit == 0 && !outcome.stdout.is_empty() {
                comparison.better(better::ANSWERED);
                return Ok(());
            }
            if self.exit == 0 && outcome.exit == 1 && outcome.stderr.contains("overlaps with IPv4 loopback range") {
                comparison.better(better::LOOPBACK);
                return Ok(());
            }
            let recorded = Printed { stdout: self.stdout.clone(), stderr: self.stderr.clone() };
            let ours = Printed { stdout: outcome.stdout.clone(), stderr: outcome.stderr.clone() };
            if better::did_without(&recorded, &ours) {
                comparison.better(better::PROGRAM);
                return Ok(());
            }
            let (recorded, ours) = comparison.printed(recorded, ours);
            comparison.text(&what("stdout"), &recorded.stdout, &ours.stdout);
            comparison.text(&what("stderr"), &recorded.stderr, &ours.stderr);
            comparison.number(&what("exit"), self.exit, outcome.exit);
        }
        if let Some(recorded) = &self.etcd {
            let ours = store.content()?;
            let recorded = &comparison.refused(recorded, &before, &ours);
            let differing = comparison.content(recorded, &ours);
            for key in differing {
                let value = recorded.get(&key).map(|value| comparison.translate(value));
                store.set(&key, value.as_deref())?;
            }
        }
        Ok(())
    }
}
