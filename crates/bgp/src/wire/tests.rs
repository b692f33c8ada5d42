//! Bytes written out from the RFCs' layouts, each fault with the answer its RFC wants, and random input.

mod faults;
mod random;

use super::attribute::{Aggregator, AsPath, Attributes, Community, Origin, Segment};
use super::capability::{Capability, Forwarding, GracefulRestart, Restarting};
use super::notification::{Notification, Reason};
use super::open::Open;
use super::update::{MpReach, Reachability, Update, UpdateError};
use super::{AsWidth, Context, Family, Frame, HEADER, Message, PeerType, RouteRefresh};
use ipnet::Ipv4Net;
use model::Asn;
use std::net::Ipv4Addr;
use std::time::Duration;

const INTERNAL: Context = Context { as_width: AsWidth::Four, peer: PeerType::Internal };
const TWO_OCTET: Context = Context { as_width: AsWidth::Two, peer: PeerType::External };

/// Reads hex digits; spaces and line ends are for the reader.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).expect("a hex digit") as u8).collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    assert!(rest.is_empty());
    pairs.iter().map(|[high, low]| high << 4 | low).collect()
}

/// Puts a header before a body.
fn framed(kind: u8, body: &str) -> Vec<u8> {
    let body = hex(body);
    let mut bytes = vec![0xff; 16];
    bytes.extend(((HEADER + body.len()) as u16).to_be_bytes());
    bytes.push(kind);
    bytes.extend(body);
    bytes
}

fn decode(bytes: &[u8], context: Context) -> Result<Message, UpdateError> {
    let (frame, length) = Frame::next(bytes)?.expect("a whole message");
    assert_eq!(length, bytes.len());
    Message::decode(frame, context)
}

/// Asserts that the bytes mean the message and the message gives the bytes.
fn both_ways(bytes: &[u8], message: Message, context: Context) {
    assert_eq!(decode(bytes, context), Ok(message.clone()));
    assert_eq!(message.encode(context), bytes, "{message:?}");
}

fn net(prefix: &str) -> Ipv4Net {
    prefix.parse().expect("a prefix")
}

#[test]
fn keepalive() {
    both_ways(&hex("ffffffffffffffffffffffffffffffff 0013 04"), Message::Keepalive, INTERNAL);
}

#[test]
fn notification() {
    let message = Reason::BAD_MESSAGE_LENGTH.with([0x10, 0x01]);
    both_ways(&framed(3, "01 02 1001"), Message::Notification(message), INTERNAL);
    assert_eq!(Notification::from(Reason::PEER_DECONFIGURED).to_string(), "Cease/Peer De-configured");
    assert_eq!(Reason { code: 9, subcode: 8 }.to_string(), "error 9/8");
}

#[test]
fn route_refresh() {
    let message = RouteRefresh { family: Family::IPV4_UNICAST, subtype: 0 };
    both_ways(&framed(5, "0001 00 01"), Message::RouteRefresh(message), INTERNAL);
}

#[test]
fn open_with_our_capabilities() {
    // AS 4200000000 as AS_TRANS; multiprotocol 1/1, route refresh, four-octet AS, restarting for 120 s with 1/1 kept
    let bytes = framed(
        1,
        "04 5ba0 00f0 c0a80a0a 18
         02 16 01 04 0001 00 01  02 00  41 04 fa56ea00  40 06 8078 0001 01 80",
    );
    let open = Open {
        my_as: 23456,
        hold_time: Duration::from_secs(240),
        identifier: Ipv4Addr::new(192, 168, 10, 10),
        capabilities: vec![
            Capability::Multiprotocol(Family::IPV4_UNICAST),
            Capability::RouteRefresh,
            Capability::FourOctetAs(Asn(4_200_000_000)),
            Capability::GracefulRestart(GracefulRestart {
                restarting: Restarting::Yes,
                time: Duration::from_secs(120),
                families: vec![(Family::IPV4_UNICAST, Forwarding::Preserved)],
            }),
        ],
    };
    assert_eq!(open.asn(), Asn(4_200_000_000));
    assert!(open.carries(Family::IPV4_UNICAST) && !open.carries(Family::IPV6_UNICAST));
    both_ways(&bytes, Message::Open(open), INTERNAL);
}

#[test]
fn open_without_any_capability() {
    let bytes = framed(1, "04 fc00 00b4 0a000001 00");
    let open = Open {
        my_as: 64512,
        hold_time: Duration::from_secs(180),
        identifier: Ipv4Addr::new(10, 0, 0, 1),
        capabilities: Vec::new(),
    };
    assert_eq!((open.asn(), open.four_octet_as()), (Asn(64512), None));
    assert!(open.carries(Family::IPV4_UNICAST));
    both_ways(&bytes, Message::Open(open), INTERNAL);
}

