//! Writing: the open database transaction of a group of requests, and what each request does in it.
//!
//! Requests are applied one after the other, each at its own revision, and each checks everything it can be refused
//! for before its first write, so a refused one leaves nothing behind. Only a [`Fault`] can strike midway, and it costs
//! the whole group.

use etcd_client::proto::{
    PbDeleteRequest, PbDeleteResponse, PbEvent, PbKeyValue, PbPutRequest, PbPutResponse, PbResponseOp, PbTxnOpRequest,
    PbTxnOpResponse, PbTxnRequest, PbTxnRequestOp, PbTxnResponse,
};
use redb::{ReadableTable, Table, WriteTransaction};

use super::{
    range::KeyRange,
    record::{Event, Kind, Live, Revision},
    storage::{self, CURRENT, CurrentKey, CurrentValue, EVENTS, EventKey, EventValue, LEASE_KEYS, LEASES, META, meta},
    view::{View, header},
};
use crate::refusal::{Failure, Fault, Refusal};

/// etcd's upper bound of a lease's seconds.
const MAX_LEASE_SECONDS: i64 = 9_000_000_000;
/// etcd's lower bound: one and a half times its default election timeout of one second, rounded up.
const MIN_LEASE_SECONDS: i64 = 2;

/// An event with the pair its key was before the request, as watches want it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    pub(crate) kind: Kind,
    pub(crate) kv: PbKeyValue,
    pub(crate) previous: Option<PbKeyValue>,
}

impl Change {
    pub(crate) fn to_event(&self, with_previous: bool) -> PbEvent {
        PbEvent {
            r#type: match self.kind {
                Kind::Put => 0,
                Kind::Delete => 1,
            },
            kv: Some(self.kv.clone()),
            prev_kv: self.previous.clone().filter(|_| with_previous),
        }
    }
}

type CurrentTable<'txn> = Table<'txn, CurrentKey, CurrentValue>;
type EventTable<'txn> = Table<'txn, EventKey, EventValue>;

/// The tables of one write transaction, and how far it has come.
pub(crate) struct Writing<'txn> {
    current: CurrentTable<'txn>,
    events: EventTable<'txn>,
    leases: Table<'txn, i64, i64>,
    lease_keys: Table<'txn, (i64, &'static [u8]), ()>,
    meta: Table<'txn, &'static str, i64>,
    /// Revision after the last finished request.
    revision: i64,
    compacted: i64,
    /// Events of the request being applied.
    changes: Vec<Change>,
    /// Events of the finished requests.
    finished: Vec<Change>,
    dirty: bool,
}

impl<'txn> Writing<'txn> {
    pub(crate) fn open(transaction: &'txn WriteTransaction) -> Result<Self, Fault> {
        let meta = transaction.open_table(META)?;
        Ok(Self {
            revision: storage::number(&meta, meta::REVISION)?,
            compacted: storage::number(&meta, meta::COMPACTED)?,
            current: transaction.open_table(CURRENT)?,
            events: transaction.open_table(EVENTS)?,
            leases: transaction.open_table(LEASES)?,
            lease_keys: transaction.open_table(LEASE_KEYS)?,
            meta,
            changes: Vec::new(),
            finished: Vec::new(),
            dirty: false,
        })
    }

    /// Closes the tables; returns the events to publish, or nothing when there is nothing to commit.
    pub(crate) fn close(mut self) -> Result<Option<Vec<Change>>, Fault> {
        if !self.dirty {
            return Ok(None);
        }
        self.meta.insert(meta::REVISION, self.revision)?;
        Ok(Some(self.finished))
    }

    pub(crate) fn put(&mut self, request: &PbPutRequest) -> Result<PbPutResponse, Failure> {
        self.check_lease(request.lease)?;
        self.check_ignored(request)?;
        let response = self.apply_put(request)?;
        self.finish();
        Ok(response)
    }

    pub(crate) fn delete(&mut self, request: &PbDeleteRequest) -> Result<PbDeleteResponse, Failure> {
        let response = self.apply_delete(request)?;
        self.finish();
        Ok(response)
    }

    pub(crate) fn txn(&mut self, request: &PbTxnRequest) -> Result<PbTxnResponse, Failure> {
        let chosen = Chosen::new(self.view(), request)?;
        self.check_puts(&chosen)?;
        chosen.check_ranges(self.view())?;
        let mut response = self.apply_txn(&chosen)?;
        response.header = Some(header(self.reached()));
        self.finish();
        Ok(response)
    }

