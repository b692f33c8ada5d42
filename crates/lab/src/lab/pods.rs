//! Pods of a running lab: apply, list, delete, run commands in.

use super::{Lab, Running};
use crate::control::Request;
use crate::exec::{Exec, Place};
use crate::init::pod::SEARCH_PATH;
use crate::pod::{Pod, PodName, PodRecord, State};
use crate::process::{self, Pidfd};
use crate::ready::{self, Condition};
use crate::rundir::write_json;
use anyhow::{Context, Result, bail, ensure};
use ipnet::Ipv4Net;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

/// How long other nodes may take to learn of a new pod's block.
const ROUTED: Duration = Duration::from_secs(5);

/// What applying a pod did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was not there.
    Created,
    /// Its manifest was replaced.
    Configured,
    /// It was there as asked for.
    Unchanged,
}

/// What came of applying one pod.
#[derive(Debug)]
pub struct Outcome {
    /// The pod.
    pub name: PodName,
    /// What was done, or why not.
    pub result: Result<Applied>,
}

impl Lab {
    /// Makes pods, one after the other in the given order, and returns what came of each when they work.
    ///
    /// Fails, with nothing done, if any of them cannot be. Warnings go to `warn`.
    pub fn apply(&self, pods: &[Pod], warn: &mut dyn FnMut(&str)) -> Result<Vec<Outcome>> {
        let running = self.running()?;
        let _changing = self.lock_pods()?;
        let mut present = self.pods()?;
        let mut steps = Vec::new();
        let mut mistakes = Vec::new();
        for pod in pods {
            match plan(&running, &present, pod) {
                Ok(step) => {
                    if let Step::Create(node) = &step {
                        // later pods are spread as if this one were there
                        present.push(placeholder(pod, node));
                    }
                    steps.push((pod, step));
                }
                Err(error) => mistakes.push(format!("{error:#}")),
            }
        }
        ensure!(mistakes.is_empty(), "{}", mistakes.join("\n"));
        let mut created = Vec::new();
        let outcomes = steps.into_iter().map(|(pod, step)| {
            let result = self.take_step(pod, step).map(|(applied, record)| {
                created.extend(record);
                applied
            });
            Outcome { name: pod.name.clone(), result }
        });
        let outcomes = outcomes.collect();
        self.await_routes(&running, &created, warn);
        Ok(outcomes)
    }

    fn take_step(&self, pod: &Pod, step: Step) -> Result<(Applied, Option<PodRecord>)> {
        match step {
            Step::Leave => Ok((Applied::Unchanged, None)),
            Step::Update(node) => {
                self.ask(&node, &Request::UpdatePod(Box::new(pod.clone())))?;
                Ok((Applied::Configured, None))
            }
            Step::Create(node) => {
                let count = self.count_pod()?;
                let identity = |of: &str| hex(&Sha256::digest(format!("{of}/{}/{}/{count}", self.name(), pod.name)));
                let request = Request::AddPod {
                    pod: Box::new(pod.clone()),
                    uid: as_uuid(&identity("uid")),
                    container_id: identity("container"),
                };
                let record = self.ask(&node, &request)?;
                Ok((Applied::Created, Some(serde_json::from_value(record)?)))
            }
        }
    }

    /// Waits until every node has a route to each new pod's address, and says which has none.
    fn await_routes(&self, running: &Running, created: &[PodRecord], warn: &mut dyn FnMut(&str)) {
        let nodes = &running.record.topology.nodes;
        let mut conditions = Vec::new();
        for node in nodes {
            let foreign = created.iter().filter(|record| record.node != node.name);
            let addresses: Vec<IpAddr> = foreign.flat_map(|record| record.addresses.clone()).collect();
            if addresses.is_empty() {
                continue;
            }
            conditions.push(Condition {
                what: node.name.clone(),
                host: node.name.clone(),
                look: Box::new(move || {
                    let table = self.output(&node.name, &["ip", "-4", "route", "show"])?;
                    let unrouted = addresses.iter().find(|address| !is_routed(&table, **address));
                    unrouted.map_or(Ok(()), |address| Err(format!("no route to {address} yet")))
                }),
            });
        }
        if let Err(missing) = ready::all(conditions, ROUTED, &mut |_| Ok(())) {
            missing.lines.iter().for_each(|line| warn(line));
        }
    }

