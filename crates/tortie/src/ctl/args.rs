//! The command line's grammar and its usage texts.

use super::Output;
use super::ipam::{self, IpamVerb};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::path::{Path, PathBuf};

/// The configuration file that may be missing.
pub(super) const DEFAULT_CONFIG: &str = "/etc/calico/calicoctl.cfg";

/// Commands of Calico's that this version does not have.
const NOT_YET: [&str; 8] = [
    "datastore migrate export",
    "datastore migrate import",
    "cluster",
    "convert",
    "node run",
    "node checksystem",
    "node diags",
    "completion",
];

/// Reads and changes the cluster's resources, and shows the state of this node's BGP sessions.
///
/// The datastore is that of the configuration file, or else of the environment: DATASTORE_TYPE and ETCD_ENDPOINTS.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  calicoctl get ippools -o wide
  calicoctl get workloadendpoints -A
  calicoctl apply -f pool.yaml
  calicoctl patch bgpconfig default -p '{\"spec\":{\"nodeToNodeMeshEnabled\":false}}'
  calicoctl ipam show --show-blocks
  calicoctl node status
  calicoctl bgp peers")]
pub(super) struct Cli {
    /// panic, fatal, error, warn, info or debug; accepted for calicoctl's sake.
    #[arg(short, long, global = true, default_value = "panic", value_name = "LEVEL")]
    log_level: String,
    /// Context of a kubeconfig; refused while there is no Kubernetes datastore.
    #[arg(long, global = true, value_name = "CONTEXT")]
    pub(super) context: Option<String>,
    /// Work on a cluster of another version too.
    #[arg(long, global = true)]
    pub(super) allow_version_mismatch: bool,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Creates resources; fails for those that exist.
    #[command(after_help = "Example:\n  calicoctl create -f pool.yaml")]
    Create(Create),
    /// Creates resources, or changes those that exist.
    #[command(after_help = "Examples:\n  calicoctl apply -f ./cluster -R\n  calicoctl get ippool default-ipv4-ippool \
                            -o yaml | sed 's/natOutgoing: true/natOutgoing: false/' | calicoctl apply -f -")]
    Apply(Files),
    /// Changes resources that exist.
    #[command(after_help = "Example:\n  calicoctl replace -f pool.yaml")]
    Replace(Files),
    /// Deletes resources by name, or those that a file names.
    #[command(after_help = "Examples:\n  calicoctl delete bgppeer rack-1\n  calicoctl delete -f peers.yaml")]
    Delete(Delete),
    /// Shows resources.
    #[command(after_help = "Examples:\n  calicoctl get nodes -o wide\n  calicoctl get wep -A\n  calicoctl get ippool \
                            -o custom-columns=NAME,CIDR,NAT\n  calicoctl get ippool blue -o yaml --export")]
    Get(Get),
    /// Changes fields of one resource.
    #[command(after_help = "Example:\n  calicoctl patch ippool blue -p '{\"spec\":{\"natOutgoing\":true}}'")]
    Patch(Patch),
    /// Sets, changes or removes a label of one resource.
    #[command(after_help = "Examples:\n  calicoctl label nodes worker-1 rack=1 --overwrite\n  calicoctl label nodes \
                            worker-1 rack --remove")]
    Label(Label),
    /// Checks resources in files, without a datastore.
    #[command(after_help = "Example:\n  calicoctl validate -f pool.yaml")]
    Validate(Files),
    /// Shows the version of this program and of the cluster.
    Version(Version),
    /// Asks this node's agent.
    #[command(subcommand, after_help = "Example:\n  calicoctl node status")]
    Node(NodeVerb),
    /// Shows, checks and mends who holds which address.
    #[command(
        subcommand,
        after_help = "Examples:\n  calicoctl ipam show\n  calicoctl ipam check\n  calicoctl ipam release --ip=10.244.166.129"
    )]
    Ipam(IpamVerb),
    /// Locks and unlocks the datastore.
    #[command(subcommand, after_help = "Example:\n  calicoctl datastore migrate lock")]
    Datastore(DatastoreVerb),
    /// Shows BGP as this node's agent speaks it.
    #[command(
        subcommand,
        after_help = "Examples:\n  calicoctl bgp peers\n  tortie lab exec --node k8s-w1 -- tortie ctl bgp peers"
    )]
    Bgp(BgpVerb),
}

#[derive(Debug, Subcommand)]
pub(super) enum BgpVerb {
    /// Lists this node's BGP peers, and why there is no session where there is none.
    #[command(
        after_help = "ROUTES is how many the peer announces, and how many it is told.\n\nExamples:\n  calicoctl bgp \
                            peers\n  calicoctl bgp peers | grep -v Established\n  calicoctl bgp peers -o json"
    )]
    Peers(BgpPeers),
}

