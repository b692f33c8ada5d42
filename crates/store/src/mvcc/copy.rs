//! Copies of a database: one of what a snapshot shows, and a database that goes on from such a copy.

use std::{
    fs::File,
    io::{self, Seek},
    path::Path,
};

use redb::{Database, ReadOnlyTable, ReadableTable, TableDefinition, WriteTransaction, backends::FileBackend};

use super::{
    folder,
    storage::{CURRENT, EVENTS, LEASE_KEYS, LEASES, META, Snapshot, meta, random},
};
use crate::refusal::Fault;

/// How far the revisions of a restored database are moved on, so that none that a client has seen is given out again.
const REVISIONS_ON: i64 = 1_000_000_000;

/// A database cannot be copied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    #[error("make a file for the copy")]
    File(#[from] io::Error),
    #[error("make a database for the copy")]
    Database(#[from] redb::DatabaseError),
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Snapshot {
    /// Writes what it shows to a database of its own, whose file nobody else sees and which is gone when it is closed;
    /// `beside` is a path in a folder with space. The file is read from its start.
    pub(crate) fn copy(&self, beside: &Path) -> Result<File, CopyError> {
        let mut file = folder::create_nameless(beside)?;
        let database = Database::builder().create_with_backend(FileBackend::new(file.try_clone()?)?)?;
        self.fill(&database)?;
        drop(database);
        file.rewind()?;
        Ok(file)
    }

    fn fill(&self, database: &Database) -> Result<(), Fault> {
        let transaction = database.begin_write()?;
        fill(&transaction, CURRENT, &self.current)?;
        fill(&transaction, EVENTS, &self.events)?;
        fill(&transaction, LEASES, &self.leases)?;
        fill(&transaction, LEASE_KEYS, &self.lease_keys)?;
        fill(&transaction, META, &self.meta)?;
        Ok(transaction.commit()?)
    }
}

fn fill<K: redb::Key + 'static, V: redb::Value + 'static>(
    transaction: &WriteTransaction,
    name: TableDefinition<'_, K, V>,
    from: &ReadOnlyTable<K, V>,
) -> Result<(), Fault> {
    let mut to = transaction.open_table(name)?;
    for entry in from.iter()? {
        let (key, value) = entry?;
        to.insert(key.value(), value.value())?;
    }
    Ok(())
}

/// Makes a copy a cluster of its own, that goes on from what it holds. All history before is compacted, at a revision
/// that nobody has seen: who followed the store that was copied learns that, and reads everything anew.
pub(crate) fn begin_anew(database: &Database) -> Result<(), Fault> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        let revision = meta.get(meta::REVISION)?.map_or(0, |revision| revision.value());
        let on = revision.saturating_add(REVISIONS_ON);
        for (name, value) in
            [(meta::CLUSTER, random()), (meta::MEMBER, random()), (meta::REVISION, on), (meta::COMPACTED, on)]
        {
            meta.insert(name, value)?;
        }
    }
    Ok(transaction.commit()?)
}
