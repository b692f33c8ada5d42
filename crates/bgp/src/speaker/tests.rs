//! One speaker against a script: what it does with messages another speaker of ours would never send.

use super::*;
use crate::config::{PeerConfig, PeerKind};
use crate::wire::attribute::{AsPath, Attributes, Segment};
use crate::wire::capability::{Capability, Forwarding, GracefulRestart, Restarting};
use crate::wire::nlri::Family;
use crate::wire::notification::Notification;
use crate::wire::open::Open;
use crate::wire::update::Update;
use crate::wire::{Context, Frame, PeerType, RouteRefresh};
use model::Asn;
use std::net::Ipv4Addr;
use std::time::Duration;

const US: &str = "10.0.0.1";
const PEER: &str = "10.0.0.2";
const CONTEXT: Context = Context { as_width: crate::wire::AsWidth::Four, peer: PeerType::Internal };

fn ip(address: &str) -> IpAddr {
    address.parse().expect("an address")
}

fn v4(address: &str) -> Ipv4Addr {
    address.parse().expect("an address")
}

fn net(prefix: &str) -> Ipv4Net {
    prefix.parse().expect("a prefix")
}

/// A speaker in AS 64512 and the far end of a connection to it.
struct Script {
    speaker: Speaker,
    now: Instant,
    conn: ConnId,
    /// Messages that came on the connection.
    heard: Vec<Message>,
    closed: bool,
}

impl Script {
    /// The peer dials; our passive speaker answers with its OPEN.
    fn new(remote_as: u32) -> Script {
        let mut config = Config::new(Asn(64512), v4(US));
        let peer = PeerConfig { passive: true, ..PeerConfig::new(Asn(remote_as), PeerKind::Global) };
        config.peers.insert(SocketAddr::new(ip(PEER), 179), peer);
        let now = Instant::now();
        let speaker = Speaker::new(config, Arc::default(), now, 1);
        let conn = ConnId::Incoming(1);
        let mut script = Script { speaker, now, conn, heard: Vec::new(), closed: false };
        script.accepted(1);
        script
    }

    /// The peer opens a connection, and speaks on that one from here on.
    fn accepted(&mut self, number: u64) {
        self.conn = ConnId::Incoming(number);
        self.closed = false;
        self.input(Input::Accepted { conn: self.conn, peer: ip(PEER), local: ip(US) });
    }

    fn established(remote_as: u32) -> Script {
        let mut script = Script::new(remote_as);
        script.say(&Message::Open(open(remote_as)));
        script.say(&Message::Keepalive);
        script.input(Input::Originate([net("172.16.1.0/24")].into()));
        assert_eq!(script.state(), State::Established);
        script.heard.clear();
        script
    }

    fn input(&mut self, input: Input) {
        self.speaker.handle(input, self.now);
        while let Some(transmit) = self.speaker.poll_transmit() {
            match transmit {
                Transmit::Send { conn, bytes } if conn == self.conn => {
                    let (frame, _) = Frame::next(&bytes).expect("a right message").expect("a whole one");
                    self.heard.push(Message::decode(frame, CONTEXT).expect("a right message"));
                }
                Transmit::Close { conn } if conn == self.conn => self.closed = true,
                Transmit::Connect { .. } | Transmit::Send { .. } | Transmit::Close { .. } => {}
            }
        }
    }

    fn say(&mut self, message: &Message) {
        self.raw(message.encode(CONTEXT));
    }

    fn raw(&mut self, bytes: Vec<u8>) {
        self.input(Input::Received { conn: self.conn, bytes });
    }

    fn announce(&mut self, prefix: &str, attributes: Attributes) {
        let update = Update { attributes: Some(attributes), announced: vec![net(prefix)], ..Update::default() };
        self.say(&Message::Update(update));
    }

    fn state(&self) -> State {
        self.speaker.status()[0].state
    }

    fn learned(&self, prefix: &str) -> Option<Ipv4Addr> {
        self.speaker.learned.get(&net(prefix)).map(|hop| hop.gateway)
    }

