//! The IPIP device `tunl0`: the kernel's where the kernel has `ipip`, else BPF's.
//!
//! Both forms have the same name, address, MTU and wire format. The choice is made once, at first need, and kept:
//! a device is not changed under running traffic. With the module loaded, every namespace is born with a `tunl0`
//! that cannot be deleted; it is as good as one made here.

use crate::links::Links;
use crate::netlink::{Address, Error, Netlink};
use crate::paths::{self, Paths};
use crate::sysctl;
use crate::tunnel::{Heard, Tunnel, TunnelError, TunnelSpec};
use ipnet::{IpNet, Ipv4Net};
use model::Mtu;
use model::desired::{Desired, Ipip, Route, Target};
use model::name::{IPIP_DEVICE, IfName};
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::time::Instant;

/// The kinds of device that the two forms are to the kernel.
pub(crate) const IPIP_KIND: &str = "ipip";
pub(crate) const VETH_KIND: &str = "veth";

/// The MTU that the kernel's own device is born with: Ethernet's, less the outer header.
pub(crate) const KERNEL_MTU: Mtu = Mtu(1500 - Ipip::OVERHEAD);

/// Which form the device shall have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TunnelChoice {
    /// The kernel's if it has `ipip`, else BPF's.
    #[default]
    Auto,
    /// The kernel's, or none.
    Kernel,
    /// BPF's, or none.
    Bpf,
}

/// Which form the device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelForm {
    /// The kernel's `ipip`.
    Kernel,
    /// A veth pair with BPF programs.
    Bpf,
}

/// The device's form, and why it is that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelStatus {
    /// The form.
    pub form: TunnelForm,
    /// The reason, for an operator.
    pub reason: &'static str,
}

/// What an operator who guards protocol 4 on the host has to know of BPF's form.
const UNSEEN: &str = "host rules do not see its outer packets, which only nodes and externalNodesList may send";

/// As an operator is told: what `tunl0` is, and why.
impl fmt::Display for TunnelStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = self.reason;
        match self.form {
            TunnelForm::Kernel => write!(f, "{IPIP_DEVICE} is the kernel's ipip device ({reason})"),
            TunnelForm::Bpf => write!(f, "{IPIP_DEVICE} is a veth pair with BPF programs ({reason}); {UNSEEN}"),
        }
    }
}

/// Why the device is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum IpipError {
    /// The device or its forwarding could not be changed.
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
    /// The kernel refused a change.
    #[error(transparent)]
    Netlink(#[from] Error),
    /// A device of another kind has the name.
    #[error("{IPIP_DEVICE} is a device of kind {kind:?}, not ours: remove or rename it")]
    NameTaken {
        /// The device's kind.
        kind: String,
    },
    /// The node's address is nowhere.
    #[error("no link has this node's address {0}")]
    NoUplink(Ipv4Addr),
}

/// Keeps `tunl0` as wanted.
pub struct IpipDevice {
    choice: TunnelChoice,
    status: Option<TunnelStatus>,
    bpf: Box<dyn Tunnel>,
    paths: Paths,
    /// The host's MTU; that of the links to the other nodes counts while it is not known.
    host_mtu: Option<Mtu>,
}

impl IpipDevice {
    /// Prepares a device of the chosen form; `bpf` serves where the kernel's is not to be had.
    pub fn new(choice: TunnelChoice, bpf: Box<dyn Tunnel>) -> IpipDevice {
        IpipDevice { choice, status: None, bpf, paths: Paths::default(), host_mtu: None }
    }

    /// Takes the MTU of the interfaces by which packets leave the host.
    pub fn on_host_mtu(&mut self, mtu: Option<Mtu>) {
        self.host_mtu = mtu;
    }

    /// Returns the form in use, once there is one.
    pub fn status(&self) -> Option<&TunnelStatus> {
        self.status.as_ref()
    }

    /// Returns the nodes whose path is narrower than the device, and the MTU that routes to them need.
    ///
    /// None with the kernel's device, which looks at the path itself.
    pub fn narrow(&self) -> &BTreeMap<Ipv4Addr, Mtu> {
        self.paths.narrow()
    }

    /// Returns when what is known of the paths has to be asked for again.
    pub fn next_due(&self) -> Option<Instant> {
        self.paths.expire()
    }

    /// Forgets what is known of the paths.
    pub fn invalidate_paths(&mut self) {
        self.paths.invalidate();
    }

