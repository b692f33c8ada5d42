//! A pod's network: a veth pair between pod and host, as Calico's CNI plugin makes it.
//!
//! The pod gets its address as a single host, a gateway 169.254.1.1 that exists nowhere, and a default route through
//! it; the host's end answers for the gateway by proxy ARP, and the host routes the pod's address to that end.
//! The order follows the dataplane reference of Calico's plugin, but for the pair's birth: each end is created in its
//! own namespace with its Ethernet address, so nothing is moved, renamed or waited for.
//! The calling thread visits the pod's namespace and returns; nothing here starts a thread.

mod check;

pub use check::{Flaw, Place};

use crate::netlink::{Error as NetlinkError, Link, MacAddress, Netlink, NextHop, RouteEntry, Veth};
use crate::netns::{NetNs, NetNsError};
use crate::sysctl::{self, SysctlError};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::name::IfName;
use model::{Mtu, RouteProtocol};
use nix::errno::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Every pod's IPv4 gateway; no interface has it.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The link-local address that [`MacAddress::WORKLOAD`] gives the host's end, every pod's IPv6 gateway.
const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0xecee, 0xeeff, 0xfeee, 0xeeee);
/// How often the host's link-local address is looked for, and how long in between.
const GATEWAY6_TRIES: usize = 10;
const GATEWAY6_PAUSE: Duration = Duration::from_millis(50);

/// Whether a pod may forward packets itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// It may (`allow_ip_forwarding`).
    Allowed,
    /// It may not.
    Denied,
}

/// A pod's network, to be set up.
#[derive(Clone, Debug)]
pub struct PodNetwork<'a> {
    /// The host's end.
    pub host_interface: IfName,
    /// The pod's end.
    pub container_interface: IfName,
    /// The pod's network namespace.
    pub netns: &'a Path,
    /// The pod's addresses; only the host part counts.
    pub addresses: Vec<IpAddr>,
    /// MTU of both ends.
    pub mtu: Mtu,
    /// Destinations that the pod reaches through its gateway; those of a family without address are passed over.
    pub routes: Vec<IpNet>,
    /// Whether the pod may forward packets.
    pub forwarding: Forwarding,
    /// Transmit and receive queues of both ends.
    pub queues: u32,
    /// The Ethernet address of the pod's end; the kernel's choice if none.
    pub mac: Option<MacAddress>,
}

/// What was set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    /// The Ethernet address of the pod's end.
    pub mac: MacAddress,
}

/// Why a pod's network could not be set up or taken down.
#[derive(Debug, thiserror::Error)]
pub enum PodNetworkError {
    /// The pod's namespace could not be entered.
    #[error(transparent)]
    NetNs(#[from] NetNsError),
    /// The kernel refused a change.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A parameter could not be set.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// The pair's ends are gone again, or never came.
    #[error("interface {0} disappeared while it was set up")]
    Vanished(IfName),
    /// The host's end got no IPv6 address for the pod to use as a gateway.
    #[error("interface {0} has no IPv6 link-local address")]
    NoGateway6(IfName),
    /// Another interface has the pod's address.
    #[error("address {address} is routed to interface {other} already")]
    AddressTaken {
        /// The pod's address.
        address: IpAddr,
        /// Whose it is.
        other: IfName,
    },
}

/// Returns the destinations a pod reaches through its gateway unless its configuration says otherwise: all.
pub fn default_routes() -> Vec<IpNet> {
    vec![IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())]
}

/// Deletes a pod's end of the pair, and with it the host's; succeeds if namespace or interface is gone already.
///
/// Both are gone when this returns, with their addresses and routes. The kernel may still hold their memory, and a child
/// of the calling process waits for that ([`Netlink::delete_link_early`]).
pub fn teardown(netns: &Path, container_interface: &IfName) -> Result<(), PodNetworkError> {
    let opened = NetNs::open(netns).and_then(|netns| netns.run(Netlink::open));
    let pod = match opened {
        Ok(netlink) => netlink?,
        Err(error) if error.is_gone() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    Ok(delete_early_if_present(pod, container_interface)?)
}

/// Deletes a pod's interface by the host's end, and with it the pod's; succeeds if it is gone already.
///
/// It returns as early as [`teardown`] does.
pub fn delete_host_end(host_interface: &IfName) -> Result<(), PodNetworkError> {
    Ok(delete_early_if_present(Netlink::open()?, host_interface)?)
}

/// Where the other end of a pair's host end is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostEnd {
    /// The host has no such interface.
    Missing,
    /// In the pod, under this name.
    OfPod(IfName),
    /// Not in the pod.
    Elsewhere,
}

