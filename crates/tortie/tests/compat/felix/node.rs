//! The node that a case tells of, in a namespace of its own, with its pods in others; and how it differs from ours.

use super::recorded::{Recorded, Rules, elements_of, members_of, table_of};
use crate::process::printed;
use crate::world::World;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How many packets are sent while an agent starts, a hundred a second.
const PACKETS: usize = 800;

/// A node's namespace, as a path.
pub(super) struct Node {
    path: PathBuf,
    number: usize,
}

/// A process that ends with its value.
pub(super) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Node {
    /// Makes links, addresses, parameters, sets, rules, routes and neighbours as recorded.
    pub(super) fn replay(world: &World, number: usize, case: &Recorded) -> Result<Node> {
        let node = Node { path: PathBuf::from(format!("/run/netns/felix{number}")), number };
        world.make_netns(&node.path)?;
        let (uplink, address, length) = case.uplink()?;
        node.shell(&format!(
            "ip link set lo up; ip link add {uplink} type veth peer name wire0; ip link set {uplink} up
            ip link set wire0 up; ip addr add {address}/{length} dev {uplink}; ip route add default dev {uplink}"
        ))?;
        let pods = case.pods();
        for interface in case.interfaces() {
            node.attach(world, interface, pods.get(interface).copied())?;
        }
        for parameter in case.sysctls() {
            node.printed("sysctl", &["-qw", &parameter], "")?;
        }
        match case.rules {
            Rules::Iptables => {
                node.printed("ipset", &["restore"], case.file("ipset.txt"))?;
                node.printed("iptables-nft-restore", &["--noflush"], case.file("iptables-nft-save.txt"))?;
                node.printed("ip6tables-nft-restore", &["--noflush"], case.file("ip6tables-nft-save.txt"))?;
                node.printed("nft", &["-f", "-"], &case.table("arp calico-arp"))?;
            }
            Rules::Nftables => drop(node.printed("nft", &["-f", "-"], case.file("nft-ruleset.txt"))?),
        }
        for route in case.routes() {
            node.shell(&format!("ip route add {route}"))?;
        }
        for neighbour in case.file("ip-neigh.txt").lines().filter(|line| line.contains("PERMANENT")) {
            let (words, _) = neighbour.split_once(" PERMANENT").unwrap_or((neighbour, ""));
            let address = words.split_whitespace().next().unwrap_or_default();
            // the pod was made anew, so it has another Ethernet address
            let interface = words.split_whitespace().nth(2).unwrap_or_default();
            let pod = node.pod(interface);
            let shown = printed(nsenter(&pod).args(["ip", "link", "show", "eth0"]), b"")?;
            let mac = shown.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).context("no MAC")?;
            node.shell(&format!("ip neigh add {address} dev {interface} lladdr {mac} nud permanent"))?;
        }
        Ok(node)
    }

    fn attach(&self, world: &World, interface: &str, address: Option<&str>) -> Result<()> {
        let pod = self.pod(interface);
        world.make_netns(&pod)?;
        self.shell(&format!(
            "ip link add {interface} type veth peer name eth0 netns {}; ip link set {interface} up",
            pod.display()
        ))?;
        let Some(address) = address else { return Ok(()) };
        let words = format!(
            "ip link set eth0 up; ip addr add {address}/32 dev eth0
            ip route add 169.254.1.1 dev eth0 scope link; ip route add default via 169.254.1.1"
        );
        printed(nsenter(&pod).args(["sh", "-ec", &words]), b"").map(drop)
    }

    fn pod(&self, interface: &str) -> PathBuf {
        PathBuf::from(format!("/run/netns/felix{}-{interface}", self.number))
    }

    /// Starts to ping from the first pod to the second, where there are two.
    pub(super) fn ping(&self, case: &Recorded) -> Result<Option<Ping>> {
        let pods = case.pods();
        let mut pods = pods.iter();
        let (Some((from, _)), Some((_, to))) = (pods.next(), pods.next()) else { return Ok(None) };
        let pod = self.pod(from);
        printed(nsenter(&pod).args(["ping", "-c1", "-W5", to]), b"").context("before the agent")?;
        let mut call = nsenter(&pod);
        call.args(["ping", "-q", "-i", "0.01", "-W", "1", "-c", &PACKETS.to_string(), to]).stdout(Stdio::piped());
        Ok(Some(Ping(call.spawn().context("ping")?)))
    }

    /// Starts an agent with the same kind of packet rules.
    pub(super) fn start_agent(&self, world: &World, case: &Recorded, endpoint: &str) -> Result<Running> {
        let (_, address, length) = case.uplink()?;
        let mode = if case.rules == Rules::Nftables { "Enabled" } else { "Disabled" };
        let log = File::create(world.folder(&format!("felix{}", self.number))?.join("agent.log"))?;
        let mut call = nsenter(&self.path);
        call.arg(world.program("../tortie")).arg("node").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        call.env("NODENAME", case.node()?).env("IP", format!("{address}/{length}")).env("NO_DEFAULT_POOLS", "true");
        call.env("DATASTORE_TYPE", "etcdv3").env("ETCD_ENDPOINTS", endpoint).env("FELIX_NFTABLESMODE", mode);
        Ok(Running(call.spawn().context("tortie node")?))
    }

    /// Says how the kernel differs from what an agent leaves that has adopted the case.
    pub(super) fn differences(&self, case: &Recorded) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let routes = self.printed("ip", &["route"], "")?;
        for (interface, address) in case.pods() {
            let wanted = format!("{address} dev {interface} scope link");
            let ours: Vec<&str> = routes.lines().map(str::trim).filter(|line| line.contains(interface)).collect();
            compare(&mut found, "routes", &[wanted.as_str()], &ours);
        }
        let neighbours = self.printed("ip", &["neigh", "show", "nud", "permanent"], "")?;
        compare(&mut found, "permanent neighbours", &[], &neighbours.lines().collect::<Vec<_>>());
        let (masq, all) = (case.members("cali40masq-ipam-pools"), case.members("cali40network-ip-pools"));
        let [our_masq, our_all] = match case.rules {
            Rules::Iptables => self.iptables(case, &mut found)?,
            Rules::Nftables => self.nftables(case, &mut found)?,
        };
        compare(&mut found, "pools that are masqueraded", &strs(&masq), &strs(&our_masq));
        compare(&mut found, "all pools", &strs(&all), &strs(&our_all));
        Ok(found)
    }

    /// Compares what iptables and ipset show; returns the members of the two sets of pools.
    fn iptables(&self, case: &Recorded, found: &mut Vec<String>) -> Result<[BTreeSet<String>; 2]> {
        let recorded = rules_of(case.file("iptables-nft-save.txt"), "nat");
        let saved = self.printed("iptables-nft-save", &[], "")?;
        // the rule that names the second set is written anew: v3.32 calls that set otherwise
        let renamed = |line: &&str| !line.starts_with("-A cali-nat-outgoing ");
        let adopted: Vec<&str> = recorded.iter().copied().filter(renamed).collect();
        let ours: Vec<&str> = rules_of(&saved, "nat");
        let (outgoing, ours): (Vec<&str>, Vec<&str>) = ours.into_iter().partition(|line| !renamed(line));
        compare(found, "rules of table nat", &adopted, &ours);
        let wanted = recorded.len() - adopted.len();
        if outgoing.len() != wanted || !outgoing.iter().all(|line| line.contains("cali40all-ipam-pools dst -j MASQ")) {
            found.push(format!("chain cali-nat-outgoing: {outgoing:?}"));
        }
        for table in ["raw", "mangle", "filter"] {
            compare(found, &format!("rules of table {table}"), &[], &rules_of(&saved, table));
        }
        let six = self.printed("ip6tables-nft-save", &[], "")?;
        for table in ["raw", "mangle", "filter", "nat"] {
            let recorded = rules_of(case.file("ip6tables-nft-save.txt"), table);
            compare(found, &format!("IPv6 rules of table {table}"), &recorded, &rules_of(&six, table));
        }
        let sets = self.printed("ipset", &["save"], "")?;
        let names = sets.lines().filter_map(|line| line.strip_prefix("create ")?.split(' ').next());
        let names: Vec<&str> = names.filter(|name| name.starts_with("cali4")).collect();
        compare(found, "sets", &["cali40all-ipam-pools", "cali40masq-ipam-pools"], &names);
        Ok([members_of(&sets, "cali40masq-ipam-pools"), members_of(&sets, "cali40all-ipam-pools")])
    }

    /// Compares what nft shows; returns the members of the two sets of pools.
    fn nftables(&self, case: &Recorded, found: &mut Vec<String>) -> Result<[BTreeSet<String>; 2]> {
        let recorded = case.table("ip calico");
        let ruleset = self.printed("nft", &["list", "ruleset"], "")?;
        let ours = table_of(&ruleset, "ip calico");
        let (recorded, our_chains) = (chains_of(&recorded), chains_of(&ours));
        let outgoing = "nat-cali-nat-outgoing";
        let adopted = |chains: &BTreeMap<String, Vec<String>>| -> Vec<String> {
            let nat = chains.iter().filter(|(name, _)| name.starts_with("nat-") && *name != outgoing);
            nat.flat_map(|(name, rules)| rules.iter().map(move |rule| format!("{name}: {rule}"))).collect()
        };
        let (adopted, kept) = (adopted(&recorded), adopted(&our_chains));
        compare(found, "rules of table ip calico", &strs(&adopted), &strs(&kept));
        let rule = our_chains.get(outgoing).cloned().unwrap_or_default();
        let wanted = recorded.get(outgoing).map_or(0, Vec::len);
        if rule.len() != wanted
            || !rule.iter().all(|rule| rule.contains("@cali40all-ipam-pools") && rule.contains("masquerade"))
        {
            found.push(format!("chain {outgoing}: {rule:?}"));
        }
        let others: Vec<String> = our_chains.into_keys().filter(|name| !name.starts_with("nat-")).collect();
        compare(found, "chains of table ip calico", &[], &strs(&others));
        for table in ["ip6 calico", "arp calico-arp"] {
            let chains = |text: &str| chains_of(text).into_keys().collect::<Vec<_>>();
            let (recorded, ours) = (chains(&case.table(table)), chains(&table_of(&ruleset, table)));
            compare(found, &format!("chains of table {table}"), &strs(&recorded), &strs(&ours));
        }
        Ok(["cali40masq-ipam-pools", "cali40all-ipam-pools"].map(|set| elements_of(&ours, set)))
    }

    fn printed(&self, program: &str, arguments: &[&str], input: &str) -> Result<String> {
        printed(nsenter(&self.path).arg(program).args(arguments), input.as_bytes())
    }

    fn shell(&self, words: &str) -> Result<String> {
        self.printed("sh", &["-ec", words], "")
    }
}

