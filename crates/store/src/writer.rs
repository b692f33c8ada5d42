//! The one thread that writes.
//!
//! It takes every request that is waiting, applies them one after the other in one database transaction, pays for one
//! fsync, and then, in this order: makes the new state readable, publishes its events, and answers. So nobody is told
//! of a write that a power cut could take back, or reads a state older than an answer they have. Between groups it
//! prunes compacted history, a bounded piece at a time.
//!
//! When the disk is full (module `mvcc::disk`), the group under way and all that follow are refused, and reads go on
//! from the last commit. Each later group first asks whether there is space again; if so the file is opened anew.

use std::{
    error::Error,
    sync::{
        Arc,
        mpsc::{Receiver, TryRecvError},
    },
    time::Instant,
};

use etcd_client::proto::{PbDeleteRequest, PbDeleteResponse, PbPutRequest, PbPutResponse, PbTxnRequest, PbTxnResponse};
use tokio::sync::oneshot;

use crate::{
    mvcc::{
        check,
        storage::{self, Storage},
        writing::Writing,
    },
    refusal::{Failure, Fault, Refusal},
    shared::{Group, Shared},
};

/// Requests that share one fsync at most.
const GROUP: usize = 512;
/// Revisions pruned in one transaction, a few milliseconds of work.
const PRUNE_STEP: i64 = 500;

/// A request that changes the store.
pub(crate) trait Write: Send + 'static {
    /// What it is answered with.
    type Answer: Send + 'static;

    /// Applies it to the open transaction.
    fn apply(&self, writing: &mut Writing<'_>, shared: &Shared) -> Result<Self::Answer, Failure>;

    /// Whether it may make the file grow, and is refused when the file has its full size.
    fn grows(&self) -> bool {
        false
    }

    /// Takes effect in memory once its transaction is on disk.
    fn committed(_answer: &Self::Answer, _shared: &Shared) {}
}

impl Write for PbPutRequest {
    type Answer = PbPutResponse;

    fn apply(&self, writing: &mut Writing<'_>, _shared: &Shared) -> Result<Self::Answer, Failure> {
        writing.put(self)
    }

    fn grows(&self) -> bool {
        true
    }
}

impl Write for PbDeleteRequest {
    type Answer = PbDeleteResponse;

    fn apply(&self, writing: &mut Writing<'_>, _shared: &Shared) -> Result<Self::Answer, Failure> {
        writing.delete(self)
    }
}

impl Write for PbTxnRequest {
    type Answer = PbTxnResponse;

    fn apply(&self, writing: &mut Writing<'_>, _shared: &Shared) -> Result<Self::Answer, Failure> {
        writing.txn(self)
    }

    fn grows(&self) -> bool {
        check::puts(self)
    }
}

/// Makes a lease; an id of zero asks for a fresh one.
pub(crate) struct Grant {
    pub(crate) id: i64,
    pub(crate) seconds: i64,
}

/// The lease made.
pub(crate) struct Granted {
    pub(crate) id: i64,
    pub(crate) seconds: i64,
    pub(crate) revision: i64,
}

impl Write for Grant {
    type Answer = Granted;

    fn apply(&self, writing: &mut Writing<'_>, _shared: &Shared) -> Result<Self::Answer, Failure> {
        let mut id = self.id;
        while id == 0 || (self.id == 0 && writing.has_lease(id)?) {
            id = storage::random();
        }
        let seconds = writing.grant(id, self.seconds)?;
        Ok(Granted { id, seconds, revision: writing.revision() })
    }

    fn grows(&self) -> bool {
        true
    }

    fn committed(answer: &Self::Answer, shared: &Shared) {
        shared.lessor().insert(answer.id, answer.seconds, Instant::now());
        shared.leases_changed.notify_one();
    }
}

/// Ends a lease and deletes its keys.
pub(crate) struct Revoke {
    pub(crate) id: i64,
    pub(crate) cause: Cause,
}

/// Why a lease ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A client asks.
    Request,
    /// It has run out, unless a keep-alive was faster.
    Expiry,
}

/// The lease ended.
pub(crate) struct Revoked {
    id: i64,
    pub(crate) revision: i64,
}

impl Write for Revoke {
    type Answer = Revoked;

    fn apply(&self, writing: &mut Writing<'_>, shared: &Shared) -> Result<Self::Answer, Failure> {
        if self.cause == Cause::Expiry && !shared.lessor().end_if_expired(self.id, Instant::now()) {
            return Err(Refusal::LeaseNotFound.into());
        }
        Ok(Revoked { id: self.id, revision: writing.revoke(self.id)? })
    }

