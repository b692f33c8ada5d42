//! A call's result, printed as each specification version wants it.

use super::netconf::VERSIONS;
use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What ADD made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Added {
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) ips: Vec<IpNet>,
    pub(crate) routes: Vec<Destination>,
}

/// One interface of the result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) mac: String,
    /// Printed from 1.1.0 on.
    pub(crate) mtu: Option<u32>,
    pub(crate) sandbox: String,
}

/// A route's destination as text: another IPAM plugin's is handed on as it is.
pub(crate) type Destination = String;

/// Renders the result in one of [`VERSIONS`].
///
/// The interface index of every address is 1, the container's; an IPAM plugin's result has no interfaces.
pub(crate) fn render(added: &Added, version: &str) -> String {
    let text = match version {
        "0.1.0" | "0.2.0" => pretty(&by_family(added, version)),
        "1.0.0" | "1.1.0" => pretty(&sorted(added, version)),
        _ => pretty(&Ordered::new(added, version)),
    };
    text.expect("a result is text and numbers, which JSON can hold")
}

/// Renders the answer to VERSION: the newest version, and all.
pub(crate) fn versions() -> String {
    let newest = VERSIONS.last().expect("some version is spoken");
    let words: Vec<String> = VERSIONS.iter().map(|version| format!("{version:?}")).collect();
    format!("{{\"cniVersion\":{newest:?},\"supportedVersions\":[{}]}}\n", words.join(","))
}

/// JSON indented by four blanks, as the CNI library prints it: with the three characters escaped that HTML would mind.
pub(crate) fn pretty(value: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e"))
}

/// 0.1.0 and 0.2.0: one address per family, each with its family's routes.
#[derive(Serialize)]
struct ByFamily {
    #[serde(rename = "cniVersion")]
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip4: Option<Family>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip6: Option<Family>,
    dns: Map<String, Value>,
}

#[derive(Serialize)]
struct Family {
    ip: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Value>,
}

fn by_family(added: &Added, version: &str) -> ByFamily {
    let family = |v6: bool| {
        let ip = added.ips.iter().find(|ip| matches!(ip, IpNet::V6(_)) == v6)?;
        let routes = added.routes.iter().filter(|dst| dst.contains(':') == v6).map(|dst| json!({"dst": dst}));
        Some(Family { ip: ip.to_string(), routes: routes.collect() })
    };
    ByFamily { version: version.to_owned(), ip4: family(false), ip6: family(true), dns: Map::new() }
}

/// 0.3.0 to 0.4.0: the order of Go's structs.
#[derive(Serialize)]
struct Ordered {
    #[serde(rename = "cniVersion")]
    version: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    interfaces: Vec<OrderedInterface>,
    ips: Vec<OrderedIp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Value>,
    dns: Map<String, Value>,
}

#[derive(Serialize)]
struct OrderedInterface {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    mac: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    sandbox: String,
}

#[derive(Serialize)]
struct OrderedIp {
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<u32>,
    address: String,
}

impl Ordered {
    fn new(added: &Added, version: &str) -> Self {
        let index = (!added.interfaces.is_empty()).then_some(1);
        let interface = |it: &Interface| OrderedInterface {
            name: it.name.clone(),
            mac: it.mac.clone(),
            sandbox: it.sandbox.clone(),
        };
        let ip = |ip: &IpNet| OrderedIp {
            version: if matches!(ip, IpNet::V4(_)) { "4" } else { "6" },
            interface: index,
            address: ip.to_string(),
        };
        Ordered {
            version: version.to_owned(),
            interfaces: added.interfaces.iter().map(interface).collect(),
            ips: added.ips.iter().map(ip).collect(),
            routes: added.routes.iter().map(|dst| json!({"dst": dst})).collect(),
            dns: Map::new(),
        }
    }
}

