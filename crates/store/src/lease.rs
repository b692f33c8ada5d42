//! When leases run out.
//!
//! That a lease exists, and which keys hang on it, is in the database and decided by the writer. When it runs out is
//! kept in memory alone, as etcd does: a keep-alive costs no write, and after a start every lease has its full time
//! again.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// The leases and their ends.
#[derive(Debug, Default)]
pub(crate) struct Lessor {
    leases: BTreeMap<i64, Lease>,
}

#[derive(Debug)]
struct Lease {
    seconds: i64,
    expires: Instant,
    /// The writer has begun to revoke it: a keep-alive comes too late.
    ending: bool,
}

/// How long a lease still has, and what it was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Remaining {
    pub(crate) left: Duration,
    pub(crate) granted_seconds: i64,
}

impl Lessor {
    pub(crate) fn insert(&mut self, id: i64, seconds: i64, now: Instant) {
        self.leases.insert(id, Lease { seconds, expires: now + lifetime(seconds), ending: false });
    }

    pub(crate) fn remove(&mut self, id: i64) {
        self.leases.remove(&id);
    }

    /// Gives a lease its full time again; returns its seconds, or nothing when it is unknown or has run out.
    pub(crate) fn renew(&mut self, id: i64, now: Instant) -> Option<i64> {
        let lease = self.leases.get_mut(&id).filter(|lease| !lease.ending && lease.expires > now)?;
        lease.expires = now + lifetime(lease.seconds);
        Some(lease.seconds)
    }

    pub(crate) fn remaining(&self, id: i64, now: Instant) -> Option<Remaining> {
        let lease = self.leases.get(&id)?;
        let left = lease.expires.saturating_duration_since(now);
        Some(Remaining { left, granted_seconds: lease.seconds })
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = i64> {
        self.leases.keys().copied()
    }

    /// Returns when the next lease runs out.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.leases.values().filter(|lease| !lease.ending).map(|lease| lease.expires).min()
    }

    pub(crate) fn expired(&self, now: Instant) -> Vec<i64> {
        let over = |lease: &Lease| !lease.ending && lease.expires <= now;
        self.leases.iter().filter(|(_, lease)| over(lease)).map(|(id, _)| *id).collect()
    }

    /// Stops keep-alives of a lease if it has run out; returns whether it has.
    pub(crate) fn end_if_expired(&mut self, id: i64, now: Instant) -> bool {
        match self.leases.get_mut(&id) {
            Some(lease) if lease.expires <= now => {
                lease.ending = true;
                true
            }
            Some(_) | None => false,
        }
    }
}

fn lifetime(seconds: i64) -> Duration {
    Duration::from_secs(seconds.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_keep_alive_moves_the_end() {
        let start = Instant::now();
        let mut lessor = Lessor::default();
        lessor.insert(7, 10, start);
        assert_eq!(lessor.next_expiry(), Some(start + 10 * SECOND));
        assert_eq!(lessor.renew(7, start + 9 * SECOND), Some(10));
        assert_eq!(lessor.expired(start + 18 * SECOND), []);
        assert_eq!(lessor.expired(start + 19 * SECOND), [7]);
        let remaining = Remaining { left: 4 * SECOND, granted_seconds: 10 };
        assert_eq!(lessor.remaining(7, start + 15 * SECOND), Some(remaining));
    }

    #[test]
    fn a_keep_alive_after_the_end_is_too_late() {
        let start = Instant::now();
        let mut lessor = Lessor::default();
        lessor.insert(7, 2, start);
        assert!(!lessor.end_if_expired(7, start + SECOND));
        assert_eq!(lessor.renew(7, start + 2 * SECOND), None, "expired");
        assert!(lessor.end_if_expired(7, start + 2 * SECOND));
        assert_eq!(lessor.renew(7, start + SECOND), None, "being revoked");
        assert_eq!(lessor.next_expiry(), None, "nothing left to wait for");
        lessor.remove(7);
        assert_eq!(lessor.remaining(7, start), None);
    }
}
