//! What a node's kernel should look like, as intent: no netlink, no rule text, no resource.
//!
//! `calc` builds one [`Desired`] from the datastore's content, the BGP speaker adds [`Learned`]; `dataplane`
//! makes the kernel agree. A whole snapshot travels each time; whoever applies it takes the difference.

use crate::name::{IfName, NodeName};
use crate::{Mtu, RouteProtocol};
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

/// Everything the datastore's content asks of this node's kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// This node's name.
    pub node: NodeName,
    /// This node's BGP address with its subnet, if registered.
    pub address: Option<(Ipv4Addr, Ipv4Net)>,
    /// Local workloads by host interface.
    pub workloads: BTreeMap<IfName, Workload>,
    /// Interfaces of local workloads of which nothing else can be read: what stands there stays.
    pub unread_workloads: BTreeSet<IfName>,
    /// Blocks with affinity to this node: each gets a blackhole route, unless it is a single address.
    pub local_blocks: BTreeSet<Ipv4Net>,
    /// Every IP pool, disabled ones too.
    pub pools: BTreeMap<Ipv4Net, Pool>,
    /// The IPIP device, wanted while any pool uses IPIP.
    pub ipip: Option<Ipip>,
    /// BGP addresses of all nodes, this one too: who may send us tunnelled packets.
    pub hosts: BTreeMap<NodeName, Ipv4Addr>,
    /// Settings of the dataplane.
    pub settings: Settings,
}

/// A local workload endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// The workload's addresses; each gets a /32 route to its interface.
    pub addresses: BTreeSet<Ipv4Addr>,
    /// Whether it has IPv6 addresses too.
    pub ipv6: Ipv6,
    /// What is said of each endpoint behind the interface once its routes and rules stand.
    pub statuses: Vec<StatusFile>,
}

/// Whether a workload has IPv6 addresses. Of one that has none, no IPv6 packet is wanted: the rules are for IPv4 alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ipv6 {
    /// It has none.
    #[default]
    Absent,
    /// It has some.
    Present,
}

/// A file by which the CNI plugin learns that an endpoint's routes and rules stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusFile {
    /// Its name, by [`endpoint_status_file`](crate::name::endpoint_status_file).
    pub name: String,
    /// Its content, JSON.
    pub content: String,
}

/// When a pool's traffic is encapsulated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encapsulation {
    /// Not at all.
    #[default]
    Never,
    /// Towards every other node.
    Always,
    /// Towards nodes outside this node's subnet.
    CrossSubnet,
}

/// An IP pool, as far as routing and address translation care.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// IP-in-IP mode.
    pub ipip: Encapsulation,
    /// VXLAN mode.
    pub vxlan: Encapsulation,
    /// Whether packets from the pool to outside any pool are masqueraded.
    pub nat_outgoing: bool,
    /// Whether IPAM leaves the pool alone. Blocks claimed before stay announced; single addresses that a node
    /// borrowed from another's block do not.
    pub disabled: bool,
    /// Whether the pool's blocks stay out of BGP.
    pub disable_bgp_export: bool,
    /// Whether the pool serves only service load balancers.
    pub load_balancer_only: bool,
}

/// The IPIP device `tunl0`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ipip {
    /// The only IPv4 address the device has; none until IPAM gave one.
    pub address: Option<Ipv4Addr>,
    /// Fixed MTU; else the host's less 20.
    pub mtu: Option<Mtu>,
}

/// Which program writes the packet rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PacketRules {
    /// `iptables-restore` and `ipset`.
    #[default]
    Iptables,
    /// nftables over netlink.
    Nftables,
}

/// How the dataplane behaves; Calico's FelixConfiguration fields of the same names.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `nftablesMode`.
    pub packet_rules: PacketRules,
    /// `ipv4NormalRoutePriority`; 0 is the default here, 1024 is recognised as ours too.
    pub route_metric: u32,
    /// `deviceRouteProtocol` for workload routes.
    pub workload_protocol: RouteProtocol,
    /// `routeRefreshInterval`; zero turns the periodic resync off, as everywhere below.
    pub route_refresh: Duration,
    /// `iptablesRefreshInterval` (also `nftablesRefreshInterval`).
    pub rules_refresh: Duration,
    /// `ipsetsRefreshInterval`.
    pub sets_refresh: Duration,
    /// `interfaceRefreshInterval`.
    pub interface_refresh: Duration,
    /// `natOutgoingExclusions: IPPoolsAndHostIPs`: node addresses are not masqueraded towards either.
    pub nat_exclude_hosts: bool,
    /// `natOutgoingAddress`: SNAT to this instead of masquerading.
    pub nat_address: Option<Ipv4Addr>,
    /// `chainInsertMode: append` instead of `insert`.
    pub append_hooks: bool,
    /// `routeSyncDisabled`.
    pub route_sync_disabled: bool,
    /// What packet rules do with workloads' packets, and how.
    pub rules: RuleSettings,
    /// `externalNodesList`: who else than a node may send us tunnelled packets.
    pub external_nodes: BTreeSet<Ipv4Net>,
    /// `mtuIfacePattern`: a regular expression for the names of the interfaces by which packets leave the host.
    pub mtu_interfaces: String,
    /// Encapsulations other than IPIP that are on: pods' packets have to fit those, too.
    pub other_tunnels: Vec<TunnelMtu>,
    /// `netlinkTimeout`: how long an answer of the kernel is waited for; zero is without end.
    pub netlink_timeout: Duration,
    /// BGPConfiguration's `programClusterRoutes`: whether routes into pools that BGP taught are for the kernel.
    pub bgp_cluster_routes: bool,
}

