//! ipam check, and ipam release from its reports. The sections and their words are calicoctl's; what it does not judge
//! comes after them.

use super::{put, put_block};
use crate::ctl::Output;
use crate::ctl::tests::{Shell, object, pool};
use serde_json::{Value, json};
use std::path::Path;

const BLOCK: &str = "10.244.7.0/26";

fn put_handle(shell: &Shell, id: &str, count: u64) {
    put(shell, &format!("handle/{id}"), &json!({"block": {BLOCK: count}, "deleted": false}));
}

fn put_endpoint(shell: &Shell, container: &str, address: &str) {
    let spec = format!(
        "{{orchestrator: cni, node: node1, containerID: {container}, endpoint: eth0, interfaceName: cali{container}, \
         ipNetworks: [{address}/32]}}"
    );
    let name = format!("node1-cni-{container}-eth0");
    let output = shell.run("create -f -", &object("WorkloadEndpoint", &name, &spec));
    assert_eq!(output.stdout, "Successfully created 1 'WorkloadEndpoint' resource(s)\n", "{}", output.stderr);
}

/// A node with a tunnel address and two containers, all in one block.
fn right() -> Shell {
    let shell = Shell::new();
    shell.run("create -f -", &pool("default-ipv4-ippool", "10.244.0.0/16"));
    shell.run("create -f -", &pool("off", "10.9.0.0/16").replace("{cidr", "{disabled: true, cidr"));
    let spec = "{bgp: {ipv4Address: 192.0.2.1/24, ipv4IPIPTunnelAddr: 10.244.7.0}}";
    shell.run("create -f -", &object("Node", "node1", spec));
    put_handle(&shell, "ipip-tunnel-addr-node1", 1);
    put_handle(&shell, "net1.cid1", 1);
    put_handle(&shell, "net1.cid2", 1);
    put_endpoint(&shell, "cid1", "10.244.7.1");
    put_endpoint(&shell, "cid2", "10.244.7.2");
    let held = [
        (0, "ipip-tunnel-addr-node1", json!({"node": "node1", "type": "ipipTunnelAddress"})),
        (1, "net1.cid1", json!({"node": "node1", "timestamp": "2026-11-22 23:38:31.208125312 +0000 UTC"})),
        (2, "net1.cid2", json!({"node": "node1"})),
    ];
    put_block(&shell, BLOCK, "host:node1", &held);
    put(&shell, "host/node1/ipv4/block/10.244.7.0-26", &json!({"state": "confirmed", "deleted": false}));
    shell
}

/// As [`right`], and a container that went away without giving back its address, and a handle of nothing.
fn leaky() -> Shell {
    let shell = right();
    shell.run("delete wep node1-cni-cid2-eth0", "");
    put_handle(&shell, "net1.cid9", 1);
    shell
}

const RIGHT: &str = "\
Checking IPAM for inconsistencies...

Loading all IPAM blocks...
Found 1 IPAM blocks.
 IPAM block 10.244.7.0/26 affinity=host:node1:
IPAM blocks record 3 allocations.

Loading all IPAM pools...
  10.244.0.0/16
Found 1 active IP pools.

Loading all nodes.
Found 1 node tunnel IPs.

Loading all service load balancer IPs.
Found 0 service load balancer.

Loading all workload endpoints.
Found 2 workload IPs.
Workloads and nodes are using 3 IPs.

Loading all handles
Looking for top (up to 20) nodes by allocations...
  node1 has 3 allocations
Node with most allocations has 3; median is 3

Scanning for IPs that are allocated but not actually in use...
Found 0 IPs that are allocated in IPAM but not actually in use.
Scanning for IPs that are in use by a workload or node but not allocated in IPAM...
Found 0 in-use IPs that are not in active IP pools.
Found 0 in-use IPs that are in active IP pools but have no corresponding IPAM allocation.

Scanning for IPAM handles with no matching IPs...
Found 0 handles with no matching IPs (and 3 handles with matches).
Scanning for IPs with missing handle...
Found 0 handles mentioned in blocks with no matching handle resource.
Scanning for IPs with multiple owners...
Found 0 IPs that are in use by more than one workload or node.
Found 0 IPs that are allocated more than once.
Found 0 IPs that are in use by another than they are allocated to.
Scanning for handles, blocks and affinities that disagree...
Found 0 wrong counts in handles.
Found 0 faults in blocks.
Found 0 affinities that do not match their blocks.
Found 0 addresses that cannot be read.
Check complete; found 0 problems.
";

