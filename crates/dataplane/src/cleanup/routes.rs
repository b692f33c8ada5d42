//! Routes of ours in the main table.

use super::{Pods, Step};
use crate::links::Links;
use crate::netlink::{Error, Netlink, RouteEntry};
use crate::routes::{is_from_kernel, is_inside};
use ipnet::{IpNet, Ipv4Net};
use model::RouteProtocol;
use model::name::{IPIP_DEVICE, IfName};
use std::collections::BTreeSet;

/// Why a route stays or goes.
enum Owner {
    Ours,
    Pod,
    /// A BGP daemon's, to somewhere that no pool is known to hold.
    Bgp,
    Others,
}

/// Removes our routes: those of pods only with the pods' interfaces.
pub(super) fn remove(
    netlink: &mut Netlink,
    links: &Links,
    pods: Pods,
    pools: &BTreeSet<Ipv4Net>,
    tell: &mut dyn FnMut(Step),
) -> Result<(), Error> {
    for route in netlink.routes()? {
        let words = format!("route {}", route.describe(|index| links.name_of(index)));
        match owner(&route, links, pools) {
            Owner::Others => {}
            Owner::Pod if pods == Pods::Keep => {}
            Owner::Bgp => tell(Step::Kept(format!("{words}: it leads into no pool that is known here"))),
            Owner::Ours | Owner::Pod => match netlink.delete_route(&route) {
                Ok(()) => tell(Step::Removed(words)),
                // with its link, or by somebody else
                Err(error) if error.is_missing() => {}
                Err(error) => tell(Step::Left(error.to_string())),
            },
        }
    }
    Ok(())
}

fn owner(route: &RouteEntry, links: &Links, pools: &BTreeSet<Ipv4Net>) -> Owner {
    let tunnel = links.named(&IfName::from(IPIP_DEVICE)).map(|link| link.index);
    let link = route.next_hop.link();
    let into_a_pool = match route.key.prefix {
        IpNet::V4(prefix) => is_inside(prefix, pools),
        IpNet::V6(_) => false,
    };
    match route.protocol {
        _ if is_from_kernel(route) => Owner::Others,
        _ if link.is_some_and(|link| links.is_workload(link)) => Owner::Pod,
        RouteProtocol::FELIX => Owner::Ours,
        RouteProtocol::BIRD if into_a_pool || (link.is_some() && link == tunnel) => Owner::Ours,
        RouteProtocol::BIRD => Owner::Bgp,
        _ => Owner::Others,
    }
}
