//! What the differential test cannot see: sockets, the data directory, restarts, time, and slow clients.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use std::{
    error::Error,
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::Path,
    time::{Duration, Instant},
};

use common::{PATIENCE, Server, block_on, eventually};
use etcd_client::{
    AlarmAction, AlarmOptions, AlarmType, Client, CompactionOptions, DeleteOptions, EventType, GetOptions,
    LeaseGrantOptions, LeaseTimeToLiveOptions, PutOptions, Txn, TxnOp, WatchOptions, WatchResponse, WatchStream,
};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use store::{AutoCompaction, Config, ListenUrl, ServeError};
use tempfile::tempdir;
use tokio::time::timeout;

async fn value(client: &mut Client, key: &str) -> Option<String> {
    let found = client.get(key, None).await.unwrap();
    found.kvs().first().map(|kv| kv.value_str().unwrap().to_owned())
}

async fn next(stream: &mut WatchStream) -> WatchResponse {
    timeout(PATIENCE, stream.message()).await.expect("a response").unwrap().expect("the stream is open")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Starts a store that must fail, and returns the whole chain of its error.
fn refusal(config: Config) -> String {
    let ready = || panic!("the store must not start");
    let outcome: Result<(), ServeError> = block_on(store::serve(config, ready, std::future::pending()));
    let error = outcome.unwrap_err();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

fn unix(directory: &Path, name: &str) -> Vec<ListenUrl> {
    vec![ListenUrl::Unix(directory.join(name))]
}

#[test]
fn tcp_and_unix_show_one_store() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    block_on(async {
        let (mut unix, mut tcp) = (server.client().await, server.tcp_client().await);
        unix.put("k", "by unix", None).await.unwrap();
        assert_eq!(value(&mut tcp, "k").await.as_deref(), Some("by unix"));
        tcp.put("k", "by tcp", None).await.unwrap();
        assert_eq!(value(&mut unix, "k").await.as_deref(), Some("by tcp"));
        let status = tcp.status().await.unwrap();
        let members = unix.member_list().await.unwrap();
        let [member] = members.members() else { panic!("one member: {members:?}") };
        assert_eq!((member.id(), member.name()), (status.leader(), "default"));
        assert_eq!(member.client_urls(), [format!("unix://{}", server.socket.display()), server.tcp.clone()]);
        assert!(status.db_size() > 0 && status.raft_term() > 0);
        assert_eq!(
            unix.alarm(etcd_client::AlarmAction::Get, etcd_client::AlarmType::None, None).await.unwrap().alarms().len(),
            0
        );
        unix.defragment().await.unwrap();
    });
}

#[test]
fn what_is_not_served_says_so() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    block_on(async {
        let mut client = server.client().await;
        let add = client.member_add(["http://192.0.2.1:2380"], None).await.unwrap_err().to_string();
        assert!(add.contains("MemberAdd is not supported"), "{add}");
        let users = client.user_list().await.unwrap_err().to_string();
        assert!(users.contains("UserList is not supported"), "{users}");
        let lock = client.lock("l", None).await.unwrap_err();
        assert!(matches!(&lock, etcd_client::Error::GRpcStatus(status) if status.code() == tonic::Code::Unimplemented));
        assert!(lock.to_string().contains("Lock is not supported"), "{lock}");
        let leader = client.leader("e").await.unwrap_err().to_string();
        assert!(leader.contains("Leader is not supported"), "{leader}");
        let user = etcd_client::ConnectOptions::new().with_user("root", "secret");
        let login = Client::connect([&server.tcp], Some(user)).await.map(|_| ()).unwrap_err().to_string();
        assert!(login.contains("etcdserver: authentication is not enabled"), "{login}");
    });
}

#[test]
fn the_directory_and_the_socket_are_private() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    assert_eq!(mode(&directory.path().join("data")), 0o700);
    assert_eq!(mode(&directory.path().join("data/store.redb")), 0o600);
    assert_eq!(mode(&server.socket), 0o600);
    let socket = server.socket.clone();
    server.stop();
    assert!(!socket.exists(), "the socket goes with the server");
}

