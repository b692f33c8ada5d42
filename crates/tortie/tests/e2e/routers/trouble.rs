//! Why there is no session, in Calico's words and in ours; what mends it; and a peer that falls silent.
//!
//! ```text
//!  k8s-m ┬ other  bird2  AS 65001, and the BGPPeer says 65099
//!        ├ keyed  bird   has another password
//!        ├ gone   gobgp  is stopped
//!        ├ away   frr    has no link
//!        └ silent bird2  works, until its link is cut
//! ```

use super::{SOON, apply, block, established, has_route, lacks_route, line, peer, secret};
use crate::cluster::{Lab, eventually};

const TOPOLOGY: &str = "
pools: [{name: default-ipv4-ippool, cidr: 172.16.0.0/16, blockSize: 24, ipipMode: Always, natOutgoing: true}]
subnets: [{cidr: 192.168.10.0/24, gateway: 192.168.10.254}]
nodes: [{name: k8s-m, address: 192.168.10.10}]
outside: {name: internet, address: 203.0.113.10}
routers:
- {name: other, kind: bird2, address: 192.168.10.1, as: 65001, networks: [10.91.0.0/16]}
- {name: keyed, kind: bird, address: 192.168.10.2, as: 65002, networks: [10.92.0.0/16], password: right}
- {name: gone, kind: gobgp, address: 192.168.10.3, as: 65003, networks: [10.93.0.0/16]}
- {name: away, kind: frr, address: 192.168.10.4, as: 65004, networks: [10.94.0.0/16]}
- {name: silent, kind: bird2, address: 192.168.10.5, as: 65005, networks: [10.95.0.0/16], holdTime: 6}
";
const NODE: &str = "k8s-m";

/// `calicoctl node status` and `tortie ctl bgp peers` say these of a peer.
#[track_caller]
fn says(lab: &Lab, address: &str, calico: &[&str], cause: &[&str]) {
    eventually(SOON, &format!("{address} is {calico:?}"), || {
        let status = lab.calicoctl(NODE, &["node", "status"], "").stdout;
        let row = status.lines().find(|row| row.contains(&format!("| {address} "))).unwrap_or_default();
        if calico.iter().all(|words| row.contains(words)) { Ok(()) } else { Err(status.clone()) }
    });
    eventually(SOON, &format!("the cause of {address} is {cause:?}"), || {
        let line = line(lab, NODE, address)?;
        if cause.iter().all(|words| line.contains(words)) { Ok(()) } else { Err(line) }
    });
}

#[test]
fn what_is_wrong_is_told_and_can_be_mended() {
    let lab = Lab::up_with(TOPOLOGY);
    lab.run(&["stop", "gone"]).ok();
    let status = lab.run(&["status"]).ok();
    let row = |name: &str| status.lines().find(|row| row.starts_with(name)).unwrap_or_default().to_owned();
    assert!(row("gone").contains("192.168.10.3") && row("gone").ends_with("   gobgp   -"), "{status}");
    assert!(row("away").contains("   frr ") && !row("away").ends_with('-'), "{status}");
    let error = lab.run(&["stop", "nobody"]).refused();
    let expect = format!(
        "error: lab {} has no node or router \"nobody\"; it has {NODE}, other, keyed, gone, away, silent\n",
        lab.name
    );
    assert_eq!(error, expect);
    lab.on("router", "ip link set away down");
    secret(&lab, NODE, "keyed", "wrong");
    let peers = [
        peer("other", "peerIP: 192.168.10.1, asNumber: 65099"),
        peer("keyed", "peerIP: 192.168.10.2, asNumber: 65002, password: {secretKeyRef: {name: bgp, key: keyed}}"),
        peer("gone", "peerIP: 192.168.10.3, asNumber: 65003"),
        peer("away", "peerIP: 192.168.10.4, asNumber: 65004"),
        peer("silent", "peerIP: 192.168.10.5, asNumber: 65005"),
    ];
    apply(&lab, &peers.concat());
    established(&lab, NODE, "192.168.10.5", 1);
    let own = block(&lab, NODE, "172.16.");
    has_route(&lab, NODE, &["10.95.0.0/16", "via 192.168.10.5"]);
    has_route(&lab, "silent", &[&own, "via 192.168.10.10"]);
    lab.on("router", "ip link set silent down");

    says(&lab, "192.168.10.1", &["start", "BGP Error: Bad peer AS"], &["peer is in AS 65001, not 65099"]);
    let refused = ["connection refused: nothing listens at 192.168.10.3 port 179"];
    says(&lab, "192.168.10.3", &["start", "Socket: Connection refused"], &refused);
    let nobody = ["no route to host 192.168.10.4: nobody on the wire answers for it"];
    says(&lab, "192.168.10.4", &["start", "Socket: No route to host"], &nobody);
    let unsigned = ["no answer from 192.168.10.2 port 179", "its TCP-MD5 password is another or none"];
    says(&lab, "192.168.10.2", &["start", "Socket: Connection timed out"], &unsigned);

    // after the hold time, either side takes away what it has learned
    lacks_route(&lab, NODE, "10.95.0.0/16");
    lacks_route(&lab, "silent", &own);
    let log = lab.on(NODE, "grep 'peer=192.168.10.5:179' /var/log/calico/node.log");
    assert!(log.contains("reason=\"hold timer expired after 6s without a message\""), "{log}");

    lab.calicoctl(NODE, &["patch", "bgppeer", "other", "-p", r#"{"spec": {"asNumber": 65001}}"#], "").ok();
    secret(&lab, NODE, "keyed", "right");
    lab.run(&["start", "gone"]).ok();
    lab.on("router", "ip link set away up && ip link set silent up");
    for number in 1..=5 {
        established(&lab, NODE, &format!("192.168.10.{number}"), 1);
    }
    one_connection_each(&lab);
}

/// Routers and agent start at one moment, and dial each other: of two connections, one stays.
fn one_connection_each(lab: &Lab) {
    let everyone = ["other", "keyed", "gone", "away", "silent", NODE];
    for host in everyone {
        lab.run(&["stop", host]).ok();
    }
    for host in everyone {
        lab.run(&["start", host]).ok();
    }
    for number in 1..=5 {
        established(lab, NODE, &format!("192.168.10.{number}"), 1);
    }
    let sockets = "ss -Htn state established '( sport = 179 or dport = 179 )'";
    eventually(SOON, "one connection with each router", || {
        let shown = lab.on(NODE, sockets);
        if shown.lines().count() == 5 { Ok(()) } else { Err(shown) }
    });
}
