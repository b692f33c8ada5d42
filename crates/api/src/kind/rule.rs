//! Rules of policies and profiles (control reference §1.3), with their fields in the order of Calico's types.

use crate::crd;
use crate::invalid::{Invalid, SchemaRule};
use crate::port::{Port, Protocol};
use crate::selector::Selector;
use crate::validate;
use crate::word::{Word, words};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most methods or paths of an HTTP match.
const MAX_HTTP: usize = 20;
/// The longest path of an HTTP match.
const MAX_PATH: usize = 1024;

words! {
    /// What becomes of a packet that a rule matches.
    RuleAction: "Allow", "Deny", "Log", "Pass";
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["action"], "x-kubernetes-validations" = schema_rules()))]
pub struct Rule {
    /// What becomes of a packet that matches.
    pub action: RuleAction,
    /// 4 or 6.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = [4, 6]))]
    pub ip_version: Option<i64>,
    /// The packet's protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// The packet's ICMP type and code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp: Option<Icmp>,
    /// What must not be the packet's protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_protocol: Option<Protocol>,
    /// What must not be the packet's ICMP type and code.
    #[serde(rename = "notICMP", skip_serializing_if = "Option::is_none")]
    pub not_icmp: Option<Icmp>,
    /// Where the packet comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<EntityRule>,
    /// Where it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<EntityRule>,
    /// The request's method and path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpMatch>,
    /// Annotations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<RuleMetadata>,
}

/// ICMP's type and code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("x-kubernetes-validations" = crd::rules(ICMP_RULES)))]
pub struct Icmp {
    /// 0 to 254.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maximum" = 254, "minimum" = 0))]
    pub kind: Option<i64>,
    /// 0 to 255, of a type.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maximum" = 255, "minimum" = 0))]
    pub code: Option<i64>,
}

/// One end of the packets that a rule is about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EntityRule {
    /// Networks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub nets: Vec<String>,
    /// Endpoints, by label.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub selector: String,
    /// Namespaces, by label.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace_selector: String,
    /// A Kubernetes service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<ServiceMatch>,
    /// Ports: numbers, ranges, names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// Networks that are not meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_nets: Vec<String>,
    /// Endpoints that are not meant.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub not_selector: String,
    /// Ports that are not meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_ports: Vec<Port>,
    /// Service accounts, by name or label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_accounts: Option<ServiceAccountMatch>,
}

/// A Kubernetes service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ServiceMatch {
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its namespace, if it is another than the policy's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
}

/// Service accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ServiceAccountMatch {
    /// Their names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub names: Vec<String>,
    /// Their labels.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub selector: String,
}

/// What a request must be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HttpMatch {
    /// Any of these methods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 20))]
    pub methods: Vec<String>,
    /// Any of these paths.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 20))]
    pub paths: Vec<HttpPath>,
}

/// A path, whole or as it begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HttpPath {
    /// The whole path.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(extend("maxLength" = 1024))]
    pub exact: String,
    /// How it begins.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(extend("maxLength" = 1024))]
    pub prefix: String,
}

/// What is noted beside a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RuleMetadata {
    /// Annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// In which direction the packets of a list of rules go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Traffic {
    Ingress,
    Egress,
}

/// What the schema says of a rule as a whole.
const RULES: [SchemaRule<Rule>; 2] = [
    SchemaRule {
        cel: "!has(self.http) || !has(self.protocol) || self.protocol == 'TCP' || self.protocol == 6",
        message: "rules with HTTP match must have protocol TCP or unset",
        reason: "FieldValueInvalid",
        holds: |rule| rule.http.is_none() || rule.protocol.as_ref().is_none_or(|protocol| protocol.number() == Some(6)),
    },
    SchemaRule {
        cel: "!has(self.http) || self.action == 'Allow'",
        message: "HTTP match is only valid on Allow rules",
        reason: "FieldValueForbidden",
        holds: |rule| rule.http.is_none() || rule.action == "Allow",
    },
];

/// And of its destination.
const SERVICE_PORTS: SchemaRule<Rule> = SchemaRule {
    cel: "!has(self.destination) || !has(self.destination.services) || \
          (!has(self.destination.ports) || size(self.destination.ports) == 0) && \
          (!has(self.destination.notPorts) || size(self.destination.notPorts) == 0)",
    message: "ports and notPorts cannot be specified with services",
    reason: "FieldValueForbidden",
    holds: |rule| {
        let of_service = rule.destination.as_ref().filter(|end| end.services.is_some());
        of_service.is_none_or(|end| end.ports.is_empty() && end.not_ports.is_empty())
    },
};

/// What the schema says of a rule as a whole.
fn schema_rules() -> serde_json::Value {
    let mut rules = crd::rows(&RULES);
    if let (serde_json::Value::Array(rules), serde_json::Value::Array(more)) = (&mut rules, crd::rows(&[SERVICE_PORTS]))
    {
        rules.extend(more);
    }
    rules
}

