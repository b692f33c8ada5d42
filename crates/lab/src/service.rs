//! A program that is started again whenever it ends.

use crate::reaper::Reaper;
use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Pause before the first restart.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
/// Longest pause between restarts of a program that keeps failing.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// A program that ran this long counts as having worked.
const WORKED: Duration = Duration::from_secs(10);

/// Runs a program for ever in a thread of its own; `command` makes the next start's command.
pub(crate) fn supervise(reaper: Arc<Reaper>, name: &'static str, command: impl Fn() -> Command + Send + 'static) {
    thread::spawn(move || {
        let mut pause = FIRST_PAUSE;
        loop {
            let started = Instant::now();
            match reaper.spawn(&mut command()) {
                Ok(running) => report(&format!("{name} ended: {:?}", running.wait())),
                Err(error) => report(&format!("{name} did not start: {error}")),
            }
            if started.elapsed() >= WORKED {
                pause = FIRST_PAUSE;
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    });
}

/// Writes a line to the log of this process, its standard error.
pub(crate) fn report(line: &str) {
    // a full disk must not end a first process
    let _ = writeln!(std::io::stderr(), "{line}");
}
