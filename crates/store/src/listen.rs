//! Where the store listens: TCP addresses and unix sockets, in etcd's URL form.
//!
//! There is no TLS yet and there are no users, so what guards the data is who can reach the socket: a unix socket's mode
//! (module `unix`), or that an address is this host's own. Any other is refused unless it is asked for in so many words.

mod unix;

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use tokio::net::{TcpListener, UnixListener, lookup_host};

use unix::SocketFile;

/// One URL of `--listen-client-urls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenUrl {
    /// `http://HOST:PORT`; of a name, the first address is taken, IPv4 before IPv6.
    Tcp(String),
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
        if let Some(address) = url.strip_prefix("http://") {
            let address = address.strip_suffix('/').unwrap_or(address);
            let (host, port) = address.rsplit_once(':').ok_or_else(|| fail("a port is missing"))?;
            if host.is_empty() {
                return Err(fail("a host is missing"));
            }
            port.parse::<u16>().map_err(|_| fail("the port must be a number up to 65535"))?;
            return Ok(Self::Tcp(address.to_owned()));
        }
        if url.starts_with("https://") {
            return Err(fail("TLS is not supported, use http:// or unix:"));
        }
        let path = url.strip_prefix("unix:").ok_or_else(|| fail("must start with http:// or unix:"))?;
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
            Self::Unix(path) if path.is_absolute() => write!(formatter, "unix://{}", path.display()),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// Which TCP addresses may be listened on without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cleartext {
    /// This host's own alone.
    #[default]
    Loopback,
    /// Any: whoever reaches the address reads and changes everything, and who listens on the way learns it.
    Network,
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
    /// Somebody answers on the unix socket, or is about to.
    #[error("listen on {0}: another process is listening there")]
    InUse(ListenUrl),
    /// The path is taken by something that is not a socket.
    #[error("listen on {0}: the path exists and is not a socket")]
    NotASocket(ListenUrl),
}

/// A URL whose host has been looked up.
#[derive(Debug)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A bound socket.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

impl ListenUrl {
    /// Looks the host up; refuses what others than this host would reach in clear text, unless that is wanted.
    pub(crate) async fn place(&self, cleartext: Cleartext) -> Result<Place, BindError> {
        let address = match self {
            Self::Unix(path) => return Ok(Place::Unix(path.clone())),
            Self::Tcp(address) => address,
        };
        let fail = |source| BindError::Listen { url: self.clone(), source };
        let found = lookup_host(address).await.map_err(fail)?.min_by_key(SocketAddr::is_ipv6);
        let found = found.ok_or_else(|| fail(io::Error::other("the name has no address")))?;
        if !found.ip().to_canonical().is_loopback() {
            match cleartext {
                Cleartext::Loopback => return Err(BindError::Exposed { url: self.clone(), address: found.ip() }),
                Cleartext::Network => tracing::warn!(
                    url = %self,
                    "everybody who reaches this address reads and changes all data, and it travels in clear text"
                ),
            }
        }
        Ok(Place::Tcp(found))
    }

    /// Listens where [`ListenUrl::place`] led.
    pub(crate) async fn bind(&self, place: &Place) -> Result<Listener, BindError> {
        let fail = |source| BindError::Listen { url: self.clone(), source };
        match place {
            Place::Tcp(address) => TcpListener::bind(address).await.map(Listener::Tcp).map_err(fail),
            Place::Unix(path) => match unix::bind(path).await {
                Ok((listener, file)) => Ok(Listener::Unix(listener, file)),
                Err(unix::Refused::InUse) => Err(BindError::InUse(self.clone())),
                Err(unix::Refused::NotASocket) => Err(BindError::NotASocket(self.clone())),
                Err(unix::Refused::System(source)) => Err(fail(source)),
            },
        }
    }
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
            let place = url.parse::<ListenUrl>().unwrap().place(Cleartext::Loopback).await;
            assert!(matches!(place, Ok(Place::Tcp(_))), "{url}: {place:?}");
        }
        let open = ["http://0.0.0.0:2379", "http://192.0.2.1:2379", "http://[::]:2379", "http://[2001:db8::1]:2379"];
        for url in open.into_iter().chain(["http://[::ffff:192.0.2.1]:7", "http://169.254.1.1:7", "http://10.0.0.1:0"])
        {
            let parsed = url.parse::<ListenUrl>().unwrap();
            let refused = parsed.place(Cleartext::Loopback).await.unwrap_err().to_string();
            assert!(refused.starts_with(&format!("listen on {url}: ")), "{refused}");
            assert!(refused.contains("is not loopback") && refused.contains("--insecure-cleartext-on-network"));
            assert!(parsed.place(Cleartext::Network).await.is_ok(), "{url}");
        }
    }

    #[test]
    fn a_wrong_url_says_what_is_wrong() {
        let cases = [
            ("https://127.0.0.1:2379", "TLS is not supported"),
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