impl Settings {
    /// What `mtuIfacePattern` is where it is not set.
    pub const MTU_INTERFACES: &str = "^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)";
}

/// The MTU of a tunnel's device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelMtu {
    /// What it is set to, if it is.
    pub fixed: Option<Mtu>,
    /// What the tunnel's headers take of the host's MTU otherwise.
    pub overhead: u32,
}

impl TunnelMtu {
    /// The device's MTU, given the host's.
    pub fn of(self, host: Mtu) -> Mtu {
        self.fixed.unwrap_or(Mtu(host.0.saturating_sub(self.overhead)))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            packet_rules: PacketRules::Iptables,
            route_metric: 0,
            workload_protocol: RouteProtocol::BOOT,
            route_refresh: Duration::from_secs(90),
            rules_refresh: Duration::from_secs(180),
            sets_refresh: Duration::from_secs(90),
            interface_refresh: Duration::from_secs(90),
            nat_exclude_hosts: false,
            nat_address: None,
            append_hooks: false,
            route_sync_disabled: false,
            rules: RuleSettings::default(),
            external_nodes: BTreeSet::new(),
            mtu_interfaces: Settings::MTU_INTERFACES.to_owned(),
            other_tunnels: Vec::new(),
            netlink_timeout: Duration::from_secs(10),
            bgp_cluster_routes: true,
        }
    }
}

/// What packet rules do with workloads' packets, and how; FelixConfiguration's fields of the same names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSettings {
    /// `defaultEndpointToHostAction`: what becomes of a workload's packets to its own node.
    pub endpoint_to_host: EndpointToHost,
    /// `allowIPIPPacketsFromWorkloads`.
    pub ipip_from_workloads: bool,
    /// `allowVXLANPacketsFromWorkloads`.
    pub vxlan_from_workloads: bool,
    /// `vxlanPort`.
    pub vxlan_port: u16,
    /// `iptablesMarkMask`, or `nftablesMarkMask`: the bits of a packet's mark that rules may use, five at least.
    pub mark_mask: u32,
    /// `iptablesFilterAllowAction`, or `nftables…`: how the table filter lets an accepted packet go.
    pub filter_allow: AllowAction,
    /// `iptablesMangleAllowAction`, or `nftables…`: the same for the table mangle.
    pub mangle_allow: AllowAction,
    /// `disableConntrackInvalidCheck`: whether packets that connection tracking cannot place pass.
    pub pass_invalid: bool,
}

impl Default for RuleSettings {
    fn default() -> Self {
        RuleSettings {
            endpoint_to_host: EndpointToHost::Drop,
            ipip_from_workloads: false,
            vxlan_from_workloads: false,
            vxlan_port: 4789,
            mark_mask: 0xffff_0000,
            filter_allow: AllowAction::Accept,
            mangle_allow: AllowAction::Accept,
            pass_invalid: false,
        }
    }
}

/// What becomes of a workload's packets to its own node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndpointToHost {
    /// They are dropped.
    #[default]
    Drop,
    /// The rules of others decide.
    Return,
    /// They are accepted.
    Accept,
}

/// How rules let an accepted packet go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AllowAction {
    /// At once.
    #[default]
    Accept,
    /// To the rules of others, which decide.
    Return,
}

/// Routes that BGP taught, by destination. Replaced as a whole.
pub type Learned = BTreeMap<Ipv4Net, Hop>;

/// Where a route that BGP taught leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Next hop, such as another node's address.
    pub gateway: Ipv4Addr,
    /// Metric that its preference asks for; `None` for that of every route between nodes, which
    /// [`Settings::route_metric`] is.
    pub metric: Option<u32>,
}

