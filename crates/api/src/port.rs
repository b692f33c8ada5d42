//! Ports and protocols, which are numbers or names (control reference §1.1).

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::fmt;

/// Names of protocols, as Calico writes them.
const PROTOCOLS: [&str; 6] = ["TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite"];

/// A port, a range of ports, or a port's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// From the first to the last; both are the same for a single port.
    Range(u16, u16),
    /// An endpoint's named port.
    Named(String),
}

impl Port {
    fn parse(text: &str) -> Result<Port, String> {
        let number = |text: &str| text.parse::<u16>().map_err(|_| format!("invalid port {text:?}: 0 to 65535"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits(text) {
            return number(text).map(|port| Port::Range(port, port));
        }
        if let Some((first, last)) = text.split_once(':').filter(|(first, last)| digits(first) && digits(last)) {
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!(
                    "minimum port number ({first}) is greater than maximum port number ({last}) in port range"
                ));
            }
            return Ok(Port::Range(first, last));
        }
        let named = (1..=128).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        if named { Ok(Port::Named(text.to_owned())) } else { Err(format!("invalid name for named port ({text})")) }
    }

    /// Tells whether it is a number or a range of numbers, which only some protocols have.
    pub fn is_numeric(&self) -> bool {
        matches!(self, Port::Range(..))
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Port::Range(first, last) if first == last => write!(f, "{first}"),
            Port::Range(first, last) => write!(f, "{first}:{last}"),
            Port::Named(name) => f.write_str(name),
        }
    }
}

impl Serialize for Port {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Port::Range(first, last) if first == last => serializer.serialize_u16(*first),
            Port::Range(..) | Port::Named(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match &value {
            Value::Number(number) => {
                let port = number.as_u64().and_then(|number| u16::try_from(number).ok());
                let port = port.ok_or_else(|| D::Error::custom(format!("invalid port {number}: 0 to 65535")))?;
                Ok(Port::Range(port, port))
            }
            Value::String(text) => Port::parse(text).map_err(D::Error::custom),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                Err(D::Error::custom(format!("invalid port {value}: a number, a range MIN:MAX or a name")))
            }
        }
    }
}

impl schemars::JsonSchema for Port {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Port".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        int_or_string()
    }
}

impl schemars::JsonSchema for Protocol {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Protocol".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        int_or_string()
    }
}

/// What Kubernetes has for a number or a text.
fn int_or_string() -> schemars::Schema {
    schemars::json_schema!({
        "anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": "^.*", "x-kubernetes-int-or-string": true,
    })
}

/// A protocol above IP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// By number.
    Number(u8),
    /// By name, in the words that were given.
    Named(String),
}

impl Default for Protocol {
    fn default() -> Self {
        Protocol::Named(String::new())
    }
}

impl Protocol {
    /// Says what is wrong with it, in Calico's words.
    pub fn problem(&self) -> Option<&'static str> {
        match self {
            Protocol::Number(0) => Some("protocol number invalid"),
            Protocol::Named(name) if !PROTOCOLS.contains(&name.as_str()) => Some("protocol name invalid"),
            Protocol::Number(_) | Protocol::Named(_) => None,
        }
    }

    /// Its number; none for a name that nobody knows.
    pub fn number(&self) -> Option<u8> {
        match self {
            Protocol::Number(number) => Some(*number),
            Protocol::Named(name) => Some(match name.to_lowercase().as_str() {
                "tcp" => 6,
                "udp" => 17,
                "icmp" => 1,
                "icmpv6" => 58,
                "sctp" => 132,
                "udplite" => 136,
                _ => return None,
            }),
        }
    }

    /// Tells whether its packets have ports that rules can match: TCP, UDP and SCTP.
    pub fn supports_ports(&self) -> bool {
        matches!(self.number(), Some(6 | 17 | 132))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Protocol::Number(number) => write!(f, "{number}"),
            Protocol::Named(name) => f.write_str(name),
        }
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Protocol::Number(number) => serializer.serialize_u8(*number),
            Protocol::Named(name) => serializer.serialize_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let wrong = || D::Error::custom(format!("invalid protocol {value}: a name, or a number up to 255"));
        match &value {
            Value::Number(number) => {
                number.as_u64().and_then(|number| u8::try_from(number).ok()).map(Protocol::Number).ok_or_else(wrong)
            }
            Value::String(text) => Ok(match text.parse::<u8>() {
                Ok(number) => Protocol::Number(number),
                Err(_) => Protocol::Named(text.clone()),
            }),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_as_they_are_written() {
        for (given, expect) in [
            (json!(80), json!(80)),
            (json!("80"), json!(80)),
            (json!("80:80"), json!(80)),
            (json!("8080:8090"), json!("8080:8090")),
            (json!("http-port"), json!("http-port")),
            (json!("0"), json!(0)),
        ] {
            let port: Port = serde_json::from_value(given.clone()).unwrap_or_else(|error| panic!("{given}: {error}"));
            assert_eq!(serde_json::to_value(&port).expect("JSON"), expect, "{given}");
        }
        for (given, expect) in [
            (json!("90:80"), "minimum port number (90) is greater than maximum port number (80) in port range"),
            (json!(70000), "invalid port 70000: 0 to 65535"),
            (json!("70000"), "invalid port \"70000\": 0 to 65535"),
            (json!("a b"), "invalid name for named port (a b)"),
            (json!(-1), "invalid port -1: 0 to 65535"),
            (json!(true), "invalid port true: a number, a range MIN:MAX or a name"),
        ] {
            let error = serde_json::from_value::<Port>(given.clone()).expect_err("no port").to_string();
            assert_eq!(error, expect, "{given}");
        }
    }

    #[test]
    fn protocols_as_they_are_written() {
        for (given, expect, problem) in [
            (json!("TCP"), json!("TCP"), None),
            (json!(17), json!(17), None),
            (json!("17"), json!(17), None),
            (json!("tcp"), json!("tcp"), Some("protocol name invalid")),
            (json!("FOO"), json!("FOO"), Some("protocol name invalid")),
            (json!(0), json!(0), Some("protocol number invalid")),
        ] {
            let protocol: Protocol = serde_json::from_value(given.clone()).expect("a protocol");
            assert_eq!(serde_json::to_value(&protocol).expect("JSON"), expect, "{given}");
            assert_eq!(protocol.problem(), problem, "{given}");
        }
        assert!(serde_json::from_value::<Protocol>(json!(256)).is_err());
        for (given, expect) in [("TCP", true), ("sctp", true), ("132", true), ("ICMP", false), ("1", false)] {
            let protocol: Protocol = serde_json::from_value(json!(given)).expect("a protocol");
            assert_eq!(protocol.supports_ports(), expect, "{given}");
        }
    }
}
