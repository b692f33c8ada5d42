//! Rules of profiles, with their fields in the order of Calico's types. They are stored and shown, not enforced yet.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// Allow, Deny, Log or Pass.
    pub action: String,
    /// 4 or 6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_version: Option<Value>,
    /// A name or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Value>,
    /// Type and code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp: Option<Value>,
    /// A name or number that must not be the packet's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_protocol: Option<Value>,
    /// Type and code that must not be the packet's.
    #[serde(rename = "notICMP", skip_serializing_if = "Option::is_none")]
    pub not_icmp: Option<Value>,
    /// Where the packet comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<EntityRule>,
    /// Where it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<EntityRule>,
    /// Methods and paths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Value>,
    /// Annotations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
}

/// One end of the packets that a rule is about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EntityRule {
    /// Networks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nets: Option<Value>,
    /// Endpoints, by label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<Value>,
    /// Namespaces, by label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<Value>,
    /// A Kubernetes service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<Value>,
    /// Ports: numbers, ranges, names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Value>,
    /// Networks that are not meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_nets: Option<Value>,
    /// Endpoints that are not meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_selector: Option<Value>,
    /// Ports that are not meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_ports: Option<Value>,
    /// Service accounts, by name or label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_accounts: Option<Value>,
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
}
