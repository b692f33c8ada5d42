//! The two ends of a route's way: one peer that sends many prefixes at once, one that counts what it gets.
//!
//! The messages are written before the clock starts, and the counter reads no more of an UPDATE than it must, so that
//! the program between the two is what is measured.

use bgp::wire::attribute::{AsPath, Attributes, Segment};
use bgp::wire::capability::Capability;
use bgp::wire::nlri::Family;
use bgp::wire::open::Open;
use bgp::wire::update::Update;
use bgp::wire::{AsWidth, Context, Frame, Kind, Message, PeerType};
use ipnet::Ipv4Net;
use model::Asn;
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const CONTEXT: Context = Context { as_width: AsWidth::Four, peer: PeerType::External };
/// How long a session may take to come up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Prefixes that share their attributes.
const SHARED: usize = 500;
/// Length of the prefixes sent, all of them in 10.0.0.0/8.
const LENGTH: u8 = 26;

/// An established session with the program under test.
pub(crate) struct Session {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Session {
    /// Opens it in the calling thread's namespace, again and again until it is established.
    pub(crate) fn open(own: Ipv4Addr, asn: u32, peer: Ipv4Addr) -> Session {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Session::attempt(own, asn, peer) {
                Ok(session) => return session,
                Err(error) => assert!(Instant::now() < deadline, "no session with {peer}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn attempt(own: Ipv4Addr, asn: u32, peer: Ipv4Addr) -> std::io::Result<Session> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((own, 0)).into())?;
        socket.connect(&SocketAddr::from((peer, 179)).into())?;
        let mut session = Session { stream: socket.into(), unread: Vec::new() };
        session.stream.set_read_timeout(Some(PATIENCE))?;
        let capabilities = vec![Capability::Multiprotocol(Family::IPV4_UNICAST), Capability::FourOctetAs(Asn(asn))];
        let my_as = u16::try_from(asn).expect("a two-octet AS");
        let open = Open { my_as, hold_time: Duration::from_secs(240), identifier: own, capabilities };
        session.stream.write_all(&Message::Open(open).encode(CONTEXT))?;
        for expected in [Kind::Open, Kind::Keepalive] {
            let kind = session.next(|frame| frame.kind)?;
            if kind != expected {
                return Err(std::io::Error::other(format!("{kind:?} instead of {expected:?}")));
            }
            session.stream.write_all(&Message::Keepalive.encode(CONTEXT))?;
        }
        Ok(session)
    }

    /// Reads one message.
    fn next<T>(&mut self, work: impl FnOnce(Frame<'_>) -> T) -> std::io::Result<T> {
        loop {
            match Frame::next(&self.unread) {
                Ok(Some((frame, length))) => {
                    let result = work(frame);
                    self.unread.drain(..length);
                    return Ok(result);
                }
                Ok(None) => self.fill()?,
                Err(error) => return Err(std::io::Error::other(error.to_string())),
            }
        }
    }

    fn fill(&mut self) -> std::io::Result<()> {
        let mut buffer = [0; 64 << 10];
        match self.stream.read(&mut buffer)? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.unread.extend(&buffer[..count]);
                Ok(())
            }
        }
    }

    /// Sends what [`announcements`] wrote.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the peer takes routes");
    }

    /// Reads until so many different prefixes of [`announcements`] have come; returns when the last did.
    pub(crate) fn count(&mut self, prefixes: usize) -> Instant {
        let mut seen = vec![false; 1 << (LENGTH - 8)];
        let mut left = prefixes;
        loop {
            let mut read = 0;
            while let Ok(Some((frame, length))) = Frame::next(&self.unread[read..]) {
                if frame.kind == Kind::Update {
                    left -= fresh(frame.body, &mut seen);
                }
                read += length;
            }
            self.unread.drain(..read);
            if left == 0 {
                return Instant::now();
            }
            self.fill().unwrap_or_else(|error| panic!("{left} of {prefixes} prefixes did not come: {error}"));
        }
    }
}

/// How many prefixes an UPDATE announces that were not seen before.
fn fresh(body: &[u8], seen: &mut [bool]) -> usize {
    let length = |at: usize| usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
    let attributes = 2 + length(0);
    let mut reachable = &body[attributes + 2 + length(attributes)..];
    let mut count = 0;
    while let [length, rest @ ..] = reachable {
        let (octets, rest) = rest.split_at(usize::from(length.div_ceil(8)));
        if *length == LENGTH && octets[0] == 10 {
            let index = usize::from(octets[1]) << 10 | usize::from(octets[2]) << 2 | usize::from(octets[3]) >> 6;
            count += usize::from(!std::mem::replace(&mut seen[index], true));
        }
        reachable = rest;
    }
    count
}

/// Writes UPDATEs of so many prefixes, some hundreds of which share their attributes; without an AS of the sender's
/// own, as an internal peer sends them.
pub(crate) fn announcements(prefixes: usize, asn: Option<u32>, next_hop: Ipv4Addr) -> Vec<u8> {
    let prefix = |number: usize| {
        let number = u32::try_from(number).expect("fewer than 10.0.0.0/8 has");
        Ipv4Net::new(Ipv4Addr::from((10 << 24) + (number << (32 - LENGTH))), LENGTH).expect("a length")
    };
    let all: Vec<Ipv4Net> = (0..prefixes).map(prefix).collect();
    let mut bytes = Vec::new();
    for (group, prefixes) in (0..).zip(all.chunks(SHARED)) {
        let mut attributes = Attributes::local(next_hop);
        let path = asn.map(|asn| Segment::Sequence(vec![Asn(asn), Asn(4_200_000_000 + group)]));
        attributes.as_path = AsPath(path.into_iter().collect());
        attributes.local_pref = asn.is_none().then_some(100);
        let peer = if asn.is_some() { PeerType::External } else { PeerType::Internal };
        let context = Context { peer, ..CONTEXT };
        for update in Update::announce(&attributes, prefixes, context) {
            bytes.extend(Message::Update(update).encode(context));
        }
    }
    bytes
}
