//! Network namespaces by path, and work done inside one.

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// An open network namespace: it lives at least as long as this.
#[derive(Debug)]
pub struct NetNs(File);

/// Why a namespace cannot be entered.
#[derive(Debug, thiserror::Error)]
pub enum NetNsError {
    /// The path cannot be opened.
    #[error("open network namespace {path}: {cause}")]
    Open {
        /// The namespace's path.
        path: String,
        /// Why.
        cause: io::Error,
    },
    /// The thread could not enter it.
    #[error("enter network namespace: {}", io::Error::from(*.0))]
    Enter(Errno),
}

impl NetNsError {
    /// Tells whether the namespace is gone, so that nothing is left to clean in it.
    pub fn is_gone(&self) -> bool {
        match self {
            NetNsError::Open { cause, .. } => cause.kind() == io::ErrorKind::NotFound,
            // a file left behind by a namespace that was unmounted
            NetNsError::Enter(errno) => *errno == Errno::EINVAL,
        }
    }
}

impl NetNs {
    /// Opens the namespace the calling thread is in.
    pub fn current() -> Result<NetNs, NetNsError> {
        NetNs::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// Opens a namespace by its path, such as `/run/netns/NAME`.
    pub fn open(path: &Path) -> Result<NetNs, NetNsError> {
        let open = || Ok(NetNs(File::open(path)?));
        open().map_err(|cause| NetNsError::Open { path: path.display().to_string(), cause })
    }

    /// Does `work` inside the namespace, with the calling thread, which is back when this returns.
    ///
    /// # Panics
    /// If the thread cannot return: whatever it did next would hit the wrong namespace.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> Result<T, NetNsError> {
        let home = NetNs::current()?;
        self.enter()?;
        let back = Return(home);
        let result = work();
        drop(back);
        Ok(result)
    }

    /// Moves the calling thread into the namespace for good.
    pub fn enter(&self) -> Result<(), NetNsError> {
        setns(&self.0, CloneFlags::CLONE_NEWNET).map_err(NetNsError::Enter)
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Brings the thread home, also when the work panics.
struct Return(NetNs);

impl Drop for Return {
    fn drop(&mut self) {
        self.0.enter().expect("the thread's own namespace is open and can be entered again");
    }
}