/// A running `ping`.
pub(super) struct Ping(Child);

impl Ping {
    /// Waits for its end; says what was lost, if anything.
    pub(super) fn end(self) -> Result<Option<String>> {
        let output = self.0.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let all = text.contains(&format!("{PACKETS} packets transmitted, {PACKETS} received"));
        Ok((!all).then(|| format!("ping from pod to pod: {text}")))
    }
}

fn nsenter(path: &Path) -> Command {
    let mut call = Command::new("nsenter");
    let mut net = std::ffi::OsString::from("--net=");
    net.push(path);
    call.arg(net);
    call
}

/// Notes what is only in one of two lists, whatever their order.
fn compare(found: &mut Vec<String>, what: &str, recorded: &[&str], ours: &[&str]) {
    let (mut recorded, mut ours) = (recorded.to_vec(), ours.to_vec());
    recorded.sort_unstable();
    ours.sort_unstable();
    if recorded != ours {
        let only = |these: &[&str], those: &[&str], sign| -> String {
            these.iter().filter(|line| !those.contains(line)).map(|line| format!("\n{sign} {line}")).collect()
        };
        let (less, more) = (only(&recorded, &ours, '-'), only(&ours, &recorded, '+'));
        found.push(format!("{what}: {} recorded, {} ours{less}{more}", recorded.len(), ours.len()));
    }
}

