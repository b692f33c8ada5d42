//! The disk fills up: nothing acknowledged is lost, nothing refused is there, reads go on, and with space again so do
//! writes. Needs root: the disk is a small tmpfs in a mount namespace of the test's own.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use common::{PATIENCE, Server, block_on, eventually, unix_client};
use etcd_client::{
    AlarmAction, AlarmType, Client, CompactionOptions, DeleteOptions, EventType, GetOptions, PutOptions, Txn, TxnOp,
    WatchOptions,
};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use store::{Config, ListenUrl};
use tempfile::{TempDir, tempdir};
use tokio::time::timeout;

const REFUSED: &str = "etcdserver: no space: the disk of the data directory is full";

/// A disk of a few MiB that only this thread and what it starts can see.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new() -> Self {
        let place = tempdir().unwrap();
        unshare(CloneFlags::CLONE_NEWNS).expect("this test needs root: it mounts a disk of its own");
        let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        mount(Some("tmpfs"), place.path(), Some("tmpfs"), MsFlags::empty(), Some("size=8m")).unwrap();
        Self(place)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn balloon(&self) -> PathBuf {
        self.path().join("balloon")
    }

    /// Leaves no block free.
    fn fill(&self) {
        let mut balloon = File::options().create(true).append(true).open(self.balloon()).unwrap();
        loop {
            match balloon.write(&[1; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("fill the disk: {error}"),
            }
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.balloon()).unwrap();
    }
}

async fn all(client: &mut Client) -> BTreeMap<String, String> {
    let found = client.get("k/", Some(GetOptions::new().with_prefix())).await.unwrap();
    found.kvs().iter().map(|kv| (kv.key_str().unwrap().into(), kv.value_str().unwrap().into())).collect()
}

/// Puts until one is refused; returns what it was told. Room that the file has already may serve some.
async fn put_until_refused(client: &mut Client, tag: &str, written: &mut BTreeMap<String, String>) -> String {
    for number in 0..4000 {
        let (key, value) = (format!("k/{tag}/{number}"), format!("{number}").repeat(200));
        match client.put(key.clone(), value.clone(), None).await {
            Ok(_) => written.insert(key, value),
            Err(etcd_client::Error::GRpcStatus(status)) if status.code() == tonic::Code::ResourceExhausted => {
                return status.message().to_owned();
            }
            Err(error) => panic!("{error}"),
        };
    }
    panic!("the disk does not fill up");
}

#[test]
fn writes_are_refused_and_reads_go_on_until_there_is_space() {
    let disk = SmallDisk::new();
    let server = Server::start(disk.path());
    block_on(async {
        let mut client = server.client().await;
        let mut watch = client.watch("k/", Some(WatchOptions::new().with_prefix())).await.unwrap();
        let lease = client.lease_grant(2, None).await.unwrap().id();
        client.put("leased", "1", Some(PutOptions::new().with_lease(lease))).await.unwrap();
        let mut written = BTreeMap::from([("k/first".to_owned(), "1".to_owned())]);
        client.put("k/first", "1", None).await.unwrap();
        for round in 0..3 {
            disk.fill();
            let refusal = put_until_refused(&mut client, &format!("{round}"), &mut written).await;
            assert_eq!(refusal, REFUSED);
            assert_eq!(all(&mut client).await, written);
            // with the space that is set aside
            let first = written.pop_first().unwrap().0;
            assert_eq!(client.delete(first.as_str(), None).await.unwrap().deleted(), 1);
            assert_eq!(all(&mut client).await, written);
            if round == 0 {
                let mut asking = client.clone();
                eventually("the lease runs out and is revoked", async || {
                    asking.get("leased", None).await.unwrap().count() == 0
                })
                .await;
            }
            assert!(client.put("k/more", "", None).await.unwrap_err().to_string().contains(REFUSED));
            assert_eq!(alarms(&mut client).await, 1);
            disk.free();
            // no restart: the very next write
            written.insert(format!("k/free/{round}"), "1".to_owned());
            client.put(format!("k/free/{round}"), "1", None).await.unwrap();
            assert_eq!(all(&mut client).await, written);
            assert_eq!(alarms(&mut client).await, 0);
        }
        // the watch heard of every write once, and of none that was refused
        let mut heard = BTreeMap::new();
        let mut last = 0;
        while heard != written {
            let response = timeout(PATIENCE, watch.message()).await.expect("events").unwrap().expect("an open stream");
            for event in response.events() {
                let kv = event.kv().unwrap();
                assert!(kv.mod_revision() > last, "{last}");
                last = kv.mod_revision();
                let key = kv.key_str().unwrap().to_owned();
                match event.event_type() {
                    EventType::Put => heard.insert(key, kv.value_str().unwrap().to_owned()),
                    EventType::Delete => heard.remove(&key),
                };
            }
        }
    });
}

