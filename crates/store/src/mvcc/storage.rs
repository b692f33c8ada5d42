//! The database file: its tables, its schema number, its lock, and consistent views of it.
//!
//! | table | key | value |
//! |---|---|---|
//! | `current` | user key | live record |
//! | `events` | revision, sub-revision | event, with a pointer to the event it replaced |
//! | `leases` | lease | granted seconds |
//! | `lease_keys` | lease, user key | nothing |
//! | `meta` | name | number |
//!
//! `current` answers reads of the present without touching the history; reads of the past undo the events since
//! then, which compaction keeps few. Events up to the compacted revision stay only while their key lives on them.

use std::{
    fs,
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use redb::{
    CompactionError, Database, DatabaseError, ReadOnlyTable, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    TableDefinition,
};

use super::{
    disk::Disk,
    folder::{self, Folder},
    reserve::Reserve,
    view::View,
};
use crate::refusal::Fault;

pub(crate) type CurrentKey = &'static [u8];
pub(crate) type CurrentValue = &'static [u8];
pub(crate) type EventKey = (i64, u32);
pub(crate) type EventValue = &'static [u8];

pub(crate) const CURRENT: TableDefinition<'_, CurrentKey, CurrentValue> = TableDefinition::new("current");
pub(crate) const EVENTS: TableDefinition<'_, EventKey, EventValue> = TableDefinition::new("events");
pub(crate) const LEASES: TableDefinition<'_, i64, i64> = TableDefinition::new("leases");
pub(crate) const LEASE_KEYS: TableDefinition<'_, (i64, &'static [u8]), ()> = TableDefinition::new("lease_keys");
pub(crate) const META: TableDefinition<'_, &'static str, i64> = TableDefinition::new("meta");

/// The names in `meta`.
pub(crate) mod meta {
    /// Number of the layout of tables and records.
    pub(crate) const SCHEMA: &str = "schema";
    /// Revision of the last transaction that wrote.
    pub(crate) const REVISION: &str = "revision";
    /// Reads and watches below this revision are refused.
    pub(crate) const COMPACTED: &str = "compacted";
    /// Events up to this revision have been pruned; behind `COMPACTED` while pruning is under way.
    pub(crate) const PRUNED: &str = "pruned";
    pub(crate) const CLUSTER: &str = "cluster_id";
    pub(crate) const MEMBER: &str = "member_id";
    /// Raft term shown to clients; one more at each start, as a lone etcd member elects itself.
    pub(crate) const TERM: &str = "raft_term";
    /// Present, and not zero, from the moment that the quota was used up until the alarm is disarmed.
    pub(crate) const NO_SPACE: &str = "alarm_nospace";
}

const SCHEMA: i64 = 1;
pub(crate) const FILE: &str = "store.redb";
/// Extension of the file that is written to find out whether there is space.
const PROBE: &str = "space";
/// redb's page cache; its default of 1 GiB is more than a node wants to spend.
const CACHE_BYTES: usize = 8 << 20;
/// Free space, in bytes, without which a disk that was full still counts as full.
const ENOUGH_SPACE: usize = 256 << 10;
/// etcd's revision before the first write.
const FIRST_REVISION: i64 = 1;
/// etcd's compacted revision before the first compaction.
const NEVER_COMPACTED: i64 = -1;

/// The data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made or written to.
    #[error("create data directory {}", directory.display())]
    Directory {
        /// The data directory.
        directory: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The directory is not the store's alone, and others may look into it.
    #[error(
        "data directory {} is open to others (mode {mode:o}) and holds {theirs:?}, so it is not the store's alone: \
         give the store a folder of its own",
        directory.display()
    )]
    Common {
        /// The data directory.
        directory: PathBuf,
        /// Its mode.
        mode: u32,
        /// Something in it that is not the store's.
        theirs: String,
    },
    /// Another server has the directory open.
    #[error("data directory {} is in use by another store", .0.display())]
    InUse(PathBuf),
    /// The file is not a database, or cannot be read.
    #[error("open database {}", file.display())]
    File {
        /// The database file.
        file: PathBuf,
        /// What the database library says.
        #[source]
        source: Box<DatabaseError>,
    },
    /// A newer release wrote the file.
    #[error("database {} has schema {found}, newer than {SCHEMA}, the newest this release reads", file.display())]
    NewerSchema {
        /// The database file.
        file: PathBuf,
        /// Its schema number.
        found: i64,
    },
    /// The tables cannot be read or written.
    #[error("prepare the tables of {}", file.display())]
    Tables {
        /// The database file.
        file: PathBuf,
        /// What went wrong.
        #[source]
        source: Fault,
    },
}

