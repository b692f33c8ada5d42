//! TLS: who the store is, whom it takes, and what happens when certificates change; with openssl's certificates and
//! etcd's own client.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use std::{
    error::Error,
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use common::{Server, block_on, free};
use store::{BindError, Config, Exposure, ServeError, TlsFiles};
use tempfile::{TempDir, tempdir};

/// A folder of certificates and keys: NAME.crt and NAME.key.
struct Files(TempDir);

impl Files {
    /// Two authorities, `ca` and `stranger`; the store's certificate, and a client's of each authority.
    fn new() -> Self {
        let files = Self(tempdir().unwrap());
        for authority in ["ca", "stranger"] {
            let subject = format!("-subj /CN={authority}");
            files.openssl(&format!("req -x509 {KEY} -keyout {authority}.key -out {authority}.crt -days 30 {subject}"));
        }
        files.sign("store", "ca");
        files.sign("client", "ca");
        files.sign("other", "stranger");
        files
    }

    /// A certificate for this host, and its key.
    fn sign(&self, name: &str, authority: &str) {
        let address = free();
        let (ip, _) = address.rsplit_once(':').unwrap();
        let names = format!("-addext subjectAltName=IP:{ip},DNS:localhost");
        self.openssl(&format!("req {KEY} -keyout {name}.key -out {name}.csr -subj /CN={name} {names}"));
        let by = format!("-CA {authority}.crt -CAkey {authority}.key -CAcreateserial -copy_extensions copy");
        self.openssl(&format!("x509 -req -in {name}.csr -out {name}.crt {by} -days 30"));
    }

