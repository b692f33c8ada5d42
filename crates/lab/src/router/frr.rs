//! FRR: zebra, which writes the kernel's routes and keeps them while bgpd is away, and bgpd.

use super::{Daemon, Setup, neighbors};
use crate::topology::{Router, Topology};
use std::fmt::Write;

/// A bgpd that does not find zebra looks again after ten seconds.
const AFTER_ZEBRA: &str = "until [ -S /run/frr/zserv.api ]; do sleep 0.05; done; exec bgpd \"$@\"";

pub(super) fn setup(topology: &Topology, router: &Router) -> Setup {
    let daemon = |name: &'static str, start: &[&str]| {
        let config = format!("--config_file=/etc/frr/{name}.conf");
        let arguments =
            ["--user=root", "--group=root", &config, "--vty_addr=127.0.0.1", "--log=stdout", "--log-level=debugging"];
        Daemon { name, command: start.iter().chain(&arguments).map(|&word| word.to_owned()).collect(), killed: None }
    };
    let files = [
        ("zebra.conf", zebra(router)),
        ("bgpd.conf", bgpd(topology, router)),
        ("vtysh.conf", "no service integrated-vtysh-config\nusername root nopassword\n".to_owned()),
    ];
    Setup {
        files: files.into_iter().map(|(name, text)| (format!("/etc/frr/{name}"), text)).collect(),
        daemons: vec![daemon("zebra", &["zebra"]), daemon("bgpd", &["sh", "-c", AFTER_ZEBRA, "bgpd"])],
    }
}

/// Adds the group that FRR demands; its user, who is root here, has to be a member.
pub(super) fn groups(machine: &str) -> String {
    let others = machine.lines().filter(|line| !line.starts_with("frrvty:"));
    others.chain(["frrvty:x:64999:root"]).map(|line| format!("{line}\n")).collect()
}

/// Next hops in other subnets are found by the default route.
fn zebra(router: &Router) -> String {
    format!("hostname {}\nip nht resolve-via-default\n", router.name)
}

fn bgpd(topology: &Topology, router: &Router) -> String {
    let Router { address, as_number, hold_time, .. } = router;
    let mut session = format!(
        "hostname {}\n\
         debug bgp neighbor-events\n\
         router bgp {as_number}\n \
         bgp router-id {address}\n \
         no bgp ebgp-requires-policy\n \
         no bgp network import-check\n \
         bgp graceful-restart\n \
         bgp graceful-restart preserve-fw-state\n \
         bgp graceful-restart select-defer-time 20\n \
         timers bgp {} {hold_time}\n",
        router.name,
        hold_time / 3,
    );
    let mut family = " address-family ipv4 unicast\n".to_owned();
    for network in &router.networks {
        let _ = writeln!(family, "  network {network}");
    }
    for neighbor in neighbors(topology, router) {
        let peer = format!("neighbor {}", neighbor.node.address);
        let _ = write!(
            session,
            " {peer} remote-as {}\n \
             {peer} description {}\n \
             {peer} timers connect 5\n \
             {peer} advertisement-interval 0\n",
            neighbor.as_number, neighbor.node.name
        );
        if let Some(password) = &router.password {
            let _ = writeln!(session, " {peer} password {password}");
        }
        if !neighbor.connected && neighbor.as_number != *as_number {
            let _ = writeln!(session, " {peer} ebgp-multihop");
        }
        if neighbor.client {
            let _ = writeln!(family, "  {peer} route-reflector-client");
        }
    }
    session + &family + " exit-address-family\n"
}