#[test]
fn what_was_open_to_others_is_closed() {
    let directory = tempdir().unwrap();
    let (data, socket) = (directory.path().join("data"), directory.path().join("store.sock"));
    let lock = directory.path().join("store.sock.lock");
    drop(Server::start(directory.path()));
    drop(UnixListener::bind(&socket).unwrap());
    for (path, wide) in [(&lock, 0o666), (&data.join("store.new"), 0o644), (&data.join("store.space"), 0o644)] {
        fs::write(path, "left").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(wide)).unwrap();
    }
    for (path, wide) in [(&data, 0o755), (&data.join("store.redb"), 0o644), (&socket, 0o777)] {
        fs::set_permissions(path, fs::Permissions::from_mode(wide)).unwrap();
    }
    let _server = Server::start(directory.path());
    assert_eq!((mode(&data), mode(&socket), mode(&lock)), (0o700, 0o600, 0o600));
    for entry in fs::read_dir(&data).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600, "{:?}", entry.file_name());
    }
}

#[test]
fn a_folder_made_for_a_socket_is_private() {
    let directory = tempdir().unwrap();
    let socket = directory.path().join("run/tortie/store.sock");
    let _server = Server::start_with(directory.path(), |config| {
        config.listen_client_urls = vec![ListenUrl::Unix(socket.clone())];
    });
    for made in ["run", "run/tortie"] {
        assert_eq!(mode(&directory.path().join(made)), 0o700, "{made}");
    }
    assert_eq!(mode(&socket), 0o600);
}

#[test]
fn a_folder_of_others_is_no_data_directory() {
    let directory = tempdir().unwrap();
    let common = directory.path().join("common");
    fs::create_dir_all(common.join("theirs")).unwrap();
    for wide in [0o755, 0o1777] {
        fs::set_permissions(&common, fs::Permissions::from_mode(wide)).unwrap();
        let text = refusal(Config::new(common.clone(), unix(directory.path(), "store.sock")));
        let expect =
            format!("data directory {} is open to others (mode {wide:o}) and holds \"theirs\"", common.display());
        assert!(text.starts_with(&expect), "{text}");
        assert_eq!((mode(&common), fs::read_dir(&common).unwrap().count()), (wide, 1), "nothing is touched");
    }
    // a file system of its own, as it comes from mkfs or mount
    fs::rename(common.join("theirs"), common.join("lost+found")).unwrap();
    let _server = Server::start_with(directory.path(), |config| config.data_dir = common.clone());
    assert_eq!(mode(&common), 0o700);
}