#[test]
fn right_books() {
    let shell = right();
    shell.ok("ipam check", "", RIGHT);
    shell.ok("ipam check --show-problem-ips", "", RIGHT);
    let all = RIGHT
        .replace(
            "affinity=host:node1:\n",
            "affinity=host:node1:\n  10.244.7.0 allocated; attrs Main:ipip-tunnel-addr-node1 \
             Extra:node=node1,type=ipipTunnelAddress\n  10.244.7.1 allocated; attrs Main:net1.cid1 \
             Extra:node=node1,timestamp=2026-11-22 23:38:31.208125312 +0000 UTC\n  10.244.7.2 allocated; attrs \
             Main:net1.cid2 Extra:node=node1\n",
        )
        .replace("nodes.\n", "nodes.\n  10.244.7.0 belongs to Node(node1)\n")
        .replace(
            "endpoints.\n",
            "endpoints.\n  10.244.7.1 belongs to Workload(default/node1-cni-cid1-eth0)\n  10.244.7.2 belongs to \
             Workload(default/node1-cni-cid2-eth0)\n",
        );
    shell.ok("ipam check --show-all-ips", "", &all);
}

/// The lines that two texts do not have in common.
fn difference(before: &str, after: &str) -> Vec<String> {
    after.lines().filter(|line| !before.lines().any(|other| other == *line)).map(str::to_owned).collect()
}

#[test]
fn each_problem_has_its_line() {
    let shell = leaky();
    put_endpoint(&shell, "cid3", "10.244.7.3");
    put_endpoint(&shell, "cid4", "10.9.0.1");
    put_endpoint(&shell, "cid5", "10.244.7.1");
    put_handle(&shell, "net1.cid1", 2);
    shell.store.put_raw("/calico/ipam/v2/host/node1/ipv4/block/10.244.8.0-26", b"{}");
    let output = shell.run("ipam check --show-problem-ips", "");
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "as calicoctl's");
    assert_eq!(
        difference(RIGHT, &output.stdout),
        [
            "Found 4 workload IPs.",
            "Workloads and nodes are using 4 IPs.",
            "  10.244.7.2 leaked; attrs Main:net1.cid2 Extra:node=node1",
            "Found 1 IPs that are allocated in IPAM but not actually in use.",
            "  10.9.0.1 in use by Workload(default/node1-cni-cid4-eth0) is not in any active IP pool.",
            "  10.244.7.3 in use by Workload(default/node1-cni-cid3-eth0) and in active IPAM pool but has no IPAM \
             allocation.",
            "Found 1 in-use IPs that are not in active IP pools.",
            "Found 1 in-use IPs that are in active IP pools but have no corresponding IPAM allocation.",
            "  net1.cid9 doesn't have any active IPs.",
            "Found 1 handles with no matching IPs (and 3 handles with matches).",
            "  10.244.7.1 has multiple owners: Workload(default/node1-cni-cid1-eth0), \
             Workload(default/node1-cni-cid5-eth0).",
            "Found 1 IPs that are in use by more than one workload or node.",
            "  10.244.7.1 in use by Workload(default/node1-cni-cid1-eth0), Workload(default/node1-cni-cid5-eth0) is \
             allocated to handle net1.cid1.",
            "Found 1 IPs that are in use by another than they are allocated to.",
            "  net1.cid1 counts 2 IPs in block 10.244.7.0/26, but holds 1",
            "Found 1 wrong counts in handles.",
            "  host:node1 has an affinity for block 10.244.8.0/26, which does not exist",
            "Found 1 affinities that do not match their blocks.",
            "Check complete; found 8 problems.",
        ]
    );
    let counts = shell.run("ipam check", "").stdout;
    assert!(!counts.contains("leaked;") && counts.ends_with("found 8 problems.\n"), "{counts}");
}

