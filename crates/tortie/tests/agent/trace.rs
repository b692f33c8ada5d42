//! What an agent writes to the kernel when there is nothing to write, seen by `strace`: netlink messages of its own and
//! of the programs it starts, kernel parameters, BPF maps.

use crate::cluster::{Cluster, SOON, eventually};
use crate::host::Host;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The writes and the looks in a trace, each kind with its number.
#[derive(Debug, Default)]
struct Trace {
    writes: BTreeMap<String, usize>,
    looks: BTreeMap<String, usize>,
}

impl Trace {
    fn read(path: &Path) -> Trace {
        let mut trace = Trace::default();
        let text = fs::read(path).expect("strace writes a trace: is it installed?");
        for line in String::from_utf8_lossy(&text).lines() {
            let mut note = |is_look: bool, what: String| {
                *if is_look { &mut trace.looks } else { &mut trace.writes }.entry(what).or_default() += 1;
            };
            for message in line.split("nlmsg_type=").skip(1) {
                let kind = message.split([',', '}']).next().unwrap_or_default();
                note(is_look(kind), kind.to_owned());
            }
            if line.contains("/proc/sys/") && (line.contains("O_WRONLY") || line.contains("O_RDWR")) {
                note(false, line.split('"').nth(1).unwrap_or_default().to_owned());
            }
            // what a program is attached to is said over netlink; one that is not attached ends with its process
            if let Some(command) = line.split("bpf(").nth(1).and_then(|rest| rest.split(',').next()) {
                note(!["MAP_UPDATE", "MAP_DELETE"].iter().any(|verb| command.contains(verb)), command.to_owned());
            }
            if line.contains("execve(") && line.contains("-restore") {
                note(false, line.split('"').nth(1).unwrap_or_default().to_owned());
            }
        }
        trace
    }

    fn looked(&self, kind: &str) -> usize {
        self.looks.iter().filter(|(look, _)| look.contains(kind)).map(|(_, count)| count).sum()
    }
}

/// Whether a message of this type only asks.
fn is_look(kind: &str) -> bool {
    let name = kind.rsplit("<<8|").next().unwrap_or(kind);
    let asks = [
        "RTM_GET",
        "NFT_MSG_GET",
        "IPSET_CMD_LIST",
        "IPSET_CMD_SAVE",
        "IPSET_CMD_PROTOCOL",
        "IPSET_CMD_TYPE",
        "NFNL_MSG_COMPAT_GET",
    ];
    // strace 6.1 has no name for NFT_MSG_GETGEN
    asks.iter().any(|ask| name.starts_with(ask)) || name.starts_with("0xa10")
}

/// Restarts the agent under `strace` and lets it look at everything again and again.
fn restart(host: &mut Host, looks: &[&str]) -> Trace {
    host.kill_agent();
    let path = host.start_traced_agent();
    host.established(&["Mesh_192_168_10_2"], SOON);
    let enough = |trace: &Trace| looks.iter().all(|look| trace.looked(look) >= 4);
    eventually(SOON, || match Trace::read(&path) {
        trace if enough(&trace) => Ok(trace),
        trace => Err(format!("{looks:?} have to be looked at more often: {trace:?}")),
    })
}

fn restarts_without_a_write(nftables: &str, look: &str) {
    let cluster = Cluster::new();
    let (mut one, _two) = cluster.pair();
    one.sh("ip link add cali1 type veth peer name pod1 && ip link set cali1 up && ip link set pod1 up");
    cluster.apply(
        "{apiVersion: projectcalico.org/v3, kind: WorkloadEndpoint, metadata: {name: n1-k8s-pod1-eth0, \
         namespace: default}, spec: {node: n1, orchestrator: k8s, pod: pod1, endpoint: eth0, interfaceName: cali1, \
         ipNetworks: [172.16.1.5/32]}}",
    );
    cluster.patch("ippool", "default-ipv4-ippool", r#"{"spec": {"natOutgoing": true}}"#);
    let spec = format!(
        r#"{{"spec": {{"nftablesMode": "{nftables}", "routeRefreshInterval": "1s", "iptablesRefreshInterval": "1s",
        "nftablesRefreshInterval": "1s", "ipsetsRefreshInterval": "1s", "interfaceRefreshInterval": "1s"}}}}"#
    );
    cluster.patch("felixconfiguration", "default", &spec);
    // the other driver's sets go after the new one's rules have come
    let rules = if nftables == "Enabled" {
        "test -z \"$(ipset list -n)\" && nft list table ip calico"
    } else {
        "iptables -t nat -S cali-nat-outgoing"
    };
    eventually(SOON, || match one.command("sh").args(["-c", rules]).output() {
        Ok(output) if String::from_utf8_lossy(&output.stdout).to_lowercase().contains("masquerade") => Ok(()),
        other => Err(format!("{other:?}")),
    });

    let trace = restart(&mut one, &["RTM_GETROUTE", "RTM_GETLINK", look]);
    assert_eq!(trace.writes, BTreeMap::new(), "{trace:?}");

    // and a trace would have shown them
    one.kill_agent();
    one.sh("ip route del 172.16.1.5; sysctl -w net.ipv4.conf.cali1.proxy_arp=0");
    one.sh(if nftables == "Enabled" { "nft delete table ip calico" } else { "iptables -t nat -F cali-nat-outgoing" });
    let trace = restart(&mut one, &["RTM_GETROUTE"]);
    let kinds: Vec<&str> = trace.writes.keys().map(String::as_str).collect();
    for kind in ["RTM_NEWROUTE", "/proc/sys/net/ipv4/conf/cali1/proxy_arp", "NFT_MSG_NEWRULE"] {
        assert!(kinds.iter().any(|name| name.contains(kind)), "{kind} is not in {kinds:?}");
    }
}

#[test]
fn a_restart_writes_nothing_with_iptables() {
    restarts_without_a_write("Disabled", "IPSET_CMD_SAVE");
}

#[test]
fn a_restart_writes_nothing_with_nftables() {
    restarts_without_a_write("Enabled", "NFT_MSG_GETRULE");
}
