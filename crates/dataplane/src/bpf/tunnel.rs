//! The BPF tunnel as a reconciler: device, programs, filters and maps.
//!
//! Every `ensure` reads all four back from the kernel and writes only what differs. The order matters to packets:
//! maps before filters, so that a program never runs on another configuration's entries, and the device up last.

use crate::bpf::abi::{Config, LINK_QDISC, LINK_STRICT};
use crate::bpf::offload;
use crate::bpf::pair::{self, Found, PEER, Pair, TUNNEL_MAC};
use crate::bpf::program::{Program, Programs, fingerprint, links_of};
use crate::bpf::relay::Relay;
use crate::bpf::tc;
use crate::netlink::Netlink;
use crate::tunnel::{Heard, Tunnel, TunnelError, TunnelSpec};
use model::Mtu;
use model::name::{IPIP_DEVICE, IfName};
use nix::sched::{CloneFlags, unshare};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::thread;

/// What filters of ours are called, before the hash of their object.
const ENCAP: &str = "tortie-encap-";
const ENCAP_AGAIN: &str = "tortie-again-";
const DECAP: &str = "tortie-decap-";

/// `tunl0` as a veth end with BPF programs, in the calling thread's network namespace.
///
/// Whatever happens to the process, programs and maps stay: [`Tunnel::remove`] alone takes them away. Fragments are
/// put together, and routers listened to, only while this lives and is served.
pub struct BpfTunnel {
    programs: Option<Programs>,
    relay: Option<Relay>,
    fingerprint: String,
}

impl Default for BpfTunnel {
    fn default() -> Self {
        BpfTunnel { programs: None, relay: None, fingerprint: fingerprint() }
    }
}

impl BpfTunnel {
    /// Creates a tunnel that has not looked at the kernel yet.
    pub fn new() -> Self {
        BpfTunnel::default()
    }

