//! What a consumer is told, whatever happens to lists, watches and the consumer: a model is followed in random programs.

mod model;

use api::event::{Event, Key};
use api::resource::Kind;
use datastore::{Scope, syncer};
use model::{Model, Value};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// What a program does.
#[derive(Clone, Debug)]
enum Step {
    Put(Key),
    Spoil(Key),
    Delete(Key),
    Compact,
    /// Watches end, and lists too.
    Break {
        lists: bool,
    },
    /// The next requests fail.
    Fail(u64),
    /// The consumer takes batches, as many as are there.
    Take(usize),
    /// Others get their turn.
    Yield(usize),
    /// Some milliseconds go by.
    Pass(u64),
}

fn scopes() -> Vec<Scope> {
    vec![Scope::Kind(Kind::IPPool), Scope::Blocks, Scope::Handles]
}

fn key() -> impl Strategy<Value = Key> {
    (0..3, 0..8).prop_map(|(scope, index)| match scope {
        0 => Key::global(Kind::IPPool, &format!("pool-{index}")),
        1 => Key::Block(format!("10.0.{index}.0/26").parse().expect("a CIDR")),
        _ => Key::Handle(format!("handle-{index}")),
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => key().prop_map(Step::Put),
        1 => key().prop_map(Step::Spoil),
        4 => key().prop_map(Step::Delete),
        1 => Just(Step::Compact),
        2 => any::<bool>().prop_map(|lists| Step::Break { lists }),
        1 => (1..4u64).prop_map(Step::Fail),
        3 => (1..4usize).prop_map(Step::Take),
        6 => (1..8usize).prop_map(Step::Yield),
        2 => (1..800u64).prop_map(Step::Pass),
    ]
}

/// What the consumer makes of events; it finds fault with those that no datastore could have had.
#[derive(Default)]
struct Consumer {
    begun: bool,
    in_sync: bool,
    /// What is there, as told: the revision, or none where it cannot be read.
    state: BTreeMap<Key, Option<u64>>,
    /// The last revision told of each key.
    newest: BTreeMap<Key, u64>,
}

impl Consumer {
    /// Takes an event; `untouched` is what the store has held since before it was followed.
    fn take(&mut self, event: Event, untouched: &BTreeMap<Key, Value>) {
        assert!(self.begun || event == Event::Init, "{event:?} before the beginning");
        match event {
            Event::Init => assert!(!std::mem::replace(&mut self.begun, true), "it begins twice"),
            Event::InitDone => {
                assert!(!std::mem::replace(&mut self.in_sync, true), "it is in sync twice");
                for (key, value) in untouched {
                    let expect = value.readable.then_some(value.revision);
                    assert_eq!(self.state.get(key), Some(&expect), "{key:?} when in sync");
                }
            }
            Event::InitApply(entry) | Event::Apply(entry) => {
                let revision = entry.revision.0.parse().expect("a number");
                let before = self.newest.insert(entry.key.clone(), revision);
                assert!(before.is_none_or(|before| before < revision), "{:?}: {before:?}, then {revision}", entry.key);
                self.state.insert(entry.key, Some(revision));
            }
            Event::Delete(key) => drop(self.state.remove(&key)),
            Event::Unreadable(unreadable) => drop(self.state.insert(unreadable.key, None)),
        }
    }
}

/// Follows a store that holds `before`, each readable or not, while a program runs.
async fn follow(before: &[(Key, bool)], program: &[Step], shuffle: u64) {
    let model = Model::default();
    for (key, readable) in before {
        model.put(key, *readable);
    }
    model.content().shuffle = shuffle;
    let mut untouched = model.content().values.clone();
    let (events, mut batches) = mpsc::channel(1);
    let syncer = tokio::spawn(syncer::run(Arc::new(model.clone()), scopes(), events));
    let mut consumer = Consumer::default();
    for step in program {
        match step {
            Step::Put(key) | Step::Spoil(key) => {
                model.put(key, matches!(step, Step::Put(_)));
                untouched.remove(key);
            }
            Step::Delete(key) => {
                model.delete(key);
                untouched.remove(key);
            }
            Step::Compact => model.compact(),
            Step::Break { lists } => model.break_all(*lists),
            Step::Fail(count) => model.content().failing += count,
            Step::Take(count) => {
                for batch in (0..*count).map_while(|_| batches.try_recv().ok()) {
                    batch.into_iter().for_each(|event| consumer.take(event, &untouched));
                }
            }
            Step::Yield(count) => {
                for _ in 0..*count {
                    tokio::task::yield_now().await;
                }
            }
            Step::Pass(milliseconds) => tokio::time::sleep(Duration::from_millis(*milliseconds)).await,
        }
    }
    // what failed is tried again every half second, and time is not real
    while let Ok(Some(batch)) = tokio::time::timeout(Duration::from_secs(60), batches.recv()).await {
        batch.into_iter().for_each(|event| consumer.take(event, &untouched));
    }
    assert!(consumer.in_sync, "never in sync");
    let content = model.content();
    let stored: BTreeMap<Key, Option<u64>> =
        content.values.iter().map(|(key, value)| (key.clone(), value.readable.then_some(value.revision))).collect();
    assert_eq!(consumer.state, stored);
    syncer.abort();
}

fn run(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().expect("a runtime").block_on(test);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_consumer_ends_with_what_is_stored(
        before in prop::collection::vec((key(), prop::bool::weighted(0.9)), 0..40),
        program in prop::collection::vec(step(), 0..120),
        shuffle: u64,
    ) {
        run(follow(&before, &program, shuffle));
    }
}

fn handle(index: usize) -> Key {
    Key::Handle(format!("handle-{index:06}"))
}

/// Lets the syncer do what it can.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(5)).await;
}

