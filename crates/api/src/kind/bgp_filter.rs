//! BGPFilter: what a BGP peer may teach, and be taught.

use crate::column::Column;
use crate::crd;
use crate::invalid::{Invalid, SchemaRule};
use crate::resource::{Kind, Names, Spec, Typed};
use crate::word::{Word, words};
use ipnet::IpNet;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

words! {
    /// How a route's destination is compared with a rule's.
    MatchOperator: "Equal", "NotEqual", "In", "NotIn";
    /// Where a route is from.
    FilterSource: "RemotePeers";
    /// What kind of session a rule is for.
    FilterPeerType: "eBGP", "iBGP";
    /// What becomes of a route.
    FilterAction: "Accept", "Reject";
}

/// Bounds of a route's priority.
const PRIORITIES: std::ops::RangeInclusive<i64> = 1..=2_147_483_646;
/// The most operations of a rule, and AS numbers of a prefix.
const MAX_ITEMS: usize = 10;

/// `spec` of a BGPFilter (control reference §1.6), in stored order. The first rule that matches decides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BgpFilterSpec {
    /// For IPv4 routes that a peer is taught.
    #[serde(rename = "exportV4", skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = family(32, 18))]
    pub export_v4: Vec<FilterRule>,
    /// For IPv4 routes that a peer teaches.
    #[serde(rename = "importV4", skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = family(32, 18))]
    pub import_v4: Vec<FilterRule>,
    /// For IPv6 routes that a peer is taught.
    #[serde(rename = "exportV6", skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = family(128, 43))]
    pub export_v6: Vec<FilterRule>,
    /// For IPv6 routes that a peer teaches.
    #[serde(rename = "importV6", skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = family(128, 43))]
    pub import_v6: Vec<FilterRule>,
}

/// One rule: what all of a route must be, and what becomes of it then.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["action"], "x-kubernetes-map-type" = "atomic", "x-kubernetes-validations" = crd::rows(&RULES)))]
pub struct FilterRule {
    /// The destination that the route's is compared with.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cidr: String,
    /// The route's prefix length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_length: Option<PrefixLength>,
    /// Where the route is from.
    #[serde(skip_serializing_if = "FilterSource::is_empty")]
    pub source: FilterSource,
    /// The interface that it leads to, with wildcards.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub interface: String,
    /// How the destinations are compared.
    #[serde(skip_serializing_if = "MatchOperator::is_empty")]
    pub match_operator: MatchOperator,
    /// What kind of session it is for.
    #[serde(skip_serializing_if = "FilterPeerType::is_empty")]
    pub peer_type: FilterPeerType,
    /// A community that the route has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub communities: Option<FilterCommunities>,
    /// The AS numbers that its path begins with.
    #[serde(rename = "asPathPrefix", skip_serializing_if = "Vec::is_empty")]
    pub as_path_prefix: Vec<u32>,
    /// Its priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maximum" = 2147483646, "minimum" = 1))]
    pub priority: Option<i64>,
    /// What becomes of the route.
    pub action: FilterAction,
    /// What is changed of a route that is accepted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 10, "minItems" = 1))]
    pub operations: Vec<FilterOperation>,
}

/// Bounds of a prefix length.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct PrefixLength {
    /// The least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<i32>,
    /// The greatest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<i32>,
}

/// Communities of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["values"], "x-kubernetes-map-type" = "atomic"))]
pub struct FilterCommunities {
    /// One community, `aa:nn` or `aa:nn:mm`.
    #[schemars(extend("maxItems" = 1, "minItems" = 1))]
    #[schemars(transform = crd::items(serde_json::json!({"maxLength": 32, "pattern": COMMUNITY_PATTERN})))]
    pub values: Vec<String>,
}

/// A change of a route: exactly one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("maxProperties" = 1, "minProperties" = 1, "x-kubernetes-map-type" = "atomic"))]
pub struct FilterOperation {
    /// It gets a community.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_community: Option<AddCommunity>,
    /// Its path gets AS numbers in front.
    #[serde(rename = "prependASPath", skip_serializing_if = "Option::is_none")]
    pub prepend_as_path: Option<PrependAsPath>,
    /// It gets a priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_priority: Option<SetPriority>,
}

/// See [`FilterOperation`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["value"], "x-kubernetes-map-type" = "atomic"))]
pub struct AddCommunity {
    /// `aa:nn` or `aa:nn:mm`.
    #[schemars(extend("maxLength" = 32, "pattern" = COMMUNITY_PATTERN))]
    pub value: String,
}