    /// Tells whether this kernel and this process can have such a tunnel, else what stands in the way.
    ///
    /// Tries it in a network namespace of its own, which is gone when this returns.
    pub fn supported() -> Result<(), TunnelError> {
        let attempt = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| TunnelError::Program {
                what: "make a network namespace to try the BPF tunnel in".to_owned(),
                reason: format!("{}; it takes root", errno.desc()),
            })?;
            let mut netlink = Netlink::open()?;
            let pair = pair_of(&mut netlink, Mtu(1480))?;
            let programs = Programs::load()?;
            for program in [&programs.encap, &programs.encap_again, &programs.decap] {
                tc::attach(&mut netlink, pair.peer.link.index, ENCAP, program.fd.as_fd(), None)?;
            }
            Ok(())
        });
        attempt.join().expect("the attempt returns its failures")
    }

    /// Names the programs in use, encap, its second part and decap, by the kernel's numbers; `None` before the first
    /// `ensure`.
    pub fn program_ids(&self) -> Option<[u32; 3]> {
        let programs = self.programs.as_ref()?;
        Some([&programs.encap, &programs.encap_again, &programs.decap].map(|program| program.id))
    }

    /// Adopts what another process attached, if all programs are this object's; else loads it.
    fn adopt_or_load(&self, netlink: &mut Netlink, pair: &Pair) -> Result<Programs, TunnelError> {
        if let Some(programs) = self.adopt(netlink, pair)? {
            return Ok(programs);
        }
        let programs = Programs::load()?;
        tracing::info!(encap = programs.encap.id, decap = programs.decap.id, "loaded the tunnel's BPF programs");
        Ok(programs)
    }

    fn adopt(&self, netlink: &mut Netlink, pair: &Pair) -> Result<Option<Programs>, TunnelError> {
        let attached = |filters: Vec<tc::Filter>, role: &str| {
            filters.into_iter().find(|filter| filter.name == format!("{role}{}", self.fingerprint))
        };
        let encap = attached(tc::filters(netlink, pair.peer.link.index)?, ENCAP);
        let again = attached(tc::filters(netlink, pair.tunnel.link.index)?, ENCAP_AGAIN);
        let mut decap = None;
        for link in tc::links(netlink)? {
            decap = decap.or(attached(tc::filters(netlink, link)?, DECAP));
        }
        if let (Some(encap), Some(again), Some(decap)) = (encap, again, decap)
            && let Some(programs) = Programs::adopt(encap.program, again.program, decap.program)?
        {
            tracing::debug!(encap = encap.program, decap = decap.program, "adopted the tunnel's BPF programs");
            return Ok(Some(programs));
        }
        Ok(None)
    }

    /// Keeps the sockets, or opens them for another address or device.
    fn keep_relay(&mut self, spec: &TunnelSpec, peer: u32) -> Result<(), TunnelError> {
        match &mut self.relay {
            Some(relay) if relay.fits(spec, peer) => relay.update(spec),
            other => *other = Some(Relay::open(spec, peer)?),
        }
        Ok(())
    }

    /// Attaches a program unless it is there; tells whose qdisc it is then in, if it was not there.
    fn attach(
        &self,
        netlink: &mut Netlink,
        link: u32,
        role: &str,
        program: &Program,
    ) -> Result<Option<tc::Qdisc>, TunnelError> {
        let name = format!("{role}{}", self.fingerprint);
        let filters = tc::filters(netlink, link)?;
        if filters.iter().any(|filter| filter.name == name && filter.program == program.id) {
            return Ok(None);
        }
        // of an earlier version, or of programs that are lost
        let old = filters.iter().find(|filter| filter.name.starts_with(role));
        let made = match old {
            Some(old) => made_qdisc(old.program, link)?,
            None => false,
        };
        let qdisc = tc::attach(netlink, link, &name, program.fd.as_fd(), old)?;
        Ok(Some(if made { tc::Qdisc::Ours } else { qdisc }))
    }

    /// Lets outer packets in by one link; `before` are its bits in the map, if it is there.
    fn open(&mut self, netlink: &mut Netlink, link: u32, strict: bool, before: Option<u32>) -> Result<(), TunnelError> {
        let strict = if strict { LINK_STRICT } else { 0 };
        let programs = self.programs.as_mut().expect("ensured before the links");
        // what runs must know the link
        let known = before.unwrap_or(strict);
        if before.is_none() {
            programs.set_link(link, known)?;
        }
        let programs = self.programs.as_ref().expect("ensured before the links");
        let ours = match self.attach(netlink, link, DECAP, &programs.decap)? {
            Some(tc::Qdisc::Ours) => LINK_QDISC,
            Some(tc::Qdisc::Found) => 0,
            None => known & LINK_QDISC,
        };
        let programs = self.programs.as_mut().expect("ensured before the links");
        if known == ours | strict { Ok(()) } else { programs.set_link(link, ours | strict) }
    }

    /// Opens the links by which outer packets may come in, and closes all others; one that fails does not stop the
    /// others, and the first is reported.
    fn keep_links(&mut self, netlink: &mut Netlink, spec: &TunnelSpec) -> Result<(), TunnelError> {
        let known = self.programs.as_ref().expect("ensured before the links").links()?;
        let mut outcome = Ok(());
        for (link, strict) in &spec.links {
            match self.open(netlink, *link, *strict, known.get(link).copied()) {
                Err(TunnelError::Netlink(error)) if error.is_missing() => {}
                result => outcome = outcome.and(result),
            }
        }
        outcome.and(self.close_links(netlink, |link| spec.links.contains_key(&link)))
    }

    /// Detaches decap from the links that are not to stay: a former one must not go on taking packets out of their
    /// tunnel.
    fn close_links(&mut self, netlink: &mut Netlink, stays: impl Fn(u32) -> bool) -> Result<(), TunnelError> {
        for link in tc::links(netlink)?.into_iter().filter(|link| !stays(*link)) {
            let filters = tc::filters(netlink, link)?;
            let mut made = false;
            for filter in filters.iter().filter(|filter| filter.name.starts_with(DECAP)) {
                // before it goes, and its map with it
                made |= made_qdisc(filter.program, link)?;
                tc::detach(netlink, link, filter)?;
            }
            // the qdisc that somebody else made is theirs to remove
            if made {
                tc::remove_if_empty(netlink, link)?;
            }
        }
        let Some(programs) = &mut self.programs else { return Ok(()) };
        for link in programs.links()?.into_keys().filter(|link| !stays(*link)) {
            programs.remove_link(link)?;
        }
        Ok(())
    }
}

