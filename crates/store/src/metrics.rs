//! What is counted and measured, under etcd's names and in the form that Prometheus reads.
//!
//! A series that etcd has and the store has no meaning for is not there: the store has no log of its own and no peers.
//! Where etcd counts requests to delete, the store counts the keys deleted.

use std::time::Duration;

use metrics::{
    Label, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram, with_local_recorder,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tonic::Code;

use crate::{
    mvcc::storage::{Identity, Snapshot},
    refusal::Fault,
};

/// The release of etcd whose behaviour the store follows.
pub(crate) const ETCD_VERSION: &str = "3.4.23";

pub(crate) const PUTS: &str = "etcd_mvcc_put_total";
pub(crate) const DELETES: &str = "etcd_mvcc_delete_total";
pub(crate) const RANGES: &str = "etcd_mvcc_range_total";
pub(crate) const TXNS: &str = "etcd_mvcc_txn_total";
pub(crate) const COMMIT: &str = "etcd_disk_backend_commit_duration_seconds";
pub(crate) const LEASES_GRANTED: &str = "etcd_debugging_lease_granted_total";
pub(crate) const LEASES_REVOKED: &str = "etcd_debugging_lease_revoked_total";
pub(crate) const LEASES_RENEWED: &str = "etcd_debugging_lease_renewed_total";
pub(crate) const WATCH_STREAMS: &str = "etcd_debugging_mvcc_watch_stream_total";
pub(crate) const WATCHERS: &str = "etcd_debugging_mvcc_watcher_total";
pub(crate) const RECEIVED: &str = "etcd_network_client_grpc_received_bytes_total";
pub(crate) const SENT: &str = "etcd_network_client_grpc_sent_bytes_total";

const KEYS: &str = "etcd_debugging_mvcc_keys_total";
const REVISION: &str = "etcd_debugging_mvcc_current_revision";
const COMPACTED: &str = "etcd_debugging_mvcc_compact_revision";
const FILE_BYTES: &str = "etcd_mvcc_db_total_size_in_bytes";
const USED_BYTES: &str = "etcd_mvcc_db_total_size_in_use_in_bytes";
const QUOTA: &str = "etcd_server_quota_backend_bytes";
const HAS_LEADER: &str = "etcd_server_has_leader";
const IS_LEADER: &str = "etcd_server_is_leader";
const LEADER_CHANGES: &str = "etcd_server_leader_changes_seen_total";
const ID: &str = "etcd_server_id";
const VERSION: &str = "etcd_server_version";
const STARTED: &str = "grpc_server_started_total";
const HANDLED: &str = "grpc_server_handled_total";

const COUNTERS: [(&str, &str); 12] = [
    (PUTS, "Keys put."),
    (DELETES, "Keys deleted."),
    (RANGES, "Requests to read a range."),
    (TXNS, "Transactions."),
    (LEASES_GRANTED, "Leases granted."),
    (LEASES_REVOKED, "Leases revoked, by a request or because they ran out."),
    (LEASES_RENEWED, "Leases kept alive."),
    (RECEIVED, "Bytes received from clients."),
    (SENT, "Bytes sent to clients."),
    (LEADER_CHANGES, "Leaders seen; the store leads itself."),
    (STARTED, "Calls begun."),
    (HANDLED, "Calls ended, by their status."),
];
const GAUGES: [(&str, &str); 11] = [
    (WATCH_STREAMS, "Streams of watches."),
    (WATCHERS, "Watches."),
    (KEYS, "Keys that live."),
    (REVISION, "The last revision."),
    (COMPACTED, "The revision below which history is dropped."),
    (FILE_BYTES, "The length of the database's file."),
    (USED_BYTES, "What of it is in use."),
    (QUOTA, "What may be in use; 0 is no limit."),
    (HAS_LEADER, "Always 1."),
    (IS_LEADER, "Always 1."),
    (VERSION, "The release of etcd that is followed."),
];

/// The calls that are counted: service, method, and which side streams.
const CALLS: [(&str, &str, &str); 22] = [
    ("etcdserverpb.KV", "Range", "unary"),
    ("etcdserverpb.KV", "Put", "unary"),
    ("etcdserverpb.KV", "DeleteRange", "unary"),
    ("etcdserverpb.KV", "Txn", "unary"),
    ("etcdserverpb.KV", "Compact", "unary"),
    ("etcdserverpb.Watch", "Watch", "bidi_stream"),
    ("etcdserverpb.Lease", "LeaseGrant", "unary"),
    ("etcdserverpb.Lease", "LeaseRevoke", "unary"),
    ("etcdserverpb.Lease", "LeaseKeepAlive", "bidi_stream"),
    ("etcdserverpb.Lease", "LeaseTimeToLive", "unary"),
    ("etcdserverpb.Lease", "LeaseLeases", "unary"),
    ("etcdserverpb.Cluster", "MemberAdd", "unary"),
    ("etcdserverpb.Cluster", "MemberRemove", "unary"),
    ("etcdserverpb.Cluster", "MemberUpdate", "unary"),
    ("etcdserverpb.Cluster", "MemberList", "unary"),
    ("etcdserverpb.Maintenance", "Alarm", "unary"),
    ("etcdserverpb.Maintenance", "Status", "unary"),
    ("etcdserverpb.Maintenance", "Defragment", "unary"),
    ("etcdserverpb.Maintenance", "Hash", "unary"),
    ("etcdserverpb.Maintenance", "HashKV", "unary"),
    ("etcdserverpb.Maintenance", "Snapshot", "server_stream"),
    ("etcdserverpb.Maintenance", "MoveLeader", "unary"),
];

/// The series of one store.
pub(crate) struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

/// One of [`CALLS`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call(usize);

impl Call {
    /// Finds the call of a path, `/SERVICE/METHOD`; a client may ask for what there is not.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        CALLS.iter().position(|call| (call.0, call.1) == (service, method)).map(Self)
    }

    fn labels(self) -> Vec<Label> {
        let (service, method, kind) = CALLS[self.0];
        [("grpc_service", service), ("grpc_method", method), ("grpc_type", kind)].iter().map(Label::from).collect()
    }
}

