//! Keeps a consumer in step with the datastore: a snapshot, then changes, again from a snapshot when a watch is lost.

use crate::{Change, Error, Scope, Store, Watch};
use api::Event;
use futures::stream::{FuturesUnordered, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Sender;

/// Pause before another try when the datastore does not answer.
const RETRY: Duration = Duration::from_millis(500);

/// Sends events of `scopes` until the receiver is gone.
///
/// A batch is sent whole. Between `Init` and `InitDone` the consumer keeps what it had; what the snapshot does not
/// name is gone once it is complete. While the datastore is unreachable nothing is sent.
pub async fn run(store: Arc<dyn Store>, scopes: Vec<Scope>, events: Sender<Vec<Event>>) {
    let mut reachable = true;
    loop {
        match follow(&store, &scopes, &events, &mut reachable).await {
            Ok(()) => return,
            Err(error) if reachable => {
                tracing::warn!(%error, "lost the datastore; keeping the last known state");
                reachable = false;
            }
            Err(error) => tracing::debug!(%error, "the datastore is still away"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn follow(
    store: &Arc<dyn Store>,
    scopes: &[Scope],
    events: &Sender<Vec<Event>>,
    reachable: &mut bool,
) -> Result<(), Error> {
    let mut snapshot = vec![Event::Init];
    let mut watches = FuturesUnordered::new();
    for scope in scopes {
        let (listing, revision) = store.list(scope).await?;
        snapshot.extend(listing.entries.into_iter().map(Event::InitApply));
        snapshot.extend(listing.unreadable.into_iter().map(Event::Unreadable));
        watches.push(wait(store.watch(scope, &revision).await?));
    }
    snapshot.push(Event::InitDone);
    if !*reachable {
        tracing::info!("the datastore is back");
        *reachable = true;
    }
    if events.send(snapshot).await.is_err() {
        return Ok(());
    }
    while let Some((watch, changes)) = tokio::select! {
        next = watches.next() => next,
        () = events.closed() => return Ok(()),
    } {
        let batch = changes?.into_iter().map(event).collect();
        if events.send(batch).await.is_err() {
            return Ok(());
        }
        watches.push(wait(watch));
    }
    Ok(())
}

async fn wait(mut watch: Box<dyn Watch>) -> (Box<dyn Watch>, Result<Vec<Change>, Error>) {
    let changes = watch.next().await;
    (watch, changes)
}

fn event(change: Change) -> Event {
    match change {
        Change::Put(entry) => Event::Apply(entry),
        Change::Deleted(key) => Event::Delete(key),
        Change::Unreadable(unreadable) => Event::Unreadable(unreadable),
    }
}
