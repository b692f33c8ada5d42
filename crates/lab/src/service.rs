//! A program that is started again whenever it ends, until it is stopped.

use crate::process::Pidfd;
use crate::reaper::Reaper;
use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use std::io::Write;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Pause before the first restart.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
/// Longest pause between restarts of a program that keeps failing.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// A program that ran this long counts as having worked.
const WORKED: Duration = Duration::from_secs(10);

/// How long a program that is told to end may take, before it is killed.
const END: Duration = Duration::from_secs(10);

/// A program that runs for ever, unless it is stopped.
#[derive(Clone)]
pub(crate) struct Service(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    wanted: bool,
    running: Option<Pidfd>,
}

impl Service {
    /// Starts a program, and again whenever it ends, in a thread of its own; `command` makes the next start's command.
    pub(crate) fn start(
        reaper: Arc<Reaper>,
        name: &'static str,
        command: impl Fn() -> Command + Send + 'static,
    ) -> Service {
        let state = Mutex::new(State { wanted: true, running: None });
        let service = Service(Arc::new(Shared { state, changed: Condvar::new() }));
        let supervised = service.clone();
        thread::spawn(move || supervised.supervise(&reaper, name, &command));
        service
    }

    /// Starts the program again after a stop.
    pub(crate) fn resume(&self) {
        self.0.lock().wanted = true;
        self.0.changed.notify_all();
    }

    /// Ends the program and keeps it ended; returns when it has ended.
    pub(crate) fn stop(&self) -> Result<()> {
        let mut state = self.0.lock();
        state.wanted = false;
        self.0.changed.notify_all();
        for (signal, within) in [(Signal::SIGTERM, END), (Signal::SIGKILL, END)] {
            let Some(running) = &state.running else { return Ok(()) };
            running.signal(signal)?;
            let runs = |state: &mut State| state.running.is_some();
            state = self.0.changed.wait_timeout_while(state, within, runs).unwrap_or_else(PoisonError::into_inner).0;
        }
        ensure!(state.running.is_none(), "it does not end, not even killed");
        Ok(())
    }

    fn supervise(&self, reaper: &Reaper, name: &str, command: &dyn Fn() -> Command) {
        let mut pause = FIRST_PAUSE;
        let mut state = self.0.lock();
        loop {
            let unwanted = |state: &mut State| !state.wanted;
            state = self.0.changed.wait_while(state, unwanted).unwrap_or_else(PoisonError::into_inner);
            let started = Instant::now();
            match reaper.spawn(&mut command()) {
                Ok(running) => {
                    // none if it has ended by now
                    state.running = Pidfd::open(running.pid()).ok().flatten();
                    drop(state);
                    report(&format!("{name} ended: {:?}", running.wait()));
                    state = self.0.lock();
                    state.running = None;
                    self.0.changed.notify_all();
                }
                Err(error) => report(&format!("{name} did not start: {error}")),
            }
            if started.elapsed() >= WORKED || !state.wanted {
                pause = FIRST_PAUSE;
            }
            let wanted = |state: &mut State| state.wanted;
            state = self.0.changed.wait_timeout_while(state, pause, wanted).unwrap_or_else(PoisonError::into_inner).0;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a line to the log of this process, its standard error.
pub(crate) fn report(line: &str) {
    // a full disk must not end a first process
    let _ = writeln!(std::io::stderr(), "{line}");
}
