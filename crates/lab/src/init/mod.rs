//! First processes: the supervisor of a lab, the init of a host, and what becomes a pod's.
//!
//! Each is the lab's own binary, started again in fresh namespaces with its role as arguments. They never return
//! while the lab lives; the end of one is the end of everything in its PID namespace.

pub(crate) mod host;
mod hosts;
pub(crate) mod pod;
mod pods;
pub(crate) mod supervisor;
pub(crate) mod work;

use anyhow::{Result, bail};
use std::path::Path;

/// The words after the binary's name that lead to [`run`].
pub const SUBCOMMAND: [&str; 2] = ["lab", "init"];

/// Plays the role that the arguments name: `supervisor DIR`, `host DIR NAME` or `pod RECORD DESCRIPTOR`.
pub fn run(arguments: &[String]) -> Result<()> {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["supervisor", directory] => supervisor::run(Path::new(directory)),
        ["host", directory, name] => host::run(Path::new(directory), name),
        ["pod", record, starts] => pod::run(Path::new(record), starts.parse()?),
        _ => bail!("`{}` is started by `lab up` alone", SUBCOMMAND.join(" ")),
    }
}
