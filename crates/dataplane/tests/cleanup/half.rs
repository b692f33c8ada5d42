//! Nodes on which not everything is as an agent leaves it.

use crate::node::{BOTH, Node};
use dataplane::cleanup::{Pods, Step};

#[test]
fn halves_go_too() {
    for rules in BOTH {
        let mut node = Node::new();
        let before = node.look();
        node.attach_pods();
        node.run_agent(rules);
        if !node.namespace.is_born_with_tunl0() {
            node.shell("ip link set tunl0p down name lost");
        }
        node.shell(
            "ip route del 172.16.158.0/24; ip link del cali1
            iptables -t nat -F cali-POSTROUTING 2>&1 || true; iptables -t nat -D POSTROUTING 1 2>&1 || true
            nft delete chain ip calico filter-FORWARD 2>&1 || true",
        );
        let steps = node.clean(&node.scope(Pods::Disconnect));
        assert!(steps.iter().all(|step| matches!(step, Step::Removed(_))), "{steps:?}");
        node.is_as(&before, &format!("{rules:?}"));
    }
}

#[test]
fn what_others_hold_is_named_and_the_rest_goes() {
    let node = Node::new();
    let before = node.look();
    node.run_agent(BOTH[0]);
    node.shell("iptables -t nat -N mine; iptables -t nat -A mine -j cali-fip-dnat");
    node.shell("iptables -t filter -A FORWARD -m set --match-set cali40all-hosts-net src -j ACCEPT");
    let steps = node.clean(&node.scope(Pods::Keep));
    let left: Vec<&Step> = steps.iter().filter(|step| !matches!(step, Step::Removed(_))).collect();
    let expect = [
        "chain cali-fip-dnat of iptables table nat of family ip, which is empty: rules of others lead to it",
        "set cali40all-hosts-net: rules of others lead to it",
    ];
    assert_eq!(left, expect.map(|words| Step::Left(words.to_owned())).iter().collect::<Vec<_>>());
    assert_eq!(node.shell("ipset list -n"), "cali40all-hosts-net\n");
    let saved = node.shell("iptables-save -t nat");
    assert!(saved.contains("-A mine -j cali-fip-dnat\n") && saved.matches(":cali-").count() == 1, "{saved}");

    node.shell("iptables -t nat -F mine; iptables -t filter -F FORWARD");
    node.clean(&node.scope(Pods::Keep));
    node.shell("iptables -t nat -X mine; nft delete table ip nat; nft delete table ip filter");
    node.is_as(&before, "when nothing holds them");
}

#[test]
fn a_device_of_others_with_the_tunnels_name_stays() {
    let node = Node::new();
    if node.namespace.is_born_with_tunl0() {
        // nobody else can have the name there
        return;
    }
    node.shell("ip link add tunl0 type bridge; ip addr add 10.3.3.3/24 dev tunl0");
    let before = node.look();
    let kept = Step::Kept("link tunl0: it is a device of kind \"bridge\", not ours".to_owned());
    assert_eq!(node.clean(&node.scope(Pods::Keep)), [kept]);
    node.is_as(&before, "a bridge");
}

#[test]
fn a_node_that_never_had_an_agent_is_left_alone() {
    let node = Node::new();
    node.add_foreign();
    let before = node.look();
    let steps = node.clean(&node.scope(Pods::Disconnect));
    assert!(matches!(&steps[..], [Step::Kept(route)] if route.contains("198.18.1.0/24")), "{steps:?}");
    node.is_as(&before, "nothing was ours");
}
