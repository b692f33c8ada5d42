//! GlobalNetworkSet: networks that policies select by label.

use crate::column::{Column, joined};
use crate::crd::{Definition, PrinterColumn};
use crate::invalid::Invalid;
use crate::resource::{Kind, Names, Spec, Typed};
use crate::validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `spec` of a GlobalNetworkSet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GlobalNetworkSetSpec {
    /// The networks, each a CIDR or a single address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub nets: Vec<String>,
}

impl Spec for GlobalNetworkSetSpec {
    const KIND: Kind = Kind::GlobalNetworkSet;
    const NAMES: Names = Names {
        plural: "globalnetworksets",
        namespaced: false,
        words: &["globalnetworkset", "globalnetworksets", "gnetset", "gnetsets"],
    };
    const DEFINITION: Option<Definition> = Some(Definition {
        short_names: &["gns"],
        columns: &[PrinterColumn::new("Age", "date", ".metadata.creationTimestamp")],
        ..Definition::PLAIN
    });
    const COLUMNS: &'static [Column<Self>] = &[Column::name(), Column::wide("NETS", |it, _| joined(&it.spec.nets))];
    type Status = Value;

    fn check(set: &Typed<Self>, invalid: &mut Invalid) {
        validate::set_of_networks(&set.metadata, &set.spec.nets, invalid);
    }

    fn idle(_set: &Typed<Self>) -> Option<&'static str> {
        Some("the set, which no policy that is enforced can select,")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, stored};
    use serde_json::json;

    #[test]
    fn networks_and_single_addresses() {
        let spec = json!({"nets": ["10.0.0.1", "11.0.0.0/16", "feed:beef::1"]});
        assert_eq!(
            stored(Kind::GlobalNetworkSet, "net-set1", spec),
            r#"{"kind":"GlobalNetworkSet","apiVersion":"projectcalico.org/v3","metadata":{"name":"net-set1"},"spec":{"nets":["10.0.0.1","11.0.0.0/16","feed:beef::1"]}}"#
        );
        for net in ["10.0.0.1/8", "web", ""] {
            let error = refused(Kind::GlobalNetworkSet, "s", json!({"nets": ["10.0.0.0/8", net]}));
            assert!(error.starts_with(&format!("error with field Nets[1] = '{net}' (")), "{error}");
        }
    }
}
