//! Writes YAML as Go's YAML packages do: keys sorted, lists not indented, quotes only where needed.

use serde_json::{Map, Value};

/// Writes a value as one document.
pub(crate) fn write(value: &Value) -> String {
    let mut text = String::new();
    block(&mut text, value, 0, Place::Line);
    text
}

/// Where a value begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the beginning of a line.
    Line,
    /// After `key:`.
    Key,
    /// After `- `.
    Item,
}

fn block(text: &mut String, value: &Value, indent: usize, place: Place) {
    match value {
        Value::Object(object) if !object.is_empty() => mapping(text, object, indent, place),
        Value::Array(items) if !items.is_empty() => {
            if place != Place::Line {
                text.push('\n');
            }
            for item in items {
                pad(text, indent);
                text.push_str("- ");
                block(text, item, indent + 2, Place::Item);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            if place == Place::Key {
                text.push(' ');
            }
            text.push_str(&flow(value, indent));
            text.push('\n');
        }
    }
}

fn mapping(text: &mut String, object: &Map<String, Value>, indent: usize, place: Place) {
    if place == Place::Key {
        text.push('\n');
    }
    let mut entries: Vec<(&String, &Value)> = object.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    for (index, (key, value)) in entries.into_iter().enumerate() {
        if index > 0 || place != Place::Item {
            pad(text, indent);
        }
        text.push_str(&string(key, indent));
        text.push(':');
        let inner = if value.is_array() { indent } else { indent + 2 };
        block(text, value, inner, Place::Key);
    }
}

fn pad(text: &mut String, indent: usize) {
    text.push_str(&" ".repeat(indent));
}

fn flow(value: &Value, indent: usize) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => string(text, indent),
        Value::Array(_) => "[]".to_owned(),
        Value::Object(_) => "{}".to_owned(),
    }
}

/// A string: plain, in double quotes where it would read as something else, in single ones where its characters
/// mean something, or as a literal block where it has lines.
fn string(text: &str, indent: usize) -> String {
    let control = |c: char| c.is_control() && c != '\n';
    if text.chars().any(control) || text.contains('\n') && (text.starts_with([' ', '\n']) || text.ends_with("\n\n")) {
        return double_quoted(text);
    }
    if text.contains('\n') {
        let keep = if text.ends_with('\n') { "" } else { "-" };
        let lines = text.lines().map(|line| match line {
            "" => "\n".to_owned(),
            line => format!("\n{}{line}", " ".repeat(indent)),
        });
        return format!("|{keep}{}", lines.collect::<String>());
    }
    if reads_as_other(text) {
        return double_quoted(text);
    }
    if needs_quotes(text) { format!("'{}'", text.replace('\'', "''")) } else { text.to_owned() }
}

fn double_quoted(text: &str) -> String {
    // JSON's escapes are YAML's too.
    Value::String(text.to_owned()).to_string()
}

/// Whether YAML 1.1 would read the plain text as null, a boolean, a number, a time or a merge key.
fn reads_as_other(text: &str) -> bool {
    const WORDS: [&str; 11] = ["", "~", "null", "y", "n", "yes", "no", "on", "off", "true", "false"];
    let lower = text.to_lowercase();
    WORDS.contains(&lower.as_str()) || text == "<<" || is_number(&lower) || is_base_60(text) || is_time(text)
}

