//! What is broken, how, and which lines of the demo must say so: one list for each scene.

use Place::{Host, Pod};
use tortie::lab::demo::scenes::Rules;

/// An object broken by hand.
#[derive(Debug)]
pub(super) struct Break {
    /// The checks that fail, in their order; all others of the exhibit pass.
    pub(super) fails: &'static [&'static str],
    /// What one of the failures must mention.
    pub(super) tells: Option<&'static str>,
    /// Nodes whose agents would heal it at once.
    pub(super) stopped: &'static [&'static str],
    /// What breaks it.
    pub(super) by_hand: &'static [(Place, &'static str)],
    /// What repairs it, unless the agents do.
    pub(super) repair: &'static [(Place, &'static str)],
    /// With which packet rules.
    pub(super) rules: Rules,
}

/// Where a shell command runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// On a node, the router or the host outside.
    Host(&'static str),
    /// In a pod of namespace default.
    Pod(&'static str),
}

const fn row(fails: &'static [&'static str], by_hand: &'static [(Place, &'static str)]) -> Break {
    Break { fails, tells: None, stopped: &[], by_hand, repair: &[], rules: Rules::Any }
}

impl Break {
    const fn stopping(mut self, nodes: &'static [&'static str]) -> Break {
        self.stopped = nodes;
        self
    }

    const fn repaired(mut self, repair: &'static [(Place, &'static str)]) -> Break {
        self.repair = repair;
        self
    }

    const fn telling(mut self, what: &'static str) -> Break {
        self.tells = Some(what);
        self
    }

    const fn with(mut self, rules: Rules) -> Break {
        self.rules = rules;
        self
    }
}

/// The lists, in the order of the demo's scenes.
pub(super) const SCENES: [&[Break]; 5] = [START, SAME_NODE, OUTSIDE, OTHER_NODE, BGP];

const PLUGIN_AWAY: &str = "mv /opt/cni/bin/calico /opt/cni/bin/calico.away";
const PLUGIN_BACK: &str = "mv /opt/cni/bin/calico.away /opt/cni/bin/calico";
/// Settings that lead nowhere: without any, the store's usual socket is asked.
const SETTINGS_AWAY: &str = "cd /etc/calico && mv calicoctl.cfg calicoctl.cfg.away && \
    sed -E 's|(etcdEndpoints:).*|\\1 unix:///run/nowhere.sock|' calicoctl.cfg.away > calicoctl.cfg";
const SETTINGS_BACK: &str = "mv /etc/calico/calicoctl.cfg.away /etc/calico/calicoctl.cfg";

/// No plugin on a node: a pod neither starts nor ends there.
const fn no_plugin(fails: &'static [&'static str], node: Node) -> Break {
    match node {
        Node::W1 => row(fails, &[(Host("k8s-w1"), PLUGIN_AWAY)]).repaired(&[(Host("k8s-w1"), PLUGIN_BACK)]),
        Node::W0 => row(fails, &[(Host("k8s-w0"), PLUGIN_AWAY)]).repaired(&[(Host("k8s-w0"), PLUGIN_BACK)]),
    }
}

enum Node {
    W0,
    W1,
}

/// No settings for `calicoctl` on k8s-m: it finds no datastore.
const fn no_settings(fails: &'static [&'static str]) -> Break {
    row(fails, &[(Host("k8s-m"), SETTINGS_AWAY)]).repaired(&[(Host("k8s-m"), SETTINGS_BACK)])
}

const START: &[Break] = &[
    no_plugin(&["four pods start"], Node::W1),
    row(&["k8s-m's tunnel has its block's first address"], &[(Host("k8s-m"), "ip addr del 172.16.116.0/32 dev tunl0")])
        .stopping(&["k8s-m"]),
    row(&["k8s-w1's tunnel too"], &[(Host("k8s-w1"), "ip addr del 172.16.158.0/32 dev tunl0")]).stopping(&["k8s-w1"]),
    row(&["k8s-w2's tunnel too"], &[(Host("k8s-w2"), "ip addr del 172.16.184.0/32 dev tunl0")]).stopping(&["k8s-w2"]),
    row(
        &["k8s-w0's tunnel too"],
        &[(Host("k8s-w0"), "ip addr add 172.16.34.7/32 dev tunl0; ip addr del 172.16.34.0/32 dev tunl0")],
    )
    .stopping(&["k8s-w0"])
    .telling("172.16.34.7/32"),
];

