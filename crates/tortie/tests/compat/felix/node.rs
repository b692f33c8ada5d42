//! The node that a case tells of, in a namespace of its own, with its pods in others.

use super::ping::Ping;
use super::recorded::{Recorded, Rules};
use crate::process::{printed, run};
use crate::world::World;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How many pairs of pods are tried before it is said that no two reach each other.
const PAIRS: usize = 8;

/// A node's namespace, as a path.
pub(super) struct Node {
    path: PathBuf,
    number: usize,
    /// A folder of its own, for logs.
    folder: PathBuf,
}

/// A running agent, which ends with its value.
pub(super) struct Agent {
    process: Child,
    log: PathBuf,
}

impl Agent {
    /// What it said last, if it has ended.
    pub(super) fn end(&mut self) -> Result<Option<String>> {
        let Some(status) = self.process.try_wait()? else { return Ok(None) };
        let log = fs::read_to_string(&self.log)?;
        let last: Vec<&str> = log.lines().rev().take(3).collect();
        Ok(Some(format!("the agent ended, {status}:\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"))))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Node {
    /// Makes links, addresses, parameters, sets, rules, routes and neighbours as recorded.
    pub(super) fn replay(world: &World, number: usize, case: &Recorded) -> Result<Node> {
        let folder = world.folder(&format!("felix{number}"))?;
        let node = Node { path: PathBuf::from(format!("/run/netns/felix{number}")), number, folder };
        world.make_netns(&node.path)?;
        node.shell("ip link set lo up")?;
        node.make_links(case)?;
        let pods = case.pods();
        for interface in case.interfaces() {
            node.attach(world, interface, pods.get(interface).copied())?;
        }
        for parameter in case.sysctls() {
            node.printed("sysctl", &["-qw", &parameter], "")?;
        }
        node.make_rules(case)?;
        node.make_routes(case)?;
        node.make_neighbours(case)?;
        Ok(node)
    }

    /// The node's own links, and their addresses; at the other ends is nobody.
    fn make_links(&self, case: &Recorded) -> Result<()> {
        let mut made: Vec<&str> = Vec::new();
        for it in case.addresses()? {
            if !made.contains(&it.link) {
                let peer = format!("wire{}", made.len());
                self.shell(&format!(
                    "ip link add {0} type veth peer name {peer}; ip link set {0} up; ip link set {peer} up",
                    it.link
                ))?;
                made.push(it.link);
            }
            self.shell(&format!("ip addr add {}/{} dev {}", it.address, it.length, it.link))?;
        }
        Ok(())
    }

    fn make_rules(&self, case: &Recorded) -> Result<()> {
        let all = |_: &str| true;
        match case.rules {
            Rules::Iptables => {
                self.printed("ipset", &["restore"], &case.sets.print(all))?;
                self.printed("iptables-nft-restore", &["--noflush"], &case.saved.print(all))?;
                self.printed("ip6tables-nft-restore", &["--noflush"], &case.saved6.print(all))?;
                // the others are those of iptables
                self.printed("nft", &["-f", "-"], &case.ruleset.print(|table| table == "arp calico-arp"))?;
            }
            Rules::Nftables => drop(self.printed("nft", &["-f", "-"], &case.ruleset.print(all))?),
        }
        Ok(())
    }

    fn make_routes(&self, case: &Recorded) -> Result<()> {
        if !case.routes().any(|route| route.starts_with("default ")) {
            self.shell(&format!("ip route add default dev {}", case.uplink()?.link))?;
        }
        // those into the tunnel are the agent's to make, with the tunnel
        for route in case.routes().filter(|route| !route.contains(" dev tunl0")) {
            self.shell(&format!("ip route add {route}"))?;
        }
        Ok(())
    }

    fn make_neighbours(&self, case: &Recorded) -> Result<()> {
        for neighbour in case.file("ip-neigh.txt").lines().filter(|line| line.contains("PERMANENT")) {
            let mut words = neighbour.split_whitespace();
            let (Some(address), _, Some(interface)) = (words.next(), words.next(), words.next()) else { continue };
            // the pod was made anew, so it has another Ethernet address
            let shown = printed(nsenter(&self.pod(interface)).args(["ip", "link", "show", "eth0"]), b"")?;
            let mac = shown.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).context("no MAC")?;
            self.shell(&format!("ip neigh add {address} dev {interface} lladdr {mac} nud permanent"))?;
        }
        Ok(())
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

    /// Starts to ping from one pod to another: two of which one reaches the other by the recorded rules.
    pub(super) fn ping(&self, case: &Recorded) -> Result<Option<Ping>> {
        let pods: Vec<(&str, &str)> = case.pods().into_iter().collect();
        let pairs = pods.windows(2).flat_map(|two| [(two[0].0, two[1].1), (two[1].0, two[0].1)]);
        for (from, to) in pairs.take(PAIRS) {
            let pod = self.pod(from);
            if run(nsenter(&pod).args(["ping", "-c1", "-W2", to]), b"")?.exit == 0 {
                let mut call = nsenter(&pod);
                return Ping::start(call.args(["ping", "-i", "0.01", to]), self.folder.join("ping")).map(Some);
            }
        }
        Ok(None)
    }

    /// Starts an agent with the same kind of packet rules.
    pub(super) fn start_agent(&self, world: &World, case: &Recorded, endpoint: &str) -> Result<Agent> {
        let uplink = case.uplink()?;
        let mode = if case.rules == Rules::Nftables { "Enabled" } else { "Disabled" };
        let path = self.folder.join("agent.log");
        let log = File::create(&path)?;
        let mut call = nsenter(&self.path);
        call.arg(world.program("../tortie")).arg("node").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        call.env("NODENAME", case.node()?).env("IP", format!("{}/{}", uplink.address, uplink.length));
        call.env("NO_DEFAULT_POOLS", "true").env("FELIX_NFTABLESMODE", mode);
        // Calico's chains of policy stand, and are to go
        call.env("TORTIE_RUN_WITHOUT_ENFORCING_POLICY", "true");
        call.env("DATASTORE_TYPE", "etcdv3").env("ETCD_ENDPOINTS", endpoint);
        Ok(Agent { process: call.spawn().context("tortie node")?, log: path })
    }

    /// Runs a program in the namespace; returns what it printed.
    pub(super) fn printed(&self, program: &str, arguments: &[&str], input: &str) -> Result<String> {
        printed(nsenter(&self.path).arg(program).args(arguments), input.as_bytes())
    }

    fn shell(&self, words: &str) -> Result<String> {
        self.printed("sh", &["-ec", words], "")
    }
}

fn nsenter(path: &Path) -> Command {
    let mut call = Command::new("nsenter");
    let mut net = std::ffi::OsString::from("--net=");
    net.push(path);
    call.arg(net);
    call
}
