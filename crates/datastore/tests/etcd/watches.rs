//! A watch that will never tell anything again says so.

use crate::failover::{leaderless, three};
use crate::process::Etcd;
use crate::wire::{Mode, Wire};
use crate::{client, etcdctl, pool};
use api::Revision;
use api::resource::Kind;
use datastore::{Change, Scope};
use std::time::Duration;

const POOLS: Scope = Scope::Kind(Kind::IPPool);

async fn ends(watch: &mut Box<dyn datastore::Watch>, within: Duration) -> String {
    let end = tokio::time::timeout(within, watch.next()).await.unwrap_or_else(|_| panic!("not within {within:?}"));
    end.expect_err("the watch ends").to_string()
}

#[tokio::test]
async fn of_a_member_that_loses_its_leader() {
    let [one, two, three] = three();
    let store = client(&[&one.endpoint]).await;
    let (_, revision) = store.list(&POOLS).await.expect("a list");
    let mut watch = store.watch(&POOLS, &revision).await.expect("a watch");
    drop((two, three));
    leaderless(&one);
    let error = ends(&mut watch, Duration::from_secs(20)).await;
    assert_eq!(error, format!("etcd at {}: watch failed: etcdserver: no leader", one.endpoint));
}

#[tokio::test]
async fn of_a_connection_that_goes_silent() {
    let etcd = Etcd::start();
    let wire = Wire::to(&etcd.endpoint).await;
    let store = client(&[&wire.endpoint, &wire.endpoint]).await;
    let (_, revision) = store.list(&POOLS).await.expect("a list");
    let mut watch = store.watch(&POOLS, &revision).await.expect("a watch");
    let (key, object) = pool("a", "10.0.0.0/16");
    let created = store.create(&key, &object).await.expect("created");
    assert_eq!(watch.next().await.expect("changes"), [Change::Put(created)]);
    wire.set(Mode::Silent);
    let error = ends(&mut watch, Duration::from_secs(25)).await;
    assert!(error.starts_with(&format!("etcd at {}: watch failed: ", wire.endpoint)), "{error}");
}

#[tokio::test]
async fn from_a_compacted_revision() {
    let etcd = Etcd::start();
    let store = client(&[&etcd.endpoint]).await;
    let (_, start) = store.list(&POOLS).await.expect("a list");
    let mut last = start.clone();
    for index in 0..3 {
        let (key, object) = pool(&format!("pool-{index}"), "10.0.0.0/16");
        last = store.create(&key, &object).await.expect("created").revision;
    }
    etcdctl(&etcd.endpoint, &["compaction", &last.0]);
    let mut watch = store.watch(&POOLS, &start).await.expect("a watch");
    let error = ends(&mut watch, Duration::from_secs(5)).await;
    let reason = format!("watch cancelled: revisions before {} are compacted", last.0);
    assert_eq!(error, format!("etcd at {}: {reason}", etcd.endpoint));
    let Revision(last) = last;
    assert!(last.parse::<u64>().is_ok());
}
