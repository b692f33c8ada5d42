//! Runs clients one storage step at a time, in an order that the caller chooses; tries every order.
//!
//! A client is a future over a store of its own that stops before every operation. A step performs one operation and
//! goes on to the next; between two steps a client sees nothing of the others. What a client does follows from what
//! it has read, and that from how many writes, and whose, came before each of its steps: two orders that agree in
//! this lead to the same state, and only one of them is gone on with.

use super::call::{Client, Ledger, perform};
use super::judge::Judge;
use api::event::{Entry, Key, Object, Revision};
use async_trait::async_trait;
use datastore::memory::Memory;
use datastore::{Error, Listing, Query, Scope, Store, Watch, Write};
use futures::future::LocalBoxFuture;
use futures::task::noop_waker;
use std::collections::BTreeSet;
use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

/// What happens next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Choice {
    /// A client performs its next operation.
    Step(usize),
    /// A client stops for good.
    Crash(usize),
    /// A client's next operation is performed, but the client is told that the datastore is away.
    Lose(usize),
    /// A client's next operation is not performed, and the client is told that the datastore is away.
    Refuse(usize),
}

impl Choice {
    fn client(self) -> usize {
        match self {
            Choice::Step(client) | Choice::Crash(client) | Choice::Lose(client) | Choice::Refuse(client) => client,
        }
    }
}

impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Step(client) => write!(f, "{client}"),
            Choice::Crash(client) => write!(f, "crash {client}"),
            Choice::Lose(client) => write!(f, "lose {client}"),
            Choice::Refuse(client) => write!(f, "refuse {client}"),
        }
    }
}

/// What sets a state apart: who made each write, and per client, what was written before each of its steps.
pub(crate) type Fingerprint = (Vec<usize>, Vec<Vec<(usize, char)>>);

/// Everything to choose by.
pub(crate) struct State {
    /// The clients that have something left to do.
    pub(crate) open: Vec<usize>,
    /// Those of them that write next.
    pub(crate) writing: Vec<usize>,
    pub(crate) fingerprint: Fingerprint,
}

/// What to do in a state.
pub(crate) enum Decision {
    /// Go on; the state was judged before.
    Follow(Choice),
    /// Judge the state, and go on if anybody has something left to do.
    Judge(Option<Choice>),
    /// Stop: the state was met before.
    Stop,
}

/// Runs clients over a copy of `memory` until `decide` stops, or all are done.
///
/// The error tells the choices.
pub(crate) fn run(
    memory: &Memory,
    ledger: &Ledger,
    clients: &[Client],
    judge: &mut Judge,
    mut decide: impl FnMut(&State) -> Decision,
) -> Result<(), String> {
    let ledger = Mutex::new(ledger.clone());
    let memory = memory.fork();
    let writers = Arc::new(Mutex::new(Vec::new()));
    let stores: Vec<Stepped> = (0..clients.len()).map(|client| Stepped::new(client, &memory, &writers)).collect();
    let mut futures: Vec<Option<LocalBoxFuture<'_, ()>>> = Vec::new();
    for (client, store) in clients.iter().zip(&stores) {
        futures.push(Some(Box::pin(perform(client, store, &ledger))));
    }
    let waker = noop_waker();
    let mut context = Context::from_waker(&waker);
    let mut advance = |future: &mut Option<LocalBoxFuture<'_, ()>>| {
        if future.as_mut().is_some_and(|running| running.as_mut().poll(&mut context).is_ready()) {
            *future = None;
        }
    };
    futures.iter_mut().for_each(&mut advance);
    let mut choices = Vec::new();
    loop {
        let open: Vec<usize> = (0..futures.len()).filter(|client| futures[*client].is_some()).collect();
        let state = State {
            writing: open.iter().copied().filter(|client| stores[*client].writes.load(Ordering::Relaxed)).collect(),
            open,
            fingerprint: (writers.lock().unwrap().clone(), stores.iter().map(Stepped::seen).collect()),
        };
        let told = |reason: String| format!("after {choices:?}: {reason}");
        let choice = match decide(&state) {
            Decision::Stop => return Ok(()),
            Decision::Follow(choice) => choice,
            Decision::Judge(choice) => {
                judge.moment(&memory, &ledger.lock().unwrap()).map_err(told)?;
                let Some(choice) = choice else { return judge.end(&memory, &ledger.lock().unwrap()).map_err(told) };
                choice
            }
        };
        choices.push(choice);
        let client = choice.client();
        if let Choice::Crash(_) = choice {
            stores[client].note('c');
            futures[client] = None;
        } else {
            *stores[client].fault.lock().unwrap() = Some(choice);
            advance(&mut futures[client]);
        }
    }
}

/// What may go wrong, once in each order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Faults {
    /// Nothing.
    None,
    /// One client stops before any step.
    Crash,
    /// One client stops before any step, or is told wrongly or rightly that the datastore is away.
    Any,
}

