//! Where the datastore is: Calico's CalicoAPIConfig, from a file or the environment (control reference §2.1).
//!
//! Without any endpoint, in this order: a datastore type other than etcdv3 that is named is refused; the socket of a
//! `tortie store` on this host, if there is one; of type etcdv3, etcd's own address on this host, as Felix has it.

use crate::tls::{self, Pem};
use serde::Deserialize;
use std::fmt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Where `tortie store` listens unless it is told otherwise.
pub const STORE_ENDPOINT: &str = "unix:///run/tortie/store.sock";
/// Where etcd listens unless it is told otherwise (dataplane reference §6, EtcdAddr).
const ETCD_ENDPOINT: &str = "http://127.0.0.1:2379";

/// What went wrong reading the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a CalicoAPIConfig.
    #[error("syntax error in {path}: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A setting's value makes no sense.
    #[error("{setting}: {reason}")]
    Setting {
        /// Which.
        setting: String,
        /// Why.
        reason: String,
    },
}

/// Where the datastore is and how to authenticate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `http://`, `https://` or `unix:` endpoints.
    pub etcd_endpoints: Vec<String>,
    /// User name.
    pub etcd_username: Option<String>,
    /// Password.
    pub etcd_password: Option<Secret>,
    /// TLS material, PEM.
    pub tls: Option<TlsFiles>,
}

/// PEM texts for TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authority that signed the server's certificate.
    pub ca: Option<String>,
    /// Our certificate.
    pub certificate: Option<String>,
    /// Its key.
    pub key: Option<Secret>,
}

/// A text that nobody may read in a log; it is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: Option<serde_json::Value>,
    #[serde(default)]
    spec: Settings,
}

/// The settings by their names in the file; the environment's names are derived from [`SETTINGS`].
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Settings {
    datastore_type: String,
    etcd_endpoints: String,
    etcd_username: String,
    etcd_password: String,
    etcd_key_file: String,
    etcd_cert_file: String,
    #[serde(rename = "etcdCACertFile")]
    etcd_ca_cert_file: String,
    etcd_key: String,
    etcd_cert: String,
    #[serde(rename = "etcdCACert")]
    etcd_ca_cert: String,
    /// Settings of the Kubernetes datastore; refused until that client exists.
    kubeconfig: String,
}

type Field = fn(&mut Settings) -> &mut String;

const SETTINGS: [(&str, Field); 8] = [
    ("DATASTORE_TYPE", |s| &mut s.datastore_type),
    ("ETCD_ENDPOINTS", |s| &mut s.etcd_endpoints),
    ("ETCD_USERNAME", |s| &mut s.etcd_username),
    ("ETCD_PASSWORD", |s| &mut s.etcd_password),
    ("ETCD_KEY_FILE", |s| &mut s.etcd_key_file),
    ("ETCD_CERT_FILE", |s| &mut s.etcd_cert_file),
    ("ETCD_CA_CERT_FILE", |s| &mut s.etcd_ca_cert_file),
    ("KUBECONFIG", |s| &mut s.kubeconfig),
];

impl Config {
    /// Reads the file if it is there, else the environment; the two are never mixed.
    ///
    /// A variable counts as `CALICO_NAME` or plain `NAME`.
    pub fn load(path: Option<&Path>, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        match path {
            Some(path) if path.exists() => Config::from_file(path),
            _ => Config::from_env(env),
        }
    }

    /// Reads a CalicoAPIConfig file.
    pub fn from_file(path: &Path) -> Result<Config, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let syntax = |reason: String| ConfigError::Syntax { path: path.to_owned(), reason };
        let file: File = serde_saphyr::from_str(&text).map_err(|error| syntax(error.to_string()))?;
        if file.kind != "CalicoAPIConfig" || file.api_version != "projectcalico.org/v3" {
            return Err(syntax(format!(
                "expected kind CalicoAPIConfig of projectcalico.org/v3, found {} of {}",
                file.kind, file.api_version
            )));
        }
        file.spec.resolve(has_socket(STORE_ENDPOINT))
    }

    /// Reads the environment.
    pub fn from_env(env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        let mut settings = Settings::default();
        for (name, field) in SETTINGS {
            let value = env(&format!("CALICO_{name}")).or_else(|| env(name));
            *field(&mut settings) = value.unwrap_or_default();
        }
        settings.resolve(has_socket(STORE_ENDPOINT))
    }
}