    fn warnings(&mut self) -> Vec<String> {
        let events = std::iter::from_fn(|| self.speaker.poll_event());
        events
            .filter_map(|event| match event {
                Event::Warning { text, .. } => Some(text),
                Event::Learned(_) | Event::PeerState { .. } => None,
            })
            .collect()
    }
}

fn open(asn: u32) -> Open {
    Open {
        my_as: asn as u16,
        hold_time: Duration::from_secs(90),
        identifier: v4(PEER),
        capabilities: vec![Capability::FourOctetAs(Asn(asn))],
    }
}

fn graceful_restart(restarting: Restarting) -> Capability {
    let families = vec![(Family::IPV4_UNICAST, Forwarding::Preserved)];
    Capability::GracefulRestart(GracefulRestart { restarting, time: Duration::from_secs(60), families })
}

fn notification(reason: Reason) -> Message {
    Message::Notification(Notification::from(reason))
}

#[test]
fn opens_that_do_not_fit_are_refused() {
    let same_identifier = Open { identifier: v4(US), ..open(64512) };
    for (message, reason) in [(open(65000), Reason::BAD_PEER_AS), (same_identifier, Reason::BAD_BGP_IDENTIFIER)] {
        let mut script = Script::new(64512);
        script.say(&Message::Open(message));
        assert_eq!(script.heard.last(), Some(&notification(reason)));
        assert!(script.closed);
        // the error wait keeps the peer out for 5 s
        for (after, expect) in [(4, State::Idle), (1, State::Active)] {
            script.now += Duration::from_secs(after);
            script.input(Input::Timeout);
            assert_eq!(script.state(), expect);
        }
    }
}

#[test]
fn messages_out_of_turn_are_fsm_errors() {
    for (before, message, reason) in [
        (&[][..], Message::Keepalive, Reason::FSM_OPEN_SENT),
        (&[Message::Open(open(64512))][..], Message::Update(Update::end_of_rib()), Reason::FSM_OPEN_CONFIRM),
        (&[Message::Open(open(64512)), Message::Keepalive][..], Message::Open(open(64512)), Reason::FSM_ESTABLISHED),
    ] {
        let mut script = Script::new(64512);
        before.iter().for_each(|message| script.say(message));
        script.say(&message);
        assert_eq!(script.heard.last(), Some(&notification(reason)));
        assert!(script.closed);
    }
}

#[test]
fn messages_arrive_whole_however_the_stream_is_cut() {
    let mut script = Script::established(64512);
    let attributes = Attributes::local(v4(PEER));
    let mut stream = Vec::new();
    for update in Update::announce(&attributes, &[net("172.16.2.0/24"), net("172.16.3.0/24")], CONTEXT) {
        stream.extend(Message::Update(update).encode(CONTEXT));
    }
    stream.extend(Message::Keepalive.encode(CONTEXT));
    for octet in stream {
        script.raw(vec![octet]);
    }
    assert_eq!(script.learned("172.16.3.0/24"), Some(v4(PEER)));
}

#[test]
fn a_broken_update_closes_the_session_and_withdraws() {
    let mut script = Script::established(64512);
    script.announce("172.16.2.0/24", Attributes::local(v4(PEER)));
    assert_eq!(script.learned("172.16.2.0/24"), Some(v4(PEER)));
    let mut bytes = Message::Update(Update::withdraw(&[net("172.16.2.0/24")]).remove(0)).encode(CONTEXT);
    bytes[21] = 33; // a prefix length
    script.raw(bytes);
    assert_eq!(script.heard.last(), Some(&notification(Reason::INVALID_NETWORK)));
    assert_eq!(script.learned("172.16.2.0/24"), None);
    assert!(script.closed);
    let error = script.speaker.status().remove(0).trouble.map(|trouble| trouble.to_string());
    assert_eq!(error.as_deref(), Some("sent UPDATE Message Error/Invalid Network Field"));
}

