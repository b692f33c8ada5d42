//! `etcdserverpb.Maintenance`: status, alarms, defragmentation, snapshots, and the calls that have little to do here.
//!
//! There is one alarm, NOSPACE. At the quota it stays until it is disarmed, as in etcd; on a full disk, where etcd ends,
//! it goes by itself with the cause.

use etcd_client::proto::{
    PbAlarmMember, PbAlarmRequest, PbAlarmResponse, PbDefragmentRequest, PbDefragmentResponse, PbDowngradeRequest,
    PbDowngradeResponse, PbHashKvRequest, PbHashKvResponse, PbHashRequest, PbHashResponse, PbMaintenanceService,
    PbMoveLeaderRequest, PbMoveLeaderResponse, PbSnapshotRequest, PbSnapshotResponse, PbStatusRequest,
    PbStatusResponse,
};
use redb::ReadableTable;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, async_trait};

use super::{Service, snapshot, unsupported};
use crate::{
    metrics::ETCD_VERSION,
    mvcc::storage::Snapshot,
    refusal::{Failure, Fault, Refusal},
    write::QuotaAlarm,
};

/// `AlarmRequest.AlarmAction`.
const GET: i32 = 0;
const ACTIVATE: i32 = 1;
const DEACTIVATE: i32 = 2;
/// `AlarmType`; the first stands for all in a request.
const ANY: i32 = 0;
const NO_SPACE: i32 = 1;

#[async_trait]
impl PbMaintenanceService for Service {
    type SnapshotStream = ReceiverStream<Result<PbSnapshotResponse, Status>>;

    async fn status(&self, _request: Request<PbStatusRequest>) -> Result<Response<PbStatusResponse>, Status> {
        self.shared.look_for_space().await;
        let snapshot = self.shared.snapshot();
        let revision = snapshot.revision;
        let identity = self.shared.identity;
        // it goes through the whole file, beside the connections' thread
        let used = tokio::task::spawn_blocking(move || snapshot.used_bytes()).await;
        let used = used.map_err(|error| Status::internal(error.to_string()))?.map_err(Failure::from)?;
        let size = std::fs::metadata(&self.shared.file)?.len();
        // there is no log: a revision stands for an entry
        let index = revision.cast_unsigned();
        Ok(Response::new(PbStatusResponse {
            header: self.shared.header(revision),
            version: ETCD_VERSION.to_owned(),
            db_size: i64::try_from(size).unwrap_or(i64::MAX),
            db_size_in_use: i64::try_from(used).unwrap_or(i64::MAX),
            leader: identity.member,
            raft_index: index,
            raft_applied_index: index,
            raft_term: identity.term,
            errors: self.alarm().map(|alarm| show(&alarm)).into_iter().collect(),
            ..PbStatusResponse::default()
        }))
    }

    async fn alarm(&self, request: Request<PbAlarmRequest>) -> Result<Response<PbAlarmResponse>, Status> {
        let request = request.into_inner();
        let about = [ANY, NO_SPACE].contains(&request.alarm);
        let own = [0, self.shared.identity.member].contains(&request.member_id);
        let member = PbAlarmMember { member_id: self.shared.identity.member, alarm: NO_SPACE };
        let alarms = match request.action {
            GET => {
                self.shared.look_for_space().await;
                self.alarm().filter(|_| about).into_iter().collect()
            }
            ACTIVATE | DEACTIVATE if request.alarm == NO_SPACE && own => {
                let switched = self.shared.write(QuotaAlarm { on: request.action == ACTIVATE }).await?;
                self.shared.look_for_space().await;
                switched.changed.then_some(member).into_iter().collect()
            }
            // an alarm that is never raised, or another member's
            DEACTIVATE => Vec::new(),
            _ => return unsupported("an alarm other than NOSPACE"),
        };
        let header = self.shared.header(self.shared.snapshot().revision);
        Ok(Response::new(PbAlarmResponse { header, alarms }))
    }

    async fn defragment(
        &self,
        _request: Request<PbDefragmentRequest>,
    ) -> Result<Response<PbDefragmentResponse>, Status> {
        self.shared.defragment().await?;
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
        Ok(Response::new(snapshot::send(&self.shared)))
    }

    async fn move_leader(
        &self,
        request: Request<PbMoveLeaderRequest>,
    ) -> Result<Response<PbMoveLeaderResponse>, Status> {
        if request.into_inner().target_id != self.shared.identity.member {
            return Err(Refusal::BadLeaderTransferee.into());
        }
        Ok(Response::new(PbMoveLeaderResponse { header: self.shared.header(self.shared.snapshot().revision) }))
    }

    async fn downgrade(&self, _request: Request<PbDowngradeRequest>) -> Result<Response<PbDowngradeResponse>, Status> {
        unsupported("Downgrade")
    }
}

impl Service {
    /// The alarm that is on, if any.
    fn alarm(&self) -> Option<PbAlarmMember> {
        let member_id = self.shared.identity.member;
        self.shared.check_alarms().err().map(|_| PbAlarmMember { member_id, alarm: NO_SPACE })
    }
}

/// Writes an alarm as etcd's status does.
fn show(alarm: &PbAlarmMember) -> String {
    format!("memberID:{} alarm:NOSPACE ", alarm.member_id)
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
