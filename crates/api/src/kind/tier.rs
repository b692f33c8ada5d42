//! Tier: an ordered group of policies.

use crate::resource::{Kind, Spec};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

/// `spec` of a Tier.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TierSpec {
    /// Lower comes first; none is 1,000,000. Kept as written, as Go prints a whole float without a point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Number>,
    /// `Deny` or `Pass`: what becomes of packets that no policy of the tier decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_action: Option<String>,
}

impl Spec for TierSpec {
    const KIND: Kind = Kind::Tier;
    type Status = Value;
}
