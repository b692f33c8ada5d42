//! Reading one state of the store: Range with all its options, and the compares of a Txn.
//!
//! The same code reads a committed snapshot and the inside of a write transaction. The present is read from `current`;
//! a past revision is the present with every later event undone.

use std::{cmp::Ordering, collections::BTreeMap};

use etcd_client::proto::{
    PbCompare, PbCompareTarget, PbKeyValue, PbRangeRequest, PbRangeResponse, PbResponseHeader, PbTargetUnion,
};
use redb::{AccessGuard, ReadableTable};

use super::{
    range::KeyRange,
    record::{Event, Live, Revision},
    storage::{CurrentKey, CurrentValue, EventKey, EventValue},
};
use crate::refusal::{Failure, Fault, Refusal};

/// One consistent state: the tables and the revision they stand at.
pub(crate) struct View<'a, C, E> {
    pub(crate) current: &'a C,
    pub(crate) events: &'a E,
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
}

// not derived: the tables themselves need not be copied
impl<C, E> Clone for View<'_, C, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C, E> Copy for View<'_, C, E> {}

/// Keys found, and how many there were before any limit.
struct Found {
    kvs: Vec<PbKeyValue>,
    count: usize,
}

impl<C, E> View<'_, C, E>
where
    C: ReadableTable<CurrentKey, CurrentValue>,
    E: ReadableTable<EventKey, EventValue>,
{
    /// Refuses a revision that does not exist yet or no longer; zero and below mean the present.
    pub(crate) fn check_revision(&self, revision: i64) -> Result<(), Refusal> {
        match revision {
            ..=0 => Ok(()),
            asked if asked > self.revision => Err(Refusal::FutureRevision),
            asked if asked < self.compacted => Err(Refusal::Compacted),
            _ => Ok(()),
        }
    }

    /// Answers a Range request; the header carries the revision alone.
    pub(crate) fn range(&self, request: &PbRangeRequest) -> Result<PbRangeResponse, Failure> {
        self.check_revision(request.revision)?;
        let range = KeyRange::new(&request.key, &request.range_end);
        let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0);
        // one more than asked for tells whether there is more; what is sorted or filtered must be read whole
        let read_limit = if request.count_only {
            Some(0)
        } else if Sort::is_asked(request) || filters(request) {
            None
        } else {
            limit.map(|limit| limit + 1)
        };
        let Found { mut kvs, count } = match request.revision {
            revision if revision > 0 && revision < self.revision => self.past(&range, revision, read_limit)?,
            _ => self.present(&range, read_limit)?,
        };
        kvs.retain(|kv| passes(request, kv));
        if let Some(sort) = Sort::of(request) {
            kvs.sort_by(|a, b| sort.compare(a, b));
        }
        let more = limit.is_some_and(|limit| kvs.len() > limit);
        kvs.truncate(limit.unwrap_or(usize::MAX));
        if request.keys_only {
            for kv in &mut kvs {
                kv.value = Vec::new();
            }
        }
        let count = i64::try_from(count).expect("a count of keys in memory or file fits 63 bits");
        Ok(PbRangeResponse { header: Some(header(self.revision)), kvs, more, count })
    }

    /// Looks up the live record of a key.
    pub(crate) fn live(&self, key: &[u8]) -> Result<Option<Live>, Fault> {
        self.current.get(key)?.map(|value| Live::decode(key, value.value())).transpose()
    }

    /// Lists the live records of a range.
    pub(crate) fn live_range(&self, range: &KeyRange) -> Result<Vec<Live>, Fault> {
        let mut found = Vec::new();
        if !range.is_empty() {
            for entry in self.current.range::<&[u8]>(range.bounds())? {
                let (key, value) = entry?;
                found.push(Live::decode(key.value(), value.value())?);
            }
        }
        Ok(found)
    }

    /// Looks up the key-value pair an event left behind.
    fn at(&self, revision: Revision) -> Result<PbKeyValue, Fault> {
        Ok(Event::decode(self.record(revision)?.value())?.to_kv(revision.main))
    }

    fn record(&self, revision: Revision) -> Result<AccessGuard<'_, EventValue>, Fault> {
        self.events.get(revision.key())?.ok_or(Fault::MissingRevision(revision.main, revision.sub))
    }

    /// Looks up the pair an event's key was at the revision before the event's: what watches call the previous one. It
    /// is not always what the event replaced, since etcd lets one transaction put a key and delete everything from it on.
    pub(crate) fn before(&self, event: Event<'_>, main: i64) -> Result<Option<PbKeyValue>, Fault> {
        let mut previous = event.previous;
        while let Some(revision) = previous.filter(|revision| revision.main == main) {
            let record = self.record(revision)?;
            previous = Event::decode(record.value())?.previous;
        }
        previous.map(|revision| self.at(revision)).transpose()
    }

    /// Tells whether a compare of a Txn holds: for every key in its range, or, without any, for an absent key.
    pub(crate) fn holds(&self, compare: &PbCompare) -> Result<bool, Fault> {
        let range = KeyRange::new(&compare.key, &compare.range_end);
        let found = self.present(&range, None)?.kvs;
        if found.is_empty() {
            // an absent key has no value, not an empty one
            let of_value = compare.target == PbCompareTarget::Value as i32;
            return Ok(!of_value && compare_holds(compare, &PbKeyValue::default()));
        }
        Ok(found.iter().all(|kv| compare_holds(compare, kv)))
    }

    fn present(&self, range: &KeyRange, limit: Option<usize>) -> Result<Found, Fault> {
        let mut found = Found { kvs: Vec::new(), count: 0 };
        let limit = limit.unwrap_or(usize::MAX);
        if let Some(key) = range.single() {
            if let Some(value) = self.current.get(key)? {
                found.count = 1;
                if limit > 0 {
                    found.kvs.push(Live::decode(key, value.value())?.kv);
                }
            }
        } else if !range.is_empty() {
            for entry in self.current.range::<&[u8]>(range.bounds())? {
                let (key, value) = entry?;
                if found.count < limit {
                    found.kvs.push(Live::decode(key.value(), value.value())?.kv);
                }
                found.count += 1;
            }
        }
        Ok(found)
    }

    fn past(&self, range: &KeyRange, revision: i64, limit: Option<usize>) -> Result<Found, Fault> {
        let changed = self.changed_since(range, revision)?;
        let mut kvs = self.present(range, None)?.kvs;
        kvs.retain(|kv| !changed.contains_key(&kv.key));
        for then in changed.into_values().flatten() {
            kvs.push(self.at(then)?);
        }
        kvs.sort_by(|a, b| a.key.cmp(&b.key));
        let count = kvs.len();
        kvs.truncate(limit.unwrap_or(usize::MAX));
        Ok(Found { kvs, count })
    }

    /// Returns what the keys of a range that changed after a revision were at it: the event that wrote them, or nothing.
    fn changed_since(&self, range: &KeyRange, revision: i64) -> Result<BTreeMap<Vec<u8>, Option<Revision>>, Fault> {
        let mut changed = BTreeMap::new();
        for entry in self.events.range((revision + 1, 0)..)? {
            let (_, record) = entry?;
            let event = Event::decode(record.value())?;
            if range.contains(event.key) {
                changed.entry(event.key.to_vec()).or_insert(event.previous);
            }
        }
        Ok(changed)
    }
}