/// Edits pod1's endpoint in the datastore and back; `$e` is the edit.
macro_rules! edit_endpoint {
    ($pod:literal, $edit:literal) => {
        concat!(
            "k=$(etcdctl get --prefix --keys-only /calico/resources/v3/projectcalico.org/workloadendpoints/default/",
            " | grep -- -",
            $pod,
            "-); etcdctl put \"$k\" \"$(etcdctl get --print-value-only \"$k\" | sed '",
            $edit,
            "')\""
        )
    };
}

const SAME_NODE: &[Break] = &[
    no_plugin(&["pod2 and pod1 start"], Node::W1),
    row(
        &["the columns are kubectl's", "pod1 runs on k8s-w1 at 172.16.158.3", "pod2 runs on k8s-w1 at 172.16.158.2"],
        &[(Host("k8s-w1"), "mv /run/lab/pods /run/lab/away")],
    )
    .repaired(&[(Host("k8s-w1"), "mv /run/lab/away /run/lab/pods")]),
    row(
        &["pod1 runs on k8s-w1 at 172.16.158.3"],
        &[(Host("k8s-w1"), "sed -i s/172.16.158.3/172.16.158.9/g /run/lab/pods/*.json")],
    )
    .repaired(&[(Host("k8s-w1"), "sed -i s/172.16.158.9/172.16.158.3/g /run/lab/pods/*.json")])
    .telling("172.16.158.9"),
    row(
        &["pod2 runs on k8s-w1 at 172.16.158.2"],
        &[(Host("k8s-w1"), "sed -i s/172.16.158.2/172.16.158.9/g /run/lab/pods/*.json")],
    )
    .repaired(&[(Host("k8s-w1"), "sed -i s/172.16.158.9/172.16.158.2/g /run/lab/pods/*.json")])
    .telling("172.16.158.9"),
    no_settings(&["the columns are calicoctl's", "pod1's endpoint", "pod2's endpoint"]),
    row(&["pod1's endpoint"], &[(Host("k8s-w1"), edit_endpoint!("pod1", "s/calice0906292e2/cali0123456789a/"))])
        .stopping(&["k8s-w1"])
        .repaired(&[(Host("k8s-w1"), edit_endpoint!("pod1", "s/cali0123456789a/calice0906292e2/"))])
        .telling("cali0123456789a"),
    row(&["pod2's endpoint"], &[(Host("k8s-w1"), edit_endpoint!("pod2", "s/172.16.158.2/172.16.158.9/"))])
        .stopping(&["k8s-w1"])
        .repaired(&[(Host("k8s-w1"), edit_endpoint!("pod2", "s/172.16.158.9/172.16.158.2/"))])
        .telling("172.16.158.9/32"),
    row(&["a shell in pod1 has a terminal"], &[(Pod("pod1"), "hostname pod9")])
        .repaired(&[(Pod("pod1"), "hostname pod1")])
        .telling("pod9"),
    // what a pod sends with an address that does not lead back to it goes nowhere
    row(
        &[
            "pod1 reaches pod2",
            "pod2 asks for its gateway",
            "and is answered ee:ee:ee:ee:ee:ee",
            "the node asks for pod2",
            "and pod2 answers",
        ],
        &[(Host("k8s-w1"), "ip route del 172.16.158.3/32")],
    )
    .stopping(&["k8s-w1"]),
    row(
        &[
            "pod1 reaches pod2",
            "pod2 asks for its gateway",
            "and is answered ee:ee:ee:ee:ee:ee",
            "the node asks for pod2",
            "and pod2 answers",
        ],
        &[(Host("k8s-w1"), "ip route del 172.16.158.2/32")],
    )
    .stopping(&["k8s-w1"]),
    row(
        &["pod1 reaches pod2", "and is answered ee:ee:ee:ee:ee:ee"],
        &[(Host("k8s-w1"), "sysctl -w net.ipv4.conf.calibd2348b4f67.proxy_arp=0")],
    )
    .stopping(&["k8s-w1"])
    .repaired(&[(Host("k8s-w1"), "sysctl -w net.ipv4.conf.calibd2348b4f67.proxy_arp=1")]),
    row(
        &["and is answered ee:ee:ee:ee:ee:ee"],
        &[(Host("k8s-w1"), "ip link set calibd2348b4f67 address 02:00:00:00:00:01")],
    )
    .stopping(&["k8s-w1"])
    .repaired(&[(Host("k8s-w1"), "ip link set calibd2348b4f67 address ee:ee:ee:ee:ee:ee")])
    .telling("02:00:00:00:00:01"),
    row(
        &["pod1 reaches pod2", "pod2 asks for its gateway", "and is answered ee:ee:ee:ee:ee:ee"],
        &[(Pod("pod2"), "ip route del default")],
    )
    .repaired(&[(Pod("pod2"), "ip route add default via 169.254.1.1 dev eth0")]),
    row(&["the node asks for pod2"], &[(Host("k8s-w1"), "ip addr add 10.9.9.9/32 dev lo")])
        .stopping(&["k8s-w1"])
        .repaired(&[(Host("k8s-w1"), "ip addr del 10.9.9.9/32 dev lo")])
        .telling("10.9.9.9"),
    row(
        &["pod1 reaches pod2", "pod2 asks for its gateway", "and is answered ee:ee:ee:ee:ee:ee", "and pod2 answers"],
        &[(Pod("pod2"), "sysctl -w net.ipv4.conf.all.arp_ignore=8")],
    )
    .repaired(&[(Pod("pod2"), "sysctl -w net.ipv4.conf.all.arp_ignore=0")]),
    row(
        &["the gateway's neighbour entry"],
        &[(Pod("pod2"), "ip neigh replace 169.254.1.1 dev eth0 lladdr 02:00:00:00:00:01 nud reachable")],
    )
    .repaired(&[(Pod("pod2"), "ip neigh replace 169.254.1.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee nud reachable")])
    .telling("02:00:00:00:00:01"),
    row(&["the node's, since it asked"], &[(Pod("pod2"), "ip neigh del 192.168.10.101 dev eth0")])
        .repaired(&[(Pod("pod2"), "ip neigh replace 192.168.10.101 dev eth0 lladdr ee:ee:ee:ee:ee:ee nud reachable")]),
    row(
        &["every cali interface has the same MAC"],
        &[(Host("k8s-w1"), "ip link set calice0906292e2 address 02:00:00:00:00:01")],
    )
    .stopping(&["k8s-w1"])
    .repaired(&[(Host("k8s-w1"), "ip link set calice0906292e2 address ee:ee:ee:ee:ee:ee")])
    .telling("calice0906292e2"),
    no_plugin(&["both pods are deleted"], Node::W1),
];

