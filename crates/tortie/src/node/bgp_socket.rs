//! TCP sockets as BGP wants them: TCP-MD5 signatures (RFC 2385) and the TTL check of GTSM (RFC 5082).
//!
//! A key belongs to a peer's address and a socket: the listening socket has those of all peers, and what it accepts
//! inherits its own. The kernel drops what is not signed as it should be, without a word to either side.

use bgp::{Password, PeerConfig};
use nix::errno::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// TTL of everything that is sent to a peer which checks it.
const HIGHEST_TTL: u32 = 255;
/// The kernel's own, and BIRD's towards a peer that may be any number of hops away.
const NORMAL_TTL: u32 = 64;
/// Silence after which a connection is probed.
const PROBE: Duration = Duration::from_secs(10);
/// Probes without any answer after which the kernel gives a connection up: the most that it can count.
const MOST_PROBES: u32 = 127;

/// A port that peers connect to, and the keys that their segments must be signed with.
pub(super) struct Listener {
    socket: Socket,
    signed: BTreeMap<IpAddr, Password>,
}

impl Listener {
    /// Listens, and returns what accepts.
    pub(super) fn bind(address: Ipv4Addr, port: u16) -> io::Result<(Listener, TcpListener)> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        // the answer to a SYN leaves by this socket, before it is known whose it is
        socket.set_ttl_v4(HIGHEST_TTL)?;
        socket.bind(&SocketAddr::from((address, port)).into())?;
        socket.listen(128)?;
        let accepting = TcpListener::from_std(socket.try_clone()?.into())?;
        Ok((Listener { socket, signed: BTreeMap::new() }, accepting))
    }

    /// Asks for signatures of these peers and no others.
    pub(super) fn sign(&mut self, wanted: BTreeMap<IpAddr, Password>) -> io::Result<()> {
        for gone in self.signed.keys().filter(|address| !wanted.contains_key(address)) {
            sign(&self.socket, *gone, &[])?;
        }
        for (address, password) in wanted.iter().filter(|(address, wanted)| self.signed.get(address) != Some(wanted)) {
            sign(&self.socket, *address, &password.0)?;
        }
        self.signed = wanted;
        Ok(())
    }
}

/// Connects to a peer as its configuration asks.
pub(super) async fn connect(
    peer: SocketAddr,
    local: Option<IpAddr>,
    config: Option<&PeerConfig>,
) -> io::Result<TcpStream> {
    let socket = if peer.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(local) = local {
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(local, 0))?;
    }
    if let Some(password) = config.and_then(|config| config.password.as_ref()) {
        sign(&socket, peer.ip(), &password.0)?;
    }
    if let Some(hops) = config.and_then(|config| config.ttl_security) {
        check_ttl(&socket2::SockRef::from(&socket), hops)?;
    }
    socket.connect(peer).await
}

/// Makes a connection that was accepted fit for its peer.
pub(super) fn accepted(stream: &TcpStream, config: Option<&PeerConfig>) -> io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    match config.and_then(|config| config.ttl_security) {
        Some(hops) => check_ttl(&socket, hops),
        None => socket.set_ttl_v4(NORMAL_TTL),
    }
}

/// Has the kernel probe a connection that is silent.
///
/// A peer whose machine lost its power and came back knows nothing of the connection and refuses the probe: the session
/// ends and is made again at once, where BGP alone would wait for its own next KEEPALIVE, 80 s at the usual hold time.
/// That the peer is away for a while ends nothing: this stays the hold timer's to judge.
pub(super) fn probe(stream: &TcpStream) -> io::Result<()> {
    let probes = TcpKeepalive::new().with_time(PROBE).with_interval(PROBE).with_retries(MOST_PROBES);
    socket2::SockRef::from(stream).set_tcp_keepalive(&probes)
}

/// Sends with the highest TTL, and has the kernel drop what comes from further than `hops` away.
fn check_ttl(socket: &Socket, hops: u8) -> io::Result<()> {
    socket.set_ttl_v4(HIGHEST_TTL)?;
    let least = libc::c_int::from(u8::MAX - hops.max(1) + 1);
    set(socket, libc::IPPROTO_IP, libc::IP_MINTTL, &least)
}

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
struct TcpMd5Sig {
    address: socket2::SockAddrStorage,
    flags: u8,
    prefix_length: u8,
    key_length: u16,
    interface: libc::c_int,
    key: [u8; 80],
}

