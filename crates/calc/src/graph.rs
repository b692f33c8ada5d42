//! [`Graph`]: the tables and what follows from them.

use crate::peering::peering;
use crate::reporting::{Reporting, Totals};
use crate::settings::{Overrides, Parameters};
use crate::tables::Tables;
use crate::unenforced;
use crate::unread::interface_address;
use api::Event;
use api::resource::Typed;
use ipnet::Ipv4Net;
use model::desired::{Desired, Encapsulation, Ipip, Ipv6, Pool, Workload};
use model::name::{IfName, NodeName};
use model::peering::Peering;
use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// What one node should do.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// For the kernel; the same as in the output before where nothing of it changed.
    pub desired: Arc<Desired>,
    /// For the BGP speaker; none while the node is not registered or has no IPv4 address.
    pub peering: Option<Peering>,
    /// Where metrics and health are served.
    pub reporting: Reporting,
    /// What the datastore asks to be forbidden on this node, by kind and name, ordered: none of it is enforced.
    pub unenforced: Vec<String>,
    /// What is wrong with the datastore's content, a line each; worth a warning when it changes.
    pub problems: Vec<String>,
}

/// Turns a datastore's events into one node's wanted state.
#[derive(Debug)]
pub struct Graph {
    node: NodeName,
    overrides: Overrides,
    tables: Tables,
    dirty: bool,
    last: Option<Output>,
    computed: u64,
}

impl Graph {
    /// A graph for `node`. `overrides` are parameters by lower-case name, stronger than any FelixConfiguration.
    pub fn new(node: NodeName, overrides: BTreeMap<String, String>) -> Self {
        Graph { node, overrides, tables: Tables::default(), dirty: false, last: None, computed: 0 }
    }

    /// Takes events in; cheap.
    pub fn on_events(&mut self, events: Vec<Event>) {
        for event in events {
            self.dirty |= self.tables.apply(event, &self.node.0);
        }
    }

    /// Yields the wanted state if it changed since the last call; nothing before the first snapshot is complete.
    pub fn flush(&mut self) -> Option<Output> {
        if !self.tables.in_sync || !std::mem::take(&mut self.dirty) {
            return None;
        }
        self.computed += 1;
        let mut output = self.output();
        if let Some(last) = &self.last {
            if last.desired == output.desired {
                output.desired = Arc::clone(&last.desired);
            }
            if *last == output {
                return None;
            }
        }
        self.last = Some(output.clone());
        Some(output)
    }

    /// How often the wanted state was computed.
    pub fn computed(&self) -> u64 {
        self.computed
    }

    /// Counts what has been seen so far.
    pub fn totals(&self) -> Totals {
        Totals {
            hosts: self.tables.nodes.len(),
            workload_endpoints: self.tables.endpoints_held,
            local_endpoints: self.tables.endpoints.len(),
        }
    }

    fn output(&self) -> Output {
        let tables = &self.tables;
        let mut parameters = Parameters::new(&tables.felix_configurations, &self.node.0, &self.overrides);
        let pools = self.pools();
        let wanted = parameters.ipip_enabled().unwrap_or(pools.values().any(|pool| pool.ipip != Encapsulation::Never));
        let mtu = parameters.ipip_mtu();
        let mut settings = parameters.settings();
        let vxlan6 = tables
            .pools
            .values()
            .any(|pool| pool.spec.cidr.contains(':') && !matches!(pool.spec.vxlan_mode.as_str(), "" | "Never"));
        let vxlan = pools.values().any(|pool| pool.vxlan != Encapsulation::Never);
        settings.other_tunnels = parameters.other_tunnels(vxlan, vxlan6);
        let metric = tables.bgp_configurations.get("default").and_then(|spec| spec.ipv4_normal_route_priority);
        if settings.route_metric == 0 {
            settings.route_metric = metric.unwrap_or(0);
        }
        let cluster_routes =
            tables.bgp_configurations.get("default").and_then(|spec| spec.program_cluster_routes.as_deref());
        settings.bgp_cluster_routes = cluster_routes != Some("Disabled");
        let reporting = parameters.reporting();
        let dataplane = parameters.bpf_enabled().then(|| unenforced::BPF_DATAPLANE.to_owned());
        let unenforced = dataplane.into_iter().chain(tables.closing.values().cloned()).collect();
        let mut problems = parameters.problems;
        problems.extend(tables.unread_problems(&self.node.0));
        let workloads = self.workloads(&mut problems);
        let desired = Arc::new(Desired {
            node: self.node.clone(),
            address: self.own_address(),
            workloads,
            unread_workloads: tables.unread_workloads(&self.node.0),
            local_blocks: tables.local_blocks().collect(),
            pools,
            ipip: wanted.then(|| Ipip { address: self.tunnel_address(), mtu }),
            hosts: self.hosts(),
            settings,
        });
        let peering = peering(tables, &self.node.0, &mut problems);
        Output { desired, peering, reporting, unenforced, problems }
    }

    fn own_address(&self) -> Option<(Ipv4Addr, Ipv4Net)> {
        let bgp = self.tables.nodes.get(&self.node.0)?.spec.bgp.as_ref()?;
        let network = interface_address(&bgp.ipv4_address)?;
        Some((network.addr(), network.trunc()))
    }

    fn tunnel_address(&self) -> Option<Ipv4Addr> {
        let bgp = self.tables.nodes.get(&self.node.0)?.spec.bgp.as_ref()?;
        bgp.ipv4_ipip_tunnel_addr.parse().ok()
    }

    fn hosts(&self) -> BTreeMap<NodeName, Ipv4Addr> {
        let address = |bgp: &api::kind::NodeBgpSpec| interface_address(&bgp.ipv4_address).map(|network| network.addr());
        let nodes = self.tables.nodes.iter();
        nodes
            .filter_map(|(name, node)| Some((NodeName(name.clone()), node.spec.bgp.as_ref().and_then(address)?)))
            .collect()
    }

    fn pools(&self) -> BTreeMap<Ipv4Net, Pool> {
        self.tables.pools.values().filter_map(Typed::to_model).collect()
    }

    /// Local workloads by interface; an address that two endpoints claim goes to the first by name.
    fn workloads(&self, problems: &mut Vec<String>) -> BTreeMap<IfName, Workload> {
        let mut workloads: BTreeMap<IfName, Workload> = BTreeMap::new();
        let mut holders: HashMap<Ipv4Addr, &IfName> = HashMap::with_capacity(self.tables.endpoints.len());
        for (key, endpoint) in &self.tables.endpoints {
            let interface = &endpoint.interface;
            if interface.0.is_empty() {
                continue;
            }
            let workload = workloads.entry(interface.clone()).or_default();
            workload.statuses.push(endpoint.status.clone());
            if endpoint.ipv6 == Ipv6::Present {
                workload.ipv6 = Ipv6::Present;
            }
            for address in endpoint.networks.iter().map(Ipv4Net::addr) {
                let holder = *holders.entry(address).or_insert(interface);
                if holder == interface {
                    workload.addresses.insert(address);
                } else {
                    problems.push(format!("{key:?}: address {address} is also {holder}'s, which keeps it"));
                }
            }
        }
        workloads
    }
}
