//! A user and a password: used only together, and asked for anew when a token does not hold any more.

use crate::process::{Etcd, free};
use crate::{etcdctl, pool};
use datastore::config::{Config, Secret};
use datastore::{Change, Scope, Store};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

const POOLS: Scope = Scope::Kind(api::resource::Kind::IPPool);

/// A member that knows `root` and `calico`, who may read and write Calico's keys, with tokens that hold a second.
fn member(folder: &tempfile::TempDir) -> Etcd {
    let file = |name: &str| folder.path().join(name).display().to_string();
    for arguments in [
        &["genrsa", "-out", &file("private"), "2048"][..],
        &["rsa", "-in", &file("private"), "-pubout", "-out", &file("public")],
    ] {
        let output = Command::new("openssl").args(arguments).output().expect("openssl runs (Debian package openssl)");
        assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let tokens = format!("jwt,pub-key={},priv-key={},sign-method=RS256,ttl=1s", file("public"), file("private"));
    let peer = free();
    let endpoint = format!("http://{}", free());
    let etcd = Etcd::member("default", &peer, &format!("default=http://{peer}"), &endpoint, &["--auth-token", &tokens]);
    for arguments in [
        &["user", "add", "root:secret"][..],
        &["user", "grant-role", "root", "root"],
        &["user", "add", "calico:password"],
        &["role", "add", "calico"],
        &["role", "grant-permission", "calico", "--prefix=true", "readwrite", "/calico/"],
        &["user", "grant-role", "calico", "calico"],
        &["auth", "enable"],
    ] {
        etcdctl(&endpoint, arguments);
    }
    etcd
}

async fn client(endpoint: &str, user: Option<&str>, password: Option<&str>) -> Arc<dyn Store> {
    let config = Config {
        etcd_endpoints: vec![endpoint.to_owned()],
        etcd_username: user.map(str::to_owned),
        etcd_password: password.map(|password| Secret(password.to_owned())),
        ..Config::default()
    };
    datastore::connect(&config).await.expect("a client")
}

#[tokio::test]
async fn both_or_none() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let etcd = member(&folder);
    for (user, password, expect) in [
        (None, None, "etcdserver: user name is empty"),
        (Some("calico"), None, "etcdserver: user name is empty"),
        (None, Some("password"), "etcdserver: user name is empty"),
        (Some("calico"), Some("wrong"), "etcdserver: authentication failed, invalid user ID or password"),
    ] {
        let error = client(&etcd.endpoint, user, password).await.list(&POOLS).await.expect_err(expect);
        assert_eq!(error.to_string(), format!("etcd at {}: {expect}", etcd.endpoint), "{user:?} {password:?}");
    }
    let store = client(&etcd.endpoint, Some("calico"), Some("password")).await;
    let (_, start) = store.list(&POOLS).await.expect("a list");
    let mut watch = store.watch(&POOLS, &start).await.expect("a watch");
    let (key, object) = pool("a", "10.0.0.0/16");
    let created = store.create(&key, &object).await.expect("created");
    assert_eq!(watch.next().await.expect("a change"), [Change::Put(created)]);
}

/// Waits until etcd refuses a token that was good now.
async fn outlived(endpoint: &str) {
    let options = etcd_client::ConnectOptions::new().with_user("calico", "password");
    let mut client = etcd_client::Client::connect([endpoint], Some(options)).await.expect("a client");
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match client.get("/calico/", None).await {
            Ok(_) => assert!(Instant::now() < deadline, "the token holds on"),
            Err(error) => return assert!(error.to_string().contains("invalid auth token"), "{error}"),
        }
    }
}

#[tokio::test]
async fn a_token_is_asked_for_anew() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let etcd = member(&folder);
    let store = client(&etcd.endpoint, Some("calico"), Some("password")).await;
    let (key, object) = pool("a", "10.0.0.0/16");
    let mut last = store.create(&key, &object).await.expect("created").revision;
    outlived(&etcd.endpoint).await;
    last = store.update(&key, &object, &last).await.expect("written with another token").revision;
    outlived(&etcd.endpoint).await;
    store.list(&POOLS).await.expect("read with another token");
    outlived(&etcd.endpoint).await;
    let mut watch = store.watch(&POOLS, &last).await.expect("watched with another token");
    let updated = store.update(&key, &object, &last).await.expect("written with another token");
    assert_eq!(watch.next().await.expect("a change"), [Change::Put(updated.clone())]);

    // a token that is older than the last change of users and roles does not hold either
    etcdctl(&etcd.endpoint, &["--user", "root:secret", "role", "add", "other"]);
    store.update(&key, &object, &updated.revision).await.expect("written with a newer token");
}
