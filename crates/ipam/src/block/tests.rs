use super::*;
use proptest::prelude::*;

const SEQUENCE: u64 = 1_795_390_711_219_867_863;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn holder(handle: &str, timestamp: &str) -> Holder {
    let attributes = [("node", "node1"), ("timestamp", timestamp)];
    Holder {
        handle: Some(handle.to_owned()),
        attributes: attributes.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    }
}

fn small() -> Block {
    new(net("10.0.0.8/30"), "host:n", "2026-01-01T00:00:00Z", 100)
}

fn texts(nets: &[IpNet]) -> Vec<String> {
    nets.iter().map(IpNet::to_string).collect()
}

/// `first…63` as Go writes a list of numbers.
fn list(numbers: impl Iterator<Item = usize>) -> String {
    numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(",")
}

#[test]
fn stored_bytes_are_calicos() {
    // recorded from Calico v3.32.1: ADD of cid1, ADD of cid2, then DEL of cid1
    let mut block = new(net("10.244.166.128/26"), "host:node1", "2026-11-22T23:38:31Z", SEQUENCE);
    let head = r#"{"cidr":"10.244.166.128/26","affinity":"host:node1","affinity_claim_time":"2026-11-22T23:38:31Z","#;
    let nulls = |count: usize| vec!["null"; count].join(",");
    let cid1 = r#"{"handle_id":"net1.cid1","secondary":{"node":"node1","timestamp":"2026-11-22 23:38:31.208125312 +0000 UTC"}}"#;
    let cid2 = r#"{"handle_id":"net1.cid2","secondary":{"node":"node1","timestamp":"2026-11-22 23:38:31.919885024 +0000 UTC"}}"#;

    let taken = assign(&mut block, 1, &holder("net1.cid1", "2026-11-22 23:38:31.208125312 +0000 UTC"), &[]);
    assert_eq!(texts(&taken), ["10.244.166.128/26"]);
    let expect = format!(
        r#"{head}"allocations":[0,{}],"unallocated":[{}],"attributes":[{cid1}],"sequenceNumber":1795390711219867864,"sequenceNumberForAllocation":{{"0":1795390711219867863}},"deleted":false}}"#,
        nulls(63),
        list(1..64),
    );
    assert_eq!(serde_json::to_string(&block).unwrap(), expect);

    let taken = assign(&mut block, 1, &holder("net1.cid2", "2026-11-22 23:38:31.919885024 +0000 UTC"), &[]);
    assert_eq!(texts(&taken), ["10.244.166.129/26"]);
    let expect = format!(
        r#"{head}"allocations":[0,1,{}],"unallocated":[{}],"attributes":[{cid1},{cid2}],"sequenceNumber":1795390711219867865,"sequenceNumberForAllocation":{{"0":1795390711219867863,"1":1795390711219867864}},"deleted":false}}"#,
        nulls(62),
        list(2..64),
    );
    assert_eq!(serde_json::to_string(&block).unwrap(), expect);

    let ordinals = held_by(&block, "net1.cid1");
    release(&mut block, &ordinals, Sequence::Keep);
    let expect = format!(
        r#"{head}"allocations":[null,0,{}],"unallocated":[{},0],"attributes":[{cid2}],"sequenceNumber":1795390711219867866,"sequenceNumberForAllocation":{{"0":1795390711219867863,"1":1795390711219867864}},"deleted":false}}"#,
        nulls(62),
        list(2..64),
    );
    assert_eq!(serde_json::to_string(&block).unwrap(), expect);
}

#[test]
fn the_first_freed_is_the_first_given_again() {
    let mut block = small();
    let all = assign(&mut block, 9, &holder("h", "t"), &[]);
    assert_eq!(texts(&all), ["10.0.0.8/30", "10.0.0.9/30", "10.0.0.10/30", "10.0.0.11/30"]);
    release(&mut block, &[2, 0], Sequence::Forget);
    assert_eq!(block.unallocated, [2, 0]);
    assert_eq!(texts(&assign(&mut block, 1, &holder("h2", "t"), &[])), ["10.0.0.10/30"]);
    assert_eq!(texts(&assign(&mut block, 5, &holder("h3", "t"), &[])), ["10.0.0.8/30"]);
    assert_eq!(assign(&mut block, 1, &holder("h4", "t"), &[]), []);
}