impl From<Ipv4Addr> for Hop {
    fn from(gateway: Ipv4Addr) -> Hop {
        Hop { gateway, metric: None }
    }
}

/// A route in the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads.
    pub target: Target,
    /// Who made it.
    pub protocol: RouteProtocol,
    /// Metric; 0 as in the walkthrough.
    pub metric: u32,
}

/// Where a route leads.
///
/// Who makes such routes, and which wins a destination, is said by [`Desired::routes`]; how the kernel says one, by
/// `resolve` in the dataplane's `routes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Directly out of a link, scope link.
    Link(IfName),
    /// Through a gateway behind a named link, `onlink`.
    Onlink(Ipv4Addr, IfName),
    /// Through a gateway, the link being whichever the kernel reaches it by.
    Via(Ipv4Addr),
    /// Drops what no more specific route wants.
    Blackhole,
}

impl Ipip {
    /// What the outer header takes, in octets.
    pub const OVERHEAD: u32 = 20;

    /// The device's MTU, given the host's.
    pub fn device_mtu(&self, host: Mtu) -> Mtu {
        TunnelMtu { fixed: self.mtu, overhead: Ipip::OVERHEAD }.of(host)
    }
}

impl Desired {
    /// The pods' MTU, given the host's: the least of the tunnels' that are on, else the host's (dataplane reference §3.6).
    pub fn pods_mtu(&self, host: Mtu) -> Mtu {
        let ipip = self.ipip.iter().map(|ipip| ipip.device_mtu(host));
        ipip.chain(self.settings.other_tunnels.iter().map(|tunnel| tunnel.of(host))).min().unwrap_or(host)
    }

    /// Finds the pool that contains `prefix`.
    pub fn pool_of(&self, prefix: &Ipv4Net) -> Option<&Pool> {
        self.pools.iter().find(|(cidr, _)| cidr.contains(prefix)).map(|(_, pool)| pool)
    }

    /// Decides how the kernel reaches a prefix that BGP taught, or that it is not for the kernel.
    ///
    /// Matches Calico v3.32's kernel filter (control reference §3.4): a VXLAN pool's blocks are the agent's, so
    /// rejected, and so is everything in a pool if BGP is not to program it; IPIP goes through `tunl0` (CrossSubnet only if the next hop is outside this node's subnet); all
    /// else is a plain route. A local block's own prefix is never routed away.
    pub fn kernel_route(&self, prefix: &Ipv4Net, hop: Hop) -> Option<Route> {
        let next_hop = hop.gateway;
        if self.local_blocks.contains(prefix) || self.address.is_some_and(|(own, _)| own == next_hop) {
            return None;
        }
        let same_subnet = self.address.is_some_and(|(_, subnet)| subnet.contains(&next_hop));
        let pool = self.pool_of(prefix);
        if pool.is_some_and(|pool| pool.vxlan != Encapsulation::Never || !self.settings.bgp_cluster_routes) {
            return None;
        }
        let ipip = pool.map_or(Encapsulation::Never, |pool| pool.ipip);
        let tunnelled = match ipip {
            Encapsulation::Never => false,
            Encapsulation::Always => true,
            Encapsulation::CrossSubnet => !same_subnet,
        };
        let target = if tunnelled {
            Target::Onlink(next_hop, IfName::from(crate::name::IPIP_DEVICE))
        } else {
            Target::Via(next_hop)
        };
        let metric = hop.metric.unwrap_or(self.settings.route_metric);
        Some(Route { target, protocol: RouteProtocol::BIRD, metric })
    }

    /// Lists every route this node should have, by destination.
    ///
    /// Where two sources name one destination a workload wins over what BGP taught, and that over a blackhole
    /// (dataplane reference §3.5, conflict classes).
    pub fn routes(&self, learned: &Learned) -> BTreeMap<Ipv4Net, Route> {
        let mut routes = BTreeMap::new();
        for block in self.local_blocks.iter().filter(|block| block.prefix_len() < 32) {
            let route = Route { target: Target::Blackhole, protocol: RouteProtocol::FELIX, metric: 0 };
            routes.insert(*block, route);
        }
        for (prefix, hop) in learned {
            if let Some(route) = self.kernel_route(prefix, *hop) {
                routes.insert(*prefix, route);
            }
        }
        for (interface, workload) in &self.workloads {
            for address in &workload.addresses {
                let route = Route {
                    target: Target::Link(interface.clone()),
                    protocol: self.settings.workload_protocol,
                    metric: self.settings.route_metric,
                };
                routes.insert(Ipv4Net::from(*address), route);
            }
        }
        routes
    }
}
