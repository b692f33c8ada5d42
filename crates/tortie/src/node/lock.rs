//! One agent a node: whoever changes the node's kernel holds the lock on a file that names its process.
//!
//! The kernel drops the lock with its holder, however that ends. The last holder may remove the file: so whoever gets the
//! lock makes sure that it is still on the file of that name.

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The lock, held until dropped.
#[derive(Debug)]
pub(crate) struct NodeLock {
    file: Flock<File>,
    path: PathBuf,
}

/// Why the lock is not to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Somebody has it.
    #[error("process {holder} holds {}", .path.display())]
    Held {
        /// The holder's process id, as it wrote it.
        holder: String,
        /// The lock's file.
        path: PathBuf,
    },
    /// The file cannot be used.
    #[error("lock {}: {cause}", .path.display())]
    File {
        /// The lock's file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

impl NodeLock {
    /// Whether somebody holds the lock, without a touch of it: whoever tried to take it could be in an agent's way.
    ///
    /// The kernel's list names locked files by device and number; the number is enough here.
    pub(crate) fn is_held(path: &Path) -> bool {
        let Ok(metadata) = fs::metadata(path) else { return false };
        let file = format!(":{} ", metadata.ino());
        let list = fs::read_to_string("/proc/locks").unwrap_or_default();
        list.lines().any(|line| line.contains(" FLOCK ") && line.contains(" WRITE ") && line.contains(&file))
    }

    /// Takes the lock, or says who has it.
    pub(crate) fn take(path: &Path) -> Result<NodeLock, LockError> {
        let failed = |cause: io::Error| LockError::File { path: path.to_owned(), cause };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        loop {
            let file =
                File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) if is_at(&file, path).map_err(failed)? => {
                    let mut lock = NodeLock { file, path: path.to_owned() };
                    lock.sign().map_err(failed)?;
                    return Ok(lock);
                }
                // removed by its last holder meanwhile
                Ok(_) => {}
                Err((mut file, Errno::EWOULDBLOCK)) => {
                    let mut holder = String::new();
                    file.read_to_string(&mut holder).map_err(failed)?;
                    return Err(LockError::Held { holder: holder.trim().to_owned(), path: path.to_owned() });
                }
                Err((_, errno)) => return Err(failed(errno.into())),
            }
        }
    }

    /// Removes the file, and lets go.
    pub(crate) fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    fn sign(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        writeln!(self.file, "{}", std::process::id())
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_the_other_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("calico/node.lock");
        let lock = NodeLock::take(&path).expect("nobody has it");
        assert!(NodeLock::is_held(&path));
        let refused = NodeLock::take(&path).expect_err("it is held").to_string();
        assert_eq!(refused, format!("process {} holds {}", std::process::id(), path.display()));
        assert!(!NodeLock::is_held(&directory.path().join("another.lock")));
        lock.remove().expect("the file is there");
        assert!(!path.exists());
        drop(NodeLock::take(&path).expect("nobody has it again"));
        assert!(!NodeLock::is_held(&path));
        NodeLock::take(&path).expect("a file that nobody holds is no obstacle");
    }
}