#[test]
fn what_is_not_looked_at_is_said() {
    let shell = right();
    let held = [(0, "lb-x", json!({"type": "LoadBalancer", "namespace": "shop", "service": "front"}))];
    put_block(&shell, "10.244.9.0/26", "virtual:load-balancer", &held);
    put(&shell, "virtual/load-balancer/ipv4/block/10.244.9.0-26", &json!({"state": "confirmed"}));
    put(&shell, "handle/lb-x", &json!({"block": {"10.244.9.0/26": 1}}));
    let output = shell.run("ipam check --kubeconfig=/etc/kubeconfig --show-all-ips", "");
    assert_eq!(
        output.stderr,
        "warning: --kubeconfig is accepted but not acted on yet: Kubernetes is not asked\n\
         warning: services are not read: their 1 IPs are taken to be in use\n"
    );
    let text = "IPs.\n  10.244.9.0 belongs to Service(shop/front)\nFound 1 service load balancer.\n";
    assert!(output.stdout.contains(text) && output.stdout.ends_with("found 0 problems.\n"), "{}", output.stdout);
}

fn report(shell: &Shell, name: &str) -> Value {
    let output = shell.run(&format!("ipam check -o @/{name}"), "");
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    read(&shell.folder.path().join(name))
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).expect("a report")).expect("JSON")
}

#[test]
fn the_report() {
    let shell = leaky();
    let mut report = report(&shell, "r.json");
    for (name, kind) in [("clusterGUID", 32), ("clusterInformationRevision", 1)] {
        let text = report[name].take();
        assert_eq!(text.as_str().map(str::len), Some(kind), "{name}: {text}");
    }
    let handle = report["leakedHandles"][0]["Revision"].take();
    assert!(handle.as_str().is_some_and(|revision| revision.parse::<u64>().is_ok()), "{handle}");
    let expect = json!({
        "version": "v3.32.1", "clusterGUID": null, "datastoreLocked": false, "clusterInformationRevision": null,
        "clusterType": "",
        "allocations": {
            "10.244.7.0": [{
                "ip": "10.244.7.0", "handle": "ipip-tunnel-addr-node1", "sequenceNumber": 100, "node": "node1",
                "type": "ipipTunnelAddress", "inUse": true, "owners": ["Node(node1)"],
            }],
            "10.244.7.1": [{
                "ip": "10.244.7.1", "handle": "net1.cid1", "sequenceNumber": 101, "node": "node1",
                "creationTimestamp": "2026-11-22 23:38:31.208125312 +0000 UTC", "inUse": true,
                "owners": ["Workload(default/node1-cni-cid1-eth0)"],
            }],
            "10.244.7.2": [{
                "ip": "10.244.7.2", "handle": "net1.cid2", "sequenceNumber": 102, "node": "node1", "inUse": false,
                "owners": null,
            }],
        },
        "leakedHandles": [{"ID": "net1.cid9", "UID": null, "Revision": null}],
    });
    assert_eq!(report, expect);
}

fn mended(leaks: &str, handles: &str) -> Output {
    let stdout = format!(
        "WARNING: Data store is not locked. Ignoring due to --force option\n{leaks}{handles}You may now unlock the \
         data store.\n"
    );
    Output { stdout, ..Output::default() }
}

const ONE_IP: &str = "Releasing 1 old IPs...\nReleased 1 IPs successfully\n";
const NO_IP: &str = "Report didn't contain any leaked IPs to clean up.\n";
const NO_HANDLE: &str = "Report didn't contain any handles to clean up.\n";

fn one_handle(mark: char, counts: &str) -> String {
    format!("Deleting 1 handles...\nKey: '.' = Deleted OK; 'x' = skip, handle missing/changed.\n{mark}\n{counts}\n")
}

#[test]
fn release_what_a_report_calls_leaked() {
    let shell = leaky();
    report(&shell, "r.json");
    let reason = "data store is not locked. Either lock the data store, or re-run with --force\n";
    shell.fails("ipam release --from-report=@/r.json", "", reason);
    let handles = one_handle('.', "Released 1 handles; 0 skipped; 0 errors.");
    assert_eq!(shell.run("ipam release --from-report=@/r.json --force", ""), mended(ONE_IP, &handles));
    let clean = shell.run("ipam check", "").stdout;
    assert!(clean.ends_with("Check complete; found 0 problems.\n"), "{clean}");

    let gone = "Releasing 1 old IPs...\nReleased 0 IPs successfully\n1 addresses marked as leaked in the report had \
                already been cleaned up.\n";
    let handles = one_handle('x', "Released 0 handles; 1 skipped; 0 errors.");
    assert_eq!(shell.run("ipam release --from-report=@/r.json --force", ""), mended(gone, &handles));
    report(&shell, "clean.json");
    let output = shell.run("ipam release --from-report=@/clean.json --force", "");
    assert_eq!(output, mended(NO_IP, NO_HANDLE));
}

