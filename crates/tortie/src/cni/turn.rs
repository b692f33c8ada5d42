//! One call at a time for each container.
//!
//! A runtime should not call twice for one container at once; one that was restarted, or has given up on a call, does.
//! All containers of a node share one lock file, in which each has a byte of its own, found by hashing its ID: nothing
//! is left behind however a call ends, since the kernel drops a lock with its process. Two IDs with one byte wait for
//! each other without need, no more.

use super::Role;
use super::log::{Level, Log};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// A container's turn; it ends when this is dropped, or with the process.
#[derive(Debug)]
pub(crate) struct Turn {
    _file: File,
}

impl Turn {
    /// Waits until no other call for the container runs; where the lock cannot be had, the log says so and why.
    ///
    /// The two plugins have turns of their own: one may be called by the other for the same container.
    pub(crate) fn wait(path: &Path, role: Role, container_id: &str, log: &Log) -> Option<Turn> {
        let turn = open(path).and_then(|file| {
            let lock = byte(role, container_id);
            loop {
                match fcntl(&file, FcntlArg::F_SETLKW(&lock)) {
                    Ok(_) => return Ok(Turn { _file: file }),
                    Err(Errno::EINTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
        });
        turn.map_err(|error| {
            let path = path.display();
            log.write(Level::Warning, &format!("calls for one container are not ordered: {path}: {error}"));
        })
        .ok()
    }

    /// Takes the turn only if no other call for the container runs.
    pub(crate) fn take_if_free(path: &Path, role: Role, container_id: &str) -> io::Result<Option<Turn>> {
        let file = open(path)?;
        match fcntl(&file, FcntlArg::F_SETLK(&byte(role, container_id))) {
            Ok(_) => Ok(Some(Turn { _file: file })),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).truncate(false).write(true).open(path)
}

/// The lock on the container's byte.
fn byte(role: Role, container_id: &str) -> libc::flock {
    let role = match role {
        Role::Main => 0,
        Role::Ipam => 1,
    };
    // FNV-1a: the same in every release, so that old and new wait for each other
    let hash = container_id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: ((hash >> 2) as libc::off_t & !1) | role,
        l_len: 1,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_container_and_plugin_has_a_byte() {
        let places: std::collections::BTreeSet<libc::off_t> = ["cid1", "cid2", "a.b", "0123456789abcdef"]
            .into_iter()
            .flat_map(|id| [byte(Role::Main, id).l_start, byte(Role::Ipam, id).l_start])
            .collect();
        assert_eq!(places.len(), 8);
        assert!(places.iter().all(|place| (0..libc::off_t::MAX).contains(place)));
    }
}
