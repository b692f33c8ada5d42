//! `etcdserverpb.Maintenance`: status, and the calls that have little to do here.
//!
//! Defragment succeeds without doing anything: redb reuses freed pages and gives the end of the file back by itself.

use etcd_client::proto::{
    PbAlarmRequest, PbAlarmResponse, PbDefragmentRequest, PbDefragmentResponse, PbDowngradeRequest,
    PbDowngradeResponse, PbHashKvRequest, PbHashKvResponse, PbHashRequest, PbHashResponse, PbMaintenanceService,
    PbMoveLeaderRequest, PbMoveLeaderResponse, PbSnapshotRequest, PbSnapshotResponse, PbStatusRequest,
    PbStatusResponse,
};
use redb::ReadableTable;
use tokio_stream::Empty;
use tonic::{Request, Response, Status, async_trait};

use super::{Service, unsupported};
use crate::{
    mvcc::storage::Snapshot,
    refusal::{Failure, Fault},
};

/// The release of etcd whose behaviour the store follows.
const ETCD_VERSION: &str = "3.4.23";

#[async_trait]
impl PbMaintenanceService for Service {
    type SnapshotStream = Empty<Result<PbSnapshotResponse, Status>>;

    async fn status(&self, _request: Request<PbStatusRequest>) -> Result<Response<PbStatusResponse>, Status> {
        let revision = self.shared.snapshot().revision;
        let identity = self.shared.identity;
        let size = std::fs::metadata(&self.shared.file)?.len();
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        // there is no log: a revision stands for an entry
        let index = revision.cast_unsigned();
        Ok(Response::new(PbStatusResponse {
            header: self.shared.header(revision),
            version: ETCD_VERSION.to_owned(),
            db_size: size,
            db_size_in_use: size,
            leader: identity.member,
            raft_index: index,
            raft_applied_index: index,
            raft_term: identity.term,
            ..PbStatusResponse::default()
        }))
    }

    async fn alarm(&self, _request: Request<PbAlarmRequest>) -> Result<Response<PbAlarmResponse>, Status> {
        let header = self.shared.header(self.shared.snapshot().revision);
        Ok(Response::new(PbAlarmResponse { header, alarms: Vec::new() }))
    }

    async fn defragment(
        &self,
        _request: Request<PbDefragmentRequest>,
    ) -> Result<Response<PbDefragmentResponse>, Status> {
        Ok(Response::new(PbDefragmentResponse { header: self.shared.header(0) }))
    }

    async fn hash(&self, _request: Request<PbHashRequest>) -> Result<Response<PbHashResponse>, Status> {
        let snapshot = self.shared.snapshot();
        let hash = hash(&snapshot, snapshot.revision).map_err(Failure::from)?;
        Ok(Response::new(PbHashResponse { header: self.shared.header(snapshot.revision), hash }))
    }

    async fn hash_kv(&self, request: Request<PbHashKvRequest>) -> Result<Response<PbHashKvResponse>, Status> {
        let asked = request.into_inner().revision;
        let snapshot = self.shared.snapshot();
        snapshot.view().check_revision(asked)?;
        let revision = if asked > 0 { asked } else { snapshot.revision };
        Ok(Response::new(PbHashKvResponse {
            header: self.shared.header(snapshot.revision),
            hash: hash(&snapshot, revision).map_err(Failure::from)?,
            compact_revision: snapshot.compacted,
            hash_revision: revision,
        }))
    }

    async fn snapshot(&self, _request: Request<PbSnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(Status::unimplemented(
            "tortie store: Snapshot is not supported: its file is no etcd database; stop the store and copy its data \
             directory instead",
        ))
    }

    async fn move_leader(
        &self,
        _request: Request<PbMoveLeaderRequest>,
    ) -> Result<Response<PbMoveLeaderResponse>, Status> {
        unsupported("MoveLeader")
    }

    async fn downgrade(&self, _request: Request<PbDowngradeRequest>) -> Result<Response<PbDowngradeResponse>, Status> {
        unsupported("Downgrade")
    }
}

/// Hashes the history up to a revision (FNV-1a, 32 bits). Equal stores have equal hashes; etcd's is another function.
fn hash(snapshot: &Snapshot, revision: i64) -> Result<u32, Fault> {
    let mut hash = 0x811c_9dc5_u32;
    let mut feed = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    };
    for entry in ReadableTable::range(&snapshot.events, ..=(revision, u32::MAX))? {
        let (key, record) = entry?;
        let (main, sub) = key.value();
        feed(&main.to_le_bytes());
        feed(&sub.to_le_bytes());
        feed(record.value());
    }
    Ok(hash)
}
