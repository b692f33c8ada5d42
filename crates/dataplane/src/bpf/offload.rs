//! Offloads of the veth pair, by the ethtool requests of old.
//!
//! What goes out of `tunl0p` was sent back by the encap program for the kernel to cut, and to complete its checksums;
//! the kernel does both where the device says that it does neither. Of what arrives on `tunl0` the kernel must then
//! not make a large packet again. All else keeps its offloads: a link has them each for its own direction.

use crate::tunnel::TunnelError;
use model::name::IfName;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::os::fd::{AsRawFd as _, OwnedFd};

/// A request to read an offload, and one to set it (`ETHTOOL_G…` and `ETHTOOL_S…` of linux/ethtool.h).
struct Offload {
    name: &'static str,
    read: u32,
    set: u32,
}

const TRANSMIT_CHECKSUM: Offload = Offload { name: "tx-checksumming", read: 0x16, set: 0x17 };
const RECEIVE_OFFLOAD: Offload = Offload { name: "generic-receive-offload", read: 0x2b, set: 0x2c };

/// Turns off what must be off; what is off already is not written.
pub(super) fn keep(tunnel: &IfName, peer: &IfName) -> Result<(), TunnelError> {
    // without checksums there is no segmentation either
    turn_off(peer, &TRANSMIT_CHECKSUM)?;
    turn_off(tunnel, &RECEIVE_OFFLOAD)
}

fn turn_off(link: &IfName, offload: &Offload) -> Result<(), TunnelError> {
    let attempt = || {
        let any = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        if request(&any, link, offload.read, 0)? != 0 {
            request(&any, link, offload.set, 0)?;
        }
        Ok(())
    };
    attempt().map_err(|errno: Errno| TunnelError::Program {
        what: format!("turn off {} of link {link}", offload.name),
        reason: errno.desc().to_owned(),
    })
}

/// Makes a request about a link of the calling thread's namespace; returns the value as the kernel leaves it.
fn request(socket: &OwnedFd, link: &IfName, command: u32, value: u32) -> nix::Result<u32> {
    // struct ethtool_value
    let mut request = [command, value];
    // SAFETY: ifreq is plain data, for which zero bytes are a value.
    let mut about: libc::ifreq = unsafe { std::mem::zeroed() };
    // the last byte ends the name
    for (to, from) in about.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(link.0.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    about.ifr_ifru.ifru_data = request.as_mut_ptr().cast();
    // SAFETY: the kernel reads and writes two words behind the pointer; they and the request outlive the call.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut about) })?;
    Ok(request[1])
}
