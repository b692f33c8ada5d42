//! What Calico 3.32.1's published definitions say, field by field, and that ours say it too.
//!
//! `testdata/crds.facts` has a line for each fact: a path, what holds there, and the kinds of which it does (with the group,
//! where it holds in one alone). What has no effect is left out: formats of whole numbers, a pattern that takes
//! everything, a rule's wording in CEL beside its message.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

const FACTS: &str = include_str!("../../testdata/crds.facts");

/// Keywords that a fact names, in order.
const KEYWORDS: [&str; 20] = [
    "type",
    "nullable",
    "enum",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "default",
    "required",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
];

/// Path and facts, with the group and the kind of which they hold.
type Lines = BTreeMap<(String, String), BTreeSet<(&'static str, String)>>;

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}

fn facts(schema: &Value) -> String {
    let mut facts = Vec::new();
    for keyword in KEYWORDS {
        let value = &schema[keyword];
        let whole = keyword == "format" && (value == "int32" || value == "int64");
        if value.is_null() || whole || (keyword == "pattern" && value == "^.*") {
            continue;
        }
        let mut value = value.clone();
        if let Value::Array(words) = &mut value
            && ["enum", "required"].contains(&keyword)
        {
            words.sort_by_key(|word| word.as_str().unwrap_or_default().to_owned());
        }
        facts.push(format!("{}={value}", keyword.trim_start_matches("x-kubernetes-")));
    }
    for rule in list(schema, "x-kubernetes-validations") {
        let reason = rule["reason"].as_str().unwrap_or_default();
        facts.push(format!("cel={}", json!([reason, rule["message"]])));
    }
    facts.join(" ")
}

fn walk(schema: &Value, path: &str, who: &(&'static str, String), lines: &mut Lines) {
    let shown = if path.is_empty() { "." } else { path };
    lines.entry((shown.to_owned(), facts(schema))).or_default().insert(who.clone());
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let dot = if path.is_empty() { "" } else { "." };
        walk(inner, &format!("{path}{dot}{name}"), who, lines);
    }
    for (keyword, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[keyword].is_object() {
            walk(&schema[keyword], &format!("{path}{mark}"), who, lines);
        }
    }
}

fn head(definition: &Value) -> [(&'static str, Value); 6] {
    let (spec, names) = (&definition["spec"], &definition["spec"]["names"]);
    let version = &spec["versions"][0];
    let mut called = vec![&names["plural"], &names["singular"], &names["listKind"]];
    called.extend(list(names, "shortNames"));
    let columns = list(version, "additionalPrinterColumns");
    [
        ("@names", json!(called)),
        ("@scope", spec["scope"].clone()),
        ("@version", version["name"].clone()),
        ("@columns", columns.map(|it| json!([it["name"], it["type"], it["jsonPath"]])).collect()),
        ("@status", json!(version["subresources"]["status"].is_object())),
        ("@selectable", list(version, "selectableFields").map(|it| it["jsonPath"].clone()).collect()),
    ]
}

#[test]
fn definitions_say_what_calicos_say() {
    let mut lines = Lines::new();
    for (word, group) in [("crd", Group::Crd), ("v3", Group::V3)] {
        for definition in definitions(group) {
            let who = (word, definition["spec"]["names"]["kind"].as_str().expect("a kind").to_owned());
            for (name, value) in head(&definition) {
                lines.entry((name.to_owned(), value.to_string())).or_default().insert(who.clone());
            }
            walk(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "", &who, &mut lines);
        }
    }
    let ours: BTreeSet<String> = lines
        .iter()
        .map(|((path, facts), who)| {
            let both = |kind: &String| ["crd", "v3"].iter().all(|group| who.contains(&(*group, kind.clone())));
            let kinds: BTreeSet<String> = who
                .iter()
                .map(|(group, kind)| if both(kind) { kind.clone() } else { format!("{group}/{kind}") })
                .collect();
            format!("{path}\t{facts}\t{}", kinds.into_iter().collect::<Vec<_>>().join(" "))
        })
        .collect();
    let theirs: BTreeSet<String> = FACTS.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    let missing: Vec<&String> = theirs.difference(&ours).collect();
    let beyond: Vec<&String> = ours.difference(&theirs).collect();
    assert!(missing.is_empty() && beyond.is_empty(), "missing: {missing:#?}\nbeyond: {beyond:#?}");
}
