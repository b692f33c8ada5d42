//! The requests that change the store: what each does to the open transaction, and what it needs of the disk.

use std::{sync::atomic::Ordering, time::Instant};

use etcd_client::proto::{PbDeleteRequest, PbDeleteResponse, PbPutRequest, PbPutResponse, PbTxnRequest, PbTxnResponse};
use prost::Message;

use crate::{
    metrics::{LEASES_GRANTED, LEASES_REVOKED},
    mvcc::{check, storage, writing::Writing},
    refusal::{Failure, Refusal},
    shared::Shared,
};

/// What a record takes beside its key and value, roughly.
const RECORD_BYTES: u64 = 100;

/// What a request needs of a disk, the last the least: each has more of the space that is set aside than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// It adds, and is refused at the quota and on a full disk.
    Growth,
    /// It frees, but only after the next compaction.
    Deletion,
    /// It frees.
    Compaction,
}

/// A request that changes the store.
pub(crate) trait Write: Send + 'static {
    /// What it is answered with.
    type Answer: Send + 'static;

    /// Applies it to the open transaction.
    fn apply(&self, writing: &mut Writing<'_>, shared: &Shared) -> Result<Self::Answer, Failure>;

    /// What it needs of a disk.
    fn need(&self) -> Need;

    /// How many bytes it may add to what is in use, about: a value is kept twice, as the present and as an event.
    fn adds(&self) -> u64 {
        0
    }

    /// Takes effect in memory once its transaction is on disk.
    fn committed(_answer: &Self::Answer, _shared: &Shared) {}
}

impl Write for PbPutRequest {
    type Answer = PbPutResponse;

    fn apply(&self, writing: &mut Writing<'_>, _shared: &Shared) -> Result<Self::Answer, Failure> {
        writing.put(self)
    }

    fn need(&self) -> Need {
        Need::Growth
    }

    fn adds(&self) -> u64 {
        twice(self.encoded_len())
    }
}

impl Write for PbDeleteRequest {
    type Answer = PbDeleteResponse;

    fn apply(&self, writing: &mut Writing<'_>, _shared: &Shared) -> Result<Self::Answer, Failure> {
        writing.delete(self)
    }

    fn need(&self) -> Need {
        Need::Deletion
    }
}

impl Write for PbTxnRequest {
    type Answer = PbTxnResponse;

    fn apply(&self, writing: &mut Writing<'_>, _shared: &Shared) -> Result<Self::Answer, Failure> {
        writing.txn(self)
    }

    fn need(&self) -> Need {
        if check::puts(self) { Need::Growth } else { Need::Deletion }
    }

    fn adds(&self) -> u64 {
        twice(self.encoded_len())
    }
}

/// Makes a lease; an id of zero asks for a fresh one.
pub(crate) struct Grant {
    pub(crate) id: i64,
    pub(crate) seconds: i64,
}

/// The lease made.
pub(crate) struct Granted {
    pub(crate) id: i64,
    pub(crate) seconds: i64,
    pub(crate) revision: i64,
}

impl Write for Grant {
    type Answer = Granted;

    fn apply(&self, writing: &mut Writing<'_>, _shared: &Shared) -> Result<Self::Answer, Failure> {
        let mut id = self.id;
        while id == 0 || (self.id == 0 && writing.has_lease(id)?) {
            id = storage::random();
        }
        let seconds = writing.grant(id, self.seconds)?;
        Ok(Granted { id, seconds, revision: writing.revision() })
    }

    fn need(&self) -> Need {
        Need::Growth
    }

    fn adds(&self) -> u64 {
        RECORD_BYTES
    }

    fn committed(answer: &Self::Answer, shared: &Shared) {
        shared.lessor().insert(answer.id, answer.seconds, Instant::now());
        shared.leases_changed.notify_one();
        shared.metrics.count(LEASES_GRANTED, 1);
    }
}

/// Ends a lease and deletes its keys.
pub(crate) struct Revoke {
    pub(crate) id: i64,
    pub(crate) cause: Cause,
}

/// Why a lease ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A client asks.
    Request,
    /// It has run out, unless a keep-alive was faster.
    Expiry,
}

/// The lease ended.
pub(crate) struct Revoked {
    id: i64,
    pub(crate) revision: i64,
}

impl Write for Revoke {
    type Answer = Revoked;

    fn apply(&self, writing: &mut Writing<'_>, shared: &Shared) -> Result<Self::Answer, Failure> {
        if self.cause == Cause::Expiry && !shared.lessor().end_if_expired(self.id, Instant::now()) {
            return Err(Refusal::LeaseNotFound.into());
        }
        Ok(Revoked { id: self.id, revision: writing.revoke(self.id)? })
    }

    fn need(&self) -> Need {
        Need::Deletion
    }

    fn committed(answer: &Self::Answer, shared: &Shared) {
        shared.lessor().remove(answer.id);
        shared.metrics.count(LEASES_REVOKED, 1);
    }
}

/// Makes a revision the oldest that can be read; answered with the current revision.
pub(crate) struct Compact {
    pub(crate) revision: i64,
}

impl Write for Compact {
    type Answer = i64;

    fn apply(&self, writing: &mut Writing<'_>, _shared: &Shared) -> Result<Self::Answer, Failure> {
        writing.compact(self.revision)
    }

    fn need(&self) -> Need {
        Need::Compaction
    }
}

/// Frees all compacted history at once, however long it takes.
pub(crate) struct PruneAll;

impl Write for PruneAll {
    type Answer = ();

    fn apply(&self, writing: &mut Writing<'_>, _shared: &Shared) -> Result<(), Failure> {
        writing.prune(i64::MAX)?;
        Ok(())
    }

    fn need(&self) -> Need {
        Need::Compaction
    }
}

/// Switches the alarm for a quota that is used up; answered with whether that changed anything.
pub(crate) struct QuotaAlarm {
    pub(crate) on: bool,
}

/// How the alarm stands, and whether it did not before.
pub(crate) struct Switched {
    on: bool,
    pub(crate) changed: bool,
}

impl Write for QuotaAlarm {
    type Answer = Switched;

    fn apply(&self, writing: &mut Writing<'_>, _shared: &Shared) -> Result<Switched, Failure> {
        Ok(Switched { on: self.on, changed: writing.set_no_space(self.on)? })
    }

    fn need(&self) -> Need {
        Need::Compaction
    }

    fn committed(answer: &Switched, shared: &Shared) {
        shared.quota_alarm.store(answer.on, Ordering::Release);
    }
}

fn twice(bytes: usize) -> u64 {
    2 * (bytes as u64 + RECORD_BYTES)
}