/// Tells whether there is a socket at a `unix://` endpoint.
fn has_socket(endpoint: &str) -> bool {
    let path = endpoint.trim_start_matches("unix://");
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

impl Settings {
    /// `store` says whether a `tortie store` on this host has its socket at the usual place.
    fn resolve(self, store: bool) -> Result<Config, ConfigError> {
        let setting = |setting: &str, reason: String| ConfigError::Setting { setting: setting.to_owned(), reason };
        let mut endpoints: Vec<String> =
            self.etcd_endpoints.split(',').map(str::trim).filter(|e| !e.is_empty()).map(str::to_owned).collect();
        match (self.datastore_type.as_str(), self.etcd_endpoints.is_empty()) {
            ("etcdv3" | "", true) if store => endpoints.push(STORE_ENDPOINT.to_owned()),
            ("etcdv3", true) => endpoints.push(ETCD_ENDPOINT.to_owned()),
            ("etcdv3" | "", false) => {}
            ("kubernetes", _) | ("", true) => {
                return Err(setting(
                    "datastoreType",
                    "kubernetes is not supported yet; set it to etcdv3, and etcdEndpoints (ETCD_ENDPOINTS)".to_owned(),
                ));
            }
            (other, _) => {
                return Err(setting("datastoreType", format!("{other:?} is neither etcdv3 nor kubernetes")));
            }
        }
        if endpoints.is_empty() {
            return Err(setting("etcdEndpoints", "at least one endpoint is needed (ETCD_ENDPOINTS)".to_owned()));
        }
        let known = |endpoint: &&String| ["http://", "https://", "unix:"].iter().any(|it| endpoint.starts_with(it));
        if let Some(endpoint) = endpoints.iter().find(|endpoint| !known(endpoint)) {
            return Err(setting("etcdEndpoints", format!("{endpoint:?} is not http://, https:// or unix:")));
        }
        let tls = self.tls()?;
        let given = |text: String| (!text.is_empty()).then_some(text);
        Ok(Config {
            etcd_endpoints: endpoints,
            etcd_username: given(self.etcd_username),
            etcd_password: given(self.etcd_password).map(Secret),
            tls: (tls != TlsFiles::default()).then_some(tls),
        })
    }

    /// Reads and checks what TLS needs, which is given as files or inline, but not as both.
    fn tls(&self) -> Result<TlsFiles, ConfigError> {
        let files = [
            ("etcdCACertFile", &self.etcd_ca_cert_file),
            ("etcdCertFile", &self.etcd_cert_file),
            ("etcdKeyFile", &self.etcd_key_file),
        ];
        let inline = [("etcdCACert", &self.etcd_ca_cert), ("etcdCert", &self.etcd_cert), ("etcdKey", &self.etcd_key)];
        let given = |(_, value): &(&str, &String)| !value.is_empty();
        if let (Some((file, _)), Some((text, _))) =
            (files.iter().find(|it| given(it)), inline.iter().find(|it| given(it)))
        {
            let reason = format!("given beside {file}: certificates and key are all files, or all inline");
            return Err(ConfigError::Setting { setting: (*text).to_owned(), reason });
        }
        let read = |place: usize| -> Result<Option<Pem>, ConfigError> {
            let (file, inline) = (files[place], inline[place]);
            Ok(match (given(&file), given(&inline)) {
                (true, _) => Some(Pem::read(file.0, file.1)?),
                (_, true) => Some(Pem::inline(inline.0, inline.1)),
                (false, false) => None,
            })
        };
        let (ca, certificate, key) = (read(0)?, read(1)?, read(2)?);
        if let Some(alone) = certificate.as_ref().xor(key.as_ref()) {
            return Err(alone.error("certificate and key must be given together"));
        }
        if let Some(authority) = &ca {
            tls::check_authority(authority)?;
        }
        if let (Some(certificate), Some(key)) = (&certificate, &key) {
            tls::check_identity(certificate, key)?;
        }
        let text = |pem: Option<Pem>| pem.map(|pem| pem.text);
        Ok(TlsFiles { ca: text(ca), certificate: text(certificate), key: text(key).map(Secret) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let config = env(&[
            ("ETCD_ENDPOINTS", "http://a:1"),
            ("ETCD_USERNAME", "root"),
            ("ETCD_PASSWORD", "a very secret word"),
        ])
        .expect("a configuration");
        assert_eq!(config.etcd_password, Some(Secret("a very secret word".to_owned())));
        let tls = TlsFiles { key: Some(Secret("a very secret key".to_owned())), ..TlsFiles::default() };
        let shown = format!("{:?}", Config { tls: Some(tls), ..config });
        assert!(shown.contains("root") && !shown.contains("very secret"), "{shown}");
    }

    fn env(pairs: &[(&str, &str)]) -> Result<Config, String> {
        let find = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Config::from_env(&find).map_err(|error| error.to_string())
    }

    #[test]
    fn the_environment_names_the_datastore() {
        let two = Config { etcd_endpoints: vec!["http://a:1".into(), "http://b:2".into()], ..Config::default() };
        assert_eq!(env(&[("ETCD_ENDPOINTS", "http://a:1, http://b:2")]), Ok(two.clone()));
        assert_eq!(
            env(&[("CALICO_ETCD_ENDPOINTS", "http://a:1,http://b:2"), ("ETCD_ENDPOINTS", "http://x:1")]),
            Ok(two)
        );
        let error = env(&[]).expect_err("nothing is set");
        assert!(error.starts_with("datastoreType: kubernetes is not supported yet"), "{error}");
        let mixed = Config { etcd_endpoints: vec!["unix:/a".into(), "https://b:2".into()], ..Config::default() };
        assert_eq!(env(&[("ETCD_ENDPOINTS", "unix:/a,https://b:2")]), Ok(mixed));
        let error = env(&[("ETCD_ENDPOINTS", "http://a:1,b:2")]).expect_err("a scheme is missing");
        assert_eq!(error, "etcdEndpoints: \"b:2\" is not http://, https:// or unix:");
    }

    #[test]
    fn without_an_endpoint_the_store_of_this_host_is_asked_then_etcds_own_address() {
        let found = |datastore_type: &str, etcd_endpoints: &str, store: bool| {
            let (datastore_type, etcd_endpoints) = (datastore_type.to_owned(), etcd_endpoints.to_owned());
            let settings = Settings { datastore_type, etcd_endpoints, ..Settings::default() };
            settings.resolve(store).map(|config| config.etcd_endpoints.join(",")).map_err(|error| error.to_string())
        };
        let ok = |endpoint: &str| Ok(endpoint.to_owned());
        for kind in ["", "etcdv3"] {
            assert_eq!(found(kind, "http://a:1", true), ok("http://a:1"), "what is configured comes first");
            assert_eq!(found(kind, "", true), ok("unix:///run/tortie/store.sock"));
            assert!(found(kind, " , ", true).expect_err("a list of nothing").contains("at least one endpoint"));
        }
        assert_eq!(found("etcdv3", "", false), ok("http://127.0.0.1:2379"));
        for (kind, endpoints, store) in [("", "", false), ("kubernetes", "", true), ("kubernetes", "http://a:1", true)]
        {
            let error = found(kind, endpoints, store).expect_err("Kubernetes");
            assert!(error.starts_with("datastoreType: kubernetes is not supported yet"), "{error}");
        }
        assert!(found("etcdv2", "", true).expect_err("no such type").contains("neither etcdv3 nor kubernetes"));

        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("store.sock");
        let endpoint = format!("unix://{}", path.display());
        assert!(!has_socket(&endpoint));
        std::fs::write(&path, "").expect("write");
        assert!(!has_socket(&endpoint), "a file is no socket");
        std::fs::remove_file(&path).expect("remove");
        let _socket = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
        assert!(has_socket(&endpoint));
    }

    #[test]
    fn a_file_is_strict() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("calicoctl.cfg");
        let head = "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n";
        std::fs::write(&path, format!("{head}  datastoreType: etcdv3\n  etcdEndpoints: unix:///x\n")).expect("write");
        assert_eq!(Config::from_file(&path).expect("a configuration").etcd_endpoints, ["unix:///x"]);
        std::fs::write(&path, format!("{head}  etcdEndpoint: unix:///x\n")).expect("write");
        let error = Config::from_file(&path).expect_err("a misspelt setting").to_string();
        assert!(error.starts_with("syntax error in ") && error.contains("etcdEndpoint"), "{error}");
    }
}
