//! The kernel module that a lab may need, loaded by `lab up` and unloaded by `lab down`.

use crate::service::report;
use crate::topology::{Topology, Tunl0};
use anyhow::{Context, Result, bail, ensure};
use nix::sys::utsname::uname;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const IPIP: &str = "ipip";

/// Fails if a node must have the kernel's own tunnel device and this kernel has none.
pub(crate) fn check(topology: &Topology) -> Result<()> {
    let node = topology.nodes.iter().position(|node| node.tunl0 == Tunl0::Kernel);
    let Some(index) = node.filter(|_| !loaded(IPIP) && !available(IPIP)) else { return Ok(()) };
    let release = uname().map(|uname| uname.release().display().to_string()).unwrap_or_default();
    bail!("nodes[{index}].tunl0 kernel: this kernel ({release}) has no module {IPIP}; auto or bpf does without")
}

/// Returns the modules that the topology wants, this kernel has, and nobody loaded yet.
pub(crate) fn wanted(topology: &Topology) -> Option<&'static str> {
    let kernel_device = topology.nodes.iter().any(|node| node.tunl0 != Tunl0::Bpf);
    (kernel_device && !loaded(IPIP) && available(IPIP)).then_some(IPIP)
}

fn loaded(module: &str) -> bool {
    Path::new("/sys/module").join(module).exists()
}

fn available(module: &str) -> bool {
    let Ok(uname) = uname() else { return false };
    let list = Path::new("/lib/modules").join(uname.release()).join("modules.dep");
    let file = format!("/{module}.ko");
    fs::read_to_string(list).is_ok_and(|list| {
        list.lines()
            .filter_map(|line| line.split(':').next())
            .any(|path| path.find(&file).is_some_and(|at| !path[at + file.len()..].contains('/')))
    })
}

pub(crate) fn load(module: &str) -> Result<()> {
    let output = Command::new("modprobe").arg(module).stdin(Stdio::null()).output();
    let output = output.context("start modprobe (Debian package kmod)")?;
    ensure!(output.status.success(), "modprobe {module}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Unloads a module unless something uses it.
pub(crate) fn unload(module: &str) {
    // the kernel would take the machine's own tunnels down with the module
    let tunnels = Command::new("ip").args(["-o", "link", "show", "type", module]).output();
    let tunnels = tunnels.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    if let Some(tunnel) = tunnels.lines().find(|line| !is_idle_fallback(line)) {
        return report(&format!("kernel module {module} stays: the machine has {tunnel}"));
    }
    match Command::new("modprobe").args(["-r", module]).stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            report(&format!("kernel module {module} stays: {}", String::from_utf8_lossy(&output.stderr).trim()))
        }
        Err(error) => report(&format!("kernel module {module} stays: modprobe: {error}")),
    }
}

/// Tells whether a line of `ip -o link` is the `tunl0` that comes with the module, and unused.
fn is_idle_fallback(link: &str) -> bool {
    let mut words = link.split_whitespace().skip(1);
    let name = words.next().unwrap_or_default();
    let flags = words.next().unwrap_or_default();
    name.starts_with("tunl0@") && !flags.contains("UP")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_fallback_device_set_down_is_idle() {
        for (link, expect) in [
            (r"5: tunl0@NONE: <NOARP> mtu 1480 qdisc noop state DOWN mode DEFAULT\    link/ipip 0.0.0.0", true),
            (r"5: tunl0@NONE: <NOARP,UP,LOWER_UP> mtu 1480 qdisc noqueue state UNKNOWN\    link/ipip 0.0.0.0", false),
            (r"7: mine@NONE: <POINTOPOINT,NOARP> mtu 1480 qdisc noop state DOWN\    link/ipip 192.0.2.1", false),
        ] {
            assert_eq!(is_idle_fallback(link), expect, "{link}");
        }
    }
}
