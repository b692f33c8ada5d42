//! The walkthrough as data: commands as an operator types them, and the values they must show.
//!
//! Every expected value is a literal; none comes from the code that is shown.

use super::expect::{Check, Expect, Output};

/// Which packet rules the lab runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// Either.
    Any,
    /// iptables and ipset.
    Iptables,
    /// nftables.
    Nftables,
}

/// One command and what it must show.
#[derive(Clone, Copy, Debug)]
pub struct Exhibit {
    /// The command line.
    pub command: &'static str,
    /// A capture that runs beside it; its first line on standard error says when it listens.
    pub capture: Option<&'static str>,
    /// What must be seen.
    pub checks: &'static [Check],
    /// For which packet rules.
    pub rules: Rules,
    /// How long, in seconds, the checks may take to come true; 0 means at once.
    pub within: u64,
}

/// A part of the walkthrough.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// Its heading.
    pub heading: &'static str,
    /// Its commands.
    pub exhibits: &'static [Exhibit],
}

const PLAIN: Exhibit = Exhibit { command: "", capture: None, checks: &[], rules: Rules::Any, within: 0 };

/// `lab apply` with the manifests of pods that do nothing.
macro_rules! apply {
    ($($name:literal $(in $namespace:literal)? on $node:literal: $container:literal, $image:literal);+) => {
        concat!("tortie lab apply -f - <<'EOF'\n", $(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {name: ", $name, $(", namespace: ", $namespace,)? "}\n",
            "spec: {nodeName: ", $node, ", terminationGracePeriodSeconds: 0, ",
            "containers: [{name: ", $container, ", image: ", $image, ", command: [tail], args: [-f, /dev/null]}]}\n",
        )+ "EOF")
    };
}

const fn check(what: &'static str, expect: Expect) -> Check {
    Check { what, of: Output::Command, expect }
}

const fn captured(what: &'static str, expect: Expect) -> Check {
    Check { what, of: Output::Capture, expect }
}

/// All scenes, in the order of the walkthrough.
pub const SCENES: &[Scene] = &[START, SAME_NODE, OUTSIDE, OTHER_NODE, BGP];

const START: Scene = Scene {
    heading: "start: what every cluster runs",
    exhibits: &[
        Exhibit {
            command: apply!("coredns-55cb58b774-cn6c4" in "kube-system" on "k8s-m": "coredns", "coredns"; "calico-kube-controllers-77d59654f4-v5tgh" in "kube-system" on "k8s-m": "controllers", "calico/kube-controllers"; "coredns-55cb58b774-6lpdz" in "kube-system" on "k8s-m": "coredns", "coredns"; "resident" in "kube-system" on "k8s-w1": "resident", "nicolaka/netshoot"),
            checks: &[check("four pods start", Expect::Succeeds)],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec --node k8s-m -- ip -4 -o addr show tunl0",
            checks: &[check("k8s-m's tunnel has its block's first address", Expect::Within("inet 172.16.116.0/32"))],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec --node k8s-w1 -- ip -4 -o addr show tunl0",
            checks: &[check("k8s-w1's tunnel too", Expect::Within("inet 172.16.158.0/32"))],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec --node k8s-w2 -- ip -4 -o addr show tunl0",
            checks: &[check("k8s-w2's tunnel too", Expect::Within("inet 172.16.184.0/32"))],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec --node k8s-w0 -- ip -4 -o addr show tunl0",
            checks: &[check("k8s-w0's tunnel too", Expect::Within("inet 172.16.34.0/32"))],
            ..PLAIN
        },
    ],
};

const PODS_ON_ONE_NODE: &str =
    apply!("pod2" on "k8s-w1": "netshoot", "nicolaka/netshoot"; "pod1" on "k8s-w1": "netshoot", "nicolaka/netshoot");

