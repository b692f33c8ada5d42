//! The socket: requests with acknowledgement, dumps, batches, and what can go wrong with each.

use super::Patience;
use super::message::{DONE, ERROR, Message, Unread, failure, messages};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

/// Requests per write: beyond this the kernel's cost per route no longer falls.
const BATCH: usize = 128;
/// Holds the replies to one batch even if every request in it fails.
const RECEIVE_BUFFER: usize = 8 << 20;
/// The kernel sends dumps in pieces of at most 32 KiB.
const DATAGRAM: usize = 64 << 10;
/// A dump that others keep interrupting is given up after this many tries.
const DUMP_TRIES: usize = 16;
/// A message of no meaning, and the one that answers were lost.
const NOTHING: [u16; 2] = [1, 4];
/// How many different warnings of objects that cannot be read are remembered, not to be given twice.
const WARNINGS: usize = 256;

/// A request the kernel did not carry out, naming the object.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {cause}")]
pub struct Error {
    /// The action and its object: `add route 10.1.2.0/26 via 192.0.2.7`.
    pub what: String,
    /// What stood in the way.
    pub cause: Cause,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The kernel refused, with an explanation of its own where it has one.
    #[error("{}{}", io::Error::from(*.errno), .explanation.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    Refused {
        /// The kernel's error number.
        errno: Errno,
        /// The kernel's extended acknowledgement.
        explanation: Option<String>,
    },
    /// The socket failed.
    #[error("netlink socket: {0}")]
    Socket(io::Error),
    /// The kernel did not answer in time.
    #[error("the kernel did not answer within {0:?}")]
    Silent(Duration),
    /// The kernel's answer could not be read.
    #[error("unreadable netlink answer: {0}")]
    Unreadable(String),
    /// The table changed under every attempt to list it.
    #[error("the table kept changing while it was listed")]
    Restless,
}

impl Error {
    /// Returns the kernel's error number, if it was the kernel that refused.
    pub fn errno(&self) -> Option<Errno> {
        self.cause.errno()
    }

    /// Tells whether the object, or the link it hangs on, is simply not there.
    pub fn is_missing(&self) -> bool {
        matches!(self.errno(), Some(Errno::ENODEV | Errno::ENOENT | Errno::ESRCH | Errno::EADDRNOTAVAIL))
    }
}

impl Cause {
    /// Names the action and object that failed.
    pub fn during(self, what: impl Into<String>) -> Error {
        Error { what: what.into(), cause: self }
    }

    /// Returns the kernel's error number, if it was the kernel that refused.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Cause::Refused { errno, .. } => Some(*errno),
            Cause::Socket(_) | Cause::Silent(_) | Cause::Unreadable(_) | Cause::Restless => None,
        }
    }
}

/// A blocking rtnetlink socket.
pub struct Netlink {
    pub(super) socket: Socket,
    port: u32,
    pub(super) sequence: u32,
    writes: u64,
    pub(super) buffer: Vec<u8>,
    patience: Patience,
    warned: BTreeSet<Unread>,
}