#[test]
fn a_slow_consumer_is_told_the_last_change_of_each_key() {
    run(async {
        let model = Model::default();
        let (events, mut batches) = mpsc::channel(1);
        let syncer = tokio::spawn(syncer::run(Arc::new(model.clone()), scopes(), events));
        assert_eq!(batches.recv().await.expect("a batch")[0], Event::Init);
        settle().await;
        for round in 0..10_000 {
            model.put(&handle(round % 3), true);
            tokio::task::yield_now().await;
        }
        settle().await;
        let mut told = Vec::new();
        while let Ok(Some(batch)) = tokio::time::timeout(Duration::from_secs(60), batches.recv()).await {
            told.extend(batch);
        }
        // what was in the channel already, and the last of each key
        assert!(told.len() <= 8, "{} events of 10,000 changes", told.len());
        for index in 0..3 {
            let last = model.content().values[&handle(index)].revision.to_string();
            assert!(told.iter().any(|event| matches!(event, Event::Apply(entry) if entry.revision.0 == last)));
        }
        syncer.abort();
    });
}

#[test]
fn what_waits_for_a_slow_consumer_has_an_end() {
    const KEYS: usize = 50_000;
    run(async {
        let model = Model::default();
        (0..KEYS).for_each(|index| model.put(&handle(index), true));
        let (events, mut batches) = mpsc::channel(1);
        let syncer = tokio::spawn(syncer::run(Arc::new(model.clone()), scopes(), events));
        settle().await;
        let told = model.content().told;
        assert!(told <= 4000, "{told} were read for a consumer that took nothing");
        let mut count = 0;
        while let Ok(Some(batch)) = tokio::time::timeout(Duration::from_secs(60), batches.recv()).await {
            assert!(batch.len() <= 1000, "{}", batch.len());
            count += batch.len();
        }
        assert_eq!(count, KEYS + 2, "each once, and the two marks");

        // the answer of a watch is taken whole, but no other one while it waits
        (0..KEYS).for_each(|index| model.put(&handle(index), true));
        settle().await;
        model.content().told = 0;
        (0..KEYS).for_each(|index| model.put(&handle(index), true));
        settle().await;
        assert_eq!(model.content().told, 0, "nothing is read before something is taken");
        syncer.abort();
    });
}

#[test]
fn a_lost_watch_is_taken_up_and_not_listed_again() {
    run(async {
        let model = Model::default();
        (0..100).for_each(|index| model.put(&handle(index), true));
        let (events, mut batches) = mpsc::channel(1);
        let syncer = tokio::spawn(syncer::run(Arc::new(model.clone()), scopes(), events));
        let mut all = Vec::new();
        while all.last() != Some(&Event::InitDone) {
            all.extend(batches.recv().await.expect("a batch"));
        }
        settle().await;
        for round in 0..3 {
            model.content().told = 0;
            model.break_all(true);
            model.put(&handle(7), true);
            let batch = batches.recv().await.expect("a batch");
            assert!(matches!(batch.as_slice(), [Event::Apply(entry)] if entry.key == handle(7)), "{round}: {batch:?}");
            settle().await;
            assert_eq!(model.content().told, 1, "{round}: only the change is read");
        }
        // once forgotten, it is listed, and only what differs is told
        model.break_all(true);
        model.put(&handle(8), true);
        model.delete(&handle(9));
        model.compact();
        let mut told = batches.recv().await.expect("a batch");
        while told.len() < 2 {
            told.extend(batches.recv().await.expect("a batch"));
        }
        assert!(
            matches!(told.as_slice(), [Event::Apply(entry), Event::Delete(gone)] if entry.key == handle(8) && *gone == handle(9)),
            "{told:?}"
        );
        syncer.abort();
    });
}
