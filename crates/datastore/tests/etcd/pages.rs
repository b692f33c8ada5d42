//! Large reads: no limit but that of a page, and one moment.

use crate::process::Etcd;
use crate::wire::{Mode, Wire};
use crate::{client, etcdctl, pool};
use api::event::{Entry, Key, Object};
use api::resource::{Kind, Resource};
use datastore::{Query, Scope, Store, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

const POOLS: Scope = Scope::Kind(Kind::IPPool);

/// How many keys a large scope has: more than two pages.
const KEYS: usize = 5000;

/// A member with pools of half a KiB, whose first and last are always written together.
async fn large() -> (Etcd, Arc<dyn Store>) {
    let etcd = Etcd::start();
    let store = client(&[&etcd.endpoint]).await;
    let writes: Vec<Write> = (0..KEYS).map(|index| Write::Create(key(index), object(index, 0))).collect();
    for part in writes.chunks(100) {
        store.transact(part).await.expect("created");
    }
    (etcd, store)
}

fn key(index: usize) -> Key {
    pool(&format!("pool-{index:05}"), "").0
}

fn object(index: usize, generation: usize) -> Object {
    let (_, mut object) = pool(&format!("pool-{index:05}"), "10.0.0.0/16");
    let Object::Resource(resource) = &mut object else { panic!("a resource") };
    let annotations = &mut resource.metadata_mut().annotations;
    annotations.insert("generation".to_owned(), generation.to_string());
    annotations.insert("fill".to_owned(), "x".repeat(300));
    object
}

fn generation(entry: &Entry) -> usize {
    let Object::Resource(Resource::IPPool(pool)) = &entry.object else { panic!("a pool") };
    pool.metadata.annotations["generation"].parse().expect("a number")
}

/// Writes the first and the last pool, together.
async fn rewrite(store: &dyn Store, generation: usize) {
    let mut writes = Vec::new();
    for index in [0, KEYS - 1] {
        let present = store.get(&key(index)).await.expect("there");
        writes.push(Write::Update(key(index), object(index, generation), present.revision));
    }
    store.transact(&writes).await.expect("written");
}

fn complete(found: &[Entry]) {
    assert_eq!(found.len(), KEYS);
    assert!(found.iter().enumerate().all(|(index, entry)| entry.key == key(index)), "in order, each once");
}

#[tokio::test]
async fn a_large_read_has_no_limit_of_time_and_is_of_one_moment() {
    let (etcd, direct) = large().await;
    let wire = Wire::to(&etcd.endpoint).await;
    let store = client(&[&wire.endpoint]).await;
    store.get(&key(0)).await.expect("there");
    wire.set(Mode::Slow(200e3));
    let start = Instant::now();
    let queries = [Query::Get(key(KEYS - 1)), Query::List(POOLS), Query::Get(key(0))];
    let reading = async {
        let (listed, _) = store.list(&POOLS).await.expect("a list");
        let (read, revision) = store.read(&queries).await.expect("answers");
        let read: Vec<Vec<Entry>> = read.into_iter().map(|listing| listing.whole().expect("readable")).collect();
        (listed.entries, read, revision)
    };
    tokio::pin!(reading);
    let mut writes = 0;
    let (listed, read, revision) = loop {
        tokio::select! {
            done = &mut reading => break done,
            () = async { writes += 1; rewrite(direct.as_ref(), writes).await } => {}
        }
    };
    assert!(start.elapsed() > Duration::from_secs(20), "slow enough to tell: {:?}", start.elapsed());
    complete(&listed);
    assert_eq!(generation(&listed[0]), generation(&listed[KEYS - 1]));
    complete(&read[1]);
    assert_eq!(generation(&read[1][0]), generation(&read[1][KEYS - 1]));
    assert_eq!([&read[0][..], &read[2][..]].concat(), [read[1][KEYS - 1].clone(), read[1][0].clone()]);
    assert!(writes > 10, "{writes} writes meanwhile");
    let newest = read.iter().flatten().map(|entry| entry.revision.0.parse::<i64>().expect("a number")).max();
    assert!(newest <= revision.0.parse().ok());
}

#[tokio::test]
async fn a_compaction_meanwhile_starts_a_read_anew() {
    let (etcd, direct) = large().await;
    let wire = Wire::to(&etcd.endpoint).await;
    let store = client(&[&wire.endpoint]).await;
    store.get(&key(0)).await.expect("there");
    wire.set(Mode::Slow(1e6));
    let before = wire.answered();
    let reading = store.list(&POOLS);
    tokio::pin!(reading);
    while wire.answered() < before + 100_000 {
        tokio::select! {
            _ = &mut reading => panic!("read before the compaction"),
            () = tokio::task::yield_now() => {}
        }
    }
    rewrite(direct.as_ref(), 7).await;
    let (_, now) = direct.list(&Scope::Handles).await.expect("a list");
    etcdctl(&etcd.endpoint, &["compaction", &now.0]);
    let (listed, revision) = reading.await.expect("a list");
    let listed = listed.entries;
    complete(&listed);
    assert_eq!((generation(&listed[0]), revision), (7, now));
}