    /// Records a lease; returns its seconds.
    pub(crate) fn grant(&mut self, id: i64, seconds: i64) -> Result<i64, Failure> {
        if seconds > MAX_LEASE_SECONDS {
            return Err(Refusal::LeaseTtlTooLarge.into());
        }
        if self.has_lease(id)? {
            return Err(Refusal::LeaseExists.into());
        }
        let seconds = seconds.max(MIN_LEASE_SECONDS);
        self.leases.insert(id, seconds)?;
        self.dirty = true;
        Ok(seconds)
    }

    pub(crate) fn has_lease(&self, id: i64) -> Result<bool, Fault> {
        Ok(self.leases.get(id)?.is_some())
    }

    /// Forgets a lease and deletes its keys, all at one revision, which is returned.
    pub(crate) fn revoke(&mut self, id: i64) -> Result<i64, Failure> {
        if self.leases.remove(id)?.is_none() {
            return Err(Refusal::LeaseNotFound.into());
        }
        self.dirty = true;
        for key in storage::attached_keys(&self.lease_keys, id)? {
            self.apply_delete(&PbDeleteRequest { key, ..PbDeleteRequest::default() })?;
        }
        self.finish();
        Ok(self.revision)
    }

    /// Refuses reads below a revision from the commit on; [`Writing::prune`] frees what only they could see.
    pub(crate) fn compact(&mut self, revision: i64) -> Result<i64, Failure> {
        if revision <= self.compacted {
            return Err(Refusal::Compacted.into());
        }
        if revision > self.revision {
            return Err(Refusal::FutureRevision.into());
        }
        self.meta.insert(meta::COMPACTED, revision)?;
        self.compacted = revision;
        self.dirty = true;
        Ok(self.revision)
    }

    /// Frees the history of at most `most` revisions below the compacted one; returns whether any are left.
    ///
    /// Of what lies below the compacted revision, an event is needed no more once another at or below that revision
    /// replaced it, and a deletion never. The compacted revision itself stays whole, since watches may start there.
    pub(crate) fn prune(&mut self, most: i64) -> Result<bool, Fault> {
        let pruned = storage::number(&self.meta, meta::PRUNED)?;
        if self.compacted <= pruned {
            return Ok(false);
        }
        // a restored database has a gap in its revisions that no step should have to cross
        let next = self.events.range((pruned + 1, 0)..)?.next().transpose()?;
        let begin = next.map_or(self.compacted, |(revision, _)| revision.value().0 - 1);
        let until = self.compacted.min(begin.saturating_add(most));
        let mut useless = Vec::new();
        // the revision that was pruned to last may have stayed whole
        for entry in self.events.range((pruned, 0)..=(until, u32::MAX))? {
            let (revision, record) = entry?;
            let event = Event::decode(record.value())?;
            useless.extend(event.previous.map(Revision::key));
            if event.kind == Kind::Delete {
                useless.push(revision.value());
            }
        }
        for revision in useless.into_iter().filter(|(main, _)| *main < self.compacted) {
            self.events.remove(revision)?;
        }
        self.meta.insert(meta::PRUNED, until)?;
        self.dirty = true;
        Ok(until < self.compacted)
    }

    /// Switches the alarm for a quota that is used up; tells whether that changed anything.
    pub(crate) fn set_no_space(&mut self, on: bool) -> Result<bool, Fault> {
        let before = self.meta.insert(meta::NO_SPACE, i64::from(on))?.is_some_and(|alarm| alarm.value() != 0);
        self.dirty |= before != on;
        Ok(before != on)
    }

    /// Returns the revision the store stands at.
    pub(crate) fn revision(&self) -> i64 {
        self.revision
    }

