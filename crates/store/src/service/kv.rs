//! `etcdserverpb.KV`: reads are answered from the latest snapshot on the spot, writes by the writer.

use etcd_client::proto::{
    PbCompactionRequest, PbCompactionResponse, PbDeleteRequest, PbDeleteResponse, PbKvService, PbPutRequest,
    PbPutResponse, PbRangeRequest, PbRangeResponse, PbRangeStreamResponse, PbTxnRequest, PbTxnResponse,
};
use tokio_stream::Empty;
use tonic::{Request, Response, Status, async_trait};

use super::{Service, check_size, unsupported};
use crate::{
    metrics::{RANGES, TXNS},
    mvcc::{check, view::header, writing::Chosen},
    refusal::Failure,
    write::{Compact, PruneAll},
};

/// What `etcdctl endpoint health` reads, a key that nobody has. Its releases up to 3.4 look no further, so the answer is
/// where an alarm has to be told.
const HEALTH_KEY: &[u8] = b"health";

#[async_trait]
impl PbKvService for Service {
    type RangeStreamStream = Empty<Result<PbRangeStreamResponse, Status>>;

    async fn range(&self, request: Request<PbRangeRequest>) -> Result<Response<PbRangeResponse>, Status> {
        let request = request.into_inner();
        check::range(&request)?;
        self.shared.metrics.count(RANGES, 1);
        let mut response = self.shared.snapshot().view().range(&request)?;
        if response.count == 0 && request.key == HEALTH_KEY && request.range_end.is_empty() {
            self.shared.look_for_space().await;
            self.shared.check_alarms()?;
        }
        self.shared.sign(&mut response.header);
        Ok(Response::new(response))
    }

    async fn range_stream(
        &self,
        _request: Request<PbRangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        unsupported("RangeStream")
    }

    async fn put(&self, request: Request<PbPutRequest>) -> Result<Response<PbPutResponse>, Status> {
        let request = request.into_inner();
        check::put(&request)?;
        check_size(&request)?;
        let mut response = self.shared.write(request).await?;
        self.shared.sign(&mut response.header);
        Ok(Response::new(response))
    }

    async fn delete_range(&self, request: Request<PbDeleteRequest>) -> Result<Response<PbDeleteResponse>, Status> {
        let request = request.into_inner();
        check::delete(&request)?;
        let mut response = self.shared.write(request).await?;
        self.shared.sign(&mut response.header);
        Ok(Response::new(response))
    }

    async fn txn(&self, request: Request<PbTxnRequest>) -> Result<Response<PbTxnResponse>, Status> {
        let request = request.into_inner();
        check::txn(&request)?;
        check_size(&request)?;
        self.shared.metrics.count(TXNS, 1);
        let mut response =
            if check::reads_only(&request) { self.read_txn(&request)? } else { self.shared.write(request).await? };
        self.shared.sign(&mut response.header);
        Ok(Response::new(response))
    }

    async fn compact(&self, request: Request<PbCompactionRequest>) -> Result<Response<PbCompactionResponse>, Status> {
        let request = request.into_inner();
        let revision = self.shared.write(Compact { revision: request.revision }).await?;
        if request.physical {
            self.shared.write(PruneAll).await?;
        }
        Ok(Response::new(PbCompactionResponse { header: self.shared.header(revision) }))
    }
}

impl Service {
    fn read_txn(&self, request: &PbTxnRequest) -> Result<PbTxnResponse, Failure> {
        let snapshot = self.shared.snapshot();
        let view = snapshot.view();
        let chosen = Chosen::new(view, request)?;
        chosen.check_ranges(view)?;
        let mut response = chosen.read(view)?;
        response.header = Some(header(snapshot.revision));
        Ok(response)
    }
}
