//! Composition and the hash comments, against values that Calico v3.32.1 and the walkthrough show.

use super::nat::NAT_OUTGOING;
use super::*;
use crate::rules::hash;
use crate::rules::iptables::hashes as iptables_hashes;
use crate::rules::nft::comments as nft_comments;
use crate::rules::rule::{End, Sense};
use ::model::desired::{Desired, EndpointToHost, Ipip, Pool, Settings, Workload};
use ::model::name::{IfName, NodeName};
use ipnet::Ipv4Net;

fn desired() -> Desired {
    Desired {
        node: NodeName::from("k8s-m"),
        address: None,
        workloads: BTreeMap::new(),
        unread_workloads: BTreeSet::new(),
        local_blocks: BTreeSet::new(),
        pools: BTreeMap::from([(prefix("172.16.0.0/16"), Pool { nat_outgoing: true, ..Pool::default() })]),
        ipip: None,
        hosts: BTreeMap::from([(NodeName::from("k8s-m"), "192.168.10.10".parse().expect("a literal address"))]),
        settings: Settings::default(),
    }
}

fn compose(desired: &Desired) -> Ruleset {
    super::compose(desired, Family::Ipv4, &BTreeSet::new())
}

fn set(id: &str) -> SetName {
    SetName::of(Family::Ipv4, id)
}

fn prefix(text: &str) -> Ipv4Net {
    text.parse().expect("a literal prefix")
}

fn members(ruleset: &Ruleset, id: &str) -> Option<Vec<String>> {
    ruleset.sets.get(&set(id)).map(|set| set.members.iter().map(IpNet::to_string).collect())
}

fn outgoing(ruleset: &Ruleset) -> &[Rule] {
    &ruleset.chains[&(Table::Nat, ChainName::from(NAT_OUTGOING))]
}

