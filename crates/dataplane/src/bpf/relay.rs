//! The tunnel's part of the agent: packets that came in fragments, and routers' complaints about packets' size.
//!
//! A raw socket stands for protocol 4 at this node's address. By it the kernel puts fragments together for someone,
//! and remembers what a router says about the path of an outer packet (it believes that of nobody else's); the
//! error queue tells that it did. What the socket receives gets the same guard as in the decap program, the
//! known nodes alone, and its inner packet goes out of `tunl0p`, so that it arrives on `tunl0` as any other.

use crate::bpf::decapsulate::{fragments, inner_packet};
use crate::bpf::pair::{PEER_MAC, TUNNEL_MAC};
use crate::tunnel::{Heard, TunnelError, TunnelSpec};
use ipnet::Ipv4Net;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind, recv, recvmsg,
    send, setsockopt, socket, sockopt,
};
use std::collections::BTreeSet;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};

/// Packets handled before other events have their turn.
const TURN: usize = 64;
/// What waits while the agent is busy elsewhere.
const RECEIVE_BUFFER: usize = 4 << 20;
/// The longest IPv4 packet.
const PACKET: usize = 1 << 16;
/// ICMP "destination unreachable: fragmentation needed" (RFC 792, RFC 1191).
const UNREACHABLE: u8 = 3;
const FRAGMENTATION_NEEDED: u8 = 4;
const ETHERTYPE_IPV4: [u8; 2] = [8, 0];

/// Both sockets, for one address and one pair of devices.
pub(super) struct Relay {
    outer: OwnedFd,
    frames: OwnedFd,
    address: Ipv4Addr,
    peer: u32,
    hosts: BTreeSet<Ipv4Addr>,
    external_nodes: BTreeSet<Ipv4Net>,
    mtu: usize,
    buffer: Vec<u8>,
}

impl Relay {
    /// Opens the sockets in the calling thread's network namespace; `peer` is the index of `tunl0p`.
    pub(super) fn open(spec: &TunnelSpec, peer: u32) -> Result<Relay, TunnelError> {
        let failed = |what: &str, reason: io::Error| TunnelError::Program {
            what: format!("{what} of the BPF tunnel's relay"),
            reason: reason.to_string(),
        };
        let outer = outer_socket(spec.own_address).map_err(|errno| {
            failed(&format!("open the socket for protocol 4 at {}", spec.own_address), errno.into())
        })?;
        let frames = frame_socket(peer).map_err(|error| failed("open the packet socket", error))?;
        let mut relay = Relay {
            outer,
            frames,
            address: spec.own_address,
            peer,
            hosts: BTreeSet::new(),
            external_nodes: BTreeSet::new(),
            mtu: 0,
            buffer: vec![0; PACKET],
        };
        relay.update(spec);
        Ok(relay)
    }

    /// Tells whether the sockets are those for this address and device.
    pub(super) fn fits(&self, spec: &TunnelSpec, peer: u32) -> bool {
        self.address == spec.own_address && self.peer == peer
    }

    /// Takes what may change without new sockets.
    pub(super) fn update(&mut self, spec: &TunnelSpec) {
        if self.hosts != spec.hosts {
            self.hosts.clone_from(&spec.hosts);
        }
        self.external_nodes.clone_from(&spec.external_nodes);
        self.mtu = usize::try_from(spec.mtu.0).unwrap_or(PACKET);
    }