#[test]
fn reserved_addresses_keep_their_place() {
    let mut block = small();
    let reserved = [net("10.0.0.8/31")];
    assert_eq!(free(&block, &reserved), 2);
    assert_eq!(texts(&assign(&mut block, 1, &holder("h", "t"), &reserved)), ["10.0.0.10/30"]);
    assert_eq!(block.unallocated, [0, 1, 3]);
    assert_eq!(texts(&assign(&mut block, 1, &holder("h", "t"), &[])), ["10.0.0.8/30"]);
}

#[test]
fn equal_holders_share_an_attribute() {
    let mut block = small();
    assign(&mut block, 1, &holder("h", "t"), &[]);
    assign(&mut block, 1, &holder("other", "t"), &[]);
    assign(&mut block, 1, &holder("h", "t"), &[]);
    assert_eq!(block.allocations, [Some(0), Some(1), Some(0), None]);
    assert_eq!(held_by(&block, "h"), [0, 2]);
    release(&mut block, &[0], Sequence::Keep);
    assert_eq!(block.allocations, [None, Some(1), Some(0), None]);
    release(&mut block, &[2], Sequence::Keep);
    assert_eq!(block.allocations, [None, Some(0), None, None]);
    assert_eq!(block.attributes.len(), 1);
    assert_eq!(handle_of(&block, 1), Some("other"));
}

#[test]
fn a_given_address_is_assigned_once() {
    let mut block = small();
    let holder = holder("h", "t");
    assert_eq!(assign_address(&mut block, ip("10.0.0.10"), &holder), Ok(()));
    assert_eq!(block.unallocated, [0, 1, 3]);
    assert_eq!(block.sequence_number_for_allocation, BTreeMap::from([("2".to_owned(), 100)]));
    assert_eq!(assign_address(&mut block, ip("10.0.0.10"), &holder), Err(AssignError::Taken));
    assert_eq!(assign_address(&mut block, ip("10.0.0.12"), &holder), Err(AssignError::Outside));
    assert_eq!(assign_address(&mut block, ip("fd00::1"), &holder), Err(AssignError::Outside));
    assert_eq!(block.sequence_number, 101);
}

#[test]
fn releasing_what_is_free_changes_nothing() {
    let mut block = small();
    let before = block.clone();
    release(&mut block, &[0, 3, 99], Sequence::Forget);
    assert_eq!(block, before);
}

#[test]
fn a_release_by_address_forgets_the_sequence_number() {
    for (sequence, expect) in [(Sequence::Forget, 0), (Sequence::Keep, 1)] {
        let mut block = small();
        assign(&mut block, 1, &holder("h", "t"), &[]);
        release(&mut block, &[0], sequence);
        assert_eq!(block.sequence_number_for_allocation.len(), expect);
        assert_eq!(block.sequence_number, 102);
        assert!(is_empty(&block));
    }
}

#[test]
fn a_disowned_block_keeps_its_holders() {
    let mut block = small();
    assign(&mut block, 1, &holder("h", "t"), &[]);
    disown(&mut block);
    assert_eq!(owner(&block), None);
    assert_eq!(block.affinity_claim_time, None);
    assert_eq!(held_by(&block, "h"), [0]);
}

#[test]
fn handles_end_at_a_carriage_return() {
    let mut block = small();
    assign(&mut block, 1, &holder("net1.cid1\r\n", "t"), &[]);
    assert_eq!(held_by(&block, "net1.cid1"), [0]);
}

