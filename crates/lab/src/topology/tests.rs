use super::*;

fn edited(from: &str, to: &str) -> String {
    assert!(DEFAULT.contains(from), "the default topology has no {from:?}");
    DEFAULT.replace(from, to)
}

#[test]
fn default_is_the_walkthrough() {
    let topology = Topology::walkthrough();
    let nodes: Vec<_> = topology.nodes.iter().map(|node| (node.name.as_str(), node.address.to_string())).collect();
    assert_eq!(
        nodes,
        [
            ("k8s-m", "192.168.10.10".to_owned()),
            ("k8s-w1", "192.168.10.101".to_owned()),
            ("k8s-w2", "192.168.10.102".to_owned()),
            ("k8s-w0", "192.168.20.100".to_owned()),
        ]
    );
    let pool = &topology.pools[0];
    assert_eq!((pool.cidr.to_string().as_str(), pool.block_size), ("172.16.0.0/16", 24));
    assert_eq!((pool.ipip_mode, pool.nat_outgoing), (Encapsulation::Always, true));
    assert_eq!((topology.datastore, topology.dataplane), (Datastore::Store, Dataplane::Iptables));
    assert_eq!(topology.outside_link().1.to_string(), "203.0.113.1");
}

#[test]
fn json_form_reads_back() {
    let topology = Topology::walkthrough();
    let text = serde_json::to_string(&topology).unwrap();
    assert_eq!(serde_json::from_str::<Topology>(&text).unwrap(), topology);
}

#[test]
fn each_mistake_names_field_and_reason() {
    for (from, to, expect) in [
        ("blockSize: 24", "blockSize: 33", "pools[0].blockSize 33: must be 20 to 32"),
        ("172.16.0.0/16", "172.16.0.0/25", "pools[0].cidr 172.16.0.0/25: the pool is smaller than one block of /24"),
        ("172.16.0.0/16", "172.16.1.0/16", "pools[0].cidr 172.16.1.0/16: has host bits, 172.16.0.0/16 has none"),
        ("172.16.0.0/16", "192.168.0.0/16", "pools[0].cidr 192.168.0.0/16: overlaps subnets[0].cidr 192.168.10.0/24"),
        (
            "gateway: 192.168.10.254",
            "gateway: 192.168.11.254",
            "subnets[0].gateway 192.168.11.254: is no host address of 192.168.10.0/24",
        ),
        (
            "address: 192.168.20.100",
            "address: 192.168.30.100",
            "nodes[3].address 192.168.30.100: is in none of the subnets",
        ),
        (
            "address: 192.168.20.100",
            "address: 192.168.10.10",
            "nodes[3].address 192.168.10.10: is taken by another node or router",
        ),
        ("name: k8s-w2", "name: k8s-w1", "nodes[2].name \"k8s-w1\": is taken"),
        (
            "name: k8s-w2",
            "name: K8S",
            "nodes[2].name \"K8S\": must be a DNS name in lower case of at most 64 characters",
        ),
        ("gateway: 192.168.20.254", "gateway: 192.168.20.254, mtu: 575", "subnets[1].mtu 575: must be 576 to 65535"),
        ("address: 192.168.20.100", "address: 192.168.20.100, mtu: 0", "nodes[3].mtu 0: must be 576 to 65535"),
        ("name: internet", "name: k8s-m", "outside.name \"k8s-m\": is taken"),
        ("203.0.113.10", "172.16.0.1", "outside.address 172.16.0.1: lies in pools[0].cidr 172.16.0.0/16"),
    ] {
        let Invalid(mistakes) = Topology::parse(&edited(from, to)).unwrap_err();
        assert!(mistakes.iter().any(|mistake| mistake == expect), "{from} → {to}: {mistakes:#?}");
    }
}

#[test]
fn overlapping_pools_are_refused() {
    let second = "natOutgoing: true}, {name: second, cidr: 172.16.128.0/17}]";
    let Invalid(mistakes) = Topology::parse(&edited("natOutgoing: true}]", second)).unwrap_err();
    assert_eq!(mistakes, ["pools[1].cidr 172.16.128.0/17: overlaps pools[0].cidr 172.16.0.0/16"]);
}