/// What a list has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    /// The objects that could be read.
    pub objects: Vec<T>,
    /// Whether these are all. Of the others it is known that they are there, and a warning has told of them.
    pub complete: bool,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open() -> Result<Netlink, Error> {
        Netlink::connect().map_err(|error| Cause::Socket(error).during("open a netlink socket"))
    }

    fn connect() -> io::Result<Netlink> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        let port = socket.bind_auto()?.port_number();
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_cap_ack(true)?;
        socket.set_ext_ack(true)?;
        socket.set_netlink_get_strict_chk(true)?;
        // refused without CAP_NET_ADMIN in the first user namespace: the default then has to do
        let _ = setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER);
        Ok(Netlink::on(socket, port))
    }

    fn on(socket: Socket, port: u32) -> Netlink {
        let buffer = Vec::with_capacity(DATAGRAM);
        Netlink { socket, port, sequence: 0, writes: 0, buffer, patience: Patience::default(), warned: BTreeSet::new() }
    }

    /// Returns the socket's address, by which a [`super::Monitor`] recognises this socket's own changes.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Counts the changes asked of the kernel so far; listing is not changing.
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// Asks for one change and waits for the kernel's word.
    pub fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<(), Cause> {
        match self.changes(vec![(message, flags)])?.pop() {
            None => Ok(()),
            Some((_, cause)) => Err(cause),
        }
    }

    /// Asks for many changes, in order; returns the positions of those refused, and why.
    ///
    /// A refusal does not stop what comes after it. An `Err` is the socket's own failure: what was done is unknown.
    pub fn changes(&mut self, requests: Vec<(RouteNetlinkMessage, u16)>) -> Result<Vec<(usize, Cause)>, Cause> {
        let mut refused = Vec::new();
        let mut position = 0;
        let mut requests = requests.into_iter().peekable();
        while requests.peek().is_some() {
            let first = self.begin();
            let mut bytes = Vec::new();
            let mut count = 0;
            while let Some((message, flags)) = (count < BATCH).then(|| requests.next()).flatten() {
                count += 1;
                // errors always come back; only the last request needs to say that it is done
                let last = count == BATCH || requests.peek().is_none();
                self.encode(message, flags | if last { NLM_F_ACK } else { 0 }, &mut bytes);
            }
            self.writes += count as u64;
            self.send(&bytes)?;
            self.receive(first, |sequence, answer| match answer {
                Answer::Acknowledged { failure: Some(cause) } => {
                    refused.push((position + (sequence - first) as usize, cause));
                    Ok(())
                }
                Answer::Acknowledged { failure: None } | Answer::Object(_) => Ok(()),
            })?;
            position += count;
        }
        Ok(refused)
    }

    /// Asks one question that has one answer.
    pub fn query(&mut self, message: RouteNetlinkMessage) -> Result<RouteNetlinkMessage, Cause> {
        self.ask(message, |answer| answer.typed().map(Some))
    }

    /// Asks one question, and reads its one answer with `read`, which passes over what is none.
    pub(super) fn ask<T>(
        &mut self,
        message: RouteNetlinkMessage,
        read: impl Fn(&Message<'_>) -> Result<Option<T>, Unread>,
    ) -> Result<T, Cause> {
        let mut bytes = Vec::new();
        let first = self.begin();
        self.encode(message, NLM_F_ACK, &mut bytes);
        self.send(&bytes)?;
        let mut found = None;
        self.receive(first, |_, answer| match answer {
            Answer::Object(message) => {
                found = read(&message).map_err(|unread| Cause::Unreadable(unread.0))?.or(found.take());
                Ok(())
            }
            Answer::Acknowledged { failure } => failure.map_or(Ok(()), Err),
        })?;
        found.ok_or_else(|| Cause::Unreadable("acknowledged without an answer".to_owned()))
    }

    /// Lists all objects of the request's kind, and keeps of each what `keep` makes of it.
    ///
    /// A link takes 17 KiB with all its attributes, hence one is gone before the next is read. What cannot be read is
    /// left out, with a warning.
    pub fn dump<T>(
        &mut self,
        request: RouteNetlinkMessage,
        keep: impl Fn(&RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>, Cause> {
        self.list(request, |message| message.typed().map(|typed| keep(&typed))).map(|listing| listing.objects)
    }

    /// Lists all objects of the request's kind; `read` makes of each what is to be kept, if anything.
    ///
    /// One that cannot be read does not stop the others.
    pub(crate) fn list<T>(
        &mut self,
        request: RouteNetlinkMessage,
        read: impl Fn(&Message<'_>) -> Result<Option<T>, Unread>,
    ) -> Result<Listing<T>, Cause> {
        for _ in 0..DUMP_TRIES {
            let mut bytes = Vec::new();
            let first = self.begin();
            self.encode(request.clone(), NLM_F_DUMP, &mut bytes);
            self.send(&bytes)?;
            let (mut objects, mut unread) = (Vec::new(), BTreeSet::new());
            let interrupted = self.receive(first, |_, answer| match answer {
                Answer::Object(message) => {
                    match read(&message) {
                        Ok(object) => objects.extend(object),
                        Err(why) => drop(unread.insert(why)),
                    }
                    Ok(())
                }
                Answer::Acknowledged { failure } => failure.map_or(Ok(()), Err),
            })?;
            let complete = unread.is_empty();
            unread.into_iter().for_each(|why| self.warn_once(why));
            if !interrupted {
                return Ok(Listing { objects, complete });
            }
        }
        Err(Cause::Restless)
    }

    fn warn_once(&mut self, why: Unread) {
        if self.warned.len() < WARNINGS && !self.warned.contains(&why) {
            tracing::warn!(reason = why.0, "the kernel lists something that cannot be read; it is left alone");
            self.warned.insert(why);
        }
    }

    /// Returns the number of the next request. It is never 0, which is that of announcements, and the numbers of
    /// requests that are answered together do not begin anew between them.
    pub(super) fn begin(&mut self) -> u32 {
        if self.sequence > u32::MAX - BATCH as u32 {
            self.sequence = 0;
        }
        self.sequence + 1
    }

    pub(super) fn encode(&mut self, message: RouteNetlinkMessage, flags: u16, bytes: &mut Vec<u8>) {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let start = bytes.len();
        bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut bytes[start..]);
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        self.patience.keep(&self.socket).map_err(Cause::Socket)?;
        self.socket.send(bytes, 0).map(drop).map_err(Cause::Socket)
    }

    /// Reads until the last request is answered, of those that `first` begins; tells whether a dump was interrupted.
    ///
    /// The first failure that `each` returns is passed on once everything is read, so that no answer is left behind.
    fn receive(
        &mut self,
        first: u32,
        mut each: impl FnMut(u32, Answer<'_>) -> Result<(), Cause>,
    ) -> Result<bool, Cause> {
        let last = self.sequence;
        let mut interrupted = false;
        let mut outcome = Ok(());
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(Cause::Silent(self.patience.time()));
                }
                Err(error) => return Err(Cause::Socket(error)),
            }
            for message in messages(&self.buffer) {
                let sequence = message.sequence;
                // announcements, and answers to a request given up earlier
                if !(first..=last).contains(&sequence) || NOTHING.contains(&message.kind) {
                    continue;
                }
                interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                let (answer, done) = match message.kind {
                    ERROR | DONE => (Answer::Acknowledged { failure: failure(&message) }, sequence == last),
                    _ => (Answer::Object(message), false),
                };
                if let Err(cause) = each(sequence, answer) {
                    outcome = outcome.and(Err(cause));
                }
                if done {
                    return outcome.map(|()| interrupted);
                }
            }
        }
    }
}

