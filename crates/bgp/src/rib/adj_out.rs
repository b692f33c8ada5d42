//! Adj-RIB-Out: what one peer has been told, and what it has to be told next.

use crate::wire::Context;
use crate::wire::attribute::Attributes;
use crate::wire::update::Update;
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The routes announced to one peer over one session.
#[derive(Debug, Default)]
pub(crate) struct AdjRibOut {
    announced: BTreeMap<Ipv4Net, Arc<Attributes>>,
    withdraw: BTreeSet<Ipv4Net>,
    /// What is to be announced, in order; neighbours that are announced alike share an entry.
    announce: Vec<(Arc<Attributes>, Vec<Ipv4Net>)>,
}

impl AdjRibOut {
    /// Notes what the peer should know of a prefix; nothing happens if it knows.
    pub(crate) fn set(&mut self, prefix: Ipv4Net, attributes: Option<Arc<Attributes>>) {
        match attributes {
            Some(attributes) => {
                if self.announced.get(&prefix) == Some(&attributes) {
                    return;
                }
                self.announced.insert(prefix, Arc::clone(&attributes));
                self.owe(prefix, attributes);
            }
            None => {
                if self.announced.remove(&prefix).is_some() {
                    self.withdraw.insert(prefix);
                }
            }
        }
    }

    /// How many routes the peer has been told.
    pub(crate) fn len(&self) -> usize {
        self.announced.len()
    }

    /// Announces everything again (RFC 2918 §4).
    pub(crate) fn refresh(&mut self) {
        let announced = std::mem::take(&mut self.announced);
        self.announce.clear();
        for (prefix, attributes) in &announced {
            self.owe(*prefix, Arc::clone(attributes));
        }
        self.announced = announced;
    }

    fn owe(&mut self, prefix: Ipv4Net, attributes: Arc<Attributes>) {
        match self.announce.last_mut() {
            Some((last, prefixes)) if Arc::ptr_eq(last, &attributes) => prefixes.push(prefix),
            Some(_) | None => self.announce.push((attributes, vec![prefix])),
        }
    }

    /// Takes the UPDATEs that bring the peer up to date, withdrawals first. Every prefix is set at most once
    /// between two calls.
    pub(crate) fn flush(&mut self, context: Context) -> Vec<Update> {
        let withdraw: Vec<Ipv4Net> = std::mem::take(&mut self.withdraw).into_iter().collect();
        let mut updates = Update::withdraw(&withdraw);
        let mut alike: BTreeMap<Arc<Attributes>, Vec<Ipv4Net>> = BTreeMap::new();
        for (attributes, prefixes) in std::mem::take(&mut self.announce) {
            alike.entry(attributes).or_default().extend(prefixes);
        }
        for (attributes, prefixes) in alike {
            updates.extend(Update::announce(&attributes, &prefixes, context));
        }
        updates
    }
}
