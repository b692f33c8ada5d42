use super::*;
use crate::block::{self, Holder};
use crate::owner::Owner;
use crate::pool::Pool;
use api::ipam::{AffinityState, Block, Handle};
use api::kind::{IpPoolSpec, NodeBgpSpec, NodeSpec, NodeWireguardSpec, WorkloadEndpointSpec};
use api::{ObjectMeta, Typed};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn pool(name: &str, cidr: &str, disabled: bool) -> Pool {
    let spec = IpPoolSpec { cidr: cidr.to_owned(), disabled, ..IpPoolSpec::default() };
    Pool::new(&Typed::new(ObjectMeta::named(name), spec)).unwrap()
}

fn block(cidr: &str, owner: &str) -> Block {
    block::new(net(cidr), owner, "2026-01-01T00:00:00Z", 100)
}

/// Gives the next address of a block to a handle with attributes such as `node=n1 pod=a`.
fn give(block: &mut Block, handle: &str, attributes: &str) {
    let attributes = attributes.split_whitespace().filter_map(|word| word.split_once('='));
    let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let holder = Holder { handle: Some(handle.to_owned()), attributes };
    assert_eq!(block::assign(block, 1, &holder, &[]).len(), 1);
}

fn handle(id: &str, counts: &[(&str, u64)]) -> HandleRecord {
    let block = counts.iter().map(|(block, count)| ((*block).to_owned(), *count)).collect();
    HandleRecord {
        id: id.to_owned(),
        revision: api::Revision("7".to_owned()),
        handle: Handle { block, deleted: false },
    }
}

fn endpoint(node: &str, pod: &str, container: &str, address: &str) -> Typed<WorkloadEndpointSpec> {
    let name = if pod.is_empty() { container } else { pod };
    let spec = WorkloadEndpointSpec {
        node: node.to_owned(),
        pod: pod.to_owned(),
        container_id: container.to_owned(),
        ip_networks: vec![address.to_owned()],
        ..WorkloadEndpointSpec::default()
    };
    Typed::new(ObjectMeta { namespace: "ns".to_owned(), ..ObjectMeta::named(name) }, spec)
}

/// Two nodes; n1 has a tunnel address, a pod and a container, n2 a pod with an address of n1's block.
fn right() -> Snapshot {
    let mut own = block("10.0.0.0/30", "host:n1");
    give(&mut own, "ipip-tunnel-addr-n1", "node=n1 type=ipipTunnelAddress");
    give(&mut own, "k8s-pod-network.c1", "node=n1 pod=web namespace=ns");
    give(&mut own, "net1.c2", "node=n1");
    give(&mut own, "k8s-pod-network.c3", "node=n2 pod=db namespace=ns");
    let bgp = NodeBgpSpec { ipv4_ipip_tunnel_addr: "10.0.0.0".to_owned(), ..NodeBgpSpec::default() };
    Snapshot {
        blocks: vec![own, block("10.0.0.4/30", "host:n2")],
        affinities: vec![
            (Owner::host("n1"), net("10.0.0.0/30"), AffinityState::Confirmed),
            (Owner::host("n2"), net("10.0.0.4/30"), AffinityState::Confirmed),
        ],
        handles: vec![
            handle("ipip-tunnel-addr-n1", &[("10.0.0.0/30", 1)]),
            handle("k8s-pod-network.c1", &[("10.0.0.0/30", 1)]),
            handle("net1.c2", &[("10.0.0.0/30", 1)]),
            handle("k8s-pod-network.c3", &[("10.0.0.0/30", 1)]),
        ],
        pools: vec![pool("off", "10.9.0.0/24", true), pool("pool", "10.0.0.0/24", false)],
        nodes: vec![
            Typed::new(ObjectMeta::named("n1"), NodeSpec { bgp: Some(bgp), ..NodeSpec::default() }),
            Typed::new(ObjectMeta::named("n2"), NodeSpec::default()),
        ],
        endpoints: vec![
            endpoint("n1", "web", "c1", "10.0.0.1/32"),
            endpoint("n1", "", "c2", "10.0.0.2/32"),
            endpoint("n2", "db", "c3", "10.0.0.3/32"),
        ],
        unreadable: Vec::new(),
    }
}