#[test]
fn unknown_fields_and_wrong_types_are_refused_with_their_name() {
    for (from, to, expect) in [
        ("natOutgoing: true", "natOutgoing: 7", "7"),
        ("blockSize", "blocksize", "blocksize"),
        ("ipipMode: Always", "ipipMode: always", "always"),
        ("dataplane: iptables", "dataplane: ebpf", "ebpf"),
        ("cidr: 172.16.0.0/16", "cidr: 172.16.0.0/33", "invalid"),
        ("gateway: 192.168.20.254", "gateway: 192.168.20.254, mtu: wide", "wide"),
        ("address: 192.168.20.100", "address: 192.168.20.100, mtu: 65536", "65536"),
    ] {
        let error = Topology::parse(&edited(from, to)).unwrap_err().to_string();
        assert!(error.contains(expect), "{from} → {to}: {error}");
    }
}

#[test]
fn each_mistake_of_a_router_names_field_and_reason() {
    let good = "{name: tor, kind: frr, address: 192.168.10.1, as: 65001, networks: [10.99.0.0/16], password: secret}";
    let with = |routers: &str| Topology::parse(&format!("{DEFAULT}routers: [{routers}]\n"));
    let topology = with(good).unwrap();
    let router = &topology.routers[0];
    assert_eq!((router.hold_time, router.reflector, topology.node_as), (90, false, 64512));
    assert_eq!(router.own_addresses().collect::<Vec<_>>(), ["10.99.0.1".parse::<Ipv4Addr>().unwrap()]);
    for (from, to, expect) in [
        ("name: tor", "name: k8s-m", "routers[0].name \"k8s-m\": is taken"),
        ("name: tor", "name: router", "routers[0].name \"router\": is taken"),
        ("192.168.10.1,", "192.168.30.1,", "routers[0].address 192.168.30.1: is in none of the subnets"),
        ("192.168.10.1,", "192.168.10.10,", "routers[0].address 192.168.10.10: is taken by another node or router"),
        ("192.168.10.1,", "192.168.10.254,", "routers[0].address 192.168.10.254: is the gateway's"),
        (
            "192.168.10.1,",
            "192.168.10.255,",
            "routers[0].address 192.168.10.255: is no host address of 192.168.10.0/24",
        ),
        ("as: 65001", "as: 0", "routers[0].as 0: must be 1 to 4294967295"),
        ("as: 65001", "as: 65001, holdTime: 2", "routers[0].holdTime 2: must be 3 to 65535 seconds"),
        ("as: 65001", "as: 65001, reflector: true", "routers[0].reflector: no node is in its AS 65001"),
        ("10.99.0.0/16", "10.99.1.0/16", "routers[0].networks[0] 10.99.1.0/16: has host bits, 10.99.0.0/16 has none"),
        ("10.99.0.0/16", "172.16.9.0/24", "routers[0].networks[0] 172.16.9.0/24: overlaps pools[0].cidr 172.16.0.0/16"),
        (
            "10.99.0.0/16",
            "192.168.20.0/25",
            "routers[0].networks[0] 192.168.20.0/25: overlaps subnets[1].cidr 192.168.20.0/24",
        ),
        (
            "10.99.0.0/16",
            "203.0.113.0/25",
            "routers[0].networks[0] 203.0.113.0/25: overlaps outside.address's network 203.0.113.0/24",
        ),
        (
            "password: secret",
            "password: 'a b'",
            "routers[0].password: must be 1 to 80 printable ASCII characters without blanks, quotes, # and backslashes",
        ),
    ] {
        assert!(good.contains(from), "{from}");
        let Invalid(mistakes) = with(&good.replace(from, to)).unwrap_err();
        assert_eq!(mistakes, [expect], "{from} → {to}");
    }
    for (from, to, expect) in [
        ("kind: frr", "kind: quagga", "quagga"),
        ("as: 65001", "as: 4294967296", "4294967296"),
        (", as: 65001", "", "as"),
    ] {
        let error = with(&good.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(expect), "{from} → {to}: {error}");
    }
    for (from, to, expect) in [
        ("outside:", "nodeAs: 0\noutside:", "nodeAs 0: must be 1 to 4294967295"),
        ("192.168.20.100", "192.168.20.100, as: 0", "nodes[3].as 0: must be 1 to 4294967295"),
    ] {
        assert_eq!(Topology::parse(&edited(from, to)).unwrap_err().0, [expect]);
    }
}
