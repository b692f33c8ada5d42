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
            "nodes[3].address 192.168.10.10: is taken by another node",
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
