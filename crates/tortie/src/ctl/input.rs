//! Resources from files, folders and standard input (control reference §5.2).
//!
//! A file is documents between lines that begin with `---`; a document is an object, a `…List`, or a sequence of
//! objects. YAML becomes JSON first, by Go's rules for scalars, and then strictly an object of its kind.

use super::args::Reading;
use super::{Failed, World};
use api::meta::API_VERSION;
use api::resource::{Kind, Resource, Unreadable};
use serde_json::{Map, Value};
use std::io;
use std::path::{Path, PathBuf};

/// Limits for one document: a list of some ten thousand objects.
const MAX_EVENTS: usize = 50_000_000;

/// Reads every resource under `path`; `-` is standard input.
///
/// No resource at all is an error that names the file, unless `skip_empty`.
pub(super) fn read(path: &Path, reading: &Reading, world: &World<'_>) -> Result<Vec<Resource>, Failed> {
    let mut resources = Vec::new();
    for (file, text) in texts(path, reading, world)? {
        resources.extend(resources_of(&file, &text)?);
    }
    if resources.is_empty() && !reading.skip_empty {
        let what = if path.is_dir() { "directory" } else { "file" };
        return Err(Failed(format!("no resources specified in {what} {}", path.display())));
    }
    Ok(resources)
}

/// Reads every resource of one file's text.
fn resources_of(file: &str, text: &str) -> Result<Vec<Resource>, Failed> {
    let documents = documents(file, text).map_err(|reason| Failed(format!("failed to execute command: {reason}")))?;
    let several = documents.len() > 1;
    documents.into_iter().map(|document| resource(document, several)).collect()
}

/// Reads every resource of a text, as `calicoctl apply -f -` would.
///
/// # Errors
///
/// What `calicoctl` would print.
pub fn read_resources(text: &str) -> Result<Vec<Resource>, String> {
    resources_of("-", text).map_err(|Failed(reason)| reason)
}

/// The texts of all files, in order of their paths.
fn texts(path: &Path, reading: &Reading, world: &World<'_>) -> Result<Vec<(String, String)>, Failed> {
    if path == Path::new("-") {
        let mut text = String::new();
        let mut stdin = world.stdin.borrow_mut();
        io::Read::read_to_string(&mut **stdin, &mut text).map_err(|error| unreadable(path, &error))?;
        return Ok(vec![("-".to_owned(), text)]);
    }
    let mut files = Vec::new();
    if path.is_dir() {
        collect(path, reading.recursive, &mut files)?
    } else {
        files.push(path.to_owned())
    }
    let read = |file: PathBuf| match std::fs::read_to_string(&file) {
        Ok(text) => Ok((file.display().to_string(), text)),
        Err(error) => Err(unreadable(&file, &error)),
    };
    files.into_iter().map(read).collect()
}

fn collect(folder: &Path, recursive: bool, files: &mut Vec<PathBuf>) -> Result<(), Failed> {
    let entries = std::fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let mut paths: Vec<PathBuf> =
        entries.map_err(|error| unreadable(folder, &error))?.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_lowercase();
        if path.is_dir() {
            if recursive {
                collect(&path, recursive, files)?;
            }
        } else if ["yaml", "yml", "json"].contains(&extension.as_str()) {
            files.push(path);
        }
    }
    Ok(())
}

fn unreadable(path: &Path, error: &io::Error) -> Failed {
    // Rust's text with the number of the error taken off is Go's, but for its first letter.
    let text = error.to_string();
    let reason = lower_first(text.split(" (os error").next().unwrap_or_default().to_owned());
    Failed(format!("failed to execute command: open {}: {reason}", path.display()))
}

/// Takes a text apart into one JSON object per resource.
fn documents(file: &str, text: &str) -> Result<Vec<Map<String, Value>>, String> {
    let mut objects = Vec::new();
    let whole = format!("\n{text}");
    for (index, part) in whole.split("\n---").enumerate() {
        let body = if index == 0 { part } else { part.split_once('\n').map_or("", |(_, body)| body) };
        let value = parse(body).map_err(|reason| format!("{file}: {reason}"))?;
        let items = match value {
            Value::Null => continue,
            Value::Array(items) => items,
            Value::Object(mut object) => match listed_kind(&object) {
                None => vec![Value::Object(object)],
                Some(kind) => {
                    let items = object.remove("items").unwrap_or_default();
                    let Value::Array(mut items) = items else {
                        return Err(format!("{file}: items of a {kind}List must be a list"));
                    };
                    for item in items.iter_mut().filter_map(Value::as_object_mut) {
                        item.entry("kind").or_insert_with(|| kind.clone().into());
                        item.entry("apiVersion").or_insert_with(|| API_VERSION.into());
                    }
                    items
                }
            },
            other @ (Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                return Err(format!("{file}: a document must be an object or a list of objects, not {other}"));
            }
        };
        for item in items {
            let Value::Object(object) = item else {
                return Err(format!("{file}: an item must be an object, not {item}"));
            };
            objects.push(object);
        }
    }
    Ok(objects)
}

