//! TLS for `https:` URLs: the store's own certificate, and whose certificates a client may show.
//!
//! The files are looked at for each connection and read again when one has changed, so that a renewed certificate needs
//! no restart; while what is there cannot be used, the last that could stays, and the log says so.

use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes under way at once; further connections wait in the system's queue.
const HANDSHAKES: usize = 256;
/// Pause after the system could not hand a connection over, as when there are too many open files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// HTTP/2 for gRPC, HTTP/1.1 for who reads metrics.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The PEM files of `https:` URLs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The store's certificate, and the intermediate ones after it. `--cert-file`.
    pub certificate: PathBuf,
    /// Its key. `--key-file`.
    pub key: PathBuf,
    /// Authorities one of which must have signed a client's certificate; without, no client is asked for one.
    /// `--trusted-ca-file`.
    pub client_authority: Option<PathBuf>,
    /// The authorities' lists of revoked certificates. `--client-crl-file`.
    pub revoked: Option<PathBuf>,
}

/// TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate is given.
    #[error("https: needs a certificate and its key: give --cert-file and --key-file")]
    Missing,
    /// A file cannot be read.
    #[error("read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// A file does not hold what it should.
    #[error("{}: {reason}", file.display())]
    Content {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The files, and what they held last.
pub(crate) struct Tls {
    files: TlsFiles,
    loaded: Mutex<Loaded>,
}

struct Loaded {
    config: Arc<ServerConfig>,
    /// The state of the files when they were last read.
    seen: Vec<Option<Stamp>>,
}

/// What changes when a file is written or replaced: device, inode, length and time of change.
type Stamp = (u64, u64, u64, i64, i64);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

impl Tls {
    /// Reads the files.
    pub(crate) fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let seen = files.stamps();
        let config = files.read()?;
        Ok(Self { files, loaded: Mutex::new(Loaded { config, seen }) })
    }

    /// Whether clients must show a certificate.
    pub(crate) fn asks_clients(&self) -> bool {
        self.files.client_authority.is_some()
    }

    /// What the files hold now, or the last that could be used.
    fn current(&self) -> Arc<ServerConfig> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = self.files.stamps();
        if stamps != loaded.seen {
            loaded.seen = stamps;
            match self.files.read() {
                Ok(config) => {
                    loaded.config = config;
                    tracing::info!(certificate = %self.files.certificate.display(), "the certificates are read again");
                }
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the certificates have changed and cannot be used, those before stay"
                ),
            }
        }
        loaded.config.clone()
    }
}

impl TlsFiles {
    fn stamps(&self) -> Vec<Option<Stamp>> {
        let files = [Some(&self.certificate), Some(&self.key), self.client_authority.as_ref(), self.revoked.as_ref()];
        let stamp = |found: fs::Metadata| (found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec());
        files.into_iter().flatten().map(|file| fs::metadata(file).ok().map(stamp)).collect()
    }

    fn read(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| content(&self.certificate, error.to_string()))?;
        let builder = match &self.client_authority {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut authorities = RootCertStore::empty();
                for certificate in certificates(file)? {
                    authorities.add(certificate).map_err(|error| content(file, error.to_string()))?;
                }
                let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider);
                if let Some(revoked) = &self.revoked {
                    verifier = verifier.with_crls(revocations(revoked)?).only_check_end_entity_revocation();
                }
                let blamed = self.revoked.as_ref().unwrap_or(file);
                let verifier = verifier.build().map_err(|error| content(blamed, error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = builder.with_single_cert(certificates(&self.certificate)?, private_key(&self.key)?);
        let mut config = config.map_err(|error| {
            if matches!(error, rustls::Error::InconsistentKeys(_)) {
                let certificate = self.certificate.display();
                return content(&self.key, format!("is not the key of the certificate in {certificate}"));
            }
            content(&self.certificate, error.to_string())
        })?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Arc::new(config))
    }
}

fn content(file: &Path, reason: impl Into<String>) -> TlsError {
    TlsError::Content { file: file.to_owned(), reason: reason.into() }
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(file).map_err(|source| TlsError::Read(file.to_owned(), source))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    sections(file, "certificate (-----BEGIN CERTIFICATE-----)")
}

fn revocations(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    sections(file, "list of revoked certificates (-----BEGIN X509 CRL-----)")
}

/// The sections of a kind in a PEM file; at least one.
fn sections<T: PemObject>(file: &Path, what: &str) -> Result<Vec<T>, TlsError> {
    let found: Result<Vec<T>, _> = T::pem_slice_iter(&read(file)?).collect();
    match found {
        Ok(found) if found.is_empty() => Err(content(file, format!("holds no {what}"))),
        found => found.map_err(|error| content(file, format!("is not PEM: {error}"))),
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = read(file)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        let text = String::from_utf8_lossy(&bytes);
        let encrypted = text.contains("ENCRYPTED");
        content(
            file,
            if encrypted {
                "the private key is encrypted: one without a passphrase is needed"
            } else {
                "holds no private key (-----BEGIN PRIVATE KEY-----)"
            },
        )
    })
}

/// Accepts connections, each when its handshake is done; ends when nobody takes them any more.
pub(crate) fn connections(listener: TcpListener, tls: Arc<Tls>) -> ReceiverStream<io::Result<TlsStream<TcpStream>>> {
    let (accepted, connections) = mpsc::channel(1);
    tokio::spawn(async move {
        tokio::select! {
            () = accept(&listener, &tls, &accepted) => {}
            () = accepted.closed() => {}
        }
    });
    ReceiverStream::new(connections)
}

async fn accept(listener: &TcpListener, tls: &Arc<Tls>, accepted: &mpsc::Sender<io::Result<TlsStream<TcpStream>>>) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(permit) = handshakes.clone().acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!(%error, "accept a connection");
                sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let (acceptor, accepted) = (TlsAcceptor::from(tls.current()), accepted.clone());
        tokio::spawn(async move {
            // slower without, and no more than that
            let _ = stream.set_nodelay(true);
            let done = timeout(HANDSHAKE, acceptor.accept(stream)).await;
            drop(permit);
            match done {
                // an error means that the server stops
                Ok(Ok(stream)) => drop(accepted.send(Ok(stream)).await),
                Ok(Err(error)) => tracing::warn!(%peer, %error, "a connection is refused"),
                Err(_) => tracing::warn!(%peer, "a connection is refused: no handshake within {HANDSHAKE:?}"),
            }
        });
    }
}