/// Leaves pod1's packets to the outside as they are.
const NO_RULE: &str = "iptables-save -t nat >/run/nat && iptables -t nat -F cali-nat-outgoing";
const RULES_BACK: &[(Place, &str)] = &[(Host("k8s-w1"), "iptables-restore </run/nat")];
const NFT_NO_RULE: &str = "nft list table ip calico >/run/nft; nft flush chain ip calico nat-cali-nat-outgoing";
const NFT_BACK: &[(Place, &str)] =
    &[(Host("k8s-w1"), "(echo delete table ip calico; cat /run/nft) >/run/nft.back; nft -f /run/nft.back")];
const PATCH_ON: &str = r#"calicoctl patch ippool default-ipv4-ippool -p '{"spec":{"natOutgoing":true}}'"#;
const PATCH_OFF: &str = r#"calicoctl patch ippool default-ipv4-ippool -p '{"spec":{"natOutgoing":false}}'"#;

/// Changes the rules of k8s-w1's table nat, or of its set, which only iptables and ipset have.
const fn in_iptables(fails: &'static [&'static str], by_hand: &'static [(Place, &'static str)]) -> Break {
    row(fails, by_hand).stopping(&["k8s-w1"]).repaired(RULES_BACK).with(Rules::Iptables)
}

/// Changes k8s-w1's table `ip calico`.
const fn in_nftables(fails: &'static [&'static str], by_hand: &'static [(Place, &'static str)]) -> Break {
    row(fails, by_hand).stopping(&["k8s-w1"]).repaired(NFT_BACK).with(Rules::Nftables)
}

