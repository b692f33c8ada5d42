//! Watching: what a stream of etcd tells, and how its end is noticed.
//!
//! A member that loses its leader ends its streams, since clients ask for that (`require_leader`); a connection that
//! goes silent is ended by keep-alive probes. Either way the watcher reads anew, from another endpoint.

use super::endpoints::{Endpoints, Link, Request};
use super::failure::{reason, stale_watch};
use crate::{Change, Error, Scope, Watch, layout};
use api::event::Revision;
use async_trait::async_trait;
use etcd_client::{EventType, WatchOptions, WatchResponse, WatchStream};
use std::sync::Arc;

/// Watches a scope from a revision on, which is included.
pub(super) async fn start(endpoints: &Arc<Endpoints>, scope: &Scope, from: i64) -> Result<Box<dyn Watch>, Error> {
    let mut watches = Vec::new();
    for prefix in layout::prefixes(scope) {
        let options = WatchOptions::new().with_prefix().with_start_revision(from);
        let create = |link: Link| {
            let (prefix, options) = (prefix.clone(), options.clone());
            async move {
                let mut stream = link.watch().watch(prefix, Some(options)).await?;
                let first = stream.message().await?;
                let refused = first.as_ref().filter(|answer| answer.canceled());
                match refused.and_then(|answer| stale_watch(answer.cancel_reason())) {
                    Some(error) => Err(error),
                    None => Ok((stream, first, link)),
                }
            }
        };
        let (stream, first, link) = endpoints.ask(Request::Read, create).await?;
        watches.push(EtcdWatch { stream, first, link, endpoints: Arc::clone(endpoints), told: from - 1 });
    }
    Ok(match <[EtcdWatch; 1]>::try_from(watches) {
        Ok([watch]) => Box::new(watch),
        Err(watches) => Box::new(Merged(watches)),
    })
}

struct EtcdWatch {
    stream: WatchStream,
    /// The answer that the watch is there, until it is taken.
    first: Option<WatchResponse>,
    link: Link,
    endpoints: Arc<Endpoints>,
    told: i64,
}

impl EtcdWatch {
    fn lost(&self, how: &str) -> Error {
        Error::Unavailable(format!("etcd at {}: watch {how}", self.endpoints.name(&self.link)))
    }

    /// Why the server ended the watch.
    fn cancelled(&self, answer: &WatchResponse) -> Error {
        let reason = match (answer.compact_revision(), answer.cancel_reason()) {
            (1.., _) => format!("revisions before {} are compacted", answer.compact_revision()),
            (_, "") => "no reason given".to_owned(),
            (_, reason) => reason.to_owned(),
        };
        self.lost(&format!("cancelled: {reason}"))
    }
}

#[async_trait]
impl Watch for EtcdWatch {
    async fn next(&mut self) -> Result<Vec<Change>, Error> {
        loop {
            let answer = match self.first.take() {
                Some(first) => Ok(Some(first)),
                None => self.stream.message().await,
            };
            let answer = match answer {
                Ok(Some(answer)) => answer,
                Ok(None) => {
                    self.endpoints.distrust(&self.link).await;
                    return Err(self.lost("ended"));
                }
                Err(error) => {
                    self.endpoints.distrust(&self.link).await;
                    return Err(self.lost(&format!("failed: {}", reason(&error))));
                }
            };
            if answer.canceled() {
                return Err(self.cancelled(&answer));
            }
            // more of the last one's revision may follow
            let last = answer.events().last().and_then(|event| event.kv()).map(|kv| kv.mod_revision() - 1);
            self.told = self.told.max(last.unwrap_or_default());
            let changes: Vec<Change> = answer.events().iter().filter_map(change).collect();
            if !changes.is_empty() {
                return Ok(changes);
            }
        }
    }

    fn told(&self) -> Option<Revision> {
        Some(Revision(self.told.to_string()))
    }
}

/// What an event says of one of our keys.
fn change(event: &etcd_client::Event) -> Option<Change> {
    let kv = event.kv()?;
    let key = layout::parse(&String::from_utf8_lossy(kv.key()))?;
    let value = (event.event_type() == EventType::Put).then_some(kv.value());
    Some(crate::change(key, value, Revision(kv.mod_revision().to_string())))
}

/// Several watches as one.
struct Merged(Vec<EtcdWatch>);

#[async_trait]
impl Watch for Merged {
    async fn next(&mut self) -> Result<Vec<Change>, Error> {
        futures::future::select_all(self.0.iter_mut().map(|watch| watch.next())).await.0
    }
}
