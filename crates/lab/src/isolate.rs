//! Starting programs in new namespaces and inside existing ones.
//!
//! A PID namespace applies to children, not to the caller, so it is chosen for the calling thread around the spawn
//! and given back afterwards; everything else happens in the child between fork and exec. Nothing here is held
//! by a name: a namespace lives as long as the processes in it.

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

const OWN_PID_NAMESPACE: &str = "/proc/thread-self/ns/pid";

/// Starts a program as the first process of new namespaces.
pub(crate) fn spawn_in_new(command: &mut Command, namespaces: CloneFlags) -> io::Result<Child> {
    let inner = namespaces.difference(CloneFlags::CLONE_NEWPID);
    // SAFETY: unshare is a bare system call.
    unsafe { command.pre_exec(move || unshare(inner).map_err(io::Error::from)) };
    if !namespaces.contains(CloneFlags::CLONE_NEWPID) {
        return command.spawn();
    }
    with_children_in(|| unshare(CloneFlags::CLONE_NEWPID), || command.spawn())
}

/// Starts a program among the processes of another one: in its PID, mount, network and UTS namespaces.
pub(crate) fn spawn_beside(command: &mut Command, target: &impl AsFd) -> io::Result<Child> {
    let inner: OwnedFd = target.as_fd().try_clone_to_owned()?;
    let namespaces = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS;
    // SAFETY: setns is a bare system call, and the descriptor is owned by the closure.
    unsafe { command.pre_exec(move || setns(&inner, namespaces).map_err(io::Error::from)) };
    with_children_in(|| setns(target, CloneFlags::CLONE_NEWPID), || command.spawn())
}

fn with_children_in<T>(
    enter: impl FnOnce() -> nix::Result<()>,
    spawn: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let own = File::open(OWN_PID_NAMESPACE)?;
    enter()?;
    let spawned = spawn();
    setns(&own, CloneFlags::CLONE_NEWPID)?;
    spawned
}

/// Has a program start with no signal blocked or ignored, as in a container.
///
/// A shell starts what runs in its background with the interrupt and quit keys ignored, and that is inherited.
pub(crate) fn fresh_signals(command: &mut Command) {
    let reset = || {
        for signal in Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP)) {
            // SAFETY: no handler of this process is lost, for the child is about to become another program.
            unsafe { sigaction(signal, &SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty())) }?;
        }
        SigSet::empty().thread_set_mask().map_err(io::Error::from)
    };
    // SAFETY: sigaction and sigprocmask are async-signal-safe.
    unsafe { command.pre_exec(reset) };
}