/// Finds what an interface of the host has to do with a pod; a namespace that is gone has no interfaces.
pub fn host_end(netns: &Path, host_interface: &IfName) -> Result<HostEnd, PodNetworkError> {
    let Some(host) = Netlink::open()?.link(host_interface)? else { return Ok(HostEnd::Missing) };
    let mut pod = match NetNs::open(netns).and_then(|netns| netns.run(Netlink::open)) {
        Ok(netlink) => netlink?,
        Err(error) if error.is_gone() => return Ok(HostEnd::Elsewhere),
        Err(error) => return Err(error.into()),
    };
    // each end knows the other's number, whatever namespace that counts in
    let is_other_end =
        |link: &Link| link.kind == "veth" && host.other_end == Some(link.index) && link.other_end == Some(host.index);
    let found = pod.links()?.into_iter().find(is_other_end);
    Ok(found.map_or(HostEnd::Elsewhere, |link| HostEnd::OfPod(link.name)))
}

impl PodNetwork<'_> {
    /// Sets the network up; a failure leaves nothing behind.
    pub fn setup(&self) -> Result<Created, PodNetworkError> {
        let namespace = NetNs::open(self.netns)?;
        let mut host = Netlink::open()?;
        delete_link_if_present(&mut host, &self.host_interface)?;
        let mut pod = namespace.run(Netlink::open)??;
        self.create_pair(&mut pod)?;
        let result = self.configure(&namespace, &mut host, &mut pod);
        if result.is_err() {
            // the first error is the one to tell; the pair may have failed by vanishing
            let _ = delete_link_if_present(&mut host, &self.host_interface);
        }
        result
    }

    fn create_pair(&self, pod: &mut Netlink) -> Result<(), PodNetworkError> {
        let host_namespace = NetNs::current()?;
        let pair = Veth {
            name: self.container_interface.clone(),
            mac: self.mac,
            peer_name: self.host_interface.clone(),
            peer_mac: Some(MacAddress::WORKLOAD),
            peer_queue_length: Some(0), // as Calico's; the device has no queue
            mtu: self.mtu,
            queues: self.queues,
        };
        Ok(pod.create_veth(&pair, Some(host_namespace.as_fd()))?)
    }

    fn configure(&self, namespace: &NetNs, host: &mut Netlink, pod: &mut Netlink) -> Result<Created, PodNetworkError> {
        let host_link = find_link(host, &self.host_interface)?;
        let pod_link = find_link(pod, &self.container_interface)?;
        if self.has_v6() {
            let accept_dad = format!("net/ipv6/conf/{}/accept_dad", self.container_interface);
            namespace.run(|| sysctl::write(&accept_dad, "0"))??;
        }
        self.set_host_sysctls()?;
        host.set_link_up(&host_link)?;
        pod.set_link_up(&pod_link)?;
        if self.has_v4() {
            pod.add_route(&RouteEntry::link(host_net(GATEWAY.into()), pod_link.index, RouteProtocol::BOOT))?;
            self.add_routes(pod, &pod_link, GATEWAY.into())?;
        }
        if self.has_v6() {
            namespace.run(enable_ipv6)??;
            let gateway = self.gateway6(host, &host_link)?;
            self.add_routes(pod, &pod_link, gateway.into())?;
        }
        for address in &self.addresses {
            pod.add_address(&pod_link, host_net(*address))?;
        }
        namespace.run(|| self.set_pod_sysctls())??;
        for address in &self.addresses {
            add_host_route(host, &host_link, *address)?;
        }
        let mac = pod_link.mac.ok_or_else(|| PodNetworkError::Vanished(pod_link.name.clone()))?;
        Ok(Created { mac })
    }

    fn has_v4(&self) -> bool {
        self.addresses.iter().any(IpAddr::is_ipv4)
    }

    fn has_v6(&self) -> bool {
        self.addresses.iter().any(IpAddr::is_ipv6)
    }

    /// Lets the host's end answer for the gateway and forward what the pod sends.
    fn set_host_sysctls(&self) -> Result<(), PodNetworkError> {
        let link = &self.host_interface;
        if self.has_v4() {
            sysctl::write(&format!("net/ipv4/conf/{link}/route_localnet"), "1")?;
            warn_of(sysctl::write(&format!("net/ipv4/neigh/{link}/proxy_delay"), "0"));
            sysctl::write(&format!("net/ipv4/conf/{link}/proxy_arp"), "1")?;
            sysctl::write(&format!("net/ipv4/conf/{link}/forwarding"), "1")?;
        }
        if self.has_v6() {
            for (parameter, value) in
                [("accept_dad", "0"), ("disable_ipv6", "0"), ("proxy_ndp", "1"), ("forwarding", "1")]
            {
                sysctl::write(&format!("net/ipv6/conf/{link}/{parameter}"), value)?;
            }
        }
        let has_ipv6 = sysctl::exists(&format!("net/ipv6/conf/{link}"));
        // packet rules are for IPv4 alone: its node's link-local address, and what lies behind, is not for this pod
        if has_ipv6 && !self.has_v6() {
            sysctl::write(&format!("net/ipv6/conf/{link}/disable_ipv6"), "1")?;
        }
        // a pod must not become its host's router, whatever families it uses itself
        if has_ipv6 {
            warn_of(sysctl::write(&format!("net/ipv6/conf/{link}/accept_ra"), "0"));
        }
        Ok(())
    }

    fn set_pod_sysctls(&self) -> Result<(), SysctlError> {
        let value = match self.forwarding {
            Forwarding::Allowed => "1",
            Forwarding::Denied => "0",
        };
        if self.has_v4() {
            sysctl::write("net/ipv4/ip_forward", value)?;
        }
        if self.has_v6() {
            sysctl::write("net/ipv6/conf/all/forwarding", value)?;
        }
        Ok(())
    }

    fn add_routes(&self, pod: &mut Netlink, link: &Link, gateway: IpAddr) -> Result<(), NetlinkError> {
        for prefix in self.routes.iter().filter(|prefix| prefix.addr().is_ipv4() == gateway.is_ipv4()) {
            pod.add_route(&RouteEntry {
                next_hop: NextHop::Gateway { gateway, link: link.index, onlink: false },
                ..RouteEntry::link(*prefix, link.index, RouteProtocol::BOOT)
            })?;
        }
        Ok(())
    }

    /// Waits for the host end's link-local address, and makes it the expected one if it can.
    fn gateway6(&self, host: &mut Netlink, link: &Link) -> Result<Ipv6Addr, PodNetworkError> {
        let mut found = None;
        for _ in 0..GATEWAY6_TRIES {
            found = host.addresses()?.into_iter().find_map(|address| match address.net {
                IpNet::V6(net) if address.link == link.index && address.link_scope => Some(net.addr()),
                IpNet::V4(_) | IpNet::V6(_) => None,
            });
            if found == Some(GATEWAY6) {
                break;
            }
            if found.is_some() {
                // derived from an earlier Ethernet address: the kernel derives anew when the link comes up
                host.set_link_down(link)?;
                host.set_link_up(link)?;
            }
            thread::sleep(GATEWAY6_PAUSE);
        }
        found.ok_or_else(|| PodNetworkError::NoGateway6(link.name.clone()))
    }
}

