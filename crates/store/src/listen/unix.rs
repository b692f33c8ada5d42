//! Unix sockets: private from their first moment, taken over from the dead alone.
//!
//! Two things say that a path is somebody's: a lock on the file beside it, which the kernel gives back when its holder
//! ends however that happens, and an answer on the socket, for servers that do not know the lock. What a dead process
//! left, the same process number or not, is neither.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, ErrorKind},
    os::{
        fd::AsRawFd,
        unix::{
            fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
            net::UnixListener as StdListener,
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    fcntl::OFlag,
    sys::{
        socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind as bind_socket, listen, socket},
        stat::{Mode, fchmod},
    },
};
use tokio::net::{UnixListener, UnixStream};

/// Connections that may wait until they are accepted.
const BACKLOG: i32 = 1024;

/// Why a path is not listened on.
#[derive(Debug)]
pub(super) enum Refused {
    InUse,
    NotASocket,
    System(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// A unix socket's file and the lock on it; both files are removed when dropped.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode of the socket, by which it is told from another's of the same name.
    identity: (u64, u64),
    lock: Lock,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity) {
            // the next start replaces a file that stays behind
            let _ = fs::remove_file(&self.path);
        }
        let _ = fs::remove_file(&self.lock.path);
    }
}

/// Listens on a path; makes missing folders, mode 0700. The socket never has another mode than 0600.
pub(super) async fn bind(path: &Path) -> Result<(UnixListener, SocketFile), Refused> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    // asked before the lock too, so that none is made beside what will never be listened on
    is_stale(path).await?;
    let lock = Lock::take(path)?;
    if is_stale(path).await? {
        fs::remove_file(path)?;
    }
    let listener = private_listener(path)?;
    let identity = identity(&fs::symlink_metadata(path)?);
    let file = SocketFile { path: path.to_owned(), identity, lock };
    Ok((UnixListener::from_std(listener)?, file))
}

/// Tells whether there is a socket on which nobody answers; refuses any other that is there.
async fn is_stale(path: &Path) -> Result<bool, Refused> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(Refused::NotASocket),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(Refused::InUse),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        // one for whom too many wait does not answer, and is alive
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(Refused::InUse),
        Err(error) => Err(error.into()),
    }
}

/// Makes a socket whose file is born with mode 0600: on Linux the file takes the mode of the socket that is bound.
fn private_listener(path: &Path) -> io::Result<StdListener> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    bind_socket(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(socket.into())
}

/// The lock on a socket's path.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    fn take(socket: &Path) -> Result<Self, Refused> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        loop {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(OFlag::O_NOFOLLOW.bits())
                .open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(Refused::InUse),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
            file.set_permissions(Permissions::from_mode(0o600))?;
            // its last holder may have removed it between the opening and the locking
            let ours = identity(&file.metadata()?);
            if fs::symlink_metadata(&path).is_ok_and(|found| identity(&found) == ours) {
                return Ok(Self { path, _file: file });
            }
        }
    }
}

fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
