//! Where the store listens: TCP addresses and unix sockets, in etcd's URL form.
//!
//! There are no users, so what guards the data is who can reach the socket: a unix socket's mode (module `unix`), that an
//! address is this host's own, or that a client must show a certificate (module `tls`). Any other is refused unless it is
//! asked for in so many words.

pub(crate) mod tls;
mod unix;

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    sync::Arc,
};

use tokio::net::{TcpListener, UnixListener, lookup_host};

use tls::{Tls, TlsError};
use unix::SocketFile;

/// One URL of `--listen-client-urls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenUrl {
    /// `http://HOST:PORT`; of a name, the first address is taken, IPv4 before IPv6.
    Tcp(String),
    /// `https://HOST:PORT`.
    Tls(String),
    /// `unix:///PATH` or `unix:PATH`.
    Unix(PathBuf),
}

/// A listen URL the store does not understand.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("listen URL {url:?}: {reason}")]
pub struct ListenUrlError {
    url: String,
    reason: &'static str,
}

impl FromStr for ListenUrl {
    type Err = ListenUrlError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let fail = |reason| ListenUrlError { url: url.to_owned(), reason };
        for (scheme, kind) in [("http://", Self::Tcp as fn(String) -> Self), ("https://", Self::Tls)] {
            let Some(address) = url.strip_prefix(scheme) else { continue };
            let address = address.strip_suffix('/').unwrap_or(address);
            let (host, port) = address.rsplit_once(':').ok_or_else(|| fail("a port is missing"))?;
            if host.is_empty() {
                return Err(fail("a host is missing"));
            }
            port.parse::<u16>().map_err(|_| fail("the port must be a number up to 65535"))?;
            return Ok(kind(address.to_owned()));
        }
        let path = url.strip_prefix("unix:").ok_or_else(|| fail("must start with http://, https:// or unix:"))?;
        let path = match path.strip_prefix("//") {
            Some(path) if !path.starts_with('/') => return Err(fail("the path after unix:// must be absolute")),
            Some(path) => path,
            None => path,
        };
        if path.is_empty() { Err(fail("a path is missing")) } else { Ok(Self::Unix(path.into())) }
    }
}

impl fmt::Display for ListenUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(formatter, "http://{address}"),
            Self::Tls(address) => write!(formatter, "https://{address}"),
            Self::Unix(path) if path.is_absolute() => write!(formatter, "unix://{}", path.display()),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// What addresses that others than this host reach may be listened on for; none unless it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exposure {
    /// `http:`: whoever reaches the address reads and changes everything, and who listens on the way learns it.
    pub cleartext: bool,
    /// `https:` without an authority for clients: whoever reaches the address reads and changes everything.
    pub any_client: bool,
}

/// A socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The system refuses.
    #[error("listen on {url}")]
    Listen {
        /// The URL.
        url: ListenUrl,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Others than this host's processes would reach a TCP address, unencrypted and unasked who they are.
    #[error(
        "listen on {url}: {address} is not loopback, and without TLS everybody who reaches it reads and changes all \
         data: listen on a unix: socket or on loopback, or accept this with --insecure-cleartext-on-network"
    )]
    Exposed {
        /// The URL.
        url: ListenUrl,
        /// What its host stands for.
        address: IpAddr,
    },
    /// Others than this host's processes would reach a TCP address, unasked who they are.
    #[error(
        "listen on {url}: {address} is not loopback, and without an authority for clients everybody who reaches it reads \
         and changes all data: give --trusted-ca-file, or accept this with --insecure-any-client-on-network"
    )]
    Unasked {
        /// The URL.
        url: ListenUrl,
        /// What its host stands for.
        address: IpAddr,
    },
    /// There is no certificate for an `https:` URL, or what there is cannot be used.
    #[error("listen on {url}")]
    Tls {
        /// The URL.
        url: ListenUrl,
        /// What is wrong.
        #[source]
        source: TlsError,
    },
    /// Somebody answers on the unix socket, or is about to.
    #[error("listen on {0}: another process is listening there")]
    InUse(ListenUrl),
    /// The path is taken by something that is not a socket.
    #[error("listen on {0}: the path exists and is not a socket")]
    NotASocket(ListenUrl),
}

/// A URL whose host has been looked up, and whose certificate has been read.
#[derive(Debug)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    Tls(SocketAddr, Arc<Tls>),
    Unix(PathBuf),
}

/// A bound socket.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Tls(TcpListener, Arc<Tls>),
    Unix(UnixListener, SocketFile),
}

impl ListenUrl {
    /// Looks the host up; refuses what others than this host would reach in clear text or unasked, unless that is wanted.
    pub(crate) async fn place(&self, tls: Option<&Arc<Tls>>, exposure: Exposure) -> Result<Place, BindError> {
        let url = || self.clone();
        match self {
            Self::Unix(path) => Ok(Place::Unix(path.clone())),
            Self::Tcp(address) => {
                let found = self.address(address).await?;
                if !is_own(found) {
                    if !exposure.cleartext {
                        return Err(BindError::Exposed { url: url(), address: found.ip() });
                    }
                    tracing::warn!(
                        url = %self,
                        "everybody who reaches this address reads and changes all data, and it travels in clear text"
                    );
                }
                Ok(Place::Tcp(found))
            }
            Self::Tls(address) => {
                let tls = tls.ok_or_else(|| BindError::Tls { url: url(), source: TlsError::Missing })?;
                let found = self.address(address).await?;
                if !is_own(found) && !tls.asks_clients() {
                    if !exposure.any_client {
                        return Err(BindError::Unasked { url: url(), address: found.ip() });
                    }
                    tracing::warn!(url = %self, "everybody who reaches this address reads and changes all data");
                }
                Ok(Place::Tls(found, tls.clone()))
            }
        }
    }

