//! What can be said against a request without looking at the store, with etcd's rules and limits.

use std::collections::BTreeSet;

use etcd_client::proto::{PbDeleteRequest, PbPutRequest, PbRangeRequest, PbTxnOpRequest, PbTxnRequest, PbTxnRequestOp};

use super::{range::KeyRange, view::Sort};
use crate::refusal::Refusal;

/// etcd's default for `--max-txn-ops`.
const MAX_TXN_OPERATIONS: usize = 128;

pub(crate) fn range(request: &PbRangeRequest) -> Result<(), Refusal> {
    key(&request.key)?;
    Sort::check(request)
}

pub(crate) fn put(request: &PbPutRequest) -> Result<(), Refusal> {
    key(&request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(Refusal::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Refusal::LeaseProvided);
    }
    Ok(())
}

pub(crate) fn delete(request: &PbDeleteRequest) -> Result<(), Refusal> {
    key(&request.key)
}

pub(crate) fn txn(request: &PbTxnRequest) -> Result<(), Refusal> {
    operations(request, MAX_TXN_OPERATIONS)?;
    touched(&request.success)?;
    touched(&request.failure)?;
    Ok(())
}

/// Tells whether no branch of a transaction can write.
pub(crate) fn reads_only(request: &PbTxnRequest) -> bool {
    request.success.iter().chain(&request.failure).all(|operation| match &operation.request {
        Some(PbTxnOpRequest::RequestRange(_)) | None => true,
        Some(PbTxnOpRequest::RequestTxn(nested)) => reads_only(nested),
        Some(PbTxnOpRequest::RequestPut(_) | PbTxnOpRequest::RequestDeleteRange(_)) => false,
    })
}

/// Tells whether a branch of a transaction may put a key.
pub(crate) fn puts(request: &PbTxnRequest) -> bool {
    request.success.iter().chain(&request.failure).any(|operation| match &operation.request {
        Some(PbTxnOpRequest::RequestPut(_)) => true,
        Some(PbTxnOpRequest::RequestTxn(nested)) => puts(nested),
        Some(PbTxnOpRequest::RequestRange(_) | PbTxnOpRequest::RequestDeleteRange(_)) | None => false,
    })
}

fn key(key: &[u8]) -> Result<(), Refusal> {
    if key.is_empty() { Err(Refusal::EmptyKey) } else { Ok(()) }
}

/// Checks the operations one by one; a nested transaction has what its parent's longest list leaves of the limit.
fn operations(request: &PbTxnRequest, limit: usize) -> Result<(), Refusal> {
    let most = request.compare.len().max(request.success.len()).max(request.failure.len());
    let left = limit.checked_sub(most).ok_or(Refusal::TooManyOperations)?;
    for compare in &request.compare {
        key(&compare.key)?;
    }
    for operation in request.success.iter().chain(&request.failure) {
        match &operation.request {
            Some(PbTxnOpRequest::RequestRange(request)) => range(request)?,
            Some(PbTxnOpRequest::RequestPut(request)) => put(request)?,
            Some(PbTxnOpRequest::RequestDeleteRange(request)) => delete(request)?,
            Some(PbTxnOpRequest::RequestTxn(request)) => operations(request, left)?,
            None => return Err(Refusal::KeyNotFound),
        }
    }
    Ok(())
}

/// The keys a list of operations may put, and the ranges it may delete.
struct Touched<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Vec<KeyRange>,
}