#[test]
fn a_network_address_is_refused_before_anything_is_made() {
    let directory = tempdir().unwrap();
    let data = directory.path().join("data");
    let mut urls = unix(directory.path(), "store.sock");
    urls.push("http://192.0.2.1:2379".parse().unwrap());
    let text = refusal(Config::new(data.clone(), urls));
    assert!(text.starts_with("listen on http://192.0.2.1:2379: 192.0.2.1 is not loopback"), "{text}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_directory_has_one_server() {
    let directory = tempdir().unwrap();
    let _server = Server::start(directory.path());
    let data = directory.path().join("data");
    let text = refusal(Config::new(data.clone(), unix(directory.path(), "second.sock")));
    assert_eq!(text, format!("data directory {} is in use by another store", data.display()));
    assert!(!directory.path().join("second.sock").exists());
}

#[test]
fn a_socket_is_taken_only_from_the_dead() {
    let directory = tempdir().unwrap();
    let start = |name: &str| Config::new(directory.path().join(name), unix(directory.path(), "store.sock"));
    let path = directory.path().join("store.sock");

    let answering = UnixListener::bind(&path).unwrap();
    let text = refusal(start("a"));
    assert_eq!(text, format!("listen on unix://{}: another process is listening there", path.display()));
    drop(answering);
    assert!(path.exists(), "a stale socket");
    // what a killed store of this very process number may have left, of this release or an earlier one
    let beside = directory.path().join(format!("store.sock.{}", std::process::id()));
    drop(UnixListener::bind(&beside).unwrap());
    let lock = directory.path().join("store.sock.lock");
    fs::write(&lock, "").unwrap();
    drop(Server::start(directory.path()));
    assert!(!path.exists() && !lock.exists(), "a stop leaves nothing");

    // alive, and between its steps: it holds the lock and does not answer yet
    fs::write(&lock, "").unwrap();
    let held = fs::File::open(&lock).unwrap();
    held.lock().unwrap();
    assert_eq!(refusal(start("a")), format!("listen on unix://{}: another process is listening there", path.display()));
    drop(held);

    // alive, with so many waiting that no more are let in
    let crowded = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Unix,
        nix::sys::socket::SockType::Stream,
        nix::sys::socket::SockFlag::empty(),
        None,
    )
    .unwrap();
    let address = nix::sys::socket::UnixAddr::new(&path).unwrap();
    nix::sys::socket::bind(std::os::fd::AsRawFd::as_raw_fd(&crowded), &address).unwrap();
    nix::sys::socket::listen(&crowded, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
    assert_eq!(refusal(start("a")), format!("listen on unix://{}: another process is listening there", path.display()));
    drop((waiting, crowded));
    fs::remove_file(&path).unwrap();

    fs::write(&path, "precious").unwrap();
    let text = refusal(start("b"));
    assert_eq!(text, format!("listen on unix://{}: the path exists and is not a socket", path.display()));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn what_cannot_be_opened_is_named() {
    let directory = tempdir().unwrap();
    let config = |data: &str| Config::new(directory.path().join(data), unix(directory.path(), "store.sock"));
    assert_eq!(refusal(Config { listen_client_urls: Vec::new(), ..config("none") }), "no listen URL is given");

    fs::write(directory.path().join("file"), "").unwrap();
    let text = refusal(config("file"));
    assert!(text.starts_with(&format!("create data directory {}/file: ", directory.path().display())), "{text}");

    fs::create_dir(directory.path().join("foreign")).unwrap();
    fs::write(directory.path().join("foreign/store.redb"), "not a database").unwrap();
    let text = refusal(config("foreign"));
    assert!(text.starts_with("open database ") && text.contains("foreign/store.redb: "), "{text}");

    drop(Server::start(directory.path()));
    let file = directory.path().join("data/store.redb");
    let database = Database::open(&file).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(TableDefinition::<&str, i64>::new("meta")).unwrap().insert("schema", 99).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let text = refusal(config("data"));
    assert_eq!(text, format!("database {} has schema 99, newer than 1, the newest this release reads", file.display()));
}

#[test]
fn a_restart_keeps_everything_but_the_term() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    let (before, events) = block_on(async {
        let mut client = server.client().await;
        client.lease_grant(600, Some(LeaseGrantOptions::new().with_id(5))).await.unwrap();
        client.put("a", "1", None).await.unwrap();
        client.put("a", "2", Some(PutOptions::new().with_lease(5))).await.unwrap();
        client.put("b", "1", None).await.unwrap();
        client.delete("b", None).await.unwrap();
        client.compact(2, None).await.unwrap();
        (client.status().await.unwrap(), history(&mut client, 3).await)
    });
    server.stop();

    let server = Server::start(directory.path());
    block_on(async {
        let mut client = server.client().await;
        let after = client.status().await.unwrap();
        let (old, new) = (before.header().unwrap(), after.header().unwrap());
        assert_eq!((new.cluster_id(), new.member_id()), (old.cluster_id(), old.member_id()));
        assert_eq!((new.revision(), new.raft_term()), (5, old.raft_term() + 1));
        assert_eq!(history(&mut client, 3).await, events);
        assert_eq!(client.put("a", "3", None).await.unwrap().header().unwrap().revision(), 6);
        let kv = client.get("a", None).await.unwrap().kvs()[0].clone();
        assert_eq!((kv.create_revision(), kv.version(), kv.lease()), (2, 3, 0));
        let lease = client.lease_time_to_live(5, Some(LeaseTimeToLiveOptions::new().with_keys())).await.unwrap();
        assert_eq!((lease.granted_ttl(), lease.keys().len()), (600, 0), "the last put took the key off the lease");
        let old = client.get("a", Some(GetOptions::new().with_revision(1))).await.unwrap_err().to_string();
        assert!(old.contains("required revision has been compacted"), "{old}");
    });
}

/// Reads all events from a revision to the present.
async fn history(client: &mut Client, from: i64) -> Vec<(EventType, i64, String)> {
    let until = client.status().await.unwrap().header().unwrap().revision();
    let options = WatchOptions::new().with_all_keys().with_start_revision(from);
    let mut watch = client.watch("", Some(options)).await.unwrap();
    let mut events = Vec::new();
    while events.last().is_none_or(|(_, revision, _)| *revision < until) {
        for event in next(&mut watch).await.events() {
            let kv = event.kv().unwrap();
            events.push((event.event_type(), kv.mod_revision(), kv.key_str().unwrap().to_owned()));
        }
    }
    events
}

#[test]
fn a_lease_that_runs_out_takes_its_keys() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    block_on(async {
        let mut client = server.client().await;
        let lease = client.lease_grant(2, None).await.unwrap().id();
        let kept = client.lease_grant(2, None).await.unwrap().id();
        assert!(lease > 0 && kept > 0 && lease != kept);
        for (key, lease) in [("gone/1", lease), ("gone/2", lease), ("kept", kept)] {
            client.put(key, "", Some(PutOptions::new().with_lease(lease))).await.unwrap();
        }
        let mut watch = client.watch("gone/", Some(WatchOptions::new().with_prefix())).await.unwrap();
        assert!(next(&mut watch).await.created());
        let (mut keeper, mut kept_alive) = client.lease_keep_alive(kept).await.unwrap();
        let start = Instant::now();
        let deletion = loop {
            tokio::select! {
                response = next(&mut watch) => break response,
                () = tokio::time::sleep(Duration::from_millis(500)) => {
                    keeper.keep_alive().await.unwrap();
                    assert_eq!(kept_alive.message().await.unwrap().unwrap().ttl(), 2);
                }
            }
        };
        assert!(start.elapsed() > Duration::from_millis(1500), "not before its time: {:?}", start.elapsed());
        let deleted: Vec<_> = deletion.events().iter().map(|event| (event.event_type(), event.kv().unwrap())).collect();
        let revision = deletion.header().unwrap().revision();
        assert_eq!(deleted.len(), 2, "both keys at one revision");
        for (kind, kv) in deleted {
            assert_eq!((kind, kv.mod_revision()), (EventType::Delete, revision));
        }
        assert_eq!(value(&mut client, "kept").await.as_deref(), Some(""));
        assert_eq!(client.lease_time_to_live(lease, None).await.unwrap().ttl(), -1);
        let too_late = client.lease_keep_alive(lease).await.unwrap_err().to_string();
        assert!(too_late.contains("lease not found"), "{too_late}");
    });
}

