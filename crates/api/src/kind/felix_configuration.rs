//! FelixConfiguration: settings of the node agent.

mod choice;
mod limits;
mod parameter;

pub use choice::Choice;
pub use parameter::{PARAMETERS, Parameter, ParameterType};

use crate::column::Column;
use crate::crd::{self, Definition};
use crate::invalid::Invalid;
use crate::resource::{Kind, Names, Spec, Typed};
use crate::validate;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// `spec` of a FelixConfiguration: parameter (lower camel case) → value.
///
/// Calico has about two hundred parameters; which exist, of what type, and which Tortie acts on is the table
/// [`PARAMETERS`], not two hundred fields.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct FelixConfigurationSpec(pub Map<String, Value>);

/// What the schema says of a configuration's parameters together.
const RANGES: &[crd::Rule] = &[crd::Rule {
    cel: "!has(self.routeTableRange) || !has(self.routeTableRanges)",
    message: "routeTableRange and routeTableRanges cannot both be set",
    reason: "FieldValueForbidden",
}];

impl JsonSchema for FelixConfigurationSpec {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "FelixConfigurationSpec".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let properties: Map<String, Value> =
            PARAMETERS.iter().map(|parameter| (parameter.name.to_owned(), parameter.schema())).collect();
        json_schema!({
            "type": "object", "properties": properties, "x-kubernetes-validations": crd::rules(RANGES),
        })
    }
}

impl Serialize for FelixConfigurationSpec {
    /// Writes the parameters in Calico's order; what the table does not know comes last.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for parameter in PARAMETERS {
            if let Some(value) = self.0.get(parameter.name) {
                map.serialize_entry(parameter.name, &Ordered(value))?;
            }
        }
        for (name, value) in self.0.iter().filter(|(name, _)| Parameter::by_name(name).is_none()) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Writes the objects within a parameter's value with their fields in Calico's order.
struct Ordered<'a>(&'a Value);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const FIRST: [&str; 7] = ["protocol", "port", "net", "name", "timeout", "min", "max"];
        match self.0 {
            Value::Array(items) => serializer.collect_seq(items.iter().map(Ordered)),
            Value::Object(object) => {
                let place = |name: &str| FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
                let mut entries: Vec<(&String, &Value)> = object.iter().collect();
                entries.sort_by_key(|(name, _)| (place(name), name.as_str()));
                serializer.collect_map(entries)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => self.0.serialize(serializer),
        }
    }
}

impl Spec for FelixConfigurationSpec {
    const KIND: Kind = Kind::FelixConfiguration;
    const NAMES: Names = Names {
        plural: "felixconfigurations",
        namespaced: false,
        words: &["felixconfiguration", "felixconfigurations", "felixconfig", "felixconfigs"],
    };
    const DEFINITION: Option<Definition> = Some(Definition {
        rules: &[crd::Rule {
            cel: "self.metadata.name == 'default' || self.metadata.name.startsWith('node.') ? !has(self.spec.nodeSelector) : true",
            message: "nodeSelector must not be set on the 'default' or per-node ('node.*') FelixConfiguration",
            reason: "FieldValueForbidden",
        }],
        ..Definition::PLAIN
    });
    const COLUMNS: &'static [Column<Self>] = &[Column::name()];
    type Status = Value;

    fn apply_defaults(configuration: &mut Typed<Self>) {
        let spec = &mut configuration.spec.0;
        spec.retain(|_, value| !value.is_null());
        let balancing = spec.get("bpfConnectTimeLoadBalancingEnabled").and_then(Value::as_bool);
        let (connect_time, host_networked) = match balancing {
            Some(true) => ("Enabled", "Disabled"),
            Some(false) => ("Disabled", "Disabled"),
            None => ("TCP", "Enabled"),
        };
        for (name, default) in [
            ("nftablesMode", "Auto"),
            ("bpfLogLevel", ""),
            ("bpfConnectTimeLoadBalancing", connect_time),
            ("bpfHostNetworkedNATWithoutCTLB", host_networked),
            ("floatingIPs", "Disabled"),
        ] {
            spec.entry(name).or_insert_with(|| json!(default));
        }
        for parameter in PARAMETERS.iter().filter(|parameter| parameter.kind == ParameterType::Duration) {
            if let Some(Value::String(text)) = spec.get_mut(parameter.name) {
                validate::normalise_duration(text);
            }
        }
    }

