//! ipam check: what the check found, section by section. The first sections are calicoctl's.

use super::args::Check;
use super::report::{Cluster, Report};
use super::{failed, unreadable_lines};
use crate::ctl::args::Cli;
use crate::ctl::{Failed, Output, World};
use datastore::layout;
use ipam::check::{Findings, Snapshot, UserKind, check};
use ipam::{Ipam, SystemClock};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::IpAddr;

/// How many nodes the list of the busiest has.
const BUSIEST: usize = 20;

pub(super) async fn run(cli: &Cli, args: &Check, world: &World<'_>) -> Result<Output, Failed> {
    let client = world.client_at(cli, &args.datastore.config).await?;
    let cluster = Cluster::read(&client).await?;
    let ipam = Ipam::new(client.store(), &SystemClock);
    let snapshot = ipam.snapshot().await.map_err(failed)?;
    let findings = check(&snapshot);
    let detail = if args.show_all_ips {
        Detail::All
    } else if args.show_problem_ips {
        Detail::Problems
    } else {
        Detail::Counts
    };
    let stderr: String = warnings(args, &findings).iter().map(|it| format!("warning: {it}\n")).collect();
    let mut text = Text { text: "Checking IPAM for inconsistencies...\n\n".to_owned(), detail };
    text.loaded(&snapshot, &findings);
    text.busiest(&findings);
    text.scanned(&findings);
    text.judged_further(&findings);
    text.line(format!("Check complete; found {} problems.", findings.problems()));
    if findings.is_blind() {
        let mut stderr = stderr + &unreadable_lines(&findings.unread);
        findings.unreadable.iter().for_each(|fault| stderr += &format!("{fault}\n"));
        stderr += "The check could not judge what these objects say: repair or delete them and check again.";
        stderr += if args.output.is_some() { " No report is written.\n" } else { "\n" };
        return Ok(Output { stdout: text.text, stderr, code: 1 });
    }
    if let Some(path) = &args.output {
        let report = Report::new(&cluster, &findings).to_json();
        std::fs::write(path, report).map_err(|error| Failed(format!("write report {}: {error}", path.display())))?;
    }
    Ok(Output { stdout: text.text, stderr, code: 0 })
}

fn warnings(args: &Check, findings: &Findings) -> Vec<String> {
    let mut warnings = Vec::new();
    if args.kubeconfig.is_some() {
        warnings.push("--kubeconfig is accepted but not acted on yet: Kubernetes is not asked".to_owned());
    }
    let services = findings.users.values().flatten().filter(|user| matches!(user.kind, UserKind::Service(_))).count();
    if services > 0 {
        warnings.push(format!("services are not read: their {services} IPs are taken to be in use"));
    }
    warnings
}

/// How much is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Detail {
    Counts,
    Problems,
    All,
}

/// The text so far.
struct Text {
    text: String,
    detail: Detail,
}

impl Text {
    fn line(&mut self, line: impl Display) {
        self.text += &format!("{line}\n");
    }

    fn blank(&mut self) {
        self.text.push('\n');
    }

    /// A line that is printed only from a level of detail on.
    fn detail(&mut self, level: Detail, line: impl Display) {
        if self.detail >= level {
            self.line(format!("  {line}"));
        }
    }

    /// What was read.
    fn loaded(&mut self, snapshot: &Snapshot, findings: &Findings) {
        self.line("Loading all IPAM blocks...");
        self.line(format!("Found {} IPAM blocks.", snapshot.blocks.len()));
        let allocations = || findings.allocations.values().flatten();
        for block in &snapshot.blocks {
            let owner = block.affinity.as_deref().unwrap_or("<none>");
            self.line(format!(" IPAM block {} affinity={owner}:", block.cidr));
            if self.detail == Detail::All {
                for allocation in allocations().filter(|allocation| allocation.block == block.cidr) {
                    self.line(format!("  {} allocated; attrs {allocation}", allocation.address));
                }
            }
        }
        self.line(format!("IPAM blocks record {} allocations.", allocations().count()));
        self.blank();

        self.line("Loading all IPAM pools...");
        let pools = snapshot.active_pools();
        for pool in &pools {
            self.line(format!("  {pool}"));
        }
        self.line(format!("Found {} active IP pools.", pools.len()));
        self.blank();

        self.line("Loading all nodes.");
        let nodes = self.users(findings, |kind| matches!(kind, UserKind::Node(_)));
        self.line(format!("Found {nodes} node tunnel IPs."));
        self.blank();

        self.line("Loading all service load balancer IPs.");
        self.users(findings, |kind| matches!(kind, UserKind::Service(_)));
        let name = |kind: &UserKind| if let UserKind::Service(name) = kind { Some(name.clone()) } else { None };
        let services: BTreeSet<String> =
            findings.users.values().flatten().filter_map(|user| name(&user.kind)).collect();
        self.line(format!("Found {} service load balancer.", services.len()));
        self.blank();

        self.line("Loading all workload endpoints.");
        let workloads = self.users(findings, |kind| matches!(kind, UserKind::Workload { .. }));
        self.line(format!("Found {workloads} workload IPs."));
        self.line(format!("Workloads and nodes are using {} IPs.", findings.users.len()));
        self.blank();
        self.line("Loading all handles");
    }