/// The problems, one sentence each.
fn problems(snapshot: &Snapshot) -> Vec<String> {
    let findings = check(snapshot);
    let mut lines = Vec::new();
    for (name, addresses) in [
        ("leaked", &findings.leaked),
        ("outside", &findings.outside_pools),
        ("unallocated", &findings.unallocated),
        ("shared", &findings.shared),
        ("doubled", &findings.doubled),
    ] {
        lines.extend(addresses.iter().map(|address| format!("{name} {address}")));
    }
    lines.extend(findings.misheld.iter().map(|(address, holder)| format!("misheld {address}: {holder}")));
    lines.extend(findings.idle_handles.iter().map(|handle| format!("idle {}", handle.id)));
    lines.extend(findings.missing_handles.iter().map(|handle| format!("missing {handle}")));
    lines.extend(findings.miscounted.iter().map(Miscount::to_string));
    lines.extend(findings.block_faults.iter().chain(&findings.affinity_faults).chain(&findings.unreadable).cloned());
    assert_eq!(lines.len(), findings.problems());
    lines
}

/// Breaks the right books in one way and says what a check must find.
#[track_caller]
fn broken(expect: &[&str], harm: impl FnOnce(&mut Snapshot)) {
    let mut snapshot = right();
    harm(&mut snapshot);
    assert_eq!(problems(&snapshot), expect);
}

#[test]
fn right_books_have_no_problem() {
    let snapshot = right();
    assert_eq!(problems(&snapshot), [] as [&str; 0]);
    let findings = check(&snapshot);
    assert_eq!(findings.good_handles, 4);
    let borrowed: Vec<_> = findings.allocations.values().flatten().filter(|it| it.borrowed).collect();
    assert_eq!(borrowed.len(), 1);
    assert_eq!(borrowed[0].to_string(), "Main:k8s-pod-network.c3 Extra:namespace=ns,node=n2,pod=db");
    assert_eq!(borrowed[0].sequence, Some(103));
}

#[test]
fn allocated_without_a_user() {
    broken(&["leaked 10.0.0.2"], |it| {
        it.endpoints.remove(1);
    });
    broken(&["leaked 10.0.0.0"], |it| it.nodes[0].spec.bgp = None);
}

#[test]
fn used_without_an_allocation() {
    broken(&["unallocated 10.0.0.6"], |it| it.endpoints.push(endpoint("n2", "x", "c9", "10.0.0.6/32")));
    broken(&["outside 10.9.0.1"], |it| it.endpoints.push(endpoint("n2", "x", "c9", "10.9.0.1/32")));
    broken(&["outside 192.0.2.1"], |it| it.endpoints.push(endpoint("n2", "x", "c9", "192.0.2.1/32")));
    let text = "Workload(ns/x) has the address \"10.0.0\", which cannot be read";
    broken(&[text], |it| it.endpoints.push(endpoint("n2", "x", "c9", "10.0.0")));
}

#[test]
fn used_or_allocated_twice() {
    let harm = |it: &mut Snapshot| it.endpoints.push(endpoint("n1", "web2", "c1", "10.0.0.1/32"));
    broken(&["shared 10.0.0.1", "misheld 10.0.0.1: ns/web"], harm);
    broken(&["shared 10.0.0.2"], |it| it.endpoints.push(endpoint("n1", "", "c2", "10.0.0.2")));
    broken(&["doubled 10.0.0.2", "block 10.0.0.2/32 lies in block 10.0.0.0/30"], |it| {
        let mut inner = block("10.0.0.2/32", "host:n2");
        give(&mut inner, "net1.c2", "node=n1");
        it.blocks.push(inner);
        it.affinities.push((Owner::host("n2"), net("10.0.0.2/32"), AffinityState::Confirmed));
        it.handles[2] = handle("net1.c2", &[("10.0.0.0/30", 1), ("10.0.0.2/32", 1)]);
    });
}

