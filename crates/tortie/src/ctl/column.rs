//! The columns of each kind's table (control reference §5.4).

use api::resource::{Kind, Resource};
use serde_json::Number;

/// Longest list in a cell.
const MAX_LIST: usize = 80;

/// What cells need besides their resource.
pub(super) struct Scene {
    /// The AS number of nodes that have none of their own, if known.
    pub(super) cluster_as: Option<u32>,
}

/// The columns of the plain table.
pub(super) fn short(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::BGPConfiguration => &["NAME", "LOGSEVERITY", "MESHENABLED", "ASNUMBER"],
        Kind::BGPPeer => &["NAME", "PEERIP", "NODE", "ASN"],
        Kind::ClusterInformation => &["NAME", "CLUSTERGUID", "CLUSTERTYPE", "CALICOVERSION", "DATASTOREREADY"],
        Kind::FelixConfiguration | Kind::IPReservation | Kind::Node | Kind::Profile => &["NAME"],
        Kind::IPPool => &["NAME", "CIDR", "SELECTOR"],
        Kind::Tier => &["NAME", "ORDER"],
        Kind::WorkloadEndpoint => &["WORKLOAD", "NODE", "NETWORKS", "INTERFACE"],
    }
}

/// The columns of `-o wide`.
pub(super) fn wide(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::IPPool => &[
            "NAME",
            "CIDR",
            "NAT",
            "IPIPMODE",
            "VXLANMODE",
            "DISABLED",
            "DISABLEBGPEXPORT",
            "SELECTOR",
            "ASSIGNMENTMODE",
        ],
        Kind::IPReservation => &["NAME", "CIDRS"],
        Kind::Node => &["NAME", "ASN", "IPV4", "IPV6"],
        Kind::Profile => &["NAME", "LABELS"],
        Kind::WorkloadEndpoint => &["NAME", "WORKLOAD", "NODE", "NETWORKS", "INTERFACE", "PROFILES", "NATS"],
        Kind::BGPConfiguration | Kind::BGPPeer | Kind::ClusterInformation | Kind::FelixConfiguration | Kind::Tier => {
            short(kind)
        }
    }
}

/// Refuses headings that the kind does not have.
pub(super) fn check(kind: Kind, headings: &[String]) -> Result<(), String> {
    let mut known = wide(kind).to_vec();
    if kind == Kind::WorkloadEndpoint {
        known.extend(["NAMESPACE", "ORCHESTRATOR"]);
    }
    match headings.iter().find(|heading| !known.contains(&heading.as_str())) {
        Some(unknown) => Err(format!("unknown heading {unknown}, valid values are: {}", known.join(", "))),
        None => Ok(()),
    }
}

