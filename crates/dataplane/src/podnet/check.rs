//! Whether a pod's network is still what [`PodNetwork::setup`] made.
//!
//! Only what was made is looked at: addresses, routes and parameters that others added are theirs. The pod's own
//! forwarding is left out, since a later plugin of a chain may set it; so is whether the host's end of a pod without IPv6
//! has IPv6, since Calico's plugin leaves it on and the agent turns it off.

use super::{GATEWAY, PodNetwork, PodNetworkError, host_net};
use crate::netlink::{Link, MacAddress, Netlink, NextHop, RouteEntry};
use crate::netns::NetNs;
use crate::sysctl;
use ipnet::IpNet;
use model::Mtu;
use model::name::IfName;
use std::fmt;
use std::net::IpAddr;

/// Which end of the pair something is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The node's.
    Host,
    /// The pod's.
    Pod,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::Host => "on the host",
            Place::Pod => "in the pod",
        })
    }
}

/// One thing that is not as it was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// There is no such interface.
    #[error("interface {0} {1} is missing")]
    NoInterface(IfName, Place),
    /// Something else has the interface's name.
    #[error("interface {0} {1} is of kind {2:?}, not veth")]
    NotVeth(IfName, Place, String),
    /// Each is a veth, but not with the other.
    #[error("interfaces {0} on the host and {1} in the pod are not the two ends of one veth pair")]
    NotAPair(IfName, IfName),
    /// The interface is administratively down.
    #[error("interface {0} {1} is down")]
    Down(IfName, Place),
    /// The interface has another Ethernet address.
    #[error("interface {interface} {place} has MAC {}, expected {expected}", found.map_or_else(|| "none".to_owned(), |mac| mac.to_string()))]
    Mac {
        /// The interface.
        interface: IfName,
        /// Its place.
        place: Place,
        /// What it has.
        found: Option<MacAddress>,
        /// What it was given.
        expected: MacAddress,
    },
    /// The interface has another MTU.
    #[error("interface {interface} {place} has MTU {}, expected {}", found.0, expected.0)]
    Mtu {
        /// The interface.
        interface: IfName,
        /// Its place.
        place: Place,
        /// What it has.
        found: Mtu,
        /// What it was given.
        expected: Mtu,
    },
    /// The pod's interface lacks an address.
    #[error("interface {0} in the pod lacks address {1}")]
    NoAddress(IfName, IpNet),
    /// A route is missing; the text is as `ip route` has it.
    #[error("route {1} {0} is missing")]
    NoRoute(Place, String),
    /// The host's end has no link-local address for the pod to use as its IPv6 gateway.
    #[error("interface {0} on the host has no IPv6 link-local address, the pod's gateway")]
    NoGateway6(IfName),
    /// Packets to a neighbour go to another Ethernet address.
    #[error("neighbour {address} {place} has MAC {found}, expected {expected}")]
    Neighbour {
        /// The neighbour.
        address: IpAddr,
        /// Where it is known.
        place: Place,
        /// What it is thought to have.
        found: MacAddress,
        /// What it has.
        expected: MacAddress,
    },
    /// A kernel parameter has another value.
    #[error("sysctl {key} {place} is {found}, expected {expected}")]
    Sysctl {
        /// The parameter.
        key: String,
        /// Whose.
        place: Place,
        /// Its value, or why it cannot be read.
        found: String,
        /// What it was set to.
        expected: &'static str,
    },
}

