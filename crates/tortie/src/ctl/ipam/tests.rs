//! Whole ipam commands on a datastore in memory. Expectations are those recorded from calicoctl v3.32.1, except where
//! the test's name says that this command line is better.

mod check;
mod split;

use crate::ctl::tests::{Shell, object, pool};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Puts a raw value at a path below `/calico/ipam/v2/`, as Calico would.
fn put(shell: &Shell, path: &str, value: &Value) {
    shell.store.put_raw(&format!("/calico/ipam/v2/{path}"), value.to_string().as_bytes());
}

/// Puts a block of 64 in which each ordinal is held by a handle with attributes.
fn put_block(shell: &Shell, cidr: &str, affinity: &str, held: &[(usize, &str, Value)]) {
    let mut allocations = vec![Value::Null; 64];
    let mut sequence = BTreeMap::new();
    for (index, (ordinal, ..)) in held.iter().enumerate() {
        allocations[*ordinal] = json!(index);
        sequence.insert(ordinal.to_string(), 100 + index);
    }
    let unallocated: Vec<usize> = (0..64).filter(|ordinal| allocations[*ordinal].is_null()).collect();
    let attributes: Vec<Value> =
        held.iter().map(|(_, handle, attributes)| json!({"handle_id": handle, "secondary": attributes})).collect();
    let block = json!({
        "cidr": cidr, "affinity": affinity, "affinity_claim_time": "2026-11-22T23:38:31Z",
        "allocations": allocations, "unallocated": unallocated, "attributes": attributes,
        "sequenceNumber": 200, "sequenceNumberForAllocation": sequence, "deleted": false,
    });
    let family = if cidr.contains(':') { "ipv6" } else { "ipv4" };
    put(shell, &format!("assignment/{family}/block/{}", cidr.replace('/', "-")), &block);
}

/// The books of the recorded cluster: 13 addresses in one block, one in another, one of IPv6.
fn recorded() -> Shell {
    let shell = Shell::new();
    shell.run("create -f -", &pool("default-ipv4-ippool", "10.244.0.0/16"));
    shell.run("create -f -", &pool("p6", "fd00:10:244::/64"));
    let node = || json!({"node": "node1"});
    let held: Vec<(usize, &str, Value)> = (0..13).map(|ordinal| (ordinal, "net1.cid", node())).collect();
    put_block(&shell, "10.244.166.128/26", "host:node1", &held);
    let attributes = json!({"node": "node1", "timestamp": "2026-11-22 23:38:33.060555313 +0000 UTC"});
    put_block(&shell, "10.244.7.0/26", "host:node1", &[(7, "net1.cid6", attributes)]);
    put_block(&shell, "fd00:10:244:0:c11:b42f:f17e:a680/122", "host:node1", &[(0, "net1.cid11", node())]);
    shell
}

#[test]
fn pools_and_blocks() {
    let shell = recorded();
    shell.ok(
        "ipam show",
        "",
        "\
+----------+------------------+------------+------------+-------------------+
| GROUPING |       CIDR       | IPS TOTAL  | IPS IN USE |     IPS FREE      |
+----------+------------------+------------+------------+-------------------+
| IP Pool  | 10.244.0.0/16    |      65536 | 14 (0%)    | 65522 (100%)      |
| IP Pool  | fd00:10:244::/64 | 1.8447e+19 | 1 (0%)     | 1.8447e+19 (100%) |
+----------+------------------+------------+------------+-------------------+
",
    );
    shell.ok(
        "ipam show --show-blocks",
        "",
        "\
+----------+--------------------------------------+------------+------------+-------------------+
| GROUPING |                 CIDR                 | IPS TOTAL  | IPS IN USE |     IPS FREE      |
+----------+--------------------------------------+------------+------------+-------------------+
| IP Pool  | 10.244.0.0/16                        |      65536 | 14 (0%)    | 65522 (100%)      |
| Block    | 10.244.166.128/26                    |         64 | 13 (20%)   | 51 (80%)          |
| Block    | 10.244.7.0/26                        |         64 | 1 (2%)     | 63 (98%)          |
| IP Pool  | fd00:10:244::/64                     | 1.8447e+19 | 1 (0%)     | 1.8447e+19 (100%) |
| Block    | fd00:10:244:0:c11:b42f:f17e:a680/122 |         64 | 1 (2%)     | 63 (98%)          |
+----------+--------------------------------------+------------+------------+-------------------+
",
    );
    let empty = Shell::new();
    empty.ok(
        "ipam show",
        "",
        "\
+----------+------+-----------+------------+----------+
| GROUPING | CIDR | IPS TOTAL | IPS IN USE | IPS FREE |
+----------+------+-----------+------------+----------+
+----------+------+-----------+------------+----------+
",
    );
}