const SAME_NODE: Scene = Scene {
    heading: "same node: pod to pod through proxy ARP",
    exhibits: &[
        Exhibit { command: PODS_ON_ONE_NODE, checks: &[check("pod2 and pod1 start", Expect::Succeeds)], ..PLAIN },
        Exhibit {
            command: "tortie lab get pods -o wide",
            checks: &[
                check(
                    "the columns are kubectl's",
                    Expect::Fields("NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES"),
                ),
                check("pod1 runs on k8s-w1 at 172.16.158.3", Expect::Within("172.16.158.3 k8s-w1 <none> <none>")),
                check("pod2 runs on k8s-w1 at 172.16.158.2", Expect::Within("172.16.158.2 k8s-w1 <none> <none>")),
            ],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec --node k8s-m -- calicoctl get workloadendpoints",
            checks: &[
                check("the columns are calicoctl's", Expect::Fields("WORKLOAD NODE NETWORKS INTERFACE")),
                check("pod1's endpoint", Expect::Fields("pod1 k8s-w1 172.16.158.3/32 calice0906292e2")),
                check("pod2's endpoint", Expect::Fields("pod2 k8s-w1 172.16.158.2/32 calibd2348b4f67")),
            ],
            ..PLAIN
        },
        Exhibit {
            command: "echo 'test -t 0 && echo a terminal of $(hostname); exit' | script -qec 'tortie lab exec pod1 -it -- sh' /dev/null",
            checks: &[check("a shell in pod1 has a terminal", Expect::Within("a terminal of pod1"))],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec --node k8s-w1 -- ip neigh flush dev calibd2348b4f67; tortie lab exec pod2 -- ip neigh flush dev eth0; tortie lab exec pod1 -- ping -c 3 -W 2 172.16.158.2",
            capture: Some("tortie lab exec --node k8s-w1 -- tcpdump -lnn -i calibd2348b4f67 arp"),
            checks: &[
                check("pod1 reaches pod2", Expect::Within("3 received, 0% packet loss,")),
                captured("pod2 asks for its gateway", Expect::Within("Request who-has 169.254.1.1 tell 172.16.158.2,")),
                captured(
                    "and is answered ee:ee:ee:ee:ee:ee",
                    Expect::Within("Reply 169.254.1.1 is-at ee:ee:ee:ee:ee:ee,"),
                ),
                captured("the node asks for pod2", Expect::Within("Request who-has 172.16.158.2 tell 192.168.10.101,")),
                captured("and pod2 answers", Expect::Within("Reply 172.16.158.2 is-at")),
            ],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec pod2 -- ip -c=never -s neigh",
            checks: &[
                check("the gateway's neighbour entry", Expect::Within("169.254.1.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee")),
                check("the node's, since it asked", Expect::Within("192.168.10.101 dev eth0 lladdr ee:ee:ee:ee:ee:ee")),
            ],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec --node k8s-w1 -- sh -c \"ip -o link show | grep cali\"",
            checks: &[check(
                "every cali interface has the same MAC",
                Expect::Every("cali", "link/ether ee:ee:ee:ee:ee:ee"),
            )],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab delete pod pod1 && tortie lab delete pod pod2",
            checks: &[check("both pods are deleted", Expect::Succeeds)],
            ..PLAIN
        },
    ],
};

const RULE: &str = "0.0.0.0/0 0.0.0.0/0 /* cali:flqWnvo8yq4ULQLa */ match-set cali40masq-ipam-pools src ! match-set cali40all-ipam-pools dst random-fully";