impl PodNetwork<'_> {
    /// Compares the kernel with what [`setup`](PodNetwork::setup) makes; returns everything that differs.
    ///
    /// A later plugin may have given the pod's end another MTU, so that it is said apart.
    pub fn check(&self, pod_mtu: Mtu) -> Result<Vec<Flaw>, PodNetworkError> {
        let namespace = NetNs::open(self.netns)?;
        let mut flaws = Vec::new();
        let mut host = Netlink::open()?;
        let mut pod = namespace.run(Netlink::open)??;
        let host_link = host.link(&self.host_interface)?;
        let pod_link = pod.link(&self.container_interface)?;
        let both = [
            (Place::Host, &self.host_interface, &host_link, self.mtu),
            (Place::Pod, &self.container_interface, &pod_link, pod_mtu),
        ];
        for (place, name, link, mtu) in both {
            match link {
                Some(link) => self.check_link(place, link, mtu, &mut flaws),
                None => flaws.push(Flaw::NoInterface(name.clone(), place)),
            }
        }
        if let (Some(host_link), Some(pod_link)) = (&host_link, &pod_link)
            && (host_link.other_end != Some(pod_link.index) || pod_link.other_end != Some(host_link.index))
        {
            flaws.push(Flaw::NotAPair(host_link.name.clone(), pod_link.name.clone()));
        }
        let gateways6 = match &host_link {
            Some(link) => self.check_host(&mut host, link, pod_link.as_ref(), &mut flaws)?,
            None => Vec::new(),
        };
        if let Some(link) = &pod_link {
            self.check_pod(&mut pod, link, &gateways6, &mut flaws)?;
            namespace.run(|| self.check_pod_sysctls(&mut flaws))?;
        }
        Ok(flaws)
    }

    fn check_link(&self, place: Place, link: &Link, mtu: Mtu, flaws: &mut Vec<Flaw>) {
        let interface = link.name.clone();
        if link.kind != "veth" {
            flaws.push(Flaw::NotVeth(interface.clone(), place, link.kind.clone()));
        }
        if !link.admin_up {
            flaws.push(Flaw::Down(interface.clone(), place));
        }
        let mac = match place {
            Place::Host => Some(MacAddress::WORKLOAD),
            Place::Pod => self.mac,
        };
        if let Some(expected) = mac.filter(|mac| link.mac != Some(*mac)) {
            flaws.push(Flaw::Mac { interface: interface.clone(), place, found: link.mac, expected });
        }
        if link.mtu != mtu {
            flaws.push(Flaw::Mtu { interface, place, found: link.mtu, expected: mtu });
        }
    }

    /// Looks at parameters, neighbours and the pod's own routes; returns the addresses the pod may use as gateway.
    fn check_host(
        &self,
        host: &mut Netlink,
        link: &Link,
        pod_link: Option<&Link>,
        flaws: &mut Vec<Flaw>,
    ) -> Result<Vec<IpAddr>, PodNetworkError> {
        let name = &link.name;
        if self.has_v4() {
            for (tree, parameter, expected) in [
                ("conf", "route_localnet", "1"),
                ("neigh", "proxy_delay", "0"),
                ("conf", "proxy_arp", "1"),
                ("conf", "forwarding", "1"),
            ] {
                check_sysctl(Place::Host, format!("net/ipv4/{tree}/{name}/{parameter}"), expected, flaws);
            }
        }
        if self.has_v6() {
            for (parameter, expected) in [("disable_ipv6", "0"), ("proxy_ndp", "1"), ("forwarding", "1")] {
                check_sysctl(Place::Host, format!("net/ipv6/conf/{name}/{parameter}"), expected, flaws);
            }
        }
        let accept_ra = format!("net/ipv6/conf/{name}/accept_ra");
        if sysctl::exists(&accept_ra) {
            check_sysctl(Place::Host, accept_ra, "0", flaws);
        }
        let routes = host.routes_over(link)?;
        for address in self.addresses.iter().map(|address| host_net(*address)) {
            if !routes.iter().any(|route| route.key.prefix == address && route.next_hop == NextHop::Link(link.index)) {
                flaws.push(Flaw::NoRoute(Place::Host, format!("{address} dev {name}")));
            }
        }
        for neighbour in host.neighbours()?.into_iter().filter(|it| it.link == link.index && it.permanent) {
            if let (Some(expected), Some(found)) = (pod_link.and_then(|link| link.mac), neighbour.mac)
                && found != expected
                && self.addresses.contains(&neighbour.address.into())
            {
                flaws.push(Flaw::Neighbour { address: neighbour.address.into(), place: Place::Host, found, expected });
            }
        }
        if !self.has_v6() {
            return Ok(Vec::new());
        }
        let of_link = |address: crate::netlink::Address| {
            (address.link == link.index && address.link_scope && address.net.addr().is_ipv6())
                .then(|| address.net.addr())
        };
        let gateways: Vec<IpAddr> = host.addresses()?.into_iter().filter_map(of_link).collect();
        if gateways.is_empty() {
            flaws.push(Flaw::NoGateway6(name.clone()));
        }
        Ok(gateways)
    }

    fn check_pod(
        &self,
        pod: &mut Netlink,
        link: &Link,
        gateways6: &[IpAddr],
        flaws: &mut Vec<Flaw>,
    ) -> Result<(), PodNetworkError> {
        let name = &link.name;
        let addresses = pod.addresses()?;
        for address in &self.addresses {
            if !addresses.iter().any(|it| it.link == link.index && it.net.addr() == *address) {
                flaws.push(Flaw::NoAddress(name.clone(), host_net(*address)));
            }
        }
        let routes = pod.routes_over(link)?;
        let gateway4 = host_net(GATEWAY.into());
        if self.has_v4()
            && !routes.iter().any(|it| it.key.prefix == gateway4 && it.next_hop == NextHop::Link(link.index))
        {
            flaws.push(Flaw::NoRoute(Place::Pod, format!("{GATEWAY} dev {name}")));
        }
        for prefix in &self.routes {
            let gateways: &[IpAddr] = match prefix {
                IpNet::V4(_) if self.has_v4() => &[IpAddr::V4(GATEWAY)],
                IpNet::V6(_) if self.has_v6() => gateways6,
                IpNet::V4(_) | IpNet::V6(_) => continue,
            };
            let leads = |route: &RouteEntry| match route.next_hop {
                NextHop::Gateway { gateway, .. } => route.key.prefix == *prefix && gateways.contains(&gateway),
                NextHop::None | NextHop::Link(_) | NextHop::Other => false,
            };
            if let (Some(gateway), false) = (gateways.first(), routes.iter().any(leads)) {
                flaws.push(Flaw::NoRoute(Place::Pod, format!("{prefix} via {gateway} dev {name}")));
            }
        }
        for neighbour in pod.neighbours()?.into_iter().filter(|it| it.link == link.index && it.address == GATEWAY) {
            if let Some(found) = neighbour.mac.filter(|mac| *mac != MacAddress::WORKLOAD) {
                let (address, expected) = (GATEWAY.into(), MacAddress::WORKLOAD);
                flaws.push(Flaw::Neighbour { address, place: Place::Pod, found, expected });
            }
        }
        Ok(())
    }

    fn check_pod_sysctls(&self, flaws: &mut Vec<Flaw>) {
        if self.has_v6() {
            check_sysctl(Place::Pod, format!("net/ipv6/conf/{}/disable_ipv6", self.container_interface), "0", flaws);
        }
    }
}

fn check_sysctl(place: Place, key: String, expected: &'static str, flaws: &mut Vec<Flaw>) {
    let found = sysctl::read(&key).unwrap_or_else(|error| format!("unreadable ({error})"));
    if found != expected {
        flaws.push(Flaw::Sysctl { key, place, found, expected });
    }
}
