//! Writes that keep a handle's counts in step with the blocks, for the same transaction as the block.

use crate::answers::{self, Answers};
use crate::stored::{Commit, Stored};
use api::event::{Key, Object};
use api::ipam::Handle;
use datastore::{Error, Query, Write};
use ipnet::IpNet;

/// A handle to which one operation adds addresses.
pub(crate) struct HandleCursor<'r> {
    id: Option<&'r str>,
    state: State,
}

enum State {
    /// To be read.
    Unread,
    /// As stored.
    Known(Option<Stored<Handle>>),
    /// In a transaction of which the outcome is open.
    Written(Handle),
}

impl<'r> HandleCursor<'r> {
    pub(crate) fn new(id: Option<&'r str>) -> Self {
        HandleCursor { id, state: State::Unread }
    }

    /// Asks for the handle, if it has to be read; the answer is for [`HandleCursor::learn`].
    pub(crate) fn query(&self) -> Option<Query> {
        self.id.filter(|_| matches!(self.state, State::Unread)).map(answers::handle)
    }

    /// Takes the answer to [`HandleCursor::query`], if that asked.
    pub(crate) fn learn(&mut self, answers: &mut Answers) -> Result<(), Error> {
        if self.query().is_some() {
            self.state = State::Known(answers.handle()?);
        }
        Ok(())
    }

    /// The write that adds `count` addresses of a block; none without a handle.
    ///
    /// Tell the cursor what became of it: [`HandleCursor::settle`].
    pub(crate) fn add(&mut self, block: IpNet, count: usize) -> Option<Write> {
        let id = self.id.filter(|_| count > 0)?;
        let State::Known(known) = std::mem::replace(&mut self.state, State::Unread) else {
            unreachable!("the handle was read before the write")
        };
        let (mut handle, revision) = match known {
            None => (Handle::default(), None),
            Some(Stored { value, revision }) => (value, Some(revision)),
        };
        *handle.block.entry(block.to_string()).or_default() += count as u64;
        self.state = State::Written(handle.clone());
        let key = Key::Handle(id.to_owned());
        Some(match revision {
            None => Write::Create(key, Object::Handle(handle)),
            Some(revision) => Write::Update(key, Object::Handle(handle), revision),
        })
    }

    /// Learns what became of a transaction, whether a write of this handle was in it or not.
    pub(crate) fn settle(&mut self, commit: &Commit) {
        self.state = match (std::mem::replace(&mut self.state, State::Unread), commit) {
            (_, Commit::Overtaken) => State::Unread,
            (State::Written(value), Commit::Done(Some(revision))) => {
                State::Known(Some(Stored { value, revision: revision.clone() }))
            }
            (state, Commit::Done(_)) => state,
        };
    }
}

/// The write that takes addresses of blocks off a handle: an update, or a deletion when nothing is left.
///
/// A count below what is taken off is a leftover of another writer and ends at nothing.
pub(crate) fn subtract(id: &str, handle: Stored<Handle>, taken: &[(IpNet, usize)]) -> Write {
    let Stored { value: mut handle, revision } = handle;
    for (block, count) in taken {
        let block = block.to_string();
        let left = handle.block.get(&block).copied().unwrap_or_default().saturating_sub(*count as u64);
        if left == 0 {
            handle.block.remove(&block);
        } else {
            handle.block.insert(block, left);
        }
    }
    let key = Key::Handle(id.to_owned());
    if handle.block.is_empty() {
        Write::Delete(key, revision)
    } else {
        Write::Update(key, Object::Handle(handle), revision)
    }
}