/// Who this server says it is in every header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cluster: u64,
    pub(crate) member: u64,
    pub(crate) term: u64,
}

/// Counts a database's snapshots that are in use.
pub(crate) struct Snapshots(Weak<()>);

impl Snapshots {
    pub(crate) fn count(&self) -> usize {
        // one is the database's own
        self.0.strong_count().saturating_sub(1)
    }
}

/// How much of the space that is set aside is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// What is left is for compaction, without which deletions free little.
    ForDeletions,
    All,
    /// What a file that has become smaller does not demand.
    Surplus,
}

/// An opened data directory.
pub(crate) struct Storage {
    pub(crate) database: Database,
    pub(crate) file: PathBuf,
    pub(crate) identity: Identity,
    /// None for a database that is in no file, and so is the next.
    disk: Option<Disk>,
    reserve: Option<Reserve>,
    /// Shared with all snapshots of this database: they cannot be read once it is closed.
    read_by: Arc<()>,
}

impl Storage {
    /// Opens the directory (mode 0700) and the file (0600), making what is missing and closing to others what is open to
    /// them, and locks it until closed.
    pub(crate) fn open(directory: &Path) -> Result<Self, OpenError> {
        let file = directory.join(FILE);
        let unusable = |source| OpenError::Directory { directory: directory.to_path_buf(), source };
        if let Folder::Common { mode, theirs } = folder::make_private(directory, &file).map_err(unusable)? {
            return Err(OpenError::Common { directory: directory.to_path_buf(), mode, theirs });
        }
        let probe = file.with_extension(PROBE);
        // a start on a full disk may be all that lacks
        folder::remove_file(&probe).map_err(unusable)?;
        let new = file.with_extension("new");
        if !file.exists() {
            // made under another name, so that a power cut leaves a whole database or none
            folder::create_file(&new).map_err(unusable)?;
            if !Self::at(directory, new.clone())?.close_whole() {
                fs::remove_file(&new).map_err(unusable)?;
                return Err(unusable(io::ErrorKind::StorageFull.into()));
            }
            folder::publish(directory, &new, &file).map_err(unusable)?;
        }
        let storage = Self::at(directory, file)?;
        folder::remove_file(&new).map_err(unusable)?;
        Ok(storage)
    }

    fn at(directory: &Path, file: PathBuf) -> Result<Self, OpenError> {
        let unusable = |source: io::Error| OpenError::File { file: file.clone(), source: Box::new(source.into()) };
        let disk = Disk::open(&file).map_err(unusable)?;
        Self::on_disk(disk.ok_or_else(|| OpenError::InUse(directory.to_path_buf()))?, file)
    }

    fn on_disk(disk: Disk, file: PathBuf) -> Result<Self, OpenError> {
        let opened = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(disk.clone());
        let database = opened.map_err(|error| OpenError::File { file: file.clone(), source: Box::new(error) })?;
        let reserve = Some(Reserve::beside(&file));
        Ok(Self { disk: Some(disk), reserve, ..Self::on(database, file)? })
    }

    /// Tells whether the disk was found to be full: what was committed since then is not on it, and nothing will be.
    pub(crate) fn is_full(&self) -> bool {
        self.disk.as_ref().is_some_and(Disk::is_full)
    }

    /// Opens the file once more, as it is on the disk; none when there is not even space for that.
    pub(crate) fn anew(&self) -> Result<Option<Self>, OpenError> {
        let Some(disk) = &self.disk else { return Ok(None) };
        let storage = Self::on_disk(disk.anew(), self.file.clone())?;
        Ok(Some(storage).filter(|storage| !storage.is_full()))
    }

    /// Sets space aside as the file's size demands; tells whether it is.
    pub(crate) fn is_secured(&self) -> bool {
        self.reserve.as_ref().is_none_or(|reserve| reserve.fill(Reserve::wanted(self.disk_bytes())))
    }

