//! etcd's own command line against the store, over TCP and over the unix socket; expected texts are what it prints
//! with etcd 3.4.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
};

use common::Server;
use tempfile::tempdir;

fn etcdctl(endpoint: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").args(["--endpoints", endpoint]).args(arguments);
    command
}

/// Runs etcdctl with lines on its standard input; returns what it prints, on both outputs.
fn run_with(endpoint: &str, arguments: &[&str], input: &str) -> String {
    let mut child = etcdctl(endpoint, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this test runs etcdctl: install the package etcd-client");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8(text).unwrap()
}

fn run(endpoint: &str, arguments: &[&str]) -> String {
    run_with(endpoint, arguments, "")
}

/// A running `etcdctl watch`.
struct Watch(Child);

impl Drop for Watch {
    fn drop(&mut self) {
        // it may have died by itself
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn check_all(endpoint: &str) {
    let etcdctl = |arguments: &[&str]| run(endpoint, arguments);
    assert_eq!(etcdctl(&["put", "/calico/a", "1"]), "OK\n");
    assert_eq!(etcdctl(&["put", "/calico/b", "2"]), "OK\n");
    assert_eq!(etcdctl(&["put", "--prev-kv", "/calico/b", "3"]), "OK\n/calico/b\n2\n");
    assert_eq!(etcdctl(&["get", "--prefix", "/calico"]), "/calico/a\n1\n/calico/b\n3\n");
    assert_eq!(etcdctl(&["get", "--prefix", "/calico", "--keys-only", "--limit", "1"]), "/calico/a\n\n");
    assert_eq!(etcdctl(&["get", "--prefix", "/calico", "--rev", "3"]), "/calico/a\n1\n/calico/b\n2\n");
    assert_eq!(
        etcdctl(&["get", "--prefix", "", "--order", "DESCEND", "--sort-by", "MODIFY", "--print-value-only"]),
        "3\n1\n"
    );
    assert_eq!(etcdctl(&["del", "--prev-kv", "/calico/a"]), "1\n/calico/a\n1\n");
    assert_eq!(etcdctl(&["del", "--prefix", "/nothing"]), "0\n");

    let txn = "version(\"/calico/b\") = \"2\"\n\nput /calico/c 4\nget /calico/b\n\nget /calico/a\n\n";
    assert_eq!(run_with(endpoint, &["txn"], txn), "SUCCESS\n\nOK\n\n/calico/b\n3\n");
    let txn = "value(\"/calico/b\") = \"2\"\n\nput /calico/c 5\n\nget /calico/c\n\n";
    assert_eq!(run_with(endpoint, &["txn"], txn), "FAILURE\n\n/calico/c\n4\n");

    let mut watch =
        Watch(etcdctl_watch(endpoint, &["watch", "--prefix", "/calico", "--rev", "2", "--prev-kv"]).spawn().unwrap());
    let lines = BufReader::new(watch.0.stdout.take().unwrap()).lines();
    let expect = [
        "PUT",
        "/calico/a",
        "1", //
        "PUT",
        "/calico/b",
        "2", //
        "PUT",
        "/calico/b",
        "2",
        "/calico/b",
        "3", //
        "DELETE",
        "/calico/a",
        "1",
        "/calico/a",
        "", //
        "PUT",
        "/calico/c",
        "4",
    ];
    let seen: Vec<_> = lines.take(expect.len()).map(Result::unwrap).collect();
    assert_eq!(seen, expect);

    let granted = etcdctl(&["lease", "grant", "600"]);
    let id = granted.split_whitespace().nth(1).unwrap();
    assert_eq!(granted, format!("lease {id} granted with TTL(600s)\n"));
    assert_eq!(etcdctl(&["put", "--lease", id, "/calico/l", ""]), "OK\n");
    assert_eq!(etcdctl(&["lease", "list"]), format!("found 1 leases\n{id}\n"));
    let remaining = etcdctl(&["lease", "timetolive", "--keys", id]);
    assert!(remaining.starts_with(&format!("lease {id} granted with TTL(600s), remaining(59")), "{remaining}");
    assert!(remaining.ends_with("attached keys([/calico/l])\n"), "{remaining}");
    assert_eq!(etcdctl(&["lease", "keep-alive", "--once", id]), format!("lease {id} keepalived with TTL(600)\n"));
    assert_eq!(etcdctl(&["lease", "revoke", id]), format!("lease {id} revoked\n"));
    assert_eq!(etcdctl(&["get", "/calico/l"]), "");

    assert_eq!(etcdctl(&["compact", "4"]), "compacted revision 4\n");
    let compacted = etcdctl(&["get", "/calico/b", "--rev", "3"]);
    assert!(compacted.contains("etcdserver: mvcc: required revision has been compacted"), "{compacted}");

    let status = etcdctl(&["endpoint", "status"]);
    assert!(status.starts_with(&format!("{endpoint}, ")) && status.contains(", 3.4.23, "), "{status}");
    let health = etcdctl(&["endpoint", "health"]);
    assert!(health.starts_with(&format!("{endpoint} is healthy")), "{health}");
    let members = etcdctl(&["member", "list"]);
    assert!(members.contains(", started, default, "), "{members}");
    assert_eq!(etcdctl(&["alarm", "list"]), "");
    assert_eq!(etcdctl(&["defrag"]), format!("Finished defragmenting etcd member[{endpoint}]\n"));
}

fn etcdctl_watch(endpoint: &str, arguments: &[&str]) -> Command {
    let mut command = etcdctl(endpoint, arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

#[test]
fn over_tcp() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    check_all(server.tcp.strip_prefix("http://").unwrap());
}

#[test]
fn over_the_unix_socket() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    check_all(&format!("unix://{}", server.socket.display()));
}
