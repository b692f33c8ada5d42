//! Many writers and watchers while the server is killed again and again: nothing acknowledged is lost, and no watcher
//! misses an event, sees one twice, or out of order.
//!
//! Each writer counts a key up, so that a watcher can tell from the values alone what it should see next.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use etcd_client::{Client, WatchOptions};
use tokio::time::{sleep, timeout};
use tonic::transport::Endpoint;

use crate::{Killed, common::PATIENCE};

/// How many there are, and for how long.
pub(crate) struct Load {
    pub(crate) writers: usize,
    pub(crate) watchers: usize,
    pub(crate) time: Duration,
}

/// Pause between two writes of a writer.
const PACE: Duration = Duration::from_millis(20);
/// Pause before another attempt to reach a server that is being started.
const AGAIN: Duration = Duration::from_millis(10);
/// Watches that share a connection.
const SHARE: usize = 50;
/// Every so many watchers follow all writers, the others one.
const ALL: usize = 50;
/// The server lives between these, in milliseconds.
const LIFE: (u64, u64) = (200, 4000);

/// What all know of each other.
struct State {
    socket: PathBuf,
    /// The last acknowledged number of each writer.
    acknowledged: Vec<AtomicU64>,
    /// Writers stop.
    over: AtomicBool,
    /// Events that watchers have seen.
    events: AtomicU64,
}

impl Load {
    /// Runs, from a seed that is told.
    pub(crate) async fn run(&self, directory: &Path, seed: u64) -> String {
        let state = Arc::new(State {
            socket: directory.join("store.sock"),
            acknowledged: (0..self.writers).map(|_| AtomicU64::new(0)).collect(),
            over: AtomicBool::new(false),
            events: AtomicU64::new(0),
        });
        let writers: Vec<_> = (0..self.writers).map(|writer| tokio::spawn(write(state.clone(), writer))).collect();
        let groups = (0..self.watchers).collect::<Vec<_>>();
        let groups = groups.chunks(SHARE).map(<[usize]>::to_vec);
        let watchers: Vec<_> = groups.map(|group| tokio::spawn(watch_group(state.clone(), group))).collect();

        let mut random = seed;
        let start = Instant::now();
        let mut kills = 0;
        let mut server = Killed::start(directory);
        while start.elapsed() < self.time {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let life = Duration::from_millis(LIFE.0 + (random >> 33) % (LIFE.1 - LIFE.0));
            sleep(life.min(self.time.saturating_sub(start.elapsed()))).await;
            drop(server);
            kills += 1;
            server = Killed::start(directory);
        }
        state.over.store(true, Ordering::Release);
        for writer in writers {
            writer.await.unwrap();
        }
        for group in watchers {
            timeout(PATIENCE * 3, group).await.expect("the watchers see all that was written").unwrap();
        }
        drop(server);
        let written: u64 = state.acknowledged.iter().map(|count| count.load(Ordering::Acquire)).sum();
        let events = state.events.load(Ordering::Acquire);
        format!(
            "{} watchers, {} writers, {kills} kills in {:?}: {written} writes, none lost; {events} events, none missed",
            self.watchers,
            self.writers,
            start.elapsed()
        )
    }
}

/// A client of the server, as soon as there is one.
async fn connect(socket: &Path) -> Client {
    let start = Instant::now();
    loop {
        let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display())).unwrap();
        if let Ok(channel) = endpoint.connect().await {
            return Client::from_channel(etcd_client::Channel::Tonic(channel), None).await.unwrap();
        }
        assert!(start.elapsed() < PATIENCE, "the server is not started again");
        sleep(AGAIN).await;
    }
}

fn key(writer: usize) -> String {
    format!("load/{writer}")
}

fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

/// Counts a key up until it is over. After a failure the key says whether the write before had been carried out.
async fn write(state: Arc<State>, writer: usize) {
    let acknowledged = &state.acknowledged[writer];
    let mut client = connect(&state.socket).await;
    while !state.over.load(Ordering::Acquire) {
        let next = acknowledged.load(Ordering::Acquire) + 1;
        let put = timeout(PATIENCE, client.put(key(writer), next.to_string(), None)).await;
        if put.expect("an answer or an error").is_ok() {
            acknowledged.store(next, Ordering::Release);
            sleep(PACE).await;
            continue;
        }
        let found = loop {
            client = connect(&state.socket).await;
            if let Ok(found) = client.get(key(writer), None).await {
                break found.kvs().first().map_or(0, |kv| number(kv.value()));
            }
        };
        assert!(next - 1 <= found && found <= next, "writer {writer}: acknowledged {}, found {found}", next - 1);
        acknowledged.store(found, Ordering::Release);
    }
}

/// What a watcher has seen.
struct Watcher {
    /// The writer that it follows; all if none.
    of: Option<usize>,
    /// Its next event is of this revision or a later one.
    next: i64,
    /// The last number of each writer.
    seen: Vec<u64>,
}

impl Watcher {
    /// Takes an event; it must be the next of its writer.
    fn take(&mut self, writer: usize, number: u64, revision: i64) {
        assert!(revision >= self.next, "revision {revision} again, or out of order, where {} is next", self.next);
        self.next = revision;
        assert_eq!(number, self.seen[writer] + 1, "writer {writer}: the next event");
        self.seen[writer] = number;
    }

    fn is_complete(&self, state: &State) -> bool {
        let done = |writer: usize| self.seen[writer] >= state.acknowledged[writer].load(Ordering::Acquire);
        state.over.load(Ordering::Acquire) && self.of.map_or_else(|| (0..self.seen.len()).all(done), done)
    }
}

/// Watches on one connection, made again whenever it breaks.
async fn watch_group(state: Arc<State>, group: Vec<usize>) {
    let writers = state.acknowledged.len();
    let watcher = |place: usize| Watcher {
        of: (!place.is_multiple_of(ALL)).then_some(place % writers),
        next: 1,
        seen: vec![0; writers],
    };
    let mut watchers: Vec<Watcher> = group.into_iter().map(watcher).collect();
    while !watchers.iter().all(|watcher| watcher.is_complete(&state)) {
        let client = connect(&state.socket).await;
        let all = watchers.iter_mut().map(|watcher| follow(&state, client.clone(), watcher));
        futures::future::join_all(all).await;
    }
}

/// Follows until the stream breaks, or the watcher has seen everything.
async fn follow(state: &State, mut client: Client, watcher: &mut Watcher) {
    let (name, options) = match watcher.of {
        Some(writer) => (key(writer), WatchOptions::new()),
        None => ("load/".to_owned(), WatchOptions::new().with_prefix()),
    };
    let options = options.with_start_revision(watcher.next);
    let Ok(mut stream) = client.watch(name, Some(options)).await else { return };
    while !watcher.is_complete(state) {
        // looked at again now and then, because the last event may have come before it was over
        let message = match timeout(Duration::from_secs(1), stream.message()).await {
            Ok(Ok(Some(message))) => message,
            Ok(_) => return,
            Err(_) => continue,
        };
        assert!(!message.canceled(), "the watch is not cancelled: {message:?}");
        for event in message.events() {
            let kv = event.kv().unwrap();
            let writer = kv.key_str().unwrap().strip_prefix("load/").unwrap().parse().unwrap();
            watcher.take(writer, number(kv.value()), kv.mod_revision());
            state.events.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(last) = message.events().last() {
            watcher.next = last.kv().unwrap().mod_revision() + 1;
        }
    }
}
