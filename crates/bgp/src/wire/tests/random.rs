//! No input panics, and whatever is written can be read back.

use super::*;
use crate::wire::attribute::Unrecognized;
use ipnet::Ipv6Net;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

fn context() -> impl Strategy<Value = Context> {
    let width = prop_oneof![Just(AsWidth::Two), Just(AsWidth::Four)];
    let peer = prop_oneof![Just(PeerType::Internal), Just(PeerType::External)];
    (width, peer).prop_map(|(as_width, peer)| Context { as_width, peer })
}

fn ipv4() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from)
}

fn prefix() -> impl Strategy<Value = Ipv4Net> {
    (ipv4(), 0..=32u8).prop_map(|(address, bits)| Ipv4Net::new(address, bits).expect("at most 32").trunc())
}

fn prefix6() -> impl Strategy<Value = Ipv6Net> {
    let address = any::<u128>().prop_map(std::net::Ipv6Addr::from);
    (address, 0..=128u8).prop_map(|(address, bits)| Ipv6Net::new(address, bits).expect("at most 128").trunc())
}

fn segment() -> impl Strategy<Value = Segment> {
    let asns = || vec(any::<u32>().prop_map(Asn), 1..5);
    prop_oneof![asns().prop_map(Segment::Sequence), asns().prop_map(Segment::Set)]
}

fn aggregator() -> impl Strategy<Value = Aggregator> {
    (any::<u32>(), ipv4()).prop_map(|(asn, identifier)| Aggregator { asn: Asn(asn), identifier })
}

/// Attributes an internal or external peer may send.
fn attributes(peer: PeerType) -> impl Strategy<Value = Attributes> {
    let origin = prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)];
    let basic = (origin, vec(segment(), 0..4), ipv4(), of(any::<u32>()), any::<bool>(), of(aggregator()));
    let internal = (of(any::<u32>()), of(ipv4()), vec(ipv4(), 0..4));
    let lists = (vec(any::<u32>(), 0..80), vec(any::<[u8; 8]>(), 0..3), vec(any::<[u8; 12]>(), 0..3));
    let unrecognized = of((100..200u8, vec(any::<u8>(), 0..300)));
    (basic, internal, lists, unrecognized).prop_map(move |(basic, internal, lists, unrecognized)| {
        let (origin, segments, next_hop, med, atomic_aggregate, aggregator) = basic;
        let (local_pref, originator_id, cluster_list) = match peer {
            PeerType::Internal => internal,
            PeerType::External => (None, None, Vec::new()),
        };
        let (communities, extended_communities, large_communities) = lists;
        Attributes {
            origin,
            as_path: AsPath(segments),
            next_hop,
            med,
            local_pref,
            atomic_aggregate,
            aggregator,
            communities: communities.into_iter().map(Community).collect(),
            originator_id,
            cluster_list,
            extended_communities,
            large_communities,
            unrecognized: unrecognized.into_iter().map(|(code, value)| Unrecognized { code, value }).collect(),
        }
    })
}

fn update(peer: PeerType) -> impl Strategy<Value = Update> {
    let reach6 =
        (any::<u128>(), of(any::<u128>()), vec(prefix6(), 0..4)).prop_map(|(next_hop, link_local, prefixes)| {
            MpReach::Ipv6Unicast { next_hop: next_hop.into(), link_local: link_local.map(Into::into), prefixes }
        });
    let reach4 =
        (ipv4(), vec(prefix(), 0..4)).prop_map(|(next_hop, prefixes)| MpReach::Ipv4Unicast { next_hop, prefixes });
    let unreach = prop_oneof![
        vec(prefix(), 0..4).prop_map(Reachability::Ipv4Unicast),
        vec(prefix6(), 0..4).prop_map(Reachability::Ipv6Unicast),
    ];
    let reach = of(prop_oneof![reach4, reach6]);
    (vec(prefix(), 0..20), attributes(peer), vec(prefix(), 0..20), reach, of(unreach)).prop_map(
        |(withdrawn, mut attributes, announced, reach, unreach)| {
            // the next hop is where the routes are
            match &reach {
                Some(MpReach::Ipv4Unicast { next_hop, .. }) if announced.is_empty() => attributes.next_hop = *next_hop,
                Some(MpReach::Ipv6Unicast { .. }) if announced.is_empty() => {
                    attributes.next_hop = Ipv4Addr::UNSPECIFIED;
                }
                Some(_) | None => {}
            }
            let announces = !announced.is_empty() || reach.is_some();
            let attributes = announces.then_some(attributes);
            Update { withdrawn, attributes, announced, reach, unreach, discarded: Vec::new() }
        },
    )
}

