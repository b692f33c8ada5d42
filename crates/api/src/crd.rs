//! CustomResourceDefinitions of the kinds, made of their types (control reference §2.4).
//!
//! Calico has them in two groups: `crd.projectcalico.org/v1`, where objects are stored in a form of their own, and
//! `projectcalico.org/v3`, where they are stored as users know them. A schema is what a type's fields say, with the limits
//! that stand at the fields; the checks in Go are not part of it.

mod idle;
mod internal;
mod status;
mod structural;

pub use idle::{Idle, idle, kind_is_idle};
pub(crate) use status::{Conditions, ControllersStatus};
pub(crate) use structural::of;

use crate::invalid::SchemaRule;
use crate::resource::{Kind, Spec};
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

/// Where Kubernetes keeps Calico's objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// `crd.projectcalico.org/v1`.
    Crd,
    /// `projectcalico.org/v3`.
    V3,
}

impl Group {
    /// Its name, as in `apiVersion` before the slash.
    pub fn name(self) -> &'static str {
        match self {
            Group::Crd => "crd.projectcalico.org",
            Group::V3 => "projectcalico.org",
        }
    }

    /// Its version.
    pub fn version(self) -> &'static str {
        match self {
            Group::Crd => "v1",
            Group::V3 => "v3",
        }
    }
}

/// What a kind's definition has besides its schema.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// Words for `kubectl`, in the group `projectcalico.org`.
    pub short_names: &'static [&'static str],
    /// What `kubectl get` shows, in the group `projectcalico.org`.
    pub columns: &'static [PrinterColumn],
    /// In which groups `status` is written by itself.
    pub status: &'static [Group],
    /// The schema of `status`, if objects have one.
    pub status_schema: Option<fn() -> Value>,
    /// Fields that `kubectl get --field-selector` takes, in the group `projectcalico.org`.
    pub selectable: &'static [&'static str],
    /// In which groups an object must have metadata and a `spec`.
    pub required: &'static [Group],
    /// Rules about an object as a whole.
    pub rules: &'static [Rule],
}

impl Definition {
    /// Nothing besides the schema.
    pub const PLAIN: Definition = Definition {
        short_names: &[],
        columns: &[],
        status: &[],
        status_schema: None,
        selectable: &[],
        required: &[Group::V3],
        rules: &[],
    };
}

/// A column of `kubectl get`.
#[derive(Clone, Copy, Debug)]
pub struct PrinterColumn {
    /// Its heading.
    pub name: &'static str,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: &'static str,
    /// Where its value is.
    pub path: &'static str,
    /// What it is; empty for nothing.
    pub description: &'static str,
}

impl PrinterColumn {
    /// A column without a description.
    pub const fn new(name: &'static str, kind: &'static str, path: &'static str) -> PrinterColumn {
        PrinterColumn { name, kind, path, description: "" }
    }
}

/// A rule in CEL.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The rule, on `self`.
    pub cel: &'static str,
    /// What is said of what breaks it.
    pub message: &'static str,
    /// Kubernetes' word for the kind of mistake; empty for the usual one.
    pub reason: &'static str,
}

impl Rule {
    /// As a schema has it.
    fn to_json(self) -> Value {
        let mut rule = json!({"rule": self.cel, "message": self.message});
        if !self.reason.is_empty() {
            rule["reason"] = self.reason.into();
        }
        rule
    }
}

/// Rules as a schema has them.
pub(crate) fn rules(rules: &[Rule]) -> Value {
    rules.iter().map(|rule| rule.to_json()).collect()
}

/// Rows of validation as a schema has them.
pub(crate) fn rows<T>(rows: &[SchemaRule<T>]) -> Value {
    rows.iter().map(|row| Rule { cel: row.cel, message: row.message, reason: row.reason }.to_json()).collect()
}

/// Adds limits to the items of a list's schema.
pub(crate) fn items(limits: Value) -> impl FnMut(&mut Schema) {
    move |schema: &mut Schema| {
        let items = schema.as_object_mut().and_then(|schema| schema.get_mut("items"));
        if let (Some(Value::Object(items)), Value::Object(limits)) = (items, &limits) {
            items.extend(limits.clone());
        }
    }
}

/// A kind's definition; none for kinds that Kubernetes' own objects stand for.
pub(crate) fn definition<S: Spec + JsonSchema>(group: Group) -> Option<Value> {
    let names = Named { kind: S::KIND.name(), plural: S::NAMES.plural, namespaced: S::NAMES.namespaced };
    let spec = structural::of::<S>();
    Some(assembled(names, &S::DEFINITION?, spec, group))
}

/// What a definition calls its objects.
struct Named {
    kind: &'static str,
    plural: &'static str,
    namespaced: bool,
}

/// Puts a definition together.
fn assembled(names: Named, definition: &Definition, spec: Value, group: Group) -> Value {
    let Definition { short_names, columns, status, status_schema, selectable, required, rules } = definition;
    let Named { kind, plural, namespaced } = names;
    let mut names = json!({
        "kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": kind.to_lowercase(),
    });
    let v3 = group == Group::V3;
    // a status that is written by itself nowhere is part of the object in both groups
    let shown = status_schema.filter(|_| status.is_empty() || status.contains(&group));
    if v3 && !short_names.is_empty() {
        names["shortNames"] = json!(short_names);
    }
    let mut version = json!({
        "name": group.version(), "served": true, "storage": true,
        "schema": {"openAPIV3Schema": schema(spec, shown, rules, required.contains(&group))},
    });
    if v3 && !columns.is_empty() {
        version["additionalPrinterColumns"] = columns.iter().map(column).collect();
    }
    if v3 && !selectable.is_empty() {
        version["selectableFields"] = selectable.iter().map(|path| json!({"jsonPath": path})).collect();
    }
    if status.contains(&group) {
        version["subresources"] = json!({"status": {}});
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{}", group.name())},
        "spec": {
            "group": group.name(),
            "names": names,
            "preserveUnknownFields": false,
            "scope": if namespaced { "Namespaced" } else { "Cluster" },
            "versions": [version],
        },
    })
}

fn column(column: &PrinterColumn) -> Value {
    let PrinterColumn { name, kind, path, description } = *column;
    let mut column = json!({"name": name, "type": kind, "jsonPath": path});
    if !description.is_empty() {
        column["description"] = description.into();
    }
    column
}

/// The schema of whole objects.
fn schema(spec: Value, status: Option<fn() -> Value>, rules: &[Rule], required: bool) -> Value {
    let mut properties = json!({
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        "spec": spec,
    });
    if let Some(status) = status {
        properties["status"] = status();
    }
    let mut schema = json!({"type": "object", "properties": properties});
    if required {
        schema["required"] = json!(["metadata", "spec"]);
    }
    if !rules.is_empty() {
        schema["x-kubernetes-validations"] = self::rules(rules);
    }
    schema
}

/// The definitions of a group that have no kind of ours, for objects that programs keep.
pub fn internal_definitions(group: Group) -> Vec<Value> {
    internal::definitions(group)
}

/// Every definition of a group, ordered by name.
pub fn definitions(group: Group) -> Vec<Value> {
    let mut all: Vec<Value> = Kind::ALL.iter().filter_map(|kind| kind.definition(group)).collect();
    all.extend(internal::definitions(group));
    all.sort_by_key(|definition| definition["metadata"]["name"].as_str().unwrap_or_default().to_owned());
    all
}

#[cfg(test)]
mod facts;
#[cfg(test)]
mod tests;
