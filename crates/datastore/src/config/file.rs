//! A CalicoAPIConfig file, as strict as Calico reads it: a field that it does not know is an error, names count in any
//! case, and a number or a truth value is taken where text is expected.

use super::{SETTINGS, Settings};
use serde_json::Value;

const KIND: &str = "CalicoAPIConfig";
const API_VERSION: &str = "projectcalico.org/v3";

/// What a value may be.
#[derive(Clone, Copy)]
enum Shape {
    Text,
    Bool,
    Number,
    /// Not looked into.
    Anything,
}

/// A field that is known.
struct Field {
    name: &'static str,
    shape: Shape,
}

const TOP: [Field; 4] = [
    Field { name: "apiVersion", shape: Shape::Text },
    Field { name: "kind", shape: Shape::Text },
    Field { name: "metadata", shape: Shape::Anything },
    Field { name: "spec", shape: Shape::Anything },
];

/// Object metadata, which counts for nothing.
const METADATA: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Settings of the Kubernetes datastore that count for nothing here.
const KUBERNETES: [Field; 12] = [
    Field { name: "calicoAPIGroup", shape: Shape::Text },
    Field { name: "k8sAPIToken", shape: Shape::Text },
    Field { name: "k8sCAFile", shape: Shape::Text },
    Field { name: "k8sCertFile", shape: Shape::Text },
    Field { name: "k8sClientBurst", shape: Shape::Number },
    Field { name: "k8sClientQPS", shape: Shape::Number },
    Field { name: "k8sCurrentContext", shape: Shape::Text },
    Field { name: "k8sDisableNodePoll", shape: Shape::Bool },
    Field { name: "k8sInsecureSkipTLSVerify", shape: Shape::Bool },
    Field { name: "k8sKeyFile", shape: Shape::Text },
    Field { name: "kubeconfigInline", shape: Shape::Text },
    Field { name: "usePodCIDR", shape: Shape::Bool },
];

/// Reads the settings out of a file's content, or says what is wrong with it.
pub(super) fn settings(bytes: &[u8]) -> Result<Settings, String> {
    let parse = |reason: String| format!("failed to parse config as YAML/JSON: {reason}");
    let json = |reason: String| parse(format!("error unmarshaling JSON: while decoding JSON: json: {reason}"));
    let text = std::str::from_utf8(bytes).map_err(|error| parse(format!("yaml: {error}")))?;
    let options = serde_saphyr::options! { with_snippet: false };
    let file: Value = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| parse(format!("error converting YAML to JSON: yaml: {error}")))?;
    let mut settings = Settings::default();
    let (mut version, mut kind) = (String::new(), String::new());
    let no_object = |found| json(format!("cannot unmarshal {found} into Go value of type apiconfig.{KIND}"));
    for (name, value) in fields(&file).map_err(no_object)? {
        let Some(field) = TOP.iter().find(|field| field.name.eq_ignore_ascii_case(name)) else {
            return Err(json(unknown(name)));
        };
        let fits = fit(value, field.shape).map_err(|found| json(misfit(found, KIND, field.name, "string")))?;
        match field.name {
            "apiVersion" => version = fits,
            "kind" => kind = fits,
            "metadata" => metadata(value).map_err(json)?,
            _ => spec(value, &mut settings).map_err(json)?,
        }
    }
    if version != API_VERSION {
        return Err(format!("invalid config file: unknown APIVersion '{version}'"));
    }
    if kind != KIND {
        return Err(format!("invalid config file: expected kind '{KIND}', got '{kind}'"));
    }
    Ok(settings)
}

fn metadata(value: &Value) -> Result<(), String> {
    let known = |name: &str| METADATA.iter().any(|known| known.eq_ignore_ascii_case(name));
    let mut fields = fields(value).map_err(|found| misfit(found, KIND, "metadata", "v1.ObjectMeta"))?;
    fields.find(|(name, _)| !known(name)).map_or(Ok(()), |(name, _)| Err(unknown(name)))
}

fn spec(value: &Value, settings: &mut Settings) -> Result<(), String> {
    let wrong = |found| misfit(found, KIND, "spec", "apiconfig.CalicoAPIConfigSpec");
    for (name, value) in fields(value).map_err(wrong)? {
        let known = SETTINGS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name));
        let wrong =
            |found, known: &str, kind: &str| misfit(found, "CalicoAPIConfigSpec", &format!("spec.{known}"), kind);
        if let Some((known, _, field)) = known {
            *field(settings) = fit(value, Shape::Text).map_err(|found| wrong(found, known, "string"))?;
            continue;
        }
        let known = KUBERNETES.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        let Some(known) = known else { return Err(unknown(name)) };
        let kind = match known.shape {
            Shape::Text | Shape::Anything => "string",
            Shape::Bool => "bool",
            Shape::Number => "float32",
        };
        fit(value, known.shape).map_err(|found| wrong(found, known.name, kind))?;
    }
    Ok(())
}

