//! What certificates and keys must be before anybody connects with them, so that a mistake is told with the file's name.
//!
//! What only the other end can find wrong (expired, unknown, another host's) is left to the connection.

use crate::config::{ConfigError, unreadable};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};

/// PEM text, and where it is from.
pub(crate) struct Pem {
    setting: &'static str,
    file: Option<String>,
    pub(crate) text: String,
}

impl Pem {
    /// The content of a file that a setting names.
    pub(crate) fn read(setting: &'static str, file: &str) -> Result<Pem, ConfigError> {
        let mut pem = Pem { setting, file: Some(file.to_owned()), text: String::new() };
        let bytes = std::fs::read(file).map_err(|error| ConfigError::Tls(unreadable(file, &error)))?;
        pem.text = String::from_utf8(bytes).map_err(|_| pem.error("is binary, where PEM text is needed"))?;
        Ok(pem)
    }

    /// The value of a setting.
    pub(crate) fn inline(setting: &'static str, text: &str) -> Pem {
        Pem { setting, file: None, text: text.to_owned() }
    }

    /// What is wrong with it.
    pub(crate) fn error(&self, reason: &str) -> ConfigError {
        let file = self.file.as_ref().map(|file| format!("{file}: ")).unwrap_or_default();
        ConfigError::Tls(format!("{}: {file}{reason}", self.setting))
    }

    /// How another one's error names it.
    fn name(&self) -> &str {
        self.file.as_deref().unwrap_or(self.setting)
    }

    /// The labels of its sections, as in `-----BEGIN CERTIFICATE-----`.
    fn labels(&self) -> Vec<&str> {
        self.text.lines().filter_map(|line| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----")).collect()
    }

    /// An error that says what it holds in the place of what is needed.
    fn holds_no(&self, needed: &str) -> ConfigError {
        let labels = self.labels();
        if self.text.trim().is_empty() {
            return self.error("is empty");
        }
        let Some(first) = labels.first() else {
            return self.error(&format!("holds no {needed}: nothing in it is PEM (-----BEGIN …-----)"));
        };
        let found = if first.ends_with("PRIVATE KEY") { "private key".to_owned() } else { first.to_lowercase() };
        self.error(&format!("holds a {found}, not a {needed}"))
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.text.as_bytes()).collect();
        match found {
            Ok(none) if none.is_empty() => Err(self.holds_no("certificate")),
            Ok(found) => Ok(found),
            Err(error) => Err(self.error(&format!("is not PEM: {error}"))),
        }
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, ConfigError> {
        let labels = self.labels();
        let keys = || labels.iter().filter(|label| label.ends_with("PRIVATE KEY"));
        if keys().next().is_none() {
            return Err(self.holds_no("private key"));
        }
        // PKCS #8 has a label for it, older forms a header
        let encrypted = keys().all(|label| *label == "ENCRYPTED PRIVATE KEY");
        if encrypted || self.text.lines().any(|line| line.starts_with("Proc-Type:") && line.contains("ENCRYPTED")) {
            return Err(self.error("the private key is encrypted: one without a passphrase is needed"));
        }
        let key = PrivateKeyDer::from_pem_slice(self.text.as_bytes());
        key.map_err(|error| self.error(&format!("the private key is not PEM: {error}")))
    }
}

/// Checks that there is an authority to trust.
pub(crate) fn check_authority(authority: &Pem) -> Result<(), ConfigError> {
    let mut usable = RootCertStore::empty();
    let mut refused = None;
    for certificate in authority.certificates()? {
        refused = usable.add(certificate).err().or(refused);
    }
    match refused {
        Some(error) if usable.is_empty() => Err(authority.error(&format!("holds no usable certificate: {error}"))),
        _ => Ok(()),
    }
}

/// Checks that a key is that of a certificate, the first one in its text.
pub(crate) fn check_identity(certificate: &Pem, key: &Pem) -> Result<(), ConfigError> {
    let chain = certificate.certificates()?;
    let provider = rustls::crypto::ring::default_provider();
    let private = provider.key_provider.load_private_key(key.private_key()?);
    let private = private.map_err(|error| key.error(&format!("the private key cannot be used: {error}")))?;
    match CertifiedKey::new(chain, private).keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(key.error(&format!("is not the key of the certificate in {}", certificate.name())))
        }
        Err(error) => Err(certificate.error(&format!("the certificate cannot be used: {error}"))),
    }
}
