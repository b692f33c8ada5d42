//! What every connection has in hand: the latest snapshot, the way to the writer, the events as they are committed.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, mpsc},
};

use etcd_client::proto::PbResponseHeader;
use tokio::sync::{Notify, broadcast, oneshot, watch};
use tonic::Status;

use crate::{
    lease::Lessor,
    mvcc::{
        storage::{Identity, Snapshot},
        view,
        writing::Change,
    },
    refusal::Refusal,
    writer::{Command, Write},
};

/// Groups a slow watch may be behind before it reads the history from the file instead.
const EVENT_GROUPS: usize = 256;

/// The events of one commit.
#[derive(Debug)]
pub(crate) struct Group {
    /// The revision the store stands at after it.
    pub(crate) revision: i64,
    pub(crate) changes: Vec<Change>,
}

/// State shared by all connections, the writer and the timers.
pub(crate) struct Shared {
    pub(crate) identity: Identity,
    pub(crate) file: PathBuf,
    pub(crate) name: String,
    pub(crate) advertise_client_urls: Vec<String>,
    /// Groups are sent after their snapshot is in place.
    pub(crate) events: broadcast::Sender<Arc<Group>>,
    /// Wakes the task that waits for the next lease to run out.
    pub(crate) leases_changed: Notify,
    pub(crate) stopping: watch::Sender<bool>,
    snapshot: RwLock<Arc<Snapshot>>,
    lessor: Mutex<Lessor>,
    writer: mpsc::Sender<Command>,
}

/// What [`Shared::new`] is told once.
pub(crate) struct Origin {
    pub(crate) identity: Identity,
    pub(crate) file: PathBuf,
    pub(crate) name: String,
    pub(crate) advertise_client_urls: Vec<String>,
    pub(crate) snapshot: Snapshot,
    pub(crate) lessor: Lessor,
}

impl Shared {
    pub(crate) fn new(origin: Origin, writer: mpsc::Sender<Command>) -> Self {
        Self {
            identity: origin.identity,
            file: origin.file,
            name: origin.name,
            advertise_client_urls: origin.advertise_client_urls,
            events: broadcast::Sender::new(EVENT_GROUPS),
            leases_changed: Notify::new(),
            stopping: watch::Sender::new(false),
            snapshot: RwLock::new(Arc::new(origin.snapshot)),
            lessor: Mutex::new(origin.lessor),
            writer,
        }
    }

    /// Returns the state after the last commit.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn replace_snapshot(&self, snapshot: Snapshot) {
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
    }

    pub(crate) fn lessor(&self) -> MutexGuard<'_, Lessor> {
        self.lessor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a request to the writer and waits until it is on disk, or refused.
    pub(crate) async fn write<W: Write>(&self, write: W) -> Result<W::Answer, Status> {
        let (reply, answer) = oneshot::channel();
        let unavailable = |_| Status::unavailable("etcdserver: server stopped");
        self.writer.send(Command::new(write, reply)).map_err(|_| Status::unavailable("etcdserver: server stopped"))?;
        let answer: Result<W::Answer, Refusal> = answer.await.map_err(unavailable)?;
        Ok(answer?)
    }

    /// Tells the writer to finish what it has and close the file.
    pub(crate) fn stop_writer(&self) {
        // an error means that it has stopped already
        let _ = self.writer.send(Command::Stop);
    }

    pub(crate) fn header(&self, revision: i64) -> Option<PbResponseHeader> {
        let mut header = Some(view::header(revision));
        self.sign(&mut header);
        header
    }

    /// Adds who answers to a header that has its revision.
    pub(crate) fn sign(&self, header: &mut Option<PbResponseHeader>) {
        let header = header.get_or_insert_default();
        header.cluster_id = self.identity.cluster;
        header.member_id = self.identity.member;
        header.raft_term = self.identity.term;
    }
}
