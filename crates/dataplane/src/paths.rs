//! How packets between nodes travel: by which links they leave, and what the paths leave to packets inside the tunnel.
//!
//! Which link it is, is the kernel's word for each node, all tables and rules considered; a node's address may be on
//! another link, or on none that leads anywhere. Of the links in use the narrowest says the tunnel's MTU.
//!
//! Routers answer an outer packet that is too large to this node, and the kernel keeps what they say, with its own
//! floor (`net.ipv4.route.min_pmtu`) and for its own time (`mtu_expires`), because the relay's socket stands for the
//! protocol. The kernel's ipip would ask for that with every packet; the encap program cannot cut packets or answer
//! their senders, so the routes into the tunnel say it, and forwarding does both before the tunnel is reached.

use crate::bpf::PEER;
use crate::links::Links;
use crate::netlink::{Address, Error, Link, Netlink, Path};
use ipnet::IpNet;
use model::Mtu;
use model::desired::Ipip;
use model::name::IPIP_DEVICE;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// What every IPv4 link carries (RFC 791 §3.2).
const FLOOR: u32 = 68;
/// The kernel's clock is read in hundredths of a second: look when the time is over for sure.
const SLACK: Duration = Duration::from_millis(20);

/// The paths from this node to the others.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    known: BTreeMap<Ipv4Addr, Path>,
    narrow: BTreeMap<Ipv4Addr, Mtu>,
    /// Nodes behind the tunnel that no route leads to.
    lost: BTreeSet<Ipv4Addr>,
    /// Links that lead to nodes and have no Ethernet headers.
    bare: BTreeSet<u32>,
    /// What the kernel was last asked about; `None` to ask again.
    asked: Option<Question>,
    /// When the first of what the kernel knows ceases to be believed.
    expire: Option<Instant>,
}

#[derive(Debug, PartialEq, Eq)]
struct Question {
    own: Ipv4Addr,
    nodes: BTreeSet<Ipv4Addr>,
}

impl Paths {
    /// Nodes with a path that is narrower than the tunnel's device, with the largest packet inside that passes.
    pub(crate) fn narrow(&self) -> &BTreeMap<Ipv4Addr, Mtu> {
        &self.narrow
    }

    /// Returns when to look again although nothing happened.
    pub(crate) fn expire(&self) -> Option<Instant> {
        self.expire
    }

    /// Forgets what is known, so that the next refresh asks the kernel.
    pub(crate) fn invalidate(&mut self) {
        self.asked = None;
    }

    /// Asks the kernel where there is a reason to: other addresses, an invalidation, or time.
    pub(crate) fn refresh(
        &mut self,
        netlink: &mut Netlink,
        own: Ipv4Addr,
        nodes: BTreeSet<Ipv4Addr>,
        now: Instant,
    ) -> Result<(), Error> {
        let question = Question { own, nodes };
        if self.asked.as_ref() == Some(&question) && self.expire.is_none_or(|expire| now < expire) {
            return Ok(());
        }
        self.known.clear();
        self.expire = None;
        self.asked = None;
        for node in question.nodes.iter().filter(|node| **node != own) {
            let Some(path) = netlink.path(own, *node)? else { continue };
            let end = path.expires_in.map(|rest| now + rest + SLACK);
            self.expire = self.expire.into_iter().chain(end).min();
            self.known.insert(*node, path);
        }
        self.asked = Some(question);
        Ok(())
    }

    /// Returns the MTU of the narrowest link that leads to a node; where none does, of the link that would be used.
    pub(crate) fn mtu(&self, links: &Links, addresses: &[Address], own: Ipv4Addr) -> Option<Mtu> {
        let used = self.known.values().filter_map(|path| links.numbered(path.link));
        let used = used.filter(|link| !is_inside(links, link)).map(|link| link.mtu).min();
        used.or_else(|| alone(links, addresses, own))
    }