    fn view(&self) -> View<'_, CurrentTable<'txn>, EventTable<'txn>> {
        View { current: &self.current, events: &self.events, revision: self.reached(), compacted: self.compacted }
    }

    /// The revision the request being applied has reached: one more than before as soon as it wrote something.
    fn reached(&self) -> i64 {
        self.revision + i64::from(!self.changes.is_empty())
    }

    fn finish(&mut self) {
        self.revision = self.reached();
        self.dirty |= !self.changes.is_empty();
        self.finished.append(&mut self.changes);
    }

    fn check_lease(&self, lease: i64) -> Result<(), Failure> {
        if lease == 0 || self.has_lease(lease)? { Ok(()) } else { Err(Refusal::LeaseNotFound.into()) }
    }

    fn check_ignored(&self, request: &PbPutRequest) -> Result<(), Failure> {
        let needs_previous = request.ignore_value || request.ignore_lease;
        if needs_previous && self.current.get(request.key.as_slice())?.is_none() {
            return Err(Refusal::KeyNotFound.into());
        }
        Ok(())
    }

    fn check_puts(&self, chosen: &Chosen<'_>) -> Result<(), Failure> {
        for operation in chosen.operations() {
            if let Some(PbTxnOpRequest::RequestPut(request)) = &operation.request {
                self.check_ignored(request)?;
                self.check_lease(request.lease)?;
            }
        }
        chosen.nested.iter().try_for_each(|nested| self.check_puts(nested))
    }

    fn apply_txn(&mut self, chosen: &Chosen<'_>) -> Result<PbTxnResponse, Failure> {
        let mut nested = chosen.nested.iter();
        let mut responses = Vec::with_capacity(chosen.operations().len());
        for operation in chosen.operations() {
            let response = match &operation.request {
                Some(PbTxnOpRequest::RequestRange(request)) => {
                    PbTxnOpResponse::ResponseRange(self.view().range(request)?)
                }
                Some(PbTxnOpRequest::RequestPut(request)) => PbTxnOpResponse::ResponsePut(self.apply_put(request)?),
                Some(PbTxnOpRequest::RequestDeleteRange(request)) => {
                    PbTxnOpResponse::ResponseDeleteRange(self.apply_delete(request)?)
                }
                Some(PbTxnOpRequest::RequestTxn(_)) => {
                    let chosen = nested.next().expect("one choice was made for each nested transaction");
                    PbTxnOpResponse::ResponseTxn(self.apply_txn(chosen)?)
                }
                None => continue,
            };
            responses.push(PbResponseOp { response: Some(response) });
        }
        Ok(PbTxnResponse { header: Some(header(0)), succeeded: chosen.succeeded, responses })
    }

    fn apply_put(&mut self, request: &PbPutRequest) -> Result<PbPutResponse, Fault> {
        let before = self.view().live(&request.key)?;
        let old = before.as_ref().map(|live| &live.kv);
        let revision = self.next_revision();
        let kv = PbKeyValue {
            key: request.key.clone(),
            create_revision: old.map_or(revision.main, |old| old.create_revision),
            mod_revision: revision.main,
            version: old.map_or(0, |old| old.version) + 1,
            value: match old {
                Some(old) if request.ignore_value => old.value.clone(),
                Some(_) | None => request.value.clone(),
            },
            lease: match old {
                Some(old) if request.ignore_lease => old.lease,
                Some(_) | None => request.lease,
            },
        };
        let old_lease = old.map_or(0, |old| old.lease);
        if old_lease != kv.lease {
            self.detach(old_lease, &kv.key)?;
            if kv.lease != 0 {
                self.lease_keys.insert((kv.lease, kv.key.as_slice()), ())?;
            }
        }
        let live = Live { kv, revision };
        self.current.insert(live.kv.key.as_slice(), live.encode().as_slice())?;
        let prev_kv = old.cloned().filter(|_| request.prev_kv);
        self.record(Kind::Put, live.kv, revision, before)?;
        Ok(PbPutResponse { header: Some(header(self.reached())), prev_kv })
    }

    fn apply_delete(&mut self, request: &PbDeleteRequest) -> Result<PbDeleteResponse, Fault> {
        let range = KeyRange::new(&request.key, &request.range_end);
        let found = self.view().live_range(&range)?;
        let deleted = i64::try_from(found.len()).expect("a count of keys fits 63 bits");
        let mut prev_kvs = Vec::new();
        for live in found {
            if request.prev_kv {
                prev_kvs.push(live.kv.clone());
            }
            let revision = self.next_revision();
            self.current.remove(live.kv.key.as_slice())?;
            self.detach(live.kv.lease, &live.kv.key)?;
            let kv = PbKeyValue { key: live.kv.key.clone(), mod_revision: revision.main, ..PbKeyValue::default() };
            self.record(Kind::Delete, kv, revision, Some(live))?;
        }
        Ok(PbDeleteResponse { header: Some(header(self.reached())), deleted, prev_kvs })
    }

    fn detach(&mut self, lease: i64, key: &[u8]) -> Result<(), Fault> {
        if lease != 0 {
            self.lease_keys.remove((lease, key))?;
        }
        Ok(())
    }

    fn next_revision(&self) -> Revision {
        let sub = u32::try_from(self.changes.len()).expect("a request changes fewer than 2^32 keys");
        Revision { main: self.revision + 1, sub }
    }

    fn record(&mut self, kind: Kind, kv: PbKeyValue, revision: Revision, before: Option<Live>) -> Result<(), Fault> {
        let event = Event::new(kind, &kv, before.as_ref().map(|live| live.revision));
        self.events.insert(revision.key(), event.encode().as_slice())?;
        let previous = match before {
            // the same request wrote it: watches want what was there before the request
            Some(live) if live.revision.main == revision.main => {
                let first = self.changes.iter().find(|change| change.kv.key == kv.key);
                first.and_then(|change| change.previous.clone())
            }
            before => before.map(|live| live.kv),
        };
        self.changes.push(Change { kind, kv, previous });
        Ok(())
    }
}

