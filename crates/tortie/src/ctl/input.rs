//! Resources from files, folders and standard input (control reference §5.2).
//!
//! A file is documents between lines that begin with `---`; a document is an object, a `…List`, or a sequence of
//! objects. YAML becomes JSON first, by Go's rules for scalars, and then strictly an object of its kind. Whatever is
//! wrong is told with the file's line.

mod document;
mod exact;

pub(super) use document::Document;
pub(super) use exact::changed;

use super::args::Reading;
use super::{Failed, World};
use api::invalid::Problem;
use api::meta::API_VERSION;
use api::resource::{Kind, Resource, Unreadable};
use serde_json::{Map, Value};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A resource, and where it was read.
#[derive(Clone, Debug)]
pub(super) struct Input {
    pub(super) resource: Resource,
    pub(super) origin: Origin,
}

/// Where an object was read.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    document: Rc<Document>,
    /// The object's path in its document, such as `items[3]`.
    path: String,
    /// Whether the command has other objects too.
    several: bool,
}

impl Origin {
    /// The place of a field of the object, or of the object itself.
    fn place(&self, field: &str) -> String {
        let dot = if self.path.is_empty() || field.is_empty() { "" } else { "." };
        self.document.place(&format!("{}{dot}{field}", self.path))
    }

    /// Adds the object's place to what is wrong with it, unless there is no other object.
    pub(super) fn explain(&self, reason: impl ToString) -> String {
        let reason = reason.to_string();
        if !self.several {
            return reason;
        }
        let end = reason.trim_end().len();
        format!("{} ({}){}", &reason[..end], self.place(""), &reason[end..])
    }
}

/// An object of a document.
type Object = (Map<String, Value>, Origin);

/// Reads every resource under `path`; `-` is standard input.
///
/// No resource at all is an error that names the file, unless `skip_empty`.
pub(super) fn read(path: &Path, reading: &Reading, world: &World<'_>) -> Result<Vec<Input>, Failed> {
    let resources = resources_of(&texts(path, reading, world)?)?;
    if resources.is_empty() && !reading.skip_empty {
        let what = if path.is_dir() { "directory" } else { "file" };
        return Err(Failed(format!("no resources specified in {what} {}", path.display())));
    }
    Ok(resources)
}

/// Reads every resource of some files' texts.
fn resources_of(texts: &[(String, String)]) -> Result<Vec<Input>, Failed> {
    let mut all = Vec::new();
    for (file, text) in texts {
        all.extend(objects(file, text).map_err(|reason| Failed(format!("failed to execute command: {reason}")))?);
    }
    let several = all.len() > 1;
    let read = |(object, origin): Object| {
        let origin = Origin { several, ..origin };
        Ok(Input { resource: resource(object, &origin)?, origin })
    };
    all.into_iter().map(read).collect()
}

/// Reads every resource of a text, as `calicoctl apply -f -` would.
///
/// # Errors
///
/// What `calicoctl` would print.
pub fn read_resources(text: &str) -> Result<Vec<Resource>, String> {
    let inputs = resources_of(&[("-".to_owned(), text.to_owned())]).map_err(|Failed(reason)| reason)?;
    Ok(inputs.into_iter().map(|input| input.resource).collect())
}

/// The texts of all files, in order of their paths.
fn texts(path: &Path, reading: &Reading, world: &World<'_>) -> Result<Vec<(String, String)>, Failed> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        let mut stdin = world.stdin.borrow_mut();
        io::Read::read_to_end(&mut **stdin, &mut bytes).map_err(|error| unreadable(path, &error))?;
        return Ok(vec![("-".to_owned(), decoded(path, bytes)?)]);
    }
    let mut files = Vec::new();
    if path.is_dir() {
        collect(path, reading.recursive, &mut files)?
    } else {
        files.push(path.to_owned())
    }
    let read = |file: PathBuf| match std::fs::read(&file) {
        Ok(bytes) => Ok((file.display().to_string(), decoded(&file, bytes)?)),
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

/// A file's text; the error names the first line that is none.
fn decoded(path: &Path, bytes: Vec<u8>) -> Result<String, Failed> {
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        Failed(format!("failed to execute command: {}: line {line} is not UTF-8", path.display()))
    })
}

fn unreadable(path: &Path, error: &io::Error) -> Failed {
    // Rust's text with the number of the error taken off is Go's, but for its first letter.
    let text = error.to_string();
    let reason = lower_first(text.split(" (os error").next().unwrap_or_default().to_owned());
    Failed(format!("failed to execute command: open {}: {reason}", path.display()))
}

/// Takes a text apart into one JSON object per resource.
fn objects(file: &str, text: &str) -> Result<Vec<Object>, String> {
    let mut objects = Vec::new();
    for document in Document::split(file, text) {
        let document = Rc::new(document);
        let wrong = |path: &str, reason: String| format!("{reason} ({})", document.place(path));
        let items = match document.parse()? {
            Value::Null => continue,
            Value::Array(items) => paths("", items),
            Value::Object(mut object) => match listed_kind(&object) {
                None => vec![(String::new(), Value::Object(object))],
                Some(kind) => {
                    let items = object.remove("items").unwrap_or_default();
                    let Value::Array(mut items) = items else {
                        return Err(wrong("items", format!("items of a {kind}List must be a list")));
                    };
                    for item in items.iter_mut().filter_map(Value::as_object_mut) {
                        item.entry("kind").or_insert_with(|| kind.clone().into());
                        item.entry("apiVersion").or_insert_with(|| API_VERSION.into());
                    }
                    paths("items", items)
                }
            },
            other @ (Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                return Err(wrong("", format!("a document must be an object or a list of objects, not {other}")));
            }
        };
        for (path, item) in items {
            let Value::Object(object) = item else {
                return Err(wrong(&path, format!("an item must be an object, not {item}")));
            };
            objects.push((object, Origin { document: document.clone(), path, several: false }));
        }
    }
    Ok(objects)
}