/// Tries every order of the clients' steps, with at most one fault in each; returns how many states there are.
///
/// Of orders that differ in nothing a client could see, one is tried: reads with no write between them come in the
/// clients' order, and what goes wrong without touching the datastore goes wrong at once after the client's last step.
pub(crate) fn explore(memory: &Memory, clients: &[Client], faults: Faults) -> usize {
    let mut known: BTreeSet<(Fingerprint, Past)> = BTreeSet::new();
    let mut open: Vec<Vec<Choice>> = vec![Vec::new()];
    let ledger = Ledger::of(memory);
    let mut judge = Judge::new(clients);
    while let Some(prefix) = open.pop() {
        let mut taken: Vec<Choice> = Vec::new();
        let mut past = Past::default();
        let outcome = run(memory, &ledger, clients, &mut judge, |state| {
            if let Some(choice) = prefix.get(taken.len()) {
                taken.push(*choice);
                past.note(state, *choice);
                return Decision::Follow(*choice);
            }
            if !known.insert((state.fingerprint.clone(), past)) {
                return Decision::Stop;
            }
            let mut choices = choices(state, past, faults).into_iter();
            let first = choices.next();
            if first.is_none() && !state.open.is_empty() {
                // whoever is left reads, and has read earlier in another order
                return Decision::Stop;
            }
            open.extend(choices.map(|other| [taken.as_slice(), &[other]].concat()));
            if let Some(choice) = first {
                taken.push(choice);
                past.note(state, choice);
            }
            Decision::Judge(first)
        });
        if let Err(reason) = outcome {
            panic!("{clients:?}\n{reason}");
        }
    }
    known.len()
}

/// What of the past bounds the choices.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Past {
    /// Who performed the last operation; none at the beginning.
    last: Option<usize>,
    /// Whether that was a read.
    read: bool,
    /// Whether something went wrong.
    harmed: bool,
}

impl Past {
    fn note(&mut self, state: &State, choice: Choice) {
        let client = choice.client();
        self.last = Some(client);
        self.read = matches!(choice, Choice::Step(_)) && !state.writing.contains(&client);
        self.harmed |= !matches!(choice, Choice::Step(_));
    }
}

fn choices(state: &State, past: Past, faults: Faults) -> Vec<Choice> {
    let reads = |client: usize| !state.writing.contains(&client);
    let out_of_order = |client: usize| past.read && reads(client) && past.last.is_some_and(|last| client < last);
    let mut choices: Vec<Choice> =
        state.open.iter().filter(|client| !out_of_order(**client)).map(|client| Choice::Step(*client)).collect();
    if !past.harmed && faults != Faults::None {
        let fresh = state.open.iter().copied().filter(|client| past.last.is_none_or(|last| last == *client));
        choices.extend(fresh.clone().map(Choice::Crash));
        if faults == Faults::Any {
            choices.extend(fresh.map(Choice::Refuse));
            // an answer to a read may as well be refused as lost
            choices.extend(state.writing.iter().map(|client| Choice::Lose(*client)));
        }
    }
    choices
}

/// One client's view of the store: every operation waits to be let.
pub(crate) struct Stepped {
    client: usize,
    memory: Memory,
    writers: Arc<Mutex<Vec<usize>>>,
    seen: Mutex<Vec<(usize, char)>>,
    /// Whether the operation that waits is a write.
    writes: AtomicBool,
    fault: Mutex<Option<Choice>>,
}

impl Stepped {
    fn new(client: usize, memory: &Memory, writers: &Arc<Mutex<Vec<usize>>>) -> Self {
        Stepped {
            client,
            memory: memory.clone(),
            writers: writers.clone(),
            seen: Mutex::default(),
            writes: AtomicBool::default(),
            fault: Mutex::default(),
        }
    }

    fn seen(&self) -> Vec<(usize, char)> {
        self.seen.lock().unwrap().clone()
    }

    fn note(&self, what: char) {
        let written = self.writers.lock().unwrap().len();
        self.seen.lock().unwrap().push((written, what));
    }

    /// Performs an operation when it is this client's turn.
    async fn step<T>(&self, operation: impl Future<Output = Result<T, Error>>, writes: bool) -> Result<T, Error> {
        self.writes.store(writes, Ordering::Relaxed);
        let mut stopped = false;
        poll_fn(|_| {
            let ready = std::mem::replace(&mut stopped, true);
            if ready { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let away = || Err(Error::Unavailable("the test's datastore is away".to_owned()));
        let fault = self.fault.lock().unwrap().take();
        if let Some(Choice::Refuse(_)) = fault {
            self.note('r');
            return away();
        }
        self.note(if matches!(fault, Some(Choice::Lose(_))) { 'l' } else { 's' });
        let answer = operation.await;
        if writes && answer.is_ok() {
            self.writers.lock().unwrap().push(self.client);
        }
        if let Some(Choice::Lose(_)) = fault { away() } else { answer }
    }
}

#[async_trait]
impl Store for Stepped {
    async fn get(&self, key: &Key) -> Result<Entry, Error> {
        self.step(self.memory.get(key), false).await
    }

    async fn list(&self, scope: &Scope) -> Result<(Listing, Revision), Error> {
        self.step(self.memory.list(scope), false).await
    }

    async fn read(&self, queries: &[Query]) -> Result<(Vec<Listing>, Revision), Error> {
        self.step(self.memory.read(queries), false).await
    }

    async fn create(&self, key: &Key, object: &Object) -> Result<Entry, Error> {
        self.step(self.memory.create(key, object), true).await
    }

    async fn update(&self, key: &Key, object: &Object, revision: &Revision) -> Result<Entry, Error> {
        self.step(self.memory.update(key, object, revision), true).await
    }

    async fn delete(&self, key: &Key, revision: Option<&Revision>) -> Result<(), Error> {
        self.step(self.memory.delete(key, revision), true).await
    }

    async fn transact(&self, writes: &[Write]) -> Result<Revision, Error> {
        self.step(self.memory.transact(writes), true).await
    }

    async fn watch(&self, scope: &Scope, from: &Revision) -> Result<Box<dyn Watch>, Error> {
        self.memory.watch(scope, from).await
    }
}
