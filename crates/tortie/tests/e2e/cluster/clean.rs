//! After a test: every node is cleaned, and then its kernel must hold what that of a host without agent holds.
//!
//! The host outside never had one, and is otherwise made alike; what differs by right (its address, its gateway, its
//! Ethernet address, a topology's MTU) is written over on both. Objects of others are made on both beforehand, and have
//! to stay. The kernel's own chains without rules, which any call of iptables may leave, do nothing and do not count.

use super::{Lab, eventually};
use std::collections::BTreeSet;
use std::time::Duration;

/// Objects that others could have on a node.
const FOREIGN: &str = "
gateway=$(ip route show default | cut -d' ' -f3)
ip link add calibridge address 02:00:00:00:77:77 type bridge
ip addr add 10.7.7.7/32 dev lo
ip route add 198.18.7.0/24 via $gateway
ip rule add from 10.7.7.7 lookup 100 pref 500
iptables-nft -t nat -N mine
iptables-nft -t nat -A POSTROUTING -s 10.7.7.0/24 -j mine
ipset create calibration hash:net
nft add table inet calico
";

/// What an agent could have touched, a line for each thing.
const LOOK: &str = "
address=$(ip -4 -o addr show dev eth0 | awk '{print $4; exit}')
subnet=$(ip route show dev eth0 proto kernel | awk '{print $1; exit}')
gateway=$(ip route show default | awk '{print $3; exit}')
mac=$(cat /sys/class/net/eth0/address)
local=$(ip -6 -o addr show dev eth0 scope link | awk '{print $4; exit}')
{
    ip -d link | sed 's/[a-z_]*_timer *[0-9.]*//g; s/^[0-9]*: //; s/eth0@if[0-9]*/eth0/; s/link-netnsid [0-9]*//;
        s/^\\(eth0: <[^>]*>\\) mtu [0-9]*/\\1/'
    ip -br addr | sed 's/eth0@if[0-9]* */eth0 /'
    ip route show table all
    ip -6 route show table all
    ip rule; ip -6 rule
    ip neigh show nud permanent
    tc qdisc show dev eth0; tc filter show dev eth0 ingress
    iptables-nft-save; ip6tables-nft-save
    iptables-legacy-save 2>&1 | grep cali
    ipset save
    nft -s list ruleset
    sysctl -a --pattern '^net.(ipv4.ip_forward|ipv[46].conf)' 2>&1 | grep -v '[.]eth0[.]mtu '
    ls -A /sys/fs/bpf /var/run/calico 2>&1
    ls -A /var/lib/calico | grep -v '^nodename$'
} | grep -vE '^#|^broadcast|^$|^[*]|^:[A-Z]+ ACCEPT|^table ip6? (raw|mangle|nat|filter) |^\\s*chain [A-Z]+ |^\\s*type .* hook .* policy accept;' |
    sed \"s|$address|ADDRESS|g; s|${address%/*}|ADDRESS|g; s|$subnet|SUBNET|g; s|$gateway|GATEWAY|g;
        s|$mac|MAC|g; s|$local|LOCAL|g; s|${local%/*}|LOCAL|g; s/\\[[0-9]*:[0-9]*\\]//g; s/initval [0-9a-fx]*//\"
true
";

/// Cleans every node that is up; says what is left on any of them.
pub(super) fn leaves_nothing(lab: &Lab) -> Result<(), String> {
    let nodes = lab.agents();
    let outside = lab.outside();
    if nodes.is_empty() || outside.is_empty() {
        return Ok(());
    }
    let (mut expect, mut complaints) = (None, String::new());
    for (node, _) in &nodes {
        let stopped = lab.run(&["stop", node]);
        if stopped.code != 0 {
            return Err(format!("stop {node}: {}", stopped.stderr));
        }
        for host in [Some(node), expect.is_none().then_some(&outside)].into_iter().flatten() {
            lab.on(host, FOREIGN);
        }
        let expect = expect.get_or_insert_with(|| look(lab, &outside));
        // all of BGP's routes: a test may have had peers with prefixes outside every pool
        let cleaned = lab.node(node, &["tortie", "node", "cleanup", "--pods", "--forwarding", "--pool", "0.0.0.0/0"]);
        let now = look(lab, node);
        let (more, less): (Vec<_>, Vec<_>) = (now.difference(expect).collect(), expect.difference(&now).collect());
        if cleaned.code != 0 || !more.is_empty() || !less.is_empty() {
            let said = format!("{}{}", cleaned.stdout, cleaned.stderr);
            complaints += &format!("{node}, cleaned: more {more:#?}, less {less:#?}\n{said}");
        }
    }
    if complaints.is_empty() { Ok(()) } else { Err(complaints) }
}

fn look(lab: &Lab, host: &str) -> BTreeSet<String> {
    // an IPv6 address gets its route only when the kernel has found it to be nobody else's
    eventually(Duration::from_secs(10), &format!("{host} has all of its addresses"), || {
        let tentative = lab.on(host, "ip -6 -o addr show dev eth0 tentative");
        if tentative.is_empty() { Ok(()) } else { Err(tentative) }
    });
    lab.on(host, LOOK).lines().map(|line| line.trim().to_owned()).collect()
}
