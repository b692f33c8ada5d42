use super::Target;
use crate::rib::{Best, Candidate, Source};
use crate::wire::PeerType;
use crate::wire::attribute::{AsPath, Attributes, Community, Segment, Unrecognized};
use model::Asn;
use model::peering::NextHopMode;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Without filters.
fn export(best: &Best, target: Target) -> Option<Attributes> {
    super::export(best, target, &[])
}

const FROM: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const TO: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const US: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);

fn to(peer_type: PeerType, next_hop: NextHopMode) -> Target {
    Target {
        peer: at(TO),
        peer_type,
        next_hop,
        local_address: US,
        local_as: Asn(64512),
        local_pref: 2_147_482_623,
        cluster_id: None,
        client: false,
    }
}

fn at(address: Ipv4Addr) -> SocketAddr {
    SocketAddr::from((address, 179))
}

fn from(peer_type: PeerType, client: bool, attributes: Attributes) -> Best {
    let source = Source { peer: at(FROM), identifier: FROM, peer_type, client };
    Best::Learned(Candidate { attributes: Arc::new(attributes), source: Arc::new(source) })
}

fn learned(peer_type: PeerType, change: impl FnOnce(&mut Attributes)) -> Best {
    let mut attributes = Attributes::local(FROM);
    attributes.as_path = AsPath(vec![Segment::Sequence(vec![Asn(65001)])]);
    change(&mut attributes);
    from(peer_type, false, attributes)
}

#[test]
fn our_own_routes_go_to_everyone() {
    let internal = export(&Best::Local, to(PeerType::Internal, NextHopMode::Keep)).expect("announced");
    assert_eq!(internal, Attributes { local_pref: Some(2_147_482_623), ..Attributes::local(US) });
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
    let back = Target { peer: at(FROM), ..to(External, NextHopMode::Auto) };
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

#[test]
fn a_reflector_passes_on_what_clients_say_and_what_they_should_hear() {
    let cluster = Ipv4Addr::new(10, 0, 0, 9);
    let reflector = |client| Target { cluster_id: Some(cluster), client, ..to(PeerType::Internal, NextHopMode::Auto) };
    for (source, target, goes) in [(false, false, false), (true, false, true), (false, true, true), (true, true, true)]
    {
        let route = from(PeerType::Internal, source, Attributes::local(FROM));
        let expect = Attributes {
            local_pref: Some(100),
            originator_id: Some(FROM),
            cluster_list: vec![cluster],
            ..Attributes::local(FROM)
        };
        let exported = export(&route, reflector(target));
        assert_eq!(exported, goes.then_some(expect), "from a client: {source}, to a client: {target}");
    }
    // what another reflector noted stays, and our cluster comes before its
    let (originator, other) = (Ipv4Addr::new(1, 2, 3, 4), Ipv4Addr::new(5, 6, 7, 8));
    let mut attributes = Attributes::local(originator);
    (attributes.originator_id, attributes.cluster_list) = (Some(originator), vec![other]);
    let exported = export(&from(PeerType::Internal, false, attributes), reflector(true)).expect("reflected");
    assert_eq!((exported.originator_id, exported.cluster_list), (Some(originator), vec![cluster, other]));
    assert_eq!(exported.next_hop, originator);
    // towards another AS nothing of it is said
    let route = from(PeerType::External, false, Attributes::local(FROM));
    let exported = export(&route, reflector(true)).expect("announced");
    assert_eq!((exported.originator_id, exported.cluster_list), (None, Vec::new()));
}
