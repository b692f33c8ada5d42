//! Interfaces of ours: the tunnel in either form, and pods'.

use super::{Pods, Step};
use crate::bpf::{BpfTunnel, PEER};
use crate::ipip::{IPIP_KIND, KERNEL_MTU, VETH_KIND};
use crate::links::Links;
use crate::netlink::{Error, Link, MacAddress, Netlink};
use crate::tunnel::{Tunnel, TunnelError};
use ipnet::IpNet;
use model::name::{IPIP_DEVICE, IfName};

/// Takes the tunnel away; the kernel's own device, which cannot go, is left as the kernel makes it.
pub(super) fn remove_tunnel(netlink: &mut Netlink, tell: &mut dyn FnMut(Step)) -> Result<(), TunnelError> {
    let names = [IPIP_DEVICE, PEER].map(IfName::from);
    let mut before = Vec::new();
    for name in &names {
        before.extend(netlink.link(name)?.map(|link| link.name));
    }
    BpfTunnel::new().remove(netlink)?;
    for name in before {
        if netlink.link(&name)?.is_none() {
            tell(Step::Removed(format!("link {name}")));
        }
    }
    let [name, _] = names;
    let Some(link) = netlink.link(&name)? else { return Ok(()) };
    if link.kind != IPIP_KIND {
        tell(Step::Kept(format!("link {name}: it is a device of kind {:?}, not ours", link.kind)));
        return Ok(());
    }
    // the kernel's own answers that it is deleted, and stays
    netlink.delete_link(&link)?;
    match netlink.link(&name)? {
        None => tell(Step::Removed(format!("link {name}"))),
        Some(link) => reset(netlink, &link, tell)?,
    }
    Ok(())
}

/// Brings the kernel's own `tunl0` to the state that namespaces are born with.
fn reset(netlink: &mut Netlink, link: &Link, tell: &mut dyn FnMut(Step)) -> Result<(), Error> {
    for address in netlink.addresses()?.iter().filter(|address| address.link == link.index) {
        match (netlink.delete_address(link, address.net), address.net) {
            (Ok(()), _) => tell(Step::Removed(format!("address {} of {}", address.net, link.name))),
            // the link-local ones go with the link's state
            (Err(_), IpNet::V6(_)) => {}
            (Err(error), IpNet::V4(_)) => tell(Step::Left(error.to_string())),
        }
    }
    if link.admin_up {
        netlink.set_link_down(link)?;
        tell(Step::Removed(format!("state up of {}, which the kernel does not let go", link.name)));
    }
    if link.mtu != KERNEL_MTU {
        netlink.set_link_mtu(link, KERNEL_MTU)?;
    }
    Ok(())
}

/// Removes the host's ends of pods' interfaces, and with them the pods' ends and routes; or says that they stay.
pub(super) fn remove_pods(
    netlink: &mut Netlink,
    links: &Links,
    pods: Pods,
    tell: &mut dyn FnMut(Step),
) -> Result<(), Error> {
    let ours: Vec<&Link> = links.workloads().filter(|link| is_of_a_pod(link)).collect();
    match pods {
        Pods::Keep if ours.is_empty() => {}
        Pods::Keep => tell(Step::Kept(format!(
            "interfaces and routes of {} pods, which reach nothing beyond this node: --pods removes them",
            ours.len()
        ))),
        Pods::Disconnect => {
            for link in ours {
                match netlink.delete_link(link) {
                    Ok(()) => tell(Step::Removed(format!("link {}", link.name))),
                    Err(error) if error.is_missing() => {}
                    Err(error) => tell(Step::Left(error.to_string())),
                }
            }
        }
    }
    Ok(())
}

/// Whether a link with a workload's name is also made like one: other devices may begin with the same letters.
fn is_of_a_pod(link: &Link) -> bool {
    link.kind == VETH_KIND && link.mac == Some(MacAddress::WORKLOAD)
}
