//! How `get` prints (control reference §5.4).

use super::Failed;
use std::path::Path;

/// A form of output.
pub(super) enum Format {
    Table(Columns),
    Yaml,
    Json,
    /// The text of a template of Go's.
    Template(String),
}

/// Which columns a table has.
pub(super) enum Columns {
    Short,
    Wide,
    Custom(Vec<String>),
}

/// Reads the word that the user typed; a template's file is read at once.
pub(super) fn read(text: &str) -> Result<Format, Failed> {
    let needs = |what: &str| Err(Failed(format!("need to specify {what}")));
    Ok(match text.split_once('=').unwrap_or((text, "")) {
        ("ps" | "", "") => Format::Table(Columns::Short),
        ("wide", "") => Format::Table(Columns::Wide),
        ("yaml" | "yml", "") => Format::Yaml,
        ("json", "") => Format::Json,
        ("custom-columns", "") => return needs("at least one column"),
        ("custom-columns", names) => {
            Format::Table(Columns::Custom(names.split(',').map(|name| name.trim().to_uppercase()).collect()))
        }
        ("go-template", "") => return needs("a template"),
        ("go-template", text) => Format::Template(text.to_owned()),
        ("go-template-file", "") => return needs("a template file"),
        ("go-template-file", file) => match std::fs::read_to_string(Path::new(file)) {
            Ok(text) => Format::Template(text),
            Err(error) => return Err(Failed(datastore::config::unreadable(file, &error))),
        },
        _ => return Err(Failed(format!("unrecognized output format '{text}'"))),
    })
}

/// Whether a command that prints lines or a table shall print JSON.
pub(super) fn wants_json(text: &str) -> Result<bool, Failed> {
    match text {
        "ps" | "" => Ok(false),
        "json" => Ok(true),
        other => Err(Failed(format!("unrecognized output format '{other}': ps or json is expected"))),
    }
}
