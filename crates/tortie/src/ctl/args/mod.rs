//! The command line's grammar and its usage texts.
//!
//! A command's parser and its usage stand together: `override_usage` is calicoctl's own form, word for word, and a test
//! holds the two to each other. What calicoctl does not have is under the heading [`OWN`] of the help.

mod datastore;
mod node;
mod resources;

pub(super) use datastore::{Datastore, DatastoreVerb, MigrateVerb};
pub(super) use node::{Checksystem, Diags, NodeVerb, Run, Status};
pub(super) use resources::{Common, Create, Delete, Files, Get, Label, Patch, Reading, Trial, Validate};

use super::Output;
use super::ipam::IpamVerb;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::path::{Path, PathBuf};

/// The configuration file that may be missing.
pub(super) const DEFAULT_CONFIG: &str = "/etc/calico/calicoctl.cfg";

/// The help's heading of options that calicoctl does not have.
pub(super) const OWN: &str = "Options beyond calicoctl's";

/// How help is laid out.
const HELP: &str = "{about-with-newline}\nUsage:\n  {usage}\n\n{all-args}{after-help}";

/// The word for no log at all.
pub(super) const SILENT: &str = "panic";
/// Words for the log, the least first.
const LOG_LEVELS: [&str; 6] = [SILENT, "fatal", "error", "warn", "info", "debug"];

