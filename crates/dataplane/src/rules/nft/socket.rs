//! A blocking nfnetlink socket: requests, dumps, and batches that the kernel applies as a whole or not at all.

use super::abi::{ARP, IPV4, IPV6, batch, subsystem};
use super::wire::Attributes;
use crate::netlink::Patience;
use nix::errno::Errno;
use nix::sys::socket::sockopt::{RcvBufForce, SndBufForce};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// A batch is one message to the kernel: the default of 208 kB would hold some hundred chains.
const BUFFER: usize = 32 << 20;
/// A dump that others keep interrupting is given up after this many tries.
const DUMP_TRIES: usize = 16;
/// The numbers of requests that are answered together do not begin anew between them.
const LARGEST_BATCH: u32 = 1 << 24;
/// The kernel fills at most 32 KiB of a dump at once; a refusal repeats the request, at most 64 KiB.
const DATAGRAM: usize = 128 << 10;

const HEADER: usize = 16;
/// Address family, version and resource number before the attributes.
pub(super) const SUBHEADER: usize = 4;

const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const DUMP: u16 = 0x300;
const DUMP_INTERRUPTED: u16 = 0x10;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// Flag of a message that makes something: it may not exist yet.
pub(super) const CREATE: u16 = 0x400;
/// Flag of a new rule: it goes to the end of its chain.
pub(super) const APPEND: u16 = 0x800;

/// The packets that a table is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Family {
    #[default]
    Ipv4,
    Ipv6,
    Arp,
}

impl Family {
    fn number(self) -> u8 {
        match self {
            Family::Ipv4 => IPV4,
            Family::Ipv6 => IPV6,
            Family::Arp => ARP,
        }
    }

    /// The word that nft has for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Family::Ipv4 => "ip",
            Family::Ipv6 => "ip6",
            Family::Arp => "arp",
        }
    }
}

/// A request to one of nfnetlink's subsystems.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) subsystem: u8,
    pub(super) family: Family,
    pub(super) kind: u8,
    pub(super) flags: u16,
    pub(super) body: Attributes,
}

/// Requests to nftables that are carried out together; each has words for the case that it is refused.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    family: Family,
    requests: Vec<(Message, String)>,
}

impl Batch {
    /// A batch about tables of a family.
    pub(super) fn of(family: Family) -> Batch {
        Batch { family, requests: Vec::new() }
    }

    pub(super) fn push(&mut self, kind: u8, flags: u16, body: Attributes, operation: String) {
        let family = self.family;
        self.requests.push((Message { subsystem: subsystem::NFTABLES, family, kind, flags, body }, operation));
    }
}

/// Why a batch was not carried out.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The ruleset has changed since it was read.
    Stale,
    /// The kernel did not take one of the requests.
    Request(String, io::Error),
}

/// A connection to the kernel's nfnetlink of the calling thread's network namespace.
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    patience: Patience,
}

struct Reply {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: Vec<u8>,
}

impl Reply {
    /// What an acknowledgement or the end of a dump says; the number stands first in both.
    fn status(&self) -> io::Result<()> {
        let number = self.payload.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
        if number == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-number)) }
    }
}