/// See [`FilterOperation`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["prefix"], "x-kubernetes-map-type" = "atomic"))]
pub struct PrependAsPath {
    /// The AS numbers, the first of them in front.
    #[schemars(extend("maxItems" = 10, "minItems" = 1))]
    pub prefix: Vec<u32>,
}

/// See [`FilterOperation`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["value"], "x-kubernetes-map-type" = "atomic"))]
pub struct SetPriority {
    /// The priority.
    #[schemars(extend("maximum" = 2147483646, "minimum" = 1))]
    pub value: i64,
}

/// What the schema says of a rule as a whole.
const RULES: [SchemaRule<FilterRule>; 3] = [
    SchemaRule {
        cel: "(has(self.cidr) && size(self.cidr) > 0) == (has(self.matchOperator) && size(self.matchOperator) > 0)",
        message: "cidr and matchOperator must both be set or both be empty",
        reason: "FieldValueInvalid",
        holds: |rule| rule.cidr.is_empty() == rule.match_operator.is_empty(),
    },
    SchemaRule {
        cel: "!has(self.prefixLength) || has(self.cidr) && size(self.cidr) > 0",
        message: "cidr is required when prefixLength is set",
        reason: "FieldValueInvalid",
        holds: |rule| rule.prefix_length.is_none() || !rule.cidr.is_empty(),
    },
    SchemaRule {
        cel: "self.action == 'Accept' || !has(self.operations) || size(self.operations) == 0",
        message: "operations may only be used with action Accept",
        reason: "",
        holds: |rule| rule.operations.is_empty() || rule.action == "Accept",
    },
];

/// A community, of two numbers or of three.
const COMMUNITY_PATTERN: &str = r"^(([0-9]|[1-9][0-9]{1,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]):([0-9]|[1-9][0-9]{1,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])|([0-9]|[1-9][0-9]{1,8}|[1-3][0-9]{9}|4[0-1][0-9]{8}|42[0-8][0-9]{7}|429[0-3][0-9]{6}|4294[0-8][0-9]{5}|42949[0-5][0-9]{4}|429496[0-6][0-9]{3}|4294967[0-1][0-9]{2}|42949672[0-8][0-9]|429496729[0-5]):([0-9]|[1-9][0-9]{1,8}|[1-3][0-9]{9}|4[0-1][0-9]{8}|42[0-8][0-9]{7}|429[0-3][0-9]{6}|4294[0-8][0-9]{5}|42949[0-5][0-9]{4}|429496[0-6][0-9]{3}|4294967[0-1][0-9]{2}|42949672[0-8][0-9]|429496729[0-5]):([0-9]|[1-9][0-9]{1,8}|[1-3][0-9]{9}|4[0-1][0-9]{8}|42[0-8][0-9]{7}|429[0-3][0-9]{6}|4294[0-8][0-9]{5}|42949[0-5][0-9]{4}|429496[0-6][0-9]{3}|4294967[0-1][0-9]{2}|42949672[0-8][0-9]|429496729[0-5]))$";

/// Adds what a family's rules are limited to: the longest prefix, and the longest text of one.
fn family(longest: u8, text: u8) -> impl FnMut(&mut Schema) {
    move |schema: &mut Schema| {
        let properties = schema.as_object_mut().and_then(|list| list.get_mut("items")?.get_mut("properties"));
        let Some(properties) = properties else { return };
        properties["cidr"]["format"] = "cidr".into();
        properties["cidr"]["maxLength"] = text.into();
        for bound in ["min", "max"] {
            let bound = &mut properties["prefixLength"]["properties"][bound];
            bound["minimum"] = 0.into();
            bound["maximum"] = longest.into();
        }
    }
}

impl Spec for BgpFilterSpec {
    const KIND: Kind = Kind::BGPFilter;
    const NAMES: Names = Names {
        plural: "bgpfilters",
        namespaced: false,
        words: &["bgpfilter", "bgpfilters", "bgpf", "bgpfs", "bf", "bfs"],
    };
    const COLUMNS: &'static [Column<Self>] = &[
        Column::name(),
        Column::new("NUMEXPORTV4", |it, _| it.spec.export_v4.len().to_string()),
        Column::new("NUMIMPORTV4", |it, _| it.spec.import_v4.len().to_string()),
        Column::new("NUMEXPORTV6", |it, _| it.spec.export_v6.len().to_string()),
        Column::new("NUMIMPORTV6", |it, _| it.spec.import_v6.len().to_string()),
    ];
    type Status = Value;

    fn check(filter: &Typed<Self>, invalid: &mut Invalid) {
        for (list, rules, length) in filter.spec.lists() {
            for (index, rule) in rules.iter().enumerate() {
                rule.check(&format!("spec.{list}[{index}]"), length, invalid);
            }
        }
    }

    fn idle_fields(filter: &Typed<Self>) -> Vec<String> {
        let ipv6 = [("spec.exportV6", &filter.spec.export_v6), ("spec.importV6", &filter.spec.import_v6)];
        ipv6.into_iter().filter(|(_, rules)| !rules.is_empty()).map(|(field, _)| field.to_owned()).collect()
    }
}