/// Makes a header that carries a revision; who answers is added where the answer leaves.
pub(crate) fn header(revision: i64) -> PbResponseHeader {
    PbResponseHeader { revision, ..PbResponseHeader::default() }
}

fn filters(request: &PbRangeRequest) -> bool {
    [request.min_mod_revision, request.max_mod_revision, request.min_create_revision, request.max_create_revision]
        .iter()
        .any(|bound| *bound != 0)
}

/// Applies the four revision filters; zero is no bound.
fn passes(request: &PbRangeRequest, kv: &PbKeyValue) -> bool {
    let within = |value: i64, min: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
    within(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
        && within(kv.create_revision, request.min_create_revision, request.max_create_revision)
}

/// `RangeRequest.SortOrder` and `SortTarget`, whose generated types are not public.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sort {
    target: Target,
    descending: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Key,
    Version,
    Create,
    Mod,
    Value,
}

impl Sort {
    /// Refuses numbers the protocol does not define.
    pub(crate) fn check(request: &PbRangeRequest) -> Result<(), Refusal> {
        let defined = (0..=2).contains(&request.sort_order) && Self::target(request).is_some();
        if defined { Ok(()) } else { Err(Refusal::InvalidSortOption) }
    }

    fn is_asked(request: &PbRangeRequest) -> bool {
        request.sort_order != 0
    }

    /// Returns the order to put the keys into, if it is not the table's own. A target other than the key without an
    /// order means ascending, applied, as etcd does, after the limit has been.
    fn of(request: &PbRangeRequest) -> Option<Self> {
        let target = Self::target(request)?;
        match request.sort_order {
            0 if target == Target::Key => None,
            order => Some(Self { target, descending: order == 2 }),
        }
    }

    fn target(request: &PbRangeRequest) -> Option<Target> {
        Some(match request.sort_target {
            0 => Target::Key,
            1 => Target::Version,
            2 => Target::Create,
            3 => Target::Mod,
            4 => Target::Value,
            _ => return None,
        })
    }

    fn compare(self, a: &PbKeyValue, b: &PbKeyValue) -> Ordering {
        let order = match self.target {
            Target::Key => a.key.cmp(&b.key),
            Target::Version => a.version.cmp(&b.version),
            Target::Create => a.create_revision.cmp(&b.create_revision),
            Target::Mod => a.mod_revision.cmp(&b.mod_revision),
            Target::Value => a.value.cmp(&b.value),
        };
        if self.descending { order.reverse() } else { order }
    }
}

fn compare_holds(compare: &PbCompare, kv: &PbKeyValue) -> bool {
    use PbTargetUnion as Union;
    let union = compare.target_union.as_ref();
    // a union of another kind than the target counts as the target's zero value
    let order = match PbCompareTarget::try_from(compare.target) {
        Ok(PbCompareTarget::Version) => {
            kv.version.cmp(&union.map_or(0, |union| if let Union::Version(n) = union { *n } else { 0 }))
        }
        Ok(PbCompareTarget::Create) => {
            kv.create_revision.cmp(&union.map_or(0, |union| if let Union::CreateRevision(n) = union { *n } else { 0 }))
        }
        Ok(PbCompareTarget::Mod) => {
            kv.mod_revision.cmp(&union.map_or(0, |union| if let Union::ModRevision(n) = union { *n } else { 0 }))
        }
        Ok(PbCompareTarget::Lease) => {
            kv.lease.cmp(&union.map_or(0, |union| if let Union::Lease(n) = union { *n } else { 0 }))
        }
        Ok(PbCompareTarget::Value) => match union {
            Some(Union::Value(value)) => kv.value.cmp(value),
            Some(Union::Version(_) | Union::CreateRevision(_) | Union::ModRevision(_) | Union::Lease(_)) | None => {
                kv.value.as_slice().cmp(&[])
            }
        },
        Err(_) => Ordering::Equal,
    };
    // Compare.CompareResult: EQUAL, GREATER, LESS, NOT_EQUAL; etcd lets an undefined one hold
    match compare.result {
        0 => order.is_eq(),
        1 => order.is_gt(),
        2 => order.is_lt(),
        3 => order.is_ne(),
        _ => true,
    }
}