impl Socket {
    pub(super) fn open() -> io::Result<Socket> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkNetFilter)?;
        setsockopt(&fd, SndBufForce, &BUFFER)?;
        setsockopt(&fd, RcvBufForce, &BUFFER)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Socket { fd, sequence: 0, patience: Patience::default() })
    }

    /// Asks for one object and returns its attributes.
    pub(super) fn get(&mut self, message: &Message) -> io::Result<Vec<u8>> {
        let sequence = self.next();
        self.send(&encode(message, REQUEST, sequence))?;
        loop {
            for reply in self.receive()?.into_iter().filter(|reply| reply.sequence == sequence) {
                if reply.kind == ERROR {
                    reply.status()?;
                } else {
                    return Ok(attributes(reply.payload));
                }
            }
        }
    }

    /// Carries out one request outside any batch.
    pub(super) fn execute(&mut self, message: &Message) -> io::Result<()> {
        let sequence = self.next();
        self.send(&encode(message, REQUEST | ACKNOWLEDGE, sequence))?;
        loop {
            let replies = self.receive()?;
            if let Some(reply) = replies.iter().find(|reply| reply.sequence == sequence && reply.kind == ERROR) {
                return reply.status();
            }
        }
    }

    /// Lists objects and returns each one's attributes; begins again, a few times, if the kernel's list changes meanwhile.
    pub(super) fn dump(&mut self, message: &Message) -> io::Result<Vec<Vec<u8>>> {
        for _ in 0..DUMP_TRIES {
            if let Some(objects) = self.dump_once(message)? {
                return Ok(objects);
            }
        }
        Err(io::Error::new(io::ErrorKind::Interrupted, "the list kept changing while it was read"))
    }

    fn dump_once(&mut self, message: &Message) -> io::Result<Option<Vec<Vec<u8>>>> {
        let sequence = self.next();
        self.send(&encode(message, REQUEST | DUMP, sequence))?;
        let mut objects = Vec::new();
        let mut interrupted = false;
        loop {
            for reply in self.receive()?.into_iter().filter(|reply| reply.sequence == sequence) {
                interrupted |= reply.flags & DUMP_INTERRUPTED != 0;
                match reply.kind {
                    ERROR => reply.status()?,
                    DONE => {
                        reply.status()?;
                        return Ok(if interrupted { None } else { Some(objects) });
                    }
                    _ => objects.push(attributes(reply.payload)),
                }
            }
        }
    }

    /// Carries out a batch, provided that the ruleset is still that of `generation`.
    pub(super) fn commit(&mut self, batch: &Batch, generation: u32) -> Result<(), Refusal> {
        let Some(last) = batch.requests.len().checked_sub(1) else { return Ok(()) };
        if self.sequence > u32::MAX - LARGEST_BATCH {
            self.sequence = 0;
        }
        let begin = self.next();
        let mut bytes =
            frame(batch::BEGIN, 0, REQUEST, begin, &Attributes::default().number(batch::GENERATION, generation));
        let first = begin.wrapping_add(1);
        for (at, (message, _)) in batch.requests.iter().enumerate() {
            let flags = if at == last { REQUEST | ACKNOWLEDGE } else { REQUEST };
            let sequence = self.next();
            bytes.extend(encode(message, flags, sequence));
        }
        let end = self.next();
        bytes.extend(frame(batch::END, 0, REQUEST, end, &Attributes::default()));
        let failed = |source| Refusal::Request("change the nftables ruleset".to_owned(), source);
        self.send(&bytes).map_err(failed)?;

        // Refusals come in the order of the requests, then the answer to the last one; a batch that was not even
        // looked at is answered at its beginning. The first refusal is the cause of those that follow.
        let mut refusal = None;
        loop {
            for reply in self.receive().map_err(failed)? {
                let at = reply.sequence.wrapping_sub(first);
                if reply.kind != ERROR || (at as usize > last && reply.sequence != begin) {
                    continue;
                }
                let status = reply.status();
                if reply.sequence == begin {
                    return match status {
                        Err(error) if error.raw_os_error() == Some(Errno::ERESTART as i32) => Err(Refusal::Stale),
                        status => status.map_err(failed),
                    };
                }
                if let Err(error) = status {
                    refusal.get_or_insert_with(|| Refusal::Request(batch.requests[at as usize].1.clone(), error));
                }
                if at as usize == last {
                    return refusal.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Numbers a request; 0 is the number of announcements.
    fn next(&mut self) -> u32 {
        self.sequence = self.sequence.checked_add(1).unwrap_or(1);
        self.sequence
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.patience.keep(&self.fd)?;
        send(self.fd.as_raw_fd(), bytes, MsgFlags::empty())?;
        Ok(())
    }

    /// Reads one datagram and takes it apart.
    fn receive(&self) -> io::Result<Vec<Reply>> {
        let mut buffer = vec![0; DATAGRAM];
        let length = loop {
            match recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    let text = format!("the kernel did not answer within {:?}", self.patience.time());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
                other => break other?,
            }
        };
        if length > buffer.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is larger than a dump's chunk"));
        }
        let mut replies = Vec::new();
        let mut rest = &buffer[..length];
        while let Some(header) = rest.first_chunk::<HEADER>() {
            let word = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
            let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
            let size = word(0) as usize;
            let Some(payload) = rest.get(HEADER..size) else { break };
            replies.push(Reply { kind: half(4), flags: half(6), sequence: word(8), payload: payload.to_vec() });
            rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(replies)
    }
}

/// A reply's attributes, after its family, version and resource number.
fn attributes(mut payload: Vec<u8>) -> Vec<u8> {
    payload.drain(..SUBHEADER.min(payload.len()));
    payload
}

fn encode(message: &Message, flags: u16, sequence: u32) -> Vec<u8> {
    let kind = u16::from(message.subsystem) << 8 | u16::from(message.kind);
    frame(kind, message.family.number(), flags | message.flags, sequence, &message.body)
}

/// One netlink message. Those that frame a batch name the subsystem as their resource, and no family.
fn frame(kind: u16, family: u8, flags: u16, sequence: u32, body: &Attributes) -> Vec<u8> {
    let resource = match kind {
        batch::BEGIN | batch::END => u16::from(subsystem::NFTABLES),
        _ => 0,
    };
    let length = HEADER + SUBHEADER + body.bytes().len();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(u32::try_from(length).expect("a message is shorter than 4 GiB").to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
    bytes.extend(body.bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::abi::message;
    use super::*;
    use nix::sys::socket::socketpair;

    /// A client whose kernel is the test: what it answers is written beforehand.
    fn with_kernel(sequence: u32) -> (Socket, OwnedFd) {
        let kind = SockType::Datagram;
        let (fd, kernel) = socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).expect("a pair");
        (Socket { fd, sequence, patience: Patience::default() }, kernel)
    }

    fn answer(kernel: &OwnedFd, kind: u16, flags: u16, sequence: u32) {
        let mut bytes = frame(kind, IPV4, flags, sequence, &Attributes::default());
        bytes[HEADER..].fill(0);
        send(kernel.as_raw_fd(), &bytes, MsgFlags::empty()).expect("sent");
    }

    fn question() -> Message {
        let (subsystem, kind) = (subsystem::NFTABLES, message::GET_TABLE);
        Message { subsystem, family: Family::Ipv4, kind, flags: 0, body: Attributes::default() }
    }

    #[test]
    fn a_list_that_keeps_changing_is_given_up() {
        let (mut socket, kernel) = with_kernel(0);
        for sequence in 1..40 {
            answer(&kernel, DONE, DUMP_INTERRUPTED, sequence);
        }
        let told = socket.dump(&question()).map_err(|error| error.to_string());
        assert_eq!(told, Err("the list kept changing while it was read".to_owned()));
    }

    #[test]
    fn no_request_has_the_number_of_announcements() {
        let (mut socket, kernel) = with_kernel(u32::MAX - 1);
        for sequence in [u32::MAX, 1, 2] {
            answer(&kernel, DONE, 0, sequence);
            socket.dump(&question()).unwrap_or_else(|error| panic!("request {sequence}: {error}"));
        }
    }
}