impl BgpFilterSpec {
    /// The lists by name, each with the longest prefix of its family.
    fn lists(&self) -> [(&'static str, &[FilterRule], u8); 4] {
        [
            ("exportV4", &self.export_v4, 32),
            ("importV4", &self.import_v4, 32),
            ("exportV6", &self.export_v6, 128),
            ("importV6", &self.import_v6, 128),
        ]
    }
}

impl FilterRule {
    fn check(&self, path: &str, longest: u8, invalid: &mut Invalid) {
        if !self.cidr.is_empty() && self.cidr.parse::<IpNet>().map_or(true, |net| net.max_prefix_len() != longest) {
            invalid.push_tag("CIDR", &self.cidr, if longest == 32 { "netv4" } else { "netv6" });
        }
        if let Some(length) = &self.prefix_length {
            for (field, value) in [("Min", length.min), ("Max", length.max)] {
                if let Some(value) = value.filter(|value| !(0..=i32::from(longest)).contains(value)) {
                    let tag = if longest == 32 { "bgpFilterPrefixLengthV4" } else { "bgpFilterPrefixLengthV6" };
                    invalid.push_tag(field, &value.to_string(), tag);
                    let path = format!("{path}.prefixLength.{}", field.to_lowercase());
                    let bound = if value < 0 { "greater than or equal to 0" } else { "less than or equal to" };
                    let bound = if value < 0 { bound.to_owned() } else { format!("{bound} {longest}") };
                    invalid.schema(&path, &format!("{path} in body should be {bound}"));
                }
            }
        }
        invalid.word("Source", "filterSource", &format!("{path}.source"), &self.source);
        let letters = |c: char| c.is_ascii_alphanumeric() || "_.*-".contains(c);
        if self.interface.len() > 15 || !self.interface.chars().all(letters) {
            invalid.push_tag("Interface", &self.interface, "bgpFilterInterface");
        }
        invalid.word("MatchOperator", "matchOperator", &format!("{path}.matchOperator"), &self.match_operator);
        invalid.word("PeerType", "peerType", &format!("{path}.peerType"), &self.peer_type);
        if let Some(communities) = &self.communities {
            let path = format!("{path}.communities.values");
            match communities.values.as_slice() {
                [] => invalid.schema(&path, &format!("{path} in body should have at least 1 items")),
                [value] => check_community(&format!("{path}[0]"), value, invalid),
                [_, _, ..] => invalid.schema(&path, "must have at most 1 item"),
            }
        }
        if let Some(priority) = self.priority {
            check_priority(&format!("{path}.priority"), priority, invalid);
        }
        let action = self.action.as_str();
        invalid.required_one_of("Action", "filterAction", &format!("{path}.action"), action, FilterAction::WORDS);
        if self.operations.len() > MAX_ITEMS {
            invalid.schema(&format!("{path}.operations"), &format!("must have at most {MAX_ITEMS} items"));
        }
        for (index, operation) in self.operations.iter().enumerate() {
            operation.check(&format!("{path}.operations[{index}]"), invalid);
        }
        invalid.schema_rules(path, self, &RULES);
    }
}

impl FilterOperation {
    fn check(&self, path: &str, invalid: &mut Invalid) {
        let given = [self.add_community.is_some(), self.prepend_as_path.is_some(), self.set_priority.is_some()];
        match given.into_iter().filter(|given| *given).count() {
            0 => invalid.schema(path, "must have at least 1 item"),
            1 => {}
            _ => invalid.schema(path, "must have at most 1 item"),
        }
        if let Some(add) = &self.add_community {
            check_community(&format!("{path}.addCommunity.value"), &add.value, invalid);
        }
        if let Some(prepend) = &self.prepend_as_path {
            let path = format!("{path}.prependASPath.prefix");
            if prepend.prefix.is_empty() {
                invalid.schema(&path, &format!("{path} in body should have at least 1 items"));
            } else if prepend.prefix.len() > MAX_ITEMS {
                invalid.schema(&path, &format!("must have at most {MAX_ITEMS} items"));
            }
        }
        if let Some(set) = &self.set_priority {
            check_priority(&format!("{path}.setPriority.value"), set.value, invalid);
        }
    }
}

/// Checks a community: two numbers up to 65535, or three up to 4294967295.
fn check_community(path: &str, value: &str, invalid: &mut Invalid) {
    let parts: Vec<&str> = value.split(':').collect();
    let canonical =
        |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit()) && (*part == "0" || !part.starts_with('0'));
    let fits = match parts.len() {
        2 => parts.iter().all(|part| part.parse::<u16>().is_ok()),
        3 => parts.iter().all(|part| part.parse::<u32>().is_ok()),
        _ => false,
    };
    if !fits || !parts.iter().all(canonical) {
        invalid.schema(path, &format!("{value:?} is no community: aa:nn, or aa:nn:mm for a large one"));
    }
}

