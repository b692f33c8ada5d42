//! A node of Calico's that becomes ours: the recorded kernel state is replayed, then an agent starts on it.
//!
//! What a case says of IPv4 must be there afterwards: pods' routes, and all packet rules, chain by chain, with sets and
//! their members, but for what [`stated`] tells. What is of IPv6 and ARP must stay as it is. Where a pod was recorded to
//! reach another, it sends a hundred pings a second meanwhile, and none may be lost. A case that needs what Tortie has
//! not ([`needs`]) is passed over.

mod adopted;
mod form;
mod listing;
mod needs;
mod node;
mod packet;
mod ping;
mod recorded;
mod stated;

use crate::Suite;
use crate::report::{Findings, Report};
use crate::store::Store;
use crate::world::World;
use anyhow::Result;
use node::Node;
use recorded::Recorded;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where the agents find their datastore: they run in namespaces of their own.
const ENDPOINT: &str = "unix:///tortie-compat/felix.sock";
/// How long an agent may take to adopt a node.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many more pings must pass when it has.
const AFTERWARDS: usize = 100;

struct Felix {
    cases: Vec<Recorded>,
}

/// Reads the cases.
pub(crate) fn load(folders: &[PathBuf]) -> Result<Box<dyn Suite>> {
    let mut cases = Vec::new();
    for folder in folders {
        cases.extend(form::read_all(folder)?.into_iter().map(|case| (folder, case)));
    }
    // where two folders have a case of the same name, the folders tell them apart
    let names: Vec<String> = cases.iter().map(|(_, case)| case.name.clone()).collect();
    for (folder, case) in &mut cases {
        if names.iter().filter(|name| **name == case.name).count() > 1 {
            case.name = format!("{}/{}", folder.file_name().unwrap_or_default().display(), case.name);
        }
    }
    Ok(Box::new(Felix { cases: cases.into_iter().map(|(_, case)| case).collect() }))
}

impl Suite for Felix {
    fn run(&self, world: &World, report: &mut Report) -> Result<()> {
        for (number, case) in self.cases.iter().enumerate() {
            if !report.wants(&case.name) {
                continue;
            }
            let mut findings = Findings::default();
            match case.node() {
                Ok(node) => findings.needs = needs::missing(case, &node),
                Err(error) => findings.differs(format!("{error:#}")),
            }
            if findings.needs.is_none()
                && findings.differences.is_empty()
                && let Err(error) = adopt(world, number, case, &mut findings)
            {
                findings.differs(format!("{error:#}"));
            }
            report.row(&case.name, &findings)?;
        }
        Ok(())
    }
}

fn adopt(world: &World, number: usize, case: &Recorded, findings: &mut Findings) -> Result<()> {
    let store = Store::start(world, ENDPOINT)?;
    store.become_content(&case.for_agent()?)?;
    let node = Node::replay(world, number, case)?;
    let ping = node.ping(case)?;
    let mut agent = node.start_agent(world, case, ENDPOINT)?;
    let deadline = Instant::now() + PATIENCE;
    let mut differences = adopted::differences(&node, case, &store)?;
    while !differences.is_empty() && Instant::now() < deadline && agent.end()?.is_none() {
        std::thread::sleep(Duration::from_millis(100));
        differences = adopted::differences(&node, case, &store)?;
    }
    if let Some(ping) = ping {
        ping.go_on(AFTERWARDS)?;
        findings.differences.extend(ping.end()?);
    }
    if differences.is_empty() {
        // and it stays so
        differences = adopted::differences(&node, case, &store)?;
    }
    findings.differences.extend(differences);
    findings.differences.extend(agent.end()?);
    Ok(())
}
