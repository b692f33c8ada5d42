//! The socket: requests with acknowledgement, dumps, batches, and what can go wrong with each.

use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use std::io;

/// Requests per write: beyond this the kernel's cost per route no longer falls.
const BATCH: usize = 128;
/// Holds the replies to one batch even if every request in it fails.
const RECEIVE_BUFFER: usize = 8 << 20;
/// The kernel sends dumps in pieces of at most 32 KiB.
const DATAGRAM: usize = 64 << 10;
/// A dump that others keep interrupting is given up after this many tries.
const DUMP_TRIES: usize = 16;
/// Length of the request's header that an acknowledgement repeats before its attributes.
const HEADER: usize = 16;
/// `NLMSGERR_ATTR_MSG`: the kernel's explanation, a string.
const EXPLANATION: u16 = 1;

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
            Cause::Socket(_) | Cause::Unreadable(_) | Cause::Restless => None,
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
        Ok(Netlink { socket, port, sequence: 0, writes: 0, buffer: Vec::with_capacity(DATAGRAM) })
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
            let first_sequence = self.sequence.wrapping_add(1);
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
            let last = self.sequence;
            self.receive(last, |sequence, answer| match answer {
                Answer::Acknowledged { failure: Some(cause) } => {
                    refused.push((position + sequence.wrapping_sub(first_sequence) as usize, cause));
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
        let mut bytes = Vec::new();
        self.encode(message, NLM_F_ACK, &mut bytes);
        self.send(&bytes)?;
        let mut found = None;
        let sequence = self.sequence;
        self.receive(sequence, |_, answer| match answer {
            Answer::Object(message) => {
                found = Some(message);
                Ok(())
            }
            Answer::Acknowledged { failure } => failure.map_or(Ok(()), Err),
        })?;
        found.ok_or_else(|| Cause::Unreadable("acknowledged without an answer".to_owned()))
    }

    /// Lists all objects of the request's kind, and keeps of each what `keep` makes of it.
    ///
    /// A link takes 17 KiB with all its attributes, hence one is gone before the next is read.
    pub fn dump<T>(
        &mut self,
        request: RouteNetlinkMessage,
        keep: impl Fn(&RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>, Cause> {
        for _ in 0..DUMP_TRIES {
            let mut bytes = Vec::new();
            self.encode(request.clone(), NLM_F_DUMP, &mut bytes);
            self.send(&bytes)?;
            let mut objects = Vec::new();
            let sequence = self.sequence;
            let interrupted = self.receive(sequence, |_, answer| match answer {
                Answer::Object(message) => {
                    objects.extend(keep(&message));
                    Ok(())
                }
                Answer::Acknowledged { failure } => failure.map_or(Ok(()), Err),
            })?;
            if !interrupted {
                return Ok(objects);
            }
        }
        Err(Cause::Restless)
    }

    pub(super) fn encode(&mut self, message: RouteNetlinkMessage, flags: u16, bytes: &mut Vec<u8>) {
        self.sequence = self.sequence.wrapping_add(1);
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
        self.socket.send(bytes, 0).map(drop).map_err(Cause::Socket)
    }

    /// Reads until the request numbered `last` is answered; tells whether a dump was interrupted.
    ///
    /// The first failure that `each` returns is passed on once everything is read, so that no answer is left behind.
    fn receive(&mut self, last: u32, mut each: impl FnMut(u32, Answer) -> Result<(), Cause>) -> Result<bool, Cause> {
        let mut interrupted = false;
        let mut outcome = Ok(());
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Cause::Socket(error)),
            }
            for message in messages(&self.buffer) {
                let message = message?;
                let sequence = message.header.sequence_number;
                // answers to a request given up earlier
                if last.wrapping_sub(sequence) > u32::MAX / 2 || sequence == 0 {
                    continue;
                }
                interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
                let (answer, done) = match message.payload {
                    NetlinkPayload::Error(error) => {
                        (Answer::Acknowledged { failure: failure(&error) }, sequence == last)
                    }
                    NetlinkPayload::Done(done) => {
                        let failure = refusal(done.code, &done.extended_ack);
                        (Answer::Acknowledged { failure }, sequence == last)
                    }
                    NetlinkPayload::InnerMessage(message) => (Answer::Object(message), false),
                    NetlinkPayload::Noop | NetlinkPayload::Overrun(_) | _ => continue,
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

/// Takes a datagram apart.
pub(super) fn messages(mut rest: &[u8]) -> impl Iterator<Item = Result<NetlinkMessage<RouteNetlinkMessage>, Cause>> {
    std::iter::from_fn(move || {
        let length = rest.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes) as usize)?;
        let length = length.clamp(HEADER, rest.len().max(HEADER));
        let message = NetlinkMessage::deserialize(rest).map_err(|error| Cause::Unreadable(error.to_string()));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// One message of the kernel's answer.
enum Answer {
    Object(RouteNetlinkMessage),
    Acknowledged { failure: Option<Cause> },
}

/// Reads an acknowledgement; none is success.
pub(super) fn failure(error: &ErrorMessage) -> Option<Cause> {
    refusal(error.raw_code(), error.header.get(HEADER..).unwrap_or_default())
}

/// Reads an error code and the attributes behind it; zero is no refusal.
fn refusal(code: i32, attributes: &[u8]) -> Option<Cause> {
    (code != 0).then(|| Cause::Refused { errno: Errno::from_raw(-code), explanation: explanation(attributes) })
}

/// Finds the kernel's explanation among the attributes of an extended acknowledgement.
fn explanation(mut attributes: &[u8]) -> Option<String> {
    while let [a, b, c, d, ..] = *attributes {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        if u16::from_ne_bytes([c, d]) == EXPLANATION {
            let text = attributes.get(4..length)?;
            return Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
        }
        attributes = attributes.get(length.max(4).next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explanations_are_found_behind_other_attributes() {
        // NLMSGERR_ATTR_OFFS (2), four bytes, then NLMSGERR_ATTR_MSG (1)
        let mut bytes = vec![8, 0, 2, 0, 1, 2, 3, 4];
        bytes.extend([10, 0, 1, 0]);
        bytes.extend(b"hello\0\0\0");
        assert_eq!(explanation(&bytes).as_deref(), Some("hello"));
        assert_eq!(explanation(&bytes[..8]), None);
        assert_eq!(explanation(&[255, 255, 1, 0, 9]), None);
    }

    #[test]
    fn a_refusal_reads_as_the_kernels_words() {
        let cause = refusal(-libc::ENETUNREACH, &[]).expect("not zero");
        assert_eq!(
            cause.during("add route 10.1.2.0/26 via 192.0.2.7").to_string(),
            "add route 10.1.2.0/26 via 192.0.2.7: Network is unreachable (os error 101)"
        );
    }
}