/// A transaction with its branches chosen: all compares, of the nested ones too, look at the state before it.
pub(crate) struct Chosen<'a> {
    request: &'a PbTxnRequest,
    succeeded: bool,
    /// The nested transactions of the chosen branch, in order.
    nested: Vec<Self>,
}

impl<'a> Chosen<'a> {
    pub(crate) fn new<C, E>(view: View<'_, C, E>, request: &'a PbTxnRequest) -> Result<Self, Fault>
    where
        C: ReadableTable<CurrentKey, CurrentValue>,
        E: ReadableTable<EventKey, EventValue>,
    {
        let mut succeeded = true;
        for compare in &request.compare {
            succeeded = succeeded && view.holds(compare)?;
        }
        let mut chosen = Self { request, succeeded, nested: Vec::new() };
        for operation in chosen.operations() {
            if let Some(PbTxnOpRequest::RequestTxn(nested)) = &operation.request {
                chosen.nested.push(Chosen::new(view, nested)?);
            }
        }
        Ok(chosen)
    }

    /// Refuses the transaction when a Range of a chosen branch asks for a revision that cannot be read.
    pub(crate) fn check_ranges<C, E>(&self, view: View<'_, C, E>) -> Result<(), Refusal>
    where
        C: ReadableTable<CurrentKey, CurrentValue>,
        E: ReadableTable<EventKey, EventValue>,
    {
        for operation in self.operations() {
            if let Some(PbTxnOpRequest::RequestRange(request)) = &operation.request {
                view.check_revision(request.revision)?;
            }
        }
        self.nested.iter().try_for_each(|nested| nested.check_ranges(view))
    }

    /// Carries out a transaction that only reads, without the writer.
    pub(crate) fn read<C, E>(&self, view: View<'_, C, E>) -> Result<PbTxnResponse, Failure>
    where
        C: ReadableTable<CurrentKey, CurrentValue>,
        E: ReadableTable<EventKey, EventValue>,
    {
        let mut nested = self.nested.iter();
        let mut responses = Vec::with_capacity(self.operations().len());
        for operation in self.operations() {
            let response = match &operation.request {
                Some(PbTxnOpRequest::RequestRange(request)) => PbTxnOpResponse::ResponseRange(view.range(request)?),
                Some(PbTxnOpRequest::RequestTxn(_)) => {
                    let chosen = nested.next().expect("one choice was made for each nested transaction");
                    PbTxnOpResponse::ResponseTxn(chosen.read(view)?)
                }
                Some(PbTxnOpRequest::RequestPut(_) | PbTxnOpRequest::RequestDeleteRange(_)) | None => continue,
            };
            responses.push(PbResponseOp { response: Some(response) });
        }
        Ok(PbTxnResponse { header: Some(header(0)), succeeded: self.succeeded, responses })
    }

    fn operations(&self) -> &'a [PbTxnRequestOp] {
        if self.succeeded { &self.request.success } else { &self.request.failure }
    }
}
