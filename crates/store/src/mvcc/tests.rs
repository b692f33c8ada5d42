//! Whole requests on an open database, and what is left in its tables.

use etcd_client::proto::{PbDeleteRequest, PbPutRequest, PbRangeRequest};
use redb::{ReadableTable, ReadableTableMetadata};
use tempfile::TempDir;

use super::{
    copy,
    storage::{Snapshot, Storage},
    writing::{Change, Writing},
};
use crate::refusal::{Failure, Refusal};

/// A database of its own, written one transaction at a time.
struct Bench {
    storage: Storage,
    _directory: TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { storage: Storage::open(&directory.path().join("data")).unwrap(), _directory: directory }
    }

    /// Runs one database transaction; returns the events it would publish, if it has anything to commit.
    fn write<T>(&self, work: impl FnOnce(&mut Writing<'_>) -> T) -> (T, Option<Vec<Change>>) {
        let transaction = self.storage.database.begin_write().unwrap();
        let mut writing = Writing::open(&transaction).unwrap();
        let outcome = work(&mut writing);
        let changes = writing.close().unwrap();
        if changes.is_some() {
            transaction.commit().unwrap();
        }
        (outcome, changes)
    }

    fn put(&self, key: &str, value: &str) {
        self.write(|writing| writing.put(&put(key, value)).unwrap());
    }

    fn delete(&self, key: &str) {
        self.write(|writing| writing.delete(&PbDeleteRequest { key: key.into(), ..Default::default() }).unwrap());
    }

    fn snapshot(&self) -> Snapshot {
        self.storage.snapshot().unwrap()
    }

    /// Lists the revisions the history holds.
    fn kept(&self) -> Vec<i64> {
        let events = self.snapshot().events;
        events.iter().unwrap().map(|entry| entry.unwrap().0.value().0).collect()
    }

    fn at(&self, revision: i64) -> Result<Vec<(String, String)>, String> {
        let request = PbRangeRequest { key: vec![0], range_end: vec![0], revision, ..Default::default() };
        let response = self.snapshot().view().range(&request).map_err(|failure| failure.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ok(response.kvs.iter().map(|kv| (text(&kv.key), text(&kv.value))).collect())
    }
}

fn put(key: &str, value: &str) -> PbPutRequest {
    PbPutRequest { key: key.into(), value: value.into(), ..Default::default() }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn requests_of_one_group_have_their_own_revisions() {
    let bench = Bench::new();
    let (revisions, changes) = bench.write(|writing| {
        let first = writing.put(&put("a", "1")).unwrap().header.unwrap().revision;
        let nothing = writing.delete(&PbDeleteRequest { key: "absent".into(), ..Default::default() }).unwrap();
        let second = writing.put(&put("a", "2")).unwrap().header.unwrap().revision;
        [first, nothing.header.unwrap().revision, second]
    });
    assert_eq!(revisions, [2, 2, 3], "a write that changes nothing has no revision");
    let changes = changes.unwrap();
    let seen: Vec<_> = changes.iter().map(|change| (change.kv.mod_revision, change.previous.is_some())).collect();
    assert_eq!(seen, [(2, false), (3, true)]);
    assert_eq!(bench.snapshot().revision, 3);
}

#[test]
fn a_refused_request_leaves_nothing_behind() {
    let bench = Bench::new();
    let (outcome, changes) = bench.write(|writing| writing.put(&PbPutRequest { lease: 404, ..put("a", "1") }));
    assert!(matches!(outcome, Err(Failure::Refused(Refusal::LeaseNotFound))));
    assert_eq!(changes, None, "nothing to commit, so no fsync");
    assert_eq!(bench.at(0).unwrap(), []);
}

#[test]
fn the_past_stays_readable_down_to_the_compacted_revision() {
    let bench = Bench::new();
    bench.put("a", "1"); // 2
    bench.put("b", "1"); // 3
    bench.put("a", "2"); // 4
    bench.delete("b"); // 5
    bench.put("b", "2"); // 6
    let states = [
        (2, pairs(&[("a", "1")])),
        (3, pairs(&[("a", "1"), ("b", "1")])),
        (4, pairs(&[("a", "2"), ("b", "1")])),
        (5, pairs(&[("a", "2")])),
        (6, pairs(&[("a", "2"), ("b", "2")])),
    ];
    for compacted in [1, 3, 4, 5, 6] {
        if compacted > 1 {
            bench.write(|writing| writing.compact(compacted).unwrap());
            bench.write(|writing| assert!(!writing.prune(i64::MAX).unwrap()));
        }
        for (revision, state) in &states {
            let expect = if *revision < compacted { Err(Refusal::Compacted.to_string()) } else { Ok(state.clone()) };
            assert_eq!(bench.at(*revision), expect, "revision {revision} compacted at {compacted}");
        }
    }
}

#[test]
fn pruning_keeps_what_lives() {
    let bench = Bench::new();
    bench.put("a", "1"); // 2: replaced by 4
    bench.put("b", "1"); // 3: deleted by 5
    bench.put("a", "2"); // 4: lives
    bench.delete("b"); // 5: a deletion below the compacted revision
    bench.put("c", "1"); // 6: replaced only after it
    bench.put("c", "2"); // 7
    bench.write(|writing| writing.compact(6).unwrap());
    let mut steps = 0;
    while bench.write(|writing| writing.prune(2).unwrap()).0 {
        steps += 1;
    }
    assert_eq!(steps, 2, "two revisions at a time, from the first event to 6");
    assert_eq!(bench.kept(), [4, 6, 7]);
    bench.write(|writing| writing.compact(7).unwrap());
    bench.write(|writing| writing.prune(i64::MAX).unwrap());
    assert_eq!(bench.kept(), [4, 7], "one event for each live key");
    assert_eq!(bench.snapshot().current.len().unwrap(), 2);
}

#[test]
fn pruning_leaps_over_a_gap_in_the_revisions() {
    let bench = Bench::new();
    bench.put("a", "1");
    bench.put("a", "2");
    copy::begin_anew(&bench.storage.database).unwrap();
    assert!(bench.write(|writing| writing.prune(500).unwrap()).0);
    assert!(!bench.write(|writing| writing.prune(500).unwrap()).0, "no step in the gap");
    assert_eq!(bench.kept(), [3]);
    bench.put("a", "3");
    assert_eq!(bench.kept(), [3, bench.snapshot().revision]);
    assert!(bench.snapshot().revision > 1_000_000);
}

#[test]
fn compaction_goes_forward_only() {
    let bench = Bench::new();
    bench.put("a", "1");
    bench.put("a", "2");
    let compact = |revision| bench.write(|writing| writing.compact(revision).map_err(|failure| failure.to_string())).0;
    assert_eq!(compact(4), Err(Refusal::FutureRevision.to_string()));
    assert_eq!(compact(3), Ok(3));
    assert_eq!(compact(3), Err(Refusal::Compacted.to_string()));
}

#[test]
fn a_snapshot_does_not_see_later_commits() {
    let bench = Bench::new();
    bench.put("a", "1");
    let snapshot = bench.snapshot();
    bench.put("a", "2");
    let request = PbRangeRequest { key: "a".into(), ..Default::default() };
    let response = snapshot.view().range(&request).unwrap();
    assert_eq!((response.kvs[0].value.as_slice(), response.header.unwrap().revision), (b"1".as_slice(), 2));
}

#[test]
fn revoking_a_lease_deletes_its_keys_at_one_revision() {
    let bench = Bench::new();
    bench.write(|writing| writing.grant(7, 60).unwrap());
    for key in ["a", "b", "c"] {
        bench.write(|writing| writing.put(&PbPutRequest { lease: 7, ..put(key, "") }).unwrap());
    }
    bench.put("b", "no longer on the lease");
    let (revision, changes) = bench.write(|writing| writing.revoke(7).unwrap());
    let deleted: Vec<_> = changes.unwrap().into_iter().map(|change| (change.kv.key, change.kv.mod_revision)).collect();
    assert_eq!(deleted, [(b"a".to_vec(), revision), (b"c".to_vec(), revision)]);
    assert_eq!(bench.storage.leases().unwrap(), []);
    assert_eq!(bench.snapshot().lease_keys(7).unwrap(), Vec::<Vec<u8>>::new());
}
