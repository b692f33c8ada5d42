//! What the dataplane's thread is told, the latest of each kind.
//!
//! A sender never waits and nothing queues: while the kernel is busy, a newer snapshot takes the place of an older
//! one. Whoever waits for the mailbox waits for a file descriptor, beside others.

use model::desired::{Desired, Learned};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Something the dataplane is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The datastore's content asks for this; the first one says that it is known completely.
    Desired(Arc<Desired>),
    /// BGP taught these routes, all of them; the first one says that BGP has spoken.
    Learned(Arc<Learned>),
    /// The thread shall end; the kernel keeps what it has.
    Stop,
}

/// What was told since the last look.
#[derive(Debug, Default)]
pub(crate) struct Letters {
    pub(crate) desired: Option<Arc<Desired>>,
    pub(crate) learned: Option<Arc<Learned>>,
    pub(crate) stop: bool,
}

/// Where one tells the dataplane's thread something.
#[derive(Clone, Debug)]
pub struct Sender {
    letters: Arc<Mutex<Letters>>,
    bell: Arc<UnixStream>,
}

/// Where the dataplane's thread finds what it is told.
#[derive(Debug)]
pub struct Mailbox {
    letters: Arc<Mutex<Letters>>,
    bell: UnixStream,
}

/// Makes a mailbox and its first sender.
pub fn mailbox() -> io::Result<(Sender, Mailbox)> {
    let (ring, bell) = UnixStream::pair()?;
    ring.set_nonblocking(true)?;
    bell.set_nonblocking(true)?;
    let letters = Arc::new(Mutex::new(Letters::default()));
    Ok((Sender { letters: Arc::clone(&letters), bell: Arc::new(ring) }, Mailbox { letters, bell }))
}

impl Sender {
    /// Leaves a message, in the place of an unread one of its kind.
    pub fn send(&self, input: Input) {
        {
            let mut letters = lock(&self.letters);
            match input {
                Input::Desired(desired) => letters.desired = Some(desired),
                Input::Learned(learned) => letters.learned = Some(learned),
                Input::Stop => letters.stop = true,
            }
        }
        // a full bell rings already, and one without a listener has nobody to wake
        let _ = (&*self.bell).write(&[0]);
    }
}

impl Mailbox {
    /// Takes everything out.
    pub(crate) fn take(&mut self) -> Letters {
        let mut rings = [0; 64];
        while matches!(self.bell.read(&mut rings), Ok(count) if count > 0) {}
        std::mem::take(&mut *lock(&self.letters))
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// The letters are whole even if a thread died while it held them: each is one assignment.
fn lock(letters: &Mutex<Letters>) -> MutexGuard<'_, Letters> {
    letters.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn the_latest_of_each_kind_is_kept() {
        let (sender, mut mailbox) = mailbox().expect("a socket pair");
        let route = |prefix: &str| {
            let hop = Ipv4Addr::new(192, 0, 2, 1).into();
            Arc::new(Learned::from([(prefix.parse().expect("a prefix"), hop)]))
        };
        for count in 0..1000 {
            sender.send(Input::Learned(route(&format!("10.0.{}.0/24", count % 256))));
        }
        let letters = mailbox.take();
        assert_eq!(letters.learned, Some(route("10.0.231.0/24"))); // 999 modulo 256
        assert!(letters.desired.is_none() && !letters.stop);
        assert!(mailbox.take().learned.is_none());
        sender.clone().send(Input::Stop);
        assert!(mailbox.take().stop);
    }
}
