//! The one thread that writes.
//!
//! It takes every request that is waiting, applies them one after the other in one database transaction, pays for one
//! fsync, and then, in this order: makes the new state readable, publishes its events, and answers. So nobody is told
//! of a write that a power cut could take back, or reads a state older than an answer they have. Between groups it
//! prunes compacted history, a bounded piece at a time.
//!
//! When the disk is full (module `mvcc::disk`), what adds is refused, and reads go on from the last commit. What frees
//! is tried again with the space that is set aside (module `mvcc::reserve`): deletions with a part of it, compaction
//! with all. Each later request that adds first asks whether that space can be had back.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, TryRecvError},
    },
    time::Instant,
};

use tokio::sync::oneshot;

use crate::{
    metrics::{COMMIT, DELETES, PUTS},
    mvcc::{
        record::Kind,
        storage::{Part, Storage},
        writing::Writing,
    },
    quota::Quota,
    refusal::{Failure, Fault, Refusal},
    shared::{Group, Shared},
    write::{Need, QuotaAlarm, Write},
};

/// Requests that share one fsync at most.
const GROUP: usize = 512;
/// Revisions pruned in one transaction, a few milliseconds of work.
const PRUNE_STEP: i64 = 500;

/// What the writer is told.
pub(crate) enum Command {
    Write(Box<dyn Queued>),
    /// Shrink the file to what is in use.
    Defragment(oneshot::Sender<Result<(), Refusal>>),
    /// See whether a full disk has space again.
    Look(oneshot::Sender<()>),
    Stop,
}

impl Command {
    pub(crate) fn new<W: Write>(write: W, reply: oneshot::Sender<Result<W::Answer, Refusal>>) -> Self {
        Self::Write(Box::new(Waiting { write, reply, answer: Err(Refusal::DiskFull) }))
    }
}

/// A write of any kind, and who waits for it. When it is dropped, its client is told that the server is gone.
pub(crate) trait Queued: Send {
    fn need(&self) -> Need;

    fn adds(&self) -> u64;

    /// Applies the write, perhaps not for the first time: what was not committed did not happen.
    fn apply(&mut self, writing: &mut Writing<'_>, shared: &Shared) -> Result<(), Fault>;

    fn committed(&self, shared: &Shared);

    fn answer(self: Box<Self>);

    fn refuse(self: Box<Self>, refusal: Refusal);
}

struct Waiting<W: Write> {
    write: W,
    reply: oneshot::Sender<Result<W::Answer, Refusal>>,
    /// What came of it when it was applied last.
    answer: Result<W::Answer, Refusal>,
}

impl<W: Write> Queued for Waiting<W> {
    fn need(&self) -> Need {
        self.write.need()
    }

    fn adds(&self) -> u64 {
        self.write.adds()
    }