/// Collects what a list touches, and refuses a key put twice, or put and deleted, where both can happen. The two
/// branches of a nested transaction exclude each other, so the same key may be put in both.
fn touched(operations: &[PbTxnRequestOp]) -> Result<Touched<'_>, Refusal> {
    let mut all = Touched { puts: BTreeSet::new(), deletes: Vec::new() };
    for operation in operations {
        if let Some(PbTxnOpRequest::RequestDeleteRange(request)) = &operation.request {
            // etcd's interval tree knows no open end here: "from the key on" meets nothing
            if request.range_end != [0] {
                all.deletes.push(KeyRange::new(&request.key, &request.range_end));
            }
        }
    }
    for operation in operations {
        if let Some(PbTxnOpRequest::RequestTxn(nested)) = &operation.request {
            let then = touched(&nested.success)?;
            let otherwise = touched(&nested.failure)?;
            for key in &then.puts {
                all.put(key)?;
            }
            for key in otherwise.puts.difference(&then.puts) {
                all.put(key)?;
            }
            all.deletes.extend(then.deletes);
            all.deletes.extend(otherwise.deletes);
        }
    }
    for operation in operations {
        if let Some(PbTxnOpRequest::RequestPut(request)) = &operation.request {
            all.put(&request.key)?;
        }
    }
    Ok(all)
}

impl<'a> Touched<'a> {
    fn put(&mut self, key: &'a [u8]) -> Result<(), Refusal> {
        let deleted = self.deletes.iter().any(|range| range.contains(key));
        if deleted || !self.puts.insert(key) { Err(Refusal::DuplicateKey) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(request: PbTxnOpRequest) -> PbTxnRequestOp {
        PbTxnRequestOp { request: Some(request) }
    }

    fn put(key: &str) -> PbTxnRequestOp {
        op(PbTxnOpRequest::RequestPut(PbPutRequest { key: key.into(), ..Default::default() }))
    }

    fn delete(key: &str, end: &str) -> PbTxnRequestOp {
        op(PbTxnOpRequest::RequestDeleteRange(PbDeleteRequest {
            key: key.into(),
            range_end: end.into(),
            ..Default::default()
        }))
    }

    fn nested(success: Vec<PbTxnRequestOp>, failure: Vec<PbTxnRequestOp>) -> PbTxnRequestOp {
        op(PbTxnOpRequest::RequestTxn(PbTxnRequest { compare: Vec::new(), success, failure }))
    }

    #[test]
    fn a_key_is_touched_once() {
        let duplicate = Err(Refusal::DuplicateKey);
        let cases = [
            (vec![put("a"), put("b")], Ok(())),
            (vec![put("a"), put("a")], duplicate),
            (vec![delete("a", ""), put("a")], duplicate),
            (vec![put("b"), delete("a", "c")], duplicate),
            (vec![put("c"), delete("a", "c")], Ok(())),
            (vec![delete("a", "c"), delete("b", "")], Ok(())),
            (vec![nested(vec![put("a")], vec![put("a")])], Ok(())),
            (vec![nested(vec![put("a")], vec![]), put("a")], duplicate),
            (vec![nested(vec![], vec![delete("a", "b")]), put("a")], duplicate),
            (vec![nested(vec![put("a")], vec![]), nested(vec![], vec![put("a")])], duplicate),
        ];
        for (success, expect) in cases {
            let request = PbTxnRequest { success, ..Default::default() };
            assert_eq!(txn(&request), expect, "{request:?}");
            let mirrored = PbTxnRequest { failure: request.success, ..Default::default() };
            assert_eq!(txn(&mirrored), expect, "{mirrored:?}");
        }
    }

    #[test]
    fn nesting_shares_the_limit_of_operations() {
        let many = |count: usize| (0..count).map(|n| put(&n.to_string())).collect::<Vec<_>>();
        assert_eq!(txn(&PbTxnRequest { success: many(128), ..Default::default() }), Ok(()));
        assert_eq!(txn(&PbTxnRequest { success: many(129), ..Default::default() }), Err(Refusal::TooManyOperations));
        let deep = |count| PbTxnRequest { success: vec![nested(many(count), vec![])], ..Default::default() };
        assert_eq!(txn(&deep(127)), Ok(()));
        assert_eq!(txn(&deep(128)), Err(Refusal::TooManyOperations));
    }
}