    /// The authority's list of revoked certificates, with one on it.
    fn revoke(&self, name: &str) {
        let config = "[ca]\ndefault_ca = own\n[own]\ndatabase = index\ncrlnumber = number\ndefault_md = sha256\n";
        fs::write(self.path("ca.conf"), config).unwrap();
        fs::write(self.path("index"), "").unwrap();
        fs::write(self.path("number"), "01\n").unwrap();
        let ca = "ca -config ca.conf -cert ca.crt -keyfile ca.key";
        self.openssl(&format!("{ca} -revoke {name}.crt"));
        self.openssl(&format!("{ca} -gencrl -crldays 30 -out ca.crl"));
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl").current_dir(&self.0).args(arguments.split(' ')).output();
        let output = output.expect("this test runs openssl: install the package openssl");
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn tls(&self) -> TlsFiles {
        TlsFiles {
            certificate: self.path("store.crt"),
            key: self.path("store.key"),
            client_authority: None,
            revoked: None,
        }
    }

    /// Runs etcdctl, as a client of a name or without a certificate.
    fn etcdctl(&self, endpoint: &str, client: Option<&str>, arguments: &[&str]) -> Output {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--command-timeout", "2s", "--dial-timeout", "2s"]);
        command.args(["--endpoints", endpoint]).arg("--cacert").arg(self.path("ca.crt"));
        if let Some(client) = client {
            command.arg("--cert").arg(self.path(&format!("{client}.crt")));
            command.arg("--key").arg(self.path(&format!("{client}.key")));
        }
        command.args(arguments).output().expect("this test runs etcdctl: install the package etcd-client")
    }

    /// What etcdctl prints where it is served.
    fn put(&self, endpoint: &str, client: Option<&str>) -> String {
        let output = self.etcdctl(endpoint, client, &["put", "a", "1"]);
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }
}

const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

/// A store with an `https:` URL besides the unix socket.
fn start(directory: &TempDir, tls: TlsFiles) -> (Server, String) {
    let url = format!("https://{}", free());
    let server = Server::start_with(directory.path(), |config| {
        config.listen_client_urls.push(url.parse().unwrap());
        config.tls = Some(tls);
    });
    (server, url)
}

/// Starts a store that must fail, and returns the whole chain of its error.
fn refusal(config: Config) -> String {
    let ready = || panic!("the store must not start");
    let outcome: Result<(), ServeError> = block_on(store::serve(config, ready, std::future::pending()));
    let error = outcome.unwrap_err();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

#[test]
fn etcds_client_is_served_over_tls() {
    let (files, directory) = (Files::new(), tempdir().unwrap());
    let (_server, url) = start(&directory, files.tls());
    assert_eq!(files.put(&url, None), "OK\n");
    let get = files.etcdctl(&url, None, &["get", "a"]);
    assert_eq!(String::from_utf8_lossy(&get.stdout), "a\n1\n");
    let mut health = Command::new("curl");
    health.args(["--silent", "--http1.1", &format!("{url}/health"), "--cacert"]).arg(files.path("ca.crt"));
    let health = health.output().expect("this test runs curl: install the package curl");
    assert_eq!(String::from_utf8_lossy(&health.stdout), r#"{"health":"true"}"#);
    let clear = files.put(&url.replace("https", "http"), None);
    assert!(!clear.contains("OK"), "{clear}");
}

#[test]
fn clients_must_show_a_certificate_of_the_authority() {
    let (files, directory) = (Files::new(), tempdir().unwrap());
    let (_server, url) = start(&directory, TlsFiles { client_authority: Some(files.path("ca.crt")), ..files.tls() });
    assert_eq!(files.put(&url, Some("client")), "OK\n");
    for client in [None, Some("other")] {
        let answer = files.put(&url, client);
        assert!(!answer.contains("OK"), "{client:?}: {answer}");
    }
}

#[test]
fn a_revoked_certificate_is_refused() {
    let (files, directory) = (Files::new(), tempdir().unwrap());
    files.sign("former", "ca");
    files.revoke("former");
    let (client_authority, revoked) = (Some(files.path("ca.crt")), Some(files.path("ca.crl")));
    let (_server, url) = start(&directory, TlsFiles { client_authority, revoked, ..files.tls() });
    assert_eq!(files.put(&url, Some("client")), "OK\n");
    let answer = files.put(&url, Some("former"));
    assert!(!answer.contains("OK"), "{answer}");
    // and one that is revoked while the store runs
    files.revoke("client");
    let answer = files.put(&url, Some("client"));
    assert!(!answer.contains("OK"), "{answer}");
}

#[test]
fn a_renewed_certificate_counts_at_once_and_a_broken_one_does_not() {
    let (files, directory) = (Files::new(), tempdir().unwrap());
    let (_server, url) = start(&directory, files.tls());
    let serial = || {
        let address = url.strip_prefix("https://").unwrap();
        let script =
            format!("openssl s_client -connect {address} </dev/null 2>/dev/null | openssl x509 -noout -serial");
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let first = serial();
    assert!(first.starts_with("serial="), "{first}");
    // the key of another certificate: neither counts
    let key = fs::read(files.path("store.key")).unwrap();
    fs::copy(files.path("client.key"), files.path("store.key")).unwrap();
    assert_eq!(serial(), first);
    fs::remove_file(files.path("store.key")).unwrap();
    assert_eq!(serial(), first);
    fs::write(files.path("store.key"), key).unwrap();
    assert_eq!(serial(), first);
    files.sign("store", "ca");
    let second = serial();
    assert!(second.starts_with("serial=") && second != first, "{second} after {first}");
    assert_eq!(files.put(&url, None), "OK\n");
}

#[test]
fn what_is_wrong_with_files_is_told_at_the_start() {
    let (files, directory) = (Files::new(), tempdir().unwrap());
    files.openssl("pkcs8 -topk8 -in client.key -out locked.key -passout pass:secret");
    fs::write(files.path("text.crt"), "no certificate\n").unwrap();
    fs::write(files.path("broken.crt"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let url = format!("https://{}", free());
    let refused = |tls: Option<TlsFiles>| {
        let mut config = Config::new(directory.path().join("data"), vec![url.parse().unwrap()]);
        config.tls = tls;
        refusal(config)
    };
    let missing = refused(None);
    assert!(missing.contains(&url) && missing.contains("give --cert-file and --key-file"), "{missing}");
    for (certificate, key, authority, blamed, reason) in [
        ("absent.crt", "store.key", None, "absent.crt", "No such file or directory"),
        ("text.crt", "store.key", None, "text.crt", "holds no certificate"),
        ("broken.crt", "store.key", None, "broken.crt", ""),
        ("store.crt", "client.key", None, "client.key", "is not the key of the certificate in"),
        ("store.crt", "client.crt", None, "client.crt", "holds no private key"),
        ("store.crt", "locked.key", None, "locked.key", "is encrypted"),
        ("store.crt", "store.key", Some("text.crt"), "text.crt", "holds no certificate"),
    ] {
        let error = refused(Some(TlsFiles {
            certificate: files.path(certificate),
            key: files.path(key),
            client_authority: authority.map(|name| files.path(name)),
            revoked: None,
        }));
        assert!(error.contains(&files.path(blamed).display().to_string()) && error.contains(reason), "{error}");
    }
    assert!(!directory.path().join("data").exists(), "nothing is made");
}

#[test]
fn others_are_not_served_unasked_who_they_are() {
    let (files, directory) = (Files::new(), tempdir().unwrap());
    // an address of this host that others may reach; nothing is sent to it
    let address = free();
    let (_, port) = address.rsplit_once(':').unwrap();
    let url = format!("https://0.0.0.0:{port}");
    let mut config = Config::new(directory.path().join("data"), vec![url.parse().unwrap()]);
    config.tls = Some(files.tls());
    let outcome = block_on(store::serve(config.clone(), || panic!("it starts"), std::future::pending()));
    assert!(matches!(&outcome, Err(ServeError::Bind(BindError::Unasked { .. }))), "{outcome:?}");
    let authority = TlsFiles { client_authority: Some(files.path("ca.crt")), ..files.tls() };
    for (tls, any_client) in [(authority, false), (files.tls(), true)] {
        let exposure = Exposure { any_client, ..Exposure::default() };
        let config = Config { tls: Some(tls), exposure, ..config.clone() };
        block_on(store::serve(config, || {}, std::future::ready(()))).unwrap();
    }
}