    /// Lists the users of a kind; returns how many there are.
    fn users(&mut self, findings: &Findings, of: impl Fn(&UserKind) -> bool) -> usize {
        let users: Vec<_> = findings.users.values().flatten().filter(|user| of(&user.kind)).collect();
        for user in &users {
            self.detail(Detail::All, format!("{} belongs to {user}", user.address));
        }
        users.len()
    }

    fn busiest(&mut self, findings: &Findings) {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for allocation in findings.allocations.values().flatten() {
            *counts.entry(&allocation.node).or_default() += 1;
        }
        let mut nodes: Vec<(&str, usize)> = counts.into_iter().collect();
        nodes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        self.line(format!("Looking for top (up to {BUSIEST}) nodes by allocations..."));
        for (node, count) in nodes.iter().take(BUSIEST) {
            self.line(format!("  {node} has {count} allocations"));
        }
        if let (Some((_, most)), Some((_, median))) = (nodes.first(), nodes.get(nodes.len() / 2)) {
            self.line(format!("Node with most allocations has {most}; median is {median}"));
        }
        self.blank();
    }

    /// What calicoctl scans for.
    fn scanned(&mut self, findings: &Findings) {
        self.line("Scanning for IPs that are allocated but not actually in use...");
        for address in &findings.leaked {
            for allocation in &findings.allocations[address] {
                self.detail(Detail::Problems, format!("{address} leaked; attrs {allocation}"));
            }
        }
        self.line(format!("Found {} IPs that are allocated in IPAM but not actually in use.", findings.leaked.len()));
        if !findings.undecided.is_empty() {
            for address in &findings.undecided {
                self.detail(Detail::Problems, format!("{address} could not be judged"));
            }
            let count = findings.undecided.len();
            self.line(format!("Could not judge {count} IPs: somebody who may use them cannot be read."));
        }

        self.line("Scanning for IPs that are in use by a workload or node but not allocated in IPAM...");
        let (outside, inside) = (&findings.outside_pools, &findings.unallocated);
        self.each_user(findings, outside, "is not in any active IP pool.");
        self.each_user(findings, inside, "and in active IPAM pool but has no IPAM allocation.");
        self.line(format!("Found {} in-use IPs that are not in active IP pools.", outside.len()));
        self.line(format!(
            "Found {} in-use IPs that are in active IP pools but have no corresponding IPAM allocation.",
            inside.len()
        ));
        self.blank();

        self.line("Scanning for IPAM handles with no matching IPs...");
        for handle in &findings.idle_handles {
            self.detail(Detail::Problems, format!("{} doesn't have any active IPs.", handle.id));
        }
        self.line(format!(
            "Found {} handles with no matching IPs (and {} handles with matches).",
            findings.idle_handles.len(),
            findings.good_handles
        ));
        self.line("Scanning for IPs with missing handle...");
        for handle in &findings.missing_handles {
            self.detail(Detail::Problems, format!("{handle} is in use in a block but doesn't exist."));
        }
        self.line(format!(
            "Found {} handles mentioned in blocks with no matching handle resource.",
            findings.missing_handles.len()
        ));
    }

    fn each_user(&mut self, findings: &Findings, addresses: &[IpAddr], what: &str) {
        for user in addresses.iter().flat_map(|address| &findings.users[address]) {
            self.detail(Detail::Problems, format!("{} in use by {user} {what}", user.address));
        }
    }

    /// What calicoctl does not scan for.
    fn judged_further(&mut self, findings: &Findings) {
        let names = |address: &IpAddr| {
            let names: Vec<String> = findings.users[address].iter().map(ToString::to_string).collect();
            names.join(", ")
        };
        self.line("Scanning for IPs with multiple owners...");
        let shared =
            findings.shared.iter().map(|address| format!("{address} has multiple owners: {}.", names(address)));
        self.problems(shared, "IPs that are in use by more than one workload or node.");
        let doubled = findings.doubled.iter().map(|address| {
            let blocks: Vec<String> = findings.allocations[address].iter().map(|it| it.block.to_string()).collect();
            format!("{address} is allocated in {}.", blocks.join(" and "))
        });
        self.problems(doubled, "IPs that are allocated more than once.");
        let misheld = findings
            .misheld
            .iter()
            .map(|(address, holder)| format!("{address} in use by {} is allocated to {holder}.", names(address)));
        self.problems(misheld, "IPs that are in use by another than they are allocated to.");

        self.line("Scanning for handles, blocks and affinities that disagree...");
        self.problems(&findings.miscounted, "wrong counts in handles.");
        self.problems(&findings.block_faults, "faults in blocks.");
        self.problems(&findings.affinity_faults, "affinities that do not match their blocks.");
        self.problems(&findings.unreadable, "addresses that cannot be read.");
        if !findings.unread.is_empty() {
            let unread = findings.unread.iter().map(|one| format!("{} cannot be read.", layout::path(&one.key)));
            self.problems(unread, "objects that cannot be read.");
        }
    }

    fn problems<T: Display>(&mut self, problems: impl IntoIterator<Item = T>, what: &str) {
        let mut count = 0;
        for problem in problems {
            self.detail(Detail::Problems, problem);
            count += 1;
        }
        self.line(format!("Found {count} {what}"));
    }
}
