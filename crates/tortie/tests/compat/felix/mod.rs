//! A node of Calico's that becomes ours: the recorded kernel state is replayed, then an agent starts on it.
//!
//! A folder holds a folder for each kind of packet rules, `iptables` and `nft`, and these one for each case. What a case
//! says of IPv4 and Tortie has too must be adopted, not made a second time; what Tortie has not must be gone, and what
//! is of IPv6 must stay. Where two pods were recorded, a hundred pings a second pass between them, and none may be lost.

mod node;
mod recorded;

use crate::Suite;
use crate::report::{Findings, Report};
use crate::store::Store;
use crate::world::World;
use anyhow::{Context, Result};
use node::Node;
use recorded::Recorded;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where the agents find their datastore: they run in namespaces of their own.
const ENDPOINT: &str = "unix:///tortie-compat/felix.sock";
/// How long an agent may take to adopt a node.
const PATIENCE: Duration = Duration::from_secs(30);

struct Felix {
    cases: Vec<Recorded>,
}

/// Reads the cases.
pub(crate) fn load(folders: &[PathBuf]) -> Result<Box<dyn Suite>> {
    let mut cases = Vec::new();
    for folder in folders {
        cases.extend(Recorded::read_all(folder)?);
    }
    Ok(Box::new(Felix { cases }))
}

impl Suite for Felix {
    fn run(&self, world: &World, report: &mut Report) -> Result<()> {
        for (number, case) in self.cases.iter().enumerate() {
            if !report.wants(&case.name) {
                continue;
            }
            let findings = adopt(world, number, case).with_context(|| case.name.clone())?;
            report.row(&case.name, &findings)?;
        }
        Ok(())
    }
}

fn adopt(world: &World, number: usize, case: &Recorded) -> Result<Findings> {
    let store = Store::start(world, ENDPOINT)?;
    store.become_content(&case.content)?;
    let node = Node::replay(world, number, case)?;
    let mut findings = Findings::default();
    let ping = node.ping(case)?;
    let agent = node.start_agent(world, case, ENDPOINT)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let differences = node.differences(case)?;
        if differences.is_empty() {
            break;
        }
        if Instant::now() > deadline {
            findings.differences = differences;
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    if let Some(ping) = ping
        && let Some(lost) = ping.end()?
    {
        findings.differs(lost);
    }
    drop(agent);
    Ok(findings)
}