macro_rules! replaced_rule {
    ($comment:literal, $set:literal, $target:literal) => {
        concat!(
            "iptables-save -t nat >/run/nat && iptables -t nat -R cali-nat-outgoing 1 -m comment --comment ",
            $comment,
            " -m set --match-set ",
            $set,
            " src -m set ! --match-set cali40all-ipam-pools dst -j ",
            $target
        )
    };
}

/// Destroys k8s-w1's set once no rule uses it: the kernel frees the rules of a flushed chain some time after the flush.
macro_rules! destroyed_set {
    () => {
        "until ipset list -t cali40masq-ipam-pools | grep -qx 'References: 0'; do sleep 0.01; done && \
         ipset destroy cali40masq-ipam-pools"
    };
}

/// Makes k8s-w1's set anew.
macro_rules! another_set {
    ($kind:literal, $member:literal) => {
        concat!(
            "iptables-save -t nat >/run/nat && iptables -t nat -F cali-nat-outgoing && ",
            destroyed_set!(),
            " && ipset create cali40masq-ipam-pools ",
            $kind,
            " && ipset add cali40masq-ipam-pools ",
            $member
        )
    };
}

const SET_BACK: &[(Place, &str)] = &[(
    Host("k8s-w1"),
    concat!(
        destroyed_set!(),
        " && ipset create cali40masq-ipam-pools hash:net family inet hashsize 1024 maxelem 1048576 && \
         ipset add cali40masq-ipam-pools 172.16.0.0/16 && iptables-restore </run/nat",
    ),
)];

