//! GoBGP: gobgpd alone, which knows no kernel. What it learns it tells by `gobgp global rib`.

use super::{Daemon, Setup, neighbors};
use crate::topology::{Router, Topology};
use std::fmt::Write;

/// Written at a start; it goes when the router is stopped.
const STARTED: &str = "/run/gobgp/started";
const CONFIG: &str = "/etc/gobgp/gobgpd.toml";
const SCRIPT: &str = "/etc/gobgp/start";

pub(super) fn setup(topology: &Topology, router: &Router) -> Setup {
    let daemon = Daemon {
        name: "gobgpd",
        command: vec!["sh".to_owned(), SCRIPT.to_owned()],
        killed: Some((STARTED, "--graceful-restart")),
    };
    let files = vec![(CONFIG.to_owned(), config(topology, router)), (SCRIPT.to_owned(), script(topology, router))];
    Setup { files, daemons: vec![daemon] }
}

/// Becomes gobgpd, with a child that announces the networks, which its configuration cannot name, and lets the sessions
/// come up only then: to a peer that waits for a restart, an end of routes without the networks would take them away.
fn script(topology: &Topology, router: &Router) -> String {
    let mut text = format!("touch {STARTED}\n(\n  until gobgp global >/dev/null 2>&1; do kill -0 $$ || exit; done\n");
    for network in &router.networks {
        let _ = writeln!(text, "  gobgp global rib add {network} nexthop 0.0.0.0 origin igp");
    }
    for neighbor in neighbors(topology, router) {
        let _ = writeln!(text, "  gobgp neighbor {} enable", neighbor.node.address);
    }
    text + &format!(
        ") &\nexec gobgpd --config-file={CONFIG} --api-hosts=127.0.0.1:50051 --pprof-disable --log-plain \"$@\"\n"
    )
}

fn config(topology: &Topology, router: &Router) -> String {
    let Router { address, as_number, hold_time, .. } = router;
    let mut text = format!("[global.config]\nas = {as_number}\nrouter-id = \"{address}\"\n");
    for neighbor in neighbors(topology, router) {
        let _ = write!(
            text,
            "\n[[neighbors]]\n\
             [neighbors.config]\n\
             neighbor-address = \"{}\"\n\
             description = \"{}\"\n\
             peer-as = {}\n\
             admin-down = true\n",
            neighbor.node.address, neighbor.node.name, neighbor.as_number
        );
        if let Some(password) = &router.password {
            let _ = writeln!(text, "auth-password = \"{password}\"");
        }
        let _ = write!(
            text,
            "[neighbors.transport.config]\n\
             local-address = \"{address}\"\n\
             [neighbors.timers.config]\n\
             hold-time = {hold_time}\n\
             keepalive-interval = {}\n\
             connect-retry = 5\n\
             idle-hold-time-after-reset = 1\n",
            hold_time / 3
        );
        if !neighbor.connected && neighbor.as_number != *as_number {
            text += "[neighbors.ebgp-multihop.config]\nenabled = true\nmultihop-ttl = 64\n";
        }
        if neighbor.client {
            let _ = write!(
                text,
                "[neighbors.route-reflector.config]\n\
                 route-reflector-client = true\n\
                 route-reflector-cluster-id = \"{address}\"\n"
            );
        }
        text += "[neighbors.graceful-restart.config]\n\
                 enabled = true\n\
                 restart-time = 120\n\
                 deferral-time = 20\n\
                 [[neighbors.afi-safis]]\n\
                 [neighbors.afi-safis.config]\n\
                 afi-safi-name = \"ipv4-unicast\"\n\
                 [neighbors.afi-safis.mp-graceful-restart.config]\n\
                 enabled = true\n";
    }
    text
}
