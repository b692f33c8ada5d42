//! Processes as /proc shows them: identity over time, children, namespace-local ids; and killing by pidfd.
//!
//! A process id alone is not an identity: ids are used again. [`ProcessId`] adds the start time, and whoever
//! kills takes a pidfd first and compares afterwards.

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// A process, told from a later one with the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pub(crate) pid: i32,
    /// Clock ticks from the machine's start to the process's.
    pub(crate) started: u64,
}

impl ProcessId {
    /// Identifies a process that exists.
    pub(crate) fn of(pid: i32) -> Option<ProcessId> {
        Stat::read(pid).map(|stat| ProcessId { pid, started: stat.started })
    }

    /// Tells whether the process runs; a zombie does not.
    pub(crate) fn runs(&self) -> bool {
        Stat::read(self.pid).is_some_and(|stat| stat.started == self.started && !matches!(stat.state, 'Z' | 'X'))
    }

    /// Takes hold of the process, `None` when it has ended.
    pub(crate) fn pidfd(&self) -> Result<Option<Pidfd>> {
        let Some(pidfd) = Pidfd::open(self.pid)? else { return Ok(None) };
        Ok(self.runs().then_some(pidfd))
    }
}

/// Tells whether a process has this id.
pub(crate) fn exists(pid: i32) -> bool {
    Stat::read(pid).is_some()
}

/// A handle on one process that no other can take over.
#[derive(Debug)]
pub(crate) struct Pidfd(OwnedFd);

impl Pidfd {
    /// Opens a process by id, `None` when there is none.
    pub(crate) fn open(pid: i32) -> Result<Option<Pidfd>> {
        // SAFETY: pidfd_open takes two integers and returns a new descriptor or -1.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        match Errno::result(fd) {
            // SAFETY: the descriptor was just returned and nobody else owns it.
            Ok(fd) => Ok(Some(Pidfd(unsafe { OwnedFd::from_raw_fd(fd as i32) }))),
            Err(Errno::ESRCH) => Ok(None),
            Err(errno) => bail!("open process {pid}: {}", errno.desc()),
        }
    }

    /// Sends a signal; a process that has ended is no error.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        // SAFETY: the siginfo pointer may be null, the other arguments are integers.
        let sent = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, self.0.as_raw_fd(), signal as i32, std::ptr::null::<()>(), 0)
        };
        match Errno::result(sent) {
            Ok(_) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => bail!("send {signal}: {}", errno.desc()),
        }
    }

    /// Waits until the process and, for the first of a PID namespace, all others in it have ended.
    pub(crate) fn wait(&self, within: Duration) -> Result<bool> {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("wait for a process"),
            }
        }
    }
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A line of the process table.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// The process's id in each PID namespace from /proc's own inwards.
    pub(crate) local: Vec<i32>,
    /// Its argument list; empty for a zombie.
    pub(crate) arguments: Vec<String>,
}

/// Lists the children of a process, in the order of their ids.
pub(crate) fn children(parent: i32) -> Vec<Process> {
    let mut found: Vec<Process> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| Stat::read(*pid).is_some_and(|stat| stat.parent == parent))
        .filter_map(read)
        .collect();
    found.sort_by_key(|process| process.pid);
    found
}

/// Finds the child that its parent knows under another id, in the parent's own PID namespace.
pub(crate) fn child_by_local_id(parent: i32, local: i32) -> Option<i32> {
    let depth = read(parent)?.local.len();
    children(parent).into_iter().find(|child| child.local.get(depth - 1) == Some(&local)).map(|child| child.pid)
}

fn read(pid: i32) -> Option<Process> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let local = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let arguments = String::from_utf8_lossy(&arguments);
    Some(Process {
        pid,
        local: local.split_whitespace().filter_map(|id| id.parse().ok()).collect(),
        arguments: arguments.split_terminator('\0').map(str::to_owned).collect(),
    })
}

struct Stat {
    state: char,
    parent: i32,
    started: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Stat> {
        Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Reads proc(5)'s line; the second field is in parentheses and may itself hold blanks and parentheses.
    fn parse(text: &str) -> Option<Stat> {
        let fields: Vec<&str> = text.get(text.rfind(')')? + 1..)?.split_whitespace().collect();
        Some(Stat {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn stat_survives_a_name_with_blanks_and_parentheses() {
        let line = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1\n";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.state, stat.parent, stat.started), ('S', 3, 4711));
    }

    #[test]
    fn a_child_is_found_identified_and_killed() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id() as i32;
        let me = std::process::id() as i32;
        let id = ProcessId::of(pid).unwrap();
        assert!(id.runs());
        assert!(children(me).iter().any(|process| process.pid == pid));
        assert_eq!(child_by_local_id(me, pid), Some(pid));
        let pidfd = id.pidfd().unwrap().unwrap();
        assert!(!pidfd.wait(Duration::from_millis(1)).unwrap());
        pidfd.signal(Signal::SIGKILL).unwrap();
        assert!(pidfd.wait(Duration::from_secs(10)).unwrap());
        assert!(!id.runs(), "a zombie does not run");
        child.wait().unwrap();
        assert!(ProcessId { started: id.started + 1, ..id }.pidfd().unwrap().is_none());
    }
}
