//! A node after an agent that did its work.

use crate::common::without_programs;
use crate::node::{BOTH, Node};
use dataplane::BgpDaemon;
use dataplane::cleanup::{Forwarding, Pods, Scope, Step};

#[test]
fn nothing_of_an_agent_stays() {
    for rules in BOTH {
        let mut node = Node::new();
        let before = node.look();
        node.attach_pods();
        node.run_agent(rules);
        assert_ne!(node.look(), before);
        let steps = node.clean(&node.scope(Pods::Disconnect));
        assert!(steps.iter().all(|step| matches!(step, Step::Removed(_))), "{steps:?}");
        node.is_as(&before, &format!("{rules:?}"));
        assert_eq!(node.clean(&node.scope(Pods::Disconnect)), [], "a second time there is nothing");
    }
}

#[test]
fn what_others_made_stays() {
    for rules in BOTH {
        let mut node = Node::new();
        node.add_foreign();
        let before = node.look();
        node.attach_pods();
        node.run_agent(rules);
        let steps = node.clean(&node.scope(Pods::Disconnect));
        let others: Vec<&Step> = steps.iter().filter(|step| !matches!(step, Step::Removed(_))).collect();
        let route =
            "route 198.18.1.0/24 via 192.168.10.254 dev eth0 proto 12: it leads into no pool that is known here";
        assert_eq!(others, [&Step::Kept(route.to_owned())]);
        node.is_as(&before, &format!("{rules:?}"));
    }
}

#[test]
fn pods_and_forwarding_stay_unless_they_are_to_go() {
    for rules in BOTH {
        let mut node = Node::new();
        node.attach_pods();
        node.run_agent(rules);
        node.shell("ip route add default via 192.168.10.254");
        let gentle = Scope { forwarding: Forwarding::Keep, ..node.scope(Pods::Keep) };
        let steps = node.clean(&gentle);
        let kept: Vec<&str> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Kept(words) => Some(words.as_str()),
                Step::Removed(_) | Step::Left(_) => None,
            })
            .collect();
        assert_eq!(
            kept,
            [
                "interfaces and routes of 2 pods, which reach nothing beyond this node: --pods removes them",
                "packet forwarding: other programs may rely on it"
            ]
        );
        assert!(node.pods_talk());
        assert_eq!(
            node.namespace.routes(),
            [
                "172.16.116.1 dev cali1 scope link",
                "172.16.116.2 dev cali2 scope link",
                "192.168.10.0/24 dev eth0 proto kernel scope link src 192.168.10.10",
                "default via 192.168.10.254 dev eth0"
            ]
        );
        node.clean(&node.scope(Pods::Disconnect));
        assert!(!node.namespace.links().iter().any(|link| link.starts_with("cali")));
    }
}

#[test]
fn routes_of_another_bgp_daemon_stay() {
    let node = Node::new();
    node.run_agent(BOTH[1]);
    node.shell("ip route add 172.16.200.0/26 via 192.168.10.101 proto bird");
    let scope = Scope { bgp: BgpDaemon::Another, ..node.scope(Pods::Keep) };
    let route = "route 172.16.200.0/26 via 192.168.10.101 dev eth0 proto 12";
    let reason = "the networking backend is none, so it is another program's: --backend bird removes it";
    assert!(node.clean(&scope).contains(&Step::Kept(format!("{route}: {reason}"))));
    assert!(node.namespace.ip("route").contains("172.16.200.0/26 via 192.168.10.101 dev eth0 proto bird"));
    let scope = Scope { pools: [crate::node::prefix("172.16.0.0/16")].into(), ..node.scope(Pods::Keep) };
    assert_eq!(node.clean(&scope), [Step::Removed(route.to_owned())]);
}

#[test]
fn pools_whose_sets_cannot_be_read_are_told_of() {
    let node = Node::new();
    node.run_agent(BOTH[0]);
    node.shell("ip route add 172.16.200.0/26 via 192.168.10.101 proto bird");
    let steps = without_programs(|| node.clean(&node.scope(Pods::Keep)));
    let reason = "which pools there are is not known, name them with --pool: \
                  ipset is not installed: install the package ipset, or set nftablesMode to Enabled";
    assert_eq!(
        steps.iter().filter(|step| matches!(step, Step::Left(_))).collect::<Vec<_>>(),
        [&Step::Left(reason.into())]
    );
}

#[test]
fn routes_into_pools_that_no_set_tells_of_go_when_they_are_named() {
    let node = Node::new();
    node.run_agent(BOTH[1]);
    node.shell("nft delete table ip calico; ip route add 10.50.3.0/26 via 192.168.10.101 proto bird");
    let scope = node.scope(Pods::Keep);
    assert!(node.clean(&scope).iter().any(|step| matches!(step, Step::Kept(words) if words.contains("10.50.3.0/26"))));
    let scope = Scope { pools: [crate::node::prefix("10.50.0.0/16")].into(), ..scope };
    let removed = Step::Removed("route 10.50.3.0/26 via 192.168.10.101 dev eth0 proto 12".to_owned());
    assert_eq!(node.clean(&scope), [removed]);
}
