//! Every call succeeds while one endpoint answers, wherever it stands in the list.

use crate::process::{Etcd, free};
use crate::wire::{Mode, Wire};
use crate::{client, etcdctl, pool};
use datastore::{Error, Scope};
use std::time::{Duration, Instant};

const POOLS: Scope = Scope::Kind(api::resource::Kind::IPPool);

/// An endpoint whose connections are refused.
fn refused() -> String {
    format!("http://{}", free())
}

/// An endpoint that takes connections and never answers.
fn silent() -> (std::net::TcpListener, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    (listener, format!("http://{address}"))
}

/// Ten clients that know nothing of each other read, write and watch, each within two seconds.
async fn all_work(endpoints: &[&str]) {
    for turn in 0..10 {
        let start = Instant::now();
        let store = client(endpoints).await;
        let (key, object) = pool(&format!("pool-{turn}"), "10.0.0.0/16");
        store.create(&key, &object).await.unwrap_or_else(|error| panic!("{turn}: create with {endpoints:?}: {error}"));
        let (found, revision) = store.list(&POOLS).await.expect("a list");
        assert!(found.entries.iter().any(|entry| entry.key == key));
        let mut watch = store.watch(&POOLS, &revision).await.expect("a watch");
        store.delete(&key, None).await.expect("gone");
        assert_eq!(watch.next().await.expect("a change"), [datastore::Change::Deleted(key)]);
        assert!(start.elapsed() < Duration::from_secs(2), "{turn}: {:?} with {endpoints:?}", start.elapsed());
    }
}

#[tokio::test]
async fn refused_connections() {
    let etcd = Etcd::start();
    let (one, two) = (refused(), refused());
    all_work(&[&one, &etcd.endpoint]).await;
    all_work(&[&etcd.endpoint, &one]).await;
    all_work(&[&one, &etcd.endpoint, &two]).await;
}

#[tokio::test]
async fn silent_endpoints() {
    let etcd = Etcd::start();
    let ((_one, one), (_two, two)) = (silent(), silent());
    all_work(&[&one, &etcd.endpoint]).await;
    all_work(&[&one, &two, &etcd.endpoint]).await;
}

