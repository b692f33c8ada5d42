//! What every kind's tests need: an object from its `spec`, taken through defaults and validation.

use crate::resource::{Kind, Resource};
use serde_json::{Value, json};

fn object(kind: Kind, name: &str, spec: Value) -> Resource {
    let value = json!({
        "kind": kind.name(), "apiVersion": "projectcalico.org/v3", "metadata": {"name": name}, "spec": spec,
    });
    let mut resource = Resource::read(kind, value).unwrap_or_else(|error| panic!("{} {name}: {error}", kind.name()));
    if kind.namespaced() {
        resource.metadata_mut().namespace = "default".to_owned();
    }
    resource
}

/// The stored form of an object that validation accepts.
pub(super) fn stored(kind: Kind, name: &str, spec: Value) -> String {
    let mut resource = object(kind, name, spec);
    resource.apply_defaults();
    resource.validate().unwrap_or_else(|error| panic!("{} {name}: {error}", kind.name()));
    serde_json::to_string(&resource).expect("a resource is JSON")
}

/// Why validation refuses an object.
pub(super) fn refused(kind: Kind, name: &str, spec: Value) -> String {
    let mut resource = object(kind, name, spec);
    resource.apply_defaults();
    resource.validate().expect_err("a refusal").to_string()
}

/// The warnings about an object.
pub(super) fn warned(kind: Kind, name: &str, spec: Value) -> Vec<String> {
    object(kind, name, spec).warnings()
}
