use super::{Candidate, Source, best};
use crate::wire::PeerType;
use crate::wire::attribute::{AsPath, Attributes, Origin, Segment};
use model::Asn;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// A route from internal peer 10.0.0.`host`, changed as a test needs.
fn route(host: u8, change: impl FnOnce(&mut Attributes)) -> Candidate {
    let address = Ipv4Addr::new(10, 0, 0, host);
    let mut attributes = Attributes::local(address);
    change(&mut attributes);
    let peer = SocketAddr::from((address, 179));
    let source = Source { peer, identifier: address, peer_type: PeerType::Internal, client: false };
    Candidate { attributes: Arc::new(attributes), source: Arc::new(source) }
}

/// The same route from a peer that differs.
fn from(route: Candidate, change: impl FnOnce(&mut Source)) -> Candidate {
    let mut source = Source::clone(&route.source);
    change(&mut source);
    Candidate { source: Arc::new(source), ..route }
}

fn unidentified(source: &mut Source) {
    source.identifier = Ipv4Addr::LOCALHOST;
}

fn path(asns: &[u32]) -> AsPath {
    AsPath(vec![Segment::Sequence(asns.iter().map(|asn| Asn(*asn)).collect())])
}

/// Asserts that the first candidate wins, wherever it stands.
fn first_wins(step: &str, candidates: &[Candidate]) {
    for turn in 0..candidates.len() {
        let mut turned = candidates.to_vec();
        turned.rotate_left(turn);
        assert_eq!(best(turned.into_iter()).as_ref(), candidates.first(), "{step}");
    }
}

#[test]
fn each_step_decides_when_those_before_are_equal() {
    first_wins("nothing to choose", &[]);
    first_wins("one route", &[route(1, |_| {})]);
    first_wins(
        "higher LOCAL_PREF, though the path is longer",
        &[
            route(9, |a| (a.local_pref, a.as_path) = (Some(200), path(&[1, 2, 3]))),
            route(1, |a| a.local_pref = Some(100)),
            route(2, |a| a.local_pref = None),
        ],
    );
    first_wins(
        "shorter AS_PATH, though the origin is worse",
        &[
            route(9, |a| (a.as_path, a.origin) = (path(&[1]), Origin::Incomplete)),
            route(1, |a| a.as_path = path(&[1, 2])),
        ],
    );
    let set = AsPath(vec![Segment::Set(vec![Asn(1), Asn(2), Asn(3)])]);
    first_wins("a set counts as one", &[route(9, |a| a.as_path = set), route(1, |a| a.as_path = path(&[1, 2]))]);
    first_wins(
        "lower ORIGIN, though MED is higher",
        &[
            route(9, |a| (a.origin, a.med) = (Origin::Igp, Some(9))),
            route(1, |a| a.origin = Origin::Egp),
            route(2, |a| a.origin = Origin::Incomplete),
        ],
    );
    first_wins(
        "lower MED from the same neighboring AS, none being the lowest",
        &[
            route(9, |a| (a.as_path, a.med) = (path(&[1]), None)),
            route(1, |a| (a.as_path, a.med) = (path(&[1]), Some(5))),
        ],
    );
    first_wins(
        "MED of different neighboring ASes does not compare",
        &[
            route(1, |a| (a.as_path, a.med) = (path(&[1]), Some(50))),
            route(9, |a| (a.as_path, a.med) = (path(&[2]), Some(5))),
        ],
    );
    let external = from(route(9, |_| {}), |source| source.peer_type = PeerType::External);
    first_wins("external before internal", &[external, route(1, |_| {})]);
    first_wins("lower identifier", &[route(1, |_| {}), route(9, |_| {})]);
    first_wins(
        "ORIGINATOR_ID in place of the identifier",
        &[route(9, |a| a.originator_id = Some(Ipv4Addr::new(1, 1, 1, 1))), route(2, |_| {})],
    );
    first_wins(
        "shorter CLUSTER_LIST",
        &[
            from(route(9, |_| {}), unidentified),
            from(route(1, |a| a.cluster_list = vec![Ipv4Addr::new(3, 3, 3, 3)]), unidentified),
        ],
    );
    first_wins("lower peer address", &[1, 2, 3].map(|host| from(route(host, |_| {}), unidentified)));
}

#[test]
fn a_route_out_of_the_race_by_med_still_takes_its_rival_along() {
    // §9.1.2.2 c: the worse of AS 1's routes goes first, though it has the lowest identifier of all
    let worse = route(1, |a| (a.as_path, a.med) = (path(&[1]), Some(9)));
    let better = route(7, |a| (a.as_path, a.med) = (path(&[1]), Some(1)));
    let other = route(5, |a| (a.as_path, a.med) = (path(&[2]), Some(99)));
    first_wins("MED before identifier", &[other, worse, better]);
}