#[test]
fn iptables_comments_are_calicos() {
    let mut desired = desired();
    desired.ipip = Some(Ipip { address: "172.16.116.0".parse().ok(), mtu: None });
    let hashes = iptables_hashes(&compose(&desired), Table::Nat);
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

/// Three workloads, two of whose names share a character, as Calico's agent was recorded with them.
fn with_workloads() -> Desired {
    let links = ["cali20aafc107a9", "calia7a3e029a7b", "caliaa960f0d82e"];
    Desired { workloads: links.map(|link| (IfName::from(link), Workload::default())).into(), ..desired() }
}

#[test]
fn the_comments_of_the_guards_are_calicos() {
    let ruleset = with_the_set_name_of_v3_32(compose(&with_workloads()));
    let filter = iptables_hashes(&ruleset, Table::Filter);
    for (chain, expect) in [
        ("INPUT", "Cz_u1IQiXIMmKD4c"),
        ("FORWARD", "wUHhoiAYhphO9Mso S93hcgKJrXEqnTfs mp77cMpurHhyjLrM"),
        ("OUTPUT", "tVnHkvAo15HuiPy0"),
        ("cali-INPUT", "FewJpBykm9iJ-YNH hder3ARWznqqv8Va eyx2leKMZ98ckPa- 3x0rc-VDNNJkVu93 pARw-KZUlQru4OX0"),
        (
            "cali-FORWARD",
            "W_vvds1Nw3n9QE2f ZfgmjuiLaA8Pg0kp tAzwBLPaV-j53OOZ 4Z0Pf0byo05NFe-P hQ7Oc16wmUtLuneJ rnKNH2WxGcRQcIlD",
        ),
        ("cali-OUTPUT", "Mq1_rAdXXH3YkrzW 69FkRTJDvD5Vu6Vl _qC1vc3_sSxJWgRW utu2eOH2IZRmlfMX IL6b-f6R0sfjMo-y"),
        ("cali-wl-to-host", "Ee9Sbo10IpVujdIY eFOMW3jAdcq1gnVZ"),
        ("cali-from-wl-dispatch", "wkLxhYZm0kMVZXO6 Smb__rtPyMKG8OgR d7DR7oh6MXJYlWTS"),
        ("cali-from-wl-dispatch-a", "6EOvALAVNC8dBitr xeQBY1DzdNzAjfF1 U3bEZ9lEz9mpUWYs"),
        ("cali-to-wl-dispatch", "t5MWW_-PXYQV3pDy wojuNx_aIl90AdQc lkoNHzq9siC8Oo8B"),
        ("cali-to-wl-dispatch-a", "P5h4-41pR4hE6aKR AlCydFPAmm-qeqqA LJFIqqiAM2pm4Tdm"),
    ] {
        assert_eq!(filter[chain].join(" "), expect, "{chain}");
    }
    // up to where ours accept and Calico's lead on to profiles
    for (chain, expect) in [
        (
            "cali-fw-cali20aafc107a9",
            "BsPANoIa6f3tCmzj _YIRyF3xurmLWg6I gNmMIaEe-JiBwqxO WIiXutaYpKBilpx4 2u1AXr4J2V2Juf21",
        ),
        ("cali-tw-calia7a3e029a7b", "syG2cW3Id_hBDNh7 _G02SorPukmJJva6 lEZLc27xzY3P2aG0"),
    ] {
        let (_, hashes) = filter[chain].split_last().expect("rules");
        assert_eq!(hashes.join(" "), expect, "{chain}");
    }
    let mangle = iptables_hashes(&ruleset, Table::Mangle);
    for (chain, expect) in [
        ("POSTROUTING", "O3lYWMrLQYEMJtB5"),
        ("PREROUTING", "6gwbT8clXdHdC1b1"),
        ("cali-POSTROUTING", "rjggb5FqJG-Y25Bt jjeDINEyBNIZOyCC zNC99P5aQEt6jv4X Zq8WVZgLnBNyn-Ed x8FyevjrLjl7aiMw"),
        ("cali-PREROUTING", "6BJqBjBC7crtA-7- KX7AGNd6rMcDUai6 wNH7KsA3ILKJBsY9 Cg96MgVuoPm7UMRo"),
    ] {
        assert_eq!(mangle[chain].join(" "), expect, "{chain}");
    }
    let raw = iptables_hashes(&without_the_loopback_rule(ruleset), Table::Raw);
    for (chain, expect) in [
        ("cali-OUTPUT", "clI8WObfCl4yhr60 ZbkN6P8OdRcBRPpU tTi_3jFgvxUFsObH"),
        (
            "cali-PREROUTING",
            "DQ6LK2guiBRMyrLK o0awFTLnSamXVVNW aJ7XamFJS43rOYyJ hOMHbY_OXb_BF9pw N7S4OAqlgBJWcynn 8A061i5zP9KV-opa",
        ),
    ] {
        assert_eq!(raw[chain].join(" "), expect, "{chain}");
    }
}

#[test]
fn the_comments_of_the_guards_are_calicos_in_nftables() {
    let ruleset = without_the_loopback_rule(with_the_set_name_of_v3_32(compose(&with_workloads())));
    let comments = nft_comments(&ruleset);
    for (chain, expect) in [
        ("filter-FORWARD", "dpfqBgJrpRwlrqw1 yp7iNUYNEhDmKF6E fXaqbwKfGHq5dvHP"),
        (
            "filter-cali-FORWARD",
            "DjLNGAdnReheqqCp nYRf9HAGIu4qv2zI otxs2Q4D05BNLIsQ j573pOiV4ETpv7o4 spaMQnRTjqphyAAs gPO_isDuaIy0xfd5",
        ),
        ("filter-cali-wl-to-host", "Ny8jNeS1ncqmgkwL ugXF1ghMPV60mSSX"),
        ("filter-cali-from-wl-dispatch", "Lui9n9_J-BlSLUtk KMISEjprqaGFiicp"),
        ("filter-cali-to-wl-dispatch", "ljtHSLJQhigspPd1 zeZtiiPDsE6BwqUG"),
        (
            "mangle-cali-POSTROUTING",
            "-2PuSJszKeVKN8Br u1uW9MfBnnVG-LGw H4o9mQkib2ONEYHH kFpjCSfepg3vwE0_ 8vyoAb5gi_9_qk_x",
        ),
        (
            "raw-cali-PREROUTING",
            "_m5XxTROnUC3kwU9 ctcaX4ZQyMGQ1LGV NAI0hwf8bus54vEI EvBVWXbeldMOeRv2 umCs8OZg7jL_5ENe QnDZrrYRirW4glFe",
        ),
    ] {
        let hash = |comment: &String| comment[hash::PREFIX.len()..].split(';').next().unwrap_or_default().to_owned();
        assert_eq!(comments[chain].iter().map(hash).collect::<Vec<_>>().join(" "), expect, "{chain}");
    }
    let (_, known) = comments["filter-cali-fw-cali20aafc107a9"].split_last().expect("rules");
    assert_eq!(
        known,
        [
            "cali:XdAIqpcRhp09xYvg;",
            "cali:lirI8DPZGrl3XPeD;",
            "cali:MndJqsem4tGiP_0-;",
            "cali:5HPBBxQLi7J3FlRN; Drop VXLAN encapped packets originating in workloads",
            "cali:E-oiyq5YmGQjRFSP; Drop IPinIP encapped packets originating in workloads",
        ]
    );
}

#[test]
fn ipip_is_guarded_while_it_is_on() {
    let mut desired = desired();
    desired.settings.external_nodes = [prefix("198.51.100.0/24")].into();
    let without = compose(&desired);
    desired.ipip = Some(Ipip::default());
    let with = compose(&desired);
    assert_eq!(members(&without, ALL_HOSTS), None);
    assert_eq!(members(&with, ALL_HOSTS).expect("there"), ["192.168.10.10/32", "198.51.100.0/24"]);
    let filter = iptables_hashes(&with, Table::Filter);
    assert_eq!(filter["cali-INPUT"][..2], ["PajejrV4aFdkZojI", "_wjq-Yrma8Ly1Svo"]);
    assert_eq!(filter["cali-OUTPUT"][2], "AnEsmO6bDZbQntWW");
    let comments = nft_comments(&with);
    assert_eq!(
        comments["filter-cali-INPUT"][..2],
        [
            "cali:x6gV2bXroghBAxvL; Allow IPIP packets from Calico hosts",
            "cali:azWq7E7LhmwAV1dU; Drop IPIP packets from non-Calico hosts"
        ]
    );
}

#[test]
fn the_configuration_opens_what_it_names() {
    let chain = |desired: &Desired, name: &str| {
        let mut ruleset = compose(desired);
        ruleset.chains.remove(&(Table::Filter, ChainName::from(name))).expect("the chain is there")
    };
    let mut desired = with_workloads();
    desired.settings.rules.ipip_from_workloads = true;
    desired.settings.rules.vxlan_port = 4790;
    let drops: Vec<Rule> =
        chain(&desired, "cali-fw-calia7a3e029a7b").into_iter().filter(|rule| rule.action == Action::Drop).collect();
    assert_eq!(drops.len(), 2, "what cannot be placed, and VXLAN: {drops:?}");
    assert_eq!(drops[1].matches[1], Match::UdpDestination(4790));
    desired.settings.rules.vxlan_from_workloads = true;
    desired.settings.rules.pass_invalid = true;
    assert!(chain(&desired, "cali-fw-calia7a3e029a7b").iter().all(|rule| rule.action != Action::Drop));
    for (setting, action) in [
        (EndpointToHost::Drop, Action::Drop),
        (EndpointToHost::Return, Action::Return),
        (EndpointToHost::Accept, Action::Accept),
    ] {
        desired.settings.rules.endpoint_to_host = setting;
        assert_eq!(chain(&desired, "cali-wl-to-host")[1].action, action);
    }
    desired.settings.rules.filter_allow = AllowAction::Return;
    let rules = chain(&desired, "cali-tw-calia7a3e029a7b");
    assert_eq!([&rules[0].action, &rules[1].action], [&Action::SetMark(0x10000), &Action::Return]);
}

#[test]
fn marks_come_from_the_mask_lowest_first() {
    for (mask, accept, all, all_but_accept) in [
        (0xffff_0000, 0x10000, 0x1b_0000, 0x1a_0000),
        (0x7f00, 0x100, 0x1b00, 0x1a00),
        (0x8421_1001, 1, 0x0420_1001, 0x0420_1000),
    ] {
        let marks = Marks::of(mask);
        assert_eq!((marks.accept, marks.all(), marks.all_but_accept()), (accept, all, all_but_accept), "{mask:#x}");
    }
}

/// Leaves out what Calico has not.
fn without_the_loopback_rule(mut ruleset: Ruleset) -> Ruleset {
    let chain = ruleset.chains.get_mut(&(Table::Raw, ChainName::from(PREROUTING))).expect("there");
    let before = chain.len();
    chain.retain(|rule| !rule.matches.iter().any(|it| matches!(it, Match::Network(..))));
    assert_eq!(chain.len(), before - 1);
    ruleset
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
    assert_eq!(iptables_hashes(&ruleset, Table::Nat)["cali-nat-outgoing"], ["W_qq_N2KSTWyCvrX"]);
}

fn with_the_set_name_of_v3_32(mut ruleset: Ruleset) -> Ruleset {
    for rule in ruleset.chains.values_mut().flatten() {
        for condition in &mut rule.matches {
            if let Match::InSet(_, _, name) = condition
                && *name == set(ALL_POOLS)
            {
                *name = set("network-ip-pools");
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
    assert_eq!(rule.matches[2], Match::InSet(End::Destination, Sense::IsNot, set(ALL_HOSTS)));
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

/// Its link is told by its name, and what an earlier process let pass goes on passing.
#[test]
fn a_workload_that_cannot_be_read_has_its_chains() {
    let mut desired = with_workloads();
    let known = compose(&desired);
    let first = desired.workloads.pop_first().expect("a workload").0;
    desired.unread_workloads.insert(first);
    assert_eq!(compose(&desired), known);
}