/// A list's items with their paths.
fn paths(list: &str, items: Vec<Value>) -> Vec<(String, Value)> {
    items.into_iter().zip(0..).map(|(item, index)| (format!("{list}[{index}]"), item)).collect()
}

/// The kind of a list's items.
fn listed_kind(object: &Map<String, Value>) -> Option<String> {
    let kind = object.get("kind")?.as_str()?.strip_suffix("List")?;
    object.contains_key("items").then(|| kind.to_owned())
}

/// Reads YAML, of which JSON is a part, as Go's YAML packages do.
#[cfg(test)]
pub(super) fn parse(text: &str) -> Result<Value, String> {
    Document::whole("text", text).parse()
}

/// Makes a resource of an object.
///
/// Where the texts are Calico's, the place is added to those that it helps: an unknown field always, others when there
/// are several objects.
fn resource(object: Map<String, Value>, origin: &Origin) -> Result<Resource, Failed> {
    let text = |object: &Map<String, Value>, field: &str| match object.get(field) {
        Some(Value::String(text)) => text.clone(),
        _ => String::new(),
    };
    let failed = |reason: String| Failed(format!("failed to execute command: {reason}"));
    let (kind_name, version) = (text(&object, "kind"), text(&object, "apiVersion"));
    let metadata = object.get("metadata").and_then(|metadata| metadata.get("name"));
    let name = match metadata {
        Some(Value::String(name)) => name.clone(),
        // as a text is read where YAML made something else of it
        Some(name @ (Value::Bool(_) | Value::Number(_))) => name.to_string(),
        Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => String::new(),
    };
    if kind_name.is_empty() {
        let reason = format!("kind is not set in the document of {name:?} ({})", origin.place("kind"));
        return Err(failed(reason));
    }
    let kind = Kind::by_name(&kind_name).filter(|_| version == API_VERSION).ok_or_else(|| {
        failed(origin.explain(format!("unknown resource type ({kind_name}) and/or version ({version})")))
    })?;
    let object = Value::Object(object);
    if let Some((field, reason)) = exact::changed(&origin.document, &origin.path, &object) {
        return Err(failed(format!("{kind_name} {name}: {field}: {reason} ({})", origin.place(&field))));
    }
    let resource = decode(kind, object).map_err(|error| match &error {
        Unreadable::UnknownField { path, .. } => {
            let object = if origin.several { format!("{kind_name} {name}, ") } else { String::new() };
            Failed(format!("{error} ({object}{})", origin.place(path)))
        }
        Unreadable::Value { field, .. } => failed(format!("{kind_name} {name}: {error} ({})", origin.place(field))),
    })?;
    match resource.undecodable() {
        None => Ok(resource),
        Some(Problem { field, reason, .. }) => {
            Err(failed(format!("{kind_name} {name}: {field}: {reason} ({})", origin.place(&field))))
        }
    }
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
        let found = objects("f", text).expect("three documents");
        assert_eq!(
            Value::from(found.into_iter().map(|(object, _)| Value::Object(object)).collect::<Vec<_>>()),
            json!([
                {"kind": "A"},
                {"kind": "B", "apiVersion": API_VERSION, "metadata": {"name": "x"}},
                {"kind": "B", "apiVersion": API_VERSION},
                {"kind": "C"},
            ])
        );
        assert_eq!(objects("f", "---\nkind: A\n").expect("one").len(), 1);
        assert_eq!(objects("f", "\n# nothing\n").expect("none").len(), 0);
    }

    #[test]
    fn each_kind_of_mistake_has_the_files_line() {
        const POOL: &str = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: a}\nspec:\n";
        let told = |text: &str| read_resources(text).expect_err(text);
        for (text, expect) in [
            (
                "  cidr: 10.0.0.0/8\n  blockSize: x\n",
                "IPPool a: spec.blockSize: invalid type: string \"x\", expected u8 (-: line 6)",
            ),
            (
                "  cidr: 10.0.0.0/8\n  # size\n  blockSizes: 26\n",
                "field in document is not recognized or is in the wrong location: blockSizes (-: line 7)",
            ),
            ("  {cidr: 10.0.0.0/8,\n  }]\n", " at line 6, column 4"),
        ] {
            let error = told(&format!("{POOL}{text}"));
            assert!(error.ends_with(expect), "{error}");
        }
        let second = "--- # b\napiVersion: projectcalico.org/v3\nkind: IPPoolList\nitems:\n- metadata: {name: b}\n- spec:\n    no: 1\n  metadata: {name: c}\n";
        let error = told(&format!("# first\n---\n{POOL}  cidr: 10.0.0.0/8\n{second}"));
        let expect =
            "field in document is not recognized or is in the wrong location: no (IPPool c, -: line 14, document 2)";
        assert_eq!(error, expect);
        for (text, expect) in [
            (
                "kind: IPPool\n---\nkind: No\n",
                "unknown resource type (IPPool) and/or version () (-: line 1, document 1)",
            ),
            ("\n[{metadata: {name: a}}]\n", "kind is not set in the document of \"a\" (-: line 2)"),
            ("kind: List\nitems: 5\n", "items of a List must be a list (-: line 2)"),
            ("- a: 1\n- 5\n", "an item must be an object, not 5 (-: line 2)"),
            ("\n\nword\n", "a document must be an object or a list of objects, not \"word\" (-: line 3)"),
        ] {
            assert_eq!(told(text), format!("failed to execute command: {expect}"), "{text}");
        }
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