    fn check(configuration: &Typed<Self>, invalid: &mut Invalid) {
        for (name, value) in &configuration.spec.0 {
            match Parameter::by_name(name) {
                Some(parameter) => parameter.check(value, invalid),
                None => {
                    let reason = "field in document is not recognized or is in the wrong location";
                    invalid.push_bare(&format!("spec.{name}"), reason);
                }
            }
        }
        let name = &configuration.metadata.name;
        if configuration.spec.0.contains_key("nodeSelector") && (name == "default" || name.starts_with("node.")) {
            let reason = format!("nodeSelector cannot be set on the FelixConfiguration {name}");
            invalid.push_bare("spec.nodeSelector", &reason);
        }
    }

    fn idle_fields(configuration: &Typed<Self>) -> Vec<String> {
        let idle = |(name, value): &(&String, &Value)| {
            Parameter::by_name(name).is_some_and(|parameter| !parameter.acted_on && !parameter.is_default(value))
        };
        configuration.spec.0.iter().filter(idle).map(|(name, _)| format!("spec.{name}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, stored, warned};

    #[test]
    fn stored_form() {
        assert_eq!(
            stored(
                Kind::FelixConfiguration,
                "felixconfiguration1",
                json!({"ipv6Support": false, "logSeverityScreen": "Debug", "netlinkTimeout": "11s"})
            ),
            r#"{"kind":"FelixConfiguration","apiVersion":"projectcalico.org/v3","metadata":{"name":"felixconfiguration1"},"spec":{"ipv6Support":false,"netlinkTimeout":"11s","logSeverityScreen":"Debug","nftablesMode":"Auto","bpfLogLevel":"","bpfConnectTimeLoadBalancing":"TCP","bpfHostNetworkedNATWithoutCTLB":"Enabled","floatingIPs":"Disabled"}}"#
        );
        let full = json!({
            "bpfEnabled": false, "externalNodesList": ["1.2.3.4", "10.0.0.0/8"], "failsafeInboundHostPorts": [],
            "floatingIPs": "Enabled", "healthEnabled": true, "interfaceExclude": "kube-ipvs0,/^veth/",
            "iptablesBackend": "NFT", "kubeNodePortRanges": ["30000:32767"], "logSeverityScreen": "Debug",
            "natPortRange": "32768:65535", "nftablesMode": "Auto", "reportingInterval": "0s", "reportingTTL": "99s",
            "routeTableRanges": [{"max": 250, "min": 1}], "vxlanPort": 4789, "vxlanVNI": 4096,
            "wireguardEnabled": false,
        });
        let order = [
            "iptablesBackend",
            "interfaceExclude",
            "logSeverityScreen",
            "vxlanPort",
            "vxlanVNI",
            "reportingInterval",
            "reportingTTL",
            "healthEnabled",
            "failsafeInboundHostPorts",
            "kubeNodePortRanges",
            "natPortRange",
            "externalNodesList",
            "nftablesMode",
            "bpfEnabled",
            "bpfLogLevel",
            "bpfConnectTimeLoadBalancing",
            "bpfHostNetworkedNATWithoutCTLB",
            "routeTableRanges",
            "wireguardEnabled",
            "floatingIPs",
        ];
        let text = stored(Kind::FelixConfiguration, "default", full);
        let places: Vec<Option<usize>> = order.iter().map(|name| text.find(&format!("\"{name}\":"))).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");
        assert!(text.contains(r#""reportingTTL":"1m39s""#), "{text}");
        assert!(text.contains(r#""routeTableRanges":[{"min":1,"max":250}]"#), "{text}");
    }

    #[test]
    fn refusals_name_field_and_reason() {
        for (spec, expect) in [
            (
                json!({"chainInsertMode": "foo"}),
                "spec.chainInsertMode (spec.chainInsertMode in body should match '^(?i)(Insert|Append)?$')",
            ),
            (json!({"nftablesMode": "auto"}), r#"spec.nftablesMode (supported values: "Disabled", "Enabled", "Auto")"#),
            (
                json!({"reportingInterval": "10"}),
                r#"spec.reportingInterval = '10' ("10" is not a duration such as 90s or 1m30s: a unit is missing)"#,
            ),
            (
                json!({"frobnicate": 1}),
                "spec.frobnicate (field in document is not recognized or is in the wrong location)",
            ),
            (json!({"ipipEnabled": "x"}), "spec.ipipEnabled = 'x' (must be true or false)"),
            (json!({"healthPort": 65536}), "spec.healthPort = '65536' (must be a whole number between 0 and 65535)"),
            (json!({"natOutgoingAddress": "::1"}), "spec.natOutgoingAddress = '::1' (must be an IPv4 address)"),
            (json!({"natPortRange": "9:8"}), "spec.natPortRange = '9:8' (must be a port, or a range MIN:MAX)"),
        ] {
            assert_eq!(refused(Kind::FelixConfiguration, "default", spec), format!("error with field {expect}"));
        }
    }

    /// As recorded, and by the same rule for words with other checks.
    #[test]
    fn words_are_checked_by_go_and_by_the_schema() {
        for (spec, expect) in [
            (
                json!({"iptablesBackend": "foo"}),
                "-  IptablesBackend = 'foo' (Reason: failed to validate Field: IptablesBackend because of Tag: \
                 iptablesBackend )\n-  spec.iptablesBackend (spec.iptablesBackend in body should match \
                 '^(?i)(Auto|Legacy|NFT)?$')\n-  spec.iptablesBackend (supported values: \"Legacy\", \"NFT\", \"Auto\")\n",
            ),
            (
                json!({"natOutgoingExclusions": "Foo"}),
                "-  NATOutgoingExclusions = 'Foo' (Reason: failed to validate Field: NATOutgoingExclusions because of Tag: \
                 oneof )\n-  spec.natOutgoingExclusions (supported values: \"IPPoolsOnly\", \"IPPoolsAndHostIPs\")\n",
            ),
            (
                json!({"bpfLogLevel": "loud"}),
                "-  BPFLogLevel = 'loud' (Reason: failed to validate Field: BPFLogLevel because of Tag: bpfLogLevel )\n-  \
                 spec.bpfLogLevel (spec.bpfLogLevel in body should match '^(?i)(Off|Info|Debug)?$')\n",
            ),
        ] {
            let expect = format!("error with the following fields:\n{expect}");
            assert_eq!(refused(Kind::FelixConfiguration, "default", spec), expect);
        }
        // Go wants the case, the pattern does not
        let expect = "error with field LogSeverityScreen = 'debug' (Reason: failed to validate Field: LogSeverityScreen \
                      because of Tag: logLevel )";
        assert_eq!(refused(Kind::FelixConfiguration, "default", json!({"logSeverityScreen": "debug"})), expect);
        stored(Kind::FelixConfiguration, "default", json!({"chainInsertMode": "append", "logSeverityScreen": ""}));
    }

    #[test]
    fn what_is_not_acted_on_is_said() {
        let spec = json!({
            "routeRefreshInterval": "10s", "chainInsertMode": "append", "vxlanPort": 4789, "bpfEnabled": true,
            // stored by default
            "bpfLogLevel": "",
        });
        assert_eq!(
            warned(Kind::FelixConfiguration, "default", spec),
            ["FelixConfiguration default: spec.bpfEnabled is accepted but not acted on yet"]
        );
    }

    #[test]
    fn every_default_is_a_value_of_its_type() {
        for parameter in PARAMETERS.iter().filter(|parameter| !parameter.default.is_empty()) {
            let text = parameter.default;
            let value = match parameter.kind {
                ParameterType::Bool => json!(text == "true"),
                ParameterType::Int(..) => match text.strip_prefix("0x") {
                    Some(hex) => json!(i64::from_str_radix(hex, 16).expect(text)),
                    None => json!(text.parse::<i64>().expect(text)),
                },
                ParameterType::Duration
                | ParameterType::Choice(_)
                | ParameterType::Ipv4
                | ParameterType::Ipv6
                | ParameterType::Ports
                | ParameterType::Selector
                | ParameterType::Text
                | ParameterType::List
                | ParameterType::Map
                | ParameterType::Any => json!(text),
            };
            let mut invalid = Invalid::default();
            parameter.check(&value, &mut invalid);
            assert_eq!(invalid.into_result(), Ok(()), "{}", parameter.name);
        }
    }
}
