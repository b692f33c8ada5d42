//! Reaping for a first process: every child's end reaches whoever started it, orphans' ends reach nobody.
//!
//! A first process must wait for any child, which collides with waiting for a particular one. So children are
//! started through [`Reaper::spawn`], which holds the table's lock from before the fork until the child is entered,
//! and the reaping loop waits only under the same lock: no end can be missed, nor taken from the standard library
//! when a spawn fails.

use crate::isolate;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use std::collections::BTreeMap;
use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The table of children somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct Reaper {
    waiting: Mutex<BTreeMap<i32, Sender<WaitStatus>>>,
}

/// A child that was started, and how to learn of its end.
#[derive(Debug)]
pub(crate) struct Running {
    /// The child with its pipes. Its own `wait` must not be called.
    pub(crate) child: Child,
    end: Receiver<WaitStatus>,
}

impl Running {
    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Waits for the child's end.
    pub(crate) fn wait(&self) -> WaitStatus {
        self.end.recv().expect("the reaper outlives every child: it is the first process")
    }
}

impl Reaper {
    /// Starts a child by the given way of spawning.
    pub(crate) fn spawn_by(
        &self,
        command: &mut Command,
        spawn: impl FnOnce(&mut Command) -> io::Result<Child>,
    ) -> io::Result<Running> {
        isolate::fresh_signals(command);
        let mut waiting = self.lock();
        let child = spawn(command)?;
        let (sender, end) = channel();
        waiting.insert(child.id() as i32, sender);
        Ok(Running { child, end })
    }

    /// Starts a child in the caller's namespaces.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Running> {
        self.spawn_by(command, Command::spawn)
    }

    /// Reaps until SIGTERM or SIGINT comes. The signals of [`blocked_signals`] must be blocked.
    pub(crate) fn run(&self) -> nix::Result<()> {
        let signals = SignalFd::new(&blocked_signals())?;
        loop {
            let signal = signals.read_signal()?.map(|signal| signal.ssi_signo as i32);
            if signal != Some(Signal::SIGCHLD as i32) {
                return Ok(());
            }
            let mut waiting = self.lock();
            while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                let Some(pid) = status.pid() else { break };
                if let Some(sender) = waiting.remove(&pid.as_raw()) {
                    // whoever started the child may have lost interest
                    let _ = sender.send(status);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i32, Sender<WaitStatus>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The signals that a first process takes through [`Reaper::run`], to be blocked before its first thread starts.
pub(crate) fn blocked_signals() -> SigSet {
    SigSet::from_iter([Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT])
}
