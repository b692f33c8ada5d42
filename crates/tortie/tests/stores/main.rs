//! Random calls have the same results, and leave the same bytes, on the embedded store and on an etcd cluster of three
//! whose members are killed and whose leader moves meanwhile.
//!
//! A call that the cluster did not answer is made again until it is answered or its bytes are those of the embedded
//! store; then only the bytes are compared. TORTIE_STORES_SECONDS (15) says for how long calls are made,
//! TORTIE_STORES_SEED repeats a run; the seed is printed.

mod calls;
mod servers;
mod snapshot;

use calls::{Call, Outcome, Side};
use servers::{Cluster, Store};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How many calls there were.
#[derive(Debug, Default)]
struct Tally {
    done: usize,
    refused: usize,
    /// Not answered by the cluster at first, whatever came of them.
    unanswered: usize,
}

/// After how many calls the stored bytes are compared.
const COMPARED: usize = 25;

/// Numbers that follow from a seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).expect("smaller than a usize")
    }
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable}={value}: not a number")))
}

/// Kills members, one at a time, and moves the leader, until it is told to end. Tells what it did.
fn trouble(cluster: &Mutex<Cluster>, mut random: Random, end: &AtomicBool) -> Vec<String> {
    let mut done = Vec::new();
    while !end.load(Ordering::Relaxed) {
        let mut cluster = cluster.lock().expect("no holder of this lock panics");
        let member = random.below(3);
        match random.below(4) {
            0 => done.push(cluster.move_leader(&mut random)),
            1 => {
                cluster.kill(member);
                // for how long it is away is a part of the trouble
                std::thread::sleep(Duration::from_millis(200 + random.below(1500) as u64));
                cluster.start_member(member);
                done.push(format!("killed m{member}"));
            }
            _ => {
                cluster.cut_off(member);
                cluster.start_member(member);
                done.push(format!("cut off m{member}"));
            }
        }
        cluster.whole();
        drop(cluster);
        std::thread::sleep(Duration::from_millis(random.below(500) as u64));
    }
    done
}

/// Whether the cluster holds what the store does; none if it cannot tell.
fn same(cluster: &Cluster, store: &Store) -> Option<Result<(), String>> {
    let (theirs, ours) = (servers::dump(&cluster.endpoints())?, servers::dump(&store.endpoint)?);
    Some(if theirs == ours { Ok(()) } else { Err(servers::difference(&theirs, &ours)) })
}

#[test]
fn the_embedded_store_is_like_a_cluster() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let seed = number("TORTIE_STORES_SEED").unwrap_or(now.as_secs()).max(1);
    let seconds = number("TORTIE_STORES_SECONDS").unwrap_or(15);
    eprintln!("TORTIE_STORES_SEED={seed} TORTIE_STORES_SECONDS={seconds}");
    let store = Store::start();
    let cluster = Cluster::start();
    let endpoints = cluster.endpoints();
    let view = cluster.view();
    let cluster = Mutex::new(cluster);
    let end = AtomicBool::new(false);
    let (tally, done) = std::thread::scope(|scope| {
        let troubles = scope.spawn(|| trouble(&cluster, Random(seed.wrapping_mul(31)), &end));
        // whatever becomes of the calls, the other thread ends
        let ended = EndOnDrop(&end);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let tally = runtime.block_on(compare(seed, seconds, &store, &view, &endpoints));
        drop(ended);
        (tally, troubles.join().expect("the trouble is over"))
    });
    eprintln!("{tally:?}; {}", done.join(", "));
    assert!(tally.done > 50 && tally.refused > 50 && done.len() > 1, "too little happened");
}

struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Makes calls on both sides.
async fn compare(seed: u64, seconds: u64, store: &Store, view: &Cluster, endpoints: &str) -> Tally {
    let mut random = Random(seed);
    let mut ours = Side::connect(&store.endpoint).await;
    let mut theirs = Side::connect(endpoints).await;
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut tally = Tally::default();
    let mut calls = 0;
    while Instant::now() < until {
        let call = Call::any(&mut random, calls);
        calls += 1;
        let expect = ours.make(&call).await;
        assert!(expect != Outcome::Unanswered, "seed {seed}, call {calls}: {call:?}: the store does not answer");
        let count = if matches!(expect, Outcome::Done(_)) { &mut tally.done } else { &mut tally.refused };
        *count += 1;
        let mut outcome = theirs.make(&call).await;
        if outcome == Outcome::Unanswered {
            tally.unanswered += 1;
            let deadline = Instant::now() + servers::PATIENCE;
            while outcome == Outcome::Unanswered && same(view, store) != Some(Ok(())) {
                assert!(Instant::now() < deadline, "seed {seed}, call {calls}: {call:?}: no answer");
                outcome = theirs.make(&call).await;
            }
        } else {
            assert_eq!(outcome, expect, "seed {seed}, call {calls}: {call:?}: the cluster, then the store");
        }
        if calls % COMPARED == 0 || outcome != expect {
            settled(view, store, &format!("seed {seed}, after call {calls}: {call:?}"));
        }
    }
    settled(view, store, &format!("seed {seed}, after call {calls}"));
    tally
}

/// Both hold the same, once the cluster tells.
fn settled(cluster: &Cluster, store: &Store, when: &str) {
    let deadline = Instant::now() + servers::PATIENCE;
    loop {
        match same(cluster, store) {
            Some(same) => return same.unwrap_or_else(|difference| panic!("{when}\n{difference}")),
            None => assert!(Instant::now() < deadline, "{when}: the cluster does not answer"),
        }
    }
}
