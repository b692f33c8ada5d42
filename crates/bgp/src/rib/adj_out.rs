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
    /// Those of them that the peer knows with other attributes until the next flush.
    outdated: BTreeSet<Ipv4Net>,
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
                if self.announced.insert(prefix, Arc::clone(&attributes)).is_some() {
                    self.outdated.insert(prefix);
                }
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
    pub(crate) fn flush(&mut self, context: Context) -> Flushed {
        let withdraw: Vec<Ipv4Net> = std::mem::take(&mut self.withdraw).into_iter().collect();
        let mut updates = Update::withdraw(&withdraw);
        let mut left_out = Vec::new();
        let mut alike: BTreeMap<Arc<Attributes>, Vec<Ipv4Net>> = BTreeMap::new();
        for (attributes, prefixes) in std::mem::take(&mut self.announce) {
            alike.entry(attributes).or_default().extend(prefixes);
        }
        for (attributes, prefixes) in alike {
            match Update::announce(&attributes, &prefixes, context) {
                none if none.is_empty() => left_out.extend(prefixes),
                messages => updates.extend(messages),
            }
        }
        // RFC 4271 §9.2: what cannot be said is not said, and what was said before does not hold any more
        let outdated = std::mem::take(&mut self.outdated);
        let taken_back: Vec<Ipv4Net> = left_out.iter().filter(|prefix| outdated.contains(prefix)).copied().collect();
        updates.extend(Update::withdraw(&taken_back));
        for prefix in &left_out {
            self.announced.remove(prefix);
        }
        Flushed { updates, left_out }
    }
}

/// What a peer is to be told.
#[derive(Debug, Default)]
pub(crate) struct Flushed {
    pub(crate) updates: Vec<Update>,
    /// Prefixes that it is not told of, since no message can hold their attributes.
    pub(crate) left_out: Vec<Ipv4Net>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::attribute::{AsPath, Segment};
    use crate::wire::{AsWidth, PeerType};
    use model::Asn;
    use std::net::Ipv4Addr;

    const CONTEXT: Context = Context { as_width: AsWidth::Four, peer: PeerType::External };

    fn net(prefix: &str) -> Ipv4Net {
        prefix.parse().expect("a prefix")
    }

    /// Attributes with a path through so many ASes.
    fn through(count: usize) -> Option<Arc<Attributes>> {
        let asns = vec![Asn(65001); count];
        let as_path = AsPath(asns.chunks(255).map(|asns| Segment::Sequence(asns.to_vec())).collect());
        Some(Arc::new(Attributes { as_path, ..Attributes::local(Ipv4Addr::new(10, 0, 0, 1)) }))
    }

    fn flush(out: &mut AdjRibOut) -> Vec<Update> {
        out.flush(CONTEXT).updates
    }

    #[test]
    fn what_no_message_can_hold_counts_as_not_told() {
        let mut out = AdjRibOut::default();
        let (first, second) = (net("10.1.0.0/16"), net("10.2.0.0/16"));
        out.set(first, through(1));
        out.set(second, through(1020));
        let updates = flush(&mut out);
        assert_eq!(updates.iter().flat_map(|update| &update.announced).collect::<Vec<_>>(), [&first]);
        assert_eq!(updates.iter().flat_map(|update| &update.withdrawn).count(), 0);
        assert_eq!(out.len(), 1);
        // one that the peer has been told before is taken back from it
        out.set(first, through(1020));
        assert_eq!(flush(&mut out), Update::withdraw(&[first]));
        assert_eq!(out.len(), 0);
        // and told again when it is short enough
        out.set(first, through(2));
        assert_eq!(flush(&mut out)[0].announced, [first]);
        assert_eq!(out.len(), 1);
    }
}