    /// Handles what has arrived, a turn's worth.
    ///
    /// An `Err` is a socket's own failure: it has to be opened anew.
    pub(super) fn serve(&mut self) -> io::Result<Heard> {
        let heard = self.hear()?;
        for _ in 0..TURN {
            match recv(self.outer.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => self.inject(length),
                Err(Errno::EAGAIN) => break,
                // an error that a router reported: told in full by the queue
                Err(errno) if is_reported(errno) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(heard)
    }

    /// Reads the queue of routers' and hosts' errors.
    fn hear(&mut self) -> io::Result<Heard> {
        let mut heard = Heard::Nothing;
        for _ in 0..TURN {
            let mut space = nix::cmsg_space!(libc::sock_extended_err, libc::sockaddr_in);
            let mut quoted = [IoSliceMut::new(&mut self.buffer)];
            let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
            match recvmsg::<SockaddrIn>(self.outer.as_raw_fd(), &mut quoted, Some(&mut space), flags) {
                Ok(message) => {
                    let node = message.address.map(|address| address.ip());
                    let narrow = message.cmsgs()?.any(|part| is_about_size(&part));
                    if narrow && node.is_some_and(|node| self.hosts.contains(&node)) {
                        tracing::debug!(?node, "a router cannot pass a packet on: too large");
                        heard = Heard::NarrowPath;
                    }
                }
                Err(Errno::EAGAIN) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(heard)
    }

    /// The decap program's guard.
    fn may_send(&self, source: Ipv4Addr) -> bool {
        let known = || self.hosts.contains(&source) || self.external_nodes.iter().any(|nodes| nodes.contains(&source));
        source != self.address && known()
    }

    /// Lets the inner packet of an outer one arrive on `tunl0`.
    fn inject(&self, length: usize) {
        let outer = &self.buffer[..length];
        let Some(source) = outer.get(12..16).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()) else { return };
        if !self.may_send(Ipv4Addr::from(source)) {
            return;
        }
        let Some(inner) = inner_packet(outer) else { return };
        for packet in fragments(inner, self.mtu) {
            let frame = [&TUNNEL_MAC.0[..], &PEER_MAC.0, &ETHERTYPE_IPV4, &packet].concat();
            if let Err(errno) = send(self.frames.as_raw_fd(), &frame, MsgFlags::MSG_DONTWAIT) {
                tracing::debug!(length = packet.len(), %errno, "a packet that came in fragments is lost");
            }
        }
    }
}

impl AsFd for Relay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.outer.as_fd()
    }
}

/// Opens the raw socket; only what is addressed to, or was sent from, this node's address concerns it.
fn outer_socket(address: Ipv4Addr) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    // SAFETY: plain system call; nix has no name for protocol 4.
    let descriptor =
        Errno::result(unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW | flags.bits(), libc::IPPROTO_IPIP) })?;
    // SAFETY: just opened, and nobody else's.
    let outer = unsafe { OwnedFd::from_raw_fd(descriptor) };
    setsockopt(&outer, sockopt::Ipv4RecvErr, &true)?;
    // refused without CAP_NET_ADMIN in the first user namespace: the default then has to do
    let _ = setsockopt(&outer, sockopt::RcvBufForce, &RECEIVE_BUFFER);
    bind(outer.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(address, 0)))?;
    Ok(outer)
}

/// Opens the socket that sends frames out of a link, and receives none.
fn frame_socket(link: u32) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let frames = socket(AddressFamily::Packet, SockType::Raw, flags, None::<SockProtocol>)?;
    // SAFETY: sockaddr_ll is plain data, for which zero bytes are a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).expect("a family has 16 bits");
    address.sll_ifindex = i32::try_from(link).expect("the kernel's link indexes are positive ints");
    let size = u32::try_from(size_of_val(&address)).expect("an address is small");
    // SAFETY: the address outlives the call and is as long as it is told.
    Errno::result(unsafe { libc::bind(frames.as_raw_fd(), (&raw const address).cast(), size) })?;
    Ok(frames)
}

fn is_about_size(part: &ControlMessageOwned) -> bool {
    let ControlMessageOwned::Ipv4RecvErr(error, _) = part else { return false };
    let kind = (error.ee_origin, error.ee_type, error.ee_code);
    kind == (libc::SO_EE_ORIGIN_ICMP, UNREACHABLE, FRAGMENTATION_NEEDED)
}

/// Tells whether an error number is one that ICMP puts on a socket, which remains usable (`icmp_err_convert`).
fn is_reported(errno: Errno) -> bool {
    use Errno::*;
    matches!(
        errno,
        EMSGSIZE
            | ENETUNREACH
            | EHOSTUNREACH
            | ENOPROTOOPT
            | ECONNREFUSED
            | EOPNOTSUPP
            | EHOSTDOWN
            | ENONET
            | EPROTO
            | EINTR
    )
}