fn capability() -> impl Strategy<Value = Capability> {
    let family = || (any::<u16>(), any::<u8>()).prop_map(|(afi, safi)| Family { afi, safi });
    let kept = |kept| if kept { Forwarding::Preserved } else { Forwarding::Lost };
    let restart = (any::<bool>(), 0..4096u64, vec((family(), any::<bool>().prop_map(kept)), 0..3)).prop_map(
        |(restarting, seconds, families)| GracefulRestart {
            restarting: if restarting { Restarting::Yes } else { Restarting::No },
            time: Duration::from_secs(seconds),
            families,
        },
    );
    prop_oneof![
        family().prop_map(Capability::Multiprotocol),
        Just(Capability::RouteRefresh),
        restart.prop_map(Capability::GracefulRestart),
        (1..u32::MAX).prop_map(|asn| Capability::FourOctetAs(Asn(asn))),
        (66..255u8, vec(any::<u8>(), 0..40)).prop_map(|(code, value)| Capability::Other { code, value }),
    ]
}

fn open() -> impl Strategy<Value = Open> {
    let hold_time = prop_oneof![Just(0), 3..=u16::MAX];
    (1..u16::MAX, hold_time, 1..u32::MAX, vec(capability(), 0..20)).prop_map(
        |(my_as, hold, identifier, capabilities)| Open {
            my_as,
            hold_time: Duration::from_secs(hold.into()),
            identifier: identifier.into(),
            capabilities,
        },
    )
}

fn message(peer: PeerType) -> impl Strategy<Value = Message> {
    prop_oneof![
        open().prop_map(Message::Open),
        update(peer).prop_map(Message::Update),
        (any::<u8>(), any::<u8>(), vec(any::<u8>(), 0..40)).prop_map(|(code, subcode, data)| {
            Message::Notification(Notification { reason: Reason { code, subcode }, data })
        }),
        Just(Message::Keepalive),
        (any::<u16>(), any::<u8>(), any::<u8>()).prop_map(|(afi, safi, subtype)| {
            Message::RouteRefresh(RouteRefresh { family: Family { afi, safi }, subtype })
        }),
    ]
}

fn message_in_context() -> impl Strategy<Value = (Context, Message)> {
    context().prop_flat_map(|context| (Just(context), message(context.peer)))
}

proptest! {
    #[test]
    fn reading_undoes_writing((context, message) in message_in_context()) {
        prop_assert_eq!(decode(&message.encode(context), context), Ok(message));
    }

    #[test]
    fn random_bodies_do_not_panic(kind in 1..=5u8, body in vec(any::<u8>(), 0..200), context in context()) {
        let mut bytes = vec![0xff; 16];
        bytes.extend(((HEADER + body.len()) as u16).to_be_bytes());
        bytes.push(kind);
        bytes.extend(body);
        if let Ok(Some((frame, _))) = Frame::next(&bytes) {
            let _ = Message::decode(frame, context);
        }
    }

    #[test]
    fn mutated_messages_do_not_panic(
        (context, message) in message_in_context(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = message.encode(context);
        for (index, octet) in changes {
            let index = index.index(bytes.len());
            bytes[index] = octet;
        }
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
            if let Ok(Some((frame, length))) = Frame::next(bytes) {
                prop_assert!(length <= bytes.len());
                let _ = Message::decode(frame, context);
            }
        }
    }
}
