//! The database's file, as redb sees it: one whose disk never is full.
//!
//! redb gives up a database for good at the first error of its file, reads included. So an error that says that there
//! is no space is kept from it: that write and all that follow stay in memory, and [`Disk::is_full`] tells that nothing
//! since is on the disk. What was committed stays readable, and whoever committed since must not say so. The file is
//! then as after a power cut in the middle of a transaction, and is opened anew on another [`Disk`] when there is space
//! again.

use std::{
    collections::BTreeMap,
    fs::{File, TryLockError},
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::StorageBackend;

use super::folder;

/// Pieces in which memory stands in for the file.
const CHUNK: usize = 4096;

/// A database file that this process has locked.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    file: Arc<File>,
    full: Arc<AtomicBool>,
    overflow: Arc<RwLock<Overflow>>,
}

/// What the file would hold, where that differs.
#[derive(Debug, Default)]
struct Overflow {
    length: u64,
    chunks: BTreeMap<u64, Vec<u8>>,
}

impl Disk {
    /// Opens a file, closes it to others and locks it against other stores; none when another has it.
    pub(crate) fn open(file: &Path) -> io::Result<Option<Self>> {
        let file = File::options().read(true).write(true).open(file)?;
        folder::close_to_others(&file)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self::on(Arc::new(file)))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The file again, with what is on it; the lock is shared.
    pub(crate) fn anew(&self) -> Self {
        Self::on(self.file.clone())
    }

    fn on(file: Arc<File>) -> Self {
        Self { file, full: Arc::default(), overflow: Arc::default() }
    }

    /// Tells whether a write found no space, so that it and all later ones are lost with the process.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// Does something to the file, or from the moment that there is no space, to memory.
    fn change(
        &self,
        to_file: impl FnOnce(&File) -> io::Result<()>,
        to_memory: impl FnOnce(&mut Overflow, &File) -> io::Result<()>,
    ) -> io::Result<()> {
        if !self.is_full() {
            match to_file(&self.file) {
                Err(error) if says_no_space(&error) => {
                    let mut overflow = self.overflow.write().unwrap_or_else(PoisonError::into_inner);
                    if !self.is_full() {
                        overflow.length = self.file.metadata()?.len();
                        self.full.store(true, Ordering::Release);
                    }
                }
                done => return done,
            }
        }
        to_memory(&mut self.overflow.write().unwrap_or_else(PoisonError::into_inner), &self.file)
    }
}

fn says_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        if self.is_full() {
            return Ok(self.overflow.read().unwrap_or_else(PoisonError::into_inner).length);
        }
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.is_full() {
            return self.overflow.read().unwrap_or_else(PoisonError::into_inner).read(&self.file, offset, out);
        }
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(|file| file.set_len(length), |overflow, file| overflow.set_len(file, length))
    }

    fn sync_data(&self) -> io::Result<()> {
        // nobody is told of what is in memory alone
        if self.is_full() { Ok(()) } else { self.file.sync_data() }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(|file| file.write_all_at(data, offset), |overflow, file| overflow.write(file, offset, data))
    }
}

impl Overflow {
    fn read(&self, file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset + out.len() as u64 > self.length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let mut at = offset;
        let mut rest = out;
        while !rest.is_empty() {
            let (index, within, count) = piece(at, rest.len());
            let (part, after) = rest.split_at_mut(count);
            match self.chunks.get(&index) {
                Some(chunk) => part.copy_from_slice(&chunk[within..within + count]),
                None => read_or_zeros(file, at, part)?,
            }
            at += count as u64;
            rest = after;
        }
        Ok(())
    }

    fn write(&mut self, file: &File, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let (index, within, count) = piece(at, rest.len());
            let (part, after) = rest.split_at(count);
            let mut chunk = match self.chunks.remove(&index) {
                Some(chunk) => chunk,
                None => {
                    let mut chunk = vec![0; CHUNK];
                    read_or_zeros(file, index * CHUNK as u64, &mut chunk)?;
                    chunk
                }
            };
            chunk[within..within + count].copy_from_slice(part);
            self.chunks.insert(index, chunk);
            at += count as u64;
            rest = after;
        }
        self.length = self.length.max(at);
        Ok(())
    }

    /// Moves the end; what lies beyond a new end reads as zeros, should the end move out again.
    fn set_len(&mut self, file: &File, length: u64) -> io::Result<()> {
        let (end, old) = (length.next_multiple_of(CHUNK as u64), self.length);
        if length < old {
            let tail = vec![0; (end.min(old) - length) as usize];
            self.write(file, length, &tail)?;
            for index in end / CHUNK as u64..old.div_ceil(CHUNK as u64) {
                self.chunks.insert(index, vec![0; CHUNK]);
            }
        }
        self.length = length;
        Ok(())
    }
}

/// The chunk at an offset, where in it the offset is, and how much of `wanted` it holds.
fn piece(offset: u64, wanted: usize) -> (u64, usize, usize) {
    let within = (offset % CHUNK as u64) as usize;
    (offset / CHUNK as u64, within, wanted.min(CHUNK - within))
}

/// Reads from a file; what lies beyond its end is zeros.
fn read_or_zeros(file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < out.len() {
        match file.read_at(&mut out[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    out[filled..].fill(0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file whose disk is full from the first write on, with some content.
    fn full(content: &[u8]) -> (Disk, tempfile::NamedTempFile) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let disk = Disk::open(file.path()).unwrap().unwrap();
        assert!(Disk::open(file.path()).unwrap().is_none(), "another store is kept out");
        let no_space = |_: &File| Err(ErrorKind::StorageFull.into());
        disk.change(no_space, |overflow, file| overflow.write(file, 5000, b"memory")).unwrap();
        (disk, file)
    }

    fn read(disk: &Disk, offset: u64, count: usize) -> Vec<u8> {
        let mut out = vec![1; count];
        disk.read(offset, &mut out).unwrap();
        out
    }

    #[test]
    fn memory_stands_in_for_the_file() {
        let (disk, file) = full(&[7; 6000]);
        assert!(disk.is_full() && !disk.anew().is_full());
        assert_eq!(read(&disk, 4998, 10), [b"\x07\x07".as_slice(), b"memory", b"\x07\x07"].concat());
        disk.set_len(9000).unwrap();
        assert_eq!((disk.len().unwrap(), read(&disk, 5998, 4)), (9000, vec![7, 7, 0, 0]));
        disk.write(8190, &[3; 700]).unwrap();
        assert_eq!(read(&disk, 8189, 3), [0, 3, 3]);
        assert!(disk.read(8999, &mut [0; 2]).is_err(), "beyond the end");
        disk.sync_data().unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), [7; 6000], "the file is as it was");
    }

    #[test]
    fn what_was_cut_off_is_zeros_when_the_end_moves_out_again() {
        let (disk, _file) = full(&[7; 13_000]);
        disk.set_len(5002).unwrap();
        disk.set_len(13_000).unwrap();
        assert_eq!(read(&disk, 4999, 4), [7, b'm', b'e', 0]);
        for offset in [5003, 8191, 8192, 12_287, 12_998] {
            assert_eq!(read(&disk, offset, 2), [0, 0], "{offset}");
        }
    }
}