/// Reads and changes the cluster's resources, and shows the state of this node's BGP sessions.
///
/// The datastore is that of the configuration file, or else of the environment: DATASTORE_TYPE and ETCD_ENDPOINTS.
#[derive(Debug, Parser)]
#[command(
    override_usage = "calicoctl [options] <command> [<args>...]",
    infer_long_args = true,
    after_help = "Examples:
  calicoctl get ippools -o wide
  calicoctl get workloadendpoints -A
  calicoctl apply -f pool.yaml
  calicoctl patch bgpconfig default -p '{\"spec\":{\"nodeToNodeMeshEnabled\":false}}'
  calicoctl ipam show --show-blocks
  calicoctl node status
  calicoctl bgp peers"
)]
pub(super) struct Cli {
    /// Log to standard error: panic (nothing), fatal, error, warn, info or debug.
    #[arg(short, long, default_value = "panic", value_name = "LEVEL")]
    pub(super) log_level: String,
    /// Context of a kubeconfig; refused while there is no Kubernetes datastore.
    #[arg(long, global = true, value_name = "context")]
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
    #[command(
        override_usage = "calicoctl create --filename=<FILENAME> [--recursive] [--skip-empty] [--skip-exists]
                   [--config=<CONFIG>] [--namespace=<NS>] [--context=<context>] [--allow-version-mismatch]",
        after_help = "Examples:\n  calicoctl create -f pool.yaml\n  calicoctl create -f ./cluster -R --skip-exists"
    )]
    Create(Create),
    /// Creates resources, or changes those that exist.
    #[command(
        override_usage = "calicoctl apply --filename=<FILENAME> [--recursive] [--skip-empty]
                  [--config=<CONFIG>] [--namespace=<NS>] [--context=<context>] [--allow-version-mismatch]",
        after_help = "Examples:\n  calicoctl apply -f ./cluster -R\n  calicoctl apply -f pool.yaml --dry-run\n  calicoctl \
                      get ippool default-ipv4-ippool -o yaml | sed 's/natOutgoing: true/natOutgoing: false/' | \
                      calicoctl apply -f -"
    )]
    Apply(Files),
    /// Changes resources that exist.
    #[command(
        override_usage = "calicoctl replace --filename=<FILENAME> [--recursive] [--skip-empty]
                    [--config=<CONFIG>] [--namespace=<NS>] [--context=<context>] [--allow-version-mismatch]",
        after_help = "Example:\n  calicoctl replace -f pool.yaml"
    )]
    Replace(Files),
    /// Deletes resources by name, or those that a file names.
    #[command(
        override_usage = "calicoctl delete ( (<KIND> [<NAME>...]) |
                   --filename=<FILE> [--recursive] [--skip-empty] )
                   [--skip-not-exists] [--config=<CONFIG>] [--namespace=<NS>] [--context=<context>] \
                          [--allow-version-mismatch]",
        after_help = "Examples:\n  calicoctl delete bgppeer rack-1\n  calicoctl delete -f peers.yaml -s\n  calicoctl \
                      delete bgppeers --selector 'rack == \"1\"' --dry-run"
    )]
    Delete(Delete),
    /// Shows resources.
    #[command(
        override_usage = "calicoctl get ( (<KIND> [<NAME>...]) |
                --filename=<FILENAME> [--recursive] [--skip-empty] )
                [--output=<OUTPUT>] [--config=<CONFIG>] [--namespace=<NS>] [--all-namespaces] [--export] \
                          [--context=<context>] [--allow-version-mismatch]",
        after_help = "Examples:\n  calicoctl get nodes -o wide\n  calicoctl get wep -A --watch\n  calicoctl get nodes \
                      --selector 'rack == \"1\"'\n  calicoctl get ippool -o custom-columns=NAME,CIDR,NAT\n  calicoctl \
                      get ippool blue -o yaml --export\n  calicoctl get ippools -o 'go-template={{range .}}{{range \
                      .Items}}{{.Spec.CIDR}}{{\"\\n\"}}{{end}}{{end}}'"
    )]
    Get(Get),
    /// Changes fields of one resource.
    #[command(
        override_usage = "calicoctl patch <KIND> <NAME> --patch=<PATCH> [--type=<TYPE>] [--config=<CONFIG>] \
                          [--namespace=<NS>] [--context=<context>] [--allow-version-mismatch]",
        after_help = "Example:\n  calicoctl patch ippool blue -p '{\"spec\":{\"natOutgoing\":true}}'"
    )]
    Patch(Patch),
    /// Sets, changes or removes a label of one resource.
    #[command(
        override_usage = "calicoctl label (<KIND> <NAME>
                  ( <key>=<value> [--overwrite] |
                    <key> --remove )
                  [--config=<CONFIG>] [--namespace=<NS>] [--context=<context>]) [--allow-version-mismatch]",
        after_help = "Examples:\n  calicoctl label nodes worker-1 rack=1 --overwrite\n  calicoctl label nodes worker-1 \
                      rack --remove"
    )]
    Label(Label),
    /// Checks resources in files, without a datastore.
    #[command(
        override_usage = "calicoctl validate --filename=<FILENAME> [--recursive] [--skip-empty] \
                          [--allow-version-mismatch]",
        after_help = "Example:\n  calicoctl validate -f pool.yaml"
    )]
    Validate(Validate),
    /// Shows the version of this program and of the cluster.
    #[command(
        override_usage = "calicoctl version [--config=<CONFIG>] [--poll=<POLL>] [--client] [--allow-version-mismatch]",
        after_help = "Examples:\n  calicoctl version\n  calicoctl version --client\n  calicoctl version --poll=5s"
    )]
    Version(Version),
    /// Shows, starts and examines this node's agent.
    #[command(
        subcommand,
        override_usage = "calicoctl node <command> [<args>...]",
        after_help = "Example:\n  calicoctl node status"
    )]
    Node(NodeVerb),
    /// Shows, checks and mends who holds which address.
    #[command(
        subcommand,
        override_usage = "calicoctl ipam <command> [<args>...]",
        after_help = "Examples:\n  calicoctl ipam show\n  calicoctl ipam check\n  calicoctl ipam release \
                      --ip=10.244.166.129"
    )]
    Ipam(IpamVerb),
    /// Exports, locks and unlocks the datastore.
    #[command(
        subcommand,
        override_usage = "calicoctl datastore <command> [<args>...]",
        after_help = "Example:\n  calicoctl datastore migrate lock"
    )]
    Datastore(DatastoreVerb),
    /// Collects what somebody needs who looks for a fault of a Kubernetes cluster.
    #[command(
        subcommand,
        override_usage = "calicoctl cluster <command> [<args>...]",
        after_help = "Not supported yet: it belongs to the Kubernetes datastore. On a node: calicoctl node diags.\n\n\
                      Example:\n  calicoctl cluster diags"
    )]
    Cluster(ClusterVerb),
    /// Shows BGP as this node's agent speaks it.
    #[command(
        subcommand,
        override_usage = "calicoctl bgp <command> [<args>...]",
        after_help = "Examples:\n  calicoctl bgp peers\n  tortie lab exec --node k8s-w1 -- tortie ctl bgp peers"
    )]
    Bgp(BgpVerb),
}

#[derive(Debug, Subcommand)]
pub(super) enum BgpVerb {
    /// Lists this node's BGP peers, and why there is no session where there is none.
    #[command(
        override_usage = "calicoctl bgp peers [--output=<OUTPUT>]",
        after_help = "ROUTES is how many the peer announces, and how many it is told.\n\nExamples:\n  calicoctl bgp \
                      peers\n  calicoctl bgp peers | grep -v Established\n  calicoctl bgp peers -o json"
    )]
    Peers(BgpPeers),
}