impl Rule {
    /// Both ends are stored, also when anything will do.
    pub(super) fn apply_defaults(&mut self) {
        for end in [&mut self.source, &mut self.destination] {
            end.get_or_insert_default();
        }
    }

    /// An end at which anything will do is not shown.
    pub(super) fn leave_out_defaults(&mut self) {
        for end in [&mut self.source, &mut self.destination] {
            end.take_if(|end| *end == EntityRule::default());
        }
    }

    /// Reports what is wrong with a rule; `path` is where it stands, such as `spec.ingress[0]`.
    pub(super) fn check(&self, path: &str, traffic: Traffic, invalid: &mut Invalid) {
        let action = self.action.as_str();
        invalid.required_one_of("Action", "action", &format!("{path}.action"), action, RuleAction::WORDS);
        let version = self.ip_version.map(|version| version.to_string()).unwrap_or_default();
        invalid.one_of("IPVersion", "ipVersion", &format!("{path}.ipVersion"), &version, &["4", "6"]);
        for (field, protocol) in [("Protocol", &self.protocol), ("NotProtocol", &self.not_protocol)] {
            if let Some((protocol, problem)) = protocol.as_ref().and_then(|it| Some((it, it.problem()?))) {
                invalid.push(field, &protocol.to_string(), problem);
            }
        }
        for (field, icmp) in [("ICMP", &self.icmp), ("NotICMP", &self.not_icmp)] {
            if let Some(icmp) = icmp {
                icmp.check(field, invalid);
            }
        }
        for (name, end) in [("source", &self.source), ("destination", &self.destination)] {
            if let Some(end) = end {
                end.check(name, invalid);
            }
        }
        if let Some(http) = &self.http {
            http.check(&format!("{path}.http"), invalid);
        }
        self.check_protocols(invalid);
        self.check_families(invalid);
        self.check_traffic(traffic, invalid);
        invalid.schema_rules(path, self, &RULES);
        invalid.schema_rules(path, self, std::slice::from_ref(&SERVICE_PORTS));
    }

    /// The ends that are stated.
    pub fn ends(&self) -> impl Iterator<Item = &EntityRule> {
        [&self.source, &self.destination].into_iter().flatten()
    }

    fn check_protocols(&self, invalid: &mut Invalid) {
        let protocol = self.protocol.as_ref().and_then(Protocol::number);
        if self.icmp.is_some() && !matches!(protocol, Some(1 | 58)) {
            invalid.push_bare("ICMP", "an ICMP type or code needs the protocol ICMP or ICMPv6");
        }
        for (field, protocol) in [("Protocol", &self.protocol), ("NotProtocol", &self.not_protocol)] {
            let family = match protocol.as_ref().and_then(Protocol::number) {
                Some(1) => 4,
                Some(58) => 6,
                Some(_) | None => continue,
            };
            if self.ip_version.is_some_and(|version| version != family) {
                let value = protocol.as_ref().map(ToString::to_string).unwrap_or_default();
                invalid.push(field, &value, &format!("it needs ipVersion {family}"));
            }
        }
        let with_ports = self.protocol.as_ref().is_some_and(Protocol::supports_ports);
        for end in self.ends() {
            for (field, ports) in [("Ports", &end.ports), ("NotPorts", &end.not_ports)] {
                if !with_ports && ports.iter().any(Port::is_numeric) {
                    invalid.push(field, &listed(ports), "numeric ports need the protocol TCP, UDP or SCTP");
                }
            }
        }
    }

    /// All networks of a rule are of one family, and of that of `ipVersion`.
    fn check_families(&self, invalid: &mut Invalid) {
        let nets: Vec<IpNet> = self
            .ends()
            .flat_map(|end| end.nets.iter().chain(&end.not_nets))
            .filter_map(|net| net.parse().ok())
            .collect();
        let is_v4 = |net: &IpNet| net.addr().is_ipv4();
        if nets.iter().any(is_v4) && !nets.iter().all(is_v4) {
            invalid.push_bare("EntityRule.Nets", "rule contains both IPv4 and IPv6 CIDRs");
        } else if let (Some(version @ (4 | 6)), Some(net)) = (self.ip_version, nets.first())
            && is_v4(net) != (version == 4)
        {
            invalid.push("EntityRule.Nets", &net.to_string(), &format!("it is not of ipVersion {version}"));
        }
    }

    fn check_traffic(&self, traffic: Traffic, invalid: &mut Invalid) {
        let services = |end: &Option<EntityRule>| end.as_ref().is_some_and(|end| end.services.is_some());
        match traffic {
            Traffic::Ingress if services(&self.destination) => {
                invalid.push_bare("Destination.Services", "not allowed in ingress rules: source.services is");
            }
            Traffic::Egress if services(&self.source) => {
                invalid.push_bare("Source.Services", "not allowed in egress rules: destination.services is");
            }
            Traffic::Ingress | Traffic::Egress => {}
        }
        if traffic == Traffic::Egress && self.http.is_some() {
            invalid.push_bare("HTTP", "not allowed in egress rules");
        }
    }
}

