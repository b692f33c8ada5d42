//! What happens by itself: leases run out, and history is compacted.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time;
use tonic::Code;

use crate::{
    AutoCompaction,
    metrics::Metrics,
    shared::Shared,
    write::{Cause, Compact, Revoke},
};

/// Pause before a lease is revoked again that ran out while the disk was full.
const REVOKE_AGAIN: Duration = Duration::from_secs(1);
/// How often the number of kept revisions is looked at.
const REVISION_INTERVAL: Duration = Duration::from_secs(60);
/// How long samples pile up when nobody asks for them.
const SUM_INTERVAL: Duration = Duration::from_secs(60);
/// Samples of the revision taken within the kept time.
const PERIOD_SAMPLES: u32 = 10;

/// Revokes leases as they run out, until the writer is gone.
pub(crate) async fn expire_leases(shared: Arc<Shared>) {
    // leases that ran out while nothing could be written
    let mut owed = Vec::new();
    loop {
        let next = shared.lessor().next_expiry();
        let again = (!owed.is_empty()).then(|| Instant::now() + REVOKE_AGAIN);
        match next.into_iter().chain(again).min() {
            None => shared.leases_changed.notified().await,
            Some(next) => tokio::select! {
                () = time::sleep_until(next.into()) => {}
                () = shared.leases_changed.notified() => continue,
            },
        }
        let mut expired = shared.lessor().expired(Instant::now());
        expired.append(&mut owed);
        for id in expired {
            match shared.write(Revoke { id, cause: Cause::Expiry }).await {
                Ok(_) => tracing::debug!(lease = id, "lease ran out"),
                Err(status) if status.code() == Code::Unavailable => return,
                Err(status) if status.code() == Code::ResourceExhausted => {
                    // over for keep-alives too, and nothing to wait for: it is tried again at the pause's end
                    if shared.lessor().end_if_expired(id, Instant::now()) {
                        owed.push(id);
                    }
                }
                // a keep-alive or a client's revocation was faster
                Err(_) => {}
            }
        }
    }
}

/// Compacts old revisions, until the writer is gone.
pub(crate) async fn compact(shared: Arc<Shared>, rule: AutoCompaction) {
    match rule {
        AutoCompaction::Off => {}
        AutoCompaction::Revisions(keep) => {
            let keep = i64::try_from(keep).unwrap_or(i64::MAX);
            loop {
                let revision = shared.snapshot().revision.saturating_sub(keep);
                if !compact_to(&shared, revision).await {
                    return;
                }
                time::sleep(REVISION_INTERVAL).await;
            }
        }
        AutoCompaction::Period(keep) => {
            let step = (keep / PERIOD_SAMPLES).max(Duration::from_secs(1));
            let mut samples = VecDeque::new();
            loop {
                samples.push_back((Instant::now(), shared.snapshot().revision));
                let mut old_enough = 0;
                while let Some((taken, revision)) = samples.front().copied() {
                    if taken.elapsed() < keep {
                        break;
                    }
                    old_enough = revision;
                    samples.pop_front();
                }
                if !compact_to(&shared, old_enough).await {
                    return;
                }
                time::sleep(step).await;
            }
        }
    }
}

/// Puts samples together that nobody has asked for.
pub(crate) async fn sum_up(metrics: Arc<Metrics>) {
    loop {
        time::sleep(SUM_INTERVAL).await;
        metrics.run_upkeep();
    }
}

/// Compacts, if that changes anything; returns whether the writer is still there.
async fn compact_to(shared: &Shared, revision: i64) -> bool {
    if revision <= 0 || revision <= shared.snapshot().compacted {
        return true;
    }
    match shared.write(Compact { revision }).await {
        Ok(_) => {
            tracing::info!(revision, "compacted");
            true
        }
        Err(status) => status.code() != Code::Unavailable,
    }
}
