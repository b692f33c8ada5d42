//! ipam split, and the lock that it needs.

use super::{put_block, recorded};
use crate::ctl::tests::{Shell, object, pool};
use serde_json::json;

fn locked() -> Shell {
    let shell = recorded();
    shell.ok("datastore migrate lock", "", "Datastore locked.\n");
    shell
}

fn pools(shell: &Shell) -> Vec<String> {
    let prefix = "/calico/resources/v3/projectcalico.org/ippools/";
    shell.store.dump().into_keys().filter_map(|path| Some(path.strip_prefix(prefix)?.to_owned())).collect()
}

#[test]
fn lock_and_unlock() {
    let shell = locked();
    assert!(shell.stored("clusterinformations/default").ends_with(r#","datastoreReady":false}}"#));
    shell.ok("datastore migrate lock", "", "Datastore locked.\n");
    shell.ok("datastore migrate unlock", "", "Datastore unlocked.\n");
    assert!(shell.stored("clusterinformations/default").ends_with(r#","datastoreReady":true}}"#));
    let output = shell.run("datastore migrate frobnicate", "");
    assert!(output.stderr.starts_with("Usage:\n  calicoctl datastore migrate <command> [<args>...]\n"), "{output:?}");
}

#[test]
fn a_pool_becomes_four() {
    let shell = locked();
    shell.run("label ippool default-ipv4-ippool rack=1", "");
    let blocks = shell.run("ipam show --show-blocks", "").stdout;
    shell.ok(
        "ipam split 4 --name=default-ipv4-ippool",
        "",
        "IP Pool default-ipv4-ippool was successfully split into 4 smaller pools.Created split-default-ipv4-ippool-0 \
         with CIDR 10.244.0.0/18.\n\
         Created split-default-ipv4-ippool-1 with CIDR 10.244.64.0/18.\n\
         Created split-default-ipv4-ippool-2 with CIDR 10.244.128.0/18.\n\
         Created split-default-ipv4-ippool-3 with CIDR 10.244.192.0/18.\n\
         Please refer to the documentation for final steps.",
    );
    let names: Vec<String> = (0..4).map(|index| format!("split-default-ipv4-ippool-{index}")).collect();
    assert_eq!(pools(&shell), [&["p6".to_owned()], names.as_slice()].concat());
    let stored = shell.stored("ippools/split-default-ipv4-ippool-2");
    let spec = r#""labels":{"rack":"1"}},"spec":{"cidr":"10.244.128.0/18","vxlanMode":"Never","ipipMode":"Never","blockSize":26,"nodeSelector":"all()","allowedUses":["Workload","Tunnel"],"assignmentMode":"Automatic"}}"#;
    assert!(stored.ends_with(spec), "{stored}");
    let after = shell.run("ipam show --show-blocks", "").stdout;
    let of_blocks = |text: &str| -> Vec<String> {
        let rows = text.lines().filter(|line| line.contains("Block"));
        rows.map(|row| row.split_whitespace().collect()).collect()
    };
    // the third part has the one, the first the other; no block is lost
    let (mut before, mut after) = (of_blocks(&blocks), of_blocks(&after));
    before.sort();
    after.sort();
    assert_eq!(after, before);
}

#[test]
fn what_is_not_split_better_stays_as_it_is() {
    let shell = recorded();
    let reason =
        "datastore is not locked. Run the `calicoctl datastore migrate lock` command in order split the IP pools\n";
    shell.fails("ipam split 4 --name=default-ipv4-ippool", "", reason);
    let shell = locked();
    shell.run("create -f -", &object("IPPool", "tiny", "{cidr: 10.9.0.0/26}"));
    shell.run("create -f -", &pool("split-p6-1", "10.8.0.0/16"));
    let before = shell.store.dump();
    for (command, expect) in [
        (
            "ipam split 3 --name=default-ipv4-ippool",
            "error splitting the CIDR 10.244.0.0/16 into 3 CIDRs: number to split CIDR into is not a valid power of 2: 3\n",
        ),
        (
            "ipam split -2 --cidr=10.244.0.0/16",
            "error splitting the CIDR 10.244.0.0/16 into -2 CIDRs: number to split CIDR into is not a valid power of 2: -2\n",
        ),
        (
            "ipam split two --name=p6",
            "error reading number to split IP pools into. two is not a valid number: invalid digit found in string\n",
        ),
        (
            "ipam split 2 --name=nope",
            "unable to find IP pool with name nope: resource does not exist: IPPool(nope) with error: <nil>\n",
        ),
        ("ipam split 2 --cidr=10.7.0.0/16", "unable to find IP pool covering the specified CIDR 10.7.0.0/16\n"),
        ("ipam split 2 --name=p6", "resource already exists: IPPool(split-p6-1) with error: <nil>\n"),
    ] {
        shell.fails(command, "", expect);
    }
    let output = shell.run("ipam split 2 --name=tiny", "");
    let reason = "error using unsafe create to make split pool with cidr 10.9.0.0/27: error with field IPPool.Spec.";
    assert!(output.code == 1 && output.stderr.starts_with(reason), "{output:?}");
    assert_eq!(shell.store.dump(), before, "nothing is half done");
}

#[test]
fn a_locked_datastore_lets_reports_be_acted_on() {
    let shell = locked();
    put_block(&shell, "10.244.7.0/26", "host:node1", &[(7, "net1.cid6", json!({"node": "node1"}))]);
    let output = shell.run("ipam check -o @/r.json", "");
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    let output = shell.run("ipam release --from-report=@/r.json", "");
    assert!(output.code == 0 && output.stdout.starts_with("Releasing 15 old IPs...\n"), "{output:?}");
    shell.run("datastore migrate unlock", "");
    let output = shell.run("ipam release --from-report=@/r.json", "");
    assert!(output.stderr.starts_with("the provided reports are all stale"), "{output:?}");
}