#[test]
fn a_lease_runs_out_after_a_restart_too() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    block_on(async {
        let mut client = server.client().await;
        let lease = client.lease_grant(2, None).await.unwrap().id();
        client.put("k", "", Some(PutOptions::new().with_lease(lease))).await.unwrap();
    });
    server.stop();
    let server = Server::start(directory.path());
    block_on(async {
        let mut client = server.client().await;
        assert!(value(&mut client, "k").await.is_some());
        eventually("the lease runs out", async || value(&mut client, "k").await.is_none()).await;
    });
}

#[test]
fn watches_share_a_stream() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    block_on(async {
        let mut client = server.client().await;
        let mut stream = client.watch("a", None).await.unwrap();
        assert_eq!((next(&mut stream).await.created(), stream.watch("b", None).await.is_ok()), (true, true));
        let second = next(&mut stream).await;
        assert_eq!((second.watch_id(), second.created()), (1, true));

        stream.watch("c", Some(WatchOptions::new().with_watch_id(1))).await.unwrap();
        let duplicate = next(&mut stream).await;
        assert!(duplicate.created() && duplicate.canceled());
        assert_eq!(
            (duplicate.watch_id(), duplicate.cancel_reason()),
            (-1, "mvcc: duplicate watch ID provided on the WatchStream")
        );

        for key in ["a", "b"] {
            client.put(key, "", None).await.unwrap();
        }
        assert_eq!([next(&mut stream).await.watch_id(), next(&mut stream).await.watch_id()], [0, 1]);

        stream.cancel(0).await.unwrap();
        let canceled = next(&mut stream).await;
        assert_eq!((canceled.watch_id(), canceled.canceled(), canceled.compact_revision()), (0, true, 0));
        client.put("a", "", None).await.unwrap();
        let last = client.put("b", "", None).await.unwrap();
        assert_eq!(next(&mut stream).await.watch_id(), 1, "nothing of the canceled watch");

        stream.request_progress().await.unwrap();
        let progress = next(&mut stream).await;
        assert_eq!((progress.watch_id(), progress.events().len()), (-1, 0));
        assert_eq!(progress.header().unwrap().revision(), last.header().unwrap().revision());
    });
}