#[test]
fn opens_of_other_speakers_are_understood() {
    // one parameter per capability, as many speakers send them: multiprotocol, enhanced refresh (70), extended
    // messages (6), add-path (69), host name (73), graceful restart without families, long-lived (71)
    let bytes = framed(
        1,
        "04 fc00 005a 0a000002 37
         02 06 01 04 0001 00 01
         02 02 02 00
         02 02 46 00
         02 06 41 04 0000fc00
         02 02 06 00
         02 06 45 04 0001 01 01
         02 07 49 05 03 66 72 72 00
         02 04 40 02 4078
         02 02 47 00",
    );
    let Ok(Message::Open(open)) = decode(&bytes, INTERNAL) else { panic!("an OPEN") };
    assert_eq!(open.asn(), Asn(64512));
    assert_eq!(open.capabilities.len(), 9);
    // the N bit of RFC 8538 is none of ours
    let restart = open.graceful_restart().expect("sent");
    assert_eq!((restart.restarting, restart.time), (Restarting::No, Duration::from_secs(120)));
    assert_eq!(restart.forwarding(Family::IPV4_UNICAST), None);
    // RFC 9072: the long form, and a capability whose value is too short for it
    let bytes = framed(1, "04 fc00 005a 0a000002 ff ff 000e 02 0006 01 04 0002 00 01 02 0002 41 00");
    let Ok(Message::Open(open)) = decode(&bytes, INTERNAL) else { panic!("an OPEN") };
    assert!(open.carries(Family::IPV6_UNICAST) && !open.carries(Family::IPV4_UNICAST));
    assert_eq!(open.capabilities[1], Capability::Other { code: 65, value: Vec::new() });
    assert_eq!(open.asn(), Asn(64512));
}

#[test]
fn update_with_every_field() {
    let bytes = framed(
        2,
        "0005 18 ac1009 00
         004f
         40 01 01 00
         40 02 10 02 02 0000fde9 fa56ea00 01 01 00000001
         40 03 04 c0a80a65
         80 04 04 00000007
         40 05 04 00000064
         40 06 00
         c0 07 08 0000fde9 0a000001
         c0 08 04 ffffff01
         80 09 04 0a000001
         80 0a 04 0a000009
         18 ac1001 20 ac1002ff 00",
    );
    let update = Update {
        withdrawn: vec![net("172.16.9.0/24"), net("0.0.0.0/0")],
        attributes: Some(Attributes {
            origin: Origin::Igp,
            as_path: AsPath(vec![Segment::Sequence(vec![Asn(65001), Asn(4_200_000_000)]), Segment::Set(vec![Asn(1)])]),
            med: Some(7),
            local_pref: Some(100),
            atomic_aggregate: true,
            aggregator: Some(Aggregator { asn: Asn(65001), identifier: Ipv4Addr::new(10, 0, 0, 1) }),
            communities: vec![Community::NO_EXPORT],
            originator_id: Some(Ipv4Addr::new(10, 0, 0, 1)),
            cluster_list: vec![Ipv4Addr::new(10, 0, 0, 9)],
            ..Attributes::local(Ipv4Addr::new(192, 168, 10, 101))
        }),
        announced: vec![net("172.16.1.0/24"), net("172.16.2.255/32"), net("0.0.0.0/0")],
        ..Update::default()
    };
    both_ways(&bytes, Message::Update(update), INTERNAL);
}

#[test]
fn four_octet_numbers_cross_a_two_octet_session() {
    // RFC 6793 §4.2.2: AS_TRANS in place, the truth in AS4_PATH and AS4_AGGREGATOR
    let bytes = framed(
        2,
        "0000 0035
         40 01 01 02
         40 02 06 02 02 fde9 5ba0
         40 03 04 0a000001
         c0 07 06 5ba0 0a000001
         c0 11 0a 02 02 0000fde9 fa56ea00
         c0 12 08 fa56ea00 0a000001
         08 0a",
    );
    let update = Update {
        attributes: Some(Attributes {
            origin: Origin::Incomplete,
            as_path: AsPath(vec![Segment::Sequence(vec![Asn(65001), Asn(4_200_000_000)])]),
            aggregator: Some(Aggregator { asn: Asn(4_200_000_000), identifier: Ipv4Addr::new(10, 0, 0, 1) }),
            ..Attributes::local(Ipv4Addr::new(10, 0, 0, 1))
        }),
        announced: vec![net("10.0.0.0/8")],
        ..Update::default()
    };
    both_ways(&bytes, Message::Update(update), TWO_OCTET);
    // a two-octet AS prepended itself behind our back: the longer AS_PATH leads
    let bytes = framed(
        2,
        "0000 001f 40 01 01 00 40 02 08 02 03 0007 fde9 5ba0 40 03 04 0a000001 c0 11 06 02 01 fa56ea00 08 0a",
    );
    let Ok(Message::Update(update)) = decode(&bytes, TWO_OCTET) else { panic!("an UPDATE") };
    let path: Vec<Segment> = update.attributes.expect("announces").as_path.0;
    let expect = [Segment::Sequence(vec![Asn(7), Asn(65001)]), Segment::Sequence(vec![Asn(4_200_000_000)])];
    assert_eq!(path, expect);
}

