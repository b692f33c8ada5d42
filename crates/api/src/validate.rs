//! Checks that several kinds share: metadata, addresses, durations, and how scalars are read.
//!
//! Each kind's own rules are beside its `spec`, in [`crate::kind`].

use crate::duration;
use crate::invalid::Invalid;
use crate::meta::ObjectMeta;
use crate::selector::Selector;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest name of an object.
const MAX_NAME: usize = 253;
/// Most bytes that all annotations of an object may have together.
const MAX_ANNOTATIONS: usize = 256 * 1024;

const NAME_REASON: &str = "name must consist of lower case alphanumeric characters, '-' or '.' (regex: [a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)";
const LABEL_NAME_REASON: &str =
    "name must consist of lower case alphanumeric characters or '-' (regex: [a-z0-9]([-a-z0-9]*[a-z0-9])?)";
const KEY_REASON: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE_REASON: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// Checks what every kind's metadata must satisfy.
pub(crate) fn metadata(metadata: &ObjectMeta, invalid: &mut Invalid) {
    if !metadata.generate_name.is_empty() && metadata.name.is_empty() {
        invalid.push("Metadata.GenerateName", &metadata.generate_name, "a name must be given, none is generated");
        return;
    }
    if metadata.name.len() > MAX_NAME {
        invalid.push("Metadata.Name", &metadata.name, "name must not have more than 253 characters");
    } else if !is_subdomain(&metadata.name) {
        invalid.push("Metadata.Name", &metadata.name, NAME_REASON);
    }
    labels("Metadata.Labels", &metadata.labels, invalid);
    for key in metadata.annotations.keys() {
        if !is_qualified_name(&key.to_lowercase()) {
            invalid.push("Metadata.Annotations", key, KEY_REASON);
        }
    }
    let size: usize = metadata.annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > MAX_ANNOTATIONS {
        invalid.push("Metadata.Annotations", &format!("{size} bytes"), "all together may have 262144 bytes at most");
    }
}

/// Checks keys and values of labels.
pub(crate) fn labels(field: &str, labels: &BTreeMap<String, String>, invalid: &mut Invalid) {
    for (key, value) in labels {
        if !is_qualified_name(key) {
            invalid.push(&format!("{field} (label)"), key, KEY_REASON);
        }
        if value.len() > 63 || !(value.is_empty() || is_name_part(value)) {
            invalid.push(&format!("{field} (value)"), value, VALUE_REASON);
        }
    }
}

/// Checks that a name has no dots: a single DNS label of 63 characters at most.
pub(crate) fn name_is_label(name: &str, invalid: &mut Invalid) {
    if is_subdomain(name) && (name.contains('.') || name.len() > 63) {
        invalid.push("Metadata.Name", name, LABEL_NAME_REASON);
    }
}

/// Checks that a name is `default`, which is the only one that some kinds may have.
pub(crate) fn name_is_default(name: &str, invalid: &mut Invalid) {
    if name != "default" {
        invalid.push("Metadata.Name", name, "resource name must be 'default'");
    }
}

/// Checks that a name is one DNS label of 63 characters at most, or two with a dot between.
pub(crate) fn name_is_one_or_two_labels(name: &str, invalid: &mut Invalid) {
    let labels: Vec<&str> = name.split('.').collect();
    if is_subdomain(name) && (labels.len() > 2 || labels.iter().any(|label| label.len() > 63)) {
        invalid.push("Metadata.Name", name, LABEL_NAME_REASON);
    }
}

/// Checks networks that policies select by label: CIDRs without host bits, or single addresses.
pub(crate) fn set_of_networks(metadata: &ObjectMeta, nets: &[String], invalid: &mut Invalid) {
    for (index, net) in nets.iter().enumerate() {
        if network(net).is_none_or(|found| found.trunc() != found) {
            invalid.push_tag(&format!("Nets[{index}]"), net, "net");
        }
    }
    const RESERVED: &str = "projectcalico.org/namespace";
    if let Some(value) = metadata.labels.get(RESERVED) {
        invalid.push("Metadata.Labels (label)", value, &format!("{RESERVED} is not a valid label name on a set"));
    }
}

/// Checks an optional selector.
pub(crate) fn selector(field: &str, text: &str, invalid: &mut Invalid) {
    if Selector::parse(text).is_err() {
        invalid.push_tag(field, text, "selector");
    }
}