#[test]
fn a_slow_watch_misses_nothing() {
    const PUTS: i64 = 600;
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    block_on(async {
        let mut client = server.client().await;
        let options = WatchOptions::new().with_prefix().with_prev_key();
        let mut stream = client.watch("k", Some(options)).await.unwrap();
        assert!(next(&mut stream).await.created());
        // nobody reads the stream while more is written than its windows and the store's queue hold
        for n in 0..PUTS {
            client.put("k", vec![n.to_le_bytes()[0]; 16 << 10], None).await.unwrap();
        }
        let mut revision = 1;
        while revision < PUTS + 1 {
            for event in next(&mut stream).await.events() {
                let kv = event.kv().unwrap();
                assert_eq!((kv.mod_revision(), kv.version()), (revision + 1, revision), "in order, without a gap");
                assert_eq!(event.prev_kv().map_or(0, |previous| previous.version()), revision - 1);
                revision += 1;
            }
        }
    });
}

#[test]
fn a_large_history_comes_in_pieces() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    block_on(async {
        let mut client = server.client().await;
        // 8 MiB: more than a client takes in one message
        for _ in 0..16 {
            client.put("big", vec![7; 512 << 10], None).await.unwrap();
        }
        assert_eq!(history(&mut client, 1).await.len(), 16);
    });
}

#[test]
fn writes_that_share_a_commit_come_in_pieces() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    block_on(async {
        let client = server.client().await;
        let mut stream = client.clone().watch("", Some(WatchOptions::new().with_all_keys())).await.unwrap();
        assert!(next(&mut stream).await.created());
        // 12 MiB at once: more than a client takes in one message
        let puts: Vec<_> = (0..64)
            .map(|n: u8| {
                let mut client = client.clone();
                tokio::spawn(async move { client.put([n], vec![n; 192 << 10], None).await.unwrap() })
            })
            .collect();
        for put in puts {
            put.await.unwrap();
        }
        let mut revision = 1;
        while revision < 65 {
            let response = next(&mut stream).await;
            for event in response.events() {
                revision += 1;
                assert_eq!(event.kv().unwrap().mod_revision(), revision);
            }
            assert_eq!(response.header().unwrap().revision(), revision, "complete to here");
        }
    });
}

#[test]
fn a_large_revision_comes_in_fragments_when_asked() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    block_on(async {
        let mut client = server.client().await;
        for n in 0..6 {
            client.put(format!("k/{n}"), vec![7; 1 << 20], None).await.unwrap();
        }
        let options = WatchOptions::new().with_prefix().with_prev_key().with_fragment();
        let mut stream = client.watch("k/", Some(options)).await.unwrap();
        assert!(next(&mut stream).await.created());
        client.delete("k/", Some(DeleteOptions::new().with_prefix())).await.unwrap();
        let mut fragments = Vec::new();
        while fragments.last() != Some(&(false, 1)) {
            let response = next(&mut stream).await.0;
            fragments.push((response.fragment, response.events.len()));
        }
        assert_eq!(fragments, [(true, 1), (true, 1), (true, 1), (true, 1), (true, 1), (false, 1)]);
    });
}

#[test]
fn a_compacted_start_is_told() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    block_on(async {
        let mut client = server.client().await;
        for _ in 0..9 {
            client.put("k", "", None).await.unwrap();
        }
        client.compact(8, Some(CompactionOptions::new().with_physical())).await.unwrap();
        let mut stream = client.watch("k", Some(WatchOptions::new().with_start_revision(3))).await.unwrap();
        assert!(next(&mut stream).await.created());
        let canceled = next(&mut stream).await;
        assert!(canceled.canceled());
        assert_eq!(canceled.compact_revision(), 8);
    });
}

