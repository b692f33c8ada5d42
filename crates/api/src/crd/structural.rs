//! Schemas as Kubernetes takes them: structural, without references, nulls and what only a decoder knows.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

/// What Kubernetes' schemas do not have, or have another way.
const LEFT_OUT: [&str; 6] = ["$schema", "title", "nullable", "examples", "writeOnly", "readOnly"];

/// A type's schema.
pub(crate) fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    settle(&mut schema);
    schema
}

/// Makes a schema structural, with all that is in it.
fn settle(schema: &mut Value) {
    match schema {
        // any value: `true` is no schema of Kubernetes'
        Value::Bool(_) => *schema = serde_json::json!({"x-kubernetes-preserve-unknown-fields": true}),
        Value::Object(fields) => {
            fields.retain(|name, _| !LEFT_OUT.contains(&name.as_str()) && name != "default");
            formats(fields);
            // what a field says, not its type
            for (written, name) in [("x-default", "default"), ("x-nullable", "nullable"), ("x-format", "format")] {
                if let Some(set) = fields.remove(written) {
                    fields.insert(name.to_owned(), set);
                }
            }
            if let Some(Value::String(text)) = fields.get_mut("description") {
                *text = description(text);
            }
            for name in ["items", "additionalProperties"] {
                if let Some(inner) =
                    fields.get_mut(name).filter(|inner| inner.is_object() || inner.as_bool() == Some(true))
                {
                    settle(inner);
                }
            }
            if let Some(Value::Object(properties)) = fields.get_mut("properties") {
                properties.values_mut().for_each(settle);
            }
            // an option of a type with a schema of its own: the type, or null
            for name in ["allOf", "anyOf"] {
                let Some(Value::Array(choices)) = fields.get(name) else { continue };
                let choices: Vec<&Value> = choices.iter().filter(|choice| choice.get("nullable").is_none()).collect();
                let [inner] = choices.as_slice() else { continue };
                let mut inner = (*inner).clone();
                settle(&mut inner);
                fields.remove(name);
                if let Value::Object(inner) = inner {
                    for (name, value) in inner {
                        fields.entry(name).or_insert(value);
                    }
                }
            }
        }
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => {}
    }
}

/// A type's documentation for those who write objects: on one line, without its source and how it is stored.
fn description(documentation: &str) -> String {
    let text = documentation.split_whitespace().collect::<Vec<_>>().join(" ").replace(", in stored order", "");
    let source = text.find(" (control reference").and_then(|from| Some((from, from + text[from..].find(')')?)));
    match source {
        Some((from, to)) => format!("{}{}", &text[..from], &text[to + 1..]),
        None => text,
    }
}

/// Formats of numbers: Kubernetes knows int32 and int64, and takes numbers without one.
fn formats(fields: &mut Map<String, Value>) {
    let format = fields.get("format").and_then(Value::as_str).unwrap_or_default().to_owned();
    match format.as_str() {
        "uint32" => {
            // as Calico has them
            fields.insert("format".to_owned(), "int32".into());
            if fields.get("minimum").and_then(Value::as_f64) == Some(0.0) {
                fields.remove("minimum");
            }
        }
        "uint16" | "uint8" | "uint64" | "uint" | "int64" | "int16" | "int8" | "double" | "float" => {
            fields.remove("format");
            let bound = |name: &str| fields.get(name).and_then(Value::as_f64);
            let most = match format.as_str() {
                "uint8" => Some(255.0),
                "uint16" => Some(65535.0),
                _ => None,
            };
            // those of the type, not of the field
            if format.starts_with('u') && bound("minimum") == Some(0.0) && bound("maximum") == most {
                fields.remove("minimum");
                fields.remove("maximum");
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_for_those_who_write_objects() {
        for (text, expect) in [
            (
                "`spec` of a Filter (control reference §1.6), in stored order. The first\nrule counts.",
                "`spec` of a Filter. The first rule counts.",
            ),
            ("A port (of TCP).", "A port (of TCP)."),
        ] {
            assert_eq!(description(text), expect);
        }
    }
}
