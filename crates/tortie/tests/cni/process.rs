//! The plugin as a process: one thread, little memory.

use crate::common::{Call, Node, Outcome, eventually};
use nix::fcntl::{FcntlArg, Flock, FlockArg, OFlag, fcntl};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::process::Child;

/// A call that waits for IPAM's lock: it has read the cluster and written nothing.
pub(crate) struct Blocked {
    child: Child,
    lock: Flock<File>,
}

impl Blocked {
    /// Takes the node's lock, makes the call and returns when it waits.
    pub(crate) fn on_lock(node: &Node, call: Call<'_>) -> Blocked {
        let file = File::create(node.lock_file()).expect("a lock file");
        let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno).expect("a free lock");
        Blocked { child: waiting(call), lock }
    }

    /// Ends the call as `kill -9` does, and lets others have the lock.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("the call runs");
        self.child.wait().expect("the call ends");
    }

    /// Lets the call go on, and waits for its end.
    pub(crate) fn release(self) -> Outcome {
        drop(self.lock);
        Outcome::of(self.child)
    }
}

/// Makes a call and returns when it waits for a lock.
pub(crate) fn waiting(call: Call<'_>) -> Child {
    let child = call.spawn();
    let pid = child.id().to_string();
    eventually(|| {
        let locks = fs::read_to_string("/proc/locks").expect("/proc/locks");
        let waits = |line: &str| line.contains("->") && line.split_whitespace().any(|word| word == pid);
        if locks.lines().any(waits) { Ok(()) } else { Err("the plugin does not wait for a lock".to_owned()) }
    });
    child
}

/// The number of a process's threads; none when it is gone.
fn threads(pid: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/task")).ok()?.count())
}

#[test]
fn the_plugin_has_one_thread() {
    let node = Node::new();
    let container = node.container("cid1");
    for command in ["ADD", "DEL"] {
        let blocked = Blocked::on_lock(&node, node.call(command, &container));
        let pid = blocked.child.id();
        // it has talked to the datastore by now
        assert_eq!(threads(pid), Some(1), "{command}");
        let watcher = std::thread::spawn(move || {
            let mut most = 0;
            // a zombie still has its last thread, so this ends when the plugin has been waited for
            while let Some(count) = threads(pid) {
                most = most.max(count);
                std::thread::yield_now();
            }
            most
        });
        blocked.release().success();
        assert_eq!(watcher.join().expect("the watcher ends"), 1, "{command}");
    }
}

#[test]
fn its_output_ends_with_it() {
    let node = Node::new();
    let container = node.container("cid1");
    node.add(&container);
    let mut child = node.call("DEL", &container).spawn();
    assert!(child.wait().expect("the plugin ends").success());
    // what it left in the kernel with the interface's memory does not keep a runtime that reads to the end
    for output in [child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from)] {
        let output = File::from(output.expect("a pipe"));
        fcntl(&output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a pipe");
        let text = std::io::read_to_string(output).expect("the output has an end");
        assert_eq!(text, "");
    }
}

#[test]
#[expect(clippy::zombie_processes, reason = "waited for by wait4, which tells the memory")]
fn its_memory_is_reported() {
    let node = Node::new();
    let container = node.container("cid1");
    for command in ["ADD", "DEL"] {
        let child = node.call(command, &container).spawn();
        let pid = libc::pid_t::try_from(child.id()).expect("a process id fits");
        let mut status = 0;
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: both pointers are to live variables of the right type, and the child has not been waited for
        let ended = unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
        assert_eq!((ended, status), (pid, 0), "{command}");
        // SAFETY: all zeroes are a valid rusage, and the kernel has filled it
        let usage = unsafe { usage.assume_init() };
        assert!(usage.ru_maxrss > 0);
        eprintln!("{command}: peak memory {} kB", usage.ru_maxrss);
    }
}
