//! Writes that keep a handle's counts in step with the blocks, for the same transaction as the block.

use crate::Ipam;
use crate::stored::Stored;
use api::event::{Key, Object};
use api::ipam::Handle;
use datastore::{Error, Write};
use ipnet::IpNet;

/// A handle to which one operation adds addresses.
///
/// A pod's handle is nearly always new, so the first write assumes so without reading; the transaction fails if it
/// is not, and then the handle is read.
pub(crate) struct HandleCursor<'r> {
    id: Option<&'r str>,
    known: Known,
}

enum Known {
    Absent,
    Unread,
}

impl<'r> HandleCursor<'r> {
    pub(crate) fn new(id: Option<&'r str>) -> Self {
        HandleCursor { id, known: Known::Absent }
    }

    /// The write that adds `count` addresses of a block; none without a handle.
    pub(crate) async fn add(&self, ipam: &Ipam<'_>, block: IpNet, count: usize) -> Result<Option<Write>, Error> {
        let Some(id) = self.id.filter(|_| count > 0) else { return Ok(None) };
        let known = match self.known {
            Known::Absent => None,
            Known::Unread => ipam.read_handle(id).await?,
        };
        let (mut handle, revision) = match known {
            None => (Handle::default(), None),
            Some(Stored { value, revision }) => (value, Some(revision)),
        };
        *handle.block.entry(block.to_string()).or_default() += count as u64;
        let key = Key::Handle(id.to_owned());
        Ok(Some(match revision {
            None => Write::Create(key, Object::Handle(handle)),
            Some(revision) => Write::Update(key, Object::Handle(handle), revision),
        }))
    }

    /// To be called after every transaction that held a write of this handle, whatever became of it.
    pub(crate) fn spent(&mut self) {
        self.known = Known::Unread;
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
