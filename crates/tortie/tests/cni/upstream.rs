//! The CNI project's own `cnitool` calls the plugin, directly and through a wrapper.

use crate::common::{List, Node};
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn cnitool_adds_and_deletes() {
    let node = Node::new();
    let container = node.container("unused");
    for version in ["0.3.1", "1.0.0"] {
        let list = List::install(&node, version, &[]);
        let before = node.namespace.state().and(container.state());
        let added = list.add(&container);
        assert_eq!(added["cniVersion"], version);
        let address = added["ips"][0]["address"].as_str().expect("an address");
        assert_eq!(
            container.namespace.json("-4 addr show eth0")[0]["addr_info"][0]["local"],
            address.trim_end_matches("/32")
        );
        assert_eq!(node.datastore.keys("workloadendpoints").len(), 1);
        for _ in 0..2 {
            assert_eq!(list.call("del", &container), "");
            node.namespace.state().and(container.state()).is_still(&before, "cnitool del");
            assert_eq!(node.datastore.keys("workloadendpoints"), [] as [&str; 0]);
        }
    }
}

#[test]
fn a_wrapper_sees_each_add_and_del() {
    let node = Node::new();
    let list = List::install(&node, "0.3.1", &[]);
    let (calico, real, log) =
        (node.bin().join("calico"), node.dir.path().join("calico"), node.dir.path().join("calls"));
    fs::rename(&calico, &real).expect("the plugin moves");
    let text = format!(
        "#!/bin/sh\necho \"$CNI_COMMAND $CNI_CONTAINERID\" >>{}\nexec {} \"$@\"\n",
        log.display(),
        real.display()
    );
    fs::write(&calico, text).expect("a script");
    fs::set_permissions(&calico, fs::Permissions::from_mode(0o755)).expect("an executable script");
    let container = node.container("unused");
    list.add(&container);
    let handle = node.datastore.keys("/handle/net1.").remove(0);
    let id = handle.rsplit("net1.").next().expect("a container's ID").to_owned();
    list.call("del", &container);
    assert_eq!(fs::read_to_string(&log).expect("the wrapper's log"), format!("ADD {id}\nDEL {id}\n"));
    assert!(id.starts_with("cnitool-"), "{id}");
}
