use super::{Target, export};
use crate::config::NextHopMode;
use crate::rib::{Best, Candidate};
use crate::wire::PeerType;
use crate::wire::attribute::{AsPath, Attributes, Community, Segment, Unrecognized};
use model::Asn;
use std::net::Ipv4Addr;
use std::sync::Arc;

const FROM: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const TO: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const US: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);

fn to(peer_type: PeerType, next_hop: NextHopMode) -> Target {
    Target { peer: TO.into(), peer_type, next_hop, local_address: US, local_as: Asn(64512) }
}

fn learned(peer_type: PeerType, change: impl FnOnce(&mut Attributes)) -> Best {
    let mut attributes = Attributes::local(FROM);
    attributes.as_path = AsPath(vec![Segment::Sequence(vec![Asn(65001)])]);
    change(&mut attributes);
    Best::Learned(Candidate { attributes: Arc::new(attributes), peer: FROM.into(), identifier: FROM, peer_type })
}

#[test]
fn our_own_routes_go_to_everyone() {
    let internal = export(&Best::Local, to(PeerType::Internal, NextHopMode::Keep)).expect("announced");
    assert_eq!(internal, Attributes { local_pref: Some(100), ..Attributes::local(US) });
    let external = export(&Best::Local, to(PeerType::External, NextHopMode::Auto)).expect("announced");
    let as_path = AsPath(vec![Segment::Sequence(vec![Asn(64512)])]);
    assert_eq!(external, Attributes { as_path, ..Attributes::local(US) });
}

#[test]
fn learned_routes_go_where_they_may() {
    use PeerType::{External, Internal};
    let plain = |_: &mut Attributes| {};
    for (from, target, goes) in [(Internal, Internal, false), (Internal, External, true), (External, Internal, true)] {
        let exported = export(&learned(from, plain), to(target, NextHopMode::Auto));
        assert_eq!(exported.is_some(), goes, "{from:?} to {target:?}");
    }
    let back = Target { peer: FROM.into(), ..to(External, NextHopMode::Auto) };
    assert_eq!(export(&learned(External, plain), back), None, "not back to its sender");
    for (community, internal, external) in [
        (Community::NO_ADVERTISE, false, false),
        (Community::NO_EXPORT, true, false),
        (Community::NO_EXPORT_SUBCONFED, true, false),
        (Community(0xfc00_0001), true, true),
    ] {
        let route = learned(External, |attributes| attributes.communities = vec![community]);
        assert_eq!(export(&route, to(Internal, NextHopMode::Auto)).is_some(), internal, "{community:?}");
        assert_eq!(export(&route, to(External, NextHopMode::Auto)).is_some(), external, "{community:?}");
    }
}

#[test]
fn next_hops_follow_the_mode() {
    use NextHopMode::{Auto, Keep, Self_};
    use PeerType::{External, Internal};
    for (target, mode, next_hop) in [
        (Internal, Auto, FROM),
        (Internal, Self_, US),
        (Internal, Keep, FROM),
        (External, Auto, US),
        (External, Self_, US),
        (External, Keep, FROM),
    ] {
        let exported = export(&learned(External, |_| {}), to(target, mode)).expect("announced");
        assert_eq!(exported.next_hop, next_hop, "{target:?} {mode:?}");
    }
}

#[test]
fn internal_attributes_stay_inside_and_transitive_ones_travel() {
    let unrecognized = vec![Unrecognized { code: 99, value: vec![1, 2, 3] }];
    let route = learned(PeerType::Internal, |attributes| {
        attributes.local_pref = Some(300);
        attributes.med = Some(7);
        attributes.originator_id = Some(FROM);
        attributes.cluster_list = vec![FROM];
        attributes.communities = vec![Community(0xfc00_0001)];
        attributes.unrecognized = unrecognized.clone();
    });
    let exported = export(&route, to(PeerType::External, NextHopMode::Auto)).expect("announced");
    let expect = Attributes {
        as_path: AsPath(vec![Segment::Sequence(vec![Asn(64512), Asn(65001)])]),
        communities: vec![Community(0xfc00_0001)],
        unrecognized,
        ..Attributes::local(US)
    };
    assert_eq!(exported, expect);
    let kept = learned(PeerType::External, |attributes| attributes.local_pref = Some(300));
    let exported = export(&kept, to(PeerType::Internal, NextHopMode::Auto)).expect("announced");
    assert_eq!(exported.local_pref, Some(300));
}
