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

/// Everything that etcdctl asks of one member, of the store and of etcd in turn.
#[test]
fn beside_etcd() {
    let directory = tempdir().unwrap();
    let server = Server::start_with(directory.path(), |config| drop(config.listen_client_urls.remove(0)));
    let etcd = common::block_on(common::Etcd::start());
    let mut different = Vec::new();
    for command in [
        "put k 1",
        "put k 2",
        "get k",
        "get k -w json",
        "get nothing",
        "del nothing",
        "compact 2",
        "compact 2",
        "compact 100",
        "get k --rev 100",
        "endpoint status",
        "endpoint status --cluster",
        "endpoint status -w table",
        "endpoint status -w fields",
        "endpoint status -w json",
        "endpoint health",
        "endpoint health --cluster",
        "endpoint hashkv",
        "endpoint hashkv -w fields",
        "endpoint hashkv --rev 100",
        "defrag",
        "defrag --cluster",
        "alarm list",
        "alarm disarm",
        "member list",
        "member list -w table",
        "member list -w fields",
        "move-leader MEMBER",
        "move-leader 1234",
        "move-leader nonsense",
        "lease grant 0",
        "lease grant 9000000001",
        "lease grant 100",
        "lease list",
        "lease revoke 1234",
        "lease timetolive 1234",
        "lease keep-alive --once 1234",
        "lock l echo held",
        "check perf --load nonsense",
    ] {
        let told = [&server.tcp, &etcd.url].map(|endpoint| {
            let members = run(endpoint, &["member", "list"]);
            let member = members.split(',').next().unwrap();
            let command = command.replace("MEMBER", member);
            let told = run(endpoint, &command.split(' ').collect::<Vec<_>>());
            anonymous(&told.replace(&etcd.peer, ""), endpoint, member)
        });
        if told[0] != told[1] {
            different.push(format!("etcdctl {command}\nstore: {}\netcd:  {}", told[0], told[1]));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// What is left of an output without what must differ: the server's name, random numbers, sizes, times, the width of tables, and etcdctl's own log.
fn anonymous(text: &str, endpoint: &str, member: &str) -> String {
    let decimal = u64::from_str_radix(member, 16).unwrap().to_string();
    let bare = endpoint.strip_prefix("http://").unwrap();
    let mut text = text.to_owned();
    for (name, stands) in [(endpoint, "ENDPOINT"), (bare, "ENDPOINT"), (member, "MEMBER"), (&decimal, "MEMBER")] {
        text = text.replace(name, stands);
    }
    let mut kept = String::new();
    for line in text.lines().filter(|line| !line.starts_with("{\"level\"") && !line.starts_with("\"PeerURL\"")) {
        let line = line.split("took = ").next().unwrap();
        // an index of raft's log, and a size
        let numbers = if line.contains("kB") || line.contains("aft") { 1 } else { 3 };
        let mut shown = String::new();
        for word in line.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
            let (body, end) = word.split_at(word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).len());
            let number = body.len() >= numbers && body.bytes().any(|byte| byte.is_ascii_digit());
            shown += if number { "N" } else { body };
            if !(shown.ends_with(end) && (end == " " || end == "-")) {
                shown += end;
            }
        }
        kept += &shown.replace("  ", " ");
        kept += "\n";
    }
    kept
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

/// As the documentation of etcdctl writes endpoints; 3.4 makes an authority of all of it.
#[test]
fn over_tcp_by_url() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    check_all(&server.tcp);
}

#[test]
fn over_tcp_by_name_and_by_ipv6() {
    let directory = tempdir().unwrap();
    let port = |url: &str| url.rsplit_once(':').unwrap().1.to_owned();
    let server = Server::start_with(directory.path(), |config| {
        let port = port(&config.listen_client_urls[1].to_string());
        for host in ["localhost", "[::1]"] {
            config.listen_client_urls.push(format!("http://{host}:{port}").parse().unwrap());
        }
    });
    let port = port(&server.tcp);
    for endpoint in ["localhost", "http://localhost", "[::1]", "http://[::1]"] {
        let endpoint = format!("{endpoint}:{port}");
        assert_eq!(run(&endpoint, &["put", "k", "v"]), "OK\n", "{endpoint}");
        let status = run(&endpoint, &["endpoint", "status"]);
        assert!(status.starts_with(&format!("{endpoint}, ")), "{status}");
    }
}

#[test]
fn over_the_unix_socket() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    check_all(&format!("unix://{}", server.socket.display()));
}
