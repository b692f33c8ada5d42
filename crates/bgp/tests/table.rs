//! A large table through one speaker: what it costs in memory and messages.
//!
//! ```text
//!   X (65001) ── 100,000 prefixes ──► the speaker (64512) ──► Y (65002)
//! ```
//!
//! Times are printed, not asserted: `cargo test -p bgp --release --test table -- --nocapture`.

use bgp::wire::attribute::{AsPath, Attributes, Segment};
use bgp::wire::capability::Capability;
use bgp::wire::open::Open;
use bgp::wire::update::Update;
use bgp::wire::{AsWidth, Context, Frame, Message, PeerType};
use bgp::{Config, ConnId, Event, Input, PeerConfig, PeerKind, Speaker, State, Transmit};
use ipnet::Ipv4Net;
use model::Asn;
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Counts what is allocated and not freed.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the allocator's contract
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the allocator's contract
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CONTEXT: Context = Context { as_width: AsWidth::Four, peer: PeerType::External };
const X: (ConnId, Ipv4Addr, u32) = (ConnId::Incoming(1), Ipv4Addr::new(10, 0, 0, 1), 65001);
const Y: (ConnId, Ipv4Addr, u32) = (ConnId::Incoming(2), Ipv4Addr::new(10, 0, 0, 2), 65002);
const US: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const PREFIXES: u32 = 100_000;

/// A speaker in session with X and Y.
fn speaker(now: Instant) -> Speaker {
    let mut config = Config::new(Asn(64512), US);
    for (_, address, asn) in [X, Y] {
        let peer = PeerConfig { passive: true, ..PeerConfig::new(Asn(asn), PeerKind::Global) };
        config.peers.insert(SocketAddr::from((address, 179)), peer);
    }
    let mut speaker = Speaker::new(config, Arc::default(), now, 1);
    speaker.handle(Input::Originate(BTreeSet::new()), now);
    for (conn, address, asn) in [X, Y] {
        let (peer, local) = (IpAddr::V4(address), IpAddr::V4(US));
        speaker.handle(Input::Accepted { conn, peer, local }, now);
        let open = Open {
            my_as: asn as u16,
            hold_time: Duration::from_secs(90),
            identifier: address,
            capabilities: vec![Capability::FourOctetAs(Asn(asn))],
        };
        for message in [Message::Open(open), Message::Keepalive] {
            speaker.handle(Input::Received { conn, bytes: message.encode(CONTEXT) }, now);
        }
    }
    assert!(speaker.status().iter().all(|status| status.state == State::Established));
    while speaker.poll_transmit().is_some() || speaker.poll_event().is_some() {}
    speaker
}

/// What X says, cut as TCP may cut it.
fn announcements(prefixes: &[Ipv4Net]) -> Vec<Vec<u8>> {
    let mut attributes = Attributes::local(X.1);
    attributes.as_path = AsPath(vec![Segment::Sequence(vec![Asn(X.2)])]);
    let updates = Update::announce(&attributes, prefixes, CONTEXT);
    let stream: Vec<u8> = updates.into_iter().flat_map(|update| Message::Update(update).encode(CONTEXT)).collect();
    stream.chunks(64 * 1024).map(<[u8]>::to_vec).collect()
}

/// Hands the speaker octets of X; returns how many messages Y gets, and the prefixes announced and withdrawn in them.
fn pass(speaker: &mut Speaker, stream: Vec<Vec<u8>>, now: Instant) -> (usize, usize, usize) {
    let (mut messages, mut announced, mut withdrawn) = (0, 0, 0);
    for bytes in stream {
        speaker.handle(Input::Received { conn: X.0, bytes }, now);
        while let Some(transmit) = speaker.poll_transmit() {
            let Transmit::Send { conn, bytes } = transmit else { panic!("a session broke: {transmit:?}") };
            assert_eq!(conn, Y.0, "nothing goes back to X");
            let (frame, _) = Frame::next(&bytes).expect("a right message").expect("a whole one");
            let Ok(Message::Update(update)) = Message::decode(frame, CONTEXT) else { panic!("an UPDATE is expected") };
            messages += 1;
            announced += update.announced.len();
            withdrawn += update.withdrawn.len();
        }
    }
    (messages, announced, withdrawn)
}

#[test]
fn a_hundred_thousand_prefixes() {
    let now = Instant::now();
    let prefixes: Vec<Ipv4Net> = (0..PREFIXES).map(|n| Ipv4Net::from(Ipv4Addr::from(0x0a80_0000 + n))).collect();
    let stream = announcements(&prefixes);
    let withdrawals: Vec<u8> =
        Update::withdraw(&prefixes).into_iter().flat_map(|update| Message::Update(update).encode(CONTEXT)).collect();
    let mut speaker = speaker(now);
    let before = LIVE.load(Ordering::Relaxed);
    let copied = stream.iter().map(Vec::len).sum::<usize>();
    let began = Instant::now();
    let (messages, announced, withdrawn) = pass(&mut speaker, stream, now);
    let learned = loop {
        if let Some(Event::Learned(learned)) = speaker.poll_event() {
            break learned;
        }
    };
    let took = began.elapsed();
    assert_eq!((announced, withdrawn, learned.len()), (PREFIXES as usize, 0, PREFIXES as usize));
    assert!(messages <= 140, "{messages} messages for what fits in 130");
    drop(learned);
    let held = (LIVE.load(Ordering::Relaxed) + copied - before) / 1024;
    eprintln!("{PREFIXES} prefixes in and out: {took:?}, {messages} messages, {held} KiB held");
    assert!(held <= 16 * 1024, "{held} KiB");

    let began = Instant::now();
    let (messages, announced, withdrawn) = pass(&mut speaker, vec![withdrawals], now);
    eprintln!("and withdrawn: {:?}, {messages} messages", began.elapsed());
    assert_eq!((announced, withdrawn), (0, PREFIXES as usize));
    while speaker.poll_event().is_some() {}
    let left = LIVE.load(Ordering::Relaxed).saturating_sub(before.saturating_sub(copied));
    assert!(left < 512 * 1024, "{left} octets are left when all is withdrawn");
}
