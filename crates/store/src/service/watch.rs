//! `etcdserverpb.Watch`: starts a task for each stream.

use etcd_client::proto::{PbWatchRequest, PbWatchResponse, PbWatchService};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::Service;
use crate::watch::Stream;

/// Responses on their way to the client; the events behind them wait in the shared groups or in the file.
const IN_FLIGHT: usize = 4;

#[async_trait]
impl PbWatchService for Service {
    type WatchStream = ReceiverStream<Result<PbWatchResponse, Status>>;

    async fn watch(&self, request: Request<Streaming<PbWatchRequest>>) -> Result<Response<Self::WatchStream>, Status> {
        let (out, responses) = mpsc::channel(IN_FLIGHT);
        tokio::spawn(Stream::run(self.shared.clone(), request.into_inner(), out));
        Ok(Response::new(ReceiverStream::new(responses)))
    }
}
