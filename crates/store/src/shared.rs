//! What every connection has in hand: the latest snapshot, the way to the writer, the events as they are committed.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use etcd_client::proto::PbResponseHeader;
use tokio::sync::{Notify, broadcast, oneshot, watch};
use tonic::Status;

use crate::{
    lease::Lessor,
    metrics::Metrics,
    mvcc::{
        storage::{Identity, Snapshot},
        view,
        writing::Change,
    },
    refusal::{Fault, Refusal},
    write::Write,
    writer::Command,
};

/// Groups a slow watch may be behind before it reads the history from the file instead.
const EVENT_GROUPS: usize = 256;

/// How long readers may take to finish before the database is changed under them, and how often that is looked at.
const READERS_FINISH: Duration = Duration::from_secs(10);
const READER_PAUSE: Duration = Duration::from_millis(1);

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
    pub(crate) metrics: Arc<Metrics>,
    /// Groups are sent after their snapshot is in place.
    pub(crate) events: broadcast::Sender<Arc<Group>>,
    /// Wakes the task that waits for the next lease to run out.
    pub(crate) leases_changed: Notify,
    pub(crate) stopping: watch::Sender<bool>,
    /// The quota was used up, and nobody has disarmed the alarm since.
    pub(crate) quota_alarm: AtomicBool,
    /// The space that is to be set aside cannot be had.
    pub(crate) disk_alarm: AtomicBool,
    /// None only when the file failed, which ends the server.
    snapshot: RwLock<Option<Arc<Snapshot>>>,
    lessor: Mutex<Lessor>,
    writer: mpsc::Sender<Command>,
}

/// What [`Shared::new`] is told once.
pub(crate) struct Origin {
    pub(crate) identity: Identity,
    pub(crate) file: PathBuf,
    pub(crate) name: String,
    pub(crate) advertise_client_urls: Vec<String>,
    pub(crate) metrics: Metrics,
    pub(crate) quota_alarm: bool,
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
            metrics: Arc::new(origin.metrics),
            events: broadcast::Sender::new(EVENT_GROUPS),
            leases_changed: Notify::new(),
            stopping: watch::Sender::new(false),
            quota_alarm: AtomicBool::new(origin.quota_alarm),
            disk_alarm: AtomicBool::new(false),
            snapshot: RwLock::new(Some(Arc::new(origin.snapshot))),
            lessor: Mutex::new(origin.lessor),
            writer,
        }
    }

    /// Returns the state after the last commit. Nobody keeps it while waiting for something.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        let snapshot = self.snapshot.read().unwrap_or_else(PoisonError::into_inner);
        snapshot.clone().expect("there is a snapshot unless the file failed, which ends the server")
    }

    pub(crate) fn replace_snapshot(&self, snapshot: Snapshot) {
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(snapshot));
    }

    /// Does something to the database that no reader may see; readers wait, and read what it returns. `earlier` counts
    /// the readers of earlier snapshots. Does nothing when some reader does not finish, and tells that.
    pub(crate) fn without_readers(
        &self,
        mut earlier: impl FnMut() -> usize,
        change: impl FnOnce() -> Result<(bool, Snapshot), Fault>,
    ) -> Result<bool, Fault> {
        let deadline = Instant::now() + READERS_FINISH;
        loop {
            let mut held = self.snapshot.write().unwrap_or_else(PoisonError::into_inner);
            if held.as_ref().is_none_or(|snapshot| Arc::strong_count(snapshot) == 1) && earlier() == 0 {
                *held = None;
                let (done, snapshot) = change()?;
                *held = Some(Arc::new(snapshot));
                return Ok(done);
            }
            drop(held);
            if Instant::now() > deadline {
                return Ok(false);
            }
            // readers finish within milliseconds, and say nothing when they do
            std::thread::sleep(READER_PAUSE);
        }
    }

    /// Refuses with the reason why nothing can be added, if there is one.
    pub(crate) fn check_alarms(&self) -> Result<(), Refusal> {
        if self.quota_alarm.load(Ordering::Acquire) {
            return Err(Refusal::QuotaAlarm);
        }
        if self.disk_alarm.load(Ordering::Acquire) { Err(Refusal::DiskAlarm) } else { Ok(()) }
    }

    /// Lets the writer find out whether a full disk has space again.
    pub(crate) async fn look_for_space(&self) {
        if self.disk_alarm.load(Ordering::Acquire) {
            let (reply, answer) = oneshot::channel();
            // an error means that the server stops
            if self.writer.send(Command::Look(reply)).is_ok() {
                let _ = answer.await;
            }
        }
    }

    /// Shrinks the file to what is in use.
    pub(crate) async fn defragment(&self) -> Result<(), Status> {
        let (reply, answer) = oneshot::channel();
        let stopped = || Status::unavailable("etcdserver: server stopped");
        self.writer.send(Command::Defragment(reply)).map_err(|_| stopped())?;
        Ok(answer.await.map_err(|_| stopped())??)
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