    /// Returns a descriptor that becomes readable when [`IpipDevice::serve`] has work.
    pub fn wakes(&self) -> Option<BorrowedFd<'_>> {
        self.bpf.wakes()
    }

    /// Does what the device leaves to its process; tells whether the paths have to be asked for again.
    pub fn serve(&mut self) -> Heard {
        let heard = self.bpf.serve();
        if heard == Heard::NarrowPath {
            self.paths.invalidate();
        }
        heard
    }

    /// Makes the device agree with what is wanted.
    pub fn apply(
        &mut self,
        netlink: &mut Netlink,
        links: &Links,
        addresses: &[Address],
        desired: &Desired,
        routes: &BTreeMap<Ipv4Net, Route>,
        now: Instant,
    ) -> Result<(), IpipError> {
        let Some(ipip) = &desired.ipip else {
            return self.retire(netlink, links, addresses);
        };
        // until the node is registered, nothing can be said about its uplink
        let Some((own_address, _)) = desired.address else { return Ok(()) };
        let uplink = self.uplink_mtu(netlink, links, addresses, desired, now)?;
        let uplink = uplink.ok_or(IpipError::NoUplink(own_address))?;
        let spec = TunnelSpec {
            // a path that carries less is seen to by the routes
            mtu: ipip.device_mtu(self.host_mtu.unwrap_or(uplink)),
            own_address,
            links: paths::entrances(links).into_iter().map(|link| (link, is_strict(links, link))).collect(),
            peers: routes.iter().filter_map(|(prefix, route)| Some((*prefix, tunnel_peer(&route.target)?))).collect(),
            hosts: desired.hosts.values().copied().collect(),
            external_nodes: desired.settings.external_nodes.clone(),
        };
        match self.form(netlink, links)? {
            TunnelForm::Kernel => {
                self.paths.compare_no_more();
                KernelTunnel.ensure(netlink, &spec)?;
            }
            TunnelForm::Bpf => {
                self.paths.compare(&spec.peers.values().copied().collect(), links, spec.mtu);
                self.bpf.ensure(netlink, &spec)?;
            }
        }
        keep_address(netlink, ipip)
    }

    /// Returns the MTU of the links that lead to the other nodes; none while no link has this node's address.
    fn uplink_mtu(
        &mut self,
        netlink: &mut Netlink,
        links: &Links,
        addresses: &[Address],
        desired: &Desired,
        now: Instant,
    ) -> Result<Option<Mtu>, Error> {
        let Some((own, _)) = desired.address else { return Ok(None) };
        if !addresses.iter().any(|address| address.net.addr() == own) {
            return Ok(None);
        }
        self.paths.refresh(netlink, own, desired.hosts.values().copied().collect(), now)?;
        Ok(self.paths.mtu(links, addresses, own))
    }

    fn form(&mut self, netlink: &mut Netlink, links: &Links) -> Result<TunnelForm, IpipError> {
        let status = match self.status.take() {
            Some(status) => status,
            None => {
                let status = self.decide(netlink, links)?;
                match status.form {
                    TunnelForm::Kernel => tracing::info!("{status}"),
                    TunnelForm::Bpf => tracing::warn!("{status}"),
                }
                status
            }
        };
        let form = status.form;
        self.status = Some(status);
        Ok(form)
    }

    fn decide(&mut self, netlink: &mut Netlink, links: &Links) -> Result<TunnelStatus, IpipError> {
        let name = IfName::from(IPIP_DEVICE);
        let kernel = |reason| Ok(TunnelStatus { form: TunnelForm::Kernel, reason });
        let bpf = |reason| Ok(TunnelStatus { form: TunnelForm::Bpf, reason });
        let kind = links.named(&name).map(|link| link.kind.as_str());
        match (self.choice, kind) {
            (TunnelChoice::Kernel, Some(VETH_KIND)) => {
                self.bpf.remove(netlink)?;
                kernel("the kernel's device was asked for")
            }
            (TunnelChoice::Kernel, _) => kernel("the kernel's device was asked for"),
            (TunnelChoice::Bpf, Some(IPIP_KIND)) => {
                // succeeds without effect on the one that namespaces are born with: the BPF form then says so
                KernelTunnel.remove(netlink)?;
                bpf("the BPF tunnel was asked for")
            }
            (TunnelChoice::Bpf, _) => bpf("the BPF tunnel was asked for"),
            (TunnelChoice::Auto, Some(IPIP_KIND)) => kernel("the kernel has ipip"),
            (TunnelChoice::Auto, Some(VETH_KIND)) => bpf("the BPF tunnel was in use already"),
            (TunnelChoice::Auto, Some(other)) => Err(IpipError::NameTaken { kind: other.to_owned() }),
            (TunnelChoice::Auto, None) => match netlink.create_ipip(&name) {
                Ok(()) => kernel("the kernel has ipip"),
                // the attempt loaded the module, and that made the device
                Err(error) if error.errno() == Some(Errno::EEXIST) => kernel("the kernel has ipip"),
                Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => bpf("the kernel has no ipip module"),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// Takes away what a tunnel would leave: the BPF form whole, of the kernel's device the addresses, as Calico does.
    fn retire(&mut self, netlink: &mut Netlink, links: &Links, addresses: &[Address]) -> Result<(), IpipError> {
        self.paths.compare_no_more();
        let Some(link) = links.named(&IfName::from(IPIP_DEVICE)) else { return Ok(()) };
        match link.kind.as_str() {
            VETH_KIND => {
                self.bpf.remove(netlink)?;
                self.status = None;
            }
            IPIP_KIND => {
                for address in addresses.iter().filter(|address| address.link == link.index && is_v4(address)) {
                    netlink.delete_address(link, address.net)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether the kernel's reverse path filter is strict at a link: of its own setting and all links', the higher counts.
/// One that cannot be read counts as strict.
fn is_strict(links: &Links, link: u32) -> bool {
    let of = |name: &str| sysctl::read(&format!("net/ipv4/conf/{name}/rp_filter"));
    let own = links.numbered(link).and_then(|link| of(&link.name.0).ok());
    let (Some(all), Some(own)) = (of("all").ok(), own) else { return true };
    all.max(own) == "1"
}

/// Returns the node that a route reaches through the tunnel.
pub(crate) fn tunnel_peer(target: &Target) -> Option<Ipv4Addr> {
    match target {
        Target::Onlink(node, link) if link.0 == IPIP_DEVICE => Some(*node),
        Target::Onlink(..) | Target::Via(_) | Target::Link(_) | Target::Blackhole => None,
    }
}

fn is_v4(address: &Address) -> bool {
    matches!(address.net, IpNet::V4(_))
}

/// Makes the tunnel's address the device's only IPv4 address.
///
/// It is the source that the kernel picks for the node's own packets to pods elsewhere.
fn keep_address(netlink: &mut Netlink, ipip: &Ipip) -> Result<(), IpipError> {
    let Some(link) = netlink.link(&IfName::from(IPIP_DEVICE))? else { return Ok(()) };
    let wanted = ipip.address.map(|address| IpNet::V4(Ipv4Net::from(address)));
    // of this link alone: a node's pods have an address each
    let present = netlink.addresses_of(&link)?;
    if let Some(wanted) = wanted
        && !present.iter().any(|address| address.net == wanted)
    {
        netlink.add_address(&link, wanted)?;
    }
    for address in present.iter().filter(|address| Some(address.net) != wanted) {
        netlink.delete_address(&link, address.net)?;
    }
    Ok(())
}

/// The kernel's device; its routes say where packets go, and any sender is accepted.
struct KernelTunnel;

impl Tunnel for KernelTunnel {
    fn ensure(&mut self, netlink: &mut Netlink, spec: &TunnelSpec) -> Result<(), TunnelError> {
        let name = IfName::from(IPIP_DEVICE);
        let link = match netlink.link(&name)? {
            Some(link) => link,
            None => {
                if let Err(error) = netlink.create_ipip(&name)
                    && error.errno() != Some(Errno::EEXIST)
                {
                    return Err(error.into());
                }
                let Some(link) = netlink.link(&name)? else {
                    let reason = "it vanished as soon as it was there".to_owned();
                    return Err(TunnelError::Program { what: format!("create ipip device {name}"), reason });
                };
                link
            }
        };
        if link.kind != IPIP_KIND {
            let reason = format!("it is a device of kind {:?}: remove or rename it", link.kind);
            return Err(TunnelError::Program { what: format!("use {name} as an ipip device"), reason });
        }
        if link.mtu != spec.mtu {
            netlink.set_link_mtu(&link, spec.mtu)?;
        }
        if !link.admin_up {
            netlink.set_link_up(&link)?;
        }
        Ok(())
    }

    fn remove(&mut self, netlink: &mut Netlink) -> Result<(), TunnelError> {
        match netlink.link(&IfName::from(IPIP_DEVICE))? {
            Some(link) if link.kind == IPIP_KIND => Ok(netlink.delete_link(&link)?),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_told_what_host_rules_do_not_see() {
        let said = |form| TunnelStatus { form, reason: "why" }.to_string();
        assert_eq!(said(TunnelForm::Kernel), "tunl0 is the kernel's ipip device (why)");
        let bpf = said(TunnelForm::Bpf);
        assert!(bpf.starts_with("tunl0 is a veth pair with BPF programs (why); "), "{bpf}");
        assert!(bpf.contains("host rules do not see its outer packets"), "{bpf}");
    }
}