    /// Gives back what is set aside: all of it, or what deletions may have.
    pub(crate) fn give_reserve(&self, part: Part) {
        if let Some(reserve) = &self.reserve {
            reserve.give(match part {
                Part::All => 0,
                Part::Surplus => Reserve::wanted(self.disk_bytes()),
                Part::ForDeletions => Reserve::kept_from_deletions(self.disk_bytes()),
            });
        }
    }

    /// The length of the file, in bytes.
    pub(crate) fn file_bytes(&self) -> u64 {
        fs::metadata(&self.file).map_or(0, |found| found.len())
    }

    /// What the file takes of the disk: its length is moved out further than what is written.
    fn disk_bytes(&self) -> u64 {
        fs::metadata(&self.file).map_or(0, |found| found.len().min(found.blocks() * 512))
    }

    /// Moves all that is in use to the file's start and cuts off the rest. No snapshot of the database may be in use;
    /// tells whether none was.
    pub(crate) fn compact(&mut self) -> Result<bool, Fault> {
        match self.database.compact() {
            Ok(_) => Ok(true),
            Err(CompactionError::Storage(error)) => Err(error.into()),
            Err(_) => Ok(false),
        }
    }

    /// Finds out by writing: free blocks alone do not tell of quotas.
    pub(crate) fn has_space(&self) -> bool {
        if self.disk.is_none() {
            return true;
        }
        let probe = self.file.with_extension(PROBE);
        let fits = folder::create_file(&probe).and_then(|mut file| file.write_all(&vec![0; ENOUGH_SPACE])).is_ok();
        // a probe that is left is overwritten by the next
        let _ = fs::remove_file(&probe);
        fits
    }

    /// Tells whether any snapshot of this database is in use.
    pub(crate) fn is_read(&self) -> bool {
        self.snapshots().count() > 0
    }

    /// What counts the snapshots in use.
    pub(crate) fn snapshots(&self) -> Snapshots {
        Snapshots(Arc::downgrade(&self.read_by))
    }

    /// Closes the file; tells whether all is on the disk.
    fn close_whole(self) -> bool {
        let disk = self.disk.clone();
        self.database.close().is_ok() && !disk.is_some_and(|disk| disk.is_full())
    }

    /// Reads who an opened database is, or makes it somebody.
    pub(crate) fn on(database: Database, file: PathBuf) -> Result<Self, OpenError> {
        match prepare(&database) {
            Ok(Prepared::Ready(identity)) => {
                Ok(Self { database, file, identity, disk: None, reserve: None, read_by: Arc::default() })
            }
            Ok(Prepared::Newer(found)) => Err(OpenError::NewerSchema { file, found }),
            Err(source) => Err(OpenError::Tables { file, source }),
        }
    }

    pub(crate) fn snapshot(&self) -> Result<Snapshot, Fault> {
        let transaction = self.database.begin_read()?;
        let meta = transaction.open_table(META)?;
        Ok(Snapshot {
            revision: number(&meta, meta::REVISION)?,
            compacted: number(&meta, meta::COMPACTED)?,
            current: transaction.open_table(CURRENT)?,
            events: transaction.open_table(EVENTS)?,
            leases: transaction.open_table(LEASES)?,
            lease_keys: transaction.open_table(LEASE_KEYS)?,
            meta,
            _reads: self.read_by.clone(),
        })
    }

    /// Lists the leases and their granted seconds.
    pub(crate) fn leases(&self) -> Result<Vec<(i64, i64)>, Fault> {
        let leases = self.database.begin_read()?.open_table(LEASES)?;
        leases.iter()?.map(|entry| entry.map(|(id, ttl)| (id.value(), ttl.value())).map_err(Fault::from)).collect()
    }
}