#[test]
fn multiprotocol_reachability() {
    let bytes = framed(2, "0000 0019 40 01 01 00 40 02 00 80 0e 0f 0001 01 04 0a000001 00 18 ac1001 08 0a");
    let attributes = Attributes::local(Ipv4Addr::new(10, 0, 0, 1));
    let prefixes = vec![net("172.16.1.0/24"), net("10.0.0.0/8")];
    let reach = MpReach::Ipv4Unicast { next_hop: Ipv4Addr::new(10, 0, 0, 1), prefixes };
    let update = Update { attributes: Some(attributes), reach: Some(reach), ..Update::default() };
    both_ways(&bytes, Message::Update(update), INTERNAL);

    let bytes = framed(
        2,
        "0000 0033 40 01 01 00 40 02 00
         80 0e 1a 0002 01 10 20010db8000000000000000000000001 00 20 20010db8
         80 0f 0c 0002 01 40 20010db800010002",
    );
    let reach = MpReach::Ipv6Unicast {
        next_hop: "2001:db8::1".parse().expect("an address"),
        link_local: None,
        prefixes: vec!["2001:db8::/32".parse().expect("a prefix")],
    };
    let unreach = Reachability::Ipv6Unicast(vec!["2001:db8:1:2::/64".parse().expect("a prefix")]);
    let update = Update {
        attributes: Some(Attributes::local(Ipv4Addr::UNSPECIFIED)),
        reach: Some(reach),
        unreach: Some(unreach),
        ..Update::default()
    };
    both_ways(&bytes, Message::Update(update), INTERNAL);
}

#[test]
fn end_of_rib_in_both_forms() {
    both_ways(&framed(2, "0000 0000"), Message::Update(Update::end_of_rib()), INTERNAL);
    for (body, marker) in [
        ("0000 0000", true),
        ("0000 0006 80 0f 03 0001 01", true),
        ("0000 0006 80 0f 03 0002 01", false),
        ("0001 00 0000", false),
        ("0000 0004 40 01 01 00", true),
    ] {
        let Ok(Message::Update(update)) = decode(&framed(2, body), INTERNAL) else { panic!("an UPDATE") };
        assert_eq!(update.is_end_of_rib(), marker, "{body}");
    }
}

#[test]
fn long_lists_are_cut_to_messages() {
    let prefixes: Vec<Ipv4Net> = (0..3000u32).map(|i| Ipv4Net::from(Ipv4Addr::from(0x0a00_0000 + i))).collect();
    let attributes = Attributes { local_pref: Some(100), ..Attributes::local(Ipv4Addr::new(10, 0, 0, 1)) };
    let announced = Update::announce(&attributes, &prefixes, INTERNAL);
    let withdrawn = Update::withdraw(&prefixes);
    // 4096 less header, two lengths and 21 octets of attributes holds 810 host routes; without attributes 814
    assert_eq!(announced.iter().map(|update| update.announced.len()).collect::<Vec<_>>(), [810, 810, 810, 570]);
    assert_eq!(withdrawn.iter().map(|update| update.withdrawn.len()).collect::<Vec<_>>(), [814, 814, 814, 558]);
    for update in announced.into_iter().chain(withdrawn) {
        let bytes = Message::Update(update.clone()).encode(INTERNAL);
        both_ways(&bytes, Message::Update(update), INTERNAL);
    }
}

#[test]
fn streams_are_cut_into_messages() {
    let mut stream = framed(4, "");
    stream.extend(framed(3, "06 02"));
    for end in 0..HEADER {
        assert_eq!(Frame::next(&stream[..end]), Ok(None));
    }
    let (frame, length) = Frame::next(&stream).expect("right").expect("whole");
    assert_eq!((frame.body, length), (&[][..], 19));
    let (frame, length) = Frame::next(&stream[19..]).expect("right").expect("whole");
    assert_eq!((frame.body, length), (&[6, 2][..], 21));
    assert_eq!(Frame::next(&stream[19..39]), Ok(None));
}
