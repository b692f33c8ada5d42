//! NetworkSet: networks that the policies of a namespace select by label.

use crate::column::{Column, joined};
use crate::invalid::Invalid;
use crate::resource::{Kind, Names, Spec, Typed};
use crate::validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `spec` of a NetworkSet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkSetSpec {
    /// The networks, each a CIDR or a single address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub nets: Vec<String>,
}

impl Spec for NetworkSetSpec {
    const KIND: Kind = Kind::NetworkSet;
    const NAMES: Names =
        Names { plural: "networksets", namespaced: true, words: &["networkset", "networksets", "netset", "netsets"] };
    const COLUMNS: &'static [Column<Self>] = &[Column::name(), Column::wide("NETS", |it, _| joined(&it.spec.nets))];
    type Status = Value;

    fn check(set: &Typed<Self>, invalid: &mut Invalid) {
        validate::set_of_networks(&set.metadata, &set.spec.nets, invalid);
    }

    fn idle(_set: &Typed<Self>) -> Option<&'static str> {
        Some("the set, which no policy that is enforced can select,")
    }
}
