//! The etcd v3 client, for etcd itself and for `tortie store` (control reference §2.2).

mod endpoints;
mod failure;
mod pages;
mod snapshot;
mod watch;

use crate::config::Config;
use crate::{Error, Listing, Query, Scope, Store, Watch, Write, layout};
use api::event::{Entry, Key, Revision};
use async_trait::async_trait;
use endpoints::{Endpoints, Link, Request};
use etcd_client::{Compare, CompareOp, GetOptions, Txn, TxnOp, TxnOpResponse};
pub use snapshot::snapshot;
use std::sync::Arc;

/// A client of an etcd cluster.
pub struct Etcd {
    endpoints: Arc<Endpoints>,
}

impl Etcd {
    /// Prepares a client. Nothing is sent before the first request.
    ///
    /// Endpoints are `http://HOST:PORT`, `https://HOST:PORT`, or `unix:///PATH`; a request goes to one that answers.
    pub fn new(config: &Config) -> Result<Etcd, Error> {
        Ok(Etcd { endpoints: Arc::new(Endpoints::new(config)?) })
    }
}

fn number(revision: &Revision) -> Result<i64, Error> {
    revision.0.parse().map_err(|_| Error::Conflict(format!("resourceVersion {:?} is not a number", revision.0)))
}

#[async_trait]
impl Store for Etcd {
    async fn get(&self, key: &Key) -> Result<Entry, Error> {
        let (mut found, _) = self.read(&[Query::Get(key.clone())]).await?;
        found.pop().unwrap_or_default().one()?.ok_or_else(|| Error::NotFound(layout::describe(key)))
    }

    async fn list(&self, scope: &Scope) -> Result<(Listing, Revision), Error> {
        let (mut found, revision) = self.read(&[Query::List(scope.clone())]).await?;
        Ok((found.pop().unwrap_or_default(), revision))
    }

    async fn pages(&self, scope: &Scope) -> Result<Box<dyn crate::Pages>, Error> {
        Ok(Box::new(pages::Pages::new(&self.endpoints, scope)))
    }

    async fn read(&self, queries: &[Query]) -> Result<(Vec<Listing>, Revision), Error> {
        pages::read(&self.endpoints, queries).await
    }

    async fn delete(&self, key: &Key, revision: Option<&Revision>) -> Result<(), Error> {
        if let Some(revision) = revision {
            return self.transact(&[Write::Delete(key.clone(), revision.clone())]).await.map(|_| ());
        }
        let delete = |link: Link| {
            let path = layout::path(key);
            async move { link.kv().delete(path, None).await }
        };
        let answer = self.endpoints.ask(Request::Write, delete).await?;
        if answer.deleted() == 0 { Err(Error::NotFound(layout::describe(key))) } else { Ok(()) }
    }

    async fn transact(&self, writes: &[Write]) -> Result<Revision, Error> {
        let mut compares = Vec::new();
        let mut then = Vec::new();
        let mut otherwise = Vec::new();
        for write in writes {
            let absent = |path: String| Compare::version(path, CompareOp::Equal, 0);
            let at = |path: String, revision: &Revision| {
                Ok::<_, Error>(Compare::mod_revision(path, CompareOp::Equal, number(revision)?))
            };
            let (key, compare, operation) = match write {
                Write::Create(key, object) => {
                    let path = layout::path(key);
                    (key, absent(path.clone()), Some(TxnOp::put(path, layout::encode(object), None)))
                }
                Write::Update(key, object, revision) => {
                    let path = layout::path(key);
                    (key, at(path.clone(), revision)?, Some(TxnOp::put(path, layout::encode(object), None)))
                }
                Write::Delete(key, revision) => {
                    let path = layout::path(key);
                    (key, at(path.clone(), revision)?, Some(TxnOp::delete(path, None)))
                }
                Write::Expect(key, None) => (key, absent(layout::path(key)), None),
                Write::Expect(key, Some(revision)) => (key, at(layout::path(key), revision)?, None),
            };
            compares.push(compare);
            then.extend(operation);
            otherwise.push(TxnOp::get(layout::path(key), Some(GetOptions::new().with_keys_only())));
        }
        let changes = !then.is_empty();
        let kind = if changes { Request::Write } else { Request::Read };
        let txn = Txn::new().when(compares).and_then(then).or_else(otherwise);
        let send = |link: Link| {
            let txn = txn.clone();
            async move { link.kv().txn(txn).await }
        };
        let answer = self.endpoints.ask(kind, send).await?;
        if answer.succeeded() {
            let revision = answer.header().map_or(0, |header| header.revision());
            return Ok(Revision(revision.to_string()));
        }
        for (write, found) in writes.iter().zip(answer.op_responses()) {
            let TxnOpResponse::Get(found) = found else { continue };
            let found = found.kvs().first().map(|kv| kv.mod_revision().to_string());
            match (write, found) {
                (Write::Create(key, _) | Write::Expect(key, None), Some(_)) => {
                    return Err(Error::Exists(layout::describe(key)));
                }
                (Write::Create(..) | Write::Expect(_, None), None) => {}
                (Write::Update(key, ..) | Write::Delete(key, _) | Write::Expect(key, Some(_)), None) => {
                    return Err(Error::NotFound(layout::describe(key)));
                }
                (
                    Write::Update(key, _, expected) | Write::Delete(key, expected) | Write::Expect(key, Some(expected)),
                    Some(found),
                ) => {
                    if found != expected.0 {
                        return Err(Error::Conflict(layout::describe(key)));
                    }
                }
            }
        }
        Err(Error::Conflict("the transaction met another writer".to_owned()))
    }

    async fn watch(&self, scope: &Scope, from: &Revision) -> Result<Box<dyn Watch>, Error> {
        watch::start(&self.endpoints, scope, number(from)? + 1).await
    }
}