#[test]
fn only_what_all_reports_agree_on() {
    let shell = leaky();
    report(&shell, "early.json");
    // the address is given out anew, to a container whose endpoint is not there yet
    let held = [
        (0, "ipip-tunnel-addr-node1", json!({"node": "node1", "type": "ipipTunnelAddress"})),
        (1, "net1.cid1", json!({"node": "node1"})),
        (2, "net1.cid6", json!({"node": "node1"})),
    ];
    put_block(&shell, BLOCK, "host:node1", &held);
    put_handle(&shell, "net1.cid6", 1);
    put_handle(&shell, "net1.cid9", 1);
    report(&shell, "late.json");
    let output = shell.run("ipam release --from-report=@/early.json --from-report=@/late.json --force", "");
    // the first container's handle is idle in the later report alone, and cid9's has changed in between
    assert_eq!(output, mended(NO_IP, NO_HANDLE));
    // a report from before the change does not release what another holds
    let output = shell.run("ipam release --from-report=@/early.json --force", "");
    assert_eq!(output.code, 1);
    let reason = "An error occurred while releasing some IPs: update conflict: 10.244.7.2: held by handle \
                  net1.cid6, not net1.cid2.";
    assert!(output.stderr.starts_with(reason), "{}", output.stderr);
    assert!(output.stdout.contains("\nx\nReleased 0 handles; 1 skipped; 0 errors.\n"), "{}", output.stdout);
    assert!(!output.stdout.contains("unlock"), "{}", output.stdout);
}

#[test]
fn reports_that_do_not_fit() {
    let shell = leaky();
    let right = report(&shell, "r.json");
    let path = |name: &str| shell.folder.path().join(name).display().to_string();
    let change = |name: &str, field: &str, value: &str| {
        let mut changed = right.clone();
        changed[field] = json!(value);
        shell.write(name, &changed.to_string());
    };
    change("other.json", "clusterGUID", "x");
    change("old.json", "version", "v3.20.0");
    change("stale.json", "clusterInformationRevision", "0");
    shell.write("broken.json", "{");
    for (name, expect) in [
        (
            "other.json",
            format!("cluster does not match the provided report ({}): mismatched cluster GUID. Refusing to release\n", path("other.json")),
        ),
        (
            "old.json",
            format!(
                "the provided report ({}) was produced using a different version (v3.20.0) of calicoctl. Refusing to release\n",
                path("old.json")
            ),
        ),
        (
            "stale.json",
            "the provided reports are all stale - at least one should be up-to-date. Please generate a new report while the data store is locked and try again\n".to_owned(),
        ),
    ] {
        shell.fails(&format!("ipam release --from-report=@/{name}"), "", &expect);
    }
    shell.fails(
        "ipam release --force --from-report=@/other.json",
        "",
        &format!(
            "cluster does not match the provided report ({}): mismatched cluster GUID. Refusing to release\n",
            path("other.json")
        ),
    );
    for name in ["broken.json", "missing.json"] {
        let output = shell.run(&format!("ipam release --from-report=@/{name}"), "");
        assert!(output.code == 1 && output.stderr.starts_with(&format!("read report {}: ", path(name))), "{output:?}");
    }
    let output = shell.run("ipam release --force --from-report=@/old.json", "");
    let text = "WARNING: Report was produced using a different version of calicoctl. Ignoring due to --force option\n";
    assert!(output.code == 0 && output.stdout.starts_with(text), "{output:?}");
}

const WEP: &str = "/calico/resources/v3/projectcalico.org/workloadendpoints/default/node1-cni-cid2-eth0";
const STORED_BLOCK: &str = "/calico/ipam/v2/assignment/ipv4/block/10.244.7.0-26";

