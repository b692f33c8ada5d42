//! Reading `kind: Pod` manifests, several documents to a stream.
//!
//! Decoding goes through JSON values, as Kubernetes' does, so that a number where a string belongs is an error.
//! Every mistake in the stream is reported at once. A field of the Pod schema that the lab does not act on is a
//! warning; a field that the schema does not have is a mistake.

use super::fields;
use super::{Container, Pod, PodName, RestartPolicy};
use crate::topology::is_dns_name;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Pods of a stream, in its order, and what in it has no meaning in a lab.
#[derive(Debug, PartialEq)]
pub struct Manifests {
    /// The pods.
    pub pods: Vec<Pod>,
    /// One line per ignored field.
    pub warnings: Vec<String>,
}

/// Why a stream cannot be applied: every mistake found, one per line.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Invalid(pub Vec<String>);

/// Kubernetes' default for `terminationGracePeriodSeconds`.
const GRACE_PERIOD: u64 = 30;

/// Reads a stream of YAML or JSON documents.
pub fn parse(text: &str) -> Result<Manifests, Invalid> {
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|error| Invalid(vec![error.to_string().trim_end().to_owned()]))?;
    let mut notes = Notes::default();
    let mut pods = Vec::new();
    let mut names = BTreeSet::new();
    for (index, document) in documents.iter().enumerate().filter(|(_, document)| !document.is_null()) {
        notes.object = format!("document {}", index + 1);
        let Some(pod) = pod(document, &mut notes) else { continue };
        if !names.insert(pod.name.clone()) {
            notes.mistake("metadata.name", "the stream has this pod twice");
        }
        pods.push(pod);
    }
    if pods.is_empty() && notes.mistakes.is_empty() {
        notes.mistakes.push("no pod in the input".to_owned());
    }
    if notes.mistakes.is_empty() {
        Ok(Manifests { pods, warnings: notes.warnings })
    } else {
        Err(Invalid(notes.mistakes))
    }
}

/// What is said about the object being read.
#[derive(Default)]
struct Notes {
    object: String,
    mistakes: Vec<String>,
    warnings: Vec<String>,
}

impl Notes {
    fn mistake(&mut self, field: &str, reason: &str) {
        self.mistakes.push(format!("{} {field}: {reason}", self.object));
    }
}

fn pod(document: &Value, notes: &mut Notes) -> Option<Pod> {
    let Some(document_map) = document.as_object() else {
        notes.mistakes.push(format!("{}: must be an object", notes.object));
        return None;
    };
    let mut root = Fields::new(document_map, "", &["apiVersion", "kind", "metadata", "spec", "status"]);
    let kind = root.string("kind", notes).unwrap_or_default();
    if kind != "Pod" {
        notes.mistake("kind", &format!("is {kind:?}, a lab applies only \"Pod\""));
        return None;
    }
    let version = root.string("apiVersion", notes).unwrap_or_default();
    if version != "v1" {
        notes.mistake("apiVersion", &format!("is {version:?}, a Pod's is \"v1\""));
    }
    let name = metadata(&mut root, notes);
    if let Some(name) = &name {
        notes.object = format!("pod {name}");
    }
    root.skip("status");
    let spec = root.object("spec", notes);
    if spec.is_none() {
        notes.mistake("spec", "is required");
    }
    root.finish(notes);

    let mut spec = Fields::new(spec?, "spec", fields::SPEC);
    let node = spec.string("nodeName", notes);
    let grace_period = spec.number("terminationGracePeriodSeconds", notes).unwrap_or(GRACE_PERIOD);
    let restart = match spec.string("restartPolicy", notes).as_deref() {
        None | Some("Always") => RestartPolicy::Always,
        Some("OnFailure") => RestartPolicy::OnFailure,
        Some("Never") => RestartPolicy::Never,
        Some(other) => {
            notes.mistake("spec.restartPolicy", &format!("is {other:?}, must be Always, OnFailure or Never"));
            RestartPolicy::Always
        }
    };
    let container = containers(&mut spec, notes);
    spec.finish(notes);
    let (name, container) = (name?, container?);
    Some(Pod { name, node, container, grace_period, restart, manifest: document.clone() })
}

fn metadata(root: &mut Fields<'_>, notes: &mut Notes) -> Option<PodName> {
    let Some(metadata) = root.object("metadata", notes) else {
        notes.mistake("metadata", "is required");
        return None;
    };
    let mut metadata = Fields::new(metadata, "metadata", fields::METADATA);
    let name = metadata.string("name", notes);
    let namespace = metadata.string("namespace", notes).unwrap_or_else(|| "default".to_owned());
    for map in ["labels", "annotations"] {
        metadata.string_map(map, notes);
    }
    for by_server in ["creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"] {
        metadata.skip(by_server);
    }
    metadata.finish(notes);
    let Some(name) = name else {
        notes.mistake("metadata.name", "is required");
        return None;
    };
    for (field, value, fits) in [
        ("metadata.name", &name, is_dns_name(&name)),
        ("metadata.namespace", &namespace, is_dns_name(&namespace) && !namespace.contains('.')),
    ] {
        if !fits {
            notes.mistake(field, &format!("{value:?} must be a DNS name in lower case"));
        }
    }
    Some(PodName { namespace, name })
}