fn enable_ipv6() -> Result<(), SysctlError> {
    for scope in ["all", "default", "lo"] {
        sysctl::write(&format!("net/ipv6/conf/{scope}/disable_ipv6"), "0")?;
    }
    Ok(())
}

/// Routes the pod's address to its link; the agent may have done so first.
fn add_host_route(host: &mut Netlink, link: &Link, address: IpAddr) -> Result<(), PodNetworkError> {
    let route = RouteEntry::link(host_net(address), link.index, RouteProtocol::BOOT);
    match host.add_route(&route) {
        Err(error) if error.errno() == Some(Errno::EEXIST) => {
            let present = host.routes_to(route.key.prefix)?;
            let links: Vec<u32> = present.iter().filter_map(|route| route.next_hop.link()).collect();
            match links.first() {
                _ if links.contains(&link.index) => Ok(()),
                Some(index) => {
                    let name = host.links()?.into_iter().find(|link| link.index == *index).map(|link| link.name);
                    let other = name.unwrap_or_else(|| IfName(format!("number {index}")));
                    Err(PodNetworkError::AddressTaken { address, other })
                }
                None => Err(error.into()),
            }
        }
        result => Ok(result?),
    }
}

fn find_link(netlink: &mut Netlink, name: &IfName) -> Result<Link, PodNetworkError> {
    netlink.link(name)?.ok_or_else(|| PodNetworkError::Vanished(name.clone()))
}

fn delete_link_if_present(netlink: &mut Netlink, name: &IfName) -> Result<(), NetlinkError> {
    netlink.link(name)?.map_or(Ok(()), |link| unless_missing(netlink.delete_link(&link)))
}

fn delete_early_if_present(mut netlink: Netlink, name: &IfName) -> Result<(), NetlinkError> {
    netlink.link(name)?.map_or(Ok(()), |link| unless_missing(netlink.delete_link_early(&link)))
}

fn unless_missing(deleted: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    match deleted {
        Err(error) if error.is_missing() => Ok(()),
        result => result,
    }
}

/// Returns the address as the prefix that contains it alone.
fn host_net(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

fn warn_of<T>(result: Result<T, SysctlError>) {
    if let Err(error) = result {
        tracing::warn!(%error, "pod network works less well");
    }
}