impl Metrics {
    /// Begins to count. `quota` is in bytes.
    pub(crate) fn new(identity: Identity, quota: u64) -> Result<Self, BuildError> {
        // etcd's: a millisecond, and thirteen times the double of the one before
        let buckets: [f64; 14] = std::array::from_fn(|place| 0.001 * f64::from(1_u32 << place));
        let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Full(COMMIT.to_owned()), &buckets)?;
        let recorder = builder.build_recorder();
        let metrics = Self { handle: recorder.handle(), recorder };
        metrics.record(|| {
            for (name, text) in COUNTERS {
                describe_counter!(name, text);
            }
            for (name, text) in GAUGES {
                describe_gauge!(name, text);
            }
            describe_gauge!(ID, "The member.");
            describe_histogram!(COMMIT, "Seconds to bring a group of writes to the disk.");
            for name in [PUTS, DELETES, RANGES, TXNS, LEASES_GRANTED, LEASES_REVOKED, LEASES_RENEWED, RECEIVED, SENT] {
                counter!(name).absolute(0);
            }
            for call in (0..CALLS.len()).map(Call) {
                counter!(STARTED, call.labels()).absolute(0);
            }
            // registered without a sample
            drop(histogram!(COMMIT));
            counter!(LEADER_CHANGES).absolute(1);
            gauge!(HAS_LEADER).set(1);
            gauge!(IS_LEADER).set(1);
            gauge!(WATCH_STREAMS).set(0);
            gauge!(WATCHERS).set(0);
            gauge!(ID, "server_id" => format!("{:x}", identity.member)).set(1);
            gauge!(VERSION, "server_version" => ETCD_VERSION).set(1);
            gauge!(QUOTA).set(quota as f64);
        });
        Ok(metrics)
    }

    fn record<T>(&self, what: impl FnOnce() -> T) -> T {
        with_local_recorder(&self.recorder, what)
    }

    /// Adds to a counter.
    pub(crate) fn count(&self, name: &'static str, more: u64) {
        self.record(|| counter!(name).increment(more));
    }

    /// Adds to a gauge.
    pub(crate) fn add(&self, name: &'static str, more: f64) {
        self.record(|| gauge!(name).increment(more));
    }

    /// Takes a sample of how long something took.
    pub(crate) fn took(&self, name: &'static str, time: Duration) {
        self.record(|| histogram!(name).record(time));
    }

    /// A call begins.
    pub(crate) fn started(&self, call: Call) {
        self.record(|| counter!(STARTED, call.labels()).increment(1));
    }

    /// A call has ended.
    pub(crate) fn handled(&self, call: Call, code: Code) {
        let mut labels = call.labels();
        labels.push(Label::new("grpc_code", go_name(code)));
        self.record(|| counter!(HANDLED, labels).increment(1));
    }

    /// Writes all series in Prometheus' text form, after a look at the database, whose file has so many bytes.
    pub(crate) fn render(&self, snapshot: &Snapshot, file: u64) -> Result<String, Fault> {
        // numbers below 2^53
        let (keys, used) = (snapshot.keys()? as f64, snapshot.used_bytes()? as f64);
        self.record(|| {
            gauge!(KEYS).set(keys);
            gauge!(REVISION).set(snapshot.revision as f64);
            gauge!(COMPACTED).set(snapshot.compacted as f64);
            gauge!(FILE_BYTES).set(file as f64);
            gauge!(USED_BYTES).set(used);
        });
        Ok(self.handle.render())
    }

    /// Puts samples together, which otherwise pile up while nobody asks.
    pub(crate) fn run_upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// A status code's name in Go, which differs for two.
fn go_name(code: Code) -> String {
    if code == Code::Ok {
        return "OK".to_owned();
    }
    if code == Code::Cancelled { "Canceled".to_owned() } else { format!("{code:?}") }
}