#[derive(Debug, Args)]
pub(super) struct BgpPeers {
    /// ps for a table, or json.
    #[arg(short, long, default_value = "ps", value_name = "OUTPUT")]
    pub(super) output: String,
}

#[derive(Debug, Subcommand)]
pub(super) enum ClusterVerb {
    /// Collects the state of all nodes, with kubectl.
    #[command(
        override_usage = "calicoctl cluster diags [--since=<SINCE>] [--max-logs=<MAX_LOGS>] \
                          [--max-parallelism=<MAX_PARALLELISM>]
                          [--focus-nodes=<NODES>] [--config=<CONFIG>] [--skip-temp-dir-cleanup]",
        after_help = "Not supported yet: it belongs to the Kubernetes datastore.\n\nExample:\n  calicoctl cluster diags"
    )]
    Diags(ClusterDiags),
}

#[derive(Debug, Args)]
pub(super) struct ClusterDiags {
    /// Logs that are not older, such as 5m; all by default.
    #[arg(long, value_name = "SINCE")]
    since: Option<String>,
    /// The most logs of each kind.
    #[arg(long, value_name = "MAX_LOGS")]
    max_logs: Option<String>,
    /// How much is collected at once.
    #[arg(long, value_name = "MAX_PARALLELISM")]
    max_parallelism: Option<String>,
    /// Nodes that are looked at first, with commas between.
    #[arg(long, value_name = "NODES")]
    focus_nodes: Option<String>,
    /// Configuration file.
    #[arg(short, long, value_name = "CONFIG")]
    config: Option<PathBuf>,
    /// Leave what was collected beside the archive.
    #[arg(long)]
    skip_temp_dir_cleanup: bool,
}

#[derive(Debug, Args)]
pub(super) struct Version {
    /// Configuration file.
    #[arg(short, long, default_value = DEFAULT_CONFIG, value_name = "CONFIG")]
    pub(super) config: PathBuf,
    /// Look again after this time, such as 5s, and print what has changed; until interrupted.
    #[arg(long, value_name = "POLL")]
    pub(super) poll: Option<String>,
    /// Only this program's version.
    #[arg(long)]
    pub(super) client: bool,
    /// ps for lines, or json.
    #[arg(short, long, default_value = "ps", value_name = "OUTPUT", help_heading = OWN, conflicts_with = "poll")]
    pub(super) output: String,
}

impl Cli {
    /// Reads the arguments; otherwise says what to print: help, or how the command is used.
    pub(super) fn read(arguments: &[String], program: &str) -> Result<Cli, Output> {
        let program = display_name(program);
        if arguments.is_empty() {
            let stdout = "Invalid option: ''. Use flag '--help' to read about a specific subcommand.\n".to_owned();
            return Err(Output { stdout, stderr: usage(&command(), program), code: 1 });
        }
        let all = std::iter::once("calicoctl").chain(arguments.iter().map(String::as_str));
        let parsed = command().try_get_matches_from(all).and_then(|matches| Cli::from_arg_matches(&matches));
        let cli = parsed.map_err(|error| refused(&error, arguments, program))?;
        if !LOG_LEVELS.contains(&cli.log_level.as_str()) {
            let expected = LOG_LEVELS.join(", ");
            let level = &cli.log_level;
            return Err(Output::failure(&format!("Unknown log level: {level}, expected one of: \n{expected}.")));
        }
        Ok(cli)
    }
}

/// The whole grammar, built, with help laid out as ours.
fn command() -> clap::Command {
    fn laid_out(command: clap::Command) -> clap::Command {
        let command = command.help_template(HELP);
        let names: Vec<String> = command.get_subcommands().map(|it| it.get_name().to_owned()).collect();
        names.into_iter().fold(command, |command, name| {
            command.mut_subcommand(name, |it| laid_out(it).disable_help_subcommand(true))
        })
    }
    let mut command = laid_out(Cli::command().name("calicoctl"));
    command.build();
    command
}

/// What to print where the parser had no answer.
fn refused(error: &clap::Error, arguments: &[String], program: &str) -> Output {
    if error.kind() == ErrorKind::DisplayHelp {
        return Output::success(named(&error.to_string(), program));
    }
    let whole = command();
    let mut current = &whole;
    for word in arguments.iter().filter(|word| !word.starts_with('-')) {
        let Some(found) = current.find_subcommand(word) else { break };
        current = found;
    }
    let mut stderr = usage(current, program);
    let unknown = matches!(error.kind(), ErrorKind::InvalidSubcommand);
    let no_command =
        matches!(error.kind(), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand);
    let commands: Vec<&str> =
        current.get_subcommands().map(clap::Command::get_name).filter(|name| *name != "help").collect();
    if unknown || no_command {
        stderr += &format!("\nCommands: {}.\n", commands.join(", "));
    }
    if !no_command {
        stderr += &format!("\n{}\n", reason(error));
    }
    Output { stderr, code: 1, ..Output::default() }
}