/// The peer restarted; of the two connections then opened it gives up one that we already took as Established.
#[test]
fn a_collision_decided_late_keeps_what_the_restart_kept() {
    let restarting = |restarting| {
        let mut open = open(64512);
        open.capabilities.extend([Capability::Multiprotocol(Family::IPV4_UNICAST), graceful_restart(restarting)]);
        Message::Open(open).encode(CONTEXT)
    };
    let up = |restarts| [restarting(restarts), Message::Keepalive.encode(CONTEXT)].concat();
    let given_up = |reason| [up(Restarting::Yes), notification(reason).encode(CONTEXT)].concat();
    let closed = |script: &Script| Input::Closed { conn: script.conn, reason: "connection reset by peer".into() };
    let restarted = || {
        let mut script = Script::new(64512);
        script.raw(up(Restarting::No));
        script.announce("172.16.2.0/24", Attributes::local(v4(PEER)));
        script.announce("172.16.3.0/24", Attributes::local(v4(PEER)));
        script.now += Duration::from_secs(5);
        script.input(closed(&script));
        script.accepted(2);
        script
    };

    let mut script = restarted();
    script.raw(given_up(Reason::COLLISION_RESOLUTION));
    assert_ne!(script.state(), State::Established);
    assert_eq!(script.learned("172.16.2.0/24"), Some(v4(PEER)));
    script.accepted(3);
    script.raw(up(Restarting::Yes));
    script.announce("172.16.2.0/24", Attributes::local(v4(PEER)));
    assert_eq!(script.learned("172.16.3.0/24"), Some(v4(PEER)), "until the peer has said all");
    script.say(&Message::Update(Update::end_of_rib()));
    assert_eq!(script.learned("172.16.2.0/24"), Some(v4(PEER)));
    assert_eq!(script.learned("172.16.3.0/24"), None);

    let mut script = restarted();
    script.raw(given_up(Reason::COLLISION_RESOLUTION));
    script.now += Duration::from_secs(60);
    script.input(Input::Timeout);
    assert_eq!(script.learned("172.16.2.0/24"), None, "the other connection never came");

    let mut script = restarted();
    script.raw(given_up(Reason::ADMINISTRATIVE_SHUTDOWN));
    assert_eq!(script.learned("172.16.2.0/24"), None, "the session ended, not one connection of two");

    let mut script = restarted();
    for number in 3..=5 {
        script.now += Duration::from_secs(1);
        script.raw(up(Restarting::Yes));
        script.input(closed(&script));
        assert_eq!(script.learned("172.16.2.0/24"), Some(v4(PEER)), "closed at once, as in a collision");
        script.accepted(number);
    }
    for (passed, kept) in [(56, Some(v4(PEER))), (1, None)] {
        script.now += Duration::from_secs(passed);
        script.input(Input::Timeout);
        assert_eq!(script.learned("172.16.2.0/24"), kept, "for 60 s after the first connection ended");
    }

    let mut script = restarted();
    script.now += Duration::from_secs(59);
    script.raw(up(Restarting::Yes));
    script.announce("172.16.2.0/24", Attributes::local(v4(PEER)));
    script.now += Duration::from_secs(2);
    script.input(closed(&script));
    script.input(Input::Timeout);
    assert_eq!(script.learned("172.16.2.0/24"), Some(v4(PEER)), "said since");
    assert_eq!(script.learned("172.16.3.0/24"), None, "61 s after the first connection ended");

    let mut script = restarted();
    script.raw(up(Restarting::Yes));
    script.announce("172.16.2.0/24", Attributes::local(v4(PEER)));
    script.now += Duration::from_secs(5);
    script.input(closed(&script));
    assert_eq!(script.learned("172.16.2.0/24"), Some(v4(PEER)));
    assert_eq!(script.learned("172.16.3.0/24"), None, "RFC 4724 §4.2: stale before, and not said since");
}

#[test]
fn a_peer_that_may_hold_us_for_established_is_not_told_of_a_shutdown() {
    for (restarts, told) in [(Some(graceful_restart(Restarting::No)), false), (None, true)] {
        let mut script = Script::new(64512);
        let mut open = open(64512);
        open.capabilities.extend(restarts);
        script.say(&Message::Open(open));
        script.input(Input::Shutdown);
        let notice = notification(Reason::ADMINISTRATIVE_SHUTDOWN);
        assert_eq!((script.heard.last() == Some(&notice), script.closed), (told, true));
    }
}

