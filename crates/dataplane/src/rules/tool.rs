//! Runs the programs that know the kernel's binary formats: `iptables-restore`, `iptables-save`, `ipset`.
//!
//! A child inherits the network namespace of the calling thread.

use super::RulesError;
use super::lack::hint;
use crate::children;
use std::io::{self, Write};
use std::process::{Command, Stdio};

/// Runs `program` with `input` on its standard input and returns its standard output.
pub(super) fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, RulesError> {
    let failed = |source: io::Error| {
        let program = program.to_owned();
        if source.kind() == io::ErrorKind::NotFound {
            let package = package(&program);
            RulesError::MissingTool { program, package }
        } else {
            RulesError::Run { program, source }
        }
    };
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    children::limit(&mut command);
    let mut child = command.spawn().map_err(failed)?;
    let mut stdin = child.stdin.take().expect("standard input was asked for as a pipe");
    match stdin.write_all(input.as_bytes()) {
        // The child stopped reading: its status and words say why.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(failed(error)),
        Ok(()) | Err(_) => drop(stdin),
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let mut message = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    if message.is_empty() {
        message = output.status.to_string();
    }
    let hint = hint(program, &message, input);
    Err(RulesError::Tool { command: [&[program], arguments].concat().join(" "), message, hint })
}

fn package(program: &str) -> &'static str {
    if program == "ipset" { "ipset" } else { "iptables" }
}