async fn alarms(client: &mut Client) -> usize {
    client.alarm(AlarmAction::Get, AlarmType::None, None).await.unwrap().alarms().len()
}

/// The way out of a file system that the store itself has filled: delete, compact, defragment.
#[test]
fn a_disk_full_of_the_stores_own_data_is_emptied() {
    for value_bytes in [1, 100, 5000, 200_000] {
        let disk = SmallDisk::new();
        let server = Server::start(disk.path());
        block_on(async {
            let mut client = server.client().await;
            let value = vec![7; value_bytes];
            let fill = async |client: &mut Client, tag: &str| {
                for number in 0.. {
                    let puts = (0..100.min(100_000 / value_bytes).max(1))
                        .map(|part| TxnOp::put(format!("k/{tag}/{number}/{part}"), value.clone(), None));
                    if let Err(error) = client.txn(Txn::new().and_then(puts.collect::<Vec<_>>())).await {
                        assert!(error.to_string().contains(REFUSED), "{error}");
                        return;
                    }
                }
            };
            for round in 0..2 {
                fill(&mut client, &format!("{round}")).await;
                let health = etcdctl(&server, &["endpoint", "health"]);
                assert!(health.contains("is unhealthy") && health.contains("NOSPACE"), "{health}");
                let status = client.status().await.unwrap();
                let file = std::fs::metadata(server.directory.join("data/store.redb")).unwrap().len();
                assert_eq!(u64::try_from(status.db_size()).unwrap(), file);
                assert!(status.0.db_size_in_use <= status.db_size());
                let full = status.0.db_size_in_use;
                assert!(full > 3 << 20, "values of {value_bytes}: {full} of 8 MiB");

                // tiny records cannot be deleted all at once: the events of it would not fit
                let parts = if value_bytes == 1 { 1..=9 } else { 0..=0 };
                for part in parts {
                    let prefix = if part == 0 { "k/".to_owned() } else { format!("k/{round}/{part}") };
                    let deleted = client.delete(prefix, Some(DeleteOptions::new().with_prefix())).await;
                    let deleted = deleted.unwrap_or_else(|error| panic!("values of {value_bytes}: {error}"));
                    assert!(deleted.deleted() > 0);
                    // what a compacted revision deleted is kept until the next one
                    let revision = deleted.header().unwrap().revision();
                    client.compact(revision, Some(CompactionOptions::new().with_physical())).await.unwrap();
                }
                client.defragment().await.unwrap();
                let status = client.status().await.unwrap();
                assert!(status.db_size() < file.cast_signed(), "{} after {file}", status.db_size());
                assert!(status.0.db_size_in_use < full / 2, "{} after {full}", status.0.db_size_in_use);
                let reserve = std::fs::metadata(server.directory.join("data/store.reserve")).unwrap().len();
                assert!(reserve < file / 4, "{reserve} is set aside for {}", status.db_size());
                client.put("k/again", "1", None).await.unwrap();
                assert_eq!(etcdctl(&server, &["alarm", "list"]), "");
                let health = etcdctl(&server, &["endpoint", "health"]);
                assert!(health.contains("is healthy"), "{health}");
            }
        });
    }
}

