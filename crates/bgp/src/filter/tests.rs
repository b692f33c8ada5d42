use super::*;
use model::filter::{Destination, Operator};

fn attributes() -> Attributes {
    Attributes {
        as_path: AsPath(vec![
            Segment::Sequence(vec![Asn(65001), Asn(65002)]),
            Segment::Set(vec![Asn(65003), Asn(65004)]),
        ]),
        communities: vec![standard(65000, 42)],
        large_communities: vec![large(65000, 1, 2)],
        ..Attributes::local(Ipv4Addr::new(10, 0, 0, 1))
    }
}

fn matched(rule: &Rule) -> bool {
    let attributes = attributes();
    let interfaces = BTreeMap::from([
        ("10.0.0.0/24".parse().expect("a network"), "eth0".to_owned()),
        ("0.0.0.0/0".parse().expect("a network"), "eth9".to_owned()),
    ]);
    let prefix = "172.16.0.0/24".parse().expect("a prefix");
    matches(rule, &taught(prefix, &attributes, PeerType::External, &interfaces))
}

#[test]
fn each_condition() {
    let rule = || Rule::new(Verdict::Reject);
    let path = |asns: &[u32]| asns.iter().copied().map(Asn).collect::<Vec<_>>();
    let net = "172.16.0.0/16".parse().expect("a prefix");
    let destination = |operator| Some(Destination { net, operator, lengths: None });
    for (rule, expect) in [
        (rule(), true),
        (Rule { destination: destination(Operator::In), ..rule() }, true),
        (Rule { destination: destination(Operator::Equal), ..rule() }, false),
        (Rule { from_peers: true, ..rule() }, true),
        (Rule { interface: Some("eth0".to_owned()), ..rule() }, true),
        (Rule { interface: Some("eth9".to_owned()), ..rule() }, false),
        (Rule { session: Some(Session::External), ..rule() }, true),
        (Rule { session: Some(Session::Internal), ..rule() }, false),
        (Rule { community: Some(Community::Standard(65000, 42)), ..rule() }, true),
        (Rule { community: Some(Community::Standard(65000, 43)), ..rule() }, false),
        (Rule { community: Some(Community::Large(65000, 1, 2)), ..rule() }, true),
        (Rule { community: Some(Community::Large(65000, 2, 1)), ..rule() }, false),
        (Rule { as_path_prefix: path(&[65001]), ..rule() }, true),
        (Rule { as_path_prefix: path(&[65001, 65002]), ..rule() }, true),
        (Rule { as_path_prefix: path(&[65001, 65002, 65004]), ..rule() }, true),
        (Rule { as_path_prefix: path(&[65002]), ..rule() }, false),
        (Rule { as_path_prefix: path(&[65001, 65002, 65003, 65004]), ..rule() }, false),
        // a route without LOCAL_PREF has 100
        (Rule { priority: Some(2_147_483_547), ..rule() }, true),
        (Rule { priority: Some(1024), ..rule() }, false),
        (Rule { priority: Some(1024), from_peers: true, ..rule() }, false),
    ] {
        assert_eq!(matched(&rule), expect, "{rule:?}");
    }
}

#[test]
fn operations_in_order() {
    let mut changed = attributes();
    change(
        &mut changed,
        &[
            Operation::AddCommunity(Community::Standard(65000, 42)),
            Operation::AddCommunity(Community::Standard(65001, 200)),
            Operation::AddCommunity(Community::Large(1, 2, 3)),
            Operation::PrependAsPath(vec![Asn(1), Asn(2)]),
            Operation::SetPriority(256),
        ],
    );
    assert_eq!(changed.communities, [standard(65000, 42), standard(65001, 200)]);
    assert_eq!(changed.large_communities, [large(65000, 1, 2), large(1, 2, 3)]);
    let Segment::Sequence(first) = &changed.as_path.0[0] else { panic!("a sequence") };
    assert_eq!(first[..], [Asn(1), Asn(2), Asn(65001), Asn(65002)]);
    // as Calico writes it for BIRD: bgp_local_pref = 2147483391
    assert_eq!(changed.local_pref, Some(2_147_483_391));
}

#[test]
fn the_first_rule_that_matches_decides() {
    let attributes = attributes();
    let nowhere = BTreeMap::new();
    let route = taught("10.0.0.0/8".parse().expect("a prefix"), &attributes, PeerType::Internal, &nowhere);
    let accept = Rule::new(Verdict::Accept(Vec::new()));
    let never = Rule { interface: Some("*".to_owned()), ..Rule::new(Verdict::Reject) };
    assert_eq!(judge(&[], &route), None);
    assert_eq!(judge(std::slice::from_ref(&never), &route), None, "no interface leads there");
    assert_eq!(judge(&[never, accept, Rule::new(Verdict::Reject)], &route), Some(&Verdict::Accept(Vec::new())));
}

#[test]
fn patterns_of_interfaces() {
    for (pattern, name, expect) in [
        ("eth0", "eth0", true),
        ("eth0", "eth01", false),
        ("eth*", "eth01", true),
        ("*", "", true),
        ("*.calico", "vxlan.calico", true),
        ("*.calico", "vxlan.cali", false),
        ("a*b*c", "abc", true),
        ("a*b*c", "axxbyyc", true),
        ("a*b*c", "acb", false),
        ("ab*ba", "aba", false),
    ] {
        assert_eq!(fits(pattern, name), expect, "{pattern} {name}");
    }
}
