//! `docs/resources.md`: the kinds and their fields, for people.

use api::crd::{Group, Idle, definitions, idle, internal_definitions, kind_is_idle};
use api::kind::Parameter;
use api::{Kind, Resource};
use serde_json::{Value, json};
use std::fmt::Write as _;

const OPENING: &str = "\
# Resources

Every kind of Calico's API v3, with the fields of its `spec`. `acts` says whether a field changes what this version does: of what
does not, `calicoctl` warns when it is written. A field within another acts as that one does. This page is made by
`make manifests` of the kinds' types.
";

const INTERNAL: &str = "
# What programs keep

In Kubernetes' datastore these have definitions as well, and nobody writes them by hand.
";

/// Writes the page.
pub(super) fn page() -> String {
    let mut text = OPENING.to_owned();
    for kind in Kind::ALL {
        let scope = if kind.namespaced() { "in a namespace" } else { "of the cluster" };
        let _ = write!(text, "\n## {}\n\n{}, {scope}.", kind.name(), ticked(kind.aliases()));
        if kind.definition(Group::V3).is_none() {
            text += " Kubernetes' own objects stand for it, so that it has no definition.";
        }
        let whole = kind_is_idle(*kind);
        if whole {
            text += " **Stored, and not acted on yet.**";
        }
        text += "\n\n| field | type | default | acts | |\n|---|---|---|---|---|\n";
        let defaults = defaults(*kind);
        for (name, field) in kind.spec_schema()["properties"].as_object().into_iter().flatten() {
            let acts = if whole { Some(Idle::All) } else { idle(*kind, name, field) };
            let default = match (Parameter::by_name(name), field["default"].as_str()) {
                (Some(parameter), _) if *kind == Kind::FelixConfiguration => parameter.default.to_owned(),
                (_, Some(default)) => default.to_owned(),
                (_, None) => plain(&defaults[name.as_str()]),
            };
            row(name, field, &default, &acts.map(said).unwrap_or_default(), &mut text);
        }
    }
    text += INTERNAL;
    let (kinds, programs) = (definitions(Group::V3), internal_definitions(Group::V3));
    for definition in kinds.iter().filter(|it| programs.contains(it)) {
        let _ = write!(text, "\n## {}\n", plain(&definition["spec"]["names"]["kind"]));
        text += "\n| field | type | default | acts | |\n|---|---|---|---|---|\n";
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        for part in ["spec", "status"] {
            for (name, field) in schema[part]["properties"].as_object().into_iter().flatten() {
                row(&format!("{part}.{name}"), field, &plain(&field["default"]), "", &mut text);
            }
        }
    }
    text
}

fn said(idle: Idle) -> String {
    match idle {
        Idle::Nothing => "yes".to_owned(),
        Idle::Values(values) => format!("not yet for {}", values.join(", ")),
        Idle::All => "not yet".to_owned(),
    }
}

fn ticked(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// A value without quotes; nothing where there is none.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// What the client fills in where the user wrote nothing.
fn defaults(kind: Kind) -> Value {
    let document = |spec: Value| json!({"kind": kind.name(), "apiVersion": "projectcalico.org/v3", "metadata": {"name": "x"}, "spec": spec});
    let spec = |fill: bool| {
        let mut resource = Resource::decode(kind, document(json!({}))).expect("an object with an empty spec");
        if fill {
            resource.apply_defaults();
        }
        serde_json::to_value(&resource).expect("a resource is JSON")["spec"].take()
    };
    let (bare, mut filled) = (spec(false), spec(true));
    if let Some(fields) = filled.as_object_mut() {
        fields.retain(|name, value| bare[name.as_str()] != *value && *value != json!(""));
    }
    filled
}

/// Writes the row of a field, and of those within it.
fn row(path: &str, field: &Value, default: &str, acts: &str, text: &mut String) {
    let (inner, path) = match (field["items"].is_object(), field["additionalProperties"].is_object()) {
        (true, _) => (&field["items"], format!("{path}[]")),
        (_, true) => (&field["additionalProperties"], format!("{path}.*")),
        _ => (field, path.to_owned()),
    };
    let cell = |text: &str| text.replace('|', "\\|");
    let default = if default.is_empty() { String::new() } else { format!("`{}`", cell(default)) };
    let description = field["description"].as_str().unwrap_or_default();
    // the column says it
    let description = if description.starts_with("Default ") { "" } else { description };
    let _ = writeln!(text, "| `{path}` | {} | {default} | {acts} | {} |", cell(&kind_of(inner)), cell(description));
    for (name, field) in inner["properties"].as_object().into_iter().flatten() {
        row(&format!("{path}.{name}"), field, &plain(&field["default"]), "", text);
    }
}

/// What a field's value may be, in words.
fn kind_of(schema: &Value) -> String {
    if let Some(words) = schema["enum"].as_array() {
        return ticked(&words.iter().filter_map(Value::as_str).filter(|word| !word.is_empty()).collect::<Vec<_>>());
    }
    // a pattern of words, in any case
    let words = schema["pattern"].as_str().and_then(|pattern| pattern.strip_prefix("^(?i)(")?.strip_suffix(")?$"));
    if let Some(words) = words {
        return ticked(&words.split('|').collect::<Vec<_>>());
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return "number or text".to_owned();
    }
    let format = schema["format"].as_str().unwrap_or_default();
    match (schema["type"].as_str().unwrap_or("any"), &schema["minimum"], &schema["maximum"]) {
        ("string", ..) if !format.is_empty() => format.to_owned(),
        ("string", ..) => "text".to_owned(),
        ("integer", Value::Number(least), Value::Number(most)) => format!("{least} to {most}"),
        ("integer", Value::Number(least), _) => format!("{least} or more"),
        ("integer" | "number", ..) => "number".to_owned(),
        ("boolean", ..) => "true or false".to_owned(),
        (other, ..) => other.to_owned(),
    }
}
