//! Programs that are run to their end.

use anyhow::{Context, Result};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

/// What a program printed, and how it ended.
pub(crate) struct Outcome {
    pub(crate) exit: i64,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a program to its end; it reads `input`. A program ended by a signal has the exit status that a shell says.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Result<Outcome> {
    let what = format!("{:?}", command.get_program());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| what.clone())?;
    // one that needs no input may be gone before it is written
    let _ = child.stdin.take().expect("standard input is a pipe").write_all(input);
    let output = child.wait_with_output().with_context(|| what)?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let signal = output.status.signal().map(|signal| 128 + signal);
    Ok(Outcome {
        exit: output.status.code().or(signal).unwrap_or(-1).into(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    })
}

/// Runs a program that has to succeed; returns what it printed.
pub(crate) fn printed(command: &mut Command, input: &[u8]) -> Result<String> {
    let outcome = run(command, input)?;
    anyhow::ensure!(outcome.exit == 0, "{command:?}: {}{}", outcome.stdout, outcome.stderr);
    Ok(outcome.stdout)
}
