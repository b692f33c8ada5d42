//! How long a socket waits for the kernel's answer: `netlinkTimeout`, one for all sockets of the process.
//!
//! The kernel answers most requests before it returns from taking them, so the time only ends what would never end.

use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::{TimeVal, TimeValLike};
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The time in milliseconds; Calico's default.
static MILLISECONDS: AtomicU64 = AtomicU64::new(10_000);

/// Sets the time for every socket of the process, those that are open too; zero waits without end, as in Calico.
pub fn set_patience(time: Duration) {
    let milliseconds = u64::try_from(time.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
    MILLISECONDS.store(milliseconds, Ordering::Relaxed);
}

/// What a socket was last told.
#[derive(Debug, Default)]
pub(crate) struct Patience(Option<u64>);

impl Patience {
    /// Tells the socket the time, if it is another than before.
    pub(crate) fn keep(&mut self, socket: &impl AsFd) -> io::Result<()> {
        let milliseconds = MILLISECONDS.load(Ordering::Relaxed);
        if self.0 != Some(milliseconds) {
            let time = TimeVal::milliseconds(i64::try_from(milliseconds).unwrap_or(i64::MAX));
            setsockopt(socket, ReceiveTimeout, &time)?;
            self.0 = Some(milliseconds);
        }
        Ok(())
    }

    /// The time that the socket waits.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_millis(self.0.unwrap_or_default())
    }
}
