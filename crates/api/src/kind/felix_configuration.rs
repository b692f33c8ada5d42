//! FelixConfiguration: settings of the node agent.

use crate::resource::{Kind, Spec};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `spec` of a FelixConfiguration: parameter (lower camel case) → value.
///
/// Calico has about two hundred parameters; which exist, of what type, and which Tortie acts on is a table in
/// [`crate::validate`], not two hundred fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FelixConfigurationSpec(pub Map<String, Value>);

impl Spec for FelixConfigurationSpec {
    const KIND: Kind = Kind::FelixConfiguration;
    type Status = Value;
}