const OUTSIDE: Scene = Scene {
    heading: "outside: natOutgoing, off and on by editing the pool",
    exhibits: &[
        Exhibit {
            command: apply!("pod1" on "k8s-w1": "netshoot", "nicolaka/netshoot"),
            checks: &[check("pod1 starts", Expect::Succeeds)],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec pod1 -- ip -4 -o addr show eth0",
            checks: &[check("the next free address", Expect::Within("inet 172.16.158.4/32"))],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec pod1 -- ping -c 3 -W 2 203.0.113.10",
            capture: Some("tortie lab exec --node internet -- tcpdump -lnn -i any icmp"),
            checks: &[
                check("pod1 reaches the outside", Expect::Within("3 received, 0% packet loss,")),
                captured(
                    "which sees the node's address",
                    Expect::Within("IP 192.168.10.101 > 203.0.113.10: ICMP echo request,"),
                ),
                captured("and never the pod's", Expect::Without("172.16.158.4 >")),
            ],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec --node k8s-w1 -- iptables -n -t nat --list cali-nat-outgoing",
            rules: Rules::Iptables,
            checks: &[
                check("the chain is referenced once", Expect::Fields("Chain cali-nat-outgoing (1 references)")),
                check("the rule masquerades", Expect::Begins("MASQUERADE")),
                check("with Calico's sets and hash", Expect::Within(RULE)),
            ],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec --node k8s-w1 -- ipset list cali40masq-ipam-pools",
            rules: Rules::Iptables,
            checks: &[
                check("the set's type", Expect::Fields("Type: hash:net")),
                check("its family and size", Expect::Within("family inet hashsize 1024 maxelem 1048576")),
                check("its member is the pool", Expect::Table("172.", &["172.16.0.0/16"])),
            ],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec --node k8s-w1 -- nft list chain ip calico nat-cali-nat-outgoing",
            rules: Rules::Nftables,
            checks: &[
                check(
                    "the rule masquerades from pools to outside them",
                    Expect::Within("ip saddr @cali40masq-ipam-pools ip daddr != @cali40all-ipam-pools counter packets"),
                ),
                check("with random ports", Expect::Within("masquerade fully-random")),
            ],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec --node k8s-w1 -- nft list chain ip calico nat-cali-POSTROUTING",
            rules: Rules::Nftables,
            checks: &[check("the chain is referenced once", Expect::Count(1, "jump nat-cali-nat-outgoing"))],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec --node k8s-w1 -- nft list set ip calico cali40masq-ipam-pools",
            rules: Rules::Nftables,
            checks: &[check("the set's member is the pool", Expect::Within("elements = { 172.16.0.0/16 }"))],
            ..PLAIN
        },
        Exhibit {
            command: r#"tortie lab exec --node k8s-m -- sh -c 'calicoctl get ippool default-ipv4-ippool -o yaml | sed -e "s/natOutgoing: true/natOutgoing: false/" | calicoctl apply -f -'"#,
            checks: &[check("the pool is edited", Expect::Fields("Successfully applied 1 'IPPool' resource(s)"))],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec --node k8s-w1 -- iptables -n -t nat --list cali-nat-outgoing",
            rules: Rules::Iptables,
            within: 3,
            checks: &[
                check("the rule is gone", Expect::Without("cali:flqWnvo8yq4ULQLa")),
                check("the chain stays", Expect::Fields("Chain cali-nat-outgoing (1 references)")),
            ],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec --node k8s-w1 -- ipset list cali40masq-ipam-pools",
            rules: Rules::Iptables,
            within: 3,
            checks: &[check("the set stays, empty", Expect::Fields("Number of entries: 0"))],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec --node k8s-w1 -- nft list chain ip calico nat-cali-nat-outgoing",
            rules: Rules::Nftables,
            within: 3,
            checks: &[
                check("the rule is gone", Expect::Without("masquerade fully-random")),
                check("the chain stays", Expect::Within("chain nat-cali-nat-outgoing {")),
            ],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec pod1 -- ping -c 2 -W 1 203.0.113.10",
            checks: &[
                check("the outside is shut", Expect::Fails),
                check("every packet is lost", Expect::Within("100% packet loss,")),
            ],
            ..PLAIN
        },
        Exhibit {
            command: r#"tortie lab exec --node k8s-m -- sh -c 'calicoctl get ippool default-ipv4-ippool -o yaml | sed -e "s/natOutgoing: false/natOutgoing: true/" | calicoctl apply -f -'"#,
            checks: &[check("the pool is edited back", Expect::Fields("Successfully applied 1 'IPPool' resource(s)"))],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec pod1 -- ping -c 1 -W 1 203.0.113.10",
            within: 3,
            checks: &[check("the outside is open again", Expect::Succeeds)],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab delete pod pod1",
            checks: &[check("pod1 is deleted", Expect::Succeeds)],
            ..PLAIN
        },
    ],
};

