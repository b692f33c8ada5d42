//! What is wrong in the copy of the runner's own recordings, each kind of expectation once.

const IPTABLES: &str = "felix-own/iptables/w1-life/1-third/iptables-nft-save.txt";
const NFT: &str = "felix-own/nft/w1-life/1-third/nft-ruleset.txt";

/// A wrong expectation: the case, its file, a text in it and what is written instead, and the lines that have to tell.
pub(super) struct Wrong {
    pub(super) case: &'static str,
    pub(super) file: &'static str,
    pub(super) text: &'static str,
    pub(super) instead: &'static str,
    pub(super) told: &'static [&'static str],
}

pub(super) const WRONG: [Wrong; 20] = [
    Wrong {
        case: "010-add",
        file: "cni-own/010-add.json",
        text: "link/ether ee:ee:ee:ee:ee:ee",
        instead: "link/ether ee:ee:ee:ee:ee:01",
        told: &["host:", "- link caliweb: kind veth flags BROADCAST,MULTICAST,UP mtu 1300 address <mac> queues 1/1"],
    },
    Wrong {
        case: "010-add",
        file: "cni-own/010-add.json",
        text: "default via 169.254.1.1",
        instead: "default via 169.254.1.2",
        told: &["pod:", "- route default via 169.254.1.2 dev eth0", "+ route default via 169.254.1.1 dev eth0"],
    },
    Wrong {
        case: "010-add",
        file: "cni-own/010-add.json",
        text: r#"\"profiles\":[\"own\"]"#,
        instead: r#"\"profiles\":[\"other\"]"#,
        told: &[
            "etcd /calico/resources/v3/projectcalico.org/workloadendpoints/default/alpha-cni-web-eth0:",
            r#"- .spec.profiles[0] = "other""#,
            r#"+ .spec.profiles[0] = "own""#,
        ],
    },
    Wrong {
        case: "020-addresses-only",
        file: "cni-own/020-addresses-only.json",
        text: r#"\"address\": \"10.77.5.17/29\""#,
        instead: r#"\"address\": \"10.77.5.18/29\""#,
        told: &[
            "stdout:",
            r#"-             "address": "10.77.5.18/29""#,
            r#"+             "address": "10.77.5.17/29""#,
        ],
    },
    Wrong {
        case: "030-taken",
        file: "cni-own/030-taken.json",
        text: "\"exit\": 1",
        instead: "\"exit\": 2",
        told: &["exit: recorded 2, ours 1"],
    },
    Wrong {
        case: "040-calicoctl",
        file: "cni-own/040-calicoctl.json",
        text: "IPPool(nosuch)",
        instead: "IPPool(other)",
        told: &[
            "calicoctl get ippool nosuch: stderr:",
            "- resource does not exist: IPPool(other) with error: <nil>",
            "+ resource does not exist: IPPool(nosuch) with error: <nil>",
        ],
    },
    Wrong {
        case: "060-del-again",
        file: "cni-own/060-del-again.json",
        text: "Asked to release address",
        instead: "Asked to release a name",
        told: &[r#"stderr: does not say "Asked to release a name but it doesn't exist. Ignoring", but"#],
    },
    Wrong {
        case: "kinds/pool",
        file: "calicoctl-own/kinds/pool.json",
        text: r#"\"blockSize\":28"#,
        instead: r#"\"blockSize\":29"#,
        told: &[
            "etcd /calico/resources/v3/projectcalico.org/ippools/small:",
            "- .spec.blockSize = 29",
            "+ .spec.blockSize = 28",
        ],
    },
    // missing, other text, other order, too many; a stand-in for what does not read as Calico writes it; a member
    Wrong {
        case: "iptables/w1-life/1-third",
        file: IPTABLES,
        text: "-A cali-to-wl-dispatch -m comment --comment \"cali:Inx3jKQp_tQ4qmCB\" -m comment --comment \"Unknown interface\" -j DROP\n",
        instead: "",
        told: &["chain filter-cali-to-wl-dispatch:", r#"+ -m comment --comment "Unknown interface" -j DROP"#],
    },
    Wrong {
        case: "iptables/w1-life/1-third",
        file: IPTABLES,
        text: r#""Configured DefaultEndpointToHostAction" -j ACCEPT"#,
        instead: r#""Configured DefaultEndpointToHostAction" -j DROP"#,
        told: &[
            "chain filter-cali-wl-to-host:",
            r#"- -m comment --comment "Configured DefaultEndpointToHostAction" -j DROP"#,
            r#"+ -m comment --comment "Configured DefaultEndpointToHostAction" -j ACCEPT"#,
        ],
    },
    Wrong {
        case: "iptables/w1-life/1-third",
        file: IPTABLES,
        text: "-A cali-from-wl-dispatch -i cali7+ -m comment --comment \"cali:BePu-Xiuhdnbq8vB\" -g cali-from-wl-dispatch-7\n-A cali-from-wl-dispatch -i calib2two -m comment --comment \"cali:d71I9K48Ttt-lWz4\" -g cali-fw-calib2two\n",
        instead: "-A cali-from-wl-dispatch -i calib2two -m comment --comment \"cali:d71I9K48Ttt-lWz4\" -g cali-fw-calib2two\n-A cali-from-wl-dispatch -i cali7+ -m comment --comment \"cali:BePu-Xiuhdnbq8vB\" -g cali-from-wl-dispatch-7\n",
        told: &[
            "chain filter-cali-from-wl-dispatch:",
            "- -i calib2two -g cali-fw-calib2two",
            "+ -i calib2two -g cali-fw-calib2two",
        ],
    },
    Wrong {
        case: "iptables/w1-life/1-third",
        file: IPTABLES,
        text: ":cali-wl-to-host -\n",
        instead: ":cali-surplus -\n:cali-wl-to-host -\n",
        told: &["chain filter-cali-surplus: recorded, not ours"],
    },
    Wrong {
        case: "iptables/w1-life/1-third",
        file: IPTABLES,
        text: r#""Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN"#,
        instead: r#""Return if profile accepted" -m mark --mark 0x10000/0x10000 -j ACCEPT"#,
        told: &[
            "chain filter-cali-fw-cali7three:",
            "- -j cali-pro-open",
            "chain filter-cali-tw-cali7three:",
            "- -j cali-pri-open",
        ],
    },
    Wrong {
        case: "iptables/w1-life/1-third",
        file: "felix-own/iptables/w1-life/1-third/ipset.txt",
        text: "cali40all-hosts-net 203.0.113.77",
        instead: "cali40all-hosts-net 203.0.113.78",
        told: &["set cali40all-hosts-net:", "- 203.0.113.78", "+ 203.0.113.77"],
    },
    Wrong {
        case: "nft/w1-life/1-third",
        file: NFT,
        text: "		ct state invalid counter drop comment \"cali:IvARmmQ_GnvPm262;\"\n",
        instead: "",
        told: &["chain filter-cali-tw-cali7three:", "+ ct state invalid counter drop"],
    },
    Wrong {
        case: "nft/w1-life/1-third",
        file: NFT,
        text: r#"counter accept comment "cali:m-f8F_F3sZQBn4vu;"#,
        instead: r#"counter return comment "cali:m-f8F_F3sZQBn4vu;"#,
        told: &[
            "chain filter-cali-wl-to-host:",
            r#"- counter return comment "Configured DefaultEndpointToHostAction""#,
            r#"+ counter accept comment "Configured DefaultEndpointToHostAction""#,
        ],
    },
    Wrong {
        case: "nft/w1-life/1-third",
        file: NFT,
        text: "		udp dport 4789 counter drop comment \"cali:XmAa6pxFd3ZQ4fnG; Drop VXLAN encapped packets originating in workloads\"\n		meta l4proto ipencap counter drop comment \"cali:Ipx43QReCiSb8BvV; Drop IPinIP encapped packets originating in workloads\"\n",
        instead: "		meta l4proto ipencap counter drop comment \"cali:Ipx43QReCiSb8BvV; Drop IPinIP encapped packets originating in workloads\"\n		udp dport 4789 counter drop comment \"cali:XmAa6pxFd3ZQ4fnG; Drop VXLAN encapped packets originating in workloads\"\n",
        told: &[
            "chain filter-cali-fw-cali7three:",
            "- meta l4proto ipencap counter drop comment",
            "+ meta l4proto ipencap counter drop comment",
        ],
    },
    Wrong {
        case: "nft/w1-life/1-third",
        file: NFT,
        text: "	chain filter-cali-wl-to-host {\n",
        instead: "	chain filter-cali-surplus {\n	}\n	chain filter-cali-wl-to-host {\n",
        told: &["chain filter-cali-surplus: recorded, not ours"],
    },
    Wrong {
        case: "nft/w1-life/1-third",
        file: NFT,
        text: r#""calib2two" : goto filter-cali-tw-calib2two"#,
        instead: r#""calib2two" : goto filter-cali-tw-cali7one"#,
        told: &[
            "set filter-cali-to-wl-dispatch:",
            r#"- "calib2two" : goto filter-cali-tw-cali7one"#,
            r#"+ "calib2two" : goto filter-cali-tw-calib2two"#,
        ],
    },
    Wrong {
        case: "nft/w1-life/1-third",
        file: NFT,
        text: "element 203.0.113.77",
        instead: "element 203.0.113.78",
        told: &["set cali40all-hosts-net:", "- 203.0.113.78", "+ 203.0.113.77"],
    },
];