    fn committed(answer: &Self::Answer, shared: &Shared) {
        shared.lessor().remove(answer.id);
    }
}

/// Makes a revision the oldest that can be read; answered with the current revision.
pub(crate) struct Compact {
    pub(crate) revision: i64,
}

impl Write for Compact {
    type Answer = i64;

    fn apply(&self, writing: &mut Writing<'_>, _shared: &Shared) -> Result<Self::Answer, Failure> {
        writing.compact(self.revision)
    }
}

/// Frees all compacted history at once, however long it takes.
pub(crate) struct PruneAll;

impl Write for PruneAll {
    type Answer = ();

    fn apply(&self, writing: &mut Writing<'_>, _shared: &Shared) -> Result<(), Failure> {
        writing.prune(i64::MAX)?;
        Ok(())
    }
}

/// What the writer is told.
pub(crate) enum Command {
    Write(Box<dyn Queued>),
    Stop,
}

impl Command {
    pub(crate) fn new<W: Write>(write: W, reply: oneshot::Sender<Result<W::Answer, Refusal>>) -> Self {
        Self::Write(Box::new(Waiting { write, reply }))
    }
}

/// A write of any kind, and who waits for it.
pub(crate) trait Queued: Send {
    fn grows(&self) -> bool;

    /// Applies the write and turns into what is left to do after the commit.
    fn apply(self: Box<Self>, writing: &mut Writing<'_>, shared: &Shared) -> Result<Box<dyn Settled>, Fault>;

    fn refuse(self: Box<Self>, refusal: Refusal);
}

/// An applied write: dropped when the commit fails, which tells its client that the server is gone.
pub(crate) trait Settled {
    fn committed(&self, shared: &Shared);

    fn answer(self: Box<Self>);

    /// Says that it did not happen after all.
    fn refuse(self: Box<Self>, refusal: Refusal);
}

struct Waiting<W: Write> {
    write: W,
    reply: oneshot::Sender<Result<W::Answer, Refusal>>,
}

impl<W: Write> Queued for Waiting<W> {
    fn grows(&self) -> bool {
        self.write.grows()
    }

    fn apply(self: Box<Self>, writing: &mut Writing<'_>, shared: &Shared) -> Result<Box<dyn Settled>, Fault> {
        let answer = match self.write.apply(writing, shared) {
            Ok(answer) => Ok(answer),
            Err(Failure::Refused(refusal)) => Err(refusal),
            Err(Failure::Fault(fault)) => return Err(fault),
        };
        Ok(Box::new(Applied::<W> { answer, reply: self.reply }))
    }

    fn refuse(self: Box<Self>, refusal: Refusal) {
        // nobody waits any more if this fails
        let _ = self.reply.send(Err(refusal));
    }
}

struct Applied<W: Write> {
    answer: Result<W::Answer, Refusal>,
    reply: oneshot::Sender<Result<W::Answer, Refusal>>,
}

impl<W: Write> Settled for Applied<W> {
    fn committed(&self, shared: &Shared) {
        if let Ok(answer) = &self.answer {
            W::committed(answer, shared);
        }
    }

    fn answer(self: Box<Self>) {
        // nobody waits any more if this fails; the write stands
        let _ = self.reply.send(self.answer);
    }

    fn refuse(self: Box<Self>, refusal: Refusal) {
        // nobody waits any more if this fails
        let _ = self.reply.send(Err(refusal));
    }
}

/// The writer thread's state.
pub(crate) struct Writer {
    storage: Storage,
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    /// The file's size from which on growth is refused.
    quota_bytes: Option<u64>,
    /// Compacted history is still in the file.
    prunable: bool,
    /// Databases whose disk was full, until their last snapshot is read.
    retired: Vec<Storage>,
}

/// Whether the writer goes on after a group.
#[derive(PartialEq, Eq)]
enum Next {
    Continue,
    Stop,
}

impl Writer {
    pub(crate) fn new(
        storage: Storage,
        shared: Arc<Shared>,
        commands: Receiver<Command>,
        quota_bytes: Option<u64>,
    ) -> Self {
        // a stop may have come between a compaction and its pruning
        Self { storage, shared, commands, quota_bytes, prunable: true, retired: Vec::new() }
    }

    /// Serves until told to stop, or until the file fails; then closes the file.
    pub(crate) fn run(mut self) -> Result<(), Fault> {
        let outcome = self.serve();
        if let Err(fault) = &outcome {
            tracing::error!(error = fault as &dyn Error, "the writer stops");
        }
        if let Err(error) = self.storage.database.close() {
            tracing::error!(error = &error as &dyn Error, "close the database");
        }
        outcome
    }