/// Has segments from and to an address signed; without a key, no longer.
fn sign(socket: &impl AsRawFd, peer: IpAddr, key: &[u8]) -> io::Result<()> {
    let address = SockAddr::from(SocketAddr::new(peer, 0));
    let mut option = TcpMd5Sig {
        address: address.as_storage(),
        flags: 0,
        prefix_length: 0,
        key_length: key.len() as u16,
        interface: 0,
        key: [0; 80],
    };
    let Some(room) = option.key.get_mut(..key.len()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the TCP-MD5 key is longer than 80 octets"));
    };
    room.copy_from_slice(key);
    match set(socket, libc::IPPROTO_TCP, libc::TCP_MD5SIG, &option) {
        // there was no key to remove
        Err(error) if key.is_empty() && error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        done => done,
    }
}

fn set<T>(socket: &impl AsRawFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the descriptor is open while `socket` lives, and the kernel reads `length` octets of a `repr(C)` value
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length) };
    Errno::result(done).map(drop).map_err(io::Error::from)
}

/// The kernel's words for an error, without its number.
pub(super) fn words(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |number| Errno::from_raw(number).desc().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bgp::PeerKind;
    use model::Asn;

    const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// Whether a connection comes about between a listener with one password and a caller with another.
    async fn meets(here: Option<&str>, there: Option<&str>) -> bool {
        let password = |text: &str| Password(text.as_bytes().to_vec());
        let (mut listener, accepting) = Listener::bind(Ipv4Addr::LOCALHOST, 0).expect("a port");
        let wanted = here.map(|text| (LOCALHOST, password(text)));
        listener.sign([(LOCALHOST, password("an earlier one"))].into()).expect("keys are taken");
        listener.sign(wanted.into_iter().collect()).expect("keys are replaced");
        let peer = accepting.local_addr().expect("its address");
        let mut config = PeerConfig::new(Asn(1), PeerKind::Node);
        config.password = there.map(password);
        let connecting = connect(peer, Some(LOCALHOST), Some(&config));
        tokio::time::timeout(Duration::from_millis(300), connecting).await.is_ok_and(|connected| connected.is_ok())
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(test)
    }

    #[test]
    fn only_equal_passwords_meet() {
        for (here, there, expect) in [
            (None, None, true),
            (Some("one"), Some("one"), true),
            (Some("one"), Some("two"), false),
            (Some("one"), None, false),
            (None, Some("one"), false),
        ] {
            assert_eq!(run(meets(here, there)), expect, "{here:?} and {there:?}");
        }
    }

    #[test]
    fn ttl_is_checked_and_sent() {
        run(async {
            let (_listener, accepting) = Listener::bind(Ipv4Addr::LOCALHOST, 0).expect("a port");
            let mut config = PeerConfig::new(Asn(1), PeerKind::Node);
            config.ttl_security = Some(2);
            let peer = accepting.local_addr().expect("its address");
            let (ours, theirs) = tokio::join!(connect(peer, None, Some(&config)), accepting.accept());
            let (ours, (theirs, _)) = (ours.expect("a connection"), theirs.expect("a connection"));
            accepted(&theirs, None).expect("an option");
            assert_eq!((ours.ttl().expect("a TTL"), theirs.ttl().expect("a TTL")), (255, 64));
            let mut least: libc::c_int = 0;
            let mut length = size_of::<libc::c_int>() as libc::socklen_t;
            // SAFETY: the kernel writes at most `length` octets to `least`
            let got = unsafe {
                let value = std::ptr::from_mut(&mut least).cast();
                libc::getsockopt(ours.as_raw_fd(), libc::IPPROTO_IP, libc::IP_MINTTL, value, &mut length)
            };
            assert_eq!((got, least), (0, 254));
            // what the other side sends with a TTL of 64 does not arrive
            theirs.try_write(b"x").expect("it is sent");
            let heard = tokio::time::timeout(Duration::from_millis(200), ours.readable()).await;
            assert!(heard.is_err(), "a segment from too far away came in");
        });
    }

    #[test]
    fn errors_have_the_kernels_words() {
        assert_eq!(words(&io::Error::from_raw_os_error(libc::ECONNREFUSED)), "Connection refused");
        assert_eq!(words(&io::Error::from_raw_os_error(libc::EHOSTUNREACH)), "No route to host");
        assert_eq!(words(&io::Error::other("something else")), "something else");
    }
}
