//! What etcd answers over plain HTTP: `/health`, `/version` and `/metrics`, on the clients' URLs and on those of
//! `--listen-metrics-urls`.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::{metrics::ETCD_VERSION, shared::Shared};

/// All that is asked over plain HTTP.
pub(super) const PATHS: [&str; 3] = ["/health", "/version", "/metrics"];

/// The kind of Prometheus' text.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

/// The routes of what is asked over plain HTTP.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let [of_health, of_version, of_metrics] = PATHS;
    let router = Router::new().route(of_health, get(health)).route(of_version, get(version));
    router.route(of_metrics, get(metrics)).with_state(shared)
}

/// Tells whether writes are taken: not while there is an alarm.
async fn health(State(shared): State<Arc<Shared>>) -> Response {
    shared.look_for_space().await;
    let healthy = shared.check_alarms().is_ok();
    // etcd ends an error with a newline
    let (status, end) = if healthy { (StatusCode::OK, "") } else { (StatusCode::SERVICE_UNAVAILABLE, "\n") };
    (status, [(CONTENT_TYPE, JSON)], format!(r#"{{"health":"{healthy}"}}{end}"#)).into_response()
}

async fn version() -> Response {
    let cluster = ETCD_VERSION.rsplit_once('.').map_or(ETCD_VERSION, |(minor, _)| minor);
    let text = format!(r#"{{"etcdserver":"{ETCD_VERSION}","etcdcluster":"{cluster}.0"}}"#);
    ([(CONTENT_TYPE, JSON)], text).into_response()
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    // it goes through the whole file, beside the connections' thread
    let rendered = tokio::task::spawn_blocking(move || {
        let file = std::fs::metadata(&shared.file).map_or(0, |found| found.len());
        shared.metrics.render(&shared.snapshot(), file)
    });
    match rendered.await {
        Ok(Ok(text)) => ([(CONTENT_TYPE, TEXT)], text).into_response(),
        Ok(Err(fault)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{fault}\n")).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