#[derive(Debug, Args)]
pub(super) struct BgpPeers {
    /// ps for a table, or json.
    #[arg(short, long, default_value = "ps", value_name = "FORMAT")]
    pub(super) output: String,
}

#[derive(Debug, Subcommand)]
pub(super) enum DatastoreVerb {
    /// Stops new pods, before their addresses or pools are changed.
    #[command(
        subcommand,
        after_help = "Examples:\n  calicoctl datastore migrate lock\n  calicoctl datastore migrate \
                                        unlock"
    )]
    Migrate(MigrateVerb),
}

#[derive(Debug, Subcommand)]
pub(super) enum MigrateVerb {
    /// Makes the CNI plugins refuse pods until the datastore is unlocked.
    Lock(Datastore),
    /// Lets the CNI plugins work again.
    Unlock(Datastore),
}

#[derive(Debug, Subcommand)]
pub(super) enum NodeVerb {
    /// Shows whether the agent runs, and its BGP sessions.
    Status,
}

/// Where the datastore is.
#[derive(Debug, Args)]
pub(super) struct Datastore {
    /// Configuration file.
    #[arg(short, long, default_value = DEFAULT_CONFIG, value_name = "FILE")]
    pub(super) config: PathBuf,
}

/// Where the datastore is, and which namespace counts.
#[derive(Debug, Args)]
pub(super) struct Common {
    /// Configuration file.
    #[arg(short, long, default_value = DEFAULT_CONFIG, value_name = "FILE")]
    pub(super) config: PathBuf,
    /// Namespace of namespaced resources; `default` if none is named.
    #[arg(short, long, value_name = "NS")]
    pub(super) namespace: Option<String>,
}

/// Files with resources.
#[derive(Debug, Args)]
pub(super) struct Files {
    /// YAML or JSON file, folder of such files, or - for standard input.
    #[arg(short, long, value_name = "FILE", required = true)]
    pub(super) filename: Option<PathBuf>,
    #[command(flatten)]
    pub(super) reading: Reading,
    #[command(flatten)]
    pub(super) common: Common,
}

/// How files are read.
#[derive(Debug, Args)]
pub(super) struct Reading {
    /// Also read a folder's folders.
    #[arg(short = 'R', long)]
    pub(super) recursive: bool,
    /// Do not fail when there is no resource in the files.
    #[arg(long)]
    pub(super) skip_empty: bool,
}

#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    pub(super) files: Files,
    /// Pass over resources that exist.
    #[arg(long)]
    pub(super) skip_exists: bool,
}

#[derive(Debug, Args)]
pub(super) struct Delete {
    /// Kind of the resources, such as ippool.
    #[arg(required_unless_present = "filename", conflicts_with = "filename")]
    pub(super) kind: Option<String>,
    /// Their names.
    pub(super) names: Vec<String>,
    /// YAML or JSON file, folder of such files, or - for standard input.
    #[arg(short, long, value_name = "FILE")]
    pub(super) filename: Option<PathBuf>,
    #[command(flatten)]
    pub(super) reading: Reading,
    #[command(flatten)]
    pub(super) common: Common,
    /// Pass over resources that do not exist.
    #[arg(long)]
    pub(super) skip_not_exists: bool,
}

#[derive(Debug, Args)]
pub(super) struct Get {
    /// Kind of the resources, such as ippool.
    #[arg(required_unless_present = "filename", conflicts_with = "filename")]
    pub(super) kind: Option<String>,
    /// Their names; all if none is given.
    pub(super) names: Vec<String>,
    /// YAML or JSON file, folder of such files, or - for standard input: shows the resources it names.
    #[arg(short, long, value_name = "FILE")]
    pub(super) filename: Option<PathBuf>,
    #[command(flatten)]
    pub(super) reading: Reading,
    #[command(flatten)]
    pub(super) common: Common,
    /// ps, wide, yaml, json, or custom-columns=NAME,….
    #[arg(short, long, default_value = "ps", value_name = "FORMAT")]
    pub(super) output: String,
    /// Resources of all namespaces.
    #[arg(short = 'A', long, short_alias = 'a')]
    pub(super) all_namespaces: bool,
    /// Leave out what belongs to this cluster alone: namespace, uid, revision, times.
    #[arg(long)]
    pub(super) export: bool,
}

