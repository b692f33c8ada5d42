//! Files of snapshots: a database, and after it the SHA-256 of it, as `etcdctl snapshot save` writes them.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use redb::{Database, DatabaseError, backends::FileBackend};
use sha2::{Digest, Sha256};

use crate::{
    mvcc::{
        copy::begin_anew,
        folder,
        storage::{FILE, OpenError, Storage},
    },
    refusal::Fault,
};

/// Bytes of a checksum.
const SUM_BYTES: u64 = 32;
/// A database's length is a multiple of this.
const PAGE_BYTES: u64 = 4096;
/// Bytes copied at once.
const PIECE: usize = 256 << 10;

/// What a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// The last revision.
    pub revision: i64,
    /// Keys that live.
    pub keys: u64,
    /// Bytes of the database.
    pub bytes: u64,
}

/// A snapshot cannot be read, or not be restored.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file cannot be read.
    #[error("read snapshot {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// There is no checksum after the database.
    #[error("snapshot {} has no checksum: it is cut off, or was not written by snapshot save", .0.display())]
    NoChecksum(PathBuf),
    /// The checksum is that of other bytes.
    #[error("snapshot {} is damaged: its checksum is not that of its content", .0.display())]
    Damaged(PathBuf),
    /// The bytes are no database of a store.
    #[error("snapshot {} holds no database of tortie store", file.display())]
    Foreign {
        /// The snapshot.
        file: PathBuf,
        /// What the database library says.
        #[source]
        source: Box<DatabaseError>,
    },
    /// The database is not readable in full.
    #[error("snapshot {} cannot be used", file.display())]
    Content {
        /// The snapshot.
        file: PathBuf,
        /// Why.
        #[source]
        source: Box<OpenError>,
    },
    /// Something is in the data directory.
    #[error("data directory {} is not empty: restore into a new one", .0.display())]
    NotEmpty(PathBuf),
    /// The data directory cannot be written.
    #[error("write data directory {}", directory.display())]
    Directory {
        /// The data directory.
        directory: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The restored database cannot be written.
    #[error("write the restored database in {}", directory.display())]
    Write {
        /// The data directory.
        directory: PathBuf,
        /// What went wrong.
        #[source]
        source: Fault,
    },
}

/// Looks at a snapshot: checks its checksum, opens its database and reads what it holds.
pub fn look(file: &Path) -> Result<Content, SnapshotError> {
    let unreadable = |source| SnapshotError::Read(file.to_owned(), source);
    let copy = folder::create_nameless(file).map_err(unreadable)?;
    let bytes = unpack(file, &copy, unreadable)?;
    let storage = open(file, copy)?;
    content(file, &storage, bytes)
}

/// Makes a data directory of a snapshot. It must not be there yet, or be empty; when it fails, it is as it was.
pub fn restore(file: &Path, directory: &Path) -> Result<Content, SnapshotError> {
    let failed = |source| SnapshotError::Directory { directory: directory.to_owned(), source };
    let made = match fs::read_dir(directory).map(|mut entries| entries.next().is_none()) {
        Ok(true) => false,
        Ok(false) => return Err(SnapshotError::NotEmpty(directory.to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => true,
        Err(error) => return Err(failed(error)),
    };
    let target = directory.join(FILE);
    folder::make_private(directory, &target).map_err(failed)?;
    let new = target.with_extension("new");
    let restored = restore_to(file, directory, &new, &target);
    if restored.is_err() {
        // what cannot be removed is overwritten by the next attempt
        let _ = fs::remove_file(&new);
        if made {
            let _ = fs::remove_dir(directory);
        }
    }
    restored
}

fn restore_to(file: &Path, directory: &Path, new: &Path, target: &Path) -> Result<Content, SnapshotError> {
    let failed = |source| SnapshotError::Directory { directory: directory.to_owned(), source };
    folder::create_file(new).map_err(failed)?;
    let copy = File::options().read(true).write(true).open(new).map_err(failed)?;
    let bytes = unpack(file, &copy, failed)?;
    let storage = open(file, copy)?;
    let content = content(file, &storage, bytes)?;
    let unwritten = |source| SnapshotError::Write { directory: directory.to_owned(), source };
    begin_anew(&storage.database).map_err(unwritten)?;
    drop(storage);
    folder::publish(directory, new, target).map_err(failed)?;
    Ok(content)
}

/// Copies the database of a snapshot and compares the checksum; returns its length.
fn unpack(file: &Path, mut to: &File, unwritten: impl Fn(io::Error) -> SnapshotError) -> Result<u64, SnapshotError> {
    let unreadable = |source| SnapshotError::Read(file.to_owned(), source);
    let mut from = File::open(file).map_err(unreadable)?;
    let length = from.metadata().map_err(unreadable)?.len();
    let Some(bytes) = length.checked_sub(SUM_BYTES).filter(|bytes| *bytes > 0 && bytes % PAGE_BYTES == 0) else {
        return Err(SnapshotError::NoChecksum(file.to_owned()));
    };
    let mut sum = Sha256::new();
    let mut piece = vec![0; PIECE];
    let mut left = bytes;
    while left > 0 {
        let piece = &mut piece[..PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
        from.read_exact(piece).map_err(unreadable)?;
        sum.update(&*piece);
        to.write_all(piece).map_err(&unwritten)?;
        left -= piece.len() as u64;
    }
    let mut stored = [0; SUM_BYTES as usize];
    from.read_exact(&mut stored).map_err(unreadable)?;
    if sum.finalize()[..] != stored {
        return Err(SnapshotError::Damaged(file.to_owned()));
    }
    to.sync_all().and_then(|()| to.seek(SeekFrom::Start(0))).map_err(unwritten)?;
    Ok(bytes)
}

/// Opens a copied database; `file` is the snapshot that it is from.
fn open(file: &Path, copy: File) -> Result<Storage, SnapshotError> {
    let foreign = |source: DatabaseError| SnapshotError::Foreign { file: file.to_owned(), source: Box::new(source) };
    let backend = FileBackend::new(copy).map_err(foreign)?;
    let database = Database::builder().create_with_backend(backend).map_err(foreign)?;
    let unusable = |source| SnapshotError::Content { file: file.to_owned(), source: Box::new(source) };
    Storage::on(database, file.to_owned()).map_err(unusable)
}

/// Reads all that a database holds.
fn content(file: &Path, storage: &Storage, bytes: u64) -> Result<Content, SnapshotError> {
    let unusable = |source| OpenError::Tables { file: file.to_owned(), source };
    let unusable = |source| SnapshotError::Content { file: file.to_owned(), source: Box::new(unusable(source)) };
    let snapshot = storage.snapshot().map_err(unusable)?;
    Ok(Content { revision: snapshot.revision, keys: snapshot.keys().map_err(unusable)?, bytes })
}