    /// Lists all pods, by namespace and name.
    pub fn pods(&self) -> Result<Vec<PodRecord>> {
        let running = self.running()?;
        let mut pods: Vec<PodRecord> = Vec::new();
        for node in &running.record.topology.nodes {
            let records = self.dir.init(&node.name).join("pods");
            let entries = match fs::read_dir(&records) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| format!("read {}", records.display())),
            };
            for entry in entries.flatten().filter(|entry| entry.path().extension().is_some_and(|kind| kind == "json")) {
                match fs::read(entry.path()) {
                    Ok(text) => pods.push(
                        serde_json::from_slice(&text).with_context(|| format!("read {}", entry.path().display()))?,
                    ),
                    // deleted since the directory was read
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error).with_context(|| format!("read {}", entry.path().display())),
                }
            }
        }
        pods.sort_by(|one, other| one.pod.name.cmp(&other.pod.name));
        Ok(pods)
    }

    /// Returns a pod's record.
    pub fn pod(&self, name: &PodName) -> Result<PodRecord> {
        let found = self.pods()?.into_iter().find(|record| record.pod.name == *name);
        found.with_context(|| format!("pod {:?} not found in namespace {:?}", name.name, name.namespace))
    }

    /// Deletes a pod and returns when it is gone.
    pub fn delete_pod(&self, name: &PodName) -> Result<()> {
        let record = self.pod(name)?;
        self.ask(&record.node, &Request::DeletePod(name.clone())).map(drop)
    }

    /// Runs a command in a pod as the caller's own and returns its exit status.
    pub fn exec_in_pod(&self, name: &PodName, exec: &Exec) -> Result<i32> {
        self.pod_place(name)?.run(exec)
    }

    fn pod_place(&self, name: &PodName) -> Result<Place> {
        let record = self.pod(name)?;
        let running = self.running()?;
        let Some(local) = record.pid else { bail!("pod {name} does not run: {:?}", record.state) };
        let init =
            running.host(&record.node).with_context(|| format!("node {} is down, it boots again", record.node))?;
        let process = process::child_by_local_id(init, local).map(Pidfd::open).transpose()?.flatten();
        let process = process.with_context(|| format!("pod {name} has just ended"))?;
        let mut environment: BTreeMap<String, String> =
            [("PATH", SEARCH_PATH), ("HOME", "/root"), ("HOSTNAME", &name.name)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        environment.extend(record.pod.container.environment);
        Ok(Place { process, environment })
    }

    /// Takes the right to change pods, until dropped.
    fn lock_pods(&self) -> Result<File> {
        let file = File::create(self.dir.path().join("pods.lock"))?;
        file.lock().context("wait for another change of pods")?;
        Ok(file)
    }

    /// Counts the pods ever made, so that identities are the same for the same history.
    fn count_pod(&self) -> Result<u64> {
        let path = self.dir.path().join("pods.json");
        let count = match fs::read(&path) {
            Ok(text) => serde_json::from_slice::<u64>(&text)? + 1,
            Err(error) if error.kind() == ErrorKind::NotFound => 1,
            Err(error) => return Err(error.into()),
        };
        write_json(&path, &count)?;
        Ok(count)
    }
}

/// What applying a pod takes.
enum Step {
    Create(String),
    Update(String),
    Leave,
}

fn plan(running: &Running, present: &[PodRecord], pod: &Pod) -> Result<Step> {
    let name = &pod.name;
    let nodes: Vec<&str> = running.record.topology.nodes.iter().map(|node| node.name.as_str()).collect();
    if let Some(node) = &pod.node {
        ensure!(
            nodes.contains(&node.as_str()),
            "pod {name} spec.nodeName: there is no node {node:?}; the lab has {}",
            nodes.join(", ")
        );
    }
    let Some(old) = present.iter().find(|record| record.pod.name == *name) else {
        let node = pod.node.clone().unwrap_or_else(|| emptiest(&nodes, present));
        return Ok(Step::Create(node));
    };
    if let Some(node) = &pod.node {
        ensure!(*node == old.node, "pod {name} spec.nodeName: is {:?} and cannot be changed to {node:?}", old.node);
    }
    ensure!(old.state != State::Terminating, "pod {name}: is being deleted");
    let running_part = |pod: &Pod| {
        (
            pod.container.command.clone(),
            pod.container.environment.clone(),
            pod.container.working_directory.clone(),
            pod.restart,
        )
    };
    ensure!(
        running_part(&old.pod) == running_part(pod),
        "pod {name} spec: what a running pod does cannot be changed; delete it first"
    );
    let same = old.pod.manifest == pod.manifest;
    Ok(if same { Step::Leave } else { Step::Update(old.node.clone()) })
}

/// Spreads pods: the node with the fewest, the first of the topology among equals.
fn emptiest(nodes: &[&str], present: &[PodRecord]) -> String {
    let pods_on = |node: &str| present.iter().filter(|record| record.node == node).count();
    let node = nodes.iter().min_by_key(|node| pods_on(node));
    (*node.expect("a checked topology has a node")).to_owned()
}

fn placeholder(pod: &Pod, node: &str) -> PodRecord {
    PodRecord {
        pod: pod.clone(),
        node: node.to_owned(),
        uid: String::new(),
        container_id: String::new(),
        addresses: Vec::new(),
        state: State::ContainerCreating,
        pid: None,
        restarts: 0,
        created: 0,
        started: 0,
        network: serde_json::Value::Null,
        lost: Vec::new(),
        busy: false,
    }
}

/// Tells whether a routing table, as `ip route show` prints it, has a route to an address besides the default.
fn is_routed(table: &str, address: IpAddr) -> bool {
    let IpAddr::V4(address) = address else { return true };
    table.lines().any(|line| {
        let destination = line.split(' ').next().unwrap_or_default();
        let net = if destination.contains('/') { destination.parse() } else { format!("{destination}/32").parse() };
        net.is_ok_and(|net: Ipv4Net| net.contains(&address))
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn as_uuid(digits: &str) -> String {
    [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &digits[part]).join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_routed_by_its_block_but_not_by_the_default_route() {
        let table = "default via 192.168.10.254 dev eth0\n172.16.158.0/24 via 192.168.10.101 dev tunl0 proto bird onlink\n\
                     172.16.9.7 dev cali0 scope link\nblackhole 172.16.116.0/24 proto 80\n";
        for (address, expect) in
            [("172.16.158.9", true), ("172.16.9.7", true), ("172.16.9.8", false), ("8.8.8.8", false)]
        {
            assert_eq!(is_routed(table, address.parse().unwrap()), expect, "{address}");
        }
    }

    #[test]
    fn identities_have_the_form_of_their_kind() {
        let digits = hex(&Sha256::digest("abc"));
        assert_eq!(digits, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(as_uuid(&digits), "ba7816bf-8f01-cfea-4141-40de5dae2223");
    }
}