#[test]
fn used_by_another_than_the_holder() {
    broken(&["misheld 10.0.0.2: node n1"], |it| it.endpoints[1].spec.node = "n2".to_owned());
    broken(&["misheld 10.0.0.2: handle net1.c2"], |it| it.endpoints[1].spec.container_id = "c7".to_owned());
    broken(&["misheld 10.0.0.3: ns/db"], |it| it.endpoints[2].spec.pod = "cache".to_owned());
    broken(&["leaked 10.0.0.0", "shared 10.0.0.1", "misheld 10.0.0.1: pod ns/web"], |it| {
        it.nodes[0].spec.bgp.as_mut().unwrap().ipv4_ipip_tunnel_addr = "10.0.0.1".to_owned();
    });
    broken(&["misheld 10.0.0.0: ipipTunnelAddress of node n1"], |it| {
        it.nodes[0].spec.bgp = None;
        it.endpoints.push(endpoint("n1", "x", "c9", "10.0.0.0/32"));
    });
}

#[test]
fn handles_that_do_not_fit() {
    broken(&["idle net1.c8"], |it| it.handles.push(handle("net1.c8", &[("10.0.0.0/30", 1)])));
    broken(&["missing net1.c2"], |it| {
        it.handles.remove(2);
    });
    let few = "net1.c2 counts 0 IPs in block 10.0.0.0/30, but holds 1";
    let many = "net1.c2 counts 2 IPs in block 10.0.0.4/30, but holds 0";
    broken(&[few, many], |it| it.handles[2] = handle("net1.c2", &[("10.0.0.4/30", 2)]));
}

#[test]
fn blocks_that_contradict_themselves() {
    broken(&["block 10.0.0.4/30 neither allocates nor offers 10.0.0.6"], |it| {
        it.blocks[1].unallocated.retain(|ordinal| *ordinal != 2);
    });
    broken(&["block 10.0.0.4/30 offers 10.0.0.4 twice"], |it| it.blocks[1].unallocated.push(0));
    broken(&["block 10.0.0.4/30 offers the address number 4, which it does not have"], |it| {
        it.blocks[1].unallocated.push(4);
    });
    broken(&["block 10.0.0.0/30 offers 10.0.0.3, which is allocated"], |it| it.blocks[0].unallocated.push(3));
    broken(&["block 10.0.0.4/30 records 3 addresses instead of 4"], |it| {
        it.blocks[1].allocations.pop();
    });
    let text = "block 10.0.0.0/30 does not say who holds 10.0.0.3";
    broken(&["idle k8s-pod-network.c3", text], |it| {
        it.blocks[0].attributes.pop();
    });
}

#[test]
fn blocks_and_affinities_that_disagree() {
    broken(&["block 10.0.0.4/30 names host:n2 as its owner, who has no affinity for it"], |it| {
        it.affinities.pop();
    });
    broken(&["host:n2 has an affinity for block 10.0.0.4/30, which does not exist"], |it| {
        it.blocks.pop();
    });
    let extra =
        |it: &mut Snapshot| it.affinities.push((Owner::host("n1"), net("10.0.0.4/30"), AffinityState::Confirmed));
    broken(&["host:n1 has an affinity for block 10.0.0.4/30, which names host:n2 as its owner"], extra);
    broken(&["host:n2 has an affinity for block 10.0.0.4/30, but there is no such node"], |it| {
        it.nodes.pop();
    });
    for state in [AffinityState::Pending, AffinityState::PendingDeletion] {
        broken(&[], |it| it.affinities.push((Owner::host("n1"), net("10.0.0.8/30"), state)));
    }
}