#[test]
fn who_holds_an_address() {
    let shell = recorded();
    shell.ok(
        "ipam show --ip=10.244.7.7",
        "",
        "IP 10.244.7.7 is in use\nHandle ID: net1.cid6\nActive Owner Attributes:\n  node: node1\n  \
         timestamp: 2026-11-22 23:38:33.060555313 +0000 UTC\n",
    );
    shell.ok("ipam show --ip=10.244.99.99", "", "10.244.99.99 is not assigned\n");
    shell.ok("ipam show --ip 192.0.2.1", "", "192.0.2.1 is not assigned\n");
    shell.fails("ipam show --ip=foo", "", "Error executing command: invalid IP address specified: foo\n");
    put_block(&shell, "10.244.8.0/26", "host:node1", &[(0, "h", Value::Null)]);
    shell.ok(
        "ipam show --ip=10.244.8.0",
        "",
        "IP 10.244.8.0 is in use\nHandle ID: h\nNo Active Owner attributes defined\n",
    );
}

#[test]
fn borrowed_addresses() {
    let shell = recorded();
    shell.ok(
        "ipam show --show-borrowed",
        "",
        "\
+----+----------------+-------+-------------+------+--------------+
| IP | BORROWING-NODE | BLOCK | BLOCK OWNER | TYPE | ALLOCATED-TO |
+----+----------------+-------+-------------+------+--------------+
+----+----------------+-------+-------------+------+--------------+
",
    );
    let held = [
        (0, "a", json!({"node": "node2", "pod": "web", "namespace": "shop"})),
        (1, "b", json!({"node": "node2", "type": "ipipTunnelAddress"})),
        (2, "c", json!({"node": "node1"})),
        (3, "d", json!({})),
    ];
    put_block(&shell, "10.244.8.0/26", "host:node1", &held);
    shell.ok(
        "ipam show --show-borrowed",
        "",
        "\
+------------+----------------+---------------+-------------+-------------------+--------------+
|     IP     | BORROWING-NODE |     BLOCK     | BLOCK OWNER |       TYPE        | ALLOCATED-TO |
+------------+----------------+---------------+-------------+-------------------+--------------+
| 10.244.8.0 | node2          | 10.244.8.0/26 | node1       | pod               | shop/web     |
| 10.244.8.1 | node2          | 10.244.8.0/26 | node1       | ipipTunnelAddress |              |
+------------+----------------+---------------+-------------+-------------------+--------------+

Note: found 1 IP allocations without an explicit node association. Unable to determine if they are borrowed.
",
    );
}

