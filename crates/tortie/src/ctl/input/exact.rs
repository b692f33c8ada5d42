//! Numbers that YAML and JSON change where a text is meant.
//!
//! A label `1.10` without quotes would be stored as 1.1, `0755` as 493, and AS `064512` as 26954. They are refused where
//! a text or an AS number is read; a number that is read as it is written is as good as its text. Words stay what they
//! are to Calico: `yes` is true.

use super::document::Document;
use serde_json::{Map, Value};

/// Fields whose values are texts, whatever they look like.
const TEXTS: [&str; 3] = ["name", "namespace", "node"];
/// Fields with a text for each key.
const MAPS: [&str; 3] = ["labels", "annotations", "labelsToApply"];
/// Fields with AS numbers.
const AS_NUMBERS: [&str; 2] = ["asNumber", "localASNumber"];

/// Finds the first value that would be stored as something else than what is written; `at` is the object's path.
///
/// Returns its path in the object, and what is wrong.
pub(in crate::ctl) fn changed(document: &Document, at: &str, object: &Value) -> Option<(String, String)> {
    let mut candidates = Vec::new();
    collect(object, "", &mut candidates);
    candidates.into_iter().find_map(|(path, value, is_text)| {
        let full = if at.is_empty() { path.clone() } else { format!("{at}.{path}") };
        let (written, read) = (document.written(&full)?, value.to_string());
        let advice = if is_text || value.is_f64() { "write it in quotes" } else { "write it in decimal digits" };
        (written != read).then(|| (path, format!("{written} is read as {read}: {advice}")))
    })
}

/// Finds the numbers where a text or an AS number is meant: path, value, and whether it is a text.
fn collect<'a>(value: &'a Value, path: &str, found: &mut Vec<(String, &'a Value, bool)>) {
    match value {
        Value::Object(object) => {
            found.extend(of_operation(object, path));
            for (key, value) in object {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let is = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(key));
                if value.is_number() && (is(&TEXTS) || is(&AS_NUMBERS)) {
                    found.push((path, value, is(&TEXTS)));
                } else if let (Value::Object(texts), true) = (value, is(&MAPS)) {
                    let numbers = texts.iter().filter(|(_, value)| value.is_number());
                    found.extend(numbers.map(|(key, value)| (format!("{path}.{key}"), value, true)));
                } else {
                    collect(value, &path, found);
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, &format!("{path}[{index}]"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The numbers that an operation of a JSON patch (RFC 6902) puts where its `path` leads.
fn of_operation<'a>(object: &'a Map<String, Value>, at: &str) -> Vec<(String, &'a Value, bool)> {
    let pointer = object.get("path").and_then(Value::as_str).filter(|_| object.contains_key("op"));
    let (Some(pointer), Some(value)) = (pointer, object.get("value")) else { return Vec::new() };
    let mut segments = pointer.rsplit('/');
    let (last, parent) = (segments.next().unwrap_or_default(), segments.next().unwrap_or_default());
    let is = |name: &str, names: &[&str]| names.iter().any(|one| one.eq_ignore_ascii_case(name));
    let at = format!("{at}{}value", if at.is_empty() { "" } else { "." });
    match value {
        Value::Object(texts) if is(last, &MAPS) => {
            let numbers = texts.iter().filter(|(_, value)| value.is_number());
            numbers.map(|(key, value)| (format!("{at}.{key}"), value, true)).collect()
        }
        Value::Number(_) if is(last, &TEXTS) || is(parent, &MAPS) => vec![(at, value, true)],
        Value::Number(_) if is(last, &AS_NUMBERS) => vec![(at, value, false)],
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<String> {
        let document = Document::whole("f", text);
        let value = document.parse().expect("YAML");
        changed(&document, "", &value).map(|(path, reason)| format!("{path}: {reason}"))
    }

    #[test]
    fn what_would_be_changed_is_named() {
        for (text, expect) in [
            ("metadata: {labels: {v: 1.10}}", "metadata.labels.v: 1.10 is read as 1.1: write it in quotes"),
            ("metadata: {labels: {v: 0755}}", "metadata.labels.v: 0755 is read as 493: write it in quotes"),
            ("metadata: {annotations: {v: 1e3}}", "metadata.annotations.v: 1e3 is read as 1000.0: write it in quotes"),
            ("{\"metadata\":{\"name\":1.00}}", "metadata.name: 1.00 is read as 1.0: write it in quotes"),
            ("spec: {node: 0x10}", "spec.node: 0x10 is read as 16: write it in quotes"),
            (
                "spec: {bgp: {asNumber: 064512}}",
                "spec.bgp.asNumber: 064512 is read as 26954: write it in decimal digits",
            ),
            ("metadata: {labels: {A: 1, a: 02}}", "metadata.labels.a: 02 is read as 2: write it in quotes"),
            (
                r#"[{"op":"add","path":"/metadata/labels/v","value":1.10}]"#,
                "[0].value: 1.10 is read as 1.1: write it in quotes",
            ),
            (
                r#"[{"op":"add","path":"/metadata/labels","value":{"v":1.10}}]"#,
                "[0].value.v: 1.10 is read as 1.1: write it in quotes",
            ),
            (
                r#"[{"op":"replace","path":"/spec/asNumber","value":1.10}]"#,
                "[0].value: 1.10 is read as 1.1: write it in quotes",
            ),
            ("spec: {localASNumber: 1.10}", "spec.localASNumber: 1.10 is read as 1.1: write it in quotes"),
        ] {
            assert!(of(text).is_some_and(|found| found.starts_with(expect)), "{text}: {:?}", of(text));
        }
    }

    #[test]
    fn many_numbers_are_looked_up_at_once() {
        let list: String = (1..=20_000).map(|number| format!("- {{asNumber: {number}}}\n")).collect();
        assert_eq!(of(&list), None);
        assert_eq!(
            of(&format!("{list}- {{asNumber: 010}}\n")).map(|found| found.starts_with("[20000].asNumber")),
            Some(true)
        );
    }

    #[test]
    fn what_stays_as_it_is_is_no_mistake() {
        for text in [
            "metadata: {labels: {a: 1, b: 1.5, c: yes, d: \"1.10\", e: x, f: ~, g: -3}}",
            "spec: {asNumber: 64512, localASNumber: \"1.10\", blockSize: 032, order: 1.50, disabled: yes}",
            "metadata: {labels: {a: 1, A: 2}}",
            r#"[{"op":"add","path":"/spec/blockSize","value":1.10}, {"op":"add","path":"/metadata/labels/v","value":1}]"#,
            "metadata: {labels: {sexagesimal: 1:30, big: \"18446744073709551616\"}}",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
