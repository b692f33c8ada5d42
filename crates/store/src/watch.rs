//! Watches: one task per stream, any number of watches on it.
//!
//! The task follows the groups the writer publishes. A watch that starts in the past, and a stream too slow to follow,
//! read the history from the file up to where the stream stands, and then follow. Every event of a key in range is sent
//! once, in order, and a revision is never split over two responses unless the client asked for fragments.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use etcd_client::proto::{PbEvent, PbWatchRequest, PbWatchRequestUnion, PbWatchResponse};
use prost::Message;
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        mpsc,
    },
    time::{Interval, MissedTickBehavior},
};
use tonic::{Status, Streaming};

use crate::{
    metrics::{WATCH_STREAMS, WATCHERS},
    mvcc::{
        range::KeyRange,
        record::{Event, Kind},
        storage::Snapshot,
        writing::Change,
    },
    refusal::{Failure, Fault},
    shared::{Group, Shared},
};

/// The pause between two looks, one ticker a stream, for watches that asked for `progress_notify`: one that sent nothing
/// since the look before is told the revision. So such a watch is silent for less than twice this; others may be silent
/// for ever. Not zero: tokio panics.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// Events in one response, roughly: the last revision in it is whole.
const RESPONSE_EVENTS: usize = 1000;
/// Size from which on a response is cut where it may be: etcd's request limit and its allowance for overhead.
const RESPONSE_BYTES: usize = 2 << 20;
/// etcd's id for what concerns no watch, or all.
const NO_WATCH: i64 = -1;

/// One watch.
#[derive(Debug)]
struct Watcher {
    range: KeyRange,
    /// Events of earlier revisions are not for it.
    next: i64,
    prev_kv: bool,
    progress_notify: bool,
    fragment: bool,
    no_put: bool,
    no_delete: bool,
    /// Something was sent since the last progress tick.
    busy: bool,
}

impl Watcher {
    fn wants(&self, kind: Kind, key: &[u8], revision: i64) -> bool {
        let filtered = match kind {
            Kind::Put => self.no_put,
            Kind::Delete => self.no_delete,
        };
        !filtered && revision >= self.next && self.range.contains(key)
    }
}

/// The client went away.
struct Gone;

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.metrics.add(WATCHERS, -(self.watchers.len() as f64));
        self.shared.metrics.add(WATCH_STREAMS, -1.0);
    }
}

/// A stream and its watches.
pub(crate) struct Stream {
    shared: Arc<Shared>,
    out: mpsc::Sender<Result<PbWatchResponse, Status>>,
    watchers: BTreeMap<i64, Watcher>,
    next_id: i64,
    /// Everything up to this revision has been sent.
    seen: i64,
    /// A progress request waits until this revision has been seen.
    progress_at: Option<i64>,
}