fn containers(spec: &mut Fields<'_>, notes: &mut Notes) -> Option<Container> {
    let list = spec.list("containers", notes).unwrap_or_default();
    for index in 1..list.len() {
        notes
            .warnings
            .push(format!("{} spec.containers[{index}]: only the first container runs in a lab", notes.object));
    }
    let Some(first) = list.first() else {
        notes.mistake("spec.containers", "needs at least one container");
        return None;
    };
    let Some(first) = first.as_object() else {
        notes.mistake("spec.containers[0]", "must be an object");
        return None;
    };
    let mut first = Fields::new(first, "spec.containers[0]", fields::CONTAINER);
    let name = first.string("name", notes);
    if name.is_none() {
        notes.mistake("spec.containers[0].name", "is required");
    }
    let image = first.string("image", notes).unwrap_or_default();
    let mut command = first.strings("command", notes);
    command.extend(first.strings("args", notes));
    if command.is_empty() {
        // the image's own program is unknown: the pod is there and does nothing
        command = ["sleep", "infinity"].map(str::to_owned).to_vec();
    }
    let environment = environment(&mut first, notes);
    let working_directory = first.string("workingDir", notes);
    // a policy for pulling what is only shown is not worth a warning
    first.skip("imagePullPolicy");
    first.finish(notes);
    Some(Container { name: name?, image, command, environment, working_directory })
}

fn environment(container: &mut Fields<'_>, notes: &mut Notes) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    for (index, variable) in container.list("env", notes).unwrap_or_default().iter().enumerate() {
        let at = format!("spec.containers[0].env[{index}]");
        let Some(variable) = variable.as_object() else {
            notes.mistake(&at, "must be an object");
            continue;
        };
        let mut variable = Fields::new(variable, &at, fields::ENV);
        let value = variable.string("value", notes).unwrap_or_default();
        match variable.string("name", notes) {
            Some(name) if !name.is_empty() && !name.contains('=') => {
                environment.insert(name, value);
            }
            _ => notes.mistake(&format!("{at}.name"), "must be a variable's name"),
        }
        variable.finish(notes);
    }
    environment
}

/// One object of a manifest: each field is taken at most once, and what is left over is reported.
struct Fields<'a> {
    object: &'a Map<String, Value>,
    at: String,
    known: &'static [&'static str],
    taken: BTreeSet<&'static str>,
}

impl<'a> Fields<'a> {
    fn new(object: &'a Map<String, Value>, at: &str, known: &'static [&'static str]) -> Fields<'a> {
        Fields { object, at: at.to_owned(), known, taken: BTreeSet::new() }
    }

    fn path(&self, field: &str) -> String {
        if self.at.is_empty() { field.to_owned() } else { format!("{}.{field}", self.at) }
    }

    fn skip(&mut self, field: &'static str) {
        self.taken.insert(field);
    }

    fn take<T>(
        &mut self,
        field: &'static str,
        kind: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
        notes: &mut Notes,
    ) -> Option<T> {
        self.taken.insert(field);
        let value = self.object.get(field).filter(|value| !value.is_null())?;
        let read = read(value);
        if read.is_none() {
            notes.mistake(&self.path(field), &format!("is {value}, must be {kind}"));
        }
        read
    }

    fn string(&mut self, field: &'static str, notes: &mut Notes) -> Option<String> {
        self.take(field, "a string", |value| value.as_str().map(str::to_owned), notes)
    }

    fn number(&mut self, field: &'static str, notes: &mut Notes) -> Option<u64> {
        self.take(field, "a number of at least 0", Value::as_u64, notes)
    }

    fn object(&mut self, field: &'static str, notes: &mut Notes) -> Option<&'a Map<String, Value>> {
        self.take(field, "an object", Value::as_object, notes)
    }

    fn list(&mut self, field: &'static str, notes: &mut Notes) -> Option<&'a [Value]> {
        self.take(field, "a list", |value| value.as_array().map(Vec::as_slice), notes)
    }

    fn strings(&mut self, field: &'static str, notes: &mut Notes) -> Vec<String> {
        let all = |value: &Value| {
            value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        };
        self.take(field, "a list of strings", all, notes).unwrap_or_default()
    }

    fn string_map(&mut self, field: &'static str, notes: &mut Notes) {
        let all = |value: &Value| value.as_object()?.values().all(Value::is_string).then_some(());
        self.take(field, "a map of strings", all, notes);
    }

    fn finish(self, notes: &mut Notes) {
        for field in self.object.keys() {
            let path = self.path(field);
            if !self.known.contains(&field.as_str()) {
                notes.mistake(&path, "unknown field");
            } else if !self.taken.contains(field.as_str()) {
                notes.warnings.push(format!("{} {path}: has no meaning in a lab, ignored", notes.object));
            }
        }
    }
}

#[cfg(test)]
mod tests;
