//! Whole commands on a datastore in memory. Expectations are those recorded from calicoctl v3.32.1, except where
//! the test's name says that this command line is better.

mod files;
mod migration;
mod output;
mod reservation;
mod trial;

use super::{Output, World, run_with};
use datastore::memory::Memory;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A datastore, a folder to work in, and variables.
pub(super) struct Shell {
    pub(super) store: Memory,
    pub(super) folder: tempfile::TempDir,
    variables: BTreeMap<String, String>,
}

/// Does something in a world without a datastore, whose host is a folder.
pub(super) fn world<T>(folder: &Path, action: impl FnOnce(&World<'_>) -> T) -> T {
    let (mut stdin, mut live) = (std::io::empty(), std::io::sink());
    action(&World {
        variable: &|_| None,
        stdin: RefCell::new(&mut stdin),
        live: RefCell::new(&mut live),
        progress: false,
        store: None,
        bird: vec![folder.to_owned()],
        proc: folder.to_owned(),
        root: folder.to_owned(),
    })
}

impl Shell {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Shell { store: Memory::new(), folder, variables: BTreeMap::new() }
    }

    /// With a variable; `@` in its value stands for the folder.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        let value = value.replace('@', &self.folder.path().display().to_string());
        self.variables.insert(name.to_owned(), value);
        self
    }

    /// Runs a command; `@` in it stands for the folder, single quotes keep a word together.
    pub(super) fn run(&self, command: &str, input: &str) -> Output {
        let folder = self.folder.path().display().to_string();
        let mut words = Vec::new();
        for (index, part) in command.split('\'').enumerate() {
            if index % 2 == 1 {
                words.push(part.to_owned());
            } else {
                words.extend(part.split_whitespace().map(|word| word.replace('@', &folder)));
            }
        }
        let mut stdin = input.as_bytes();
        let mut live = Vec::new();
        let world = World {
            variable: &|name| self.variables.get(name).cloned(),
            stdin: RefCell::new(&mut stdin),
            live: RefCell::new(&mut live),
            progress: false,
            store: Some(Arc::new(self.store.clone())),
            bird: vec![PathBuf::from(&folder)],
            proc: PathBuf::from(&folder),
            root: PathBuf::from(&folder),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut output = runtime.block_on(run_with(&words, "calicoctl", &world));
        drop(world);
        output.stdout.insert_str(0, &String::from_utf8(live).expect("text"));
        output
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder");
        std::fs::write(path, text).expect("a file");
    }

    #[track_caller]
    pub(super) fn ok(&self, command: &str, input: &str, stdout: &str) {
        let expect = Output { stdout: stdout.to_owned(), ..Output::default() };
        assert_eq!(self.run(command, input), expect, "{command}");
    }

    #[track_caller]
    pub(super) fn fails(&self, command: &str, input: &str, stderr: &str) {
        let expect = Output { stderr: stderr.to_owned(), code: 1, ..Output::default() };
        assert_eq!(self.run(command, input), expect, "{command}");
    }

    pub(super) fn stored(&self, path: &str) -> String {
        let path = format!("/calico/resources/v3/projectcalico.org/{path}");
        self.store.dump().remove(&path).unwrap_or_else(|| panic!("nothing at {path}"))
    }
}

pub(super) fn object(kind: &str, name: &str, spec: &str) -> String {
    format!("apiVersion: projectcalico.org/v3\nkind: {kind}\nmetadata:\n  name: {name}\nspec: {spec}\n")
}

pub(super) fn pool(name: &str, cidr: &str) -> String {
    object("IPPool", name, &format!("{{cidr: {cidr}}}"))
}

/// Replaces what differs from run to run: times, and the uid after `uid: ` or `"uid":"`.
fn masked(text: &str) -> String {
    let mut text = text.to_owned();
    for (start, end) in
        [("uid: ", "\n"), ("\"uid\":\"", "\""), ("creationTimestamp: \"", "\""), ("\"creationTimestamp\":\"", "\"")]
    {
        let mut from = 0;
        while let Some(at) = text[from..].find(start) {
            let value = from + at + start.len();
            let length = text[value..].find(end).expect("the value ends");
            text.replace_range(value..value + length, "X");
            from = value;
        }
    }
    text
}

