//! What others change in the kernel, as it happens.
//!
//! A hint, never the truth: the kernel drops notifications when nobody reads them in time, and does not announce
//! IPv4 routes that vanish with their link. Whoever listens lists the objects again.

#![expect(clippy::wildcard_enum_match_arm, reason = "netlink messages are an open set")]

use super::{Cause, Error, Link};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// `RTNLGRP_LINK`, `RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV4_ROUTE`.
const GROUPS: [u32; 3] = [1, 5, 7];
/// Some 20,000 route notifications.
const RECEIVE_BUFFER: usize = 8 << 20;
/// One notification, with room to spare.
const DATAGRAM: usize = 64 << 10;

/// Something that changed in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A link appeared, or changed its state.
    LinkChanged(Link),
    /// A link is gone.
    LinkGone(Link),
    /// An IPv4 address came or went.
    Address,
    /// Someone else changed an IPv4 route.
    Route,
    /// Notifications were lost: anything may have changed.
    Overrun,
}

/// A socket that hears of links, addresses and routes.
pub struct Monitor {
    socket: Socket,
    own_port: u32,
    buffer: Vec<u8>,
}

impl Monitor {
    /// Listens in the calling thread's network namespace, deaf to route changes made by the socket `own_port`.
    pub fn open(own_port: u32) -> Result<Monitor, Error> {
        Monitor::connect(own_port).map_err(|error| Cause::Socket(error).during("listen for changes in the kernel"))
    }

    fn connect(own_port: u32) -> io::Result<Monitor> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        // refused without CAP_NET_ADMIN in the first user namespace: overruns are survived
        let _ = setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER);
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        Ok(Monitor { socket, own_port, buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// Returns everything heard since the last call, without waiting.
    pub fn read(&mut self) -> Result<Vec<Change>, Error> {
        let mut changes = Vec::new();
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => self.parse(&mut changes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(changes),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => changes.push(Change::Overrun),
                Err(error) => return Err(Cause::Socket(error).during("hear of changes in the kernel")),
            }
        }
    }

    fn parse(&self, changes: &mut Vec<Change>) {
        let mut rest = self.buffer.as_slice();
        while let Some(length) = rest.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes) as usize) {
            let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) else {
                // a notification that cannot be read is one that was not heard
                changes.push(Change::Overrun);
                return;
            };
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            let own = message.header.port_number == self.own_port;
            if let NetlinkPayload::InnerMessage(message) = message.payload {
                changes.extend(change(&message, own));
            }
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn change(message: &RouteNetlinkMessage, own: bool) -> Option<Change> {
    match message {
        RouteNetlinkMessage::NewLink(message) => Link::parse(message).map(Change::LinkChanged),
        RouteNetlinkMessage::DelLink(message) => Link::parse(message).map(Change::LinkGone),
        RouteNetlinkMessage::NewAddress(_) | RouteNetlinkMessage::DelAddress(_) => Some(Change::Address),
        RouteNetlinkMessage::NewRoute(_) | RouteNetlinkMessage::DelRoute(_) if !own => Some(Change::Route),
        _ => None,
    }
}
