//! Which fields change nothing in this version, for the documentation: asked of the kinds, by objects that set one field.

use crate::resource::{Kind, Resource};
use serde_json::{Map, Value, json};

/// What of a field changes nothing in this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Nothing: it acts.
    Nothing,
    /// These values.
    Values(Vec<String>),
    /// All of it.
    All,
}

/// Tells whether a kind as a whole changes nothing.
pub fn kind_is_idle(kind: Kind) -> bool {
    warnings(kind, json!({})).is_some_and(|count| count > 0)
}

/// What of a field of `spec` changes nothing, by its schema; none where no value could be made up for it.
pub fn idle(kind: Kind, field: &str, schema: &Value) -> Option<Idle> {
    let before = warnings(kind, json!({})).unwrap_or(0);
    let tried: Vec<(Value, bool)> = samples(schema)
        .into_iter()
        .filter_map(|sample| {
            let spec = Map::from_iter([(field.to_owned(), sample.clone())]);
            Some((sample, warnings(kind, Value::Object(spec))? > before))
        })
        .collect();
    let idle: Vec<&Value> = tried.iter().filter(|(_, idle)| *idle).map(|(value, _)| value).collect();
    // a parameter's default says nothing, whether it acts or not; so does what is false
    let acts = tried.iter().filter(|(value, idle)| !idle && says_something(value)).count();
    match (tried.len(), idle.len()) {
        (0, _) => None,
        (_, 0) => Some(Idle::Nothing),
        _ if acts == 0 || schema["type"] == "boolean" => Some(Idle::All),
        _ if schema["enum"].is_array() && is_parameter(kind) => Some(Idle::All),
        _ => Some(Idle::Values(idle.iter().map(|value| shown(value)).collect())),
    }
}

/// Parameters act or do not, whatever their value; a default is no reason to warn.
fn is_parameter(kind: Kind) -> bool {
    kind == Kind::FelixConfiguration
}

fn says_something(value: &Value) -> bool {
    !matches!(value, Value::Bool(false))
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text == IPV6 => "IPv6".to_owned(),
        Value::String(text) => format!("`{text}`"),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => format!("`{value}`"),
    }
}

/// How many warnings an object of this `spec` gives; none where it cannot be read.
fn warnings(kind: Kind, spec: Value) -> Option<usize> {
    let document = json!({
        "kind": kind.name(), "apiVersion": "projectcalico.org/v3", "metadata": {"name": "x"}, "spec": spec,
    });
    Some(Resource::decode(kind, document).ok()?.warnings().len())
}

/// An address that is of the one family that texts of other kinds are not.
const IPV6: &str = "fd00::1";

/// Values that a field may have.
fn samples(schema: &Value) -> Vec<Value> {
    if let Some(words) = schema["enum"].as_array() {
        return words.clone();
    }
    match schema["type"].as_str().unwrap_or_default() {
        "boolean" => vec![json!(true), json!(false)],
        "integer" | "number" => vec![schema["maximum"].as_i64().map_or(json!(101), |most| json!(most.min(101)))],
        "string" => vec![json!("x"), json!(IPV6)],
        "array" => samples(&schema["items"]).into_iter().map(|item| json!([item])).collect(),
        "object" if schema["properties"].is_object() => vec![filled(schema)],
        "object" => vec![json!({"x": "x"})],
        _ => vec![json!(101), json!("x")],
    }
}

/// An object with all of its fields.
fn filled(schema: &Value) -> Value {
    let fields = schema["properties"].as_object().into_iter().flatten();
    let fields = fields.filter_map(|(name, field)| Some((name.clone(), samples(field).into_iter().next()?)));
    Value::Object(fields.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_and_what_does_not() {
        let of = |kind: Kind, field: &str| idle(kind, field, &kind.spec_schema()["properties"][field]);
        for (kind, field, expect) in [
            (Kind::IPPool, "natOutgoing", Idle::Nothing),
            (Kind::IPPool, "vxlanMode", Idle::Values(vec!["`Always`".to_owned(), "`CrossSubnet`".to_owned()])),
            (Kind::BGPPeer, "peerIP", Idle::Values(vec!["IPv6".to_owned()])),
            (Kind::BGPPeer, "localWorkloadSelector", Idle::All),
            (Kind::BGPConfiguration, "communities", Idle::All),
            (Kind::FelixConfiguration, "bpfEnabled", Idle::All),
            (Kind::FelixConfiguration, "natOutgoingExclusions", Idle::Nothing),
            (Kind::FelixConfiguration, "bpfAttachType", Idle::All),
            (Kind::Profile, "ingress", Idle::All),
        ] {
            assert_eq!(of(kind, field), Some(expect), "{} {field}", kind.name());
        }
        assert!(kind_is_idle(Kind::NetworkSet) && !kind_is_idle(Kind::IPPool));
    }

    #[test]
    fn every_field_has_a_value_to_try() {
        for kind in Kind::ALL {
            for (field, schema) in kind.spec_schema()["properties"].as_object().into_iter().flatten() {
                assert!(idle(*kind, field, schema).is_some(), "{} {field}: {schema}", kind.name());
            }
        }
    }
}
