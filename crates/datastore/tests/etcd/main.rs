//! The client of etcd against real members: endpoints that fail, large reads, watches that die, TLS.

mod auth;
mod failover;
mod pages;
mod process;
mod tls;
mod watches;
mod wire;

use api::event::{Key, Object};
use api::kind::IpPoolSpec;
use api::meta::ObjectMeta;
use api::resource::{Kind, Resource, Typed};
use datastore::Store;
use datastore::config::Config;
use std::process::Command;
use std::sync::Arc;

/// A client of endpoints.
async fn client(endpoints: &[&str]) -> Arc<dyn Store> {
    let etcd_endpoints = endpoints.iter().map(|&endpoint| endpoint.to_owned()).collect();
    datastore::connect(&Config { etcd_endpoints, ..Config::default() }).await.expect("a client")
}

fn pool(name: &str, cidr: &str) -> (Key, Object) {
    let spec = IpPoolSpec { cidr: cidr.to_owned(), ..IpPoolSpec::default() };
    (Key::global(Kind::IPPool, name), Object::Resource(Resource::from(Typed::new(ObjectMeta::named(name), spec))))
}

/// What etcd's own client prints.
fn etcdctl(endpoint: &str, arguments: &[&str]) -> String {
    let output = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", endpoint])
        .args(arguments)
        .output()
        .expect("etcdctl runs (Debian package etcd-client)");
    assert!(output.status.success(), "etcdctl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}