/// From 1.0.0: objects in alphabetical order, no empty DNS.
fn sorted(added: &Added, version: &str) -> Value {
    let index = !added.interfaces.is_empty();
    let interfaces: Vec<Value> = added
        .interfaces
        .iter()
        .map(|it| {
            let mut object = Map::new();
            let text = |text: &String| (!text.is_empty()).then(|| json!(text));
            let mtu = it.mtu.filter(|_| version != "1.0.0").map(Value::from);
            let fields =
                [("mac", text(&it.mac)), ("mtu", mtu), ("name", text(&it.name)), ("sandbox", text(&it.sandbox))];
            for (key, value) in fields {
                object.extend(value.map(|value| (key.to_owned(), value)));
            }
            Value::Object(object)
        })
        .collect();
    let ip = |ip: &IpNet| if index { json!({"address": ip, "interface": 1}) } else { json!({"address": ip}) };
    let mut result = Map::new();
    result.insert("cniVersion".to_owned(), json!(version));
    if index {
        result.insert("interfaces".to_owned(), Value::Array(interfaces));
    }
    result.insert("ips".to_owned(), added.ips.iter().map(ip).collect());
    if !added.routes.is_empty() {
        result.insert("routes".to_owned(), added.routes.iter().map(|dst| json!({"dst": dst})).collect());
    }
    Value::Object(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added() -> Added {
        Added {
            interfaces: vec![
                Interface { name: "calicid1".into(), mtu: Some(1440), ..Interface::default() },
                Interface {
                    name: "eth0".into(),
                    mac: "96:7d:94:c4:6c:b2".into(),
                    mtu: Some(1440),
                    sandbox: "/run/netns/cid1".into(),
                },
            ],
            ips: vec!["10.244.166.128/32".parse().expect("an address")],
            routes: vec!["10.244.166.128/26".into()],
        }
    }

    #[test]
    fn each_version_as_calico_prints_it() {
        let squeeze = |text: String| text.split_whitespace().collect::<String>();
        for (version, expect) in [
            (
                "0.2.0",
                r#"{"cniVersion":"0.2.0","ip4":{"ip":"10.244.166.128/32","routes":[{"dst":"10.244.166.128/26"}]},"dns":{}}"#,
            ),
            (
                "0.3.1",
                r#"{"cniVersion":"0.3.1","interfaces":[{"name":"calicid1"},{"name":"eth0","mac":"96:7d:94:c4:6c:b2","sandbox":"/run/netns/cid1"}],"ips":[{"version":"4","interface":1,"address":"10.244.166.128/32"}],"routes":[{"dst":"10.244.166.128/26"}],"dns":{}}"#,
            ),
            (
                "1.0.0",
                r#"{"cniVersion":"1.0.0","interfaces":[{"name":"calicid1"},{"mac":"96:7d:94:c4:6c:b2","name":"eth0","sandbox":"/run/netns/cid1"}],"ips":[{"address":"10.244.166.128/32","interface":1}],"routes":[{"dst":"10.244.166.128/26"}]}"#,
            ),
            (
                "1.1.0",
                r#"{"cniVersion":"1.1.0","interfaces":[{"mtu":1440,"name":"calicid1"},{"mac":"96:7d:94:c4:6c:b2","mtu":1440,"name":"eth0","sandbox":"/run/netns/cid1"}],"ips":[{"address":"10.244.166.128/32","interface":1}],"routes":[{"dst":"10.244.166.128/26"}]}"#,
            ),
        ] {
            assert_eq!(squeeze(render(&added(), version)), expect, "{version}");
        }
        assert!(render(&added(), "0.3.1").starts_with("{\n    \"cniVersion\": \"0.3.1\",\n    \"interfaces\": [\n"));
    }

    #[test]
    fn an_ipam_result_has_no_interfaces() {
        let ipam = Added {
            ips: vec!["10.244.166.140/26".parse().expect("an address")],
            routes: vec!["10.244.166.140/26".into()],
            ..Added::default()
        };
        let text: String = render(&ipam, "0.3.1").split_whitespace().collect();
        let expect = r#"{"cniVersion":"0.3.1","ips":[{"version":"4","address":"10.244.166.140/26"}],"routes":[{"dst":"10.244.166.140/26"}],"dns":{}}"#;
        assert_eq!(text, expect);
    }
}