fn check_priority(path: &str, value: i64, invalid: &mut Invalid) {
    if !PRIORITIES.contains(&value) {
        let bound = if value < 1 {
            format!("greater than or equal to {}", PRIORITIES.start())
        } else {
            format!("less than or equal to {}", PRIORITIES.end())
        };
        invalid.schema(path, &format!("{path} in body should be {bound}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, stored};
    use serde_json::json;

    #[test]
    fn stored_form() {
        let spec = json!({
            "importV6": [{"action": "Accept", "matchOperator": "NotEqual", "cidr": "5000::0/64"}],
            "exportV4": [
                {"action": "Accept", "matchOperator": "In", "cidr": "77.0.0.0/16", "source": "RemotePeers",
                 "interface": "*.calico", "prefixLength": {"max": 24, "min": 16}},
                {"action": "Reject"},
            ],
        });
        assert_eq!(
            stored(Kind::BGPFilter, "f1", spec),
            r#"{"kind":"BGPFilter","apiVersion":"projectcalico.org/v3","metadata":{"name":"f1"},"spec":{"exportV4":[{"cidr":"77.0.0.0/16","prefixLength":{"min":16,"max":24},"source":"RemotePeers","interface":"*.calico","matchOperator":"In","action":"Accept"},{"action":"Reject"}],"importV6":[{"cidr":"5000::0/64","matchOperator":"NotEqual","action":"Accept"}]}}"#
        );
    }

    #[test]
    fn refusals() {
        let rule = |rule: Value| refused(Kind::BGPFilter, "f", json!({"exportV4": [rule]}));
        for (given, expect) in [
            (json!({}), "spec.exportV4[0].action (supported values: \"Accept\", \"Reject\")"),
            (
                json!({"action": "Accept", "cidr": "10.0.0.0/8"}),
                "(cidr and matchOperator must both be set or both be empty)",
            ),
            (json!({"action": "Accept", "prefixLength": {"min": 1}}), "(cidr is required when prefixLength is set)"),
            (
                json!({"action": "Reject", "operations": [{"setPriority": {"value": 1}}]}),
                "(operations may only be used with action Accept)",
            ),
            (json!({"action": "Accept", "cidr": "fd00::/8", "matchOperator": "In"}), "because of Tag: netv4 "),
            (
                json!({"action": "Accept", "cidr": "10.0.0.0/8", "matchOperator": "In", "prefixLength": {"max": 33}}),
                "should be less than or equal to 32)",
            ),
            (json!({"action": "Accept", "communities": {"values": ["1:2:3:4"]}}), "is no community"),
            (json!({"action": "Accept", "communities": {"values": ["1:70000"]}}), "is no community"),
            (json!({"action": "Accept", "communities": {"values": ["1:2", "3:4"]}}), "must have at most 1 item"),
            (json!({"action": "Accept", "operations": [{}]}), "must have at least 1 item"),
            (
                json!({"action": "Accept", "operations": [{"prependASPath": {"prefix": []}}]}),
                "should have at least 1 items",
            ),
            (json!({"action": "Accept", "priority": 0}), "should be greater than or equal to 1"),
            (json!({"action": "Accept", "interface": "a b"}), "because of Tag: bgpFilterInterface "),
        ] {
            let error = rule(given);
            assert!(error.contains(expect), "{error}\nlacks {expect}");
        }
        let large = json!({"exportV4": [{"action": "Accept", "operations": [{"addCommunity": {"value": "65001:1:4294967295"}}]}]});
        stored(Kind::BGPFilter, "f", large);
    }
}
