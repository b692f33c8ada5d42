//! `tortie crds`: the CustomResourceDefinitions for Kubernetes, made of the kinds' types; and what the documentation says of
//! their fields.

mod markdown;

use crate::ctl::write_yaml;
use api::crd::{Group, definitions};
use clap::{Parser, ValueEnum};
use std::io::Write;
use std::process::ExitCode;

/// Prints the CustomResourceDefinitions of Calico's kinds.
///
/// A cluster has one of the two groups. With crd.projectcalico.org objects are stored in a form of their own, with
/// projectcalico.org as users know them.
#[derive(Debug, Parser)]
#[command(
    name = "tortie crds",
    after_help = "Examples:\n  tortie crds | kubectl apply --server-side -f -\n  tortie crds --group projectcalico.org\n  \
                  tortie crds --format markdown"
)]
struct Args {
    /// Whose definitions.
    #[arg(long, value_enum, default_value = "crd.projectcalico.org", value_name = "GROUP")]
    group: Word,
    /// YAML for a cluster, or Markdown for people.
    #[arg(long, value_enum, default_value = "yaml", value_name = "FORMAT")]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Word {
    #[value(name = "crd.projectcalico.org")]
    Crd,
    #[value(name = "projectcalico.org")]
    V3,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Yaml,
    Markdown,
}

/// Runs the command; `arguments` come after its name.
pub fn run(arguments: &[String]) -> ExitCode {
    let all = std::iter::once("tortie crds").chain(arguments.iter().map(String::as_str));
    let args = match Args::try_parse_from(all) {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1));
        }
    };
    let group = match args.group {
        Word::Crd => Group::Crd,
        Word::V3 => Group::V3,
    };
    let text = match args.format {
        Format::Yaml => yaml(group),
        Format::Markdown => markdown(),
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// A group's definitions, a document each.
pub fn yaml(group: Group) -> String {
    definitions(group).iter().map(|definition| format!("---\n{}", write_yaml(definition))).collect()
}

/// What each kind's fields are, for people.
pub fn markdown() -> String {
    markdown::page()
}
