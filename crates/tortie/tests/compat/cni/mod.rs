//! Calls of the CNI plugins: what they answer, store, and leave in the host's and the pod's kernel state.
//!
//! The cases of a folder are one story, each on what the one before left. Where ours left something else, the store is
//! set as recorded and the kernel's difference remembered, so that one fault is one row.

mod case;
mod kernel;
mod words;

use crate::Suite;
use crate::better;
use crate::compare::Comparison;
use crate::process::{Outcome, run};
use crate::report::Report;
use crate::step::Step;
use crate::store::{Content, ENDPOINT, Store};
use crate::world::World;
use anyhow::{Context, Result};
use case::{Call, Case, Form};
use kernel::State;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Objects that the plugins do not write: what differs in them between two cases, somebody else did.
fn is_written_by_others(key: &str) -> bool {
    let own = ["/profiles/", "/workloadendpoints/"];
    key.starts_with("/calico/resources/") && !own.iter().any(|folder| key.contains(folder))
}

struct Cni {
    stories: Vec<Vec<Case>>,
}

/// Reads the cases.
pub(crate) fn load(folders: &[PathBuf]) -> Result<Box<dyn Suite>> {
    let stories = folders.iter().map(|folder| Case::read(folder)).collect::<Result<_>>()?;
    Ok(Box::new(Cni { stories }))
}

impl Suite for Cni {
    fn run(&self, world: &World, report: &mut Report) -> Result<()> {
        for cases in &self.stories {
            Story::begin(world, cases)?.tell(cases, report)?;
        }
        Ok(())
    }
}

/// A folder's cases under way.
struct Story<'a> {
    world: &'a World,
    store: Store,
    comparison: Comparison,
    /// What the store held at the end of the case before, as recorded.
    content: Content,
    /// How the host's kernel state differs since earlier cases.
    known: BTreeSet<String>,
    /// Pods' interfaces that earlier cases left without IPv6, and Calico with it.
    closed: BTreeSet<String>,
    /// Containers that only calico-ipam knows.
    only_assigned: BTreeSet<String>,
}

