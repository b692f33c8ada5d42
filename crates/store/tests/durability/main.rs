//! Kill -9 in the middle of writing: what was acknowledged is there afterwards.
//!
//! The killed server is this very program, started again with `STORE_TEST_DIRECTORY` set, so it has no test harness.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]
#![expect(clippy::print_stdout, reason = "a program of its own: it reports to its parent and to the reader")]

#[path = "../common/mod.rs"]
mod common;
mod load;

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use common::{block_on, unix_client};
use etcd_client::{GetOptions, WatchOptions};
use load::Load;
use store::{AutoCompaction, Config, ListenUrl};
use tokio::time::timeout;

const DIRECTORY: &str = "STORE_TEST_DIRECTORY";
const KILLS: u64 = 12;
const WRITERS: u64 = 4;

fn main() {
    match env::var_os(DIRECTORY) {
        Some(directory) => serve(Path::new(&directory)),
        None => {
            no_acknowledged_write_is_lost();
            no_event_is_missed();
        }
    }
}

/// Under a small load for a few seconds, or with `STORE_LOAD_SECONDS` under a large one for that long.
fn no_event_is_missed() {
    let number = |name: &str| env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    let load = match number("STORE_LOAD_SECONDS") {
        Some(seconds) => Load { writers: 50, watchers: 1000, time: Duration::from_secs(seconds) },
        None => Load { writers: 8, watchers: 100, time: Duration::from_secs(6) },
    };
    let seed = number("SOAK_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("SOAK_SEED={seed}");
    let directory = tempfile::tempdir().unwrap();
    println!("{}", block_on(load.run(directory.path(), seed)));
}

fn serve(directory: &Path) {
    let mut config = Config::new(directory.join("data"), vec![ListenUrl::Unix(directory.join("store.sock"))]);
    // more than any watcher of these tests is behind
    config.auto_compaction = AutoCompaction::Revisions(100_000);
    let ready = || {
        println!("ready");
        std::io::stdout().flush().unwrap();
    };
    block_on(store::serve(config, ready, std::future::pending())).unwrap();
}

/// A killed child leaves no zombie.
struct Killed(Child);

impl Killed {
    fn start(directory: &Path) -> Self {
        let mut child =
            Command::new(env::current_exe().unwrap()).env(DIRECTORY, directory).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the store starts again after a kill");
        Self(child)
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // SIGKILL; it may have died by itself
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn no_acknowledged_write_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<u64> = vec![0; usize::try_from(WRITERS).unwrap()];
    let mut revision = 1;
    for kill in 0..KILLS {
        let server = Killed::start(directory.path());
        let socket = directory.path().join("store.sock");
        block_on(async {
            check(&socket, &acknowledged, &mut revision).await;
            let writers = (0..WRITERS).map(|writer| {
                let (socket, from) = (socket.clone(), acknowledged[usize::try_from(writer).unwrap()]);
                tokio::spawn(async move { write_until_killed(&socket, writer, from).await })
            });
            let writers: Vec<_> = writers.collect();
            // at another moment of the writers' work each time
            tokio::time::sleep(Duration::from_millis(60 + 13 * kill)).await;
            drop(server);
            for (writer, task) in writers.into_iter().enumerate() {
                let reached = task.await.unwrap();
                assert!(reached > acknowledged[writer], "writer {writer} got nothing done");
                acknowledged[writer] = reached;
            }
        });
    }
    let _server = Killed::start(directory.path());
    block_on(check(&directory.path().join("store.sock"), &acknowledged, &mut revision));
    println!("{KILLS} kills, {} acknowledged writes, none lost", acknowledged.iter().sum::<u64>());
}

/// Counts a writer's key up, one acknowledged write after the other; returns the last acknowledged number.
async fn write_until_killed(socket: &Path, writer: u64, from: u64) -> u64 {
    let mut client = unix_client(socket).await;
    let mut reached = from;
    loop {
        let next = (reached + 1).to_string();
        match timeout(common::PATIENCE, client.put(key(writer), next, None)).await.expect("an answer or an error") {
            Ok(_) => reached += 1,
            Err(_) => return reached,
        }
    }
}

/// Each key has its acknowledged number, or the next, whose acknowledgement the kill cut off; the history is whole.
async fn check(socket: &Path, acknowledged: &[u64], revision: &mut i64) {
    let mut client = unix_client(socket).await;
    for (writer, acknowledged) in (0..).zip(acknowledged) {
        let found = client.get(key(writer), None).await.unwrap();
        let number: u64 = found.kvs().first().map_or(0, |kv| kv.value_str().unwrap().parse().unwrap());
        assert!(
            (*acknowledged..=acknowledged + 1).contains(&number),
            "writer {writer}: acknowledged {acknowledged}, found {number}"
        );
    }
    let all = client.get("w/", Some(GetOptions::new().with_prefix())).await.unwrap();
    let reached = all.header().unwrap().revision();
    assert!(reached >= *revision, "revisions go on from {revision}, not {reached}");
    if reached > *revision {
        let options = WatchOptions::new().with_prefix().with_start_revision(*revision + 1);
        let mut watch = client.watch("w/", Some(options)).await.unwrap();
        let mut next = *revision + 1;
        while next <= reached {
            let response = timeout(common::PATIENCE, watch.message()).await.unwrap().unwrap().unwrap();
            for event in response.events() {
                assert_eq!(event.kv().unwrap().mod_revision(), next, "every revision has its event");
                next += 1;
            }
        }
    }
    *revision = reached;
}

fn key(writer: u64) -> String {
    format!("w/{writer}")
}
