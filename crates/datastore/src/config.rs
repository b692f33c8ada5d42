//! Where the datastore is: Calico's CalicoAPIConfig, from a file or the environment (control reference §2.1).
//!
//! Without any endpoint, in this order: a datastore type other than etcdv3 that is named is refused; the socket of a
//! `tortie store` on this host, if there is one; of type etcdv3, etcd's own address on this host, as Felix has it.

mod file;

use crate::tls::{self, Pem};
use std::fmt;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Where `tortie store` listens unless it is told otherwise.
pub const STORE_ENDPOINT: &str = "unix:///run/tortie/store.sock";
/// Where etcd listens unless it is told otherwise (dataplane reference §6, EtcdAddr).
const ETCD_ENDPOINT: &str = "http://127.0.0.1:2379";

/// What went wrong reading the configuration, in Calico's words where it has some.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read: what was tried on which, and why not.
    #[error("{0}")]
    Read(String),
    /// The file is not a CalicoAPIConfig.
    #[error("syntax error in {path}: {reason}")]
    Syntax {
        /// The file, as it was named.
        path: String,
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
    /// There is no such datastore type.
    #[error("unknown datastore type: {0}")]
    Type(String),
    /// Nothing says where a datastore is.
    #[error(
        "invalid configuration: no configuration has been provided, try setting KUBERNETES_MASTER environment variable"
    )]
    Nothing,
    /// There is no endpoint in the list of them.
    #[error("no etcd endpoints specified")]
    NoEndpoint,
    /// Endpoints are given, and a domain that knows them.
    #[error("multiple discovery or bootstrap options specified, use either \"etcdEndpoints\" or \"etcdDiscoverySrv\"")]
    EndpointsTwice,
    /// Certificates and key are given as files and inline.
    #[error("Cannot mix inline certificate-key and certificate / key files")]
    Mixed,
    /// What is wrong with a certificate or key.
    #[error("could not initialize etcdv3 client: {0}")]
    Tls(String),
}

/// Where the datastore is and how to authenticate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `http://`, `https://` or `unix:` endpoints.
    pub etcd_endpoints: Vec<String>,
    /// The domain whose SRV records name the endpoints, in their place.
    pub etcd_discovery_srv: Option<String>,
    /// User name; without a password it is not used.
    pub etcd_username: Option<String>,
    /// Password; without a user name it is not used.
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

/// Where the client's certificate, key and authority are, as files; each if it is given so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// The authority that signed the server's certificate.
    pub ca: Option<String>,
    /// Our certificate.
    pub certificate: Option<String>,
    /// Its key.
    pub key: Option<String>,
}

impl ClientFiles {
    /// Reads what [`Config::load`] reads.
    pub fn load(path: Option<&Path>, env: &dyn Fn(&str) -> Option<String>) -> Result<ClientFiles, ConfigError> {
        let settings = Settings::load(path, env)?;
        let given = |text: String| (!text.is_empty()).then_some(text);
        Ok(ClientFiles {
            ca: given(settings.etcd_ca_cert_file),
            certificate: given(settings.etcd_cert_file),
            key: given(settings.etcd_key_file),
        })
    }
}

/// A text that nobody may read in a log; it is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The settings that count, each empty where it is not given.
#[derive(Clone, Default)]
#[cfg_attr(test, derive(PartialEq))]
struct Settings {
    datastore_type: String,
    etcd_endpoints: String,
    etcd_discovery_srv: String,
    etcd_username: String,
    etcd_password: String,
    etcd_key_file: String,
    etcd_cert_file: String,
    etcd_ca_cert_file: String,
    etcd_key: String,
    etcd_cert: String,
    etcd_ca_cert: String,
    kubeconfig: String,
    k8s_api_endpoint: String,
}

/// Where a setting is kept.
type Field = fn(&mut Settings) -> &mut String;