impl Tunnel for BpfTunnel {
    fn ensure(&mut self, netlink: &mut Netlink, spec: &TunnelSpec) -> Result<(), TunnelError> {
        let pair = pair_of(netlink, spec.mtu)?;
        let programs = match self.programs.take() {
            Some(programs) => programs,
            None => self.adopt_or_load(netlink, &pair)?,
        };
        let programs = self.programs.insert(programs);
        let config = Config {
            node: spec.own_address.octets(),
            tunnel: pair.tunnel.link.index,
            tunnel_mac: TUNNEL_MAC.0,
            unused: [0; 2],
        };
        if programs.config()? != config {
            programs.set_config(config)?;
        }
        let entries = fill(programs, spec);

        let programs = self.programs.as_ref().expect("put there above");
        offload::keep(&IfName::from(IPIP_DEVICE), &IfName::from(PEER))?;
        // what the first sends to the second must find it
        self.attach(netlink, pair.tunnel.link.index, ENCAP_AGAIN, &programs.encap_again)?;
        self.attach(netlink, pair.peer.link.index, ENCAP, &programs.encap)?;
        let links = self.keep_links(netlink, spec);
        if !pair.is_settled(spec.mtu) {
            pair.settle(netlink, spec.mtu)?;
        }
        entries.and(links).and(self.keep_relay(spec, pair.peer.link.index))
    }

    fn remove(&mut self, netlink: &mut Netlink) -> Result<(), TunnelError> {
        self.relay = None;
        self.close_links(netlink, |_| false)?;
        self.programs = None;
        loop {
            match pair::find(netlink)? {
                Found::Pair(pair) => netlink.delete_link(&pair.tunnel.link)?,
                Found::Stray(half) => netlink.delete_link(&half)?,
                Found::Nothing | Found::Other(_) => return Ok(()),
            }
        }
    }

    fn wakes(&self) -> Option<BorrowedFd<'_>> {
        self.relay.as_ref().map(|relay| relay.as_fd())
    }

    fn serve(&mut self) -> Heard {
        let Some(relay) = &mut self.relay else { return Heard::Nothing };
        relay.serve().unwrap_or_else(|error| {
            tracing::warn!(%error, "the tunnel's relay has failed, and is opened anew");
            self.relay = None;
            Heard::Deaf
        })
    }
}

/// Whether whoever attached a decap program to a link made the qdisc for it.
fn made_qdisc(decap: u32, link: u32) -> Result<bool, TunnelError> {
    Ok(links_of(decap)?.get(&link).is_some_and(|bits| bits & LINK_QDISC != 0))
}

/// Finds the pair, or makes it; half of one makes room.
fn pair_of(netlink: &mut Netlink, mtu: Mtu) -> Result<Pair, TunnelError> {
    match pair::find(netlink)? {
        Found::Pair(pair) => return Ok(*pair),
        Found::Nothing => {}
        Found::Stray(link) => netlink.delete_link(&link)?,
        Found::Other(link) => {
            return Err(TunnelError::Program {
                what: format!("make {} the BPF tunnel", link.name),
                reason: format!(
                    "there is a device of that name and of kind {:?}; delete it, or use the kernel's tunnel",
                    link.kind
                ),
            });
        }
    }
    pair::create(netlink, mtu)?;
    match pair::find(netlink)? {
        Found::Pair(pair) => Ok(*pair),
        Found::Nothing | Found::Stray(_) | Found::Other(_) => Err(TunnelError::Program {
            what: "make the BPF tunnel's veth pair".to_owned(),
            reason: "another process changed it at once".to_owned(),
        }),
    }
}

/// Brings both maps to the wanted entries; one that fails does not stop the others, and the first is reported.
fn fill(programs: &mut Programs, spec: &TunnelSpec) -> Result<(), TunnelError> {
    let (prefixes, senders) = (programs.prefixes()?, programs.senders()?);
    let wanted = spec.senders();
    let mut outcome = Ok(());
    let mut note = |result: Result<(), TunnelError>| {
        if let Err(error) = result {
            tracing::warn!(%error, "the tunnel's maps are incomplete");
            if outcome.is_ok() {
                outcome = Err(error);
            }
        }
    };
    // a prefix that is gone makes room before one that comes
    for prefix in prefixes.keys().filter(|prefix| !spec.peers.contains_key(*prefix)) {
        note(programs.remove_prefix(prefix));
    }
    for (prefix, node) in spec.peers.iter().filter(|(prefix, node)| prefixes.get(*prefix) != Some(*node)) {
        note(programs.set_prefix(prefix, *node));
    }
    for sender in senders.difference(&wanted) {
        note(programs.remove_sender(sender));
    }
    for sender in wanted.difference(&senders) {
        note(programs.add_sender(sender));
    }
    outcome
}