fn strs<'a>(list: impl IntoIterator<Item = &'a String>) -> Vec<&'a str> {
    list.into_iter().map(String::as_str).collect()
}

/// The rules with Calico's comments in one table of a saved ruleset, in their order.
fn rules_of<'a>(saved: &'a str, table: &str) -> Vec<&'a str> {
    let head = format!("*{table}");
    let lines = saved.lines().skip_while(|line| *line != head).take_while(|line| *line != "COMMIT");
    lines.filter(|line| line.starts_with("-A ") && line.contains("cali")).collect()
}

/// The chains of a listed table of nft, with their rules as far as they do not count.
fn chains_of(table: &str) -> BTreeMap<String, Vec<String>> {
    let mut chains = BTreeMap::new();
    let mut chain: Option<(String, Vec<String>)> = None;
    for line in table.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("chain ").and_then(|rest| rest.strip_suffix(" {")) {
            chain = Some((name.to_owned(), Vec::new()));
        } else if line == "}" {
            chains.extend(chain.take());
        } else if let Some((_, rules)) = &mut chain
            && !line.is_empty()
        {
            rules.push(without_counts(line));
        }
    }
    chains
}

fn without_counts(line: &str) -> String {
    let mut words = line.split_whitespace();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == "packets" || word == "bytes" {
            words.next();
        } else {
            kept.push(word);
        }
    }
    kept.join(" ")
}