#[test]
fn a_faulty_attribute_withdraws_and_the_session_stays() {
    let mut script = Script::established(64512);
    script.announce("172.16.2.0/24", Attributes::local(v4(PEER)));
    let update = Update {
        attributes: Some(Attributes::local(v4(PEER))),
        announced: vec![net("172.16.2.0/24")],
        ..Update::default()
    };
    let mut bytes = Message::Update(update).encode(CONTEXT);
    bytes[26] = 7; // ORIGIN
    script.raw(bytes);
    assert_eq!(script.learned("172.16.2.0/24"), None);
    assert_eq!(script.state(), State::Established);
    assert_eq!(script.warnings(), ["routes handled as withdrawn: attribute 1: invalid ORIGIN"]);
}

#[test]
fn loops_and_impossible_next_hops_are_left_out() {
    let crossed = |asn| AsPath(vec![Segment::Sequence(vec![Asn(asn)])]);
    for (attributes, usable) in [
        (Attributes::local(v4("10.0.0.9")), true),
        (Attributes { as_path: crossed(64999), ..Attributes::local(v4(PEER)) }, true),
        (Attributes { as_path: crossed(64512), ..Attributes::local(v4(PEER)) }, false),
        (Attributes { originator_id: Some(v4("10.0.0.9")), ..Attributes::local(v4(PEER)) }, true),
        (Attributes { originator_id: Some(v4(US)), ..Attributes::local(v4(PEER)) }, false),
        (Attributes::local(v4(US)), false),
        (Attributes::local(v4("0.0.0.0")), false),
        (Attributes::local(v4("127.0.0.1")), false),
        (Attributes::local(v4("224.0.0.5")), false),
        (Attributes::local(v4("255.255.255.255")), false),
    ] {
        let mut script = Script::established(64512);
        // an earlier announcement is replaced even by one that cannot be used
        script.announce("172.16.2.0/24", Attributes::local(v4(PEER)));
        script.announce("172.16.2.0/24", attributes.clone());
        assert_eq!(script.learned("172.16.2.0/24"), usable.then_some(attributes.next_hop), "{attributes:?}");
    }
}

#[test]
fn our_own_prefix_is_never_learned() {
    let mut script = Script::established(64512);
    script.announce("172.16.1.0/24", Attributes::local(v4(PEER)));
    assert_eq!(script.learned("172.16.1.0/24"), None);
    script.input(Input::Originate(BTreeSet::new()));
    assert_eq!(script.learned("172.16.1.0/24"), Some(v4(PEER)));
}

#[test]
fn route_refresh_brings_the_routes_again() {
    let mut script = Script::established(64512);
    script.say(&Message::RouteRefresh(RouteRefresh { family: Family::IPV6_UNICAST, subtype: 0 }));
    script.say(&Message::RouteRefresh(RouteRefresh { family: Family::IPV4_UNICAST, subtype: 1 }));
    assert_eq!(script.heard, []);
    script.say(&Message::RouteRefresh(RouteRefresh { family: Family::IPV4_UNICAST, subtype: 0 }));
    let attributes = Attributes { local_pref: Some(2_147_482_623), ..Attributes::local(v4(US)) };
    let expect = Update::announce(&attributes, &[net("172.16.1.0/24")], CONTEXT).remove(0);
    assert_eq!(script.heard, [Message::Update(expect)]);
}

#[test]
fn end_of_rib_waits_for_what_we_originate() {
    let mut script = Script::new(64512);
    script.say(&Message::Open(open(64512)));
    script.say(&Message::Keepalive);
    let end_of_rib = Message::Update(Update::end_of_rib());
    assert!(!script.heard.contains(&end_of_rib));
    script.input(Input::Originate([net("172.16.1.0/24")].into()));
    assert_eq!(script.heard.last(), Some(&end_of_rib));
    let updates = script.heard.iter().filter(|message| matches!(message, Message::Update(_))).count();
    assert_eq!(updates, 2);
    script.input(Input::Originate(BTreeSet::new()));
    assert_eq!(script.heard.iter().filter(|message| **message == end_of_rib).count(), 1, "once");
}