pub(super) const OUTSIDE: &[Break] = &[
    no_plugin(&["pod1 starts"], Node::W1),
    row(
        &["the next free address"],
        &[(Pod("pod1"), "ip addr add 172.16.158.77/32 dev eth0; ip addr del 172.16.158.4/32 dev eth0")],
    )
    .repaired(&[(Pod("pod1"), "ip addr add 172.16.158.4/32 dev eth0; ip addr del 172.16.158.77/32 dev eth0")])
    .telling("172.16.158.77/32"),
    in_iptables(
        &["pod1 reaches the outside", "which sees the node's address", "and never the pod's"],
        &[(Host("k8s-w1"), NO_RULE)],
    ),
    in_nftables(
        &["pod1 reaches the outside", "which sees the node's address", "and never the pod's"],
        &[(Host("k8s-w1"), NFT_NO_RULE)],
    ),
    row(&["pod1 reaches the outside"], &[(Host("internet"), "sysctl -w net.ipv4.icmp_echo_ignore_all=1")])
        .repaired(&[(Host("internet"), "sysctl -w net.ipv4.icmp_echo_ignore_all=0")]),
    in_iptables(
        &["which sees the node's address"],
        &[(
            Host("k8s-w1"),
            "iptables-save -t nat >/run/nat && ip addr add 192.168.10.111/24 dev eth0 && \
             iptables -t nat -I POSTROUTING -d 203.0.113.10 -j SNAT --to-source 192.168.10.111",
        )],
    )
    .repaired(&[(Host("k8s-w1"), "ip addr del 192.168.10.111/24 dev eth0; iptables-restore </run/nat")])
    .telling("192.168.10.111"),
    in_iptables(
        &["the chain is referenced once"],
        &[(Host("k8s-w1"), "iptables-save -t nat >/run/nat && iptables -t nat -A POSTROUTING -j cali-nat-outgoing")],
    )
    .telling("(2 references)"),
    in_iptables(
        &["the chain is referenced once"],
        &[(Host("k8s-w1"), "iptables-save -t nat >/run/nat && iptables -t nat -F cali-POSTROUTING")],
    )
    .telling("(0 references)"),
    in_iptables(&["the rule masquerades", "with Calico's sets and hash"], &[(Host("k8s-w1"), NO_RULE)]),
    in_iptables(
        &["the rule masquerades", "with Calico's sets and hash"],
        &[(Host("k8s-w1"), replaced_rule!("cali:flqWnvo8yq4ULQLa", "cali40masq-ipam-pools", "ACCEPT"))],
    ),
    in_iptables(
        &["with Calico's sets and hash"],
        &[(Host("k8s-w1"), replaced_rule!("cali:0000000000000000", "cali40masq-ipam-pools", "MASQUERADE --random-fully"))],
    )
    .telling("cali:0000000000000000"),
    in_iptables(
        &["with Calico's sets and hash"],
        &[(Host("k8s-w1"), replaced_rule!("cali:flqWnvo8yq4ULQLa", "cali40all-ipam-pools", "MASQUERADE --random-fully"))],
    )
    .telling("cali40all-ipam-pools src"),
    in_iptables(
        &["with Calico's sets and hash"],
        &[(Host("k8s-w1"), replaced_rule!("cali:flqWnvo8yq4ULQLa", "cali40masq-ipam-pools", "MASQUERADE"))],
    ),
    in_iptables(
        &["the set's type", "its member is the pool"],
        &[(Host("k8s-w1"), another_set!("hash:ip family inet hashsize 1024 maxelem 1048576", "172.16.0.0"))],
    )
    .repaired(SET_BACK)
    .telling("Type: hash:ip"),
    in_iptables(
        &["its family and size"],
        &[(Host("k8s-w1"), another_set!("hash:net family inet hashsize 1024 maxelem 65536", "172.16.0.0/16"))],
    )
    .repaired(SET_BACK)
    .telling("maxelem 65536"),
    in_iptables(&["its member is the pool"], &[(Host("k8s-w1"), "ipset del cali40masq-ipam-pools 172.16.0.0/16")])
        .repaired(&[(Host("k8s-w1"), "ipset -exist add cali40masq-ipam-pools 172.16.0.0/16")]),
    in_iptables(&["its member is the pool"], &[(Host("k8s-w1"), "ipset add cali40masq-ipam-pools 172.17.0.0/16")])
        .repaired(&[(Host("k8s-w1"), "ipset -exist del cali40masq-ipam-pools 172.17.0.0/16")])
        .telling("172.17.0.0/16"),
    in_nftables(
        &["the rule masquerades from pools to outside them", "with random ports"],
        &[(Host("k8s-w1"), NFT_NO_RULE)],
    ),
    in_nftables(
        &["with random ports"],
        &[(
            Host("k8s-w1"),
            "nft list table ip calico >/run/nft; nft flush chain ip calico nat-cali-nat-outgoing; nft add rule ip calico nat-cali-nat-outgoing \
             ip saddr @cali40masq-ipam-pools ip daddr != @cali40all-ipam-pools counter masquerade",
        )],
    ),
    in_nftables(
        &["the rule masquerades from pools to outside them"],
        &[(
            Host("k8s-w1"),
            "nft list table ip calico >/run/nft; nft flush chain ip calico nat-cali-nat-outgoing; nft add rule ip calico nat-cali-nat-outgoing \
             ip saddr @cali40all-ipam-pools ip daddr != @cali40all-ipam-pools counter masquerade fully-random",
        )],
    )
    .telling("@cali40all-ipam-pools ip daddr"),
    in_nftables(
        &["the chain is referenced once"],
        &[(Host("k8s-w1"), "nft list table ip calico >/run/nft; nft add rule ip calico nat-cali-POSTROUTING jump nat-cali-nat-outgoing")],
    ),
    in_nftables(
        &["the chain is referenced once"],
        &[(Host("k8s-w1"), "nft list table ip calico >/run/nft; nft flush chain ip calico nat-cali-POSTROUTING")],
    ),
    in_nftables(
        &["the set's member is the pool"],
        &[(Host("k8s-w1"), "nft list table ip calico >/run/nft; nft delete element ip calico cali40masq-ipam-pools '{ 172.16.0.0/16 }'")],
    ),
    in_nftables(
        &["the set's member is the pool"],
        &[(Host("k8s-w1"), "nft list table ip calico >/run/nft; nft add element ip calico cali40masq-ipam-pools '{ 10.1.0.0/16 }'")],
    )
    .telling("10.1.0.0/16"),
    no_settings(&["the pool is edited"]),
    row(
        &["the rule is gone"],
        &[
            (Host("k8s-m"), PATCH_ON),
            (Host("k8s-w1"), "until iptables -t nat -S cali-nat-outgoing | grep -q random-fully; do sleep 0.05; done"),
        ],
    )
    .repaired(&[(Host("k8s-m"), PATCH_OFF)])
    .with(Rules::Iptables),
    row(
        &["the rule is gone"],
        &[
            (Host("k8s-m"), PATCH_ON),
            (
                Host("k8s-w1"),
                "until nft list chain ip calico nat-cali-nat-outgoing | grep -q fully-random; do sleep 0.05; done",
            ),
        ],
    )
    .repaired(&[(Host("k8s-m"), PATCH_OFF)])
    .with(Rules::Nftables),
    in_iptables(
        &["the chain stays"],
        &[(Host("k8s-w1"), "iptables-save -t nat >/run/nat && iptables -t nat -F cali-POSTROUTING")],
    ),
    in_iptables(&["the set stays, empty"], &[(Host("k8s-w1"), "ipset add cali40masq-ipam-pools 172.16.0.0/16")])
        .repaired(&[(Host("k8s-w1"), "ipset -exist del cali40masq-ipam-pools 172.16.0.0/16")])
        .telling("Number of entries: 1"),
    in_nftables(
        &["the chain stays"],
        &[(
            Host("k8s-w1"),
            "nft list table ip calico >/run/nft; nft flush chain ip calico nat-cali-POSTROUTING; nft delete chain ip calico nat-cali-nat-outgoing",
        )],
    ),
    row(
        &["the outside is shut", "every packet is lost"],
        &[(Host("k8s-w1"), "iptables -t nat -A POSTROUTING -s 172.16.158.4 -j MASQUERADE")],
    )
    .repaired(&[(Host("k8s-w1"), "iptables -t nat -D POSTROUTING -s 172.16.158.4 -j MASQUERADE")]),
    no_settings(&["the pool is edited back"]),
    in_iptables(&["the outside is open again"], &[(Host("k8s-w1"), NO_RULE)]),
    in_nftables(&["the outside is open again"], &[(Host("k8s-w1"), NFT_NO_RULE)]),
    no_plugin(&["pod1 is deleted"], Node::W1),
];

