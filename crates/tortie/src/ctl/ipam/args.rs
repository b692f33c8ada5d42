//! The grammar of the ipam commands, and their usage texts.

use crate::ctl::args::{Datastore, OWN};
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(in crate::ctl) enum IpamVerb {
    /// Shows how full the pools are, or who holds an address.
    #[command(
        override_usage = "calicoctl ipam show [--ip=<IP> | --show-blocks | --show-borrowed | --show-configuration] \
                          [--config=<CONFIG>] [--allow-version-mismatch]",
        after_help = "Examples:\n  calicoctl ipam show\n  calicoctl ipam show --show-blocks\n  calicoctl ipam \
                            show --ip=10.244.166.129\n  calicoctl ipam show --show-borrowed\n  calicoctl ipam show \
                            --show-configuration\n  calicoctl ipam show -o json"
    )]
    Show(Show),
    /// Checks that every address in use is allocated once, every allocation in use, and that the books agree.
    ///
    /// The last line says how many problems there are; the exit status is 0 also with problems, as calicoctl's. A pod
    /// that is just being added counts as a problem until its endpoint is written.
    #[command(
        override_usage = "calicoctl ipam check [--config=<CONFIG>] [--show-all-ips] [--show-problem-ips] [--output=<FILE>] \
                          [--kubeconfig=<KUBECONFIG>] [--allow-version-mismatch]",
        after_help = "Examples:\n  calicoctl ipam check\n  calicoctl ipam check --show-problem-ips\n  calicoctl \
                            ipam check -o report.json"
    )]
    Check(Check),
    /// Releases an address that nothing uses any more, or all those that reports of ipam check call leaked.
    ///
    /// An address is taken from no endpoint: use this only for addresses whose endpoint is gone. With several reports,
    /// only what is leaked in all of them is released.
    #[command(
        override_usage = "calicoctl ipam release [--ip=<IP>] [--from-report=<REPORT>]... [--config=<CONFIG>] [--force] \
                          [--allow-version-mismatch]",
        after_help = "Examples:\n  calicoctl ipam release --ip=10.244.166.129\n  calicoctl ipam release \
                            --from-report=report.json --force\n  calicoctl ipam release --from-report=an-hour-ago.json \
                            --from-report=report.json --force"
    )]
    Release(Release),
    /// Replaces a pool by smaller ones of equal size: a power of 2, 64 at most. Needs a locked datastore.
    ///
    /// Blocks and addresses stay as they are. Unlock the datastore when the pools are as they should be.
    #[command(
        override_usage = "calicoctl ipam split <NUMBER> [--cidr=<CIDR>] [--name=<POOL_NAME>] [--config=<CONFIG>] \
                          [--allow-version-mismatch]",
        after_help = "Examples:\n  calicoctl datastore migrate lock\n  calicoctl ipam split \
                            --name=default-ipv4-ippool 4\n  calicoctl datastore migrate unlock"
    )]
    Split(Split),
    /// Changes how addresses are given out.
    #[command(
        override_usage = "calicoctl ipam configure [--strictaffinity=<true/false>]
                               [--max-blocks-per-host=<number>]
                               [--kubevirt-ip-persistence=<Enabled|Disabled>]
                               [--config=<CONFIG>]
                               [--allow-version-mismatch]",
        after_help = "Examples:\n  calicoctl ipam configure --strictaffinity=true\n  calicoctl ipam configure \
                            --strictaffinity=true --max-blocks-per-host=4"
    )]
    Configure(Configure),
}

#[derive(Debug, Args)]
pub(in crate::ctl) struct Show {
    #[command(flatten)]
    pub(super) which: Which,
    /// ps for a table, or json.
    #[arg(short, long, default_value = "ps", value_name = "OUTPUT", help_heading = OWN)]
    pub(super) output: String,
    #[command(flatten)]
    pub(super) datastore: Datastore,
}

/// What to show instead of the pools; one of them at most.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(super) struct Which {
    /// Who holds this address.
    #[arg(long, value_name = "IP")]
    pub(super) ip: Option<String>,
    /// The pools with their blocks.
    #[arg(long)]
    pub(super) show_blocks: bool,
    /// The addresses that a node holds in a block of another's.
    #[arg(long)]
    pub(super) show_borrowed: bool,
    /// The settings that `ipam configure` changes.
    #[arg(long)]
    pub(super) show_configuration: bool,
}

#[derive(Debug, Args)]
pub(in crate::ctl) struct Check {
    /// Print every address that is looked at.
    #[arg(long)]
    pub(super) show_all_ips: bool,
    /// Print every problem.
    #[arg(long)]
    pub(super) show_problem_ips: bool,
    /// Write a report for ipam release to this file.
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// A kubeconfig; accepted for calicoctl's sake, services are not read.
    #[arg(long, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    pub(super) datastore: Datastore,
}

#[derive(Debug, Args)]
#[group(id = "what", required = true, multiple = false, args = ["ip", "from_report"])]
pub(in crate::ctl) struct Release {
    /// Address to release.
    #[arg(long, value_name = "IP")]
    pub(super) ip: Option<String>,
    /// Report of ipam check; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub(super) from_report: Vec<PathBuf>,
    /// Release although the datastore is not locked, or a report is of another version.
    #[arg(long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) datastore: Datastore,
}

#[derive(Debug, Args)]
#[group(id = "pool", required = true, multiple = false, args = ["cidr", "name"])]
pub(in crate::ctl) struct Split {
    /// How many pools to make.
    #[arg(allow_negative_numbers = true)]
    pub(super) number: String,
    /// Range of the pool.
    #[arg(long, value_name = "CIDR")]
    pub(super) cidr: Option<String>,
    /// Name of the pool.
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    #[command(flatten)]
    pub(super) datastore: Datastore,
}

#[derive(Debug, Args)]
pub(in crate::ctl) struct Configure {
    /// Whether a node gives out addresses of its own blocks alone: true or false.
    #[arg(long = "strictaffinity", value_name = "BOOL", allow_hyphen_values = true)]
    pub(super) strict_affinity: Option<String>,
    /// The most blocks that a node may have; 0 for 20. Needs strict affinity.
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub(super) max_blocks_per_host: Option<String>,
    /// Whether a KubeVirt virtual machine keeps its address: Enabled or Disabled. Stored; nothing here acts on it.
    #[arg(long = "kubevirt-ip-persistence", value_name = "WORD")]
    pub(super) kubevirt_ip_persistence: Option<String>,
    #[command(flatten)]
    pub(super) datastore: Datastore,
}