/// Checks an optional duration at a path such as `spec.keepaliveTime`, and rewrites nothing; see [`normalise_duration`].
pub(crate) fn duration(path: &str, text: Option<&String>, invalid: &mut Invalid) {
    if let Some(text) = text
        && let Err(reason) = duration::parse(text)
    {
        invalid.undecodable(path, text, &reason);
    }
}

/// Rewrites a duration as Go stores it, `300s` as `5m0s`; leaves what is none for validation to refuse.
pub(crate) fn normalise_duration(text: &mut String) {
    if let Ok(duration) = duration::parse(text) {
        *text = duration::format(duration);
    }
}

/// Checks an optional IPv4 address, with or without a prefix length.
pub(crate) fn cidr_v4(field: &str, text: &str, invalid: &mut Invalid) {
    let ok = text.is_empty() || text.parse::<Ipv4Addr>().is_ok() || matches!(text.parse(), Ok(IpNet::V4(_)));
    if !ok {
        invalid.push_tag(field, text, "cidrv4");
    }
}

/// Checks an optional IPv6 address, with or without a prefix length.
pub(crate) fn cidr_v6(field: &str, text: &str, invalid: &mut Invalid) {
    let ok = text.is_empty() || text.parse::<Ipv6Addr>().is_ok() || matches!(text.parse(), Ok(IpNet::V6(_)));
    if !ok {
        invalid.push_tag(field, text, "cidrv6");
    }
}

/// Checks an optional bare IPv4 address.
pub(crate) fn ipv4(field: &str, text: &str, invalid: &mut Invalid) {
    if !text.is_empty() && text.parse::<Ipv4Addr>().is_err() {
        invalid.push_tag(field, text, "ipv4");
    }
}

/// Checks an optional bare IPv6 address.
pub(crate) fn ipv6(field: &str, text: &str, invalid: &mut Invalid) {
    if !text.is_empty() && text.parse::<Ipv6Addr>().is_err() {
        invalid.push_tag(field, text, "ipv6");
    }
}

/// Checks an optional MAC address of six octets.
pub(crate) fn mac(field: &str, text: &str, invalid: &mut Invalid) {
    let octets: Vec<&str> = text.split(':').collect();
    let ok = octets.len() == 6
        && octets.iter().all(|octet| octet.len() == 2 && octet.chars().all(|c| c.is_ascii_hexdigit()));
    if !text.is_empty() && !ok {
        invalid.push_tag(field, text, "mac");
    }
}

/// Checks an optional interface name: 1 to 15 of `a-zA-Z0-9_.-`.
pub(crate) fn interface(field: &str, text: &str, invalid: &mut Invalid) {
    let ok = text.len() <= 15 && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if !ok {
        invalid.push_tag(field, text, "interface");
    }
}

/// Reads an address with or without a prefix length; a bare one gets the whole length.
pub fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// Whether the text is a DNS-1123 subdomain.
fn is_subdomain(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.split('.').all(|label| {
        edge(label.chars().next())
            && edge(label.chars().next_back())
            && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    })
}

/// Whether the text is a Kubernetes qualified name: `[PREFIX/]NAME`.
fn is_qualified_name(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => {
            prefix.len() <= MAX_NAME && is_subdomain(prefix) && name.len() <= 63 && is_name_part(name)
        }
        None => text.len() <= 63 && is_name_part(text),
    }
}

fn is_name_part(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    edge(text.chars().next())
        && edge(text.chars().next_back())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// Reads an AS number: a whole number, or text `N` or `HI.LO` with 16-bit halves (control reference §1.1).
///
/// A number with a dot or an exponent is refused: of `1.10` only 1.1 arrives here, which is another AS.
pub fn as_number_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let Some(value) = Option::<Value>::deserialize(deserializer)? else { return Ok(None) };
    if let Value::Number(number) = &value
        && !(number.is_u64() || number.is_i64())
    {
        let reason = format!(
            "invalid AS Number format ({number}): a number with a dot or an exponent loses its zeros, so that 1.10 would \
             be 1.1; write it in quotes"
        );
        return Err(serde::de::Error::custom(reason));
    }
    let text = scalar(value).map_err(serde::de::Error::custom)?;
    parse_as_number(&text).map(Some).map_err(serde::de::Error::custom)
}