/// Ends k8s-m's session with a peer and refuses new ones.
macro_rules! block_peer {
    ($peer:literal) => {
        concat!(
            "for way in 'INPUT -s' 'OUTPUT -d'; do ",
            "iptables -I $way ",
            $peer,
            " -p tcp --syn -j REJECT --reject-with tcp-reset; done; ss -t -K dst ",
            $peer,
            "; while calicoctl node status | grep '",
            $peer,
            " ' | grep -q ' up '; do sleep 0.05; done"
        )
    };
}

macro_rules! admit_peer {
    ($peer:literal) => {
        concat!(
            "for way in 'INPUT -s' 'OUTPUT -d'; do iptables -D $way ",
            $peer,
            " -p tcp --syn -j REJECT --reject-with tcp-reset; done"
        )
    };
}

const ROUTES: &[&str] = &["the pool's seven routes, value by value"];

/// Changes a route of k8s-m, which its agent puts back; the failure shows the row that should be there.
const fn route(change: &'static [(Place, &'static str)], row_shown: &'static str) -> Break {
    row(ROUTES, change).stopping(&["k8s-m"]).telling(row_shown)
}

const OTHER_NODE: &[Break] = &[
    no_plugin(&["three pods start on three nodes"], Node::W0),
    row(&["pod1 has 172.16.158.5"], &[(Host("k8s-w1"), "sed -i s/172.16.158.5/172.16.158.9/g /run/lab/pods/*.json")])
        .repaired(&[(Host("k8s-w1"), "sed -i s/172.16.158.9/172.16.158.5/g /run/lab/pods/*.json")])
        .telling("172.16.158.9"),
    row(&["pod2 has 172.16.184.1"], &[(Host("k8s-w2"), "sed -i s/k8s-w2/k8s-w9/g /run/lab/pods/*.json")])
        .repaired(&[(Host("k8s-w2"), "sed -i s/k8s-w9/k8s-w2/g /run/lab/pods/*.json")])
        .telling("k8s-w9"),
    row(&["far has 172.16.34.1"], &[(Host("k8s-w0"), "mv /run/lab/pods /run/lab/away")])
        .repaired(&[(Host("k8s-w0"), "mv /run/lab/away /run/lab/pods")]),
    row(
        &["k8s-m peers with k8s-w1", "and all three are Established"],
        &[(Host("k8s-m"), block_peer!("192.168.10.101"))],
    )
    .repaired(&[(Host("k8s-m"), admit_peer!("192.168.10.101"))]),
    row(&["with k8s-w2", "and all three are Established"], &[(Host("k8s-m"), block_peer!("192.168.10.102"))])
        .repaired(&[(Host("k8s-m"), admit_peer!("192.168.10.102"))]),
    row(
        &["with k8s-w0, in the other subnet", "and all three are Established"],
        &[(Host("k8s-m"), block_peer!("192.168.20.100"))],
    )
    .repaired(&[(Host("k8s-m"), admit_peer!("192.168.20.100"))]),
    route(&[(Host("k8s-m"), "ip route del 172.16.34.0/24")], "172.16.34.0 192.168.20.100 255.255.255.0 UG 0 0 0 tunl0"),
    route(&[(Host("k8s-m"), "ip route del blackhole 172.16.116.0/24")], "172.16.116.0 0.0.0.0 255.255.255.0 U 0 0 0 *"),
    route(
        &[(Host("k8s-m"), "ip route del 172.16.116.1/32")],
        "172.16.116.1 0.0.0.0 255.255.255.255 UH 0 0 0 calic04819f12a9",
    ),
    route(
        &[(Host("k8s-m"), "ip route replace 172.16.116.2/32 dev calic04819f12a9 scope link proto 80")],
        "172.16.116.2 0.0.0.0 255.255.255.255 UH 0 0 0 cali357b53e100c",
    ),
    route(
        &[(Host("k8s-m"), "ip route del 172.16.116.3/32")],
        "172.16.116.3 0.0.0.0 255.255.255.255 UH 0 0 0 cali76abd27fd49",
    ),
    route(
        &[(Host("k8s-m"), "ip route replace 172.16.158.0/24 via 192.168.10.102 dev tunl0 proto bird onlink")],
        "172.16.158.0 192.168.10.101 255.255.255.0 UG 0 0 0 tunl0",
    ),
    route(
        &[(Host("k8s-m"), "ip route replace 172.16.184.0/24 via 192.168.10.102 dev eth0 proto bird")],
        "172.16.184.0 192.168.10.102 255.255.255.0 UG 0 0 0 tunl0",
    ),
    route(&[(Host("k8s-m"), "ip route add 172.16.99.0/24 dev eth0")], "172.16.99.0 0.0.0.0 255.255.255.0 U 0 0 0 eth0")
        .repaired(&[(Host("k8s-m"), "ip route del 172.16.99.0/24")]),
    row(
        &["three of them were learned over BGP"],
        &[(Host("k8s-m"), "ip route replace 172.16.184.0/24 via 192.168.10.102 dev tunl0 proto static onlink")],
    )
    .stopping(&["k8s-m"])
    .repaired(&[(Host("k8s-m"), "ip route del 172.16.184.0/24 proto static")]),
    row(&["pod1 reaches pod2 on k8s-w2", "and back"], &[(Host("k8s-w2"), "ip route del 172.16.184.1/32")])
        .stopping(&["k8s-w2"]),
    row(
        &["pod1 reaches pod2 on k8s-w2", "two IPv4 headers on the wire, there", "and back"],
        &[(Host("k8s-w1"), "ip route del 172.16.184.0/24")],
    )
    .stopping(&["k8s-w1"]),
    row(
        &["two IPv4 headers on the wire, there"],
        &[(Host("k8s-w1"), "ip route replace 172.16.184.0/24 via 192.168.10.102 dev eth0 proto bird")],
    )
    .stopping(&["k8s-w1"]),
    row(&["and back"], &[(Host("k8s-w2"), "ip route replace 172.16.158.0/24 via 192.168.10.101 dev eth0 proto bird")])
        .stopping(&["k8s-w2"]),
    row(
        &["pod1 reaches pod2 on k8s-w2", "two IPv4 headers on the wire, there", "and back"],
        &[(Host("k8s-w1"), "ip route del 172.16.158.5/32")],
    )
    .stopping(&["k8s-w1"]),
    row(&["pod1 reaches far, in the other subnet"], &[(Host("router"), "sysctl -w net.ipv4.ip_forward=0")])
        .repaired(&[(Host("router"), "sysctl -w net.ipv4.ip_forward=1")]),
    row(&["and far reaches pod1"], &[(Host("k8s-w0"), "ip link set tunl0 down")]).stopping(&["k8s-w0"]),
    row(&["a node reaches its own pod"], &[(Host("k8s-w1"), "ip route del 172.16.158.5/32")]).stopping(&["k8s-w1"]),
    row(
        &["a node reaches another node's pod", "from its tunnel address"],
        &[(Host("k8s-m"), "ip link set tunl0 down")],
    )
    .stopping(&["k8s-m"]),
    row(
        &["from its tunnel address"],
        &[(Host("k8s-m"), "ip addr add 172.16.116.9/32 dev tunl0; ip addr del 172.16.116.0/32 dev tunl0")],
    )
    .stopping(&["k8s-m"])
    .telling("172.16.116.9"),
    row(&["a node reaches another node's pod"], &[(Pod("pod1"), "sysctl -w net.ipv4.icmp_echo_ignore_all=1")])
        .repaired(&[(Pod("pod1"), "sysctl -w net.ipv4.icmp_echo_ignore_all=0")]),
    row(&["a pod reaches its own node"], &[(Pod("pod1"), "ip route del default")])
        .repaired(&[(Pod("pod1"), "ip route add default via 169.254.1.1 dev eth0")]),
    row(&["and another node"], &[(Host("k8s-m"), "iptables -I INPUT -s 192.168.10.101 -p icmp -j DROP")])
        .repaired(&[(Host("k8s-m"), "iptables -D INPUT -s 192.168.10.101 -p icmp -j DROP")]),
    row(&["1,480 bytes pass whole"], &[(Host("k8s-w1"), "ip link set tunl0 mtu 1479")])
        .stopping(&["k8s-w1"])
        // the pod has learned the smaller MTU, and would again until it is repaired
        .repaired(&[(Host("k8s-w1"), "ip link set tunl0 mtu 1480"), (Pod("pod1"), "ip route flush cache")]),
    row(
        &["1,481 do not"],
        &[
            (
                Host("k8s-w1"),
                "ip link set eth0 mtu 1600; ip link set calice0906292e2 mtu 1580; ip link set tunl0 mtu 1580",
            ),
            (
                Host("k8s-w2"),
                "ip link set eth0 mtu 1600; ip link set calibd2348b4f67 mtu 1580; ip link set tunl0 mtu 1580",
            ),
            (Host("router"), "ip link set k8s-w1 mtu 1600; ip link set k8s-w2 mtu 1600"),
            (Pod("pod1"), "ip link set eth0 mtu 1580; ip route flush cache"),
            (Pod("pod2"), "ip link set eth0 mtu 1580; ip route flush cache"),
        ],
    )
    .stopping(&["k8s-w1", "k8s-w2"])
    .repaired(&[
        (Host("router"), "ip link set k8s-w1 mtu 1500; ip link set k8s-w2 mtu 1500"),
        (Pod("pod1"), "ip link set eth0 mtu 1480"),
        (Pod("pod2"), "ip link set eth0 mtu 1480"),
        (Host("k8s-w1"), "ip link set eth0 mtu 1500; ip link set calice0906292e2 mtu 1480"),
        (Host("k8s-w2"), "ip link set eth0 mtu 1500; ip link set calibd2348b4f67 mtu 1480"),
    ]),
];

