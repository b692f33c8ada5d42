//! From wired machines to a working cluster: the store answers, pools exist, agents run, routes are in place.

use super::{Lab, Progress};
use crate::control::Request;
use crate::ready::{self, Condition, Missing};
use crate::router;
use crate::topology::{self, Dataplane, Encapsulation, Topology};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long the store may take to answer.
const STORE: Duration = Duration::from_secs(20);
/// How long agents, sessions and routes may take.
const CONVERGED: Duration = Duration::from_secs(60);

impl Lab {
    pub(super) fn start_cluster(&self, topology: &Topology, progress: &mut dyn Progress) -> Result<(), Missing> {
        let first = &topology.nodes[0].name;
        progress.step("waiting for the datastore");
        let answers = Condition {
            what: "the datastore answers".to_owned(),
            host: String::new(),
            look: Box::new(|| self.output(first, &["calicoctl", "get", "nodes"]).map(drop)),
        };
        ready::all(vec![answers], STORE, &mut |_| progress.tick())?;
        self.initialise(topology).map_err(|error| Missing::because(&error))?;

        progress.step("starting the agents");
        for host in topology.machines() {
            self.ask(host, &Request::Start).map_err(|error| Missing::because(&error))?;
        }
        let total = topology.nodes.len();
        progress.step(&format!("waiting for {} sessions and the block routes", total * (total - 1) / 2));
        let conditions = self.conditions(topology);
        ready::all(conditions, CONVERGED, &mut |_| progress.tick())
    }

    /// Creates the pools and the settings that the topology names.
    fn initialise(&self, topology: &Topology) -> Result<()> {
        let documents: Vec<String> = resources(topology).iter().map(Value::to_string).collect();
        let place = self.host(&topology.nodes[0].name)?;
        let output = place.capture(&["calicoctl", "apply", "-f", "-"], &documents.join("\n---\n"))?;
        ensure!(output.status.success(), "create the pools: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    fn conditions<'a>(&'a self, topology: &'a Topology) -> Vec<Condition<'a>> {
        let peers = topology.nodes.len() - 1;
        let mut conditions = Vec::new();
        for node in &topology.nodes {
            conditions.push(Condition {
                what: format!("{}: agent runs and has {peers} sessions Established", node.name),
                host: node.name.clone(),
                look: Box::new(move || {
                    let status = self.output(&node.name, &["calicoctl", "node", "status"])?;
                    let established = status.lines().filter(|line| line.contains("Established")).count();
                    if established >= peers { Ok(()) } else { Err(format!("{established} Established")) }
                }),
            });
        }
        for router in &topology.routers {
            conditions.push(Condition {
                what: format!("{}: {} runs", router.name, router::speaker(router.kind)),
                host: router.name.clone(),
                look: Box::new(|| self.output(&router.name, router::probe(router.kind)).map(drop)),
            });
        }
        let tunnelled = topology.pools.iter().any(|pool| pool.ipip_mode != Encapsulation::Never && !pool.disabled);
        conditions.push(Condition {
            what: "every node has a route to every other node's blocks".to_owned(),
            host: topology.nodes[0].name.clone(),
            look: Box::new(move || self.look_at_routes(topology, tunnelled)),
        });
        conditions
    }

    fn look_at_routes(&self, topology: &Topology, tunnelled: bool) -> Result<(), String> {
        let mut routes = BTreeMap::new();
        for node in &topology.nodes {
            routes.insert(node.name.as_str(), self.output(&node.name, &["ip", "-4", "route", "show"])?);
        }
        for (owner, table) in &routes {
            let blocks: Vec<&str> = table.lines().filter_map(own_block).collect();
            if blocks.is_empty() && tunnelled {
                return Err(format!("{owner} has no block yet"));
            }
            for (other, table) in routes.iter().filter(|(other, _)| *other != owner) {
                for block in &blocks {
                    if !table.lines().any(|line| line.split(' ').next() == Some(block)) {
                        return Err(format!("{other} has no route to {block} of {owner}"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Runs a command on a host and returns its standard output, or why it failed.
    pub(super) fn output(&self, host: &str, command: &[&str]) -> Result<String, String> {
        let output =
            self.host(host).and_then(|place| place.capture(command, "")).map_err(|error| format!("{error:#}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        Err(stderr.lines().last().map_or_else(|| format!("{} failed", command.join(" ")), str::to_owned))
    }
}

/// Returns the destination of a blackhole, by which a node holds a block of its own.
///
/// Read from the kernel as an operator would: the lab waits for what works, not for what a program says.
fn own_block(route: &str) -> Option<&str> {
    route.strip_prefix("blackhole ")?.split(' ').next()
}

fn resources(topology: &Topology) -> Vec<Value> {
    let mode = match topology.dataplane {
        Dataplane::Iptables => "Disabled",
        Dataplane::Nftables => "Enabled",
    };
    let felix = json!({
        "apiVersion": "projectcalico.org/v3",
        "kind": "FelixConfiguration",
        "metadata": {"name": "default"},
        "spec": {"nftablesMode": mode},
    });
    let pools = topology.pools.iter().map(|pool| {
        json!({
            "apiVersion": "projectcalico.org/v3",
            "kind": "IPPool",
            "metadata": {"name": pool.name},
            "spec": {
                "cidr": pool.cidr,
                "blockSize": pool.block_size,
                "ipipMode": pool.ipip_mode,
                "vxlanMode": pool.vxlan_mode,
                "natOutgoing": pool.nat_outgoing,
                "disabled": pool.disabled,
                "nodeSelector": "all()",
            },
        })
    });
    let bgp = (topology.node_as != topology::DEFAULT_AS).then(|| {
        json!({
            "apiVersion": "projectcalico.org/v3",
            "kind": "BGPConfiguration",
            "metadata": {"name": "default"},
            "spec": {"asNumber": topology.node_as},
        })
    });
    pools.chain([felix]).chain(bgp).collect()
}

impl Missing {
    fn because(error: &anyhow::Error) -> Missing {
        Missing { lines: vec![format!("{error:#}")], hosts: Default::default() }
    }
}
