//! The grammar of the commands on resources.

use super::{DEFAULT_CONFIG, OWN};
use clap::Args;
use std::path::PathBuf;

/// Where the datastore is, and which namespace counts.
#[derive(Debug, Args)]
pub(in crate::ctl) struct Common {
    /// Configuration file.
    #[arg(short, long, default_value = DEFAULT_CONFIG, value_name = "CONFIG")]
    pub(in crate::ctl) config: PathBuf,
    /// Namespace of namespaced resources; `default` if none is named.
    #[arg(short, long, value_name = "NS")]
    pub(in crate::ctl) namespace: Option<String>,
}

/// How files are read.
#[derive(Debug, Args)]
pub(in crate::ctl) struct Reading {
    /// Also read a folder's folders.
    #[arg(short = 'R', long)]
    pub(in crate::ctl) recursive: bool,
    /// Do not fail when there is no resource in the files.
    #[arg(long)]
    pub(in crate::ctl) skip_empty: bool,
}

/// Whether anything is changed.
#[derive(Debug, Args)]
pub(in crate::ctl) struct Trial {
    /// Do it on a copy of the datastore in memory, and say what would come of it.
    #[arg(long, help_heading = OWN)]
    pub(in crate::ctl) dry_run: bool,
}

/// Files with resources, and what becomes of them.
#[derive(Debug, Args)]
pub(in crate::ctl) struct Files {
    /// YAML or JSON file, folder of such files, or - for standard input.
    #[arg(short, long, value_name = "FILENAME", required = true)]
    pub(in crate::ctl) filename: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::ctl) reading: Reading,
    #[command(flatten)]
    pub(in crate::ctl) common: Common,
    #[command(flatten)]
    pub(in crate::ctl) trial: Trial,
}

#[derive(Debug, Args)]
pub(in crate::ctl) struct Validate {
    /// YAML or JSON file, folder of such files, or - for standard input.
    #[arg(short, long, value_name = "FILENAME")]
    pub(in crate::ctl) filename: PathBuf,
    #[command(flatten)]
    pub(in crate::ctl) reading: Reading,
    /// Namespace of namespaced resources; `default` if none is named.
    #[arg(short, long, value_name = "NS", help_heading = OWN)]
    pub(in crate::ctl) namespace: Option<String>,
    /// Accepted, since other commands have it; no datastore is asked.
    #[arg(short, long, value_name = "CONFIG", help_heading = OWN)]
    pub(in crate::ctl) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(in crate::ctl) struct Create {
    #[command(flatten)]
    pub(in crate::ctl) files: Files,
    /// Pass over resources that exist.
    #[arg(long)]
    pub(in crate::ctl) skip_exists: bool,
}

#[derive(Debug, Args)]
pub(in crate::ctl) struct Delete {
    /// Kind of the resources, such as ippool.
    #[arg(required_unless_present = "filename", conflicts_with = "filename")]
    pub(in crate::ctl) kind: Option<String>,
    /// Their names.
    #[arg(value_name = "NAME")]
    pub(in crate::ctl) names: Vec<String>,
    /// YAML or JSON file, folder of such files, or - for standard input.
    #[arg(short, long, value_name = "FILE")]
    pub(in crate::ctl) filename: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::ctl) reading: Reading,
    /// Pass over resources that do not exist.
    #[arg(short, long)]
    pub(in crate::ctl) skip_not_exists: bool,
    #[command(flatten)]
    pub(in crate::ctl) common: Common,
    /// Those of a kind whose labels fit, in Calico's or kubectl's form: `rack == "1"`, or `rack=1,!gpu`.
    #[arg(long, value_name = "SELECTOR", help_heading = OWN, conflicts_with_all = ["filename", "names"])]
    pub(in crate::ctl) selector: Option<String>,
    #[command(flatten)]
    pub(in crate::ctl) trial: Trial,
}

#[derive(Debug, Args)]
pub(in crate::ctl) struct Get {
    /// Kind of the resources, such as ippool.
    #[arg(required_unless_present = "filename", conflicts_with = "filename")]
    pub(in crate::ctl) kind: Option<String>,
    /// Their names; all if none is given.
    #[arg(value_name = "NAME")]
    pub(in crate::ctl) names: Vec<String>,
    /// YAML or JSON file, folder of such files, or - for standard input: shows the resources it names.
    #[arg(short, long, value_name = "FILENAME")]
    pub(in crate::ctl) filename: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::ctl) reading: Reading,
    /// ps, wide, yaml, json, custom-columns=NAME,…, go-template=TEMPLATE or go-template-file=FILE.
    #[arg(short, long, default_value = "ps", value_name = "OUTPUT")]
    pub(in crate::ctl) output: String,
    #[command(flatten)]
    pub(in crate::ctl) common: Common,
    /// Resources of all namespaces.
    #[arg(short = 'A', long, short_alias = 'a')]
    pub(in crate::ctl) all_namespaces: bool,
    /// Leave out what belongs to this cluster alone: namespace, uid, revision, times. Acts on resources that are named.
    #[arg(long)]
    pub(in crate::ctl) export: bool,
    /// Those whose labels fit, in Calico's or kubectl's form: `rack == "1" && has(gpu)`, or `rack=1,!gpu`.
    #[arg(long, value_name = "SELECTOR", help_heading = OWN, conflicts_with_all = ["filename", "names"])]
    pub(in crate::ctl) selector: Option<String>,
    /// Go on with what changes, until interrupted: a row, or a document of YAML or JSON, for each.
    #[arg(short, long, help_heading = OWN, conflicts_with = "filename")]
    pub(in crate::ctl) watch: bool,
    /// Tables without their headings.
    #[arg(long, help_heading = OWN)]
    pub(in crate::ctl) no_headers: bool,
}

#[derive(Debug, Args)]
pub(in crate::ctl) struct Patch {
    /// Kind of the resource.
    pub(in crate::ctl) kind: String,
    /// Its name.
    pub(in crate::ctl) name: String,
    /// The change, as JSON.
    #[arg(short, long, value_name = "PATCH")]
    pub(in crate::ctl) patch: String,
    /// `json` for a list of operations (RFC 6902); `strategic` and `merge` are the same here (RFC 7386).
    #[arg(short = 't', long = "type", default_value = "strategic", value_name = "TYPE")]
    pub(in crate::ctl) patch_type: String,
    #[command(flatten)]
    pub(in crate::ctl) common: Common,
    #[command(flatten)]
    pub(in crate::ctl) trial: Trial,
}

#[derive(Debug, Args)]
pub(in crate::ctl) struct Label {
    /// Kind of the resource.
    pub(in crate::ctl) kind: String,
    /// Its name.
    pub(in crate::ctl) name: String,
    /// `KEY=VALUE`, or with --remove `KEY`.
    #[arg(value_name = "key")]
    pub(in crate::ctl) label: String,
    /// Change a label that is set.
    #[arg(long, conflicts_with = "remove")]
    pub(in crate::ctl) overwrite: bool,
    /// Remove the label.
    #[arg(long)]
    pub(in crate::ctl) remove: bool,
    #[command(flatten)]
    pub(in crate::ctl) common: Common,
    #[command(flatten)]
    pub(in crate::ctl) trial: Trial,
}