/// Better than calicoctl, which passes over what it cannot read and calls the address leaked.
#[test]
fn what_cannot_be_read_is_neither_judged_nor_released() {
    for (path, undecided) in [(WEP, 1), (STORED_BLOCK, 0)] {
        let shell = right();
        shell.store.put_raw(path, b"{");
        let output = shell.run("ipam check --show-problem-ips -o @/r.json", "");
        assert_eq!(output.code, 1);
        let reason = format!("{path}: stored value cannot be read: EOF while parsing an object at line 1 column 1\n");
        let text = format!(
            "{reason}The check could not judge what these objects say: repair or delete them and check again. No \
             report is written.\n"
        );
        assert_eq!(output.stderr, text);
        assert!(!shell.folder.path().join("r.json").exists());
        let judged = format!("Could not judge {undecided} IPs: somebody who may use them cannot be read.\n");
        assert_eq!(output.stdout.contains(&judged), undecided > 0, "{}", output.stdout);
        assert!(output.stdout.contains("Found 0 IPs that are allocated in IPAM but not actually"), "{}", output.stdout);
        assert!(output.stdout.contains(&format!("  {path} cannot be read.\nFound 1 objects")), "{}", output.stdout);
        assert!(output.stdout.ends_with("found 1 problems.\n"), "{}", output.stdout);
    }
}

/// A report from before, and an object that is spoilt since.
#[test]
fn a_report_is_refused_while_something_cannot_be_read() {
    for (path, last) in [(WEP.replace("cid2", "cid1"), "cid1-eth0"), (STORED_BLOCK.to_owned(), "10.244.7.0-26")] {
        let shell = leaky();
        report(&shell, "r.json");
        shell.store.put_raw(&path, b"[]");
        let before = shell.store.dump();
        let output = shell.run("ipam release --from-report=@/r.json --force", "");
        assert_eq!((output.code, output.stdout.as_str()), (1, ""));
        assert!(output.stderr.contains(&format!("{last}: stored value cannot be read: ")), "{}", output.stderr);
        assert!(output.stderr.ends_with("is not known. Refusing to release\n"), "{}", output.stderr);
        assert_eq!(shell.store.dump(), before);
    }
}

/// An object that can be read, with an address that cannot.
#[test]
fn nothing_is_released_by_a_check_that_could_not_read_an_address() {
    let shell = leaky();
    report(&shell, "before.json");
    let spoilt = shell
        .store
        .dump()
        .into_iter()
        .find(|(key, _)| key.contains("workloadendpoints") && key.contains("cid1"))
        .expect("an endpoint");
    let value = spoilt.1.replace("10.244.7.1/32", "10.244.7.1/3x");
    assert_ne!(value, spoilt.1);
    shell.store.put_raw(&spoilt.0, value.as_bytes());
    let output = shell.run("ipam check -o @/r.json", "");
    assert_eq!(output.code, 1, "{output:?}");
    assert!(
        output.stderr.contains("10.244.7.1/3x") && output.stderr.ends_with("No report is written.\n"),
        "{output:?}"
    );
    assert!(!shell.folder.path().join("r.json").exists());
    let before = shell.store.dump();
    let output = shell.run("ipam release --from-report=@/before.json --force", "");
    assert_eq!((output.code, output.stdout.as_str()), (1, ""));
    assert!(output.stderr.ends_with("is not known. Refusing to release\n"), "{output:?}");
    assert_eq!(shell.store.dump(), before);
}

#[test]
fn show_names_what_it_could_not_count() {
    let shell = right();
    shell.store.put_raw(STORED_BLOCK, b"{");
    for command in ["ipam show", "ipam show --show-blocks", "ipam show --show-borrowed"] {
        let output = shell.run(command, "");
        assert_eq!(output.code, 0, "{command}");
        assert!(output.stderr.starts_with(&format!("{STORED_BLOCK}: stored value cannot be read: ")), "{output:?}");
        assert!(output.stdout.starts_with("+--"), "{command}");
    }
    let output = shell.run("ipam show --ip 10.244.7.1", "");
    assert_eq!((output.code, output.stdout.as_str()), (1, ""));
    assert!(output.stderr.contains(STORED_BLOCK), "{}", output.stderr);
}