impl<'a> Story<'a> {
    fn begin(world: &'a World, cases: &[Case]) -> Result<Story<'a>> {
        let mut endpoints = cases.iter().filter_map(|case| match &case.form {
            Form::Call(call) => Some(call.key("etcd_endpoints")).filter(|text| !text.is_empty()),
            Form::Steps(_) => None,
        });
        let store = Store::start(world, endpoints.next().unwrap_or(ENDPOINT))?;
        Ok(Story {
            world,
            store,
            comparison: Comparison::default(),
            content: Content::new(),
            known: BTreeSet::new(),
            closed: BTreeSet::new(),
            only_assigned: BTreeSet::new(),
        })
    }

    fn tell(mut self, cases: &[Case], report: &mut Report) -> Result<()> {
        for case in cases {
            match &case.form {
                Form::Call(call) => self.call(call).with_context(|| case.name.clone())?,
                Form::Steps(steps) => self.steps(steps).with_context(|| case.name.clone())?,
            }
            if let Some(content) = case.content() {
                self.content.clone_from(content);
            }
            report.row(&case.name, &self.comparison.take())?;
        }
        Ok(())
    }

    /// Replays steps of calicoctl. The first is the case's own, and was done last; where nothing but a change of the
    /// store was recorded, somebody else made it.
    fn steps(&mut self, steps: &[Step]) -> Result<()> {
        if steps.iter().all(|step| step.command.is_empty()) {
            for content in steps.iter().filter_map(|step| step.etcd.as_ref()) {
                let content = content.iter().map(|(key, value)| (key.clone(), self.comparison.translate(value)));
                self.store.become_content(&content.collect())?;
            }
            return Ok(());
        }
        let folder = self.world.folder("steps")?;
        let (own, others) = match steps {
            [own, others @ ..] if own.command.is_empty() => (Some(own), others),
            all => (None, all),
        };
        for step in others.iter().chain(own) {
            step.replay(self.world, &self.store, &folder, &mut self.comparison)?;
        }
        Ok(())
    }

    fn call(&mut self, call: &Call) -> Result<()> {
        self.prepare(call)?;
        let id = call.variable("CNI_CONTAINERID").to_owned();
        let ipam = call.only_assigned() || self.only_assigned.contains(&id);
        if call.only_assigned() {
            self.only_assigned.insert(id);
        }
        let program = if ipam { "calico-ipam" } else { "calico" };
        let before = self.store.content()?;
        let outcome = self.run(call, program, call.variable("CNI_COMMAND"))?;
        if call.version_refused() && outcome.exit == 0 && self.offers(call)? {
            return self.served(call, program, &outcome, &before);
        }
        self.compare(call, &outcome)
    }

    /// Makes what the case finds: the plugins, the container's namespace, what others wrote meanwhile.
    fn prepare(&mut self, call: &Call) -> Result<()> {
        for folder in std::env::split_paths(call.variable("CNI_PATH")).filter(|folder| folder.is_absolute()) {
            self.world.install_plugins(&folder)?;
        }
        if let Some(folder) = Path::new(call.key("log_file_path")).parent().filter(|folder| folder.is_absolute()) {
            self.world.recorded_folder(folder)?;
        }
        if let Some(netns) = call.netns() {
            match call.pod {
                Some(_) => self.world.make_netns(&netns)?,
                None => self.world.remove_netns(&netns)?,
            }
        }
        if let Some(content) = &call.etcd {
            let keys: BTreeSet<&String> = content.keys().chain(self.content.keys()).collect();
            let changed = |key: &&&String| content.get(**key) != self.content.get(**key);
            for key in keys.iter().filter(|key| is_written_by_others(key)).filter(changed) {
                self.store.set(key, content.get(*key).map(String::as_str))?;
            }
        }
        Ok(())
    }

    fn run(&self, call: &Call, program: &str, command: &str) -> Result<Outcome> {
        let mut process = Command::new(self.world.program(program));
        process.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        process.envs(&call.env).env("CNI_COMMAND", command);
        run(&mut process, call.input().as_bytes())
    }

    fn compare(&mut self, call: &Call, outcome: &Outcome) -> Result<()> {
        if call.asks_kubernetes() {
            self.comparison.findings.needs = Some("an API server of Kubernetes".to_owned());
            self.comparison.number("exit", call.exit, outcome.exit);
        } else {
            self.comparison.text("stdout", &call.stdout, &outcome.stdout);
            for difference in words::differences(&call.stderr, &outcome.stderr, call.reason().as_deref()) {
                self.comparison.findings.differs(format!("stderr: {difference}"));
            }
            self.comparison.number("exit", call.exit, outcome.exit);
        }
        self.compare_kernel(call)?;
        if let Some(recorded) = &call.etcd {
            for key in self.comparison.content(recorded, &self.store.content()?) {
                let value = recorded.get(&key).map(|value| self.comparison.translate(value));
                self.store.set(&key, value.as_deref())?;
            }
        }
        Ok(())
    }

    fn compare_kernel(&mut self, call: &Call) -> Result<()> {
        if let (Some(text), Some(netns)) = (&call.pod, call.netns()) {
            let recorded = State::parse(text);
            let ours = recorded.again(Some(&netns))?.facts();
            self.comparison.facts("pod", &recorded.facts(), &ours, &mut BTreeSet::new());
        }
        if let Some(text) = &call.host {
            let recorded = State::parse(text);
            let ours = recorded.again(None)?.facts();
            let (facts, closed) = better::without_ipv6(&recorded.facts(), &ours);
            if !closed.is_subset(&self.closed) {
                self.comparison.findings.better.insert(better::NO_IPV6);
            }
            self.closed = closed;
            self.comparison.facts("host", &facts, &ours, &mut self.known);
        }
        Ok(())
    }

    /// Whether our plugin offers the version that a call was refused for.
    fn offers(&self, call: &Call) -> Result<bool> {
        let answer: Value = serde_json::from_str(&self.run(call, "calico", "VERSION")?.stdout).unwrap_or_default();
        let versions = answer["supportedVersions"].as_array().cloned().unwrap_or_default();
        Ok(versions.iter().any(|version| version == call.key("cniVersion")))
    }

    /// Looks at a call that was refused and is served by ours, and takes it back: the recording goes on without it.
    fn served(&mut self, call: &Call, program: &str, outcome: &Outcome, before: &Content) -> Result<()> {
        let findings = &mut self.comparison.findings;
        findings.better.insert(better::SERVED);
        let answer: Value = serde_json::from_str(&outcome.stdout).unwrap_or_default();
        if answer["cniVersion"] != call.key("cniVersion") {
            findings.differs(format!("stdout: not a result of version {}: {}", call.key("cniVersion"), outcome.stdout));
        }
        if call.variable("CNI_COMMAND") == "ADD" {
            let undone = self.run(call, program, "DEL")?;
            self.comparison.number("exit of DEL after it", 0, undone.exit);
            let keys = |content: &Content| content.keys().cloned().collect::<Vec<_>>();
            let (before, after) = (keys(before), keys(&self.store.content()?));
            self.comparison.facts("keys after DEL", &before, &after, &mut BTreeSet::new());
        }
        self.store.become_content(before)?;
        self.compare_kernel(call)
    }
}
