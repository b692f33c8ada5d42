//! Where the store listens: TCP addresses and unix sockets, in etcd's URL form.

use std::{
    fmt, fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    str::FromStr,
};

use tokio::net::{TcpListener, UnixListener, UnixStream, lookup_host};

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
    /// Somebody answers on the unix socket.
    #[error("listen on {0}: another process is listening there")]
    InUse(ListenUrl),
    /// The path is taken by something that is not a socket.
    #[error("listen on {0}: the path exists and is not a socket")]
    NotASocket(ListenUrl),
}

/// A bound socket.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// A unix socket's file, removed when dropped.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // the next start replaces a file that stays behind
        let _ = fs::remove_file(&self.0);
    }
}

impl ListenUrl {
    pub(crate) async fn bind(&self) -> Result<Listener, BindError> {
        match self {
            Self::Tcp(address) => {
                bind_tcp(address).await.map_err(|source| BindError::Listen { url: self.clone(), source })
            }
            Self::Unix(path) => self.bind_unix(path).await,
        }
    }

    /// Binds beside the path and renames into place: the socket has its mode before anybody can see it, and a stale one
    /// is replaced without a gap.
    async fn bind_unix(&self, path: &Path) -> Result<Listener, BindError> {
        let fail = |source| BindError::Listen { url: self.clone(), source };
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => return Err(BindError::NotASocket(self.clone())),
            Ok(_) if UnixStream::connect(path).await.is_ok() => return Err(BindError::InUse(self.clone())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent).map_err(fail)?;
                }
            }
            Err(error) => return Err(fail(error)),
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}", std::process::id()));
        let beside = PathBuf::from(beside);
        let listener = UnixListener::bind(&beside).map_err(fail)?;
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))
            .and_then(|()| fs::rename(&beside, path))
            .map_err(|error| {
                // the first error is the one to report
                let _ = fs::remove_file(&beside);
                fail(error)
            })?;
        Ok(Listener::Unix(listener, SocketFile(path.to_path_buf())))
    }
}

async fn bind_tcp(address: &str) -> io::Result<Listener> {
    let address = lookup_host(address).await?.min_by_key(SocketAddr::is_ipv6);
    let address = address.ok_or_else(|| io::Error::other("the name has no address"))?;
    Ok(Listener::Tcp(TcpListener::bind(address).await?))
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
