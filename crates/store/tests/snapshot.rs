//! Snapshots: saved by etcd's own client, restored, and refused where they are not whole.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use common::{PATIENCE, Server, block_on, unix_client};
use etcd_client::{Client, DeleteOptions, GetOptions, PutOptions, WatchOptions};
use store::snapshot::{Content, SnapshotError, look, restore};
use tempfile::tempdir;
use tokio::time::timeout;

/// All keys and values, and the lease of each.
async fn all(client: &mut Client) -> Vec<(String, String, i64)> {
    let found = client.get("", Some(GetOptions::new().with_all_keys())).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    found.kvs().iter().map(|kv| (text(kv.key()), text(kv.value()), kv.lease())).collect()
}

/// Saves with etcdctl.
fn save(server: &Server, file: &Path) {
    let output = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", &server.tcp, "snapshot", "save"])
        .arg(file)
        .output()
        .expect("this test runs etcdctl: install the package etcd-client");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn what_etcdctl_saves_is_restored() {
    let directory = tempdir().unwrap();
    let file = directory.path().join("backup.db");
    let server = Server::start(directory.path());
    let (before, cluster, at) = block_on(async {
        let mut client = server.client().await;
        let lease = client.lease_grant(600, None).await.unwrap().id();
        for number in 0..300 {
            client.put(format!("/calico/{number:03}"), "x".repeat(4000), None).await.unwrap();
        }
        client.put("leased", "1", Some(PutOptions::new().with_lease(lease))).await.unwrap();
        client.delete("/calico/2", Some(DeleteOptions::new().with_prefix())).await.unwrap();
        let header = client.put("last", "1", None).await.unwrap().take_header().unwrap();
        save(&server, &file);
        let before = all(&mut client).await;
        client.put("later", "1", None).await.unwrap();
        (before, header.cluster_id(), header.revision())
    });
    server.stop();
    assert_eq!(before.len(), 202);
    assert_eq!(fs::read_dir(directory.path().join("data")).unwrap().count(), 2, "the database and its reserve");

    let bytes = fs::metadata(&file).unwrap().len() - 32;
    assert_eq!(look(&file).unwrap(), Content { revision: at, keys: 202, bytes });
    let target = tempdir().unwrap();
    let data = target.path().join("data");
    assert_eq!(restore(&file, &data).unwrap(), Content { revision: at, keys: 202, bytes });
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&data), mode(&data.join("store.redb"))), (0o700, 0o600));
    let server = Server::start(target.path());
    block_on(async {
        let mut client = server.client().await;
        assert_eq!(all(&mut client).await, before);
        let header = client.put("new", "1", None).await.unwrap().take_header().unwrap();
        assert_ne!(header.cluster_id(), cluster, "it is another cluster");
        assert!(header.revision() > at + 1_000_000, "no revision is given out again: {}", header.revision());
        // a client that had followed the saved store, further than the snapshot
        let options = WatchOptions::new().with_prefix().with_start_revision(at + 2);
        let mut watch = client.watch("", Some(options)).await.unwrap();
        let mut next = async || timeout(PATIENCE, watch.message()).await.unwrap().unwrap().unwrap();
        assert!(next().await.created());
        let end = next().await;
        assert!(end.canceled() && end.compact_revision() > at, "it has to read everything anew: {end:?}");
        assert_eq!(client.leases().await.unwrap().leases().len(), 1);
        // history goes on, and so does what is made of it
        let options = GetOptions::new().with_revision(header.revision());
        assert_eq!(client.get("new", Some(options)).await.unwrap().kvs().len(), 1);
        client.compact(header.revision(), None).await.unwrap();
        client.defragment().await.unwrap();
        assert_eq!(all(&mut client).await.len(), 203);
    });
}

#[test]
fn a_snapshot_is_one_revision_while_others_write() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    let file = directory.path().join("backup.db");
    let mut revisions = Vec::new();
    for _ in 0..3 {
        block_on(async {
            let socket = server.socket.clone();
            let writer = tokio::spawn(async move {
                let mut client = unix_client(&socket).await;
                for number in 0.. {
                    // two keys that are always equal
                    let puts = ["a", "b"].map(|key| etcd_client::TxnOp::put(key, number.to_string(), None));
                    client.txn(etcd_client::Txn::new().and_then(puts)).await.unwrap();
                }
            });
            let mut client = server.client().await;
            common::eventually("the writer has begun", async || !all(&mut client).await.is_empty()).await;
            save(&server, &file);
            writer.abort();
        });
        let target = tempdir().unwrap();
        let content = restore(&file, &target.path().join("data")).unwrap();
        let restored = Server::start(target.path());
        let pairs = block_on(async { all(&mut restored.client().await).await });
        assert_eq!(pairs[0].1, pairs[1].1, "both keys, or neither");
        revisions.push(content.revision);
    }
    assert!(revisions.is_sorted_by(|one, next| one < next), "{revisions:?}");
}

#[test]
fn what_is_not_whole_is_refused_and_leaves_nothing() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    let file = directory.path().join("backup.db");
    block_on(async { server.client().await.put("a", "1", None).await.unwrap() });
    save(&server, &file);
    let whole = fs::read(&file).unwrap();
    let broken = |name: &str, content: &[u8]| -> PathBuf {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let mut flipped = whole.clone();
    flipped[5000] ^= 1;
    let foreign = {
        use sha2::Digest;
        let content = [7; 8192];
        [content.as_slice(), &sha2::Sha256::digest(content)].concat()
    };
    let database = fs::read(directory.path().join("data/store.redb")).unwrap();
    let cases = [
        (broken("empty", b""), "has no checksum"),
        (broken("cut", &whole[..whole.len() - 32]), "has no checksum"),
        (broken("short", &whole[..whole.len() - 4096]), "is damaged"),
        (broken("flipped", &flipped), "is damaged"),
        (broken("foreign", &foreign), "holds no database of tortie store"),
        (broken("database", &database), "has no checksum"),
        (directory.path().join("absent"), "read snapshot"),
    ];
    for (path, reason) in cases {
        let target = directory.path().join("restored");
        for error in [look(&path).unwrap_err(), restore(&path, &target).unwrap_err()] {
            let text = error.to_string();
            assert!(text.contains(reason) && text.contains(&path.display().to_string()), "{path:?}: {text}");
        }
        assert!(!target.exists(), "{path:?} leaves nothing");
    }
    let refused = restore(&file, &directory.path().join("data")).unwrap_err();
    assert!(matches!(refused, SnapshotError::NotEmpty(_)), "{refused}");
    let empty = directory.path().join("made");
    fs::create_dir(&empty).unwrap();
    restore(&file, &empty).unwrap();
}