/// The fields of an object, in order; none of null. Or what it is in the place of an object.
fn fields(value: &Value) -> Result<impl Iterator<Item = (&String, &Value)>, &'static str> {
    let fields = value.as_object();
    if fields.is_none() && !value.is_null() {
        return Err(word(value));
    }
    Ok(fields.into_iter().flatten())
}

/// A value as the text that it stands for, or what it is in the place of what is expected.
fn fit(value: &Value, shape: Shape) -> Result<String, &'static str> {
    match (value, shape) {
        (Value::Null, _) | (_, Shape::Anything) => Ok(String::new()),
        (Value::String(text), Shape::Text) => Ok(text.clone()),
        (Value::Bool(truth), Shape::Text | Shape::Bool) => Ok(truth.to_string()),
        (Value::Number(number), Shape::Text | Shape::Number) => Ok(number.to_string()),
        (other, _) => Err(word(other)),
    }
}

/// What Go calls a value of JSON.
fn word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn unknown(name: &str) -> String {
    format!("unknown field {name:?}")
}

fn misfit(found: &str, of: &str, field: &str, kind: &str) -> String {
    format!("cannot unmarshal {found} into Go struct field {of}.{field} of type {kind}")
}

#[cfg(test)]
mod tests {
    use super::settings;

    const HEAD: &str = "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\n";

    #[test]
    fn every_setting_is_read_and_yaml_and_json_are_the_same() {
        let yaml = format!(
            "{HEAD}metadata:\n  name: x\nspec:\n  datastoreType: etcdv3\n  etcdEndpoints: http://a:1\n  \
             etcdUsername: 17\n  etcdpassword: true\n  etcdCACertFile: /ca\n  etcdCACert: |\n    pem\n  usePodCIDR: true\n"
        );
        let json = r#"{"kind":"CalicoAPIConfig","apiVersion":"projectcalico.org/v3","metadata":{"name":"x"},"spec":{
            "datastoreType":"etcdv3","etcdEndpoints":"http://a:1","etcdUsername":"17","etcdPassword":"true",
            "etcdCACertFile":"/ca","etcdCACert":"pem\n","usePodCIDR":true}}"#;
        let read = |text: &str| settings(text.as_bytes()).expect("settings");
        assert!(read(&yaml) == read(json));
        let settings = settings(yaml.as_bytes()).expect("settings");
        assert_eq!((settings.etcd_username.as_str(), settings.etcd_password.as_str()), ("17", "true"));
        assert_eq!((settings.etcd_ca_cert_file.as_str(), settings.etcd_ca_cert.as_str()), ("/ca", "pem\n"));
    }

    #[test]
    fn what_is_wrong_is_told_as_calico_does() {
        let json = "failed to parse config as YAML/JSON: error unmarshaling JSON: while decoding JSON: json: ";
        for (text, expect) in [
            ("foo: bar\n".to_owned(), format!("{json}unknown field \"foo\"")),
            (format!("{HEAD}zoo: 1\nspec:\n  etcdEndpoint: a\n"), format!("{json}unknown field \"etcdEndpoint\"")),
            (format!("{HEAD}metadata:\n  nam: a\n"), format!("{json}unknown field \"nam\"")),
            (
                format!("{HEAD}spec:\n  etcdEndpoints: [a]\n"),
                format!(
                    "{json}cannot unmarshal array into Go struct field CalicoAPIConfigSpec.spec.etcdEndpoints of type \
                     string"
                ),
            ),
            (
                format!("{HEAD}spec:\n  usePodCIDR: maybe\n"),
                format!(
                    "{json}cannot unmarshal string into Go struct field CalicoAPIConfigSpec.spec.usePodCIDR of type bool"
                ),
            ),
            (
                "text".to_owned(),
                format!("{json}cannot unmarshal string into Go value of type apiconfig.CalicoAPIConfig"),
            ),
            (String::new(), "invalid config file: unknown APIVersion ''".to_owned()),
            ("apiVersion: v1\nkind: X\n".to_owned(), "invalid config file: unknown APIVersion 'v1'".to_owned()),
            (
                "apiVersion: projectcalico.org/v3\nkind: Node\n".to_owned(),
                "invalid config file: expected kind 'CalicoAPIConfig', got 'Node'".to_owned(),
            ),
        ] {
            assert_eq!(settings(text.as_bytes()).err().expect(&text), expect, "{text}");
        }
        for text in ["a: b: c\n", "{", "kind: x\nkind: y\n", "\u{0}"] {
            let error = settings(text.as_bytes()).err().expect(text);
            let start = "failed to parse config as YAML/JSON: error converting YAML to JSON: yaml: ";
            assert!(error.starts_with(start), "{text:?}: {error}");
        }
        assert!(settings(b"\xff\xfe").is_err());
    }
}
