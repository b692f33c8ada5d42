//! Runs the programs that know the kernel's binary formats: `iptables-restore`, `iptables-save`, `ipset`.
//!
//! A child inherits the network namespace of the calling thread.

use super::RulesError;
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
    let hint = hint(program, &message);
    Err(RulesError::Tool { command: [&[program], arguments].concat().join(" "), message, hint })
}

fn package(program: &str) -> &'static str {
    if program == "ipset" { "ipset" } else { "iptables" }
}

/// Finds what a failure for want of a kernel feature, or of the right to use it, asks for.
fn hint(program: &str, message: &str) -> &'static str {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["Operation not permitted", "Permission denied", "you must be root"]) {
        " (needs CAP_NET_ADMIN)"
    } else if program == "ipset" && says(&["Cannot open session", "Kernel support protocol", "not supported by kernel"])
    {
        " (the kernel lacks ip_set or ip_set_hash_net: load the modules, or set nftablesMode to Enabled)"
    } else if says(&["missing kernel module", "does not exist", "Can't find", "No such file", "RULE_APPEND failed"]) {
        " (the kernel may lack xt_set, xt_addrtype, xt_comment, xt_MASQUERADE or the nat table: load the modules, \
         or set nftablesMode to Enabled)"
    } else {
        ""
    }
}
