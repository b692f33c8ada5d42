//! Programs of the host that a command runs.

use super::super::World;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program of the host by its name in PATH, or what Go says where there is none.
pub(super) fn find(name: &str, world: &World<'_>) -> Result<PathBuf, String> {
    let folders = (world.variable)("PATH").unwrap_or_default();
    let is_program = |path: &PathBuf| nix::unistd::access(path.as_path(), nix::unistd::AccessFlags::X_OK).is_ok();
    let found = folders.split(':').map(|folder| Path::new(folder).join(name)).find(is_program);
    found.ok_or_else(|| format!("exec: \"{name}\": executable file not found in $PATH"))
}

/// What a program printed, and whether it succeeded.
pub(super) struct Ran {
    /// Both streams, one after the other.
    pub(super) output: Vec<u8>,
    /// Why it failed, as Go says it.
    pub(super) failure: Option<String>,
}

/// Runs a program to its end.
pub(super) fn run(words: &[String], world: &World<'_>) -> Ran {
    let failed = |failure: String| Ran { output: Vec::new(), failure: Some(failure) };
    let [name, arguments @ ..] = words else { return failed("no program is named".to_owned()) };
    let path = match find(name, world) {
        Ok(path) => path,
        Err(reason) => return failed(reason),
    };
    match Command::new(path).args(arguments).stdin(Stdio::null()).output() {
        Ok(mut done) => {
            done.stdout.append(&mut done.stderr);
            let failure = (!done.status.success()).then(|| match done.status.code() {
                Some(code) => format!("exit status {code}"),
                None => done.status.to_string(),
            });
            Ran { output: done.stdout, failure }
        }
        Err(error) => failed(error.to_string()),
    }
}