/// As etcd has it since it keeps a deletion at the very revision that is compacted to (etcd-io/etcd pull request 18274);
/// before, as in Debian's 3.4.23, a watch from there missed the deletion without a word.
#[test]
fn a_watch_from_the_compacted_revision_hears_of_all_that_it_changed() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    block_on(async {
        let mut client = server.client().await;
        let physical = || Some(CompactionOptions::new().with_physical());
        for key in ["a", "b", "c"] {
            client.put(key, "", None).await.unwrap();
        }
        client.delete("a", None).await.unwrap();
        client.delete("b", Some(DeleteOptions::new().with_range("d"))).await.unwrap();
        let txn = Txn::new().and_then([TxnOp::put("a", "2", None), TxnOp::delete("b", None)]);
        client.txn(txn).await.unwrap();
        let (put, deleted) = (EventType::Put, EventType::Delete);
        let one = |kind, revision, key: &str| (kind, revision, key.to_owned());
        let a_and_c = [one(deleted, 6, "b"), one(deleted, 6, "c"), one(put, 7, "a")];
        for (compacted, expect) in [
            (5, [&[one(deleted, 5, "a")], a_and_c.as_slice()].concat()),
            (6, a_and_c.to_vec()),
            (7, a_and_c[2..].to_vec()),
        ] {
            client.compact(compacted, physical()).await.unwrap();
            assert_eq!(history(&mut client, compacted).await, expect, "from {compacted}");
            // the keys are as gone as they were
            let all = GetOptions::new().with_range([0]).with_revision(compacted);
            let there = client.get([0], Some(all)).await.unwrap();
            assert_eq!(there.count(), [2, 0, 1][usize::try_from(compacted - 5).unwrap()]);
        }
    });
    server.stop();
    let database = Database::open(directory.path().join("data/store.redb")).unwrap();
    let events =
        database.begin_read().unwrap().open_table(TableDefinition::<(i64, u32), &[u8]>::new("events")).unwrap();
    let kept: Vec<i64> = events.iter().unwrap().map(|entry| entry.unwrap().0.value().0).collect();
    assert_eq!(kept, [7], "deletions stay no longer than until the next compaction");
}

#[test]
fn old_revisions_go_by_themselves() {
    let directory = tempdir().unwrap();
    let fill = |server: &Server| {
        block_on(async {
            let mut client = server.client().await;
            for _ in 0..20 {
                client.put("k", "", None).await.unwrap();
            }
        });
    };
    let server = Server::start(directory.path());
    fill(&server);
    server.stop();
    let server = Server::start_with(directory.path(), |config| config.auto_compaction = AutoCompaction::Revisions(5));
    block_on(async {
        let mut client = server.client().await;
        // the last revision is 21
        let at = |revision| Some(GetOptions::new().with_revision(revision));
        eventually("compaction", async || client.get("k", at(15)).await.is_err()).await;
        assert_eq!(client.get("k", at(16)).await.unwrap().kvs()[0].mod_revision(), 16);
    });
    server.stop();
    // and what is compacted leaves the file
    let database = Database::open(directory.path().join("data/store.redb")).unwrap();
    let events =
        database.begin_read().unwrap().open_table(TableDefinition::<(i64, u32), &[u8]>::new("events")).unwrap();
    let kept: Vec<i64> = events.iter().unwrap().map(|entry| entry.unwrap().0.value().0).collect();
    assert_eq!(kept, [16, 17, 18, 19, 20, 21]);
}

#[test]
fn a_full_store_deletes_shrinks_and_goes_on() {
    let directory = tempdir().unwrap();
    let quota = |config: &mut Config| config.quota_backend_bytes = 1 << 20;
    let server = Server::start_with(directory.path(), quota);
    let no_space = "etcdserver: mvcc: database space exceeded";
    let revision = block_on(async {
        let mut client = server.client().await;
        let mut written = 0;
        let refused = loop {
            match client.put(format!("k/{written}"), vec![0; 20_000], None).await {
                Ok(_) => written += 1,
                Err(error) => break error.to_string(),
            }
        };
        assert!(refused.contains(no_space), "{refused}");
        assert!((20..=26).contains(&written), "{written} values, each kept twice, of the quota's 52");
        let status = client.status().await.unwrap();
        let member = status.leader();
        assert_eq!(status.0.errors, [format!("memberID:{member} alarm:NOSPACE ")], "as etcd 3.4 words it");
        // as etcd: whatever may add is refused while the alarm is on, and nothing else
        assert!(client.lease_grant(60, None).await.unwrap_err().to_string().contains(no_space));
        let put = Txn::new().or_else([TxnOp::put("k", "", None)]);
        assert!(client.txn(put).await.unwrap_err().to_string().contains(no_space));
        client.txn(Txn::new().and_then([TxnOp::delete("k/0", None)])).await.unwrap();
        let all = DeleteOptions::new().with_prefix();
        client.delete("k/", Some(all)).await.unwrap().header().unwrap().revision()
    });
    server.stop();
    let server = Server::start_with(directory.path(), quota);
    block_on(async {
        let mut client = server.client().await;
        let before = client.status().await.unwrap();
        assert_eq!(before.0.errors.len(), 1, "a restart does not disarm");
        client.compact(revision, Some(CompactionOptions::new().with_physical())).await.unwrap();
        client.defragment().await.unwrap();
        let after = client.status().await.unwrap();
        assert!(after.db_size() < before.db_size() / 5, "{} after {}", after.db_size(), before.db_size());
        assert!(after.0.db_size_in_use <= after.db_size());
        assert_eq!(
            fs::metadata(directory.path().join("data/store.redb")).unwrap().len().cast_signed(),
            after.db_size()
        );
        let refused = client.put("k", "", None).await.unwrap_err().to_string();
        assert!(refused.contains(no_space), "the alarm is on: {refused}");
        let mut disarm = AlarmOptions::new();
        disarm.with_member(after.leader());
        let disarmed = client.alarm(AlarmAction::Deactivate, AlarmType::Nospace, Some(disarm)).await.unwrap();
        assert_eq!((disarmed.alarms().len(), disarmed.alarms()[0].member_id()), (1, after.leader()));
        client.put("k", "", None).await.unwrap();
        assert_eq!(client.get("k", None).await.unwrap().count(), 1);
    });
}

