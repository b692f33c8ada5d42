//! What Calico leaves and Tortie has nothing like: IPv6 and ARP rules, policy chains, sets of other kinds, legacy tables.

use crate::node::Node;
use dataplane::cleanup::{Pods, Step};

#[test]
fn calicos_own_goes_too() {
    let node = Node::new();
    let before = node.look();
    node.shell(
        "iptables -t filter -N cali-FORWARD; iptables -t filter -N cali-fw-caliabc
        iptables -t filter -A cali-fw-caliabc -m conntrack --ctstate INVALID -j DROP
        iptables -t filter -A cali-FORWARD -i caliabc -g cali-fw-caliabc
        iptables -t filter -A FORWARD -m comment --comment cali:wUHhoiAYhphO9Mso -j cali-FORWARD
        iptables -t filter -A FORWARD -m comment --comment cali:S93hcgKJrXEqnTfs -m mark --mark 0x10000/0x10000 -j ACCEPT
        ip6tables -t raw -N cali-PREROUTING; ip6tables -t raw -A PREROUTING -j cali-PREROUTING
        ip6tables -t raw -A cali-PREROUTING -m rpfilter --validmark --invert -j DROP
        ipset create cali40this-host hash:ip; ipset create cali60this-host hash:ip family inet6
        ipset create cali6t1 hash:net family inet6
        nft add table ip6 calico; nft add chain ip6 calico filter-cali-FORWARD
        nft add map ip6 calico filter-cali-to-wl-dispatch '{ type ifname : verdict; }'
        nft add table arp calico-arp; nft add chain arp calico-arp filter-OUTPUT '{ type filter hook output priority 0; }'
        ip route add blackhole 10.244.7.0/26 proto 80",
    );
    let steps = node.clean(&node.scope(Pods::Keep));
    let mut removed: Vec<String> = steps
        .into_iter()
        .map(|step| match step {
            Step::Removed(words) => words,
            Step::Kept(words) | Step::Left(words) => panic!("stays: {words}"),
        })
        .collect();
    removed.sort();
    assert_eq!(
        removed,
        [
            "nftables table arp calico-arp",
            "nftables table ip6 calico",
            "our chains and rules of iptables table filter of family ip",
            "our chains and rules of iptables table raw of family ip6",
            "route blackhole 10.244.7.0/26 proto 80",
            "set cali40this-host",
            "set cali60this-host",
            "set cali6t1",
        ]
    );
    node.is_as(&before, "after a Calico");
}

#[test]
fn legacy_tables_lose_what_is_ours() {
    let node = Node::new();
    for program in ["iptables-legacy", "ip6tables-legacy"] {
        node.shell(&format!(
            "{program} -t nat -N cali-POSTROUTING; {program} -t nat -A POSTROUTING -j cali-POSTROUTING
            {program} -t nat -N mine; {program} -t nat -A POSTROUTING -j mine"
        ));
    }
    let steps = node.clean(&node.scope(Pods::Keep));
    let expect = ["iptables-legacy", "ip6tables-legacy"]
        .map(|program| Step::Removed(format!("our chains and rules of {program}")));
    assert_eq!(steps, expect);
    for program in ["iptables-legacy-save", "ip6tables-legacy-save"] {
        let saved = node.shell(&format!("{program} -t nat"));
        assert!(!saved.contains("cali") && saved.contains("-A POSTROUTING -j mine\n"), "{saved}");
    }
}
