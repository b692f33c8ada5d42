//! The wire between hosts, as `ip -batch` text: a bridge per subnet, the router's addresses, an uplink per host.
//!
//! ```text
//!            ┌──────────── router (the supervisor's namespace) ────────────┐
//!  eth0 ── k8s-m ┐                                                         │
//!  eth0 ── k8s-w1├ subnet0 192.168.10.254   subnet1 192.168.20.254 ┤ k8s-w0 ── eth0
//!  eth0 ── k8s-w2┤                internet 203.0.113.1                     │
//!  eth0 ── tor   ┘                                                         │
//!            └───────────────────────────┬─────────────────────────────────┘
//!                                       eth0 203.0.113.10
//! ```
//!
//! Both ends of a link are made in their final namespaces; moving one costs twenty times as much.

use crate::reaper::Reaper;
use crate::topology::Topology;
use anyhow::{Context, Result, ensure};
use nix::sys::wait::WaitStatus;
use std::fs;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

/// Commands that build the router's own part.
pub(crate) fn router(topology: &Topology) -> String {
    let mut batch = "link set dev lo up\n".to_owned();
    for (index, subnet) in topology.subnets.iter().enumerate() {
        batch += &format!(
            "link add subnet{index} address {} type bridge forward_delay 0 mcast_snooping 0\n\
             address add {}/{} dev subnet{index}\n\
             link set dev subnet{index} up\n",
            // by itself a bridge's is the lowest of its ports', which come and go
            mac(subnet.gateway),
            subnet.gateway,
            subnet.cidr.prefix_len()
        );
        // by itself a bridge's is that of its narrowest port
        if let Some(mtu) = subnet.mtu {
            batch += &format!("link set dev subnet{index} mtu {mtu}\n");
        }
    }
    batch
}

/// The hosts on the wire: nodes, routers, the one outside.
pub(crate) fn hosts(topology: &Topology) -> Vec<&str> {
    topology.machines().chain([topology.outside.name.as_str()]).collect()
}

/// Commands that link a host, by its place in [`hosts`], to the wire, given a process of it.
pub(crate) fn link(topology: &Topology, index: usize, pid: i32) -> String {
    let port = port(hosts(topology)[index], index);
    let nodes = topology.nodes.iter().map(|node| (node.address, node.mtu));
    match nodes.chain(topology.routers.iter().map(|router| (router.address, None))).nth(index) {
        Some((address, mtu)) => uplink(topology, &port, address, mtu, pid),
        None => outside_link(topology, &port, pid),
    }
}

/// Commands that take away the wire's end of a host's link, given its place in [`hosts`].
pub(crate) fn unlink(topology: &Topology, index: usize) -> String {
    format!("link delete dev {}\n", port(hosts(topology)[index], index))
}

fn uplink(topology: &Topology, port: &str, address: Ipv4Addr, mtu: Option<u16>, pid: i32) -> String {
    let subnet = topology.subnets.iter().position(|subnet| subnet.cidr.contains(&address));
    let subnet = subnet.expect("a checked topology has a subnet for every host");
    let mtu = mtu.map(|mtu| format!(" mtu {mtu}")).unwrap_or_default();
    format!(
        "link add name {port}{mtu} type veth peer name eth0{mtu} address {} netns {pid}\n\
         link set dev {port} master subnet{subnet} up\n",
        mac(address)
    )
}

fn outside_link(topology: &Topology, port: &str, pid: i32) -> String {
    let (net, router) = topology.outside_link();
    format!(
        "link add name {port} type veth peer name eth0 address {} netns {pid}\n\
         address add {router}/{} dev {port}\n\
         link set dev {port} up\n",
        mac(topology.outside.address),
        net.prefix_len()
    )
}

/// Commands that give a host its address and default route, to be run on it.
pub(crate) fn host(address: Ipv4Addr, prefix_len: u8, gateway: Ipv4Addr) -> String {
    format!(
        "link set dev lo up\n\
         address add {address}/{prefix_len} dev eth0\n\
         link set dev eth0 up\n\
         route add default via {gateway}\n"
    )
}

/// Runs `ip` commands in the caller's network namespace, all or an error.
pub(crate) fn run(batch: &str) -> Result<()> {
    let mut ip = ip_batch().spawn().context("start ip (Debian package iproute2)")?;
    ip.stdin.take().expect("stdin is piped").write_all(batch.as_bytes())?;
    let output = ip.wait_with_output()?;
    ensure!(output.status.success(), "ip -batch: {}\n{batch}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Does the same in a first process whose reaper runs.
pub(crate) fn run_by(reaper: &Reaper, batch: &str) -> Result<()> {
    let mut ip = reaper.spawn(&mut ip_batch()).context("start ip (Debian package iproute2)")?;
    ip.child.stdin.take().expect("stdin is piped").write_all(batch.as_bytes())?;
    let mut complaint = String::new();
    ip.child.stderr.take().expect("stderr is piped").read_to_string(&mut complaint)?;
    let done = matches!(ip.wait(), WaitStatus::Exited(_, 0));
    ensure!(done, "ip -batch: {}\n{batch}", complaint.trim());
    Ok(())
}

fn ip_batch() -> Command {
    let mut ip = Command::new("ip");
    ip.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    ip
}

/// Sets what a new network namespace copies from the machine, so that every lab starts alike.
pub(crate) fn sysctls(forwarding: bool) -> Result<()> {
    for (name, value) in [
        ("ip_forward", u8::from(forwarding)),
        ("conf/all/rp_filter", 0),
        ("conf/default/rp_filter", 0),
        ("conf/all/proxy_arp", 0),
        ("conf/default/proxy_arp", 0),
    ] {
        let path = format!("/proc/sys/net/ipv4/{name}");
        fs::write(&path, value.to_string()).with_context(|| format!("write {value} to {path}"))?;
    }
    Ok(())
}

/// The router's end of a host's link: the host's name where an interface can have it.
fn port(host: &str, index: usize) -> String {
    let clashes = host == "lo" || host == "tunl0" || host.starts_with("subnet");
    if host.len() <= 15 && !clashes { host.to_owned() } else { format!("port{index}") }
}

fn mac(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_the_walkthrough() {
        let topology = Topology::walkthrough();
        assert_eq!(
            link(&topology, 3, 42),
            "link add name k8s-w0 type veth peer name eth0 address 02:00:c0:a8:14:64 netns 42\n\
             link set dev k8s-w0 master subnet1 up\n"
        );
        assert_eq!(
            link(&topology, 4, 43),
            "link add name internet type veth peer name eth0 address 02:00:cb:00:71:0a netns 43\n\
             address add 203.0.113.1/24 dev internet\n\
             link set dev internet up\n"
        );
    }

    #[test]
    fn narrow_links_have_their_mtu() {
        let mut topology = Topology::walkthrough();
        topology.nodes[3].mtu = Some(1400);
        topology.subnets[0].mtu = Some(1300);
        assert_eq!(
            link(&topology, 3, 42),
            "link add name k8s-w0 mtu 1400 type veth peer name eth0 mtu 1400 address 02:00:c0:a8:14:64 netns 42\n\
             link set dev k8s-w0 master subnet1 up\n"
        );
        let router = router(&topology);
        assert!(router.contains("link set dev subnet0 mtu 1300\n") && !router.contains("subnet1 mtu"), "{router}");
    }

    #[test]
    fn a_long_or_clashing_host_name_gets_a_numbered_port() {
        for (host, expect) in [("a.very.long.host.name", "port7"), ("subnet0", "port7"), ("k8s-m", "k8s-m")] {
            assert_eq!(port(host, 7), expect);
        }
    }
}
