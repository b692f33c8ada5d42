//! The power fails at any moment: on a disk that forgets what was not synced, nothing acknowledged is lost.
//!
//! The disk under test keeps what was written since the last sync apart. At a cut some of those writes are on the
//! platter and some are not, in any order, one of them perhaps in part, as a disk's cache may leave them. The clients
//! of the real writer count how many of their writes were acknowledged before that moment. The database exists before
//! the first cut: it gets its name when it is whole.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use etcd_client::proto::PbPutRequest;
use redb::{Database, StorageBackend};
use tokio::sync::oneshot;

use crate::{
    lease::Lessor,
    metrics::Metrics,
    mvcc::storage::{CURRENT, Storage},
    shared::{Origin, Shared},
    writer::{Command, Writer},
};

/// The piece that a disk writes whole.
const SECTOR: usize = 512;
const CLIENTS: u64 = 3;
const WRITES: u64 = 12;

#[test]
fn nothing_acknowledged_is_lost() {
    let whole = run(u64::MAX, 0);
    let operations = whole.operations;
    assert_eq!(whole.acknowledged(), CLIENTS * WRITES, "without a cut everything is acknowledged");
    let mut between = 0;
    for cut in 1..operations {
        let run = run(cut, cut.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        between += u64::from((1..CLIENTS * WRITES).contains(&run.acknowledged()));
        run.check(cut);
    }
    assert!(between > operations / 4, "only {between} of {operations} cuts fell among the acknowledgements");
}

#[test]
fn a_first_start_cut_off_is_made_good() {
    let directory = tempfile::tempdir().unwrap();
    let left = directory.path().join("store.new");
    std::fs::write(&left, b"half a database").unwrap();
    let storage = Storage::open(directory.path()).unwrap();
    assert_eq!(storage.snapshot().unwrap().revision, 1);
    assert!(!left.exists());
}

/// What was on the disk at the cut, and how many writes of each client had been acknowledged before it.
struct Run {
    operations: u64,
    acknowledged: Vec<u64>,
    image: Vec<u8>,
}

impl Run {
    fn acknowledged(&self) -> u64 {
        self.acknowledged.iter().sum()
    }

    /// Opens what the cut left, as the next start would.
    fn check(&self, cut: u64) {
        let disk = Disk::new(u64::MAX, 0, Arc::default());
        disk.state().synced = self.image.clone();
        disk.state().cached = self.image.clone();
        let opened = Database::builder().create_with_backend(disk);
        let database = opened.unwrap_or_else(|error| panic!("cut at operation {cut}: {error}"));
        let storage = Storage::on(database, PathBuf::new()).unwrap();
        let transaction = redb::ReadableDatabase::begin_read(&storage.database).unwrap();
        let current = transaction.open_table(CURRENT).unwrap();
        let mut written = 0;
        for (client, acknowledged) in (0..).zip(&self.acknowledged) {
            let there = |number| current.get(key(client, number).as_slice()).unwrap().is_some();
            let found = (0..WRITES).take_while(|number| there(*number)).count() as u64;
            assert!(found >= *acknowledged, "cut at operation {cut}: {found} of {acknowledged} acknowledged writes");
            assert!((found..WRITES).all(|number| !there(number)), "cut at operation {cut}: a hole at {found}");
            written += found;
        }
        let revision = storage.snapshot().unwrap().revision;
        assert_eq!(revision, 1 + i64::try_from(written).unwrap(), "cut at operation {cut}");
    }
}

/// Lets clients write until they are done, with the power cut at the given operation on the disk.
fn run(cut: u64, seed: u64) -> Run {
    let acknowledged: Arc<Vec<AtomicU64>> = Arc::new((0..CLIENTS).map(|_| AtomicU64::new(0)).collect());
    let disk = Disk::new(cut, seed, acknowledged.clone());
    let state = disk.0.clone();
    let database = Database::builder().create_with_backend(disk).unwrap();
    let storage = Storage::on(database, PathBuf::new()).unwrap();
    {
        let mut state = state.lock().unwrap();
        (state.operations, state.setting_up) = (0, false);
    }
    write_all(storage, &acknowledged);
    let mut state = state.lock().unwrap();
    let (acknowledged, image) = state.at_cut.take().unwrap_or_else(|| (state.count(), state.synced.clone()));
    Run { operations: state.operations, acknowledged, image }
}

fn write_all(storage: Storage, acknowledged: &Arc<Vec<AtomicU64>>) {
    let (to_writer, commands) = mpsc::channel();
    let Ok(snapshot) = storage.snapshot() else { return };
    let origin = Origin {
        identity: storage.identity,
        file: PathBuf::new(),
        name: String::new(),
        advertise_client_urls: Vec::new(),
        metrics: Metrics::new(storage.identity, 0).unwrap(),
        quota_alarm: false,
        snapshot,
        lessor: Lessor::default(),
    };
    let shared = Arc::new(Shared::new(origin, to_writer.clone()));
    let writer = thread::spawn(move || Writer::new(storage, shared, commands, None).run());
    let clients = (0..CLIENTS).map(|client| {
        let (to_writer, acknowledged) = (to_writer.clone(), acknowledged.clone());
        thread::spawn(move || {
            for number in 0..WRITES {
                let put = PbPutRequest { key: key(client, number), value: vec![7; 300], ..PbPutRequest::default() };
                let (reply, answer) = oneshot::channel();
                if to_writer.send(Command::new(put, reply)).is_err() || !matches!(answer.blocking_recv(), Ok(Ok(_))) {
                    return; // the power is gone
                }
                acknowledged[usize::try_from(client).unwrap()].fetch_add(1, Ordering::SeqCst);
            }
        })
    });
    clients.collect::<Vec<_>>().into_iter().for_each(|client| client.join().unwrap());
    // after a cut it has ended by itself, with the disk's error
    let _ = to_writer.send(Command::Stop);
    let _ = writer.join().unwrap();
}

fn key(client: u64, number: u64) -> Vec<u8> {
    format!("{client}/{number}").into_bytes()
}

/// A disk with a cache, shared with the test.
struct Disk(Arc<Mutex<State>>);

/// What the disk is and has been told.
struct State {
    /// What survives for sure.
    synced: Vec<u8>,
    /// What reads see.
    cached: Vec<u8>,
    /// Changes since the last sync, oldest first.
    unsynced: Vec<Change>,
    setting_up: bool,
    operations: u64,
    cut: u64,
    random: u64,
    acknowledged: Arc<Vec<AtomicU64>>,
    at_cut: Option<(Vec<u64>, Vec<u8>)>,
}

enum Change {
    Length(usize),
    Write(usize, Vec<u8>),
}

impl Disk {
    fn new(cut: u64, seed: u64, acknowledged: Arc<Vec<AtomicU64>>) -> Disk {
        Disk(Arc::new(Mutex::new(State {
            synced: Vec::new(),
            cached: Vec::new(),
            unsynced: Vec::new(),
            setting_up: true,
            operations: 0,
            cut,
            random: seed,
            acknowledged,
            at_cut: None,
        })))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Counts an operation that changes the disk; it fails from the cut on.
    fn powered(&self) -> Result<std::sync::MutexGuard<'_, State>, io::Error> {
        let mut state = self.state();
        state.operations += 1;
        if state.setting_up {
            return Ok(state);
        }
        if state.operations == state.cut {
            let at_cut = (state.count(), state.platter());
            state.at_cut = Some(at_cut);
        }
        if state.operations < state.cut { Ok(state) } else { Err(io::Error::other("the power is cut")) }
    }
}

impl State {
    fn count(&self) -> Vec<u64> {
        self.acknowledged.iter().map(|count| count.load(Ordering::SeqCst)).collect()
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.is_multiple_of(n)
    }

    /// What is left when the cache is lost: any of the changes since the last sync, writes also in part.
    fn platter(&mut self) -> Vec<u8> {
        let mut image = self.synced.clone();
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                _ if self.one_in(2) => {}
                Change::Length(length) => image.resize(length, 0),
                Change::Write(offset, mut bytes) => {
                    if self.one_in(4) {
                        bytes.truncate(bytes.len() / 2 / SECTOR * SECTOR);
                    }
                    let end = offset + bytes.len();
                    if image.len() < end {
                        image.resize(end, 0);
                    }
                    image[offset..end].copy_from_slice(&bytes);
                }
            }
        }
        image
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a disk that forgets")
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.state().cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let offset = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.state().cached[offset..offset + out.len()]);
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), io::Error> {
        let mut state = self.powered()?;
        let length = usize::try_from(length).unwrap();
        state.cached.resize(length, 0);
        state.unsynced.push(Change::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let mut state = self.powered()?;
        state.synced = state.cached.clone();
        state.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut state = self.powered()?;
        let offset = usize::try_from(offset).unwrap();
        state.cached[offset..offset + data.len()].copy_from_slice(data);
        state.unsynced.push(Change::Write(offset, data.to_vec()));
        Ok(())
    }
}
