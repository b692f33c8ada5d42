//! What becomes of a node's pods when the node has booted again, as a kubelet and a container runtime do it.
//!
//! The sandboxes went with the node's kernel. Plugins are told of their end by DEL without a network namespace, as
//! containerd does; then each pod that was to run gets a new sandbox, with a new ID and perhaps another address, and
//! counts a restart. A pod that had ended stays as it was, without network. One that was being made or deleted is gone
//! in the end: who asked for it was told, or wants just that.

use super::{BACK_OFF, PodId, Pods, RECORDS, find_mut, netns, release};
use crate::cni::{Network, Sandbox};
use crate::pod::{PodName, PodRecord, RestartPolicy, State};
use crate::reaper::Running;
use crate::service::report;
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::fs;
use std::sync::Arc;
use std::thread;

/// What is to become of a pod.
pub(super) enum Fate {
    /// It gets a new sandbox and runs.
    Run,
    /// It stays as it ended.
    Stay,
    /// It is deleted.
    Go,
}

impl Pods {
    /// Takes up the pods whose records the last boot left; the work goes on in threads, one a pod.
    pub(in crate::init) fn start_again(self: &Arc<Pods>) -> Result<()> {
        for entry in fs::read_dir(RECORDS).with_context(|| format!("read {RECORDS}"))? {
            let path = entry?.path();
            if path.extension().is_none_or(|kind| kind != "json") {
                continue;
            }
            let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            let mut record: PodRecord =
                serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))?;
            let fate = fate(&record);
            lose_sandbox(&mut record);
            match fate {
                Fate::Run => {
                    record.state = State::ContainerCreating;
                    record.restarts += 1;
                }
                Fate::Go => record.state = State::Terminating,
                Fate::Stay if record.state != State::Completed => record.state = State::Error,
                Fate::Stay => {}
            }
            let id = PodId::of(&record);
            self.persist(&record);
            self.lock().insert(id.name.clone(), record);
            self.settle_later(id, fate);
        }
        Ok(())
    }

    /// Has a pod become what it should be, in a thread of its own.
    pub(super) fn settle_later(self: &Arc<Pods>, id: PodId, fate: Fate) {
        let pods = Arc::clone(self);
        thread::spawn(move || pods.settle(&id, fate));
    }

    /// Tries until a pod is what it should be.
    fn settle(self: &Arc<Pods>, id: &PodId, fate: Fate) {
        let (mut pause, longest) = BACK_OFF;
        loop {
            let outcome = match fate {
                Fate::Run => self.run_again(id),
                Fate::Stay => self.end_lost(id),
                Fate::Go => self.delete_once(id),
            };
            match outcome {
                Ok(()) => return,
                // somebody else deleted it
                Err(_) if !self.holds(id) => return,
                Err(error) => report(&format!("pod {id}: {error:#}")),
            }
            match fate {
                Fate::Go => thread::sleep(BACK_OFF.0),
                Fate::Run | Fate::Stay if !self.sleep_unless_terminating(id, pause) => return,
                Fate::Run | Fate::Stay => {}
            }
            pause = (pause * 2).min(longest);
        }
    }

    /// Gives a pod a new sandbox and starts its container; after an error the sandbox is lost too.
    fn run_again(self: &Arc<Pods>, id: &PodId) -> Result<()> {
        if !self.take(id) {
            return Ok(());
        }
        match self.renew(id) {
            Ok(running) => self.kept(id.clone(), running),
            Err(error) => {
                self.change(id, |record| {
                    if let Err(error) = release(&netns(record)) {
                        report(&format!("pod {id}: {error:#}"));
                    }
                    lose_sandbox(record);
                    record.busy = false;
                })?;
                Err(error)
            }
        }
    }

    fn renew(&self, id: &PodId) -> Result<Running> {
        self.end_lost(id)?;
        let record = self.record(id)?;
        self.start(id, &record)
    }

    /// Marks a pod as being worked on; tells whether it is still wanted.
    fn take(&self, id: &PodId) -> bool {
        let mut table = self.lock();
        let Some(record) = find_mut(&mut table, id).filter(|record| record.state != State::Terminating) else {
            return false;
        };
        record.busy = true;
        true
    }

    fn end_lost(&self, id: &PodId) -> Result<()> {
        let Ok(record) = self.record(id) else { return Ok(()) };
        self.detach_lost(&record)?;
        self.change(id, |record| record.lost.clear())
    }

    /// Has the plugins detach sandboxes that are no more.
    pub(super) fn detach_lost(&self, record: &PodRecord) -> Result<()> {
        let PodName { namespace, name } = &record.pod.name;
        for container_id in &record.lost {
            let sandbox = Sandbox { container_id, netns: None, namespace, pod: name };
            Network::configured()?.del(&self.reaper, &sandbox, &record.network)?;
        }
        Ok(())
    }
}

fn fate(record: &PodRecord) -> Fate {
    match (record.state, record.pod.restart) {
        (State::Terminating, _) => Fate::Go,
        // never ran: whoever asked for it got an error
        (State::ContainerCreating, _) if record.restarts == 0 => Fate::Go,
        (State::Completed | State::Error, _) | (_, RestartPolicy::Never) => Fate::Stay,
        (State::ContainerCreating | State::Running | State::CrashLoopBackOff, _) => Fate::Run,
    }
}

/// Notes that a pod's sandbox is gone, and what the next one is called.
fn lose_sandbox(record: &mut PodRecord) {
    let next = Sha256::digest(&record.container_id).iter().map(|byte| format!("{byte:02x}")).collect();
    record.lost.push(std::mem::replace(&mut record.container_id, next));
    record.addresses.clear();
    record.pid = None;
}
