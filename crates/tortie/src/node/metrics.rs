//! Felix's series, by its names (dataplane reference §3.10).
//!
//! All exist from the start, so that a scraper sees a zero rather than nothing.

use ::metrics::{counter, gauge, histogram};
use anyhow::Context;
use calc::Totals;
use dataplane::Status;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::time::{Duration, Instant};

const ACTIVE_LOCAL_ENDPOINTS: &str = "felix_active_local_endpoints";
const CLUSTER_NUM_HOSTS: &str = "felix_cluster_num_hosts";
const CLUSTER_NUM_WORKLOAD_ENDPOINTS: &str = "felix_cluster_num_workload_endpoints";
const RESYNC_STATE: &str = "felix_resync_state";
const RESYNCS_STARTED: &str = "felix_resyncs_started";
const GRAPH_UPDATE_TIME: &str = "felix_calc_graph_update_time_seconds";
const APPLY_TIME: &str = "felix_int_dataplane_apply_time_seconds";
const FAILURES: &str = "felix_int_dataplane_failures";
const INITIAL_RESYNC_TIME: &str = "felix_int_dataplane_initial_resync_time_seconds";
const HOST: &str = "felix_host";

/// How far the datastore's snapshot has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resync {
    /// There is no connection yet.
    Waiting = 1,
    /// A snapshot arrives.
    Running = 2,
    /// It is complete.
    InSync = 3,
}

/// Starts counting for `node`; the handle renders what was counted.
pub(crate) fn install(node: &str) -> anyhow::Result<PrometheusHandle> {
    let builder = PrometheusBuilder::new().set_quantiles(&[0.5, 0.9, 0.99]).context("metrics")?;
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    ::metrics::set_global_recorder(recorder).map_err(|error| anyhow::anyhow!("metrics: {error}"))?;
    describe();
    gauge!(HOST, "host" => node.to_owned()).set(1);
    gauge!(INITIAL_RESYNC_TIME).set(0);
    counter!(RESYNCS_STARTED).absolute(0);
    counter!(FAILURES).absolute(0);
    for name in [GRAPH_UPDATE_TIME, APPLY_TIME] {
        // registered without a sample
        drop(histogram!(name));
    }
    resync(Resync::Waiting);
    totals(Totals::default());
    Ok(handle)
}

fn describe() {
    use ::metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_gauge!(ACTIVE_LOCAL_ENDPOINTS, "Workload endpoints on this node.");
    describe_gauge!(CLUSTER_NUM_HOSTS, "Nodes of the cluster.");
    describe_gauge!(CLUSTER_NUM_WORKLOAD_ENDPOINTS, "Workload endpoints of the cluster.");
    describe_gauge!(RESYNC_STATE, "The datastore's state: 1 waiting, 2 resync, 3 in sync.");
    describe_counter!(RESYNCS_STARTED, "Snapshots of the datastore begun.");
    describe_histogram!(GRAPH_UPDATE_TIME, "Seconds from a batch of changes to the wanted state.");
    describe_histogram!(APPLY_TIME, "Seconds to make the kernel agree with the wanted state.");
    describe_counter!(FAILURES, "Kernel writes that failed, to be tried again.");
    describe_gauge!(INITIAL_RESYNC_TIME, "Seconds from the agent's start to the first agreement.");
    describe_gauge!(HOST, "The node, always 1.");
}

/// The datastore's state.
pub(crate) fn resync(state: Resync) {
    gauge!(RESYNC_STATE).set(f64::from(state as u8));
    if state == Resync::Running {
        counter!(RESYNCS_STARTED).increment(1);
    }
}

/// What the graph has seen.
pub(crate) fn totals(totals: Totals) {
    // counts of endpoints are far below 2^53
    gauge!(ACTIVE_LOCAL_ENDPOINTS).set(totals.local_endpoints as f64);
    gauge!(CLUSTER_NUM_HOSTS).set(totals.hosts as f64);
    gauge!(CLUSTER_NUM_WORKLOAD_ENDPOINTS).set(totals.workload_endpoints as f64);
}

/// How long the graph took for a batch.
pub(crate) fn graph_updated_in(time: Duration) {
    histogram!(GRAPH_UPDATE_TIME).record(time);
}

/// Counts the dataplane's reports.
pub(crate) struct DataplaneSeries {
    started: Instant,
    agreed: bool,
}

impl DataplaneSeries {
    /// The agent starts at `started`.
    pub(crate) fn new(started: Instant) -> DataplaneSeries {
        DataplaneSeries { started, agreed: false }
    }

    /// Takes one report.
    pub(crate) fn note(&mut self, status: &Status) {
        let Some(time) = status.applied_in else { return };
        histogram!(APPLY_TIME).record(time);
        counter!(FAILURES).increment(status.failures.len() as u64);
        if status.in_sync && status.failures.is_empty() && !std::mem::replace(&mut self.agreed, true) {
            gauge!(INITIAL_RESYNC_TIME).set(self.started.elapsed());
        }
    }
}
