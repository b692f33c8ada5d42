//! The gRPC services of etcd v3, each a thin layer over the snapshot, the writer and the watches.

mod cluster;
mod kv;
mod lease;
mod maintenance;
mod unserved;
mod watch;

use std::sync::Arc;

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
    let service = Service { shared };
    let limit = MAX_REQUEST_BYTES + OVERHEAD_BYTES;
    let mut routes = Routes::new(PbKvServer::new(service.clone()).max_decoding_message_size(limit))
        .add_service(PbWatchServer::new(service.clone()))
        .add_service(PbLeaseServer::new(service.clone()))
        .add_service(PbClusterServer::new(service.clone()))
        .add_service(PbMaintenanceServer::new(service));
    let router = routes.axum_router_mut();
    *router = std::mem::take(router).fallback_service(unserved::Unserved);
    routes
}

fn check_size(request: &impl Message) -> Result<(), Refusal> {
    if request.encoded_len() > MAX_REQUEST_BYTES { Err(Refusal::RequestTooLarge) } else { Ok(()) }
}

/// Refuses what a store of one member without a raft log has no meaning for.
fn unsupported<T>(what: &str) -> Result<T, Status> {
    Err(Status::unimplemented(format!("tortie store: {what} is not supported: the store is a single member")))
}