const BGP: &[Break] = &[
    no_settings(&["the mesh is switched off"]),
    row(
        &["the tunnel routes are gone"],
        &[(Host("k8s-m"), "ip route add 172.16.158.0/24 via 192.168.10.101 dev tunl0 proto bird onlink")],
    )
    .stopping(&["k8s-m"])
    .telling("172.16.158.0/24"),
    row(
        &["pod1 does not reach pod2"],
        &[
            (Host("k8s-w1"), "ip route add 172.16.184.0/24 via 192.168.10.102 dev eth0"),
            (Host("k8s-w2"), "ip route add 172.16.158.0/24 via 192.168.10.101 dev eth0"),
        ],
    )
    .stopping(&["k8s-w1", "k8s-w2"])
    .repaired(&[
        (Host("k8s-w1"), "ip route del 172.16.184.0/24 dev eth0"),
        (Host("k8s-w2"), "ip route del 172.16.158.0/24 dev eth0"),
    ]),
    no_settings(&["the mesh is switched on"]),
    row(&["the three routes are back"], &[(Host("k8s-m"), "ip route del 172.16.184.0/24")]).stopping(&["k8s-m"]),
    row(&["pod1 reaches pod2 again"], &[(Host("k8s-w1"), "ip route del 172.16.184.0/24")]).stopping(&["k8s-w1"]),
];
