//! Running a command on a host or in a pod, with the caller's terminal or with its output captured.
//!
//! The command runs among the target's processes and is a child of the caller, so its exit status, its streams and
//! the signals sent to the caller are its own.

use crate::isolate;
use crate::process::Pidfd;
use crate::pty;
use anyhow::{Context, Result};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

/// Exit status of a command that was not found, as shells have it.
const NOT_FOUND: i32 = 127;
/// Exit status of a command that could not be run.
const NOT_RUNNABLE: i32 = 126;

/// What to run and how to connect it.
#[derive(Clone, Debug)]
pub struct Exec {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Where standard input comes from.
    pub input: Input,
    /// Whether the command gets a terminal of its own.
    pub terminal: Terminal,
}

/// Where a command's standard input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// From the caller.
    Passed,
    /// It is empty.
    Empty,
}

/// What a command's streams are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// The caller's own streams.
    None,
    /// A new terminal, shown on the caller's.
    New,
}

/// A place to run commands in: some process's namespaces, and the environment programs find there.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) process: Pidfd,
    pub(crate) environment: BTreeMap<String, String>,
}

impl Place {
    /// Runs a command as the caller's own and returns its exit status.
    pub(crate) fn run(&self, exec: &Exec) -> Result<i32> {
        let mut command = self.command(&exec.command)?;
        if exec.terminal == Terminal::New && !io::stdin().is_terminal() {
            let _ = writeln!(io::stderr(), "Unable to use a TTY - input is not a terminal or the right kind of file");
        } else if exec.terminal == Terminal::New {
            return pty::run(command, exec.input, |command| self.spawn(command));
        }
        command.stdin(if exec.input == Input::Passed { Stdio::inherit() } else { Stdio::null() });
        let signals = forwarded();
        signals.thread_block()?;
        let signals = SignalFd::new(&signals)?;
        let mut child = match self.spawn(&mut command) {
            Ok(child) => child,
            Err(error) => return not_started(&exec.command, error),
        };
        wait(&mut child, &signals).map(exit_code)
    }

    /// Runs a command with the given standard input and returns what it wrote.
    pub(crate) fn capture(&self, arguments: &[&str], input: &str) -> Result<Output> {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut command = self.command(&arguments)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.spawn(&mut command).with_context(|| format!("run {}", arguments.join(" ")))?;
        let mut stdin = child.stdin.take().expect("stdin is piped");
        match stdin.write_all(input.as_bytes()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error.into()),
            _ => drop(stdin),
        }
        Ok(child.wait_with_output()?)
    }

    fn command(&self, arguments: &[String]) -> Result<Command> {
        let (program, rest) = arguments.split_first().context("no command given")?;
        let mut command = Command::new(program);
        command.args(rest).env_clear().envs(&self.environment);
        if let Some(kind) = std::env::var_os("TERM") {
            command.env("TERM", kind);
        }
        Ok(command)
    }

    fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        isolate::fresh_signals(command);
        // SAFETY: prctl is a bare system call.
        unsafe { command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from)) };
        isolate::spawn_beside(command, &self.process)
    }
}

/// The signals that a running command's starter hands on.
pub(crate) fn forwarded() -> SigSet {
    use Signal::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
    SigSet::from_iter([SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH])
}

/// Waits for a child and hands on signals that a process sent; the terminal's reach the child by themselves.
fn wait(child: &mut Child, signals: &SignalFd) -> Result<ExitStatus> {
    let pid = child.id() as i32;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let Some(signal) = signals.read_signal()? else { continue };
        let sent_by_process = signal.ssi_code <= 0;
        match Signal::try_from(signal.ssi_signo as i32) {
            Ok(Signal::SIGCHLD | Signal::SIGWINCH) | Err(_) => {}
            Ok(signal) if sent_by_process => {
                if let Some(child) = Pidfd::open(pid)? {
                    child.signal(signal)?;
                }
            }
            Ok(_) => {}
        }
    }
}

/// Reports a command that could not be started.
pub(crate) fn not_started(command: &[String], error: io::Error) -> Result<i32> {
    let program = command.first().map(String::as_str).unwrap_or_default();
    let (reason, code) = if error.kind() == ErrorKind::NotFound {
        ("executable file not found in $PATH".to_owned(), NOT_FOUND)
    } else {
        (error.to_string(), NOT_RUNNABLE)
    };
    let _ = writeln!(io::stderr(), "exec {program:?}: {reason}");
    Ok(code)
}

/// Returns a status as shells report it: a signal is 128 and its number.
pub(crate) fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

impl AsFd for Place {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.process.as_fd()
    }
}
