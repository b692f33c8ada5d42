//! The arguments of `tortie lab`.

use clap::{Args, Parser, Subcommand, ValueEnum};
use lab::LabName;
use lab::topology::Dataplane;
use std::path::PathBuf;

/// Runs a cluster of network namespaces on this machine.
#[derive(Debug, Parser)]
#[command(name = "tortie lab")]
pub(super) struct Arguments {
    /// The lab's name
    #[arg(long, global = true, env = "TORTIE_LAB", default_value = "default", value_name = "LAB")]
    pub(super) name: LabName,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Build the lab; returns when its cluster works
    Up(UpArguments),
    /// End the lab and leave nothing of it
    Down,
    /// Make the pods of a manifest; returns when they work
    Apply {
        /// YAML or JSON, one or more `kind: Pod` documents; `-` is standard input
        #[arg(short, long, value_name = "FILE")]
        filename: PathBuf,
    },
    /// List pods
    Get(GetArguments),
    /// Delete pods; returns when they are gone
    Delete(DeleteArguments),
    /// Run a command in a pod, or on a node with --node
    Exec(ExecArguments),
    /// Stop a node's agent, and keep it stopped until it is started or its node boots; the node's kernel forwards on. Of a
    /// router, its programs
    Stop {
        /// The node or router
        #[arg(value_name = "NODE")]
        host: String,
    },
    /// Start a node's agent, or a router's programs, that were stopped
    Start {
        /// The node or router
        #[arg(value_name = "NODE")]
        host: String,
    },
    /// Show the lab's processes
    Status {
        /// Output format
        #[arg(short, long, value_enum)]
        output: Option<StatusOutput>,
    },
    /// Print the default topology
    ///
    /// Fields that it does not show, and what they are when left out:
    ///   pools[].blockSize   prefix length of a block (26)
    ///   pools[].ipipMode    Always, CrossSubnet or Never (Never)
    ///   pools[].vxlanMode   the same
    ///   pools[].disabled    whether the pool gives no addresses (false)
    ///   subnets[].mtu       of the router's link into the subnet (1500); larger packets are answered with ICMP
    ///                       "fragmentation needed" or cut, as in front of a narrow link between routers
    ///   nodes[].mtu         of the node's uplink, both ends (1500); larger packets of neighbours are lost, as on a
    ///                       switch, and the router sends no larger ones into the subnet
    ///   nodes[].tunl0       form of the tunnel: auto, kernel or bpf (auto)
    ///   nodes[].as          AS number of this node alone (nodeAs)
    ///   environment         variables of agents and datastore, such as {TORTIE_LOG: debug} (none)
    ///   nodeAs              AS number of the nodes (64512, as Calico has it)
    ///   routers[]           hosts that run another BGP program:
    ///     name, address     as a node has them
    ///     kind              bird (1.6), bird2, frr or gobgp. GoBGP has no routes in its kernel: what it learns it tells
    ///                       by `gobgp global rib`, and pods reach its networks through natOutgoing. bird2 is the
    ///                       machine's; the others are where tools/routers unpacks them, or in TORTIE_ROUTERS
    ///     as                its AS number
    ///     networks          prefixes that it announces, each with its first host address on the router (none)
    ///     password          TCP-MD5 password of all its sessions (none)
    ///     reflector         whether it reflects routes between the nodes of its AS (false)
    ///     holdTime          that it proposes, in seconds, 3 or more (90)
    /// A router has a session ready for every node; a BGPPeer brings it up, and that is the operator's to make:
    ///   {apiVersion: projectcalico.org/v3, kind: BGPPeer, metadata: {name: tor}, spec: {peerIP: ADDRESS, asNumber: AS}}
    /// with `calicoctl apply -f` on a node. Passwords are files on each node: /etc/tortie/secrets/NAME/KEY.
    #[command(verbatim_doc_comment)]
    Topology,
    /// Build a lab, show the three paths with a verdict on every value, and take it down
    Demo(DemoArguments),
}

#[derive(Debug, Args)]
pub(super) struct DemoArguments {
    /// How agents write packet rules
    #[arg(long, value_enum, default_value = "iptables")]
    pub(super) dataplane: DataplaneArgument,
    /// Leave the lab up afterwards
    #[arg(long)]
    pub(super) keep: bool,
    /// Folder for the packet captures
    #[arg(long, value_name = "DIR")]
    pub(super) pcap: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct UpArguments {
    /// YAML file with another topology than the default; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(super) topology: Option<PathBuf>,
    /// How agents write packet rules; overrides the topology's choice
    #[arg(long, value_enum)]
    pub(super) dataplane: Option<DataplaneArgument>,
    /// Build the machines and their wire only
    #[arg(long, hide = true)]
    pub(super) no_agents: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum DataplaneArgument {
    /// iptables and ipset
    Iptables,
    /// nftables
    Nftables,
}

impl From<DataplaneArgument> for Dataplane {
    fn from(argument: DataplaneArgument) -> Dataplane {
        match argument {
            DataplaneArgument::Iptables => Dataplane::Iptables,
            DataplaneArgument::Nftables => Dataplane::Nftables,
        }
    }
}

/// A kind of object, in each of its spellings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// Pods
    #[value(name = "pods", aliases = ["pod", "po"])]
    Pods,
}

#[derive(Debug, Args)]
pub(super) struct GetArguments {
    /// What to list
    #[arg(value_enum)]
    pub(super) kind: Kind,
    /// Only these
    pub(super) names: Vec<String>,
    /// Their namespace
    #[arg(short, long, default_value = "default")]
    pub(super) namespace: String,
    /// Pods of all namespaces
    #[arg(short = 'A', long, conflicts_with = "names")]
    pub(super) all_namespaces: bool,
    /// Output format
    #[arg(short, long, value_enum)]
    pub(super) output: Option<GetOutput>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum GetOutput {
    /// A table with addresses and nodes
    Wide,
    /// One JSON object
    Json,
    /// One YAML document
    Yaml,
}

#[derive(Debug, Args)]
pub(super) struct DeleteArguments {
    /// What to delete
    #[arg(value_enum)]
    pub(super) kind: Kind,
    /// Which
    #[arg(required = true)]
    pub(super) names: Vec<String>,
    /// Their namespace
    #[arg(short, long, default_value = "default")]
    pub(super) namespace: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum StatusOutput {
    /// As one JSON object
    Json,
}

#[derive(Debug, Args)]
pub(super) struct ExecArguments {
    /// The pod
    pub(super) pod: Option<String>,
    /// The node, instead of a pod; routers, the host outside and `router` are hosts too
    #[arg(long, value_name = "NODE", conflicts_with = "pod")]
    pub(super) node: Option<String>,
    /// The pod's namespace
    #[arg(short, long, default_value = "default")]
    pub(super) namespace: String,
    /// Pass standard input
    #[arg(short = 'i', long)]
    pub(super) stdin: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    pub(super) tty: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(super) command: Vec<String>,
}
