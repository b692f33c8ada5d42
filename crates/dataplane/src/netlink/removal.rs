//! Deleting a link without waiting until the kernel has freed its memory.
//!
//! To RTM_DELLINK the kernel answers only after an RCU barrier (`netdev_run_todo`), some twenty milliseconds after the
//! link, its name, its addresses and its routes are gone for everybody. That they are is announced when it happens.
//! Whoever asked has to stay until the barrier is over: the wait is in the request, and nothing interrupts it. So a
//! child process asks and stays, and the caller goes on with the announcement. From then on nothing can fail any more,
//! whatever becomes of either process.

use super::message::{ERROR, failure, messages};
use super::{Cause, Error, Link, Netlink};
use netlink_packet_core::NLM_F_ACK;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{ForkResult, fork, pipe2};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// How long a removal may take: others may hold the kernel's lock (RTNL) for long, one after the other.
const LONGEST: Duration = Duration::from_secs(60);
/// `RTNLGRP_LINK`, in which links are announced.
const LINKS: u32 = 1;

/// What became of a removal that a child process asked for.
enum Removal {
    /// Nobody sees the link any more.
    Done,
    /// The kernel did not want to.
    Refused(Cause),
    /// It is not known; asking once more tells.
    Unknown,
}

impl Netlink {
    /// Deletes a link, and with a veth its peer; returns when both are gone, before the kernel has freed them.
    ///
    /// A child process stays for that long, with no other descriptor than this socket. It is left to whoever adopts it,
    /// so this is for processes that end soon.
    ///
    /// # Errors
    ///
    /// The kernel's refusal, as of [`Netlink::delete_link`].
    pub fn delete_link_early(mut self, link: &Link) -> Result<(), Error> {
        match self.remove_in_child(link).map_err(|cause| cause.during(format!("delete link {}", link.name)))? {
            Removal::Done => Ok(()),
            Removal::Refused(cause) => Err(cause.during(format!("delete link {}", link.name))),
            Removal::Unknown => match self.delete_link(link) {
                Err(error) if error.is_missing() => Ok(()),
                result => result,
            },
        }
    }

    fn remove_in_child(&mut self, link: &Link) -> Result<Removal, Cause> {
        self.socket.add_membership(LINKS).map_err(Cause::Socket)?;
        let mut message = LinkMessage::default();
        message.header.index = link.index;
        let mut request = Vec::new();
        let deletion = self.begin();
        self.encode(RouteNetlinkMessage::DelLink(message.clone()), NLM_F_ACK, &mut request);
        let mut question = Vec::new();
        self.encode(RouteNetlinkMessage::GetLink(message), NLM_F_ACK, &mut question);
        let outcome = match send_in_child(self.socket.as_raw_fd(), &request) {
            Ok(child) => self.follow(link.index, deletion, &question, &child)?,
            // no room for another process
            Err(_) => Removal::Unknown,
        };
        self.socket.drop_membership(LINKS).map_err(Cause::Socket)?;
        Ok(outcome)
    }

    /// Listens until the link is gone or cannot be, or the child has ended without either.
    ///
    /// The ends of a pair are announced one after the other, while the kernel is at work. The question waits until it
    /// has let go of its lock (RTNL), and so for both.
    fn follow(&mut self, index: u32, deletion: u32, question: &[u8], child: &OwnedFd) -> Result<Removal, Cause> {
        let asked = deletion + 1;
        let end = Instant::now() + LONGEST;
        while self.readable_before_end(child, end)? {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // announcements were lost, perhaps this one
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.send(question)?;
                    continue;
                }
                Err(error) => return Err(Cause::Socket(error)),
            }
            let mut announced = false;
            for message in messages(&self.buffer) {
                match message.kind {
                    ERROR if message.sequence == deletion => {
                        return Ok(failure(&message).map_or(Removal::Done, Removal::Refused));
                    }
                    ERROR
                        if message.sequence == asked
                            && failure(&message).and_then(|cause| cause.errno()) == Some(Errno::ENODEV) =>
                    {
                        return Ok(Removal::Done);
                    }
                    // struct ifinfomsg has the index behind four other octets
                    libc::RTM_DELLINK => announced |= message.body.get(4..8) == Some(index.to_ne_bytes().as_slice()),
                    _ => {}
                }
            }
            if announced {
                self.send(question)?;
            }
        }
        Ok(Removal::Unknown)
    }

    /// Waits for the socket; false when the child has ended and there is nothing to read.
    fn readable_before_end(&self, child: &OwnedFd, end: Instant) -> Result<bool, Cause> {
        let mut ready =
            [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN), PollFd::new(child.as_fd(), PollFlags::POLLIN)];
        loop {
            let left = end.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            match poll(&mut ready, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
                Ok(0) => return Err(Cause::Silent(LONGEST)),
                Ok(_) => return Ok(ready[0].any() == Some(true)),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Cause::Socket(errno.into())),
            }
        }
    }
}

/// Sends a request from a child process, which ends when the kernel is through with it; so does the pipe returned.
fn send_in_child(socket: RawFd, request: &[u8]) -> nix::Result<OwnedFd> {
    let (ended, running) = pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: the child calls nothing but the kernel, and never returns
    match unsafe { fork() }? {
        ForkResult::Parent { .. } => Ok(ended),
        ForkResult::Child => {
            // a caller that reads our output until its end is not to wait for the child, nor one that wants our locks
            close_all_but(socket, running.as_raw_fd());
            // SAFETY: the bytes are there; the caller hears from the socket what came of it
            unsafe {
                libc::send(socket, request.as_ptr().cast(), request.len(), libc::MSG_NOSIGNAL);
                libc::_exit(0);
            }
        }
    }
}

/// Closes every descriptor but two.
fn close_all_but(one: RawFd, other: RawFd) {
    let (low, high) = (one.min(other) as libc::c_uint, one.max(other) as libc::c_uint);
    for (first, past) in [(0, low), (low + 1, high), (high + 1, libc::c_uint::MAX)] {
        if first < past {
            // SAFETY: the process uses none of these descriptors any more
            unsafe { libc::syscall(libc::SYS_close_range, first, past - 1, 0) };
        }
    }
}
