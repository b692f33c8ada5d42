//! IPReservation: addresses that IPAM gives to nobody by itself.

use crate::column::{Column, joined};
use crate::invalid::Invalid;
use crate::resource::{Kind, Names, Spec, Typed};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::IpAddr;

/// `spec` of an IPReservation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IpReservationSpec {
    /// The ranges, each a CIDR or a single address, of any pool or none.
    #[serde(rename = "reservedCIDRs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("format" = "cidr", "x-kubernetes-list-type" = "set"))]
    pub reserved_cidrs: Vec<String>,
}

impl IpReservationSpec {
    /// The ranges that can be read; of a CIDR with host bits, the whole range.
    pub fn ranges(&self) -> impl Iterator<Item = IpNet> {
        self.reserved_cidrs.iter().filter_map(|text| range(text))
    }
}

fn range(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse().ok().map(|address: IpAddr| address.into())).map(|net: IpNet| net.trunc())
}

impl Spec for IpReservationSpec {
    const KIND: Kind = Kind::IPReservation;
    const NAMES: Names = Names {
        plural: "ipreservations",
        namespaced: false,
        words: &["ipreservation", "ipreservations", "reservation", "reservations"],
    };
    const COLUMNS: &'static [Column<Self>] =
        &[Column::name(), Column::wide("CIDRS", |it, _| joined(&it.spec.reserved_cidrs))];
    type Status = Value;

    fn check(reservation: &Typed<Self>, invalid: &mut Invalid) {
        let cidrs = &reservation.spec.reserved_cidrs;
        if cidrs.iter().any(|text| range(text).is_none()) {
            invalid.push_tag("ReservedCIDRs", &format!("[{}]", cidrs.join(" ")), "cidrs");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, stored};
    use serde_json::json;

    #[test]
    fn ranges_and_single_addresses_are_stored_as_written() {
        assert_eq!(
            stored(Kind::IPReservation, "res", json!({"reservedCIDRs": ["10.244.0.0/30", "10.244.0.9", "fd00::/120"]})),
            r#"{"kind":"IPReservation","apiVersion":"projectcalico.org/v3","metadata":{"name":"res"},"spec":{"reservedCIDRs":["10.244.0.0/30","10.244.0.9","fd00::/120"]}}"#
        );
        assert_eq!(
            stored(Kind::IPReservation, "r", json!({"reservedCIDRs": []})),
            r#"{"kind":"IPReservation","apiVersion":"projectcalico.org/v3","metadata":{"name":"r"},"spec":{}}"#
        );
    }

    #[test]
    fn what_is_no_range() {
        for bad in ["10.0.0.0/33", "10.0.0", "web", ""] {
            assert_eq!(
                refused(Kind::IPReservation, "r", json!({"reservedCIDRs": ["10.0.0.0/24", bad]})),
                format!(
                    "error with field ReservedCIDRs = '[10.0.0.0/24 {bad}]' (Reason: failed to validate Field: \
                     ReservedCIDRs because of Tag: cidrs )"
                )
            );
        }
    }

    #[test]
    fn ranges_are_whole() {
        let texts = ["10.0.0.7/30", "10.0.0.9", "fd00::1", "10.0.0.0/33"];
        let spec = IpReservationSpec { reserved_cidrs: texts.map(str::to_owned).to_vec() };
        let ranges: Vec<String> = spec.ranges().map(|range| range.to_string()).collect();
        assert_eq!(ranges, ["10.0.0.4/30", "10.0.0.9/32", "fd00::1/128"]);
    }
}