#[tokio::test]
async fn mixed_kinds() {
    let etcd = Etcd::start();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("etcd.sock");
    let listener = tokio::net::UnixListener::bind(&path).expect("a socket");
    let address = etcd.endpoint.trim_start_matches("http://").to_owned();
    let socket = tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let address = address.clone();
            tokio::spawn(async move {
                let mut far = tokio::net::TcpStream::connect(address).await?;
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    let (http, https) = (refused(), refused().replace("http:", "https:"));
    all_work(&["unix:///nowhere/etcd.sock", &https, &etcd.endpoint]).await;
    all_work(&[&http, &format!("unix://{}", path.display()), &https]).await;
    socket.abort();
}

#[tokio::test]
async fn something_that_is_not_etcd() {
    let etcd = Etcd::start();
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", other.local_addr().expect("an address"));
    let server = tokio::spawn(async move {
        while let Ok((mut near, _)) = other.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut near, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    all_work(&[&address, &etcd.endpoint]).await;
    let error = client(&[&address]).await.list(&POOLS).await.expect_err("it is no etcd").to_string();
    assert!(error.starts_with(&format!("etcd at {address}: ")), "{error}");
    server.abort();
}

#[tokio::test]
async fn each_is_named_when_none_answers() {
    let (one, (_listener, two)) = (refused(), silent());
    let store = client(&[&one, "unix:///nowhere/etcd.sock", &two]).await;
    let start = Instant::now();
    let error = store.list(&POOLS).await.expect_err("nobody answers").to_string();
    assert_eq!(
        error,
        format!(
            "etcd at {one}: tcp connect error: Connection refused (os error 111); \
             etcd at unix:///nowhere/etcd.sock: No such file or directory (os error 2); \
             etcd at {two}: no answer within 5 s"
        )
    );
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

/// Two wires to one member, and which of them a client uses.
struct Two {
    etcd: Etcd,
    wires: [Wire; 2],
}

impl Two {
    async fn new() -> Two {
        let etcd = Etcd::start();
        let wires = [Wire::to(&etcd.endpoint).await, Wire::to(&etcd.endpoint).await];
        Two { etcd, wires }
    }

    async fn client(&self) -> (std::sync::Arc<dyn datastore::Store>, usize) {
        let store = client(&[&self.wires[0].endpoint, &self.wires[1].endpoint]).await;
        store.list(&POOLS).await.expect("a list, from the first to answer");
        let before = self.wires.each_ref().map(Wire::answered);
        store.list(&POOLS).await.expect("a list");
        let used = (0..2).find(|&index| self.wires[index].answered() > before[index]).expect("one is used");
        (store, used)
    }
}

#[tokio::test]
async fn a_read_is_repeated_elsewhere() {
    let mut two = Two::new().await;
    let (store, used) = two.client().await;
    let (key, object) = pool("a", "10.0.0.0/16");
    let created = store.create(&key, &object).await.expect("created");
    two.wires[used].set(Mode::CutAnswers);
    assert_eq!(store.get(&key).await.expect("read elsewhere"), created);

    let (store, used) = {
        two.wires[used].set(Mode::Pass);
        two.client().await
    };
    two.wires[used].set(Mode::Silent);
    let start = Instant::now();
    assert_eq!(store.get(&key).await.expect("read elsewhere"), created);
    assert!(start.elapsed() < Duration::from_secs(7), "{:?}", start.elapsed());

    two.wires[used].set(Mode::Pass);
    let (store, used) = two.client().await;
    two.wires[used].down().await;
    assert_eq!(store.get(&key).await.expect("read elsewhere"), created);
}

#[tokio::test]
async fn a_write_is_repeated_only_if_nothing_happened() {
    let mut two = Two::new().await;
    let (store, used) = two.client().await;
    let (key, object) = pool("a", "10.0.0.0/16");
    let created = store.create(&key, &object).await.expect("created");
    two.wires[used].set(Mode::CutAnswers);
    let error = store.update(&key, &object, &created.revision).await.expect_err("nobody knows");
    assert!(matches!(&error, Error::Unavailable(text) if text.starts_with("etcd at http://127.0.0.1:")), "{error}");
    two.wires[used].set(Mode::Pass);
    let (found, revision) = client(&[&two.etcd.endpoint]).await.list(&POOLS).await.expect("a list");
    let number = |revision: &api::Revision| revision.0.parse::<i64>().expect("a number");
    assert_eq!(number(&revision), number(&created.revision) + 1, "written once: {found:?}");

    // the next one goes elsewhere, and so does one whose connection is gone
    let updated = store.update(&key, &object, &revision).await.expect("updated");
    let (store, used) = two.client().await;
    two.wires[used].down().await;
    tokio::task::yield_now().await;
    store.update(&key, &object, &updated.revision).await.expect("written elsewhere");
}

/// Three members of a cluster.
pub(crate) fn three() -> [Etcd; 3] {
    let peers = [free(), free(), free()];
    let members = peers.iter().enumerate().map(|(index, peer)| format!("m{index}=http://{peer}"));
    let cluster = members.collect::<Vec<_>>().join(",");
    let all = [0, 1, 2].map(|index| {
        let endpoint = format!("http://{}", free());
        Etcd::member(&format!("m{index}"), &peers[index], &cluster, &endpoint, &[])
    });
    etcdctl(&all[0].endpoint, &["get", "anything"]);
    all
}

/// Waits until a member knows that it has no leader.
pub(crate) fn leaderless(member: &Etcd) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let status = etcdctl(&member.endpoint, &["endpoint", "status", "-w", "json"]);
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        if status[0]["Status"]["leader"].as_u64().unwrap_or_default() == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "it still has a leader: {status}");
    }
}

#[tokio::test]
async fn a_member_without_a_leader() {
    let [one, two, three] = three();
    drop((two, three));
    leaderless(&one);
    let other = Etcd::start();
    all_work(&[&one.endpoint, &other.endpoint]).await;
    let error = client(&[&one.endpoint]).await.list(&POOLS).await.expect_err("no leader").to_string();
    assert_eq!(error, format!("etcd at {}: etcdserver: no leader", one.endpoint));
}