    /// Looks up where to listen for what tells nothing of the data; any address will do.
    pub(crate) async fn harmless_place(&self, tls: Option<&Arc<Tls>>) -> Result<Place, BindError> {
        self.place(tls, Exposure { cleartext: true, any_client: true }).await
    }

    async fn address(&self, address: &str) -> Result<SocketAddr, BindError> {
        let fail = |source| BindError::Listen { url: self.clone(), source };
        let found = lookup_host(address).await.map_err(fail)?.min_by_key(SocketAddr::is_ipv6);
        found.ok_or_else(|| fail(io::Error::other("the name has no address")))
    }

    /// Listens where [`ListenUrl::place`] led.
    pub(crate) async fn bind(&self, place: &Place) -> Result<Listener, BindError> {
        let fail = |source| BindError::Listen { url: self.clone(), source };
        match place {
            Place::Tcp(address) => TcpListener::bind(address).await.map(Listener::Tcp).map_err(fail),
            Place::Tls(address, tls) => {
                let listener = TcpListener::bind(address).await.map_err(fail)?;
                Ok(Listener::Tls(listener, tls.clone()))
            }
            Place::Unix(path) => match unix::bind(path).await {
                Ok((listener, file)) => Ok(Listener::Unix(listener, file)),
                Err(unix::Refused::InUse) => Err(BindError::InUse(self.clone())),
                Err(unix::Refused::NotASocket) => Err(BindError::NotASocket(self.clone())),
                Err(unix::Refused::System(source)) => Err(fail(source)),
            },
        }
    }
}

/// Whether an address is reached from this host alone.
fn is_own(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_written() {
        let tcp = |address: &str| ListenUrl::Tcp(address.to_owned());
        let unix = |path: &str| ListenUrl::Unix(path.into());
        let cases = [
            ("http://127.0.0.1:2379", tcp("127.0.0.1:2379"), "http://127.0.0.1:2379"),
            ("http://[::1]:2379/", tcp("[::1]:2379"), "http://[::1]:2379"),
            ("http://localhost:0", tcp("localhost:0"), "http://localhost:0"),
            ("https://[::1]:2379/", ListenUrl::Tls("[::1]:2379".to_owned()), "https://[::1]:2379"),
            ("unix:///run/store.sock", unix("/run/store.sock"), "unix:///run/store.sock"),
            ("unix:/run/store.sock", unix("/run/store.sock"), "unix:///run/store.sock"),
            ("unix:store.sock", unix("store.sock"), "unix:store.sock"),
        ];
        for (url, expect, shown) in cases {
            assert_eq!(url.parse(), Ok(expect.clone()));
            assert_eq!(expect.to_string(), shown);
        }
    }

    #[tokio::test]
    async fn what_others_could_reach_is_refused() {
        let own = ["http://127.0.0.1:2379", "http://127.8.0.1:1", "http://[::1]:2379", "http://[::ffff:127.0.0.1]:7"];
        for url in own {
            let place = url.parse::<ListenUrl>().unwrap().place(None, Exposure::default()).await;
            assert!(matches!(place, Ok(Place::Tcp(_))), "{url}: {place:?}");
        }
        let open = ["http://0.0.0.0:2379", "http://192.0.2.1:2379", "http://[::]:2379", "http://[2001:db8::1]:2379"];
        for url in open.into_iter().chain(["http://[::ffff:192.0.2.1]:7", "http://169.254.1.1:7", "http://10.0.0.1:0"])
        {
            let parsed = url.parse::<ListenUrl>().unwrap();
            let refused = parsed.place(None, Exposure::default()).await.unwrap_err().to_string();
            assert!(refused.starts_with(&format!("listen on {url}: ")), "{refused}");
            assert!(refused.contains("is not loopback") && refused.contains("--insecure-cleartext-on-network"));
            assert!(parsed.place(None, Exposure { cleartext: true, any_client: false }).await.is_ok(), "{url}");
        }
    }

    #[test]
    fn a_wrong_url_says_what_is_wrong() {
        let cases = [
            ("https://127.0.0.1", "port is missing"),
            ("unixs:///run/store.sock", "must start with"),
            ("http://127.0.0.1", "port is missing"),
            ("http://127.0.0.1:etcd", "must be a number"),
            ("http://:2379", "host is missing"),
            ("127.0.0.1:2379", "must start with"),
            ("unix:", "path is missing"),
            ("unix://store.sock", "must be absolute"),
        ];
        for (url, expect) in cases {
            let message = url.parse::<ListenUrl>().unwrap_err().to_string();
            assert!(message.contains(url) && message.contains(expect), "{message}");
        }
    }
}