#[derive(Debug, Args)]
pub(super) struct Patch {
    /// Kind of the resource.
    pub(super) kind: String,
    /// Its name.
    pub(super) name: String,
    /// The change, as JSON.
    #[arg(short, long, value_name = "PATCH")]
    pub(super) patch: String,
    /// `json` for a list of operations (RFC 6902); `strategic` and `merge` are the same here (RFC 7386).
    #[arg(short = 't', long = "type", default_value = "strategic", value_name = "TYPE")]
    pub(super) patch_type: String,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Label {
    /// Kind of the resource.
    pub(super) kind: String,
    /// Its name.
    pub(super) name: String,
    /// `KEY=VALUE`, or with --remove `KEY`.
    pub(super) label: String,
    /// Change a label that is set.
    #[arg(long, conflicts_with = "remove")]
    pub(super) overwrite: bool,
    /// Remove the label.
    #[arg(long)]
    pub(super) remove: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Version {
    /// Only this program's version.
    #[arg(long)]
    pub(super) client: bool,
    /// Configuration file.
    #[arg(short, long, default_value = DEFAULT_CONFIG, value_name = "FILE")]
    pub(super) config: PathBuf,
}

impl Cli {
    /// Reads the arguments; otherwise says what to print: help, or how the command is used.
    pub(super) fn read(arguments: &[String], program: &str) -> Result<Cli, Output> {
        let program = display_name(program);
        let command = Cli::command().bin_name(program).name("calicoctl");
        if arguments.is_empty() {
            let stdout = "Invalid option: ''. Use flag '--help' to read about a specific subcommand.\n".to_owned();
            return Err(Output { stdout, stderr: usage(program, "", ""), code: 1 });
        }
        let words: Vec<&str> = arguments.iter().map(String::as_str).filter(|word| !word.starts_with('-')).collect();
        let verb = words.first().copied().unwrap_or_default();
        let is_first = |command: &&&str| command.split(' ').eq(words.iter().copied().take(command.split(' ').count()));
        if let Some(missing) = NOT_YET.iter().find(is_first) {
            return Err(Output::failure(&format!("{program} {missing} is not supported yet")));
        }
        let all = std::iter::once("calicoctl").chain(arguments.iter().map(String::as_str));
        let parsed = command.try_get_matches_from(all).and_then(|matches| Cli::from_arg_matches(&matches));
        parsed.map_err(|error| {
            if error.kind() == ErrorKind::DisplayHelp {
                return Output::success(error.to_string());
            }
            let second = words.get(1).copied().unwrap_or_default();
            let stderr = format!("{}\n{}", reason(&error), usage(program, verb, second));
            Output { stderr, code: 1, ..Output::default() }
        })
    }
}

/// The first sentence of clap's message.
fn reason(error: &clap::Error) -> String {
    let text = error.to_string();
    let sentence: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    sentence.join(" ").trim_start_matches("error: ").to_owned()
}

/// How the program is called, for its texts.
fn display_name(program: &str) -> &'static str {
    match Path::new(program).file_name().and_then(|name| name.to_str()) {
        Some("kubectl-calico") => "kubectl-calico",
        Some("tortie") => "tortie ctl",
        Some("tortiectl") => "tortiectl",
        _ => "calicoctl",
    }
}

/// A verb's usage, of those with commands the command's; the overall one for an unknown verb.
fn usage(program: &str, verb: &str, command: &str) -> String {
    const FILE: &str = "--filename=<FILENAME> [--recursive] [--skip-empty]";
    const COMMON: &str = "[--config=<CONFIG>] [--namespace=<NS>]";
    const LAST: &str = "[--context=<context>] [--allow-version-mismatch]";
    let lines: Vec<String> = match verb {
        "create" => vec![format!("{FILE} [--skip-exists]"), format!("{COMMON} {LAST}")],
        "apply" | "replace" => vec![FILE.to_owned(), format!("{COMMON} {LAST}")],
        "validate" => vec![FILE.to_owned()],
        "get" => vec![
            "( (<KIND> [<NAME>...]) |".to_owned(),
            format!("{FILE} )"),
            format!("[--output=<OUTPUT>] {COMMON} [--all-namespaces] [--export] {LAST}"),
        ],
        "delete" => vec![
            "( (<KIND> [<NAME>...]) |".to_owned(),
            "--filename=<FILE> [--recursive] [--skip-empty] )".to_owned(),
            format!("[--skip-not-exists] {COMMON} {LAST}"),
        ],
        "patch" => vec!["<KIND> <NAME> --patch=<PATCH> [--type=<TYPE>]".to_owned(), format!("{COMMON} {LAST}")],
        "label" => vec![
            "<KIND> <NAME>".to_owned(),
            "( <key>=<value> [--overwrite] |".to_owned(),
            "<key> --remove )".to_owned(),
            format!("{COMMON} {LAST}"),
        ],
        "version" => vec!["[--client] [--config=<CONFIG>]".to_owned()],
        "node" => vec!["status".to_owned()],
        "ipam" => ipam::usage(command),
        "datastore" => vec!["migrate <command> [<args>...]".to_owned()],
        "bgp" => vec!["peers [--output=<OUTPUT>]".to_owned()],
        _ => return format!("Usage:\n  {program} [options] <command> [<args>...]\n"),
    };
    let head = format!("  {program} {verb} ");
    let indent = format!("\n{}", " ".repeat(head.len()));
    format!("Usage:\n{head}{}\n", lines.join(&indent))
}
