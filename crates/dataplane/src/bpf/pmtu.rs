//! What the paths to other nodes leave to packets inside the tunnel.
//!
//! Routers answer an outer packet that is too large to this node, and the kernel keeps what they say, with its own
//! floor (`net.ipv4.route.min_pmtu`) and for its own time (`mtu_expires`), because the relay's socket stands for the
//! protocol. The kernel's ipip would ask for that with every packet; the encap program cannot cut packets or answer
//! their senders, so the routes into the tunnel say it, and forwarding does both before the tunnel is reached.

use crate::netlink::{Error, Netlink};
use model::Mtu;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// What the outer header takes.
const OVERHEAD: u32 = 20;
/// What every IPv4 link carries (RFC 791 §3.2).
const FLOOR: u32 = 68;
/// The kernel's clock is read in hundredths of a second: look when the time is over for sure.
const SLACK: Duration = Duration::from_millis(20);

/// Paths that are narrower than the tunnel's device.
#[derive(Debug, Default)]
pub(crate) struct PathMtus {
    narrow: BTreeMap<Ipv4Addr, Mtu>,
    /// What the kernel was last asked about; `None` to ask again.
    asked: Option<Question>,
    /// When the first of what the kernel knows ceases to be believed.
    expire: Option<Instant>,
}

/// Between which paths a difference is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// The other nodes.
    pub(crate) nodes: BTreeSet<Ipv4Addr>,
    /// The MTU of the link that outer packets leave by.
    pub(crate) uplink: Mtu,
    /// The MTU of the tunnel's device.
    pub(crate) device: Mtu,
}

impl PathMtus {
    /// Nodes with a narrow path, with the largest packet inside the tunnel that passes.
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

    /// Asks the kernel where there is a reason to: another question, an invalidation, or time.
    pub(crate) fn refresh(&mut self, netlink: &mut Netlink, question: Question, now: Instant) -> Result<(), Error> {
        if self.asked.as_ref() == Some(&question) && self.expire.is_none_or(|expire| now < expire) {
            return Ok(());
        }
        let (mut narrow, mut expire) = (BTreeMap::new(), None::<Instant>);
        for node in &question.nodes {
            let path = netlink.path_mtu(*node)?;
            let carries = path.map_or(question.uplink, |path| path.mtu.min(question.uplink));
            narrow.extend(inside(carries, question.device).map(|mtu| (*node, mtu)));
            let end = path.and_then(|path| path.expires_in).map(|rest| now + rest + SLACK);
            expire = expire.into_iter().chain(end).min();
        }
        for (node, mtu) in narrow.iter().filter(|(node, mtu)| self.narrow.get(*node) != Some(*mtu)) {
            tracing::info!(%node, mtu = mtu.0, "the path is narrower than the tunnel: routes to the node get its MTU");
        }
        for node in self.narrow.keys().filter(|node| !narrow.contains_key(*node)) {
            tracing::info!(%node, "the path is as wide as the tunnel again, as far as known");
        }
        *self = PathMtus { narrow, asked: Some(question), expire };
        Ok(())
    }
}

/// Returns what a path leaves to the inner packet, if the device alone would let larger ones through.
fn inside(path: Mtu, device: Mtu) -> Option<Mtu> {
    let mtu = Mtu(path.0.saturating_sub(OVERHEAD).max(FLOOR));
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
