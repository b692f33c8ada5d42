//! Labels that Mesos hands over in the network configuration, made fit for Calico.

use serde_json::Value;
use std::collections::BTreeMap;

/// The label that names the endpoint's namespace.
const NAMESPACE: &str = "projectcalico.org/namespace";

/// Reads `args."org.apache.mesos".network_info.labels.labels[]`; returns the labels and the namespace among them.
pub(crate) fn mesos(args: Option<&Value>) -> (BTreeMap<String, String>, Option<String>) {
    let labels = args.and_then(|args| args.get("org.apache.mesos")?.get("network_info")?.get("labels")?.get("labels"));
    let labels = labels.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |label: &Value, key: &str| label.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut fitted = BTreeMap::new();
    let mut namespace = None;
    for label in labels {
        let (key, value) = (text(label, "key"), fit(&text(label, "value")));
        if key == NAMESPACE {
            namespace = Some(value);
        } else {
            fitted.insert(fit(&key), value);
        }
    }
    (fitted, namespace)
}

/// `/` becomes `.`, what a label cannot hold `-` (a run of it one), a run of dots and dashes with a dot in it one dot;
/// dots and dashes at the ends go.
fn fit(text: &str) -> String {
    let mut valid = String::new();
    let mut replaced = false;
    for c in text.chars() {
        let c = if c == '/' { '.' } else { c };
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            valid.push(c);
            replaced = false;
        } else if !replaced {
            valid.push('-');
            replaced = true;
        }
    }
    let mut fitted = String::new();
    let mut rest = valid.as_str();
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| c != '.' && c != '-').unwrap_or(rest.len());
        if end == 0 {
            fitted.push(first);
            rest = &rest[1..];
            continue;
        }
        let (run, after) = rest.split_at(end);
        fitted.push_str(if run.contains('.') { "." } else { run });
        rest = after;
    }
    fitted.trim_matches(['.', '-']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_are_made_fit() {
        for (text, expect) in [
            ("v", "v"),
            ("a/b", "a.b"),
            ("x y", "x-y"),
            ("x é y", "x-y"),
            ("c..d", "c.d"),
            ("c.-.d", "c.d"),
            ("a--b", "a--b"),
            ("-z-", "z"),
            ("/z.", "z"),
            ("_z", "_z"),
            ("", ""),
        ] {
            assert_eq!(fit(text), expect, "{text:?}");
        }
    }

    #[test]
    fn one_label_is_the_namespace() {
        let label = |key: &str, value: &str| json!({"key": key, "value": value});
        let labels = [label("k", "v"), label("projectcalico.org/namespace", "ns")];
        let args = json!({"org.apache.mesos": {"network_info": {"labels": {"labels": labels}}}});
        assert_eq!(mesos(Some(&args)), ([("k".to_owned(), "v".to_owned())].into(), Some("ns".to_owned())));
        assert_eq!(mesos(None), (BTreeMap::new(), None));
    }
}