    fn apply(&mut self, writing: &mut Writing<'_>, shared: &Shared) -> Result<(), Fault> {
        self.answer = match self.write.apply(writing, shared) {
            Ok(answer) => Ok(answer),
            Err(Failure::Refused(refusal)) => Err(refusal),
            Err(Failure::Fault(fault)) => return Err(fault),
        };
        Ok(())
    }

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
    quota: Option<Quota>,
    /// Compacted history is still in the file.
    prunable: bool,
    /// The space that is to be set aside is not, so nothing may be added.
    short: bool,
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
        quota: Option<Quota>,
    ) -> Self {
        // a stop may have come between a compaction and its pruning
        Self { storage, shared, commands, quota, prunable: true, short: false, retired: Vec::new() }
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
        self.secure();
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
        let mut group = Vec::new();
        let mut other = None;
        let mut command = Some(first);
        while let Some(taken) = command.take() {
            match taken {
                Command::Write(write) => group.push(write),
                Command::Defragment(_) | Command::Look(_) | Command::Stop => {
                    other = Some(taken);
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
        // nobody waits any more if an answer cannot be sent
        match other {
            Some(Command::Stop) => return Ok(Next::Stop),
            Some(Command::Defragment(reply)) => drop(reply.send(self.defragment()?)),
            Some(Command::Look(reply)) => {
                self.has_space_again()?;
                let _ = reply.send(());
            }
            Some(Command::Write(_)) | None => {}
        }
        Ok(Next::Continue)
    }

    fn commit(&mut self, group: Vec<Box<dyn Queued>>) -> Result<(), Fault> {
        let mut group = self.admit(group)?;
        for need in [Need::Growth, Need::Deletion, Need::Compaction] {
            let (left, refused) = group.into_iter().partition(|write| write.need() >= need);
            group = left;
            refused.into_iter().for_each(|write: Box<dyn Queued>| write.refuse(Refusal::DiskFull));
            if group.is_empty() {
                return Ok(());
            }
            if self.make_room(need)? && self.attempt(&mut group)? {
                group.into_iter().for_each(|write| write.answer());
                return Ok(());
            }
        }
        group.into_iter().for_each(|write| write.refuse(Refusal::DiskFull));
        Ok(())
    }

    /// Refuses what adds when nothing may be added, and raises the alarm when it is the quota that is used up.
    fn admit(&mut self, group: Vec<Box<dyn Queued>>) -> Result<Vec<Box<dyn Queued>>, Fault> {
        if let Some(quota) = &mut self.quota {
            quota.begin();
        }
        let asked = group.iter().any(|write| write.need() == Need::Growth);
        let space = !asked || !self.short || self.has_space_again()?;
        let file = self.storage.file_bytes();
        let mut alarm = self.shared.quota_alarm.load(Ordering::Acquire);
        let mut raise = false;
        let mut admitted = Vec::with_capacity(group.len());
        for write in group {
            if write.need() > Need::Growth {
                admitted.push(write);
                continue;
            }
            if let (false, true, Some(quota)) = (alarm, space, &mut self.quota) {
                raise = !quota.admits(write.adds(), file, || self.shared.snapshot().used_bytes())?;
                alarm |= raise;
            }
            match (alarm, space) {
                (true, _) => write.refuse(Refusal::NoSpace),
                (false, false) => write.refuse(Refusal::DiskFull),
                (false, true) => admitted.push(write),
            }
        }
        if raise {
            tracing::warn!(file, "the quota is used up: what adds is refused until the alarm NOSPACE is disarmed");
            self.shared.quota_alarm.store(true, Ordering::Release);
            let Command::Write(raised) = Command::new(QuotaAlarm { on: true }, oneshot::channel().0) else {
                return Ok(admitted);
            };
            admitted.push(raised);
        }
        Ok(admitted)
    }

    /// Makes the database ready to be written, for which a full disk gives what is set aside for the purpose; tells
    /// whether it is.
    fn make_room(&mut self, need: Need) -> Result<bool, Fault> {
        let part = match need {
            Need::Growth => return Ok(!self.storage.is_full()),
            Need::Deletion => Part::ForDeletions,
            Need::Compaction => Part::All,
        };
        self.storage.give_reserve(part);
        Ok(!self.storage.is_full() || self.reopen()?)
    }

    /// Applies a group in one transaction; tells whether all is on the disk. If not, nothing has happened.
    fn attempt(&mut self, group: &mut [Box<dyn Queued>]) -> Result<bool, Fault> {
        let transaction = self.storage.database.begin_write()?;
        let mut writing = Writing::open(&transaction)?;
        for write in &mut *group {
            write.apply(&mut writing, &self.shared)?;
        }
        let revision = writing.revision();
        let Some(changes) = writing.close()? else {
            transaction.abort()?;
            // what is on the disk is as they want it already: so must be what is known of it
            group.iter_mut().for_each(|write| write.committed(&self.shared));
            return Ok(true);
        };
        let start = Instant::now();
        transaction.commit()?;
        if self.storage.is_full() {
            self.be_short();
            return Ok(false);
        }
        self.shared.metrics.took(COMMIT, start.elapsed());
        for (name, kind) in [(PUTS, Kind::Put), (DELETES, Kind::Delete)] {
            let count = changes.iter().filter(|change| change.kind == kind).count();
            self.shared.metrics.count(name, count as u64);
        }
        let snapshot = self.storage.snapshot()?;
        self.prunable |= snapshot.compacted > self.shared.snapshot().compacted;
        self.shared.replace_snapshot(snapshot);
        for write in group {
            write.committed(&self.shared);
        }
        if !changes.is_empty() {
            // an error means that nobody watches
            let _ = self.shared.events.send(Arc::new(Group { revision, changes }));
        }
        self.secure();
        Ok(true)
    }

    /// Prunes a piece. When all is pruned on a disk that was short, the file is shrunk too.
    fn prune(&mut self) -> Result<(), Fault> {
        self.prune_piece()?;
        if self.short
            && !self.prunable
            && !self.storage.is_full()
            && let Err(refusal) = self.defragment()?
        {
            tracing::warn!("shrink the file of a full disk: {refusal}");
        }
        Ok(())
    }

    fn prune_piece(&mut self) -> Result<(), Fault> {
        for need in [Need::Growth, Need::Compaction] {
            if !self.make_room(need)? {
                continue;
            }
            let transaction = self.storage.database.begin_write()?;
            let mut writing = Writing::open(&transaction)?;
            let prunable = writing.prune(PRUNE_STEP)?;
            if writing.close()?.is_none() {
                transaction.abort()?;
                self.prunable = false;
                return Ok(());
            }
            transaction.commit()?;
            if !self.storage.is_full() {
                self.shared.replace_snapshot(self.storage.snapshot()?);
                self.prunable = prunable;
                return Ok(());
            }
            self.be_short();
        }
        // when the file is opened again
        self.prunable = false;
        Ok(())
    }

    /// Shrinks the file to what is in use; what is compacted is pruned before.
    fn defragment(&mut self) -> Result<Result<(), Refusal>, Fault> {
        while self.prunable {
            self.prune_piece()?;
        }
        for need in [Need::Growth, Need::Compaction] {
            if !self.make_room(need)? {
                continue;
            }
            let (storage, retired) = (&mut self.storage, &mut self.retired);
            let snapshots = storage.snapshots();
            let earlier = || {
                retired.retain(Storage::is_read);
                retired.len() + snapshots.count().saturating_sub(1)
            };
            let compact = || Ok((storage.compact()?, storage.snapshot()?));
            if !self.shared.without_readers(earlier, compact)? {
                return Ok(Err(Refusal::Busy));
            }
            if self.storage.is_full() {
                self.be_short();
                continue;
            }
            self.storage.give_reserve(Part::Surplus);
            self.has_space_again()?;
            self.secure();
            return Ok(Ok(()));
        }
        Ok(Err(Refusal::DiskFull))
    }

    /// Tells whether a disk that was short has space again: what is to be set aside, and some more.
    fn has_space_again(&mut self) -> Result<bool, Fault> {
        if !self.short {
            return Ok(true);
        }
        if !self.storage.is_secured() || !self.storage.has_space() || (self.storage.is_full() && !self.reopen()?) {
            return Ok(false);
        }
        self.short = false;
        self.shared.disk_alarm.store(false, Ordering::Release);
        tracing::info!(revision = self.shared.snapshot().revision, "the disk has space again");
        Ok(true)
    }

    /// Opens the file again after its disk was full; tells whether there was space for that. What is read is at the same
    /// revision as before.
    fn reopen(&mut self) -> Result<bool, Fault> {
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
        Ok(true)
    }

    /// Sets aside what the file's size demands.
    fn secure(&mut self) {
        if self.storage.is_full() || !(self.short || self.storage.is_secured()) {
            self.be_short();
        }
    }

    fn be_short(&mut self) {
        if std::mem::replace(&mut self.short, true) {
            return;
        }
        self.shared.disk_alarm.store(true, Ordering::Release);
        let file = self.storage.file.display();
        let revision = self.shared.snapshot().revision;
        tracing::warn!(%file, revision, "the disk is full: what adds is refused until it has space, what frees is not");
    }
}