#[test]
fn a_stranger_is_turned_away() {
    let mut script = Script::new(64512);
    let stranger = ConnId::Incoming(7);
    script.conn = stranger;
    script.heard.clear();
    script.input(Input::Accepted { conn: stranger, peer: ip("10.0.0.99"), local: ip(US) });
    assert_eq!(script.heard, [notification(Reason::CONNECTION_REJECTED)]);
    assert!(script.closed);
}

#[test]
fn input_for_a_connection_that_is_gone_is_ignored() {
    let mut script = Script::established(64512);
    script.input(Input::Closed { conn: script.conn, reason: "connection reset by peer".into() });
    assert_eq!(script.state(), State::Active);
    script.say(&Message::Keepalive);
    script.input(Input::Connected { conn: ConnId::Outgoing(99), local: ip(US) });
    script.input(Input::ConnectFailed { conn: ConnId::Outgoing(99), reason: "no route to host".into() });
    assert_eq!(script.state(), State::Active);
    let error = script.speaker.status().remove(0).trouble.map(|trouble| trouble.to_string());
    assert_eq!(error.as_deref(), Some("connection reset by peer"));
}

#[test]
fn a_hold_time_of_zero_needs_no_keepalives() {
    let mut script = Script::new(64512);
    script.say(&Message::Open(Open { hold_time: Duration::ZERO, ..open(64512) }));
    script.say(&Message::Keepalive);
    assert_eq!(script.speaker.poll_timeout(), None);
    assert_eq!(script.state(), State::Established);
}

#[test]
fn timeouts_say_why() {
    let mut script = Script::established(64512);
    let (due, why) = script.speaker.poll_timeout().expect("keepalive and hold timers");
    assert_eq!((due - script.now, why), (Duration::from_secs(30), "keepalive"));
    script.now = due;
    script.input(Input::Timeout);
    assert_eq!(script.heard, [Message::Keepalive]);
    script.now += Duration::from_secs(60);
    script.input(Input::Timeout);
    assert!(script.heard.contains(&notification(Reason::HOLD_TIMER_EXPIRED)));
}

#[test]
fn a_peer_is_not_judged_before_what_it_said_is_read() {
    let mut script = Script::established(64512);
    script.announce("172.16.2.0/24", Attributes::local(v4(PEER)));
    let start = script.now;
    // the agent stood still for longer than the hold time of 90 s; the socket has something
    script.now = start + Duration::from_secs(91);
    script.input(Input::Unread { conn: script.conn });
    script.input(Input::Timeout);
    assert_eq!(script.state(), State::Established);
    assert_eq!(script.learned("172.16.2.0/24"), Some(v4(PEER)));
    let (due, why) = script.speaker.poll_timeout().expect("it is judged later");
    assert!(due > script.now && due <= script.now + Duration::from_secs(1), "{:?} {why}", due - script.now);
    // it was a KEEPALIVE
    script.say(&Message::Keepalive);
    script.now += Duration::from_secs(89);
    script.input(Input::Timeout);
    assert_eq!(script.state(), State::Established);
    // one that has said nothing is gone
    script.now += Duration::from_secs(2);
    script.input(Input::Timeout);
    assert_ne!(script.state(), State::Established);
}

#[test]
fn what_is_unread_puts_off_nothing_that_is_not_due_and_no_other_peers_end() {
    let mut script = Script::established(64512);
    let due = |script: &Script| script.speaker.poll_timeout().map(|(due, _)| due);
    let before = due(&script);
    script.input(Input::Unread { conn: script.conn });
    script.input(Input::Unread { conn: ConnId::Incoming(77) });
    assert_eq!(due(&script), before);
    script.now += Duration::from_secs(91);
    script.input(Input::Unread { conn: ConnId::Incoming(77) });
    script.input(Input::Timeout);
    assert_ne!(script.state(), State::Established);
}
