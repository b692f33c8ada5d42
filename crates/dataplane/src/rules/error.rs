//! What can go wrong while packet rules are read or written, with a hint where one is known.

use std::io;
use std::time::Duration;
use thiserror::Error;

/// Why packet rules could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RulesError {
    /// A program is not installed.
    #[error("{program} is not installed: install the package {package}, or set nftablesMode to Enabled")]
    MissingTool {
        /// The program's name.
        program: String,
        /// The package that has it.
        package: &'static str,
    },
    /// A program could not be run.
    #[error("run {program}")]
    Run {
        /// The program's name.
        program: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A program ran and failed.
    #[error("{command}: {message}{hint}")]
    Tool {
        /// The program and its arguments.
        command: String,
        /// What it said, on one line.
        message: String,
        /// What may help; starts with a blank, or is empty.
        hint: String,
    },
    /// A program had not ended when its time was over, and was killed.
    #[error("{command}: process {pid} had not ended after {limit:?} and was killed")]
    TimedOut {
        /// The program and its arguments.
        command: String,
        /// Its process id.
        pid: u32,
        /// How long it was given.
        limit: Duration,
    },
    /// The kernel refused a netlink request.
    #[error("{operation}: {source}{hint}")]
    Netlink {
        /// What was asked for.
        operation: String,
        /// The kernel's answer.
        source: io::Error,
        /// What may help; starts with a blank, or is empty.
        hint: &'static str,
    },
    /// A file of the kernel's could not be read.
    #[error("read {path}: {source}")]
    File {
        /// The file.
        path: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The kernel answered a netlink request with something that cannot be read.
    #[error("{operation}: answer cannot be read: {reason}")]
    Answer {
        /// What was asked for.
        operation: String,
        /// What is wrong with the answer.
        reason: &'static str,
    },
    /// Rules of others name an object of ours, which the kernel therefore keeps.
    #[error("{what}: rules of others lead to it")]
    InUse {
        /// The object.
        what: String,
    },
    /// What is read keeps changing, or keeps differing from what was written: somebody else is writing.
    #[error("{what} did not settle in {rounds} rounds: another program keeps changing them")]
    Unsettled {
        /// Which rules.
        what: String,
        /// How often they were read or written.
        rounds: usize,
    },
}