/// A command's usage, as calicoctl prints it.
fn usage(command: &clap::Command, program: &str) -> String {
    let text = command.clone().render_usage().to_string();
    format!("Usage:\n  {}\n", named(text.trim_start_matches("Usage: ").trim_end(), program))
}

/// A text of this grammar with the program's own name; continued lines move with it.
fn named(text: &str, program: &str) -> String {
    text.replace("calicoctl ", &format!("{program} "))
}

/// The first sentences of clap's message.
fn reason(error: &clap::Error) -> String {
    let text = error.to_string();
    let told = text.lines().take_while(|line| !["Usage:", "tip:"].iter().any(|it| line.trim_start().starts_with(it)));
    let sentences: Vec<&str> = told.map(str::trim).filter(|line| !line.is_empty()).collect();
    sentences.join(" ").trim_start_matches("error: ").to_owned()
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Every command that does something, by its words.
    fn leaves(command: &clap::Command, words: &str, found: &mut Vec<(String, clap::Command)>) {
        for it in command.get_subcommands().filter(|it| it.get_name() != "help") {
            leaves(it, &format!("{words} {}", it.get_name()), found);
        }
        if !command.has_subcommands() {
            found.push((words.to_owned(), command.clone()));
        }
    }

    /// The long options that a usage text has, each with whether it takes a value; and its `<WORDS>`.
    fn told(usage: &str) -> (BTreeSet<(String, bool)>, BTreeSet<String>) {
        let pattern = regex::Regex::new(r"--([a-z0-9-]+)(=)?").expect("an expression");
        let option = |it: regex::Captures<'_>| (it[1].to_owned(), it.get(2).is_some());
        let options = pattern.captures_iter(usage).map(option).collect();
        let word = regex::Regex::new(r"(^|[ (\[])<([A-Za-z_]+)>").expect("an expression");
        let words = word.captures_iter(usage).map(|it| it[2].to_owned()).collect();
        (options, words)
    }

    /// The usage texts say what the parser takes, and the other way round.
    #[test]
    fn usage_and_parser_agree() {
        let mut found = Vec::new();
        leaves(&command(), "calicoctl", &mut found);
        assert!(found.len() > 20, "{}", found.len());
        for (words, command) in found {
            let usage = usage(&command, "calicoctl");
            assert!(usage.starts_with(&format!("Usage:\n  {words} ")), "{usage}");
            let (mut options, positional) = told(&usage);
            // these two are for every command, and calicoctl leaves them out of some usages
            options.retain(|(name, _)| !["context", "allow-version-mismatch"].contains(&name.as_str()));
            let is_own = |arg: &&clap::Arg| arg.get_help_heading() == Some(OWN);
            let named: Vec<&clap::Arg> = command
                .get_arguments()
                .filter(|arg| {
                    arg.get_long().is_some_and(|long| !["help", "context", "allow-version-mismatch"].contains(&long))
                })
                .collect();
            let option =
                |arg: &&clap::Arg| (arg.get_long().unwrap_or_default().to_owned(), arg.get_action().takes_values());
            let parsed: BTreeSet<_> =
                named.iter().copied().filter(|arg| !is_own(arg)).map(|arg| option(&arg)).collect();
            assert_eq!(parsed, options, "{words}");
            let places = command.get_positionals().map(|arg| {
                arg.get_value_names().and_then(<[_]>::first).map_or(arg.get_id().to_string(), ToString::to_string)
            });
            assert_eq!(places.collect::<BTreeSet<_>>(), positional, "{words}");
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("Example"), "{words}: no example in its help");
        }
    }

    #[test]
    fn the_program_is_called_as_it_was_called() {
        for (program, name) in
            [("/usr/bin/calicoctl", "calicoctl"), ("kubectl-calico", "kubectl-calico"), ("./tortie", "tortie ctl")]
        {
            let Err(output) = Cli::read(&["get".to_owned()], program) else { panic!("there is no kind") };
            assert!(output.stderr.starts_with(&format!("Usage:\n  {name} get ( (<KIND>")), "{}", output.stderr);
        }
    }
}