/// The kind of a list's items.
fn listed_kind(object: &Map<String, Value>) -> Option<String> {
    let kind = object.get("kind")?.as_str()?.strip_suffix("List")?;
    object.contains_key("items").then(|| kind.to_owned())
}

/// Reads YAML, of which JSON is a part, as Go's YAML packages do.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_events: MAX_EVENTS,
            max_nodes: MAX_EVENTS,
        },
    };
    let parsed: Result<Option<Value>, _> = serde_saphyr::from_str_with_options(text, options);
    parsed.map(Option::unwrap_or_default).map_err(|error| error.to_string().trim_end().to_owned())
}

/// Makes a resource of an object; `several` adds the object's name where Calico's text has none.
fn resource(object: Map<String, Value>, several: bool) -> Result<Resource, Failed> {
    let text = |object: &Map<String, Value>, field: &str| match object.get(field) {
        Some(Value::String(text)) => text.clone(),
        _ => String::new(),
    };
    let (kind_name, version) = (text(&object, "kind"), text(&object, "apiVersion"));
    let metadata = object.get("metadata").and_then(|metadata| metadata.get("name"));
    let name = metadata.and_then(Value::as_str).unwrap_or_default().to_owned();
    if kind_name.is_empty() {
        return Err(Failed(format!("failed to execute command: kind is not set in the document of {name:?}")));
    }
    let kind = Kind::by_name(&kind_name).filter(|_| version == API_VERSION).ok_or_else(|| {
        Failed(format!("failed to execute command: unknown resource type ({kind_name}) and/or version ({version})"))
    })?;
    decode(kind, Value::Object(object)).map_err(|error| match error {
        Unreadable::UnknownField(_) if several => Failed(format!("{error} ({kind_name} {name})")),
        Unreadable::UnknownField(_) => Failed(error.to_string()),
        Unreadable::Value { .. } => Failed(format!("failed to execute command: {kind_name} {name}: {error}")),
    })
}

/// Decodes an object of a kind with Go's latitude: a null is as good as nothing, and `Order` means `order`.
pub(super) fn decode(kind: Kind, mut value: Value) -> Result<Resource, Unreadable> {
    drop_nulls(&mut value);
    if let Some(Value::Object(spec)) = value.get_mut("spec") {
        *spec = std::mem::take(spec).into_iter().map(|(name, value)| (lower_first(name), value)).collect();
    }
    Resource::read(kind, value)
}

fn lower_first(mut text: String) -> String {
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    text
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, value| !value.is_null());
            object.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documents_lists_and_sequences() {
        let text = "kind: A\n--- # comment\nkind: BList\nitems:\n- metadata: {name: x}\n- kind: B\n---\n---\n\
                    [{\"kind\": \"C\"}]\n";
        let found = documents("f", text).expect("three documents");
        assert_eq!(
            Value::from(found.into_iter().map(Value::Object).collect::<Vec<_>>()),
            json!([
                {"kind": "A"},
                {"kind": "B", "apiVersion": API_VERSION, "metadata": {"name": "x"}},
                {"kind": "B", "apiVersion": API_VERSION},
                {"kind": "C"},
            ])
        );
        assert_eq!(documents("f", "---\nkind: A\n").expect("one").len(), 1);
        assert_eq!(documents("f", "\n# nothing\n").expect("none").len(), 0);
    }

    #[test]
    fn scalars_as_go_reads_them() {
        for (text, expect) in [
            ("a: 0755", json!({"a": 493})),
            ("a: y", json!({"a": true})),
            ("a: \"y\"", json!({"a": "y"})),
            ("a: off", json!({"a": false})),
            ("a: 10.0.0.0/8", json!({"a": "10.0.0.0/8"})),
            ("a: fd00::1", json!({"a": "fd00::1"})),
            ("a: rack == \"1\"", json!({"a": "rack == \"1\""})),
            ("a: ~", json!({"a": null})),
            ("a: 18446744073709551615", json!({"a": u64::MAX})),
        ] {
            assert_eq!(parse(text), Ok(expect), "{text}");
        }
        for text in ["a: 1\na: 2", "a: [", "a: b: c"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_big_list_is_read() {
        let value = parse(&"- {}\n".repeat(300_000)).expect("a list");
        assert_eq!(value.as_array().map(Vec::len), Some(300_000));
    }
}