/// The state after one commit; it stays readable, and unchanged, while the writer goes on.
pub(crate) struct Snapshot {
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    pub(crate) current: ReadOnlyTable<CurrentKey, CurrentValue>,
    pub(crate) events: ReadOnlyTable<EventKey, EventValue>,
    pub(super) leases: ReadOnlyTable<i64, i64>,
    pub(super) lease_keys: ReadOnlyTable<(i64, &'static [u8]), ()>,
    pub(super) meta: ReadOnlyTable<&'static str, i64>,
    _reads: Arc<()>,
}

impl Snapshot {
    pub(crate) fn view(
        &self,
    ) -> View<'_, ReadOnlyTable<CurrentKey, CurrentValue>, ReadOnlyTable<EventKey, EventValue>> {
        View { current: &self.current, events: &self.events, revision: self.revision, compacted: self.compacted }
    }

    /// Tells whether the alarm for a quota that was used up is on.
    pub(crate) fn no_space(&self) -> Result<bool, Fault> {
        Ok(self.meta.get(meta::NO_SPACE)?.is_some_and(|alarm| alarm.value() != 0))
    }

    /// Goes through all tables and adds up the bytes of their pages: what is in use of the file.
    pub(crate) fn used_bytes(&self) -> Result<u64, Fault> {
        let stats = [
            self.current.stats()?,
            self.events.stats()?,
            self.leases.stats()?,
            self.lease_keys.stats()?,
            self.meta.stats()?,
        ];
        Ok(stats.iter().map(|table| table.stored_bytes() + table.metadata_bytes() + table.fragmented_bytes()).sum())
    }

    /// Counts the keys that live.
    pub(crate) fn keys(&self) -> Result<u64, Fault> {
        Ok(self.current.len()?)
    }

    /// Lists the keys attached to a lease.
    pub(crate) fn lease_keys(&self, lease: i64) -> Result<Vec<Vec<u8>>, Fault> {
        attached_keys(&self.lease_keys, lease)
    }
}

/// Lists the keys attached to a lease, in order.
pub(crate) fn attached_keys(
    table: &impl ReadableTable<(i64, &'static [u8]), ()>,
    lease: i64,
) -> Result<Vec<Vec<u8>>, Fault> {
    let mut keys = Vec::new();
    for entry in table.range((lease, [].as_slice())..)? {
        let (key, ()) = entry.map(|(key, _)| (key, ()))?;
        let (owner, key) = key.value();
        if owner != lease {
            break;
        }
        keys.push(key.to_vec());
    }
    Ok(keys)
}

/// Reads a number of `meta`.
pub(crate) fn number(meta: &impl ReadableTable<&'static str, i64>, name: &'static str) -> Result<i64, Fault> {
    meta.get(name)?.map(|number| number.value()).ok_or(Fault::Malformed("meta"))
}

enum Prepared {
    Ready(Identity),
    Newer(i64),
}

fn prepare(database: &Database) -> Result<Prepared, Fault> {
    let transaction = database.begin_write()?;
    let identity = {
        let mut meta = transaction.open_table(META)?;
        let schema = meta.get(meta::SCHEMA)?.map(|schema| schema.value());
        if let Some(found) = schema.filter(|found| *found > SCHEMA) {
            return Ok(Prepared::Newer(found));
        }
        if schema.is_none() {
            for (name, value) in [
                (meta::SCHEMA, SCHEMA),
                (meta::REVISION, FIRST_REVISION),
                (meta::COMPACTED, NEVER_COMPACTED),
                (meta::PRUNED, NEVER_COMPACTED),
                (meta::CLUSTER, random()),
                (meta::MEMBER, random()),
                // opened once to be made and once to be served, it is then at 2, as a new etcd is
                (meta::TERM, 0),
            ] {
                meta.insert(name, value)?;
            }
        }
        let term = number(&meta, meta::TERM)? + 1;
        meta.insert(meta::TERM, term)?;
        Identity {
            cluster: number(&meta, meta::CLUSTER)?.cast_unsigned(),
            member: number(&meta, meta::MEMBER)?.cast_unsigned(),
            term: term.cast_unsigned(),
        }
    };
    transaction.open_table(CURRENT)?;
    transaction.open_table(EVENTS)?;
    transaction.open_table(LEASES)?;
    transaction.open_table(LEASE_KEYS)?;
    transaction.commit()?;
    Ok(Prepared::Ready(identity))
}

/// Draws a positive number that differs between servers; it need not be secret.
pub(crate) fn random() -> i64 {
    let drawn = RandomState::new().build_hasher().finish();
    (drawn >> 1).cast_signed().max(1)
}