/// Without a defragmentation as well: what is compacted makes room by itself.
#[test]
fn a_full_disk_recovers_by_compaction_alone() {
    let disk = SmallDisk::new();
    let server = Server::start(disk.path());
    block_on(async {
        let mut client = server.client().await;
        let mut written = BTreeMap::new();
        put_until_refused(&mut client, "a", &mut written).await;
        let last = client.delete("k/", Some(DeleteOptions::new().with_prefix())).await.unwrap();
        client.compact(last.header().unwrap().revision(), None).await.unwrap();
        eventually("there is space again", async || client.clone().put("k/b", "1", None).await.is_ok()).await;
    });
}

fn etcdctl(server: &Server, arguments: &[&str]) -> String {
    let endpoint = format!("unix://{}", server.socket.display());
    let output = std::process::Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", &endpoint])
        .args(arguments)
        .output()
        .expect("this test runs etcdctl: install the package etcd-client");
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn a_store_starts_on_a_full_disk_and_shows_what_it_has() {
    let disk = SmallDisk::new();
    let mut written = BTreeMap::new();
    {
        let server = Server::start(disk.path());
        disk.fill();
        block_on(async { put_until_refused(&mut server.client().await, "a", &mut written).await });
    }
    let server = Server::start(disk.path());
    block_on(async {
        let mut client = server.client().await;
        assert_eq!(all(&mut client).await, written);
        let refusal = put_until_refused(&mut client, "b", &mut written).await;
        assert_eq!(refusal, REFUSED);
        assert_eq!(all(&mut client).await, written);
        disk.free();
        client.put("k/c", "1", None).await.unwrap();
    });
}

#[test]
fn a_first_start_on_a_full_disk_says_so_and_leaves_no_file() {
    let disk = SmallDisk::new();
    let data = disk.path().join("data");
    std::fs::create_dir(&data).unwrap();
    disk.fill();
    let urls = vec![ListenUrl::Unix(disk.path().join("store.sock"))];
    let started =
        block_on(store::serve(Config::new(data.clone(), urls), || panic!("not ready"), std::future::pending()));
    let error = started.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(error.to_string(), format!("create data directory {}", data.display()));
    assert!(cause.contains("no storage space"), "{cause}");
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0);
}

/// Writers and readers at full speed while the disk fills and empties.
#[test]
fn whatever_was_acknowledged_is_there_and_whatever_was_refused_is_not() {
    let disk = SmallDisk::new();
    let server = Server::start(disk.path());
    let told: Vec<BTreeMap<String, bool>> = block_on(async {
        let done = AtomicBool::new(false);
        let (socket, done) = (&server.socket, &done);
        let write = async |writer: u64| {
            let mut client = unix_client(socket).await;
            let mut told = BTreeMap::new();
            for number in 0.. {
                let key = format!("k/{writer}/{number}");
                let put = client.put(key.clone(), key.repeat(50), None).await;
                assert!(put.as_ref().is_ok() || put.as_ref().unwrap_err().to_string().contains(REFUSED), "{put:?}");
                told.insert(key, put.is_ok());
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
            told
        };
        let read = async || {
            let mut client = unix_client(socket).await;
            while !done.load(Ordering::Relaxed) {
                client.get("k/0/0", None).await.expect("reads go on");
                tokio::task::yield_now().await;
            }
        };
        let squeeze = async || {
            for round in 0..20 {
                disk.fill();
                tokio::time::sleep(Duration::from_millis(40 + 7 * round)).await;
                disk.free();
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            done.store(true, Ordering::Relaxed);
        };
        let (one, two, three, (), ()) = tokio::join!(write(0), write(1), write(2), read(), squeeze());
        vec![one, two, three]
    });
    let check = |server: &Server, when: &str| {
        block_on(async {
            let there = all(&mut server.client().await).await;
            for (key, acknowledged) in told.iter().flatten() {
                assert_eq!(there.get(key), acknowledged.then(|| key.repeat(50)).as_ref(), "{key} {when}");
            }
        });
    };
    check(&server, "in the end");
    let count = |acknowledged| told.iter().flatten().filter(|(_, told)| **told == acknowledged).count();
    assert!(count(true) > 100 && count(false) > 100, "{} acknowledged, {} refused", count(true), count(false));
    drop(server);
    check(&Server::start(disk.path()), "after a restart");
}
