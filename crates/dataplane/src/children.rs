//! What programs that this process starts get, other than what it has itself.

use nix::sys::resource::{Resource, setrlimit};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;

/// The soft and hard limit of open files.
static OPEN_FILES: OnceLock<(u64, u64)> = OnceLock::new();

/// Gives programs started from here on these limits of open files, soft and hard, once the process has raised its own.
///
/// Some go through every number that a descriptor may have. A second call changes nothing.
pub fn give_children_open_files(soft: u64, hard: u64) {
    let _ = OPEN_FILES.set((soft, hard));
}

/// Sets the limits on a program to be started.
pub(crate) fn limit(command: &mut Command) {
    let Some((soft, hard)) = OPEN_FILES.get().copied() else { return };
    // SAFETY: between fork and exec only the kernel is called, and no memory is asked for
    unsafe { command.pre_exec(move || Ok(setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?)) };
}
