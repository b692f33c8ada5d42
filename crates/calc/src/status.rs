//! What the agent says of an endpoint whose routes and rules stand, as Calico's agent does (dataplane reference §3.10).

use api::kind::WorkloadEndpointSpec;
use model::desired::StatusFile;
use model::name::endpoint_status_file;
use serde::Serialize;

/// The file's content; what is empty is left out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Content<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    iface_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    mac: &'a str,
    #[serde(rename = "ipv4Nets", skip_serializing_if = "Vec::is_empty")]
    ipv4_nets: Vec<&'a str>,
    #[serde(rename = "ipv6Nets", skip_serializing_if = "Vec::is_empty")]
    ipv6_nets: Vec<&'a str>,
}

/// The file of an endpoint.
pub(crate) fn file(namespace: &str, spec: &WorkloadEndpointSpec) -> StatusFile {
    let nets = |v6: bool| spec.ip_networks.iter().map(String::as_str).filter(|net| net.contains(':') == v6).collect();
    let content =
        Content { iface_name: &spec.interface_name, mac: &spec.mac, ipv4_nets: nets(false), ipv6_nets: nets(true) };
    let workload = spec.workload_id(namespace);
    StatusFile {
        name: endpoint_status_file(&spec.orchestrator, &workload, &spec.endpoint),
        content: serde_json::to_string(&content).expect("text has a JSON form"),
    }
}