fn is_number(text: &str) -> bool {
    let unsigned = text.trim_start_matches(['+', '-']);
    let plain = unsigned.replace('_', "");
    let digits = |digits: &str, radix: u32| !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    if let Some(rest) = plain.strip_prefix("0x") {
        return digits(rest, 16);
    }
    if let Some(rest) = plain.strip_prefix("0b") {
        return digits(rest, 2);
    }
    if let Some(rest) = plain.strip_prefix("0o") {
        return digits(rest, 8);
    }
    if matches!(unsigned, ".inf" | ".nan") {
        return true;
    }
    let (mantissa, exponent) = plain.split_once('e').unwrap_or((&plain, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let number = if whole.is_empty() { mantissa.len() > 1 } else { digits(whole, 10) };
    number && (fraction.is_empty() || digits(fraction, 10)) && digits(exponent.trim_start_matches(['+', '-']), 10)
}

/// `12:30:45`, which YAML 1.1 reads in base 60.
fn is_base_60(text: &str) -> bool {
    let mut parts = text.trim_start_matches(['+', '-']).split(':');
    let number = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit() || c == '_');
    let first = parts.next().is_some_and(number);
    let rest: Vec<&str> = parts.collect();
    let sixtieth = |(index, part): (usize, &&str)| {
        let whole = if index + 1 == rest.len() { part.split('.').next().unwrap_or_default() } else { part };
        whole.len() <= 2 && whole.parse::<u8>().is_ok_and(|number| number < 60)
    };
    first && !rest.is_empty() && rest.iter().enumerate().all(sixtieth)
}

/// A date, with or without a time.
fn is_time(text: &str) -> bool {
    let date = text.get(..10).unwrap_or(text);
    let pieces: Vec<&str> = date.split('-').collect();
    let number = |piece: &&str| !piece.is_empty() && piece.chars().all(|c| c.is_ascii_digit());
    pieces.len() == 3
        && pieces[0].len() == 4
        && pieces.iter().all(number)
        && (text.len() <= 10 || text[10..].starts_with(['T', 't', ' ']))
}

/// Whether the characters of a plain text would mean something to a YAML reader.
fn needs_quotes(text: &str) -> bool {
    let first = text.chars().next().unwrap_or(' ');
    let indicator = "#,[]{}&*!|>'\"%@`".contains(first);
    let lone = "-?:".contains(first) && text.chars().nth(1).is_none_or(|c| c == ' ');
    indicator
        || lone
        || text.starts_with(' ')
        || text.ends_with([' ', ':'])
        || text.starts_with("---")
        || text.starts_with("...")
        || text.contains(": ")
        || text.contains(" #")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scalars_as_calicoctl_prints_them() {
        for (text, expect) in [
            ("10.245.0.0/16", "10.245.0.0/16"),
            ("2026-11-22T23:18:22Z", "\"2026-11-22T23:18:22Z\""),
            ("285", "\"285\""),
            ("true", "\"true\""),
            ("", "\"\""),
            ("66:11:22:33:44:55", "\"66:11:22:33:44:55\""),
            ("ee:ee:ee:ee:ee:ee", "ee:ee:ee:ee:ee:ee"),
            ("30000:32767", "30000:32767"),
            ("fd00::11/64", "fd00::11/64"),
            ("aa:bb:cc::ff/120", "aa:bb:cc::ff/120"),
            ("has(x)", "has(x)"),
            ("rack == \"1\"", "rack == \"1\""),
            ("jlkVyQYooZYzI2wFfNhSZez5eWh44yfq1wKVjLvSXgY=", "jlkVyQYooZYzI2wFfNhSZez5eWh44yfq1wKVjLvSXgY="),
            ("kube-ipvs0,/^veth/", "kube-ipvs0,/^veth/"),
            ("1m39s", "1m39s"),
            ("100:200", "100:200"),
            ("100:200:300", "100:200:300"),
            ("!has(a)", "'!has(a)'"),
            ("a: b", "'a: b'"),
            ("'x'", "'''x'''"),
            ("1e3", "\"1e3\""),
            ("0755", "\"0755\""),
            ("node-1", "node-1"),
            ("-", "'-'"),
        ] {
            assert_eq!(string(text, 0), expect, "{text}");
        }
    }

    #[test]
    fn a_document() {
        let value = json!({
            "kind": "IPPoolList",
            "items": [{"spec": {"allowedUses": ["Workload"], "order": 1}, "kind": "IPPool"}],
            "empty": [], "status": {}, "metadata": {"note": "two\nlines\n"}, "nested": [["a"], []],
        });
        let expect = "\
empty: []
items:
- kind: IPPool
  spec:
    allowedUses:
    - Workload
    order: 1
kind: IPPoolList
metadata:
  note: |
    two
    lines
nested:
-
  - a
- []
status: {}
";
        assert_eq!(write(&value), expect.replace("-\n  - a", "- \n  - a"));
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_reads_the_same(texts in proptest::collection::vec("[ -~\n]{0,12}", 1..6)) {
            let value = json!({"a": texts, "b": {"c": texts}});
            let written = write(&value);
            proptest::prop_assert_eq!(super::super::input::parse(&written), Ok(value), "{}", written);
        }
    }
}
