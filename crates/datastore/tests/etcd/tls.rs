//! TLS: what is wrong with files is told before anybody connects, what is wrong with the other end by the endpoint.

use crate::process::{Etcd, free};
use datastore::config::{Config, Secret};
use datastore::{Scope, Store};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

const POOLS: Scope = Scope::Kind(api::resource::Kind::IPPool);

/// Has a program believe that it is another time.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// When a certificate of thirty days was signed.
#[derive(Clone, Copy, PartialEq)]
enum Age {
    New,
    Expired,
}

/// Certificates, keys and what is neither, in a folder of their own.
struct Files(tempfile::TempDir);

impl Files {
    /// An authority `ca`, a client's `client` and somebody's `other`, each NAME.crt and NAME.key.
    fn new() -> Files {
        let files = Files(tempfile::tempdir().expect("a temporary folder"));
        files.openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 30 -subj /CN=authority");
        for name in ["client", "other"] {
            files.signed(name, "DNS:localhost", Age::New);
        }
        files
    }

    /// A certificate of the authority, with an elliptic key.
    fn signed(&self, name: &str, names: &str, age: Age) {
        let subject = format!("-subj /CN={name} -addext subjectAltName={names}");
        let key = format!("-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key");
        self.openssl(&format!("req {key} -out {name}.csr {subject}"));
        let authority = "-CA ca.crt -CAkey ca.key -CAcreateserial -copy_extensions copy";
        self.openssl_at(age, &format!("x509 -req -in {name}.csr -out {name}.crt {authority} -days 30"));
    }

    fn openssl(&self, arguments: &str) {
        self.openssl_at(Age::New, arguments);
    }

    fn openssl_at(&self, age: Age, arguments: &str) {
        let mut command = Command::new("openssl");
        if age == Age::Expired {
            assert!(Path::new(FAKETIME).exists(), "{FAKETIME} is missing (Debian package libfaketime)");
            command.env("LD_PRELOAD", FAKETIME).env("FAKETIME", "-60d");
        }
        let output = command.current_dir(&self.0).args(arguments.split(' ')).output();
        let output = output.expect("openssl runs (Debian package openssl)");
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).expect("written");
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("text")
    }

    /// A configuration that names files; an empty name is not given.
    fn config(&self, endpoint: &str, ca: &str, certificate: &str, key: &str) -> Result<Config, String> {
        let file = |name: &str| (!name.is_empty()).then(|| self.name(name));
        let env = |name: &str| match name {
            "ETCD_ENDPOINTS" => Some(endpoint.to_owned()),
            "ETCD_CA_CERT_FILE" => file(ca),
            "ETCD_CERT_FILE" => file(certificate),
            "ETCD_KEY_FILE" => file(key),
            _ => None,
        };
        Config::from_env(&env).map_err(|error| error.to_string())
    }

    /// A member with a certificate for its own address, or else for `names`; `arguments` come last.
    fn member(&self, names: Option<&str>, age: Age, arguments: &[&str]) -> Etcd {
        let (peer, address) = (free(), free());
        let ip = address.split_once(':').map(|(ip, _)| format!("IP:{ip}")).expect("a port");
        self.signed(&address, names.unwrap_or(&ip), age);
        let [certificate, key] = ["crt", "key"].map(|end| self.name(&format!("{address}.{end}")));
        let arguments = [&["--cert-file", &certificate, "--key-file", &key], arguments].concat();
        let cluster = format!("default=http://{peer}");
        Etcd::member("default", &peer, &cluster, &format!("https://{address}"), &arguments)
    }
}

async fn store(config: Result<Config, String>) -> Arc<dyn Store> {
    datastore::connect(&config.expect("a configuration")).await.expect("a client")
}

