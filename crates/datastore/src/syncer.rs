//! Keeps a consumer in step with the datastore: one ordered stream over all scopes, a snapshot and then changes.
//!
//! Each scope is followed by itself: listed a page at a time, then watched. A watch that is lost is taken up where it
//! ended; if that fails, the scope is listed again, and only what is different is told. What waits for a slow consumer
//! is put together, one change for each key, and when much waits nothing more is read: a consumer that is slow for
//! long finds what it missed in a list, as the datastore forgets it.
//!
//! Nothing here is larger than the keys of the scopes (for knowing what is gone), `WAITING` changes, a page, and an
//! answer of each watch.

mod queue;

use crate::{Change, Error, Listing, Scope, Store, Watch};
use api::{Event, Key, Revision};
use queue::Queue;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::sync::{Notify, Semaphore};

/// Pause before another try when the datastore does not answer.
const RETRY: Duration = Duration::from_millis(500);

/// How many changes wait for the consumer before nothing more is read.
const WAITING: usize = 2000;

/// How many events a batch has at most.
const BATCH: usize = 1000;

/// Sends events of `scopes` until the receiver is gone.
///
/// First comes `Init`, once; then what the scopes hold, as `InitApply`; `InitDone`, once, when each was read to its
/// end; then what changes. A key's changes come in their order, the last of them always; of those that the consumer did
/// not take in time only the last comes, in the place of the first. What is read while the datastore comes back is
/// compared with what was told: nothing is told twice. While the datastore is unreachable nothing is sent.
///
/// Give it a channel of one batch: what is in the channel cannot be put together any more.
pub async fn run(store: Arc<dyn Store>, scopes: Vec<Scope>, events: Sender<Vec<Event>>) {
    let stream = Stream::new(scopes.len());
    let followers = scopes.iter().enumerate().map(|(index, scope)| stream.follow(store.as_ref(), index, scope));
    let follow_all = async {
        futures::future::join_all(followers).await;
        std::future::pending().await
    };
    tokio::select! {
        () = follow_all => {}
        () = stream.deliver(&events) => {}
    }
}

/// What the followers of all scopes share.
struct Stream {
    queue: Mutex<Queue>,
    /// Something waits in the queue.
    filled: Notify,
    /// Something was taken from the queue.
    drained: Notify,
    /// One scope is listed at a time.
    listing: Semaphore,
    /// The scopes that cannot be read.
    lost: Mutex<BTreeSet<usize>>,
}