#[test]
fn ipv6_ordinals() {
    let block = new(net("fd00:10:244:0:c11:b42f:f17e:a680/122"), "host:n", "t", 1);
    assert_eq!(block.unallocated.len(), 64);
    assert_eq!(address(&block, 5), ip("fd00:10:244:0:c11:b42f:f17e:a685"));
    assert_eq!(ordinal(&block, ip("fd00:10:244:0:c11:b42f:f17e:a6bf")), Some(63));
    assert_eq!(ordinal(&block, ip("fd00:10:244:0:c11:b42f:f17e:a6c0")), None);
}

#[derive(Clone, Debug)]
enum Step {
    Assign { wanted: usize, holder: usize },
    AssignAddress { ordinal: usize, holder: usize },
    Release(Vec<usize>),
    ReleaseHandle(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_usize..6, 0_usize..4).prop_map(|(wanted, holder)| Step::Assign { wanted, holder }),
        (0_usize..18, 0_usize..4).prop_map(|(ordinal, holder)| Step::AssignAddress { ordinal, holder }),
        proptest::collection::vec(0_usize..18, 0..6).prop_map(Step::Release),
        (0_usize..4).prop_map(Step::ReleaseHandle),
    ]
}

proptest! {
    #[test]
    fn no_address_is_lost_or_given_twice(v6: bool, steps in proptest::collection::vec(step(), 0..60)) {
        let mut block = new(net(if v6 { "fd00::10/124" } else { "10.0.0.16/28" }), "host:n", "t", 1);
        let mut held: BTreeMap<usize, usize> = BTreeMap::new();
        for step in steps {
            let before = block.sequence_number;
            match step {
                Step::Assign { wanted, holder: who } => {
                    let taken = assign(&mut block, wanted, &holder(&who.to_string(), "t"), &[]);
                    prop_assert_eq!(taken.len(), wanted.min(16 - held.len()));
                    for net in taken {
                        let ordinal = ordinal(&block, net.addr()).unwrap();
                        prop_assert_eq!(held.insert(ordinal, who), None, "given twice");
                    }
                }
                Step::AssignAddress { ordinal, holder: who } => {
                    let address = address(&block, ordinal);
                    let expect = match ordinal {
                        16.. => Err(AssignError::Outside),
                        _ if held.contains_key(&ordinal) => Err(AssignError::Taken),
                        _ => Ok(()),
                    };
                    prop_assert_eq!(assign_address(&mut block, address, &holder(&who.to_string(), "t")), expect);
                    if expect.is_ok() {
                        held.insert(ordinal, who);
                    }
                }
                Step::Release(ordinals) => {
                    release(&mut block, &ordinals, Sequence::Forget);
                    held.retain(|ordinal, _| !ordinals.contains(ordinal));
                }
                Step::ReleaseHandle(who) => {
                    let ordinals = held_by(&block, &who.to_string());
                    release(&mut block, &ordinals, Sequence::Keep);
                    held.retain(|_, holder| *holder != who);
                }
            }
            let allocated: BTreeSet<usize> = (0..16).filter(|ordinal| block.allocations[*ordinal].is_some()).collect();
            let unallocated: BTreeSet<usize> = block.unallocated.iter().copied().collect();
            prop_assert_eq!(unallocated.len(), block.unallocated.len(), "free twice");
            prop_assert!(allocated.is_disjoint(&unallocated));
            prop_assert_eq!(allocated.union(&unallocated).count(), 16);
            for (ordinal, who) in &held {
                let who = who.to_string();
                prop_assert_eq!(handle_of(&block, *ordinal), Some(who.as_str()));
            }
            prop_assert_eq!(allocated.len(), held.len());
            let used: BTreeSet<usize> = block.allocations.iter().flatten().copied().collect();
            prop_assert_eq!(used, (0..block.attributes.len()).collect::<BTreeSet<_>>(), "unused attributes");
            prop_assert!(block.sequence_number - before <= 1);
            prop_assert_eq!(is_empty(&block), held.is_empty());
        }
    }
}