#[test]
fn what_is_wrong_with_files() {
    let files = Files::new();
    files.openssl("genrsa -out rsa.key 2048");
    files.openssl("rsa -in rsa.key -traditional -aes128 -passout pass:secret -out old.key");
    files.openssl("pkcs8 -topk8 -in rsa.key -passout pass:secret -out new.key");
    files.openssl("ec -in client.key -pubout -out public.key");
    files.openssl("x509 -in client.crt -outform DER -out client.der");
    files.write("empty.pem", "");
    files.write("text.pem", "not a certificate\n");
    files.write("cut.pem", &files.read("client.crt")[..200]);
    files.write("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    files.write("nokey.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let nothing = "nothing in it is PEM (-----BEGIN …-----)";
    for (ca, certificate, key, setting, file, reason) in [
        ("ca.crt", "client.key", "client.key", "etcdCertFile", "client.key", "holds a private key, not a certificate"),
        ("ca.crt", "client.crt", "client.crt", "etcdKeyFile", "client.crt", "holds a certificate, not a private key"),
        ("", "client.key", "client.crt", "etcdCertFile", "client.key", "holds a private key, not a certificate"),
        ("", "client.crt", "public.key", "etcdKeyFile", "public.key", "holds a public key, not a private key"),
        (
            "",
            "client.csr",
            "client.key",
            "etcdCertFile",
            "client.csr",
            "holds a certificate request, not a certificate",
        ),
        (
            "ca.crt",
            "client.crt",
            "other.key",
            "etcdKeyFile",
            "other.key",
            "is not the key of the certificate in DIR/client.crt",
        ),
        ("", "client.crt", "rsa.key", "etcdKeyFile", "rsa.key", "is not the key of the certificate in DIR/client.crt"),
        (
            "ca.crt",
            "client.crt",
            "old.key",
            "etcdKeyFile",
            "old.key",
            "the private key is encrypted: one without a passphrase is needed",
        ),
        (
            "",
            "client.crt",
            "new.key",
            "etcdKeyFile",
            "new.key",
            "the private key is encrypted: one without a passphrase is needed",
        ),
        ("empty.pem", "", "", "etcdCACertFile", "empty.pem", "is empty"),
        ("", "empty.pem", "client.key", "etcdCertFile", "empty.pem", "is empty"),
        ("", "client.crt", "empty.pem", "etcdKeyFile", "empty.pem", "is empty"),
        ("text.pem", "", "", "etcdCACertFile", "text.pem", &format!("holds no certificate: {nothing}")),
        ("", "client.crt", "text.pem", "etcdKeyFile", "text.pem", &format!("holds no private key: {nothing}")),
        ("client.key", "", "", "etcdCACertFile", "client.key", "holds a private key, not a certificate"),
        ("", "client.der", "client.key", "etcdCertFile", "client.der", "is binary, where PEM text is needed"),
        ("", "client.crt", "", "etcdCertFile", "client.crt", "certificate and key must be given together"),
        ("", "", "client.key", "etcdKeyFile", "client.key", "certificate and key must be given together"),
    ] {
        let error = files.config("https://127.0.0.1:1", ca, certificate, key).expect_err(reason);
        let reason = reason.replace("DIR", &files.0.path().display().to_string());
        assert_eq!(error, format!("could not initialize etcdv3 client: {setting}: {}: {reason}", files.name(file)));
    }
    for (ca, certificate, key, reason) in [
        ("missing.pem", "", "", "open DIR/missing.pem: no such file or directory"),
        ("missing.pem", "absent.crt", "absent.key", "open DIR/absent.crt: no such file or directory"),
        ("missing.pem", "client.crt", "absent.key", "open DIR/absent.key: no such file or directory"),
        (".", "", "", "read DIR/.: is a directory"),
    ] {
        let error = files.config("https://127.0.0.1:1", ca, certificate, key).expect_err(reason);
        let reason = reason.replace("DIR", &files.0.path().display().to_string());
        assert_eq!(error, format!("could not initialize etcdv3 client: {reason}"));
    }
    for (ca, certificate, key, start) in [
        ("broken.pem", "", "", "etcdCACertFile: DIR/broken.pem: holds no usable certificate: "),
        ("cut.pem", "", "", "etcdCACertFile: DIR/cut.pem: is not PEM: "),
        ("", "broken.pem", "client.key", "etcdCertFile: DIR/broken.pem: the certificate cannot be used: "),
        ("", "client.crt", "nokey.pem", "etcdKeyFile: DIR/nokey.pem: the private key cannot be used: "),
    ] {
        let error = files.config("https://127.0.0.1:1", ca, certificate, key).expect_err(start);
        let start = start.replace("DIR", &files.0.path().display().to_string());
        assert!(error.starts_with(&format!("could not initialize etcdv3 client: {start}")), "{error}");
    }
    // what other programs put beside the material does no harm
    let with_text = format!("subject=/CN=client\n{}{}", files.read("client.crt"), files.read("ca.crt"));
    files.write("chain.pem", with_text);
    files.openssl("ecparam -name prime256v1 -genkey -out with-parameters.key");
    files.write("both.pem", [files.read("client.key"), files.read("client.crt")].concat());
    for (ca, certificate, key) in [("chain.pem", "chain.pem", "client.key"), ("both.pem", "both.pem", "both.pem")] {
        files.config("https://127.0.0.1:1", ca, certificate, key).expect("all is well");
    }
    let error = files.config("https://127.0.0.1:1", "", "client.crt", "with-parameters.key").expect_err("another's");
    assert!(error.contains("with-parameters.key: is not the key of the certificate in "), "{error}");
}

#[test]
fn what_is_wrong_inline() {
    let files = Files::new();
    let with = |settings: &[(&str, &str)]| {
        let mut text =
            "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n  etcdEndpoints: https://h:1\n"
                .to_owned();
        for (name, value) in settings {
            let value: String = value.lines().map(|line| format!("    {line}\n")).collect();
            text += &format!("  {name}: |\n{value}");
        }
        files.write("calicoctl.cfg", text);
        Config::from_file(&files.path("calicoctl.cfg")).map_err(|error| error.to_string())
    };
    let [ca, certificate, key, other] =
        ["ca.crt", "client.crt", "client.key", "other.key"].map(|name| files.read(name));
    let tls = with(&[("etcdCACert", &ca), ("etcdCert", &certificate), ("etcdKey", &key)]).expect("all is well").tls;
    assert_eq!(tls.and_then(|tls| tls.key), Some(Secret(key.clone())));
    for (settings, expect) in [
        (
            vec![("etcdCert", &certificate), ("etcdKey", &other)],
            "etcdKey: is not the key of the certificate in etcdCert",
        ),
        (vec![("etcdCert", &key), ("etcdKey", &certificate)], "etcdCert: holds a private key, not a certificate"),
        (
            vec![("etcdCert", &certificate), ("etcdKey", &certificate)],
            "etcdKey: holds a certificate, not a private key",
        ),
        (vec![("etcdCACert", &key)], "etcdCACert: holds a private key, not a certificate"),
        (vec![("etcdKey", &key)], "etcdKey: certificate and key must be given together"),
        (
            vec![("etcdCACertFile", &files.name("ca.crt")), ("etcdCert", &certificate), ("etcdKey", &key)],
            "Cannot mix inline certificate-key and certificate / key files",
        ),
    ] {
        let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.trim_end())).collect();
        let error = with(&settings).expect_err(expect);
        assert_eq!(error.trim_start_matches("could not initialize etcdv3 client: "), expect);
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_other_end() {
    let files = Files::new();
    files.openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca2.key -out ca2.crt -days 30 -subj /CN=another");
    let ca = files.name("ca.crt");
    let plain = Etcd::start();
    let server = files.member(None, Age::New, &[]);
    let elsewhere = files.member(Some("DNS:etcd.example"), Age::New, &[]);
    let expired = files.member(None, Age::Expired, &[]);
    let strict = files.member(None, Age::New, &["--client-cert-auth", "--trusted-ca-file", &ca]);
    let to_tls = server.endpoint.replace("https:", "http:");
    let to_plain = plain.endpoint.replace("http:", "https:");
    for (endpoint, authority, reason) in [
        (&server.endpoint, "ca2.crt", "invalid peer certificate: UnknownIssuer"),
        (&elsewhere.endpoint, "ca.crt", "invalid peer certificate: certificate not valid for name \"127."),
        (&expired.endpoint, "ca.crt", "invalid peer certificate: certificate expired: "),
        (&strict.endpoint, "ca.crt", "; the server may want a client certificate (etcdCertFile, etcdKeyFile)"),
        (&to_plain, "ca.crt", "; the server may not speak TLS (http://)"),
        (&to_tls, "ca.crt", ""),
    ] {
        for endpoints in [endpoint.clone(), format!("{endpoint},{endpoint}")] {
            let config = files.config(&endpoints, authority, "", "");
            let error = store(config).await.list(&POOLS).await.expect_err(reason).to_string();
            assert!(error.starts_with(&format!("etcd at {endpoint}: ")) && error.contains(reason), "{error}");
        }
    }
    store(files.config(&server.endpoint, "ca.crt", "", "")).await.list(&POOLS).await.expect("a list");
    let config = files.config(&strict.endpoint, "ca.crt", "client.crt", "client.key");
    store(config).await.list(&POOLS).await.expect("a list");
    files.openssl("req -x509 -newkey rsa:2048 -nodes -keyout self.key -out self.crt -days 30 -subj /CN=nobody");
    let config = files.config(&strict.endpoint, "ca.crt", "self.crt", "self.key");
    let error = store(config).await.list(&POOLS).await.expect_err("nobody's").to_string();
    assert!(error.ends_with("; the server may not accept the client certificate (etcdCertFile)"), "{error}");
    // one usable endpoint among them is enough
    let all = [&expired.endpoint, &to_plain, &elsewhere.endpoint, &server.endpoint, &to_tls].map(String::as_str);
    store(files.config(&all.join(","), "ca.crt", "", "")).await.list(&POOLS).await.expect("a list");
}

/// Where a test runs itself in a process of its own: the endpoint to read from.
const ENDPOINT: &str = "DATASTORE_TEST_ENDPOINT";

/// Without an authority of one's own, the system's count; here SSL_CERT_FILE stands for them.
#[test]
fn without_an_authority_the_systems_are_trusted() {
    let reads = |endpoint: &str| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let etcd_endpoints = vec![endpoint.to_owned()];
            let store = datastore::connect(&Config { etcd_endpoints, ..Config::default() }).await?;
            store.list(&POOLS).await.map(|_| ())
        })
    };
    if let Ok(endpoint) = std::env::var(ENDPOINT) {
        return reads(&endpoint).expect("a list");
    }
    let files = Files::new();
    let server = files.member(None, Age::New, &[]);
    let own = std::env::current_exe().expect("a path");
    let run = |authorities: &Path| {
        let name = "tls::without_an_authority_the_systems_are_trusted";
        let mut run = Command::new(&own);
        run.args([name, "--exact"]).env(ENDPOINT, &server.endpoint).env_remove("SSL_CERT_DIR");
        let output = run.env("SSL_CERT_FILE", authorities).env("RUST_BACKTRACE", "0").output().expect("it runs");
        (output.status.success(), String::from_utf8(output.stdout).expect("UTF-8"))
    };
    let (trusted, error) = run(&files.path("ca.crt"));
    assert!(trusted, "{error}");
    let (trusted, error) = run(&files.path("other.crt"));
    assert!(!trusted && error.contains("invalid peer certificate: UnknownIssuer"), "{error}");
    let (trusted, error) = run(&files.path("none.crt"));
    assert!(!trusted && error.contains("no native certs found: etcdCACertFile may name an authority"), "{error}");
}
