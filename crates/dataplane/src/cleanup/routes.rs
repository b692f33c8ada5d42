//! Routes of ours in the main table.

use super::{Pods, Scope, Step};
use crate::BgpDaemon;
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
    /// A BGP daemon's that stays, for a reason.
    Bgp(&'static str),
    Others,
}

/// Removes our routes: those of pods only with the pods' interfaces.
pub(super) fn remove(
    netlink: &mut Netlink,
    links: &Links,
    scope: &Scope,
    pools: &BTreeSet<Ipv4Net>,
    tell: &mut dyn FnMut(Step),
) -> Result<(), Error> {
    for route in netlink.routes()? {
        let words = format!("route {}", route.describe(|index| links.name_of(index)));
        match owner(&route, links, scope.bgp, pools) {
            Owner::Others => {}
            Owner::Pod if scope.pods == Pods::Keep => {}
            Owner::Bgp(reason) => tell(Step::Kept(format!("{words}: {reason}"))),
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

fn owner(route: &RouteEntry, links: &Links, bgp: BgpDaemon, pools: &BTreeSet<Ipv4Net>) -> Owner {
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
        RouteProtocol::BIRD if bgp == BgpDaemon::Another => {
            Owner::Bgp("the networking backend is none, so it is another program's: --backend bird removes it")
        }
        RouteProtocol::BIRD if into_a_pool || (link.is_some() && link == tunnel) => Owner::Ours,
        RouteProtocol::BIRD => Owner::Bgp("it leads into no pool that is known here"),
        _ => Owner::Others,
    }
}