#[test]
fn what_is_taken_at_its_word() {
    let harm = |handle_id: &'static str, attributes: &'static str| {
        move |it: &mut Snapshot| {
            give(&mut it.blocks[1], handle_id, attributes);
            it.handles.push(handle(handle_id, &[("10.0.0.4/30", 1)]));
        }
    };
    broken(&[], harm("lb-1", "type=LoadBalancer namespace=ns service=s"));
    broken(&[], |it| give(&mut it.blocks[1], "windows-reserved-ipam-handle", "note=x"));
    let machine = harm("k8s-pod-network.vmi.m", "node=n2 vmi-name=m pod=virt namespace=ns");
    broken(&[], |it| {
        machine(it);
        it.endpoints.push(endpoint("n2", "virt", "c9", "10.0.0.4/32"));
    });
    // every kind of tunnel address is used by its node
    for set in [
        (|spec| spec.ipv4_vxlan_tunnel_addr = "10.0.0.4".to_owned()) as fn(&mut NodeSpec),
        |spec| spec.ipv6_vxlan_tunnel_addr = "10.0.0.4/32".to_owned(),
        |spec| {
            let wireguard = spec.wireguard.get_or_insert_with(NodeWireguardSpec::default);
            wireguard.interface_ipv4_address = "10.0.0.4".to_owned();
        },
        |spec| {
            let wireguard = spec.wireguard.get_or_insert_with(NodeWireguardSpec::default);
            wireguard.interface_ipv6_address = "10.0.0.4".to_owned();
        },
    ] {
        broken(&[], |it| {
            harm("t", "node=n2 type=vxlanTunnelAddress")(it);
            set(&mut it.nodes[1].spec);
        });
    }
}

/// What cannot be read is named, and what it may say is not judged.
#[test]
fn nothing_is_judged_by_what_cannot_be_read() {
    use api::event::{Key, OwnerType, Unreadable};
    use api::resource::Kind;
    let endpoint = Key::namespaced(Kind::WorkloadEndpoint, "ns", "web");
    let affinity = Key::Affinity { owner_type: OwnerType::Host, owner: "n1".to_owned(), block: net("10.0.0.0/30") };
    type Lose = fn(&mut Snapshot);
    let cases: [(Key, Lose, usize); 6] = [
        (endpoint, |it| it.endpoints.retain(|endpoint| endpoint.metadata.name != "web"), 1),
        (Key::global(Kind::Node, "n1"), |it| it.nodes.retain(|node| node.metadata.name != "n1"), 1),
        (Key::global(Kind::IPPool, "pool"), |it| it.pools.clear(), 0),
        (Key::Block(net("10.0.0.0/30")), |it| it.blocks.retain(|block| block.cidr != net("10.0.0.0/30")), 0),
        (Key::Handle("net1.c2".to_owned()), |it| it.handles.retain(|handle| handle.id != "net1.c2"), 0),
        (affinity, |it| it.affinities.retain(|(_, block, _)| *block != net("10.0.0.0/30")), 0),
    ];
    for (key, lose, undecided) in cases {
        let mut snapshot = right();
        lose(&mut snapshot);
        snapshot.unreadable.push(Unreadable { key: key.clone(), reason: "spoilt".to_owned() });
        let findings = check(&snapshot);
        assert_eq!(findings.unread, snapshot.unreadable);
        assert_eq!(findings.problems(), 1, "{key:?}: {findings:#?}");
        assert_eq!(findings.undecided.len(), undecided, "{key:?}");
    }
}

/// Somebody whose address cannot be read may be the one who uses what seems to leak.
#[test]
fn nothing_leaks_while_a_users_address_cannot_be_read() {
    let mut snapshot = right();
    snapshot.endpoints[0].spec.ip_networks = vec!["10.0.0.1/3x".to_owned()];
    let findings = check(&snapshot);
    assert_eq!((findings.leaked.len(), findings.undecided.len(), findings.problems()), (0, 1, 1));
}