/// Each setting's name in the file and its variable; a setting that may be secret has none.
const SETTINGS: [(&str, &str, Field); 13] = [
    ("datastoreType", "DATASTORE_TYPE", |s| &mut s.datastore_type),
    ("etcdEndpoints", "ETCD_ENDPOINTS", |s| &mut s.etcd_endpoints),
    ("etcdDiscoverySrv", "ETCD_DISCOVERY_SRV", |s| &mut s.etcd_discovery_srv),
    ("etcdUsername", "ETCD_USERNAME", |s| &mut s.etcd_username),
    ("etcdPassword", "ETCD_PASSWORD", |s| &mut s.etcd_password),
    ("etcdKeyFile", "ETCD_KEY_FILE", |s| &mut s.etcd_key_file),
    ("etcdCertFile", "ETCD_CERT_FILE", |s| &mut s.etcd_cert_file),
    ("etcdCACertFile", "ETCD_CA_CERT_FILE", |s| &mut s.etcd_ca_cert_file),
    ("etcdKey", "", |s| &mut s.etcd_key),
    ("etcdCert", "", |s| &mut s.etcd_cert),
    ("etcdCACert", "", |s| &mut s.etcd_ca_cert),
    ("kubeconfig", "KUBECONFIG", |s| &mut s.kubeconfig),
    ("k8sAPIEndpoint", "K8S_API_ENDPOINT", |s| &mut s.k8s_api_endpoint),
];

impl Config {
    /// Reads the file if it is there, else the environment; the two are never mixed.
    ///
    /// A variable counts as `CALICO_NAME` or plain `NAME`.
    pub fn load(path: Option<&Path>, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        Settings::load(path, env)?.resolve(Host::look())
    }

    /// Reads a CalicoAPIConfig file, YAML or JSON.
    pub fn from_file(path: &Path) -> Result<Config, ConfigError> {
        Settings::of_file(path)?.resolve(Host::look())
    }

    /// Reads the environment.
    pub fn from_env(env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        Settings::of_env(env).resolve(Host::look())
    }
}

impl Settings {
    fn load(path: Option<&Path>, env: &dyn Fn(&str) -> Option<String>) -> Result<Settings, ConfigError> {
        match path {
            Some(path) if path.exists() => Settings::of_file(path),
            _ => Ok(Settings::of_env(env)),
        }
    }

    fn of_file(path: &Path) -> Result<Settings, ConfigError> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| ConfigError::Read(unreadable(&name, &error)))?;
        file::settings(&bytes).map_err(|reason| ConfigError::Syntax { path: name, reason })
    }

    fn of_env(env: &dyn Fn(&str) -> Option<String>) -> Settings {
        let mut settings = Settings::default();
        for (_, name, field) in SETTINGS.into_iter().filter(|(_, name, _)| !name.is_empty()) {
            let value = env(&format!("CALICO_{name}")).or_else(|| env(name));
            *field(&mut settings) = value.unwrap_or_default();
        }
        settings
    }
}

/// Why a file cannot be read, as Go's programs say it.
pub fn unreadable(file: &str, error: &std::io::Error) -> String {
    let text = error.to_string().to_lowercase();
    let reason = text.split(" (os error").next().unwrap_or_default();
    let verb = if error.kind() == std::io::ErrorKind::IsADirectory { "read" } else { "open" };
    format!("{verb} {file}: {reason}")
}

/// What of this host tells where a datastore may be.
#[derive(Clone, Copy, Default)]
struct Host {
    /// A `tortie store` has its socket at the usual place.
    store: bool,
    /// There is a kubeconfig at the usual place, or this is a pod.
    kubernetes: bool,
}

impl Host {
    fn look() -> Host {
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
        let kubeconfig = home.is_some_and(|home| Path::new(&home).join(".kube/config").exists());
        let kubernetes = kubeconfig || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
        Host { store: has_socket(STORE_ENDPOINT), kubernetes }
    }
}

