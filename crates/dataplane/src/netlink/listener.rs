//! A socket that joins groups of a netlink protocol and hears what the kernel announces there.
//!
//! The kernel drops announcements when nobody reads them in time; that is told, and no error.

use super::message::{Message, messages};
use netlink_sys::{Socket, protocols::NETLINK_NETFILTER, protocols::NETLINK_ROUTE};
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// Size of the buffer in which announcements wait: room for some 20,000 routes.
pub const MONITOR_BUFFER: usize = 8 << 20;
/// The kernel's largest datagram of announcements, with room to spare.
const DATAGRAM: usize = 64 << 10;
/// How many datagrams are read in one go: in a flood, something else must get its turn.
const AT_ONCE: usize = 10_000;

/// Which kernel interface announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Links, addresses, routes.
    Route,
    /// nftables.
    Netfilter,
}

/// Whether everything was heard that was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Everything,
    /// Announcements were dropped.
    NotAll,
}

/// A socket in some groups.
pub(crate) struct Listener {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Listener {
    /// Joins `groups` in the calling thread's network namespace; what is not read waits in a buffer of this size.
    pub(crate) fn open(protocol: Protocol, groups: &[u32], buffer: usize) -> io::Result<Listener> {
        let mut socket = Socket::new(match protocol {
            Protocol::Route => NETLINK_ROUTE,
            Protocol::Netfilter => NETLINK_NETFILTER,
        })?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        // refused without CAP_NET_ADMIN in the first user namespace: losses are survived
        let _ = setsockopt(&socket, RcvBufForce, &buffer);
        for group in groups {
            socket.add_membership(*group)?;
        }
        Ok(Listener { socket, buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// Hands over what was announced since the last call, without waiting.
    pub(crate) fn read(&mut self, mut each: impl FnMut(&Message<'_>)) -> io::Result<Heard> {
        let mut heard = Heard::Everything;
        for _ in 0..AT_ONCE {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => messages(&self.buffer).for_each(|one| each(&one)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => heard = Heard::NotAll,
                Err(error) => return Err(error),
            }
        }
        Ok(heard)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