    /// Tells apart the paths of these nodes that carry less than the tunnel's device; says what changed.
    pub(crate) fn compare(&mut self, peers: &BTreeSet<Ipv4Addr>, links: &Links, device: Mtu) {
        let (mut narrow, mut lost) = (BTreeMap::new(), BTreeSet::new());
        for node in peers {
            let Some(path) = self.known.get(node) else {
                lost.insert(*node);
                continue;
            };
            let link = links.numbered(path.link).map(|link| link.mtu);
            let carries = path.mtu.into_iter().chain(link).min();
            narrow.extend(carries.and_then(|carries| inside(carries, device)).map(|mtu| (*node, mtu)));
        }
        let bare = |path: &Path| links.numbered(path.link).filter(|link| !link.ethernet && !is_inside(links, link));
        let bare: BTreeSet<u32> = self.known.values().filter_map(bare).map(|link| link.index).collect();
        for link in bare.difference(&self.bare) {
            let link = links.name_of(*link);
            tracing::warn!(
                link,
                "it has no Ethernet headers: the agent itself opens what nodes behind it send, slowly"
            );
        }
        self.bare = bare;
        for node in lost.difference(&self.lost) {
            tracing::warn!(%node, "no route leads to the node: packets to its pods are lost in the tunnel");
        }
        for node in self.lost.difference(&lost) {
            tracing::info!(%node, "a route leads to the node again, or no pods are behind it any more");
        }
        for (node, mtu) in narrow.iter().filter(|(node, mtu)| self.narrow.get(*node) != Some(*mtu)) {
            tracing::info!(%node, mtu = mtu.0, "the path is narrower than the tunnel: routes to the node get its MTU");
        }
        for node in self.narrow.keys().filter(|node| !narrow.contains_key(*node)) {
            tracing::info!(%node, "the path is as wide as the tunnel again, as far as known");
        }
        (self.narrow, self.lost) = (narrow, lost);
    }

    /// Forgets what was told apart: nothing goes through the tunnel, or the kernel looks at the paths itself.
    pub(crate) fn compare_no_more(&mut self) {
        self.narrow.clear();
        self.lost.clear();
    }
}

/// Lists the links by which outer packets may come in: those with Ethernet headers that stand for themselves.
///
/// What a bridge or bond is made of hands its packets to it; a VRF's parts keep theirs. From workloads no outer packet
/// is taken.
pub(crate) fn entrances(links: &Links) -> BTreeSet<u32> {
    let is_part = |link: &Link| {
        let whole = link.controller.and_then(|index| links.numbered(index));
        link.controller.is_some() && whole.is_none_or(|whole| whole.kind != "vrf")
    };
    links
        .all()
        .filter(|link| link.ethernet && !is_inside(links, link) && !is_part(link))
        .map(|link| link.index)
        .collect()
}

/// Whether a link leads to no other machine: the loopback, the tunnel, pods.
fn is_inside(links: &Links, link: &Link) -> bool {
    let name = link.name.0.as_str();
    [IPIP_DEVICE, PEER, "lo"].contains(&name) || links.is_workload(link.index)
}

/// The MTU where no other node is known: of the link with the node's address if that leads anywhere, else the
/// narrowest of those with an address.
fn alone(links: &Links, addresses: &[Address], own: Ipv4Addr) -> Option<Mtu> {
    let home = addresses.iter().find(|address| address.net.addr() == own).and_then(|it| links.numbered(it.link))?;
    let leads = |link: &Link| link.kind != "dummy" && !is_inside(links, link);
    if leads(home) {
        return Some(home.mtu);
    }
    let with_address = |link: &&Link| {
        let v4 = |address: &Address| address.link == link.index && matches!(address.net, IpNet::V4(_));
        leads(link) && addresses.iter().any(v4)
    };
    links.all().filter(with_address).map(|link| link.mtu).min().or(Some(home.mtu))
}

/// Returns what a path leaves to the inner packet, if the device alone would let larger ones through.
fn inside(path: Mtu, device: Mtu) -> Option<Mtu> {
    let mtu = Mtu(path.0.saturating_sub(Ipip::OVERHEAD).max(FLOOR));
    (mtu < device).then_some(mtu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_narrow_path_has_an_mtu_of_its_own() {
        for (path, device, expect) in [
            (1500, 1480, None),
            (9000, 1480, None),
            (1400, 1480, Some(1380)),
            (1499, 1480, Some(1479)),
            (1400, 1380, None),
            // the kernel's floor, and below it what a route by hand may say
            (552, 1480, Some(532)),
            (0, 1480, Some(68)),
        ] {
            assert_eq!(inside(Mtu(path), Mtu(device)), expect.map(Mtu), "path {path}, device {device}");
        }
    }
}