/// One message of the kernel's answer.
enum Answer<'a> {
    Object(Message<'a>),
    Acknowledged { failure: Option<Cause> },
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::message::tests::{attribute, raw};
    use super::*;
    use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
    use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

    /// A client whose kernel is the test: what it answers is written beforehand.
    pub(crate) fn with_kernel(sequence: u32) -> (Netlink, OwnedFd) {
        let kind = SockType::Datagram;
        let (client, kernel) = socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).expect("a pair");
        // SAFETY: the descriptor is a socket, and nobody else's any more
        let socket = unsafe { Socket::from_raw_fd(client.into_raw_fd()) };
        (Netlink { sequence, ..Netlink::on(socket, 0) }, kernel)
    }

    pub(in super::super) fn answer(kernel: &OwnedFd, datagram: &[u8]) {
        send(kernel.as_raw_fd(), datagram, MsgFlags::empty()).expect("sent");
    }

    /// Answers a request with an error: `struct nlmsgerr`, with the head of the request.
    pub(crate) fn answer_refused(kernel: &OwnedFd, request: u32, errno: i32) {
        answer(kernel, &raw(2, 0, request, 0, &[&(-errno).to_ne_bytes()[..], &[0; 16]].concat()));
    }

    /// `struct ifinfomsg` of an Ethernet device that is up and running, and its attributes.
    fn link(index: i32, name: &str, others: &[Vec<u8>]) -> Vec<u8> {
        let mut body = vec![0, 0, 1, 0];
        body.extend(index.to_ne_bytes());
        body.extend(0x41_u32.to_ne_bytes());
        body.extend([0; 4]);
        body.extend(attribute(3, format!("{name}\0").as_bytes()));
        body.extend(attribute(4, &1500_u32.to_ne_bytes()));
        body.extend(others.concat());
        body
    }

    #[test]
    fn a_link_that_says_something_unknown_is_a_link_like_others() {
        let (mut netlink, kernel) = with_kernel(0);
        // IFLA_TXQLEN (13) of eight octets; IFLA_LINKINFO (18) of a bond with IFLA_BOND_MODE (1) of four
        let queue = attribute(13, &[0; 8]);
        let bond = attribute(18, &[attribute(1, b"bond\0"), attribute(2, &attribute(1, &[9, 0, 0, 0]))].concat());
        let mut datagram = raw(16, 2, 1, 0, &link(1, "lo", &[]));
        datagram.extend(raw(16, 2, 1, 0, &link(2, "eth0", &[queue])));
        datagram.extend(raw(16, 2, 1, 0, &link(3, "bond0", &[bond])));
        datagram.extend(raw(3, 2, 1, 0, &[0; 4]));
        answer(&kernel, &datagram);
        let links = netlink.links().unwrap_or_else(|error| panic!("{error}"));
        let names: Vec<&str> = links.iter().map(|link| link.name.0.as_str()).collect();
        assert_eq!(names, ["lo", "eth0", "bond0"]);
    }

    #[test]
    fn requests_go_on_when_their_numbers_have_run_out() {
        let mut netlink = Netlink::open().expect("a socket");
        netlink.sequence = u32::MAX - 2;
        for turn in 0..4 {
            netlink.links().unwrap_or_else(|error| panic!("turn {turn}: {error}"));
        }
    }

    #[test]
    fn a_kernel_that_says_nothing_is_not_waited_for_without_end() {
        let (mut netlink, _kernel) = with_kernel(0);
        super::super::set_patience(Duration::from_millis(50));
        let told = netlink.links().map_err(|error| error.to_string());
        super::super::set_patience(Duration::from_secs(10));
        assert_eq!(told, Err("list links: the kernel did not answer within 50ms".to_owned()));
    }

    #[test]
    fn changes_keep_their_places_when_their_numbers_run_out() {
        let mut netlink = Netlink::open().expect("a socket");
        netlink.sequence = u32::MAX - 1;
        // no link has this number, so nothing is changed, and each is refused
        let mut message = netlink_packet_route::link::LinkMessage::default();
        message.header.index = i32::MAX.cast_unsigned();
        let requests = vec![(RouteNetlinkMessage::SetLink(message), 0); 4];
        let refused = netlink.changes(requests).unwrap_or_else(|error| panic!("{error}"));
        let places: Vec<usize> = refused.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, [0, 1, 2, 3]);
    }

    #[test]
    fn a_link_whose_name_cannot_be_read_is_not_absent() {
        let (mut netlink, kernel) = with_kernel(0);
        let nameless = link(2, "eth0", &[])[..16].to_vec();
        let mut datagram = raw(16, 2, 1, 0, &nameless);
        datagram.extend(raw(16, 2, 1, 0, &nameless[..7]));
        datagram.extend(raw(16, 2, 1, 0, &link(3, "eth1", &[])));
        datagram.extend(raw(3, 2, 1, 0, &[0; 4]));
        answer(&kernel, &datagram);
        let listing = netlink.list_links().expect("listed");
        assert_eq!(listing.objects.iter().map(|link| link.name.0.as_str()).collect::<Vec<_>>(), ["eth1"]);
        assert!(!listing.complete);
        assert_eq!(netlink.warned.len(), 2, "each is told once: {:?}", netlink.warned);

        let mut datagram = raw(16, 0, 2, 0, &nameless);
        datagram.extend(raw(2, 0, 2, 0, &[0; 20]));
        answer(&kernel, &datagram);
        let found = netlink.link(&model::name::IfName::from("eth0")).map_err(|error| error.to_string());
        assert_eq!(found, Err("find link eth0: unreadable netlink answer: link 2: no name".to_owned()));
    }

    #[test]
    fn answers_to_a_request_given_up_are_nobodys() {
        let (mut netlink, kernel) = with_kernel(6);
        let mut late = raw(16, 2, 6, 0, &link(9, "late", &[]));
        late.extend(raw(3, 2, 6, 0, &[0; 4]));
        answer(&kernel, &late);
        let mut datagram = raw(16, 2, 7, 0, &link(1, "lo", &[]));
        datagram.extend(raw(3, 2, 7, 0, &[0; 4]));
        answer(&kernel, &datagram);
        let names: Vec<String> = netlink.links().expect("listed").into_iter().map(|link| link.name.0).collect();
        assert_eq!(names, ["lo"]);
    }
}