const OTHER_NODE: Scene = Scene {
    heading: "other node: through tunl0, by routes learned over BGP",
    exhibits: &[
        Exhibit {
            command: apply!("pod1" on "k8s-w1": "netshoot", "nicolaka/netshoot"; "pod2" on "k8s-w2": "netshoot", "nicolaka/netshoot"; "far" on "k8s-w0": "netshoot", "nicolaka/netshoot"),
            checks: &[check("three pods start on three nodes", Expect::Succeeds)],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab get pods -o wide",
            checks: &[
                check("pod1 has 172.16.158.5", Expect::Within("172.16.158.5 k8s-w1")),
                check("pod2 has 172.16.184.1", Expect::Within("172.16.184.1 k8s-w2")),
                check("far has 172.16.34.1", Expect::Within("172.16.34.1 k8s-w0")),
            ],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec --node k8s-m -- calicoctl node status",
            checks: &[
                check("k8s-m peers with k8s-w1", Expect::Begins("| 192.168.10.101 | node-to-node mesh | up")),
                check("with k8s-w2", Expect::Begins("| 192.168.10.102 | node-to-node mesh | up")),
                check("with k8s-w0, in the other subnet", Expect::Begins("| 192.168.20.100 | node-to-node mesh | up")),
                check("and all three are Established", Expect::Count(3, "| Established |")),
            ],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec --node k8s-m -- route -n",
            checks: &[check(
                "the pool's seven routes, value by value",
                Expect::Table(
                    "172.16.",
                    &[
                        "172.16.34.0 192.168.20.100 255.255.255.0 UG 0 0 0 tunl0",
                        "172.16.116.0 0.0.0.0 255.255.255.0 U 0 0 0 *",
                        "172.16.116.1 0.0.0.0 255.255.255.255 UH 0 0 0 calic04819f12a9",
                        "172.16.116.2 0.0.0.0 255.255.255.255 UH 0 0 0 cali357b53e100c",
                        "172.16.116.3 0.0.0.0 255.255.255.255 UH 0 0 0 cali76abd27fd49",
                        "172.16.158.0 192.168.10.101 255.255.255.0 UG 0 0 0 tunl0",
                        "172.16.184.0 192.168.10.102 255.255.255.0 UG 0 0 0 tunl0",
                    ],
                ),
            )],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec --node k8s-m -- ip route show proto bird",
            checks: &[check("three of them were learned over BGP", Expect::Count(3, "dev tunl0 onlink"))],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec pod1 -- ping -c 3 -W 2 172.16.184.1",
            capture: Some("tortie lab exec --node k8s-w1 -- tcpdump -lnn -i eth0 ip proto 4"),
            checks: &[
                check("pod1 reaches pod2 on k8s-w2", Expect::Within("3 received, 0% packet loss,")),
                captured(
                    "two IPv4 headers on the wire, there",
                    Expect::Within(
                        "IP 192.168.10.101 > 192.168.10.102: IP 172.16.158.5 > 172.16.184.1: ICMP echo request,",
                    ),
                ),
                captured(
                    "and back",
                    Expect::Within(
                        "IP 192.168.10.102 > 192.168.10.101: IP 172.16.184.1 > 172.16.158.5: ICMP echo reply,",
                    ),
                ),
            ],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec pod1 -- ping -c 3 -W 2 172.16.34.1",
            checks: &[check("pod1 reaches far, in the other subnet", Expect::Within("3 received, 0% packet loss,"))],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec far -- ping -c 3 -W 2 172.16.158.5",
            checks: &[check("and far reaches pod1", Expect::Within("3 received, 0% packet loss,"))],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec --node k8s-w1 -- ping -c 1 -W 2 172.16.158.5",
            checks: &[check("a node reaches its own pod", Expect::Succeeds)],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec --node k8s-m -- ping -c 2 -W 2 172.16.158.5",
            capture: Some("tortie lab exec --node k8s-w1 -- tcpdump -lnn -i calice0906292e2 icmp"),
            checks: &[
                check("a node reaches another node's pod", Expect::Within("2 received, 0% packet loss,")),
                captured(
                    "from its tunnel address",
                    Expect::Within("IP 172.16.116.0 > 172.16.158.5: ICMP echo request,"),
                ),
            ],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec pod1 -- ping -c 1 -W 2 192.168.10.101",
            checks: &[check("a pod reaches its own node", Expect::Succeeds)],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec pod1 -- ping -c 1 -W 2 192.168.10.10",
            checks: &[check("and another node", Expect::Succeeds)],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec pod1 -- ping -c 1 -W 2 -M do -s 1452 172.16.184.1",
            checks: &[check("1,480 bytes pass whole", Expect::Succeeds)],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec pod1 -- ping -c 1 -W 2 -M do -s 1453 172.16.184.1",
            checks: &[check("1,481 do not", Expect::Fails)],
            ..PLAIN
        },
    ],
};

const BGP: Scene = Scene {
    heading: "BGP carries it: without the mesh no route, with it all",
    exhibits: &[
        Exhibit {
            command: r#"tortie lab exec --node k8s-m -- calicoctl patch bgpconfiguration default -p '{"spec":{"nodeToNodeMeshEnabled":false}}'"#,
            checks: &[check(
                "the mesh is switched off",
                Expect::Within("Successfully patched 1 'BGPConfiguration' resource"),
            )],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec --node k8s-m -- ip route; tortie lab exec --node k8s-w1 -- ip route",
            within: 5,
            checks: &[check("the tunnel routes are gone", Expect::Without("dev tunl0"))],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec pod1 -- ping -c 1 -W 1 172.16.184.1",
            checks: &[check("pod1 does not reach pod2", Expect::Fails)],
            ..PLAIN
        },
        Exhibit {
            command: r#"tortie lab exec --node k8s-m -- calicoctl patch bgpconfiguration default -p '{"spec":{"nodeToNodeMeshEnabled":true}}'"#,
            checks: &[check(
                "the mesh is switched on",
                Expect::Within("Successfully patched 1 'BGPConfiguration' resource"),
            )],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec --node k8s-m -- ip route show proto bird",
            within: 20,
            checks: &[check("the three routes are back", Expect::Count(3, "dev tunl0 onlink"))],
            ..PLAIN
        },
        Exhibit {
            command: "tortie lab exec pod1 -- ping -c 1 -W 1 172.16.184.1",
            within: 20,
            checks: &[check("pod1 reaches pod2 again", Expect::Succeeds)],
            ..PLAIN
        },
    ],
};