#[test]
fn defragmentation_disturbs_nobody() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    block_on(async {
        let mut watch = server.client().await.watch("k/", Some(WatchOptions::new().with_prefix())).await.unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        let write = async || {
            let mut client = server.client().await;
            for number in 0..100 {
                client.put(format!("k/{number}"), vec![1; 5000], None).await.unwrap();
                client.delete(format!("k/{}", number / 2), None).await.unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        };
        let read = async || {
            let mut client = server.client().await;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                client.get("k/", Some(GetOptions::new().with_prefix())).await.unwrap();
                let status = client.status().await.unwrap();
                assert!(status.0.db_size_in_use <= status.db_size(), "{status:?}");
            }
        };
        let shrink = async || {
            let mut client = server.client().await;
            let mut times = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let revision = client.defragment().await.map(|_| ()).and(client.get("k", None).await).unwrap();
                let revision = revision.header().unwrap().revision();
                // refused when nothing was written since
                let _ = client.compact(revision, None).await;
                times += 1;
            }
            times
        };
        let ((), (), times) = tokio::join!(write(), read(), shrink());
        assert!(times > 3, "{times}");
        let (mut puts, mut last) = (0, 0);
        while puts < 100 {
            for event in next(&mut watch).await.events() {
                let revision = event.kv().unwrap().mod_revision();
                assert!(revision > last);
                last = revision;
                puts += i32::from(event.event_type() == EventType::Put);
            }
        }
    });
    server.stop();
    drop(Server::start(directory.path()));
}

#[test]
fn what_is_in_use_counts_and_not_the_file() {
    let directory = tempdir().unwrap();
    let server = Server::start_with(directory.path(), |config| config.quota_backend_bytes = 1 << 20);
    block_on(async {
        let mut client = server.client().await;
        // far more than the quota goes through, and one value at a time is kept
        for _ in 0..60 {
            let put = client.put("k", vec![0; 100_000], None).await.unwrap();
            let revision = put.header().unwrap().revision();
            client.compact(revision, Some(CompactionOptions::new().with_physical())).await.unwrap();
        }
        assert_eq!(client.status().await.unwrap().0.errors.len(), 0);
    });
}

#[test]
fn a_request_has_a_size() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    block_on(async {
        let mut client = server.client().await;
        client.put("k", vec![0; 1_500_000], None).await.unwrap();
        let refused = client.put("k", vec![0; 1_600_000], None).await.unwrap_err().to_string();
        assert!(refused.contains("etcdserver: request is too large"), "{refused}");
    });
}

#[test]
fn a_stop_does_not_wait_for_watches() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    block_on(async {
        let mut client = server.client().await;
        let mut stream = client.watch("k", None).await.unwrap();
        assert!(next(&mut stream).await.created());
        let start = Instant::now();
        tokio::task::spawn_blocking(move || server.stop()).await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(5));
        let end = timeout(PATIENCE, stream.message()).await.expect("the stream ends");
        assert!(!matches!(end, Ok(Some(_))), "{end:?}");
    });
}