    fn serve(&mut self) -> Result<(), Fault> {
        if self.storage.is_full() {
            self.say_full();
        }
        loop {
            let first = if self.prunable && !self.storage.is_full() {
                match self.commands.try_recv() {
                    Ok(command) => command,
                    Err(TryRecvError::Empty) => {
                        self.prune()?;
                        continue;
                    }
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
            } else {
                match self.commands.recv() {
                    Ok(command) => command,
                    Err(_) => return Ok(()),
                }
            };
            if self.serve_group(first)? == Next::Stop {
                return Ok(());
            }
        }
    }

    fn serve_group(&mut self, first: Command) -> Result<Next, Fault> {
        let mut next = Next::Continue;
        let mut group = Vec::new();
        let mut command = Some(first);
        while let Some(taken) = command.take() {
            match taken {
                Command::Write(write) => group.push(write),
                Command::Stop => {
                    next = Next::Stop;
                    break;
                }
            }
            if group.len() < GROUP {
                command = self.commands.try_recv().ok();
            }
        }
        if !group.is_empty() {
            self.commit(group)?;
        }
        Ok(next)
    }

    fn commit(&mut self, group: Vec<Box<dyn Queued>>) -> Result<(), Fault> {
        if self.storage.is_full() && !self.recover()? {
            group.into_iter().for_each(|write| write.refuse(Refusal::DiskFull));
            return Ok(());
        }
        let full = self.has_quota_size();
        let transaction = self.storage.database.begin_write()?;
        let mut writing = Writing::open(&transaction)?;
        let mut settled = Vec::with_capacity(group.len());
        for write in group {
            if full && write.grows() {
                write.refuse(Refusal::NoSpace);
            } else {
                settled.push(write.apply(&mut writing, &self.shared)?);
            }
        }
        let revision = writing.revision();
        if let Some(changes) = writing.close()? {
            transaction.commit()?;
            if self.storage.is_full() {
                self.say_full();
                settled.into_iter().for_each(|write| write.refuse(Refusal::DiskFull));
                return Ok(());
            }
            let snapshot = self.storage.snapshot()?;
            self.prunable |= snapshot.compacted > self.shared.snapshot().compacted;
            self.shared.replace_snapshot(snapshot);
            for write in &settled {
                write.committed(&self.shared);
            }
            if !changes.is_empty() {
                // an error means that nobody watches
                let _ = self.shared.events.send(Arc::new(Group { revision, changes }));
            }
        } else {
            transaction.abort()?;
        }
        for write in settled {
            write.answer();
        }
        Ok(())
    }

    fn prune(&mut self) -> Result<(), Fault> {
        let transaction = self.storage.database.begin_write()?;
        let mut writing = Writing::open(&transaction)?;
        let prunable = writing.prune(PRUNE_STEP)?;
        if writing.close()?.is_some() {
            transaction.commit()?;
            if self.storage.is_full() {
                self.say_full();
                return Ok(());
            }
            self.shared.replace_snapshot(self.storage.snapshot()?);
        } else {
            transaction.abort()?;
        }
        self.prunable = prunable;
        Ok(())
    }

    /// Opens the file again if its disk has space; tells whether it had. What is read is at the same revision as before.
    fn recover(&mut self) -> Result<bool, Fault> {
        self.retired.retain(Storage::is_read);
        let Some(storage) = self.storage.anew().map_err(|error| Fault::Reopen(Box::new(error)))? else {
            return Ok(false);
        };
        let snapshot = storage.snapshot()?;
        let (expect, found) = (self.shared.snapshot().revision, snapshot.revision);
        if found != expect {
            return Err(Fault::Changed { expect, found });
        }
        self.retired.push(std::mem::replace(&mut self.storage, storage));
        self.shared.replace_snapshot(snapshot);
        self.prunable = true;
        tracing::info!(revision = found, "the disk has space again");
        Ok(true)
    }

    fn say_full(&self) {
        let file = self.storage.file.display();
        let revision = self.shared.snapshot().revision;
        tracing::warn!(%file, revision, "the disk is full: every write is refused until it has space");
    }

    fn has_quota_size(&self) -> bool {
        let size = || std::fs::metadata(&self.storage.file).map_or(0, |metadata| metadata.len());
        self.quota_bytes.is_some_and(|quota| size() >= quota)
    }
}