impl Stream {
    fn new(scopes: usize) -> Stream {
        Stream {
            queue: Mutex::new(Queue::new(scopes)),
            filled: Notify::new(),
            drained: Notify::new(),
            listing: Semaphore::new(1),
            lost: Mutex::default(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no holder of this lock panics")
    }

    /// Sends what waits whenever the consumer has room, until it is gone.
    async fn deliver(&self, events: &Sender<Vec<Event>>) {
        while let Ok(room) = events.reserve().await {
            let batch = loop {
                let filled = self.filled.notified();
                let batch = self.queue().take(BATCH);
                if !batch.is_empty() {
                    break batch;
                }
                tokio::select! {
                    () = filled => {}
                    () = events.closed() => return,
                }
            };
            room.send(batch);
            self.drained.notify_waiters();
        }
    }

    /// Tells what a scope holds and how it changes.
    async fn follow(&self, store: &dyn Store, index: usize, scope: &Scope) {
        let mut known = Known::default();
        let mut synced = false;
        loop {
            match self.list(store, scope, &mut known).await {
                Ok(revision) => {
                    self.found(index);
                    if !std::mem::replace(&mut synced, true) {
                        self.queue().synced();
                        self.filled.notify_waiters();
                    }
                    self.watch(store, index, scope, &mut known, revision).await;
                }
                Err(error) => self.lost(index, &error),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Tells what a scope holds, as far as it is not known; answers the revision to watch from.
    async fn list(&self, store: &dyn Store, scope: &Scope, known: &mut Known) -> Result<Revision, Error> {
        let _turn = self.listing.acquire().await.expect("it is never closed");
        known.round += 1;
        let mut pages = store.pages(scope).await?;
        while let Some(page) = pages.next().await? {
            let Listing { entries, unreadable } = page;
            let found = entries.into_iter().map(Change::Put).chain(unreadable.into_iter().map(Change::Unreadable));
            self.tell(found, known);
            self.room().await;
        }
        let gone = known.gone();
        self.tell(gone.into_iter().map(Change::Deleted), known);
        Ok(pages.revision())
    }

    /// Tells how a scope changes, as long as each watch tells something before it ends.
    async fn watch(&self, store: &dyn Store, index: usize, scope: &Scope, known: &mut Known, mut from: Revision) {
        let mut resumed = false;
        loop {
            let mut watch = match store.watch(scope, &from).await {
                Ok(watch) => watch,
                Err(error) => return self.lost(index, &error),
            };
            let (told, error) = self.tell_changes(watch.as_mut(), known).await;
            tracing::debug!(?scope, %error, "a watch ended");
            match watch.told() {
                // the first one came after a list, which is as good
                Some(revision) if told || !resumed => from = revision,
                Some(_) | None => return,
            }
            resumed = true;
        }
    }

    /// Tells a watch's changes until it ends; answers whether there were any, and why it ended.
    async fn tell_changes(&self, watch: &mut dyn Watch, known: &mut Known) -> (bool, Error) {
        let mut told = false;
        loop {
            self.room().await;
            match watch.next().await {
                Ok(changes) => self.tell(changes, known),
                Err(error) => return (told, error),
            }
            told = true;
        }
    }

    /// Puts into the queue what is not known.
    fn tell(&self, changes: impl IntoIterator<Item = Change>, known: &mut Known) {
        let mut queue = self.queue();
        for change in changes {
            if known.note(&change) {
                queue.push(change);
            }
        }
        drop(queue);
        self.filled.notify_waiters();
    }

    /// Waits until not too much waits.
    async fn room(&self) {
        loop {
            let drained = self.drained.notified();
            if self.queue().len() < WAITING {
                return;
            }
            drained.await;
        }
    }

    fn lost(&self, index: usize, error: &Error) {
        let mut lost = self.lost.lock().expect("no holder of this lock panics");
        if lost.is_empty() {
            tracing::warn!(%error, "lost the datastore; keeping the last known state");
        } else {
            tracing::debug!(%error, "the datastore is still away");
        }
        lost.insert(index);
    }

    fn found(&self, index: usize) {
        let mut lost = self.lost.lock().expect("no holder of this lock panics");
        if lost.remove(&index) && lost.is_empty() {
            tracing::info!("the datastore is back");
        }
    }
}

/// What was told of a scope.
#[derive(Default)]
struct Known {
    /// Each key that is there, with the revision that was told and the list that named it last.
    keys: BTreeMap<Key, (Revision, u64)>,
    /// Which list this is.
    round: u64,
}

impl Known {
    /// Notes a change; answers whether it is one.
    fn note(&mut self, change: &Change) -> bool {
        let (key, revision) = match change {
            Change::Put(entry) => (&entry.key, entry.revision.clone()),
            // without a revision it differs from all
            Change::Unreadable(unreadable) => (&unreadable.key, Revision::default()),
            Change::Deleted(key) => return self.keys.remove(key).is_some(),
        };
        let news =
            matches!(change, Change::Unreadable(_)) || self.keys.get(key).is_none_or(|(told, _)| *told != revision);
        self.keys.insert(key.clone(), (revision, self.round));
        news
    }

    /// The keys that the list, which is at its end, did not name.
    fn gone(&self) -> Vec<Key> {
        self.keys.iter().filter(|(_, (_, round))| *round != self.round).map(|(key, _)| key.clone()).collect()
    }
}
