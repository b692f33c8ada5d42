//! `etcdserverpb.Lease`: grants and revocations go to the writer, the rest is answered from memory.

use std::{sync::Arc, time::Instant};

use etcd_client::proto::{
    PbLeaseGrantRequest, PbLeaseGrantResponse, PbLeaseKeepAliveRequest, PbLeaseKeepAliveResponse, PbLeaseLeasesRequest,
    PbLeaseLeasesResponse, PbLeaseRevokeRequest, PbLeaseRevokeResponse, PbLeaseService, PbLeaseStatus,
    PbLeaseTimeToLiveRequest, PbLeaseTimeToLiveResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::Service;
use crate::{
    metrics::LEASES_RENEWED,
    refusal::Failure,
    shared::Shared,
    write::{Cause, Grant, Revoke},
};

/// What etcd answers for a lease that does not exist.
const GONE_SECONDS: i64 = -1;

#[async_trait]
impl PbLeaseService for Service {
    type LeaseKeepAliveStream = ReceiverStream<Result<PbLeaseKeepAliveResponse, Status>>;

    async fn lease_grant(
        &self,
        request: Request<PbLeaseGrantRequest>,
    ) -> Result<Response<PbLeaseGrantResponse>, Status> {
        let request = request.into_inner();
        let granted = self.shared.write(Grant { id: request.id, seconds: request.ttl }).await?;
        Ok(Response::new(PbLeaseGrantResponse {
            header: self.shared.header(granted.revision),
            id: granted.id,
            ttl: granted.seconds,
            error: String::new(),
        }))
    }

    async fn lease_revoke(
        &self,
        request: Request<PbLeaseRevokeRequest>,
    ) -> Result<Response<PbLeaseRevokeResponse>, Status> {
        let revoked = self.shared.write(Revoke { id: request.into_inner().id, cause: Cause::Request }).await?;
        Ok(Response::new(PbLeaseRevokeResponse { header: self.shared.header(revoked.revision) }))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<PbLeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let (out, responses) = mpsc::channel(16);
        tokio::spawn(keep_alive(self.shared.clone(), request.into_inner(), out));
        Ok(Response::new(ReceiverStream::new(responses)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<PbLeaseTimeToLiveRequest>,
    ) -> Result<Response<PbLeaseTimeToLiveResponse>, Status> {
        let request = request.into_inner();
        let snapshot = self.shared.snapshot();
        let header = self.shared.header(snapshot.revision);
        let remaining = self.shared.lessor().remaining(request.id, Instant::now());
        let Some(remaining) = remaining else {
            return Ok(Response::new(PbLeaseTimeToLiveResponse {
                header,
                id: request.id,
                ttl: GONE_SECONDS,
                ..PbLeaseTimeToLiveResponse::default()
            }));
        };
        let keys = if request.keys { snapshot.lease_keys(request.id).map_err(Failure::from)? } else { Vec::new() };
        Ok(Response::new(PbLeaseTimeToLiveResponse {
            header,
            id: request.id,
            ttl: i64::try_from(remaining.left.as_secs()).unwrap_or(i64::MAX),
            granted_ttl: remaining.granted_seconds,
            keys,
        }))
    }

    async fn lease_leases(
        &self,
        _request: Request<PbLeaseLeasesRequest>,
    ) -> Result<Response<PbLeaseLeasesResponse>, Status> {
        let leases = self.shared.lessor().ids().map(|id| PbLeaseStatus { id }).collect();
        let header = self.shared.header(self.shared.snapshot().revision);
        Ok(Response::new(PbLeaseLeasesResponse { header, leases }))
    }
}

/// Answers keep-alives until the client leaves or the server stops; a lease that is gone has zero seconds.
async fn keep_alive(
    shared: Arc<Shared>,
    mut requests: Streaming<PbLeaseKeepAliveRequest>,
    out: mpsc::Sender<Result<PbLeaseKeepAliveResponse, Status>>,
) {
    let mut stopping = shared.stopping.subscribe();
    loop {
        let request = tokio::select! {
            request = requests.message() => request,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        let Ok(Some(request)) = request else { return };
        let renewed = shared.lessor().renew(request.id, Instant::now());
        shared.metrics.count(LEASES_RENEWED, u64::from(renewed.is_some()));
        let seconds = renewed.unwrap_or(0);
        let header = shared.header(shared.snapshot().revision);
        let response = PbLeaseKeepAliveResponse { header, id: request.id, ttl: seconds };
        if out.send(Ok(response)).await.is_err() {
            return;
        }
    }
}
