//! Composition and the hash comments, against values that Calico v3.32.1 and the walkthrough show.

use super::*;
use crate::rules::iptables::hashes as iptables_hashes;
use crate::rules::nft::comments as nft_comments;
use ::model::desired::{Ipip, Pool, Settings};
use ::model::name::NodeName;

fn desired() -> Desired {
    Desired {
        node: NodeName::from("k8s-m"),
        address: None,
        workloads: BTreeMap::new(),
        local_blocks: BTreeSet::new(),
        pools: BTreeMap::from([(prefix("172.16.0.0/16"), Pool { nat_outgoing: true, ..Pool::default() })]),
        ipip: None,
        hosts: BTreeMap::from([(NodeName::from("k8s-m"), "192.168.10.10".parse().expect("a literal address"))]),
        settings: Settings::default(),
    }
}

fn prefix(text: &str) -> Ipv4Net {
    text.parse().expect("a literal prefix")
}

fn members(ruleset: &Ruleset, id: &str) -> Option<Vec<String>> {
    ruleset.sets.get(&SetName::ipv4(id)).map(|set| set.iter().map(Ipv4Net::to_string).collect())
}

fn outgoing(ruleset: &Ruleset) -> &[Rule] {
    &ruleset.chains[&(Table::Nat, ChainName::from(NAT_OUTGOING))]
}

#[test]
fn iptables_comments_are_calicos() {
    let mut desired = desired();
    desired.ipip = Some(Ipip { address: "172.16.116.0".parse().ok(), mtu: None });
    let hashes = iptables_hashes(&compose(&desired));
    for (chain, expect) in [
        ("PREROUTING", vec!["6gwbT8clXdHdC1b1"]),
        ("OUTPUT", vec!["tVnHkvAo15HuiPy0"]),
        ("POSTROUTING", vec!["0i8pjzKKPyA34aQD"]),
        ("cali-PREROUTING", vec!["r6XmIziWUJsdOK6Z"]),
        ("cali-OUTPUT", vec!["GBTAv2p5CwevEyJm"]),
        ("cali-POSTROUTING", vec!["Z-c7XtVd2Bq7s_hA", "nYKhEzDlr11Jccal", "SXWvdsbh4Mw7wOln"]),
        ("cali-nat-outgoing", vec!["flqWnvo8yq4ULQLa"]),
        ("cali-fip-dnat", vec![]),
        ("cali-fip-snat", vec![]),
    ] {
        assert_eq!(hashes[chain], expect, "{chain}");
    }
}

#[test]
fn nftables_comments_are_calicos() {
    let comments = nft_comments(&with_the_set_name_of_v3_32(compose(&desired())));
    for (chain, expect) in [
        ("nat-PREROUTING", vec!["cali:8sk3stC_vMHYORJg;"]),
        ("nat-INPUT", vec![]),
        ("nat-OUTPUT", vec!["cali:MUvsO-9-Ry3DQcZV;"]),
        ("nat-POSTROUTING", vec!["cali:z057H0Z77Fcko47w;"]),
        ("nat-cali-PREROUTING", vec!["cali:4l5hoyVny05ifNh_;"]),
        ("nat-cali-OUTPUT", vec!["cali:delU-zntVHn7bNcr;"]),
        ("nat-cali-POSTROUTING", vec!["cali:tyzVzs_JgnIisxS6;", "cali:_Ye9aC74uuE93XON;"]),
        ("nat-cali-nat-outgoing", vec!["cali:oMLt0S09xBKlYFS5;"]),
    ] {
        assert_eq!(comments[chain], expect, "{chain}");
    }
}

#[test]
fn the_set_name_of_v3_32_gives_its_hash() {
    let ruleset = with_the_set_name_of_v3_32(compose(&desired()));
    assert_eq!(iptables_hashes(&ruleset)["cali-nat-outgoing"], ["W_qq_N2KSTWyCvrX"]);
}

fn with_the_set_name_of_v3_32(mut ruleset: Ruleset) -> Ruleset {
    for rule in ruleset.chains.values_mut().flatten() {
        for condition in &mut rule.matches {
            if let Match::InSet(End::Destination, _, set) = condition {
                *set = SetName::ipv4("network-ip-pools");
            }
        }
    }
    ruleset
}

#[test]
fn pools_decide_sets_and_the_outgoing_rule() {
    let mut desired = desired();
    desired.pools.insert(prefix("10.0.0.0/24"), Pool { disabled: true, ..Pool::default() });
    let balancer = Pool { nat_outgoing: true, load_balancer_only: true, ..Pool::default() };
    desired.pools.insert(prefix("10.9.0.0/24"), balancer);
    let ruleset = compose(&desired);
    assert_eq!(members(&ruleset, ALL_POOLS).expect("there"), ["10.0.0.0/24", "172.16.0.0/16"]);
    assert_eq!(members(&ruleset, MASQ_POOLS).expect("there"), ["10.9.0.0/24", "172.16.0.0/16"]);
    assert_eq!(members(&ruleset, ALL_HOSTS), None);
    assert_eq!(outgoing(&ruleset).len(), 1);

    desired.pools.values_mut().for_each(|pool| pool.nat_outgoing = false);
    let ruleset = compose(&desired);
    assert_eq!(members(&ruleset, MASQ_POOLS).expect("there").len(), 0);
    assert_eq!(members(&ruleset, ALL_POOLS).expect("there"), ["10.0.0.0/24", "172.16.0.0/16"]);
    assert_eq!(outgoing(&ruleset), []);
}

#[test]
fn settings_change_the_outgoing_rule() {
    let mut desired = desired();
    desired.settings.nat_exclude_hosts = true;
    desired.settings.nat_address = "192.0.2.9".parse().ok();
    let ruleset = compose(&desired);
    assert_eq!(members(&ruleset, ALL_HOSTS).expect("there"), ["192.168.10.10/32"]);
    let rule = &outgoing(&ruleset)[0];
    assert_eq!(rule.matches[2], Match::InSet(End::Destination, Sense::IsNot, SetName::ipv4(ALL_HOSTS)));
    assert_eq!(rule.action, Action::Snat("192.0.2.9".parse().expect("a literal address")));
}

#[test]
fn a_tunnel_without_an_address_has_no_rule() {
    let mut desired = desired();
    let postrouting = |desired: &Desired| compose(desired).chains[&(Table::Nat, ChainName::from(POSTROUTING))].len();
    desired.ipip = Some(Ipip::default());
    assert_eq!(postrouting(&desired), 2);
    desired.ipip = Some(Ipip { address: "172.16.116.0".parse().ok(), mtu: None });
    assert_eq!(postrouting(&desired), 3);
}
