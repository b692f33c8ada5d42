//! Runs the programs that know the kernel's binary formats: `iptables-restore`, `iptables-save`, `ipset`.
//!
//! A child inherits the network namespace of the calling thread. It gets [`LIMIT`] and no more: the thread that waits
//! for it has routes and links to keep.

use super::RulesError;
use super::lack::hint;
use crate::children;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a program may wait for the lock of xtables, in seconds.
pub(super) const LOCK_WAIT: &str = "10";

/// How long a program may take in all: six times what it may wait for the lock, since one that has tens of thousands of
/// others' rules to go through takes some seconds on a busy node.
const LIMIT: Duration = Duration::from_secs(60);

/// How long a killed program may take to end: one that the kernel holds does not.
const ENDING: Duration = Duration::from_secs(1);

/// Runs `program` with `input` on its standard input and returns its standard output.
pub(super) fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, RulesError> {
    run_within(LIMIT, program, arguments, input)
}

fn run_within(limit: Duration, program: &str, arguments: &[&str], input: &str) -> Result<String, RulesError> {
    let failed = |source: io::Error| {
        let program = program.to_owned();
        if source.kind() == io::ErrorKind::NotFound {
            let package = package(&program);
            RulesError::MissingTool { program, package }
        } else {
            RulesError::Run { program, source }
        }
    };
    let line = || [&[program], arguments].concat().join(" ");
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    children::limit(&mut command);
    let deadline = Instant::now() + limit;
    let mut child = command.spawn().map_err(failed)?;
    let spoken = process_fd(&child).and_then(|exit| match converse(&mut child, &exit, input.as_bytes(), deadline) {
        Ok(Some(said)) => Ok(Some(said)),
        unfinished => {
            child.kill()?;
            // what the kernel does not let go ends when it does
            if has_exited(&exit, ENDING)? {
                child.wait()?;
            }
            unfinished
        }
    });
    let Some([output, words]) = spoken.map_err(failed)? else {
        return Err(RulesError::TimedOut { command: line(), pid: child.id(), limit });
    };
    let status = child.wait().map_err(failed)?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&output).into_owned());
    }
    let words = String::from_utf8_lossy(&words);
    let mut message = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    if message.is_empty() {
        message = status.to_string();
    }
    let hint = hint(program, &message, input);
    Err(RulesError::Tool { command: line(), message, hint })
}

fn package(program: &str) -> &'static str {
    if program == "ipset" { "ipset" } else { "iptables" }
}

/// A descriptor that can be read once the child has ended (pidfd_open(2)).
fn process_fd(child: &Child) -> io::Result<OwnedFd> {
    let pid = i64::from(child.id());
    // SAFETY: a system call without pointers
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let fd = fd.try_into().expect("a descriptor is a small number");
    // SAFETY: the kernel has just opened it, for nobody else
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn has_exited(exit: &OwnedFd, within: Duration) -> io::Result<bool> {
    let timeout = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
    loop {
        match poll(&mut [PollFd::new(exit.as_fd(), PollFlags::POLLIN)], timeout) {
            Err(Errno::EINTR) => {}
            ready => return Ok(ready? > 0),
        }
    }
}

/// Writes `input` and reads both outputs until the child has ended; none if it has not at the deadline.
///
/// A program that it started may keep the outputs open for longer; what that one says is not waited for.
fn converse(
    child: &mut Child,
    exit: &OwnedFd,
    mut input: &[u8],
    deadline: Instant,
) -> io::Result<Option<[Vec<u8>; 2]>> {
    let mut stdin = child.stdin.take();
    let mut stdout = child.stdout.take().expect("standard output was asked for as a pipe");
    let mut stderr = child.stderr.take().expect("standard error was asked for as a pipe");
    for pipe in stdin.iter().map(AsFd::as_fd).chain([stdout.as_fd(), stderr.as_fd()]) {
        fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    let (mut output, mut words) = (Vec::new(), Vec::new());
    let mut open = [true; 2];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let mut ready = vec![PollFd::new(exit.as_fd(), PollFlags::POLLIN)];
        ready.extend(stdin.iter().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)));
        let outputs = [stdout.as_fd(), stderr.as_fd()].into_iter().zip(open);
        ready.extend(outputs.filter(|(_, open)| *open).map(|(pipe, _)| PollFd::new(pipe, PollFlags::POLLIN)));
        match poll(&mut ready, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ended = ready[0].any() == Some(true);
        feed(&mut stdin, &mut input)?;
        open = [drain(&mut stdout, &mut output)?, drain(&mut stderr, &mut words)?];
        if ended {
            return Ok(Some([output, words]));
        }
    }
}

/// Writes what the child takes; closes the pipe after the last of it, or where the child reads no more: its status and
/// words say why.
fn feed(stdin: &mut Option<ChildStdin>, input: &mut &[u8]) -> io::Result<()> {
    while let Some(pipe) = stdin {
        if input.is_empty() {
            *stdin = None;
            break;
        }
        match pipe.write(input) {
            Ok(written) => *input = &input[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => *stdin = None,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads what there is; tells whether there may be more.
fn drain(pipe: &mut impl Read, into: &mut Vec<u8>) -> io::Result<bool> {
    match pipe.read_to_end(into) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::kill;
    use nix::unistd::Pid;

    const SHORT: Duration = Duration::from_millis(100);

    fn shell(limit: Duration, script: &str, input: &str) -> Result<String, RulesError> {
        run_within(limit, "sh", &["-c", script], input)
    }

    #[test]
    fn a_child_that_hangs_is_ended_and_named() {
        let much = "x".repeat(1 << 20);
        for (script, input) in [("exec sleep 5", ""), ("exec sleep 5", much.as_str()), ("exec >&- 2>&-; sleep 5", "")] {
            let error = shell(SHORT, script, input).expect_err("it hangs");
            let RulesError::TimedOut { pid, .. } = error else { panic!("{error}") };
            let expect = format!("sh -c {script}: process {pid} had not ended after 100ms and was killed");
            assert_eq!(error.to_string(), expect);
            let pid = Pid::from_raw(pid.try_into().expect("a process id"));
            assert_eq!(kill(pid, None), Err(Errno::ESRCH), "{script}");
        }
    }

    #[test]
    fn what_a_child_says_arrives_whole() {
        let much = "0123456789abcdef\n".repeat(1 << 16);
        assert_eq!(shell(LIMIT, "cat", &much).expect("it ends"), much);
        let error = shell(LIMIT, "echo ' no '; echo ' more\n\nwords' >&2; exit 3", &much).expect_err("it fails");
        assert!(error.to_string().ends_with(": more; words"), "{error}");
    }

    #[test]
    fn what_a_child_leaves_running_is_not_waited_for() {
        let pid = shell(LIMIT, "sleep 1000 & echo $!", "").expect("it ends");
        kill(Pid::from_raw(pid.trim().parse().expect("a number")), nix::sys::signal::Signal::SIGKILL).expect("it runs");
    }
}
