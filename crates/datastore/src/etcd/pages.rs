//! Reading: several queries as of one moment, a page at a time.
//!
//! The first answer tells the moment, a revision; whatever comes later is asked for as of that revision. When it is
//! compacted in the meantime, everything is read anew.

use super::endpoints::{Endpoints, Failure, Link, Request};
use crate::{Error, Listing, Query, Scope, layout};
use api::event::Revision;
use async_trait::async_trait;
use etcd_client::{GetOptions, GetResponse, KeyValue, Txn, TxnOp, TxnOpResponse};
use std::sync::Arc;

/// How many operations one transaction may have: etcd's `--max-txn-ops` unless told otherwise.
const OPERATIONS_PER_TRANSACTION: usize = 128;

/// How many keys are read at once. etcd counts the rest of the range for each page, so small pages are slow.
const KEYS_PER_PAGE: i64 = 2000;

/// How often a read begins anew before it is given up. etcd compacts every few minutes at most.
const ATTEMPTS: usize = 3;

/// What queries found, each in its place, and the revision of the moment they are answered for.
type Found = (Vec<Listing>, Revision);

/// Answers queries as of one moment.
pub(super) async fn read(endpoints: &Endpoints, queries: &[Query]) -> Result<Found, Error> {
    let spans: Vec<Span> = queries.iter().enumerate().flat_map(Span::all).collect();
    let mut attempt = 1;
    loop {
        let mut reading = Reading { endpoints, queries, found: vec![Listing::default(); queries.len()], at: 0 };
        match reading.run(&spans).await {
            Ok(()) => return Ok((reading.found, Revision(reading.at.to_string()))),
            Err(Failure::Compacted(reason)) if attempt < ATTEMPTS => {
                tracing::debug!(reason, "reading anew");
                attempt += 1;
            }
            Err(failure) => return Err(failure.into()),
        }
    }
}

/// A range of keys that belongs to the answer of a query: one key, or from `start` to before `end`.
#[derive(Clone)]
struct Span {
    query: usize,
    start: Vec<u8>,
    end: Option<Vec<u8>>,
}

impl Span {
    fn all((query, asked): (usize, &Query)) -> Vec<Span> {
        match asked {
            Query::Get(key) => vec![Span { query, start: layout::path(key).into(), end: None }],
            Query::List(scope) => {
                let span = |prefix: String| Span { query, end: Some(after(prefix.as_bytes())), start: prefix.into() };
                layout::prefixes(scope).into_iter().map(span).collect()
            }
        }
    }

    /// What of it comes after a page, if anything does.
    fn rest(&self, page: &GetResponse) -> Option<Span> {
        let mut start = page.kvs().last().filter(|_| page.more())?.key().to_vec();
        start.push(0);
        Some(Span { start, ..self.clone() })
    }

    /// Asks for its first page.
    async fn first(&self, endpoints: &Endpoints, at: i64) -> Result<GetResponse, Failure> {
        let get = |link: Link| async move { link.kv().get(self.start.clone(), Some(self.page(at))).await };
        endpoints.ask(Request::Read, get).await
    }

    /// Its first page, as of a revision; of zero, as of now.
    fn page(&self, at: i64) -> GetOptions {
        let options = GetOptions::new().with_revision(at);
        match &self.end {
            Some(end) => options.with_range(end.clone()).with_limit(KEYS_PER_PAGE),
            None => options,
        }
    }
}

/// The first key after all that have a prefix, which ends in a slash.
fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

struct Reading<'a> {
    endpoints: &'a Endpoints,
    queries: &'a [Query],
    found: Vec<Listing>,
    /// Zero until the first answer.
    at: i64,
}

impl Reading<'_> {
    async fn run(&mut self, spans: &[Span]) -> Result<(), Failure> {
        for part in spans.chunks(OPERATIONS_PER_TRANSACTION) {
            let first = match part {
                [span] => vec![self.range(span).await?],
                many => self.first_pages(many).await?,
            };
            for (span, page) in part.iter().zip(first) {
                self.take(span, page).await?;
            }
        }
        if spans.is_empty() {
            self.first_pages(&[]).await?;
        }
        Ok(())
    }

    /// Takes a span's first page, and reads and takes those that follow.
    async fn take(&mut self, span: &Span, mut page: GetResponse) -> Result<(), Failure> {
        loop {
            let rest = span.rest(&page);
            let found = &mut self.found[span.query];
            for value in page.take_kvs() {
                match &self.queries[span.query] {
                    Query::Get(key) => found.add(key.clone(), value.value(), revision(&value)),
                    Query::List(_) => listed(found, &value),
                }
            }
            let Some(rest) = rest else { return Ok(()) };
            page = self.range(&rest).await?;
        }
    }

    async fn range(&mut self, span: &Span) -> Result<GetResponse, Failure> {
        let answer = span.first(self.endpoints, self.at).await?;
        self.settle(answer.header());
        Ok(answer)
    }

    async fn first_pages(&mut self, spans: &[Span]) -> Result<Vec<GetResponse>, Failure> {
        let operations = spans.iter().map(|span| TxnOp::get(span.start.clone(), Some(span.page(self.at))));
        let txn = Txn::new().and_then(operations.collect::<Vec<_>>());
        let get = |link: Link| {
            let txn = txn.clone();
            async move { link.kv().txn(txn).await }
        };
        let answer = self.endpoints.ask(Request::Read, get).await?;
        self.settle(answer.header());
        let pages = answer.op_responses().into_iter().filter_map(|response| match response {
            TxnOpResponse::Get(page) => Some(page),
            TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => None,
        });
        Ok(pages.collect())
    }

    fn settle(&mut self, header: Option<&etcd_client::ResponseHeader>) {
        settle(&mut self.at, header);
    }
}

/// Notes the moment of the first answer.
fn settle(at: &mut i64, header: Option<&etcd_client::ResponseHeader>) {
    if *at == 0 {
        *at = header.map_or(0, etcd_client::ResponseHeader::revision);
    }
}

/// A scope, a page at a time.
pub(super) struct Pages {
    endpoints: Arc<Endpoints>,
    /// What is not read yet, the next one last.
    spans: Vec<Span>,
    /// Zero until the first answer.
    at: i64,
}

impl Pages {
    pub(super) fn new(endpoints: &Arc<Endpoints>, scope: &Scope) -> Pages {
        let mut spans = Span::all((0, &Query::List(scope.clone())));
        spans.reverse();
        Pages { endpoints: Arc::clone(endpoints), spans, at: 0 }
    }
}

#[async_trait]
impl crate::Pages for Pages {
    async fn next(&mut self) -> Result<Option<Listing>, Error> {
        let Some(span) = self.spans.pop() else { return Ok(None) };
        let mut page = span.first(&self.endpoints, self.at).await?;
        settle(&mut self.at, page.header());
        self.spans.extend(span.rest(&page));
        let mut listing = Listing::default();
        for value in page.take_kvs() {
            listed(&mut listing, &value);
        }
        Ok(Some(listing))
    }

    fn revision(&self) -> Revision {
        Revision(self.at.to_string())
    }
}

fn revision(found: &KeyValue) -> Revision {
    Revision(found.mod_revision().to_string())
}

/// Adds what a range of keys found; nothing where the key is not one of ours.
fn listed(listing: &mut Listing, found: &KeyValue) {
    if let Some(key) = layout::parse(&String::from_utf8_lossy(found.key())) {
        listing.add(key, found.value(), revision(found));
    }
}
