//! `-o go-template`: results through a template of Go's (control reference §5.4).
//!
//! The root is the list of results, as calicoctl has it. A template names fields as Go's structs do
//! (`.ObjectMeta.Name`, `.Spec.NATOutgoing`); they are found by the names of JSON without regard to case. A field that
//! is not set is Go's zero value.

use super::Failed;
use gtmpl_ng::{Context, FuncError, Template, Value as Cell};
use regex::Regex;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};

/// How long a joined list may be where nothing else is said.
const UNLIMITED: usize = 0;
/// What takes the place of the end of a list that is too long.
const CUT: &str = "...";

/// Renders results; `asn` is what `config "asnumber"` answers.
pub(super) fn render(text: &str, results: &Value, asn: &str) -> Result<String, Failed> {
    let mut template = Template::default();
    template.add_func("join", join);
    template.add_func("joinAndTruncate", join_and_truncate);
    template.add_func("config", config);
    let told = |error: &dyn std::fmt::Display| Failed(as_go(&error.to_string()));
    template.parse(with_config(text, asn)).map_err(|error| told(&error))?;
    let names = field_names(text);
    let root = cell(results, &names, Place::Plain);
    template.render(&Context::from(root)).map_err(|error| told(&error))
}

/// `config "asnumber"` with its answer: a function of a template cannot ask anybody.
fn with_config(text: &str, asn: &str) -> String {
    let call = Regex::new(r#"(?i)\bconfig\s+"(asnumber)""#).expect("a valid expression");
    call.replace_all(text, format!(r#"config "${{1}}={asn}""#)).into_owned()
}

fn config(arguments: &[Cell]) -> Result<Cell, FuncError> {
    match arguments {
        [Cell::String(text)] => match text.split_once('=') {
            Some((_, value)) => Ok(Cell::from(value)),
            None => Err(FuncError::Generic(format!("unhandled config type {text:?}: asnumber is known"))),
        },
        _ => Err(FuncError::Generic("config takes one name".to_owned())),
    }
}

fn join(arguments: &[Cell]) -> Result<Cell, FuncError> {
    match arguments {
        [items, Cell::String(separator)] => Ok(Cell::from(joined(items, separator, UNLIMITED))),
        _ => Err(FuncError::Generic("join takes a list and a separator".to_owned())),
    }
}

fn join_and_truncate(arguments: &[Cell]) -> Result<Cell, FuncError> {
    match arguments {
        [items, Cell::String(separator), Cell::Number(most)] => {
            let most = most.as_u64().and_then(|most| usize::try_from(most).ok()).unwrap_or(UNLIMITED);
            Ok(Cell::from(joined(items, separator, most)))
        }
        _ => Err(FuncError::Generic("joinAndTruncate takes a list, a separator and a length".to_owned())),
    }
}

/// The items with the separator between; of a map `key=value`, sorted; cut where it gets longer than `most`, if that
/// is not 0.
fn joined(items: &Cell, separator: &str, most: usize) -> String {
    let texts: Vec<String> = match items {
        Cell::Nil | Cell::NoValue => return String::new(),
        Cell::Array(items) => items.iter().map(ToString::to_string).collect(),
        Cell::Map(map) | Cell::Object(map) => {
            let mut texts: Vec<String> = map.iter().map(|(key, value)| format!("{key}={value}")).collect();
            texts.sort();
            texts
        }
        Cell::String(_) | Cell::Bool(_) | Cell::Number(_) | Cell::Function(_) => vec![items.to_string()],
    };
    let text = texts.join(separator);
    if most == UNLIMITED || text.len() <= most {
        return text;
    }
    let mut end = most.saturating_sub(CUT.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{CUT}", &text[..end])
}

/// The names of fields that a template's actions have.
fn field_names(text: &str) -> BTreeSet<String> {
    let action = Regex::new(r"(?s)\{\{.*?\}\}").expect("a valid expression");
    let name = Regex::new(r"\.([A-Za-z_][A-Za-z0-9_]*)").expect("a valid expression");
    let found = action.find_iter(text).flat_map(|action| name.captures_iter(action.as_str()));
    found.map(|captures| captures[1].to_owned()).collect()
}

/// What kind of place a value has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Plain,
    /// Its keys are the user's own.
    Labels,
}

/// A value as templates see it: with each field under the names that the template has for it.
fn cell(value: &Value, names: &BTreeSet<String>, place: Place) -> Cell {
    match value {
        Value::Null => Cell::Nil,
        Value::Bool(truth) => Cell::from(*truth),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), _, _) => Cell::from(number),
            (_, Some(number), _) => Cell::from(number),
            (_, _, number) => Cell::from(number.unwrap_or_default()),
        },
        Value::String(text) => Cell::from(text.as_str()),
        Value::Array(items) => Cell::Array(items.iter().map(|item| cell(item, names, Place::Plain)).collect()),
        Value::Object(fields) if place == Place::Labels => {
            Cell::Map(fields.iter().map(|(key, value)| (key.clone(), cell(value, names, Place::Plain))).collect())
        }
        Value::Object(fields) => {
            let mut cells = HashMap::new();
            for (key, value) in fields {
                let place = if matches!(key.as_str(), "labels" | "annotations") { Place::Labels } else { Place::Plain };
                let inner = cell(value, names, place);
                for name in names.iter().filter(|name| name.eq_ignore_ascii_case(key)) {
                    cells.insert(name.clone(), inner.clone());
                }
                cells.insert(key.clone(), inner);
            }
            embed(fields, &mut cells, names);
            Cell::Object(cells)
        }
    }
}

