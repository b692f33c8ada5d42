//! The grammar of the ipam commands, and their usage texts.

use crate::ctl::args::DEFAULT_CONFIG;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(in crate::ctl) enum IpamVerb {
    /// Shows how full the pools are, or who holds an address.
    #[command(after_help = "Examples:\n  calicoctl ipam show\n  calicoctl ipam show --show-blocks\n  calicoctl ipam \
                            show --ip=10.244.166.129\n  calicoctl ipam show --show-borrowed\n  calicoctl ipam show \
                            --show-configuration")]
    Show(Show),
    /// Releases an address that nothing uses any more.
    ///
    /// The address is taken from no endpoint: use this only for addresses whose endpoint is gone.
    #[command(after_help = "Example:\n  calicoctl ipam release --ip=10.244.166.129")]
    Release(Release),
    /// Changes how addresses are given out.
    #[command(after_help = "Examples:\n  calicoctl ipam configure --strictaffinity=true\n  calicoctl ipam configure \
                            --strictaffinity=true --max-blocks-per-host=4")]
    Configure(Configure),
}

/// Where the datastore is.
#[derive(Debug, Args)]
pub(super) struct Datastore {
    /// Configuration file.
    #[arg(short, long, default_value = DEFAULT_CONFIG, value_name = "FILE")]
    pub(super) config: PathBuf,
}

#[derive(Debug, Args)]
pub(in crate::ctl) struct Show {
    #[command(flatten)]
    pub(super) which: Which,
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
pub(in crate::ctl) struct Release {
    /// Address to release.
    #[arg(long, value_name = "IP", required = true)]
    pub(super) ip: Option<String>,
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

/// A command's usage, as lines after its name; all commands' for an unknown one.
pub(in crate::ctl) fn usage(command: &str) -> Vec<String> {
    const LAST: &str = "[--config=<CONFIG>] [--context=<context>] [--allow-version-mismatch]";
    let lines: &[&str] = match command {
        "show" => &["show [--ip=<IP> | --show-blocks | --show-borrowed | --show-configuration]", LAST],
        "release" => &["release --ip=<IP>", LAST],
        "configure" => &[
            "configure [--strictaffinity=<true/false>]",
            "[--max-blocks-per-host=<number>]",
            "[--kubevirt-ip-persistence=<Enabled|Disabled>]",
            LAST,
        ],
        _ => &["<command> [<args>...]"],
    };
    lines.iter().map(|line| (*line).to_owned()).collect()
}