impl Icmp {
    fn check(&self, field: &str, invalid: &mut Invalid) {
        for (part, value, most) in [("Type", self.kind, 254), ("Code", self.code, 255)] {
            if let Some(value) = value.filter(|value| !(0..=most).contains(value)) {
                invalid.push(&format!("{field}.{part}"), &value.to_string(), &format!("must be between 0 and {most}"));
            }
        }
        if let (Some(code), None) = (self.code, self.kind) {
            invalid.push(&format!("{field}.Code"), &code.to_string(), "ICMP code specified without an ICMP type");
        }
    }
}

impl EntityRule {
    fn check(&self, end: &str, invalid: &mut Invalid) {
        for (field, nets) in [("Nets", &self.nets), ("NotNets", &self.not_nets)] {
            for net in nets.iter().filter(|net| net.parse::<IpNet>().is_err()) {
                invalid.push(field, net, &format!("invalid CIDR address: {net}"));
            }
        }
        for net in self.not_nets.iter().filter(|net| net.parse::<IpNet>().is_ok_and(|net| net.prefix_len() == 0)) {
            invalid.push("NotNets", net, "catch-all CIDR in notNets matches nothing");
        }
        let accounts = self.service_accounts.as_ref().map(|accounts| &accounts.selector);
        for (field, selector) in [
            ("Selector", Some(&self.selector)),
            ("NamespaceSelector", Some(&self.namespace_selector)),
            ("NotSelector", Some(&self.not_selector)),
            ("ServiceAccounts.Selector", accounts),
        ] {
            let Some(selector) = selector else { continue };
            validate::selector(field.rsplit('.').next().unwrap_or(field), selector, invalid);
            let global = Selector::parse(selector).is_ok_and(|parsed| parsed.mentions_global());
            if global && field != "NamespaceSelector" {
                invalid.push(field, selector, "global() can only be used in an EntityRule namespaceSelector");
            } else if global && selector.trim() != "global()" {
                invalid.push(field, selector, "global() can only be used on its own, not with other terms");
            }
        }
        for (field, ports) in [("Ports", &self.ports), ("NotPorts", &self.not_ports)] {
            for port in ports.iter().filter(|port| matches!(port, Port::Range(0, _))) {
                invalid.push(field, &port.to_string(), "port range invalid, port number must be between 1 and 65535");
            }
        }
        if let Some(services) = &self.services {
            self.check_services(end, services, invalid);
        }
    }

    fn check_services(&self, end: &str, services: &ServiceMatch, invalid: &mut Invalid) {
        if services.name.is_empty() {
            invalid.push_bare("EntityRule.Services.Name", "must specify a service name");
        }
        for (field, is_set) in [
            ("Selector", !self.selector.is_empty()),
            ("NotSelector", !self.not_selector.is_empty()),
            ("NamespaceSelector", !self.namespace_selector.is_empty()),
            ("ServiceAccounts", self.service_accounts.is_some()),
            ("Nets", !self.nets.is_empty()),
            ("NotNets", !self.not_nets.is_empty()),
            ("Ports", end == "destination" && !self.ports.is_empty()),
            ("NotPorts", end == "destination" && !self.not_ports.is_empty()),
        ] {
            if is_set {
                invalid.push_bare(&format!("EntityRule.{field}"), "cannot be specified with Services on the same rule");
            }
        }
    }
}

impl HttpMatch {
    fn check(&self, path: &str, invalid: &mut Invalid) {
        let twice = |(index, method): (usize, &String)| self.methods[..index].contains(method).then(|| method.clone());
        if let Some(method) = self.methods.iter().enumerate().find_map(twice) {
            invalid.push("Methods", &method, "a method is given twice");
        }
        for (field, length) in [("methods", self.methods.len()), ("paths", self.paths.len())] {
            if length > MAX_HTTP {
                invalid.schema(&format!("{path}.{field}"), &format!("must have at most {MAX_HTTP} items"));
            }
        }
        for it in &self.paths {
            let text = if it.exact.is_empty() { &it.prefix } else { &it.exact };
            if it.exact.is_empty() == it.prefix.is_empty() {
                invalid.push("Paths", text, "exactly one of exact and prefix must be given");
            } else if !text.starts_with('/') || text.contains([' ', '?', '#']) {
                invalid.push("Paths", text, "a path starts with / and has no blank, ? or #");
            }
        }
        for (index, it) in self.paths.iter().enumerate() {
            for (field, text) in [("exact", &it.exact), ("prefix", &it.prefix)] {
                if text.len() > MAX_PATH {
                    let reason = format!("may not be more than {MAX_PATH} bytes");
                    invalid.schema(&format!("{path}.paths[{index}].{field}"), &reason);
                }
            }
        }
    }
}

/// A list as Go prints one.
fn listed<T: ToString>(items: &[T]) -> String {
    format!("[{}]", items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
}
/// What the schema says of it as a whole.
const ICMP_RULES: &[crd::Rule] = &[crd::Rule {
    cel: "!has(self.code) || has(self.type)",
    message: "ICMP code specified without an ICMP type",
    reason: "FieldValueInvalid",
}];
