//! The grammar of the commands about this node.

use super::{DEFAULT_CONFIG, OWN};
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(in crate::ctl) enum NodeVerb {
    /// Starts the agent's container with docker, for hosts without Kubernetes.
    #[command(
        override_usage = "calicoctl node run [--ip=<IP>] [--ip6=<IP6>] [--as=<AS_NUM>]
                     [--name=<NAME>]
                     [--ip-autodetection-method=<IP_AUTODETECTION_METHOD>]
                     [--ip6-autodetection-method=<IP6_AUTODETECTION_METHOD>]
                     [--log-dir=<LOG_DIR>]
                     [--node-image=<DOCKER_IMAGE_NAME>]
                     [--backend=(bird|gobgp|none)]
                     [--config=<CONFIG>]
                     [--felix-config=<CONFIG>]
                     [--no-default-ippools]
                     [--dryrun]
                     [--init-system]",
        after_help = "Without docker, run the agent itself: tortie node --help.\n\nExamples:\n  calicoctl node run \
                      --node-image=registry.example.org/tortie:1.0 --ip=192.168.10.11\n  calicoctl node run --dryrun \
                      --init-system"
    )]
    Run(Box<Run>),
    /// Shows whether the agent runs, and its BGP sessions.
    #[command(
        override_usage = "calicoctl node status [--allow-version-mismatch]",
        after_help = "Examples:\n  calicoctl node status\n  calicoctl node status -o json"
    )]
    Status(Status),
    /// Collects what somebody needs who looks for a fault of this node, in one archive.
    #[command(
        override_usage = "calicoctl node diags [--log-dir=<LOG_DIR>] [--allow-version-mismatch]",
        after_help = "The archive holds the node's routes, addresses, packet rules and logs: look into it before you give \
                      it away.\n\nExample:\n  calicoctl node diags"
    )]
    Diags(Diags),
    /// Checks that this kernel has what the agent needs.
    #[command(
        override_usage = "calicoctl node checksystem [--kernel-config=<kernel-config>] [--allow-version-mismatch]",
        after_help = "Examples:\n  calicoctl node checksystem\n  calicoctl node checksystem \
                      --kernel-config=/boot/config-6.1.0"
    )]
    Checksystem(Checksystem),
}

#[derive(Debug, Args)]
pub(in crate::ctl) struct Run {
    /// The node's IPv4 address, or autodetect; by default what the node's resource has, else detected.
    #[arg(long, value_name = "IP")]
    pub(in crate::ctl) ip: Option<String>,
    /// The node's IPv6 address, or autodetect; by default what the node's resource has.
    #[arg(long, value_name = "IP6")]
    pub(in crate::ctl) ip6: Option<String>,
    /// The node's AS number, 64512 or 1.10.
    #[arg(long = "as", value_name = "AS_NUM")]
    pub(in crate::ctl) asn: Option<String>,
    /// The node's name; by default the host's.
    #[arg(long, value_name = "NAME")]
    pub(in crate::ctl) name: Option<String>,
    /// first-found, can-reach=HOST, interface=REGEX,… or skip-interface=REGEX,….
    #[arg(long, default_value = "first-found", value_name = "IP_AUTODETECTION_METHOD")]
    pub(in crate::ctl) ip_autodetection_method: String,
    /// The same for IPv6.
    #[arg(long, default_value = "first-found", value_name = "IP6_AUTODETECTION_METHOD")]
    pub(in crate::ctl) ip6_autodetection_method: String,
    /// Folder of the host for logs.
    #[arg(long, default_value = "/var/log/calico", value_name = "LOG_DIR")]
    pub(in crate::ctl) log_dir: PathBuf,
    /// Image of the agent.
    #[arg(long, default_value = "quay.io/calico/node:latest", value_name = "DOCKER_IMAGE_NAME")]
    pub(in crate::ctl) node_image: String,
    /// bird, gobgp, or none for no BGP.
    #[arg(long, default_value = "bird", value_name = "BACKEND")]
    pub(in crate::ctl) backend: String,
    /// Configuration file.
    #[arg(short, long, default_value = DEFAULT_CONFIG, value_name = "CONFIG")]
    pub(in crate::ctl) config: PathBuf,
    /// File of the host with Felix' settings.
    #[arg(long, value_name = "CONFIG")]
    pub(in crate::ctl) felix_config: Option<PathBuf>,
    /// Do not create pools where there are none.
    #[arg(long)]
    pub(in crate::ctl) no_default_ippools: bool,
    /// Print the command and start nothing.
    #[arg(long)]
    pub(in crate::ctl) dryrun: bool,
    /// The container stays attached and goes when it ends, as an init system wants it.
    #[arg(long)]
    pub(in crate::ctl) init_system: bool,
}

#[derive(Debug, Args)]
pub(in crate::ctl) struct Status {
    /// ps for tables, or json.
    #[arg(short, long, default_value = "ps", value_name = "OUTPUT", help_heading = OWN)]
    pub(in crate::ctl) output: String,
}

#[derive(Debug, Args)]
pub(in crate::ctl) struct Diags {
    /// Folder with the agent's logs.
    #[arg(long, default_value = "/var/log/calico", value_name = "LOG_DIR")]
    pub(in crate::ctl) log_dir: PathBuf,
    /// Folder for the archive.
    #[arg(long, value_name = "DIR", help_heading = OWN)]
    pub(in crate::ctl) output_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(in crate::ctl) struct Checksystem {
    /// The kernel's configuration, where it is not at one of the usual places.
    #[arg(short = 'f', long, value_name = "kernel-config")]
    pub(in crate::ctl) kernel_config: Option<PathBuf>,
}