/// Parses `N` or `HI.LO`.
pub fn parse_as_number(text: &str) -> Result<u32, String> {
    let problem =
        || format!("invalid AS Number format ({text}): a number up to 4294967295, or two up to 65535 with a dot");
    // Rust's numbers may have a sign
    if !text.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return Err(problem());
    }
    match text.split_once('.') {
        None => text.parse().map_err(|_| problem()),
        Some((high, low)) => {
            let high: u16 = high.parse().map_err(|_| problem())?;
            let low: u16 = low.parse().map_err(|_| problem())?;
            Ok((u32::from(high) << 16) | u32::from(low))
        }
    }
}

/// Reads text where YAML may have made a number or a boolean of it, as Calico's clients do: `rack: 1`.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    scalar(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// Reads a map of texts; see [`text`].
pub(crate) fn text_map<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let map = Option::<BTreeMap<String, Value>>::deserialize(deserializer)?.unwrap_or_default();
    let read = |(key, value)| scalar(value).map(|value| (key, value)).map_err(serde::de::Error::custom);
    map.into_iter().map(read).collect()
}

fn scalar(value: Value) -> Result<String, &'static str> {
    match value {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Array(_) => Err("invalid type: sequence, expected a string"),
        Value::Object(_) => Err("invalid type: map, expected a string"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problems(metadata_of: Value) -> Vec<String> {
        let mut invalid = Invalid::default();
        metadata(&serde_json::from_value(metadata_of).expect("metadata"), &mut invalid);
        invalid.problems().map(ToString::to_string).collect()
    }

    #[test]
    fn metadata_of_every_kind() {
        for name in ["p", "node.n1", "a-b.c-d", "0", &"a".repeat(253)] {
            assert_eq!(problems(json!({"name": name})), [""; 0], "{name}");
        }
        for name in ["", "A", "a_b", "-a", "a-", "a..b", ".a", "a."] {
            assert_eq!(problems(json!({"name": name})), [format!("Metadata.Name = '{name}' ({NAME_REASON})")]);
        }
        assert_eq!(problems(json!({"name": "a".repeat(254)})).len(), 1);
    }

    #[test]
    fn labels_of_every_kind() {
        let good = json!({"name": "p", "labels": {"rack": 1, "ready": true, "a.b/c_d": "X.y-z", "empty": ""}});
        assert_eq!(problems(good), [""; 0]);
        let bad = json!({"name": "p", "labels": {"a b": "c", "ok": "-x"}});
        assert_eq!(
            problems(bad),
            [
                format!("Metadata.Labels (label) = 'a b' ({KEY_REASON})"),
                format!("Metadata.Labels (value) = '-x' ({VALUE_REASON})"),
            ]
        );
    }

    #[test]
    fn as_numbers() {
        for (text, expect) in [("64512", Some(64512)), ("1.0", Some(65536)), ("4294967295", Some(u32::MAX))] {
            assert_eq!(parse_as_number(text).ok(), expect, "{text}");
        }
        for text in ["4294967296", "1.65536", "", "-1", "x", "+1", "+1.1", "1.+1", "1.", ".1", "1.2.3", " 1"] {
            let reason = parse_as_number(text).expect_err(text);
            assert!(reason.starts_with(&format!("invalid AS Number format ({text})")), "{reason}");
        }
    }

    #[test]
    fn as_numbers_with_a_dot_are_texts() {
        let read = |json: &str| as_number_option(&mut serde_json::Deserializer::from_str(json));
        for (json, expect) in [("64512", 64512), (r#""1.10""#, 65546), (r#""64512.10""#, 4_227_858_442), ("0", 0)] {
            assert_eq!(read(json).expect(json), Some(expect), "{json}");
        }
        for json in ["1.10", "64512.10", "1.0", "64512.0", "1e3", "6.4512e4", "18446744073709551616"] {
            let reason = read(json).expect_err(json).to_string();
            assert!(
                reason.starts_with("invalid AS Number format (") && reason.contains("write it in quotes"),
                "{reason}"
            );
        }
        assert!(read("-1").is_err() && read("true").is_err() && read("[]").is_err());
    }
}
