//! What waits for the consumer: one change for each key, and the mark that all scopes were read.

use crate::Change;
use api::{Event, Key};
use std::collections::{BTreeMap, HashMap};

/// What waits in one place.
enum Waiting {
    Init,
    InSync,
    Change(Box<Change>),
}

/// Changes in the order of the first one of each key.
pub(super) struct Queue {
    waiting: BTreeMap<u64, Waiting>,
    places: HashMap<Key, u64>,
    /// The place after all.
    end: u64,
    /// How many scopes were not read to their end yet.
    unsynced: usize,
    /// Whether the mark was taken.
    in_sync: bool,
}

impl Queue {
    /// For a number of scopes.
    pub(super) fn new(scopes: usize) -> Queue {
        let mut queue =
            Queue { waiting: BTreeMap::new(), places: HashMap::new(), end: 0, unsynced: scopes, in_sync: false };
        queue.append(Waiting::Init);
        if scopes == 0 {
            queue.append(Waiting::InSync);
        }
        queue
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Adds a change, in the place of one of the same key that still waits.
    pub(super) fn push(&mut self, change: Change) {
        let key = key(&change);
        if let Some(place) = self.places.get(key) {
            self.waiting.insert(*place, Waiting::Change(Box::new(change)));
        } else {
            self.places.insert(key.clone(), self.end);
            self.append(Waiting::Change(Box::new(change)));
        }
    }

    /// Notes that one more scope was read to its end.
    pub(super) fn synced(&mut self) {
        self.unsynced -= 1;
        if self.unsynced == 0 {
            self.append(Waiting::InSync);
        }
    }

    /// Takes what waited longest, at most `limit` of it.
    pub(super) fn take(&mut self, limit: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < limit
            && let Some((_, waiting)) = self.waiting.pop_first()
        {
            events.push(match waiting {
                Waiting::Init => Event::Init,
                Waiting::InSync => {
                    self.in_sync = true;
                    Event::InitDone
                }
                Waiting::Change(change) => {
                    self.places.remove(key(&change));
                    self.event(*change)
                }
            });
        }
        events
    }

    fn event(&self, change: Change) -> Event {
        match change {
            Change::Put(entry) if self.in_sync => Event::Apply(entry),
            Change::Put(entry) => Event::InitApply(entry),
            Change::Deleted(key) => Event::Delete(key),
            Change::Unreadable(unreadable) => Event::Unreadable(unreadable),
        }
    }

    fn append(&mut self, waiting: Waiting) {
        self.waiting.insert(self.end, waiting);
        self.end += 1;
    }
}

fn key(change: &Change) -> &Key {
    match change {
        Change::Put(entry) => &entry.key,
        Change::Deleted(key) => key,
        Change::Unreadable(unreadable) => &unreadable.key,
    }
}
