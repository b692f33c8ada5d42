//! Space of the disk that is set aside, so that what frees space can be written when there is no other.
//!
//! It is a file beside the database with nothing in it. What adds to the store is refused unless all of it is there.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::fcntl::posix_fallocate;

use super::folder;

/// Bounds of what is set aside, in bytes.
const LEAST: u64 = 256 << 10;
const MOST: u64 = 64 << 20;
/// A deletion leaves an event for each key: of Calico's records a tenth of what they took at most, so that a third is
/// enough to delete everything at once. Records of a few bytes need more and are deleted in parts, compacted in between.
const PART: u64 = 3;
/// What deletions leave to compaction, which writes little: it mostly frees.
const FOR_COMPACTION: u64 = 1 << 20;

/// The file that holds the space.
#[derive(Debug)]
pub(crate) struct Reserve(PathBuf);

impl Reserve {
    pub(super) fn beside(database: &Path) -> Self {
        Self(database.with_extension("reserve"))
    }

    /// How much is to be set aside for a database of a size.
    pub(crate) fn wanted(database_bytes: u64) -> u64 {
        (database_bytes / PART).clamp(LEAST, MOST)
    }

    /// How much of that is not given to deletions.
    pub(crate) fn kept_from_deletions(database_bytes: u64) -> u64 {
        (Self::wanted(database_bytes) / 4).min(FOR_COMPACTION)
    }

    /// Sets aside so many bytes at least; tells whether they could be had.
    pub(crate) fn fill(&self, bytes: u64) -> bool {
        let held = self.held();
        held >= bytes || self.extend(held, bytes).is_ok()
    }

    fn extend(&self, held: u64, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.0)?;
        folder::close_to_others(&file)?;
        let length = i64::try_from(bytes).map_err(io::Error::other)?;
        posix_fallocate(&file, 0, length).map_err(|errno| {
            // the rest is of use to others; the first error is the one to report
            let _ = cut(&file, held);
            errno.into()
        })
    }

    /// Gives back all but so many bytes.
    pub(crate) fn give(&self, keep: u64) {
        // what is not given is missed by the write that needs it, which says so
        let _ = match keep {
            0 => folder::remove_file(&self.0),
            _ if self.held() > keep => OpenOptions::new().write(true).open(&self.0).and_then(|file| cut(&file, keep)),
            _ => Ok(()),
        };
    }

    /// What there is, by the blocks that the file really has.
    fn held(&self) -> u64 {
        fs::symlink_metadata(&self.0).map_or(0, |found| found.len().min(found.blocks() * 512))
    }
}

fn cut(file: &File, length: u64) -> io::Result<()> {
    file.set_len(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_held_and_given() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::beside(&folder.path().join("store.redb"));
        assert_eq!((Reserve::wanted(0), Reserve::wanted(9 << 20), Reserve::wanted(1 << 40)), (LEAST, 3 << 20, MOST));
        assert!(reserve.fill(100_000) && reserve.held() >= 100_000);
        assert!(reserve.fill(50_000) && reserve.held() >= 100_000, "nothing is taken away");
        reserve.give(40_000);
        assert_eq!(reserve.held(), 40_000);
        assert!(!reserve.fill(1 << 60) && reserve.held() == 40_000, "more than any disk has");
        reserve.give(0);
        reserve.give(0);
        assert_eq!((reserve.held(), fs::read_dir(folder.path()).unwrap().count()), (0, 0));
    }
}