/// Tells whether there is a socket at a `unix://` endpoint.
fn has_socket(endpoint: &str) -> bool {
    let path = endpoint.trim_start_matches("unix://");
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

impl Settings {
    fn resolve(self, host: Host) -> Result<Config, ConfigError> {
        let setting = |setting: &str, reason: String| ConfigError::Setting { setting: setting.to_owned(), reason };
        let listed = self.etcd_endpoints.split(',').map(str::trim).filter(|endpoint| !endpoint.is_empty());
        let mut endpoints: Vec<String> = listed.map(str::to_owned).collect();
        let discovered = !self.etcd_discovery_srv.is_empty();
        match (self.datastore_type.as_str(), self.etcd_endpoints.is_empty()) {
            ("etcdv3" | "", false) if discovered => return Err(ConfigError::EndpointsTwice),
            ("etcdv3" | "", false) => {}
            ("etcdv3", true) if discovered => {}
            ("etcdv3" | "", true) if host.store && !discovered => endpoints.push(STORE_ENDPOINT.to_owned()),
            ("etcdv3", true) => endpoints.push(ETCD_ENDPOINT.to_owned()),
            ("", true) if self.names_nothing() && !host.kubernetes => return Err(ConfigError::Nothing),
            ("kubernetes", _) | ("", true) => {
                return Err(setting(
                    "datastoreType",
                    "kubernetes is not supported yet; set it to etcdv3, and etcdEndpoints (ETCD_ENDPOINTS)".to_owned(),
                ));
            }
            (other, _) => return Err(ConfigError::Type(other.to_owned())),
        }
        if endpoints.is_empty() && !discovered {
            return Err(ConfigError::NoEndpoint);
        }
        let known = |endpoint: &&String| ["http://", "https://", "unix:"].iter().any(|it| endpoint.starts_with(it));
        if let Some(endpoint) = endpoints.iter().find(|endpoint| !known(endpoint)) {
            return Err(setting("etcdEndpoints", format!("{endpoint:?} is not http://, https:// or unix:")));
        }
        let tls = self.tls()?;
        let given = |text: String| (!text.is_empty()).then_some(text);
        Ok(Config {
            etcd_endpoints: endpoints,
            etcd_discovery_srv: given(self.etcd_discovery_srv),
            etcd_username: given(self.etcd_username),
            etcd_password: given(self.etcd_password).map(Secret),
            tls: (tls != TlsFiles::default()).then_some(tls),
        })
    }

    /// Whether no setting leads to any datastore.
    fn names_nothing(&self) -> bool {
        [&self.etcd_discovery_srv, &self.kubeconfig, &self.k8s_api_endpoint].iter().all(|setting| setting.is_empty())
    }

    /// Reads and checks what TLS needs, which is given as files or inline, but not as both.
    fn tls(&self) -> Result<TlsFiles, ConfigError> {
        let files = [
            ("etcdCertFile", &self.etcd_cert_file),
            ("etcdKeyFile", &self.etcd_key_file),
            ("etcdCACertFile", &self.etcd_ca_cert_file),
        ];
        let inline = [("etcdCert", &self.etcd_cert), ("etcdKey", &self.etcd_key), ("etcdCACert", &self.etcd_ca_cert)];
        let given = |(_, value): &(&str, &String)| !value.is_empty();
        if files.iter().any(given) && inline.iter().any(given) {
            return Err(ConfigError::Mixed);
        }
        let read = |place: usize| -> Result<Option<Pem>, ConfigError> {
            let (file, inline) = (files[place], inline[place]);
            Ok(match (given(&file), given(&inline)) {
                (true, _) => Some(Pem::read(file.0, file.1)?),
                (_, true) => Some(Pem::inline(inline.0, inline.1)),
                (false, false) => None,
            })
        };
        let (certificate, key, ca) = (read(0)?, read(1)?, read(2)?);
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
        let user = env(&[("ETCD_ENDPOINTS", "http://a:1"), ("ETCD_USERNAME", "u"), ("CALICO_ETCD_PASSWORD", "p")]);
        let user = user.expect("a configuration");
        assert_eq!(user.etcd_username.as_deref(), Some("u"));
        assert_eq!(user.etcd_password, Some(Secret("p".to_owned())));
        let error = env(&[("ETCD_ENDPOINTS", "http://a:1"), ("ETCD_KEY", "k"), ("CALICO_ETCD_CERT", "c")]);
        assert_eq!(error.map(|config| config.tls), Ok(None), "what may be secret has no variable");
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
            let config = settings.resolve(Host { store, kubernetes: true });
            config.map(|config| config.etcd_endpoints.join(",")).map_err(|error| error.to_string())
        };
        let ok = |endpoint: &str| Ok(endpoint.to_owned());
        for kind in ["", "etcdv3"] {
            assert_eq!(found(kind, "http://a:1", true), ok("http://a:1"), "what is configured comes first");
            assert_eq!(found(kind, "", true), ok("unix:///run/tortie/store.sock"));
            assert_eq!(found(kind, " , ", true), Err("no etcd endpoints specified".to_owned()));
        }
        assert_eq!(found("etcdv3", "", false), ok("http://127.0.0.1:2379"));
        for (kind, endpoints, store) in [("", "", false), ("kubernetes", "", true), ("kubernetes", "http://a:1", true)]
        {
            let error = found(kind, endpoints, store).expect_err("Kubernetes");
            assert!(error.starts_with("datastoreType: kubernetes is not supported yet"), "{error}");
        }
        assert_eq!(found("etcdv2", "", true), Err("unknown datastore type: etcdv2".to_owned()));

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
    fn a_host_without_any_datastore() {
        let words = "invalid configuration: no configuration has been provided, try setting KUBERNETES_MASTER \
                     environment variable";
        let nothing = Settings::default().resolve(Host::default()).expect_err("nothing is set");
        assert_eq!(nothing.to_string(), words);
        for named in ["/kubeconfig", "https://api:6443"] {
            let mut settings = Settings::default();
            *(if named.starts_with('/') { &mut settings.kubeconfig } else { &mut settings.k8s_api_endpoint }) =
                named.to_owned();
            let error = settings.resolve(Host::default()).expect_err("Kubernetes").to_string();
            assert!(error.starts_with("datastoreType: kubernetes is not supported yet"), "{error}");
        }
    }

    #[test]
    fn a_domain_stands_in_the_place_of_endpoints() {
        let srv = |datastore_type: &str, etcd_endpoints: &str| {
            let (datastore_type, etcd_endpoints) = (datastore_type.to_owned(), etcd_endpoints.to_owned());
            let etcd_discovery_srv = "example.org".to_owned();
            let settings = Settings { datastore_type, etcd_endpoints, etcd_discovery_srv, ..Settings::default() };
            settings.resolve(Host { store: true, kubernetes: false }).map_err(|error| error.to_string())
        };
        let config = Config { etcd_discovery_srv: Some("example.org".to_owned()), ..Config::default() };
        assert_eq!(srv("etcdv3", ""), Ok(config));
        let twice =
            r#"multiple discovery or bootstrap options specified, use either "etcdEndpoints" or "etcdDiscoverySrv""#;
        for kind in ["etcdv3", ""] {
            assert_eq!(srv(kind, "http://a:1"), Err(twice.to_owned()));
        }
        // without endpoints the type is not taken to be etcdv3
        let error = srv("", "").expect_err("Kubernetes");
        assert!(error.starts_with("datastoreType: kubernetes is not supported yet; set it to etcdv3"), "{error}");
    }

    #[test]
    fn a_file_stands_in_the_place_of_the_environment() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("calicoctl.cfg");
        let name = path.display().to_string();
        let env = |name: &str| (name == "ETCD_USERNAME" || name == "ETCD_ENDPOINTS").then(|| "http://env:1".to_owned());
        let load = || Config::load(Some(&path), &env).map_err(|error| error.to_string());
        let of_env = load().expect("a file that is not there is passed over");
        assert_eq!(of_env.etcd_endpoints, ["http://env:1"]);
        let head = "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n";
        std::fs::write(&path, format!("{head}  datastoreType: etcdv3\n  etcdEndpoints: unix:///x\n")).expect("write");
        let of_file = load().expect("a configuration");
        assert_eq!((of_file.etcd_endpoints, of_file.etcd_username), (vec!["unix:///x".to_owned()], None));
        std::fs::write(&path, "foo: bar\n").expect("write");
        let reason = r#"error unmarshaling JSON: while decoding JSON: json: unknown field "foo""#;
        assert_eq!(load(), Err(format!("syntax error in {name}: failed to parse config as YAML/JSON: {reason}")));
        std::fs::remove_file(&path).expect("remove");
        std::fs::create_dir(&path).expect("a folder");
        assert_eq!(load(), Err(format!("read {name}: is a directory")));
    }
}