#[test]
fn the_configuration_is_shown_better_as_words() {
    let shell = recorded();
    shell.ok(
        "ipam show --show-configuration",
        "",
        "\
+------------------------------+---------+
|           PROPERTY           |  VALUE  |
+------------------------------+---------+
| StrictAffinity               | false   |
| AutoAllocateBlocks           | true    |
| MaxBlocksPerHost             |       0 |
| KubeVirtVMAddressPersistence | Enabled |
+------------------------------+---------+
",
    );
    assert_eq!(config(&shell), r#"{"auto_allocate_blocks":true,"kubeVirtVMAddressPersistence":"Enabled"}"#);
}

fn config(shell: &Shell) -> String {
    shell.store.dump().remove("/calico/ipam/v2/config").unwrap_or_default()
}

#[test]
fn configure() {
    let shell = recorded();
    shell.fails("ipam configure", "", "at least one configuration option must be specified\n");
    let reason = "invalid value. Use true or false to set strictaffinity\n";
    shell.fails("ipam configure --strictaffinity=foo", "", reason);
    shell.fails(
        "ipam configure --strictaffinity=true --max-blocks-per-host=-1",
        "",
        "invalid value for maxblockhost. Use a valid number\n",
    );
    assert_eq!(config(&shell), "", "nothing is written");
    shell.fails(
        "ipam configure --strictaffinity=false --max-blocks-per-host=3",
        "",
        "error: MaxBlocksPerHost requires StrictAffinity to be enabled\n",
    );
    assert_eq!(config(&shell), r#"{"auto_allocate_blocks":true,"kubeVirtVMAddressPersistence":"Enabled"}"#);
    shell.ok("ipam configure --strictaffinity=true", "", "Successfully set StrictAffinity to: true\n");
    assert_eq!(
        config(&shell),
        r#"{"strict_affinity":true,"auto_allocate_blocks":true,"kubeVirtVMAddressPersistence":"Enabled"}"#
    );
    shell.ok("ipam configure --max-blocks-per-host=3", "", "Successfully set MaxBlocksPerHost to: 3\n");
    let output = shell.run("ipam configure --kubevirt-ip-persistence=Disabled", "");
    assert_eq!(output.stdout, "Successfully set KubeVirtVMAddressPersistence to: Disabled\n");
    assert_eq!(output.stderr, "warning: kubeVirtVMAddressPersistence is stored but not acted on yet\n");
    assert!(config(&shell).contains(r#""maxBlocksPerHost":3,"kubeVirtVMAddressPersistence":"Disabled""#));
}

#[test]
fn release_an_address() {
    let shell = recorded();
    shell.run("create -f -", &object("Node", "node1", "{}"));
    put(&shell, "handle/net1.cid6", &json!({"block": {"10.244.7.0/26": 1}, "deleted": false}));
    shell.ok("ipam release --ip=10.244.7.7", "", "Successfully released IP address 10.244.7.7\n");
    assert!(!shell.store.dump().contains_key("/calico/ipam/v2/handle/net1.cid6"));
    shell.fails("ipam release --ip=10.244.7.7", "", "IP address 10.244.7.7 is not assigned\n");
    shell.fails("ipam release --ip=foo", "", "Error executing command: invalid IP address specified: foo\n");
}

#[test]
fn wrong_usage_says_how() {
    let shell = Shell::new();
    for (command, expect) in [
        ("ipam", "Usage:\n  calicoctl ipam <command> [<args>...]\n"),
        ("ipam show --frobnicate", "Usage:\n  calicoctl ipam show [--ip=<IP> | --show-blocks | "),
        ("ipam show --show-blocks --ip=10.0.0.1", "Usage:\n  calicoctl ipam show [--ip=<IP> | --show-blocks | "),
        ("ipam release --ip=10.0.0.1 --from-report=x", "[--ip=<IP>] [--from-report=<REPORT>]..."),
        (
            "ipam release",
            "Usage:\n  calicoctl ipam release [--ip=<IP>] [--from-report=<REPORT>]... [--config=<CONFIG>]",
        ),
    ] {
        let output = shell.run(command, "");
        assert_eq!((output.code, output.stdout.as_str()), (1, ""), "{command}");
        assert!(output.stderr.contains(expect), "{command}: {}", output.stderr);
    }
    let help = shell.run("ipam show --help", "");
    assert!(help.stdout.contains("Examples:\n  calicoctl ipam show\n"), "{}", help.stdout);
}