/// What Go's structs of resources embed: the metadata under its type's name, and what is in it at the top too.
fn embed(fields: &serde_json::Map<String, Value>, cells: &mut HashMap<String, Cell>, names: &BTreeSet<String>) {
    let Some(Value::Object(metadata)) = fields.get("metadata") else { return };
    let metadata_cell = cell(&Value::Object(metadata.clone()), names, Place::Plain);
    let embedded = if fields.contains_key("items") { "ListMeta" } else { "ObjectMeta" };
    if let Cell::Object(inner) = &metadata_cell {
        let top: HashMap<String, Cell> = std::mem::take(cells);
        // what an object has itself comes before what its metadata has
        cells.extend(inner.clone());
        cells.extend(top);
    }
    let types: HashMap<String, Cell> = fields
        .iter()
        .filter(|(key, _)| matches!(key.as_str(), "kind" | "apiVersion"))
        .flat_map(|(key, value)| {
            let spelled = names.iter().filter(|name| name.eq_ignore_ascii_case(key)).cloned();
            spelled.chain([key.clone()]).map(|name| (name, cell(value, names, Place::Plain))).collect::<Vec<_>>()
        })
        .collect();
    cells.insert("TypeMeta".to_owned(), Cell::Object(types));
    cells.insert(embedded.to_owned(), metadata_cell);
}

/// An error in the form of Go's: `template: get:1: function "x" not defined`.
fn as_go(error: &str) -> String {
    let first = error.lines().next().unwrap_or_default();
    let place = Regex::new(r"^template: \w*:(\d+):\d+:\d+:(.*)$").expect("a valid expression");
    let Some(captures) = place.captures(first) else { return first.to_owned() };
    let undefined = Regex::new(r"^function (\S+) not defined$").expect("a valid expression");
    let reason = undefined.replace(&captures[2], "function \"$1\" not defined").into_owned();
    // what there is may be long
    let reason = reason.split(" in map[").next().unwrap_or_default();
    format!("template: get:{}: {reason}", &captures[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pools() -> Value {
        json!([{
            "kind": "IPPoolList", "apiVersion": "projectcalico.org/v3", "metadata": {"resourceVersion": "7"},
            "items": [{
                "kind": "IPPool", "apiVersion": "projectcalico.org/v3",
                "metadata": {"name": "p", "labels": {"a": "1", "B": "2"}},
                "spec": {"cidr": "10.0.0.0/16", "natOutgoing": true, "allowedUses": ["Workload", "Tunnel"], "blockSize": 26},
            }],
        }])
    }

    /// Expectations are what Go's text/template and calicoctl's functions do.
    #[test]
    fn fields_functions_and_forms() {
        let item = |text: &str| format!("{{{{range .}}}}{{{{range .Items}}}}{text}{{{{end}}}}{{{{end}}}}");
        for (text, expect) in [
            (item("{{.ObjectMeta.Name}}"), "p"),
            (item("{{.Name}} {{.Kind}} {{.TypeMeta.APIVersion}}"), "p IPPool projectcalico.org/v3"),
            (item("{{.Spec.CIDR}} {{.Spec.NATOutgoing}} {{.spec.cidr}}"), "10.0.0.0/16 true 10.0.0.0/16"),
            (item("{{join .Spec.AllowedUses \",\"}}"), "Workload,Tunnel"),
            (item("{{joinAndTruncate .Spec.AllowedUses \",\" 10}}"), "Workloa..."),
            (item("{{join .ObjectMeta.Labels \" \"}}"), "B=2 a=1"),
            (item("{{index .Labels \"B\"}}{{.Labels.a}}"), "21"),
            (item("{{config \"ASNumber\"}}"), "64512"),
            (item("{{if gt .Spec.BlockSize 25}}small{{else}}large{{end}}"), "small"),
            (item("{{printf \"%s is %q\" .Name .Spec.CIDR}}"), "p is \"10.0.0.0/16\""),
            ("{{range $i, $list := .}}{{$i}}:{{len $list.Items}}{{end}}".to_owned(), "0:1"),
            ("{{range .}}{{.ResourceVersion}} {{.ListMeta.ResourceVersion}}{{end}}\n".to_owned(), "7 7\n"),
            ("{{- range . -}} {{ .Kind }} {{- end -}} ".to_owned(), "IPPoolList"),
        ] {
            assert_eq!(render(&text, &pools(), "64512").map_err(|Failed(it)| it), Ok(expect.to_owned()), "{text}");
        }
    }

    #[test]
    fn errors_are_gos() {
        for (text, expect) in [
            ("{{foo}}", "template: get:1: function \"foo\" not defined"),
            ("a\n{{bar 1}}", "template: get:2: function \"bar\" not defined"),
        ] {
            assert_eq!(render(text, &pools(), "").map_err(|Failed(it)| it), Err(expect.to_owned()), "{text}");
        }
        let Err(Failed(error)) = render("{{range .}}{{.Nosuch}}{{end}}", &pools(), "") else { panic!("no such field") };
        assert!(error.starts_with("template: get:1: ") && error.contains("Nosuch"), "{error}");
        assert!(render("{{range .", &pools(), "").is_err());
    }
}