impl Stream {
    /// Serves a stream until the client leaves or the server stops.
    pub(crate) async fn run(
        shared: Arc<Shared>,
        mut requests: Streaming<PbWatchRequest>,
        out: mpsc::Sender<Result<PbWatchResponse, Status>>,
    ) {
        // subscribed first, so that no group falls between it and the snapshot; groups seen twice are skipped
        let groups = shared.events.subscribe();
        let seen = shared.snapshot().revision;
        let mut stopping = shared.stopping.subscribe();
        let closed = out.clone();
        shared.metrics.add(WATCH_STREAMS, 1.0);
        let mut stream = Self { shared, out, watchers: BTreeMap::new(), next_id: 0, seen, progress_at: None };
        tokio::select! {
            _ = stream.follow(&mut requests, groups) => {}
            () = closed.closed() => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    async fn follow(
        &mut self,
        requests: &mut Streaming<PbWatchRequest>,
        mut groups: broadcast::Receiver<Arc<Group>>,
    ) -> Result<(), Gone> {
        let mut progress = progress_interval();
        let mut listening = true;
        loop {
            tokio::select! {
                request = requests.message(), if listening => match request {
                    Ok(Some(request)) => self.handle(request).await?,
                    // a client that only stops asking still gets its events
                    Ok(None) => listening = false,
                    Err(_) => return Err(Gone),
                },
                group = groups.recv() => match group {
                    Ok(group) => self.publish(&group).await?,
                    Err(RecvError::Lagged(_)) => self.catch_up().await?,
                    Err(RecvError::Closed) => return Err(Gone),
                },
                _ = progress.tick() => self.notify_progress().await?,
            }
        }
    }

    async fn handle(&mut self, request: PbWatchRequest) -> Result<(), Gone> {
        match request.request_union {
            Some(PbWatchRequestUnion::CreateRequest(create)) => {
                // an empty key is the smallest one
                let key = if create.key.is_empty() { vec![0] } else { create.key };
                let watcher = Watcher {
                    range: KeyRange::new(&key, &create.range_end),
                    next: create.start_revision,
                    prev_kv: create.prev_kv,
                    progress_notify: create.progress_notify,
                    fragment: create.fragment,
                    // WatchCreateRequest.FilterType
                    no_put: create.filters.contains(&0),
                    no_delete: create.filters.contains(&1),
                    busy: false,
                };
                self.create(create.watch_id, watcher).await
            }
            Some(PbWatchRequestUnion::CancelRequest(cancel)) => {
                if !self.remove(cancel.watch_id) {
                    return Ok(());
                }
                let response = PbWatchResponse { watch_id: cancel.watch_id, canceled: true, ..self.response() };
                self.send(response).await
            }
            Some(PbWatchRequestUnion::ProgressRequest(_)) => {
                self.progress_at = Some(self.shared.snapshot().revision);
                self.answer_progress().await
            }
            None => Ok(()),
        }
    }

    async fn create(&mut self, asked_id: i64, mut watcher: Watcher) -> Result<(), Gone> {
        let revision = self.shared.snapshot().revision;
        let created =
            PbWatchResponse { header: self.shared.header(revision), created: true, ..PbWatchResponse::default() };
        let refusal = if watcher.range.is_empty() {
            Some("mvcc: watcher range is empty")
        } else if asked_id != 0 && self.watchers.contains_key(&asked_id) {
            Some("mvcc: duplicate watch ID provided on the WatchStream")
        } else {
            None
        };
        if let Some(reason) = refusal {
            let (watch_id, cancel_reason) = (NO_WATCH, reason.to_owned());
            return self.send(PbWatchResponse { watch_id, canceled: true, cancel_reason, ..created }).await;
        }
        let watch_id = if asked_id != 0 { asked_id } else { self.free_id() };
        self.send(PbWatchResponse { watch_id, ..created }).await?;
        if watcher.next == 0 {
            watcher.next = revision + 1;
        }
        let in_the_past = watcher.next <= self.seen;
        self.watchers.insert(watch_id, watcher);
        self.shared.metrics.add(WATCHERS, 1.0);
        if in_the_past { self.replay(watch_id, self.seen).await } else { Ok(()) }
    }

    /// Ends a watch; tells whether there was one.
    fn remove(&mut self, id: i64) -> bool {
        let removed = self.watchers.remove(&id).is_some();
        if removed {
            self.shared.metrics.add(WATCHERS, -1.0);
        }
        removed
    }

    fn free_id(&mut self) -> i64 {
        while self.watchers.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    async fn publish(&mut self, group: &Group) -> Result<(), Gone> {
        if group.revision <= self.seen {
            return Ok(());
        }
        let mut responses = Vec::new();
        for (id, watcher) in &mut self.watchers {
            let wanted = |change: &&Change| watcher.wants(change.kind, &change.kv.key, change.kv.mod_revision);
            let events: Vec<_> =
                group.changes.iter().filter(wanted).map(|change| change.to_event(watcher.prev_kv)).collect();
            watcher.busy |= !events.is_empty();
            for (revision, events) in between_revisions(events, group.revision) {
                responses.push((*id, watcher.fragment, revision, events));
            }
        }
        self.seen = group.revision;
        for (id, fragment, revision, events) in responses {
            self.send_events(id, fragment, revision, events).await?;
        }
        self.answer_progress().await
    }

    /// Reads what the groups would have brought from the file.
    async fn catch_up(&mut self) -> Result<(), Gone> {
        let revision = self.shared.snapshot().revision;
        tracing::debug!(from = self.seen, to = revision, "watch stream is too slow, reading the history");
        let ids: Vec<i64> = self.watchers.keys().copied().collect();
        for id in ids {
            if let Some(watcher) = self.watchers.get_mut(&id) {
                watcher.next = watcher.next.max(self.seen + 1);
            }
            self.replay(id, revision).await?;
        }
        self.seen = revision;
        self.answer_progress().await
    }

    /// Sends a watch its events up to a revision from the file, or cancels it when some of them have been compacted.
    async fn replay(&mut self, id: i64, to: i64) -> Result<(), Gone> {
        loop {
            let Some(watcher) = self.watchers.get_mut(&id) else { return Ok(()) };
            if watcher.next > to {
                return Ok(());
            }
            let snapshot = self.shared.snapshot();
            if watcher.next < snapshot.compacted {
                self.remove(id);
                let compact_revision = snapshot.compacted;
                let response = PbWatchResponse { watch_id: id, canceled: true, compact_revision, ..self.response() };
                return self.send(response).await;
            }
            let (events, until) = match history(&snapshot, watcher, to) {
                Ok(found) => found,
                Err(fault) => {
                    // the client learns why; an error means that it is gone
                    let _ = self.out.send(Err(Failure::Fault(fault).into())).await;
                    return Err(Gone);
                }
            };
            drop(snapshot);
            watcher.next = until + 1;
            watcher.busy |= !events.is_empty();
            let fragment = watcher.fragment;
            if !events.is_empty() {
                self.send_events(id, fragment, until, events).await?;
            }
        }
    }

    async fn send_events(
        &self,
        watch_id: i64,
        fragment: bool,
        revision: i64,
        events: Vec<PbEvent>,
    ) -> Result<(), Gone> {
        let header = self.shared.header(revision);
        let mut pieces = if fragment { cut(events) } else { vec![events] }.into_iter().peekable();
        while let Some(events) = pieces.next() {
            let fragment = pieces.peek().is_some();
            self.send(PbWatchResponse { header, watch_id, fragment, events, ..PbWatchResponse::default() }).await?;
        }
        Ok(())
    }

    /// Answers a progress request, for all watches at once, as soon as all that was written before it has been sent.
    async fn answer_progress(&mut self) -> Result<(), Gone> {
        if self.progress_at.is_some_and(|revision| revision <= self.seen) {
            self.progress_at = None;
            self.send(PbWatchResponse { watch_id: NO_WATCH, ..self.response() }).await?;
        }
        Ok(())
    }

    async fn notify_progress(&mut self) -> Result<(), Gone> {
        let mut quiet = Vec::new();
        for (id, watcher) in &mut self.watchers {
            if watcher.progress_notify && !std::mem::take(&mut watcher.busy) {
                quiet.push(*id);
            }
        }
        for watch_id in quiet {
            self.send(PbWatchResponse { watch_id, ..self.response() }).await?;
        }
        Ok(())
    }

    fn response(&self) -> PbWatchResponse {
        PbWatchResponse { header: self.shared.header(self.seen), ..PbWatchResponse::default() }
    }

    async fn send(&self, response: PbWatchResponse) -> Result<(), Gone> {
        self.out.send(Ok(response)).await.map_err(|_| Gone)
    }
}

fn progress_interval() -> Interval {
    let mut interval = tokio::time::interval(PROGRESS_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval.reset();
    interval
}

/// Reads a response's worth of a watch's events up to a revision; returns them and the revision they are complete to.
fn history(snapshot: &Snapshot, watcher: &Watcher, to: i64) -> Result<(Vec<PbEvent>, i64), Fault> {
    let view = snapshot.view();
    let (mut events, mut bytes) = (Vec::new(), 0);
    for entry in snapshot.events.range((watcher.next, 0)..=(to, u32::MAX))? {
        let (revision, record) = entry?;
        let (main, _) = revision.value();
        if is_enough(events.len(), bytes) && last_revision(&events) < main {
            return Ok((events, main - 1));
        }
        let event = Event::decode(record.value())?;
        if !watcher.wants(event.kind, event.key, main) {
            continue;
        }
        // the revision before this one may be compacted
        let wants_previous = watcher.prev_kv && main > snapshot.compacted;
        let previous = if wants_previous { view.before(event, main)? } else { None };
        bytes += record.value().len();
        events.push(Change { kind: event.kind, kv: event.to_kv(main), previous }.to_event(watcher.prev_kv));
    }
    Ok((events, to))
}

/// Cuts a group's events into responses' worth, between revisions; each comes with the revision it is complete to.
fn between_revisions(events: Vec<PbEvent>, until: i64) -> Vec<(i64, Vec<PbEvent>)> {
    let mut pieces: Vec<(i64, Vec<PbEvent>)> = Vec::new();
    let mut bytes = 0;
    for event in events {
        let revision = last_revision(std::slice::from_ref(&event));
        let size = event.encoded_len();
        match pieces.last_mut() {
            Some((_, piece)) if last_revision(piece) == revision || !is_enough(piece.len(), bytes) => {
                bytes += size;
                piece.push(event);
            }
            last => {
                if let Some((complete, _)) = last {
                    *complete = revision - 1;
                }
                bytes = size;
                pieces.push((until, vec![event]));
            }
        }
    }
    pieces
}

/// Whether a response should end at the next revision.
fn is_enough(events: usize, bytes: usize) -> bool {
    events >= RESPONSE_EVENTS || bytes >= RESPONSE_BYTES / 2
}

fn last_revision(events: &[PbEvent]) -> i64 {
    events.last().and_then(|event| event.kv.as_ref()).map_or(0, |kv| kv.mod_revision)
}

/// Cuts events into responses of a bounded size, one event at least in each.
fn cut(events: Vec<PbEvent>) -> Vec<Vec<PbEvent>> {
    let mut pieces: Vec<Vec<PbEvent>> = Vec::new();
    let mut room = 0;
    for event in events {
        let size = event.encoded_len();
        match pieces.last_mut() {
            Some(piece) if size <= room => {
                room -= size;
                piece.push(event);
            }
            Some(_) | None => {
                room = RESPONSE_BYTES.saturating_sub(size);
                pieces.push(vec![event]);
            }
        }
    }
    pieces
}