/// One cell of a resource's row.
pub(super) fn cell(resource: &Resource, heading: &str, scene: &Scene) -> Result<String, String> {
    let metadata = resource.metadata();
    let dash = |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned());
    Ok(match (resource, heading) {
        (_, "NAME") => metadata.name.clone(),
        (_, "NAMESPACE") => metadata.namespace.clone(),
        (Resource::BGPConfiguration(it), "LOGSEVERITY") => dash(Some(it.spec.log_severity_screen.clone())),
        (Resource::BGPConfiguration(it), "MESHENABLED") => {
            dash(it.spec.node_to_node_mesh_enabled.map(|enabled| enabled.to_string()))
        }
        (Resource::BGPConfiguration(it), "ASNUMBER") => dash(it.spec.as_number.map(|number| number.to_string())),
        (Resource::BGPPeer(it), "PEERIP") => it.spec.peer_ip.clone(),
        (Resource::BGPPeer(it), "NODE") => {
            let named = [&it.spec.node, &it.spec.node_selector].into_iter().find(|text| !text.is_empty());
            named.cloned().unwrap_or_else(|| "(global)".to_owned())
        }
        (Resource::BGPPeer(it), "ASN") => it.spec.as_number.unwrap_or_default().to_string(),
        (Resource::ClusterInformation(it), "CLUSTERGUID") => it.spec.cluster_guid.clone(),
        (Resource::ClusterInformation(it), "CLUSTERTYPE") => it.spec.cluster_type.clone(),
        (Resource::ClusterInformation(it), "CALICOVERSION") => it.spec.calico_version.clone(),
        (Resource::ClusterInformation(it), "DATASTOREREADY") => {
            it.spec.datastore_ready.map(|ready| ready.to_string()).unwrap_or_default()
        }
        (Resource::IPPool(it), "CIDR") => it.spec.cidr.clone(),
        (Resource::IPPool(it), "NAT") => it.spec.nat_outgoing.unwrap_or(false).to_string(),
        (Resource::IPPool(it), "IPIPMODE") => it.spec.ipip_mode.clone(),
        (Resource::IPPool(it), "VXLANMODE") => it.spec.vxlan_mode.clone(),
        (Resource::IPPool(it), "DISABLED") => it.spec.disabled.to_string(),
        (Resource::IPPool(it), "DISABLEBGPEXPORT") => it.spec.disable_bgp_export.to_string(),
        (Resource::IPPool(it), "SELECTOR") => it.spec.node_selector.clone(),
        (Resource::IPPool(it), "ASSIGNMENTMODE") => it.spec.assignment_mode.clone(),
        (Resource::IPReservation(it), "CIDRS") => joined(it.spec.reserved_cidrs.iter().cloned()),
        (Resource::Node(it), "ASN") => match it.spec.bgp.as_ref().map(|bgp| bgp.as_number) {
            None => String::new(),
            Some(Some(own)) => own.to_string(),
            Some(None) => scene.cluster_as.map_or_else(|| "(unknown)".to_owned(), |number| format!("({number})")),
        },
        (Resource::Node(it), "IPV4") => it.spec.bgp.as_ref().map(|bgp| bgp.ipv4_address.clone()).unwrap_or_default(),
        (Resource::Node(it), "IPV6") => it.spec.bgp.as_ref().map(|bgp| bgp.ipv6_address.clone()).unwrap_or_default(),
        (Resource::Profile(it), "LABELS") => {
            joined(it.spec.labels_to_apply.iter().map(|(key, value)| format!("{key}={value}")))
        }
        (Resource::Tier(it), "ORDER") => it.spec.order.as_ref().map_or_else(|| "<nil>".to_owned(), go_float),
        (Resource::WorkloadEndpoint(it), "WORKLOAD") => {
            if it.spec.workload.is_empty() {
                it.spec.pod.clone()
            } else {
                it.spec.workload.clone()
            }
        }
        (Resource::WorkloadEndpoint(it), "ORCHESTRATOR") => it.spec.orchestrator.clone(),
        (Resource::WorkloadEndpoint(it), "NODE") => it.spec.node.clone(),
        (Resource::WorkloadEndpoint(it), "NETWORKS") => joined(it.spec.ip_networks.iter().cloned()),
        (Resource::WorkloadEndpoint(it), "INTERFACE") => it.spec.interface_name.clone(),
        (Resource::WorkloadEndpoint(it), "PROFILES") => joined(it.spec.profiles.iter().cloned()),
        (Resource::WorkloadEndpoint(it), "NATS") => {
            joined(it.spec.ip_nats.iter().map(|nat| format!("{}:{}", nat.external_ip, nat.internal_ip)))
        }
        (_, heading) => {
            check(resource.kind(), &[heading.to_owned()])?;
            return Err(format!("heading {heading} of {} has no cell", resource.kind().name()));
        }
    })
}

/// Joins with commas; what is too long ends in `...`.
fn joined(parts: impl Iterator<Item = String>) -> String {
    let text = parts.collect::<Vec<_>>().join(",");
    match text.char_indices().nth(MAX_LIST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Prints a number as Go prints a float: `1000`, `1e+06`, `1.5e-05`.
fn go_float(number: &Number) -> String {
    let Some(value) = number.as_f64() else { return number.to_string() };
    let scientific = format!("{value:e}");
    let exponent = scientific.split_once('e').and_then(|(_, exponent)| exponent.parse::<i32>().ok()).unwrap_or(0);
    if value == 0.0 || (-4..6).contains(&exponent) {
        return value.to_string();
    }
    let (mantissa, _) = scientific.split_once('e').unwrap_or((&scientific, ""));
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn floats_as_go_prints_them() {
        for (text, expect) in [
            ("1000", "1000"),
            ("10000", "10000"),
            ("1000000", "1e+06"),
            ("10000000", "1e+07"),
            ("1234567", "1.234567e+06"),
            ("0", "0"),
            ("1.5", "1.5"),
            ("-3", "-3"),
            ("0.00001", "1e-05"),
        ] {
            let number: Number = serde_json::from_str(text).expect(text);
            assert_eq!(go_float(&number), expect, "{text}");
        }
    }

    #[test]
    fn every_heading_has_a_cell() {
        for kind in Kind::ALL {
            let document = json!({"kind": kind.name(), "apiVersion": "v3", "metadata": {"name": "x"}, "spec": {}});
            let resource = Resource::decode(*kind, document).expect("an object with an empty spec");
            for heading in short(*kind).iter().chain(wide(*kind)) {
                let cell = cell(&resource, heading, &Scene { cluster_as: None });
                assert!(cell.is_ok(), "{cell:?}");
            }
        }
    }

    #[test]
    fn long_lists_are_cut() {
        let parts = || (0..30).map(|n| format!("10.0.0.{n}/32"));
        let text = joined(parts());
        assert_eq!(text.chars().count(), 83);
        assert!(text.ends_with("..."), "{text}");
    }
}
