//! The gRPC services of etcd v3, each a thin layer over the snapshot, the writer and the watches.

mod cluster;
mod http;
mod kv;
mod lease;
mod maintenance;
mod observe;
mod snapshot;
mod unserved;
mod watch;

use std::sync::Arc;

use axum::middleware::from_fn_with_state;
use etcd_client::proto::{PbClusterServer, PbKvServer, PbLeaseServer, PbMaintenanceServer, PbWatchServer};
use prost::Message;
use tonic::{Status, service::Routes};

use crate::{refusal::Refusal, shared::Shared};

/// etcd's default for `--max-request-bytes`.
const MAX_REQUEST_BYTES: usize = 3 << 19;
/// What etcd lets a message be larger than the request limit.
const OVERHEAD_BYTES: usize = 512 << 10;

/// The services of one server, as every connection holds them.
#[derive(Clone)]
struct Service {
    shared: Arc<Shared>,
}

/// Makes the routes of all services.
pub(crate) fn routes(shared: Arc<Shared>) -> Routes {
    let service = Service { shared: shared.clone() };
    let limit = MAX_REQUEST_BYTES + OVERHEAD_BYTES;
    let mut routes = Routes::new(PbKvServer::new(service.clone()).max_decoding_message_size(limit))
        .add_service(PbWatchServer::new(service.clone()))
        .add_service(PbLeaseServer::new(service.clone()))
        .add_service(PbClusterServer::new(service.clone()))
        .add_service(PbMaintenanceServer::new(service));
    let router = routes.axum_router_mut();
    let served = std::mem::take(router).merge(http::router(shared.clone())).fallback_service(unserved::Unserved);
    *router = served.layer(from_fn_with_state(shared, observe::observe));
    routes
}

/// Makes the routes of `--listen-metrics-urls`.
pub(crate) fn harmless_routes(shared: Arc<Shared>) -> Routes {
    let mut routes = Routes::default();
    *routes.axum_router_mut() = http::router(shared);
    routes
}

fn check_size(request: &impl Message) -> Result<(), Refusal> {
    if request.encoded_len() > MAX_REQUEST_BYTES { Err(Refusal::RequestTooLarge) } else { Ok(()) }
}

/// Refuses what a store of one member without a raft log has no meaning for.
fn unsupported<T>(what: &str) -> Result<T, Status> {
    Err(Status::unimplemented(format!("tortie store: {what} is not supported: the store is a single member")))
}