#[test]
fn the_life_of_a_pool() {
    let shell = Shell::new();
    let input = pool("p", "10.244.0.0/16");
    shell.ok("create -f -", &input, "Successfully created 1 'IPPool' resource(s)\n");
    assert_eq!(
        masked(&shell.stored("ippools/p")),
        r#"{"kind":"IPPool","apiVersion":"projectcalico.org/v3","metadata":{"name":"p","uid":"X","creationTimestamp":"X"},"spec":{"cidr":"10.244.0.0/16","vxlanMode":"Never","ipipMode":"Never","blockSize":26,"nodeSelector":"all()","allowedUses":["Workload","Tunnel"],"assignmentMode":"Automatic"}}"#
    );
    assert_eq!(
        masked(&shell.stored("tiers/default")),
        r#"{"kind":"Tier","apiVersion":"projectcalico.org/v3","metadata":{"name":"default","uid":"X","creationTimestamp":"X"},"spec":{"order":1000000,"defaultAction":"Deny"},"status":{}}"#
    );
    shell.ok("get IPPool p", "", "NAME   CIDR            SELECTOR   \np      10.244.0.0/16   all()      \n\n");
    shell.ok(
        "get pool p -o wide",
        "",
        "NAME   CIDR            NAT     IPIPMODE   VXLANMODE   DISABLED   DISABLEBGPEXPORT   SELECTOR   ASSIGNMENTMODE   \n\
         p      10.244.0.0/16   false   Never      Never       false      false              all()      Automatic        \n\n",
    );
    shell.ok(
        "get ippool -o custom-columns=NAME,CIDR,NAT",
        "",
        "NAME   CIDR            NAT     \np      10.244.0.0/16   false   \n\n",
    );
    let yaml = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata:\n  name: p\nspec:\n  allowedUses:\n  - Workload\n  - Tunnel\n  \
                assignmentMode: Automatic\n  blockSize: 26\n  cidr: 10.244.0.0/16\n  ipipMode: Never\n  nodeSelector: all()\n  vxlanMode: Never\n";
    shell.ok("get ippool p -o yaml --export", "", yaml);
    shell.fails(
        "create -f -",
        &input,
        "failed to create 'IPPool' resource: [resource already exists: IPPool(p) with error: <nil>]\n",
    );
    shell.ok("create --skip-exists -f -", &input, "Skipped 1 'IPPool' resource(s) that exist already\n");
    shell.ok("apply -f -", &input, "Successfully applied 1 'IPPool' resource(s)\n");
    shell.ok("replace -f -", &input, "Successfully replaced 1 'IPPool' resource(s)\n");
    shell.ok("label IPPool p vec=1", "", "Successfully set label vec on IPPool p\n");
    shell.fails(
        "label IPPool p vec=2",
        "",
        "failed to update label of IPPool p, key vec is already present. please use '--overwrite' to set a new value\n",
    );
    shell.ok("label IPPool p vec=2 --overwrite", "", "Successfully updated label vec on IPPool p\n");
    shell.ok("label IPPool p vec --remove", "", "Successfully removed label vec from IPPool p\n");
    shell.fails("label ippool p a", "", "invalid label a\n");
    shell.fails("label ippool p zz --remove", "", "cannot remove label of ippool p, key zz does not exist\n");
    shell.ok("patch IPPool p -p '{\"spec\":{\"natOutgoing\":true}}'", "", "Successfully patched 1 'IPPool' resource\n");
    assert!(shell.stored("ippools/p").contains(r#""natOutgoing":true"#));
    shell.ok("validate -f -", &input, "Successfully validated 1 'IPPool' resource(s)\n");
    shell.ok("delete IPPool p", "", "Successfully deleted 1 'IPPool' resource(s)\n");
    shell.fails(
        "delete IPPool p",
        "",
        "Failed to delete 'IPPool' resource: resource does not exist: IPPool(p) with error: <nil>\n\n",
    );
    shell.fails("get IPPool p", "", "resource does not exist: IPPool(p) with error: <nil>\n");
    shell.ok("get IPPool", "", "NAME   CIDR   SELECTOR   \n\n");
}

#[test]
fn a_single_object_and_a_list_as_yaml_and_json() {
    let shell = Shell::new();
    shell.ok("create -f -", &pool("p", "10.244.0.0/16"), "Successfully created 1 'IPPool' resource(s)\n");
    let revision = |command: &str| {
        let text = shell.run(command, "").stdout;
        masked(&text).replace("resourceVersion: \"5\"", "resourceVersion: R").replace("\"resourceVersion\": \"5\"", "R")
    };
    let item =
        "kind: IPPool\n  metadata:\n    creationTimestamp: \"X\"\n    name: p\n    resourceVersion: R\n    uid: X\n";
    let list = revision("get ippool -o yaml");
    assert!(
        list.starts_with("apiVersion: projectcalico.org/v3\nitems:\n- apiVersion: projectcalico.org/v3\n  "),
        "{list}"
    );
    assert!(list.contains(item), "{list}");
    assert!(list.ends_with("    vxlanMode: Never\nkind: IPPoolList\nmetadata:\n  resourceVersion: R\n"), "{list}");
    let json = revision("get ippool -o json");
    let head = "{\n  \"kind\": \"IPPoolList\",\n  \"apiVersion\": \"projectcalico.org/v3\",\n  \"metadata\": {\n    R\n  },\n  \"items\": [\n    {\n      \"kind\": \"IPPool\",\n";
    assert!(json.starts_with(head) && json.ends_with("\n    }\n  ]\n}"), "{json}");
    let one = revision("get ippool p -o json");
    assert!(one.starts_with("{\n  \"kind\": \"IPPool\",\n") && one.ends_with("\n  }\n}"), "{one}");
    let two = revision("get ippool p p -o yaml");
    assert!(two.starts_with("- apiVersion: projectcalico.org/v3\n  kind: IPPool\n"), "{two}");
}

#[test]
fn output_that_is_read_back() {
    let shell = Shell::new();
    shell.ok(
        "apply -f -",
        &object("IPPool", "p", "{cidr: 172.16.0.0/16, blockSize: 24, ipipMode: Always, natOutgoing: true}"),
        "Successfully applied 1 'IPPool' resource(s)\n",
    );
    let text = shell.run("get ippool p -o yaml", "").stdout.replace("natOutgoing: true", "natOutgoing: false");
    shell.ok("apply -f -", &text, "Successfully applied 1 'IPPool' resource(s)\n");
    assert!(!shell.stored("ippools/p").contains(r#""natOutgoing":true"#));
    let list = shell.run("get tiers -o json", "").stdout;
    shell.ok("apply -f -", &list, "Successfully applied 3 'Tier' resource(s)\n");
}

#[test]
fn refused_pools() {
    for (spec, expect) in [
        (
            "{cidr: 10.244.0.0/16, blockSize: 19}",
            "IPPool.Spec.BlockSize = '19' (IPv4 block size must be between 20 and 32)",
        ),
        (
            "{cidr: 10.244.0.0/16, nodeSelector: a =}",
            "NodeSelector = 'a =' (Reason: failed to validate Field: NodeSelector because of Tag: selector )",
        ),
    ] {
        let stderr = format!("failed to create 'IPPool' resource: [error with field {expect}]\n");
        Shell::new().fails("create -f -", &object("IPPool", "p", spec), &stderr);
    }
    let shell = Shell::new();
    shell.ok("create -f -", &pool("p", "10.244.0.0/16"), "Successfully created 1 'IPPool' resource(s)\n");
    shell.fails(
        "apply -f -",
        &pool("p", "10.245.0.0/16"),
        "failed to apply 'IPPool' resource: [error with field IPPool.Spec.CIDR = '10.245.0.0/16' (IPPool CIDR cannot be modified)]\n",
    );
    shell.fails(
        "patch ippool p -p '{\"spec\":{\"cidr\":\"10.245.0.0/16\"}}'",
        "",
        "hit error: updating existing resource: error with field IPPool.Spec.CIDR = '10.245.0.0/16' (IPPool CIDR cannot be modified)\n",
    );
    shell.fails(
        "apply -f -",
        "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata:\n  name: p\n  resourceVersion: '1'\nspec:\n  cidr: 10.244.0.0/16\n",
        "failed to apply 'IPPool' resource: [update conflict: IPPool(p)]\n",
    );
    shell.fails(
        "create -f -",
        "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata:\n  name: q\n  resourceVersion: '5'\nspec:\n  cidr: 10.1.0.0/16\n",
        "failed to create 'IPPool' resource: [error with field Metadata.ResourceVersion = '5' (field must not be set for a Create request)]\n",
    );
}

#[test]
fn several_resources_some_refused() {
    let shell = Shell::new();
    let input = [pool("p", "10.244.0.0/16"), pool("p2", "10.244.0.0/17"), pool("p3", "10.246.0.0/16")].join("---\n");
    let output = shell.run("create -f -", &input);
    assert_eq!(output.stdout, "Partial success: created the first 2 out of 3 'IPPool' resources:\n");
    assert_eq!(
        output.stderr,
        "hit error: [error with field IPPool.Spec.CIDR = '10.244.0.0/17' (IPPool(p2) CIDR overlaps with IPPool(p) CIDR 10.244.0.0/16)]\n"
    );
    assert_eq!(output.code, 1);
    let output = shell.run("delete ippool p nope", "");
    assert_eq!(output.stdout, "Successfully deleted 1 'IPPool' resource(s)\n");
    assert_eq!(
        output.stderr,
        "Failed to delete 'IPPool' resource: resource does not exist: IPPool(nope) with error: <nil>\n\n"
    );
    let output = shell.run("get ippool p3 nope", "");
    assert_eq!(output.stdout, "NAME   CIDR            SELECTOR   \np3     10.246.0.0/16   all()      \n\n");
    assert_eq!(output.stderr, "resource does not exist: IPPool(nope) with error: <nil>\n");
    let mixed = [pool("m", "10.1.0.0/16"), object("Tier", "t1", "{order: 1}")].join("---\n");
    shell.ok("create -f -", &mixed, "Successfully created 2 resource(s)\n");
}

#[test]
fn documents_that_are_no_resources() {
    let shell = Shell::new();
    for (input, expect) in [
        (
            object("Foo", "x", "{}"),
            "failed to execute command: unknown resource type (Foo) and/or version (projectcalico.org/v3)\n",
        ),
        (
            pool("p", "10.244.0.0/16").replace("projectcalico.org/v3", "crd.projectcalico.org/v1"),
            "failed to execute command: unknown resource type (IPPool) and/or version (crd.projectcalico.org/v1)\n",
        ),
        (
            pool("p", "10.244.0.0/16").replace("name: p", "name: p\n  foo: 1"),
            "field in document is not recognized or is in the wrong location: foo (-: line 5)\n",
        ),
        (
            "hello\n".to_owned(),
            "failed to execute command: a document must be an object or a list of objects, not \"hello\" (-: line 1)\n",
        ),
        (
            "metadata: {name: p}\n".to_owned(),
            "failed to execute command: kind is not set in the document of \"p\" (-: line 1)\n",
        ),
        (
            object("BGPPeer", "b", "{asNumber: '1.65536', peerIP: 1.2.3.4}"),
            "failed to execute command: BGPPeer b: spec.asNumber: invalid AS Number format (1.65536): a number up to \
             4294967295, or two up to 65535 with a dot (-: line 5)\n",
        ),
        (
            object("IPPool", "p", "{cidr: 10.0.0.0/16, blockSize: big}"),
            "failed to execute command: IPPool p: spec.blockSize: invalid type: string \"big\", expected u8 (-: line 5)\n",
        ),
    ] {
        shell.fails("create -f -", &input, expect);
    }
    assert!(shell.store.dump().is_empty(), "nothing may be written for a file that cannot be read");
}

/// Two thousand documents, of which number 1169 is `bad`.
fn two_thousand(bad: &str) -> String {
    let good = |number: usize| object("Tier", &format!("t{number}"), &format!("{{order: {number}}}"));
    let documents = (1..=2000).map(|number| if number == 1169 { bad.to_owned() } else { good(number) });
    documents.collect::<Vec<_>>().join("---\n")
}

#[test]
fn a_mistake_among_many_documents_has_the_files_line() {
    let shell = Shell::new();
    // each document has five lines and a separator: number 1169 begins at line 7009
    let head = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: bad}\n";
    assert_eq!(object("Tier", "t", "{}").lines().count(), 5);
    let before = 1168 * 6;
    for (body, told, line) in [
        ("spec:\n\tcidr: 10.0.0.0/8\n", "line LINE, column", 5),
        (
            "spec:\n  cidr: 10.0.0.0/8\n  blockSize: x\n",
            "spec.blockSize: invalid type: string \"x\", expected u8 (-: line LINE, document 1169)",
            6,
        ),
        ("spec:\n  cidr: 10.0.0.0/8\n  blockSiz: 26\n", "blockSiz (IPPool bad, -: line LINE, document 1169)", 6),
        ("spec:\n  cidr: 10.0.0.0/8\n  blockSize: 40\n", "(-: line LINE, document 1169)", 1),
    ] {
        let (text, told) = (two_thousand(&format!("{head}{body}")), told.replace("LINE", &(before + line).to_string()));
        let as_windows_has_it = format!("\u{feff}{}", text.replace('\n', "\r\n"));
        for (command, text) in [("validate -f -", &text), ("apply -f -", &text), ("validate -f -", &as_windows_has_it)]
        {
            let output = shell.run(command, text);
            assert_eq!(output.code, 1, "{command} {body:?}");
            assert!(output.stderr.contains(&told), "{command} {body:?}: {}", output.stderr);
        }
    }
}

#[test]
fn a_mistake_in_a_folder_has_the_files_name_and_line() {
    let shell = Shell::new();
    shell.write("dir/a.yaml", &pool("p", "10.244.0.0/16"));
    let list = "# pools\n\n{\"kind\": \"List\", \"apiVersion\": \"v1\", \"items\": [\n {\"apiVersion\": \"projectcalico.org/v3\",\n  \"kind\": \"IPPool\", \"metadata\": {\"name\": \"q\"},\n  \"spec\": {\"cidr\": \"10.245.0.0/16\",\n   \"BLOCK\": 26}}]}\n";
    for (key, expect) in [
        (
            "block",
            "field in document is not recognized or is in the wrong location: block (IPPool q, @/dir/b.json: line 7)\n",
        ),
        (
            "natOutgoing",
            "failed to execute command: IPPool q: spec.natOutgoing: invalid type: integer `26`, expected a boolean (@/dir/b.json: line 7)\n",
        ),
    ] {
        shell.write("dir/b.json", &list.replace("BLOCK", key));
        let folder = shell.folder.path().display().to_string();
        shell.fails("create -f @/dir", "", &expect.replace('@', &folder));
    }
    std::fs::write(shell.folder.path().join("dir/b.json"), b"{\"a\":\n\n\xff}").expect("a file");
    let output = shell.run("create -f @/dir", "");
    assert!(output.stderr.ends_with("/dir/b.json: line 3 is not UTF-8\n"), "{}", output.stderr);
    shell.write("dir/b.json", "a: 1\nb: 2\na: 3\n");
    let output = shell.run("create -f @/dir", "");
    assert!(
        output.stderr.ends_with("/dir/b.json: duplicate mapping key: a at line 3, column 1\n"),
        "{}",
        output.stderr
    );
    shell.write("dir/b.json", &list.replace("BLOCK", "blockSize").replace("26", "33"));
    let output = shell.run("validate -f @/dir", "");
    assert!(output.stderr.contains("b.json: line 4)"), "{}", output.stderr);
}

#[test]
fn an_as_number_keeps_its_zeros() {
    let shell = Shell::new();
    let peer = |spec: &str| object("BGPPeer", "b", spec);
    let node = |spec: &str| object("Node", "node1", spec);
    for (input, expect) in [
        (
            peer("{peerIP: 1.2.3.4, asNumber: 1.10}"),
            "BGPPeer b: spec.asNumber: 1.10 is read as 1.1: write it in quotes (-: line 5)",
        ),
        (
            peer("{\"peerIP\": \"1.2.3.4\", \"asNumber\": 64512.10}"),
            "BGPPeer b: spec.asNumber: 64512.10 is read as 64512.1: write it in quotes",
        ),
        (
            peer("{peerIP: 1.2.3.4, asNumber: 1.5}"),
            "BGPPeer b: spec.asNumber: invalid AS Number format (1.5): a number with a dot",
        ),
        (
            peer("{peerIP: 1.2.3.4, asNumber: 1e3}"),
            "BGPPeer b: spec.asNumber: 1e3 is read as 1000.0: write it in quotes",
        ),
        (
            peer("{peerIP: 1.2.3.4, asNumber: 064512}"),
            "BGPPeer b: spec.asNumber: 064512 is read as 26954: write it in decimal digits",
        ),
        (peer("{peerIP: 1.2.3.4, asNumber: yes}"), "BGPPeer b: spec.asNumber: invalid AS Number format (true)"),
        (peer("{peerIP: 1.2.3.4, asNumber: 1:30}"), "BGPPeer b: spec.asNumber: invalid AS Number format (1:30)"),
        (
            peer("{peerIP: 1.2.3.4, asNumber: 1, localASNumber: 1.20}"),
            "BGPPeer b: spec.localASNumber: 1.20 is read as 1.2",
        ),
        (
            node("{bgp: {ipv4Address: 1.2.3.5/24, asNumber: 2.0}}"),
            "Node node1: spec.bgp.asNumber: invalid AS Number format (2.0)",
        ),
        (
            object("BGPConfiguration", "default", "{asNumber: 3.30}"),
            "BGPConfiguration default: spec.asNumber: 3.30 is read as 3.3",
        ),
        (
            pool("p", "10.0.0.0/8").replace("name: p", "name: p\n  labels: {version: 1.10}"),
            "IPPool p: metadata.labels.version: 1.10 is read as 1.1",
        ),
    ] {
        for command in ["create", "apply", "replace", "validate"] {
            let output = shell.run(&format!("{command} -f -"), &input);
            let told = output.stderr.strip_prefix("failed to execute command: ").unwrap_or_default();
            assert!(told.starts_with(expect) && output.code == 1, "{command} {input}: {output:?}");
        }
    }
    let stored = |spec: &str| {
        shell.ok("apply -f -", &peer(spec), "Successfully applied 1 'BGPPeer' resource(s)\n");
        shell.run("get bgppeer b -o custom-columns=ASN", "").stdout
    };
    assert!(stored("{peerIP: 1.2.3.4, asNumber: '1.10'}").contains("65546"));
    assert!(stored("{\"peerIP\": \"1.2.3.4\", \"asNumber\": \"64512.10\"}").contains("4227858442"));
    for (kind, patch, expect) in [
        (
            "merge",
            r#"{"spec": {"asNumber": 1.10}}"#,
            "hit error: BGPPeer b: spec.asNumber: 1.10 is read as 1.1: write it in quotes\n",
        ),
        (
            "strategic",
            r#"{"metadata": {"labels": {"v": 1.10}}}"#,
            "hit error: BGPPeer b: metadata.labels.v: 1.10 is read as 1.1: write it in quotes\n",
        ),
        (
            "json",
            r#"[{"op": "replace", "path": "/spec/asNumber", "value": 64512.10}]"#,
            "hit error: BGPPeer b: [0].value: 64512.10 is read as 64512.1: write it in quotes\n",
        ),
    ] {
        let output = shell.run(&format!("patch bgppeer b -t {kind} -p '{patch}'"), "");
        assert!(output.stderr.starts_with(expect) && output.code == 1, "{output:?}");
    }
    assert!(shell.run("get bgppeer b -o custom-columns=ASN", "").stdout.contains("4227858442"));
}

#[test]
fn files_and_folders() {
    let shell = Shell::new();
    shell.write("dir/in.yaml", &pool("p", "10.244.0.0/16"));
    shell.write("dir/sub/in2.yml", &pool("p2", "10.245.0.0/16"));
    shell.write("dir/x.txt", "no");
    shell.write("empty.yaml", "");
    shell.write("empty/x.txt", "no");
    shell.ok("create -f @/dir", "", "Successfully created 1 'IPPool' resource(s)\n");
    shell.ok("apply -f @/dir -R", "", "Successfully applied 2 'IPPool' resource(s)\n");
    shell.ok(
        "get -f @/dir/sub/in2.yml",
        "",
        "NAME   CIDR            SELECTOR   \np2     10.245.0.0/16   all()      \n\n",
    );
    let folder = shell.folder.path().display().to_string();
    for (name, expect) in [
        ("nosuch.yaml", format!("failed to execute command: open {folder}/nosuch.yaml: no such file or directory\n")),
        ("empty.yaml", format!("no resources specified in file {folder}/empty.yaml\n")),
        ("empty", format!("no resources specified in directory {folder}/empty\n")),
    ] {
        shell.fails(&format!("create -f @/{name}"), "", &expect);
    }
    shell.ok("delete -f @/dir -R", "", "Successfully deleted 2 'IPPool' resource(s)\n");
}

#[test]
fn workload_endpoints_and_namespaces() {
    let shell = Shell::new();
    let spec = "{orchestrator: k8s, node: node1, pod: abcd, endpoint: eth0, interfaceName: cali1234, ipNetworks: [1.2.3.4/32], profiles: [prof1, prof2]}";
    let input = object("WorkloadEndpoint", "node1-k8s-abcd-eth0", spec);
    shell.ok("create -f -", &input, "Successfully created 1 'WorkloadEndpoint' resource(s)\n");
    shell.ok("create -n other -f -", &input, "Successfully created 1 'WorkloadEndpoint' resource(s)\n");
    let row = "WORKLOAD   NODE    NETWORKS     INTERFACE   \nabcd       node1   1.2.3.4/32   cali1234    \n\n";
    for word in ["workloadendpoints", "workloadEndpoint", "wep", "weps"] {
        shell.ok(&format!("get {word}"), "", row);
    }
    shell.ok(
        "get wep -n other -o wide",
        "",
        "NAMESPACE   NAME                  WORKLOAD   NODE    NETWORKS     INTERFACE   PROFILES      NATS   \n\
         other       node1-k8s-abcd-eth0   abcd       node1   1.2.3.4/32   cali1234    prof1,prof2          \n\n",
    );
    shell.ok(
        "get wep -A",
        "",
        "NAMESPACE   WORKLOAD   NODE    NETWORKS     INTERFACE   \ndefault     abcd       node1   1.2.3.4/32   cali1234    \n\
         other       abcd       node1   1.2.3.4/32   cali1234    \n\n",
    );
    shell.fails(
        "get wep -A -n default",
        "",
        "cannot use both --namespace and --all-namespaces flags at the same time\n",
    );
    shell.fails("get ippools -n default", "", "IPPool is not namespaced\n");
    let elsewhere = input.replace("metadata:\n", "metadata:\n  namespace: a\n");
    shell.fails(
        "create -n b -f -",
        &elsewhere,
        "failed to create 'WorkloadEndpoint' resource: [resource namespace does not match client namespace. a != b]\n",
    );
    shell.fails("get wep nope", "", "resource does not exist: WorkloadEndpoint(default/nope) with error: <nil>\n");
}

#[test]
fn tables_of_the_other_kinds() {
    let shell = Shell::new();
    let inputs = [
        object("Node", "node5", "{bgp: {ipv4Address: 1.2.3.5/24, ipv6Address: 'aa:bb:cc::ff/120'}}"),
        object("BGPPeer", "global-peer", "{peerIP: 10.0.0.1, asNumber: 64567}"),
        object("BGPConfiguration", "node.node4", "{logSeverityScreen: Debug}"),
        object("Profile", "prof-min", "{labelsToApply: {x: y}}"),
        object("Tier", "admin", "{Order: 10000}"),
    ];
    for input in inputs {
        let kind = input.lines().nth(1).and_then(|line| line.strip_prefix("kind: ")).expect("a kind");
        shell.ok("create -f -", &input, &format!("Successfully created 1 '{kind}' resource(s)\n"));
    }
    for (command, expect) in [
        ("get nodes", "NAME    \nnode5   \n\n"),
        (
            "get nodes -o wide",
            "NAME    ASN       IPV4         IPV6               \nnode5   (64512)   1.2.3.5/24   aa:bb:cc::ff/120   \n\n",
        ),
        (
            "get bgppeers",
            "NAME          PEERIP     NODE       ASN     \nglobal-peer   10.0.0.1   (global)   64567   \n\n",
        ),
        (
            "get bgpconfig",
            "NAME         LOGSEVERITY   MESHENABLED   ASNUMBER   \nnode.node4   Debug         -             -          \n\n",
        ),
        (
            "get profiles -o wide",
            "NAME                          LABELS   \nprof-min                      x=true   \n\
             projectcalico-default-allow            \n\n",
        ),
        (
            "get tiers",
            "NAME            ORDER   \nkube-admin      1000    \nadmin           10000   \ndefault         1e+06   \nkube-baseline   1e+07   \n\n",
        ),
    ] {
        shell.ok(command, "", expect);
    }
}

#[test]
fn what_is_built_in_stays() {
    let shell = Shell::new();
    shell.ok("create -f -", &pool("p", "10.1.0.0/16"), "Successfully created 1 'IPPool' resource(s)\n");
    let information = object("ClusterInformation", "default", "{clusterGUID: x}");
    for (command, expect) in [
        (
            "create -f -",
            "failed to create 'ClusterInformation' resource: [operation create or apply is not supported on ClusterInformation]\n",
        ),
        (
            "patch clusterinfo default -p '{\"spec\":{\"calicoVersion\":\"v1.0.0\"}}'",
            "hit error: updating existing resource: operation apply or replace is not supported on ClusterInformation\n",
        ),
        (
            "delete clusterinfo default",
            "Failed to delete 'ClusterInformation' resource: operation delete is not supported on ClusterInformation\n\n",
        ),
        (
            "delete tier default",
            "Failed to delete 'Tier' resource: operation delete is not supported on default: Cannot delete default tier\n\n",
        ),
    ] {
        shell.fails(command, &information, expect);
    }
    let filtered = object("BGPPeer", "b", "{peerIP: 10.0.0.1, asNumber: 1, filters: [f1]}");
    shell.fails(
        "create -f -",
        &filtered,
        "failed to create 'BGPPeer' resource: [error with field BGPPeer.Spec.Filters = '[f1]' (BGPFilter(s) not found)]\n",
    );
}

#[test]
fn better_than_calicoctl() {
    let shell = Shell::new();
    shell.fails(
        "replace -f -",
        &pool("p", "10.1.0.0/16"),
        "failed to replace 'IPPool' resource: [resource does not exist: IPPool(p) with error: <nil>]\n",
    );
    shell.ok("delete ippool p --skip-not-exists", "", "Skipped 1 'IPPool' resource(s) that do not exist\n");
    shell.fails("delete ippool", "", "Failed to delete 'IPPool' resource: resource name may not be empty\n\n");
    let output = shell.run("apply -f -", &object("IPPool", "p", "{cidr: 10.1.0.0/16, vxlanMode: Always}"));
    assert_eq!(output.stderr, "warning: IPPool p: spec.vxlanMode is accepted but not acted on yet\n");
    assert_eq!(output.code, 0);
    shell.fails(
        "patch ippool p -p '{\"metadata\":{\"name\":\"q\"}}'",
        "",
        "hit error: metadata.name cannot be changed\n",
    );
    shell.ok(
        "patch ippool p -t json -p '[{\"op\":\"replace\",\"path\":\"/spec/vxlanMode\",\"value\":\"Never\"}]'",
        "",
        "Successfully patched 1 'IPPool' resource\n",
    );
}

#[test]
fn usage() {
    let shell = Shell::new();
    let get = "Usage:\n  calicoctl get ( (<KIND> [<NAME>...]) |\n                --filename=<FILENAME> [--recursive] \
               [--skip-empty] )\n                [--output=<OUTPUT>] [--config=<CONFIG>] [--namespace=<NS>] \
               [--all-namespaces] [--export] [--context=<context>] [--allow-version-mismatch]\n";
    for command in ["get", "get --frobnicate", "get ippool -f x"] {
        let output = shell.run(command, "");
        let reason = output.stderr.strip_prefix(get).expect("the usage comes first");
        assert!(reason.starts_with('\n') && reason.trim().len() > 20, "{reason}");
        assert_eq!((output.stdout.as_str(), output.code), ("", 1), "{command}");
    }
    let output = shell.run("", "");
    assert_eq!(output.stdout, "Invalid option: ''. Use flag '--help' to read about a specific subcommand.\n");
    assert_eq!(output.stderr, "Usage:\n  calicoctl [options] <command> [<args>...]\n");
    assert_eq!(output.code, 1);
    for command in ["--help", "get --help", "node --help", "help"] {
        let output = shell.run(command, "");
        assert!(
            output.code == 0 && output.stdout.contains("Examples:") | output.stdout.contains("Example:"),
            "{command}"
        );
    }
    for (command, expect) in [
        ("get ippool -o name", "unrecognized output format 'name'\n"),
        (
            "patch ippool nope -p '{\"spec\":{}}'",
            "hit error: resource does not exist: IPPool(nope) with error: <nil>\n",
        ),
        ("node status", "Calico process is not running.\n"),
        ("get nodes --context c", "--context is not supported yet: it belongs to the Kubernetes datastore\n"),
        (
            "get ippools -o custom-columns=NAME,X",
            "unknown heading X, valid values are: NAME, CIDR, NAT, IPIPMODE, VXLANMODE, DISABLED, DISABLEBGPEXPORT, SELECTOR, ASSIGNMENTMODE\n",
        ),
    ] {
        shell.fails(command, "", expect);
    }
    for (word, meant) in [("foo", ""), ("ippol", "\nDid you mean ippool?"), ("all", "")] {
        let stderr = shell.run(&format!("get {word}"), "").stderr;
        let start = format!("failed to get resources: resource type '{word}' is not supported{meant}\nThere are: ");
        assert!(stderr.starts_with(&start) && stderr.ends_with(", tier, workloadendpoint\n"), "{stderr}");
    }
    for command in ["cluster diags", "datastore migrate import -f x"] {
        assert!(
            shell.run(command, "").stderr.contains(" is not supported yet: it belongs to the Kubernetes datastore")
        );
    }
    let output = shell.run("frobnicate", "");
    assert!(output.stderr.contains("Commands: create, apply, replace, delete, get, "), "{}", output.stderr);
    shell.fails(
        "-l loud get nodes",
        "",
        "Unknown log level: loud, expected one of: \npanic, fatal, error, warn, info, debug.\n",
    );
    // long options may be cut short, as docopt lets them
    assert_eq!(shell.run("get ippools --out=json", "").code, 0);
    let output = shell.run("patch ippool p -p '{foo'", "");
    assert!(output.stderr.starts_with("hit error: performing strategic merge patch: invalid JSON document"));
}

#[test]
fn a_cluster_of_another_version() {
    let shell = Shell::new();
    shell.ok("create -f -", &pool("p", "10.1.0.0/16"), "Successfully created 1 'IPPool' resource(s)\n");
    let path = "/calico/resources/v3/projectcalico.org/clusterinformations/default";
    let present = shell.stored("clusterinformations/default");
    for (version, fits) in [("v3.32.1", true), ("v3.32.1-4-gabc", true), ("v1.0.0", false)] {
        let text =
            present.replace("\"datastoreReady\"", &format!("\"calicoVersion\":\"{version}\",\"datastoreReady\""));
        shell.store.put_raw(path, text.as_bytes());
        let output = shell.run("get ippools", "");
        assert_eq!(output.code == 0, fits, "{version}: {}", output.stderr);
    }
    assert!(shell.run("get ippools", "").stderr.starts_with("version mismatch.\n"));
    assert_eq!(shell.run("get ippools --allow-version-mismatch", "").code, 0);
}

/// Better than calicoctl, which leaves out of a list what it cannot read, without a word.
#[test]
fn what_cannot_be_read_is_named_beside_the_rest() {
    let shell = Shell::new();
    shell.run("create -f -", &pool("good", "10.244.0.0/16"));
    let path = "/calico/resources/v3/projectcalico.org/ippools/spoilt";
    shell.store.put_raw(path, br#"{"kind":"IPPool","spec":{"cidr":7}}"#);
    let reason = format!(
        "{path}: stored value cannot be read: invalid type: integer `7`, expected a string at line 1 column 33\n"
    );
    let table = "NAME   CIDR            SELECTOR   \ngood   10.244.0.0/16   all()      \n\n";
    let expect = Output { stdout: table.to_owned(), stderr: reason.clone(), code: 0 };
    assert_eq!(shell.run("get ippools", ""), expect);
    let listed = shell.run("get ippools -o yaml", "");
    assert_eq!((listed.code, &listed.stderr), (0, &reason));
    assert!(listed.stdout.contains("name: good"), "{}", listed.stdout);
    assert_eq!(shell.run("get ippool good spoilt", ""), Output { code: 1, ..expect });
    shell.fails("get ippool spoilt", "", &reason);
    // whether another pool overlaps it cannot be told
    let output = shell.run("create -f -", &pool("other", "10.9.0.0/16"));
    assert!(output.code == 1 && output.stderr.contains(reason.trim()), "{output:?}");
}

/// What is to be freed with a pool or a node is not known while it cannot be read.
#[test]
fn pools_and_nodes_stay_while_what_they_hold_cannot_be_read() {
    let shell = Shell::new();
    shell.run("create -f -", &pool("p", "10.244.0.0/16"));
    shell.run("create -f -", &object("Node", "node1", "{}"));
    shell.run("create -f -", &object("Node", "node2", "{}"));
    let weps = "/calico/resources/v3/projectcalico.org/workloadendpoints/default/";
    for path in
        ["/calico/ipam/v2/assignment/ipv4/block/10.244.7.0-26", "/calico/ipam/v2/host/node1/ipv4/block/10.244.8.0-26"]
    {
        shell.store.put_raw(path, b"x");
        let output = shell.run("delete ippool p", "");
        assert!(output.code == 1 && output.stderr.contains(path), "{output:?}");
        shell.stored("ippools/p");
    }
    let output = shell.run("delete node node1", "");
    assert!(output.code == 1 && output.stderr.contains("host/node1/ipv4"), "{output:?}");
    shell.store.put_raw(&format!("{weps}node2-cni-c1-eth0"), b"x");
    let output = shell.run("delete node node2", "");
    assert!(output.code == 1 && output.stderr.contains("node2-cni-c1-eth0"), "{output:?}");
    shell.stored("nodes/node2");
}
