//! What is asked over plain HTTP, beside a real etcd: `/health`, `/version`, `/metrics`; and what is not answered there.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    process::Command,
};

use common::{Etcd, Server, block_on};
use etcd_client::{AlarmAction, AlarmType};
use store::ListenUrl;
use tempfile::tempdir;

/// An answer: its status line, its content type, its body.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: String,
    kind: String,
    body: String,
}

/// Sends a request, without its end and its headers for this connection, to `http://HOST:PORT`.
fn ask(url: &str, request: &str) -> Answer {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
    write!(stream, "{request}\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    };
    let chunked = header("transfer-encoding").is_some();
    let body = if chunked { unchunked(body) } else { body.to_owned() };
    let status = head.lines().next().unwrap().to_owned();
    Answer { status, kind: header("content-type").unwrap_or_default(), body }
}

/// The body of an answer that comes in chunks (RFC 9112 §7.1).
fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        whole += &rest[..length];
        body = &rest[(length + 2).min(rest.len())..];
    }
    whole
}

fn get(url: &str, path: &str) -> Answer {
    ask(url, &format!("GET {path} HTTP/1.1"))
}

/// Each series' type, by name.
fn types(metrics: &str) -> BTreeMap<&str, &str> {
    metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

/// The value of a series with its labels.
fn value(metrics: &str, series: &str) -> f64 {
    let found = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("{series} is missing in:\n{metrics}")).parse().unwrap()
}

#[test]
fn health_and_version_are_told_as_by_etcd() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    block_on(async {
        let etcd = Etcd::start().await;
        for path in ["/health", "/version"] {
            let (ours, theirs) = (get(&server.tcp, path), get(&etcd.url, path));
            assert_eq!((&ours.status, &ours.body), (&theirs.status, &theirs.body), "{path}");
        }
        assert_eq!(get(&server.tcp, "/health").body, r#"{"health":"true"}"#);
        for mut client in [server.client().await, etcd.client().await] {
            client.alarm(AlarmAction::Activate, AlarmType::Nospace, None).await.unwrap();
        }
        let (ours, theirs) = (get(&server.tcp, "/health"), get(&etcd.url, "/health"));
        assert_eq!((&ours.status, &ours.body), (&theirs.status, &theirs.body));
        assert_eq!(ours.body, "{\"health\":\"false\"}\n");
        let missing = get(&server.tcp, "/v2/keys");
        assert_eq!((&*missing.status, &*missing.body), ("HTTP/1.1 404 Not Found", "404 page not found\n"));
        assert_eq!(ask(&server.tcp, "POST /health HTTP/1.1").status, "HTTP/1.1 405 Method Not Allowed");
    });
}

#[test]
fn series_are_etcds() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    block_on(async {
        let etcd = Etcd::start().await;
        for mut client in [server.client().await, etcd.client().await] {
            for key in ["a", "b", "c"] {
                client.put(key, "1", None).await.unwrap();
            }
            client.delete("c", None).await.unwrap();
            client.get("a", None).await.unwrap();
            client.get("a", None).await.unwrap();
            let lease = client.lease_grant(60, None).await.unwrap().id();
            client.lease_revoke(lease).await.unwrap();
            client.put("", "1", None).await.unwrap_err();
        }
        let (ours, theirs) = (get(&server.tcp, "/metrics"), get(&etcd.url, "/metrics"));
        assert_eq!((&*ours.status, &ours.kind), ("HTTP/1.1 200 OK", &theirs.kind));
        let (ours, theirs) = (ours.body, theirs.body);
        let (named, known) = (types(&ours), types(&theirs));
        assert!(named.len() > 20, "{named:?}");
        for (name, kind) in &named {
            assert_eq!(known.get(name), Some(kind), "{name} is etcd's, of that type");
        }
        for series in [
            "etcd_mvcc_put_total",
            "etcd_mvcc_delete_total",
            "etcd_debugging_mvcc_keys_total",
            "etcd_debugging_lease_granted_total",
            "etcd_debugging_lease_revoked_total",
            "etcd_server_has_leader",
            "etcd_server_is_leader",
            "etcd_server_quota_backend_bytes",
        ] {
            assert_eq!(value(&ours, series), value(&theirs, series), "{series}");
        }
        assert_eq!(value(&ours, "etcd_mvcc_range_total"), 2.0);
        assert_eq!(value(&ours, "etcd_debugging_mvcc_current_revision"), 5.0);
        assert_eq!(value(&ours, "etcd_disk_backend_commit_duration_seconds_count"), 6.0);
        assert!(value(&ours, "etcd_network_client_grpc_received_bytes_total") > 100.0);
        let status = server.client().await.status().await.unwrap();
        assert_eq!(value(&ours, "etcd_mvcc_db_total_size_in_bytes"), status.db_size() as f64);
    });
}

#[test]
fn calls_are_counted_by_their_end() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    block_on(async {
        let mut client = server.client().await;
        client.put("a", "1", None).await.unwrap();
        client.put("", "1", None).await.unwrap_err();
        let (mut watch, metrics) = (client.watch("a", None).await.unwrap(), get(&server.tcp, "/metrics").body);
        let put = r#"grpc_service="etcdserverpb.KV",grpc_method="Put",grpc_type="unary""#;
        assert_eq!(value(&metrics, &format!("grpc_server_started_total{{{put}}}")), 2.0);
        for code in ["OK", "InvalidArgument"] {
            let series = format!(r#"grpc_server_handled_total{{{put},grpc_code="{code}"}}"#);
            assert_eq!(value(&metrics, &series), 1.0, "{code}");
        }
        let stream = r#"grpc_service="etcdserverpb.Watch",grpc_method="Watch",grpc_type="bidi_stream""#;
        assert_eq!(value(&metrics, &format!("grpc_server_started_total{{{stream}}}")), 1.0);
        assert_eq!(value(&metrics, "etcd_debugging_mvcc_watcher_total"), 1.0);
        assert!(!metrics.contains(&format!("grpc_server_handled_total{{{stream}")), "it goes on");
        watch.cancel(0).await.unwrap();
        common::eventually("the watch is over", async || {
            let metrics = get(&server.tcp, "/metrics").body;
            value(&metrics, "etcd_debugging_mvcc_watcher_total") == 0.0
        })
        .await;
        drop((watch, client));
        common::eventually("the stream is over", async || {
            let metrics = get(&server.tcp, "/metrics").body;
            value(&metrics, "etcd_debugging_mvcc_watch_stream_total") == 0.0
                && metrics.contains(&format!("grpc_server_handled_total{{{stream}"))
        })
        .await;
    });
}

#[test]
fn urls_for_metrics_answer_nothing_else() {
    let directory = tempdir().unwrap();
    let mut url = String::new();
    let server = Server::start_with(directory.path(), |config| {
        url = format!("http://{}", common::free());
        config.listen_metrics_urls = vec![url.parse::<ListenUrl>().unwrap()];
    });
    assert_eq!(get(&url, "/health"), get(&server.tcp, "/health"));
    assert!(get(&url, "/metrics").body.contains("etcd_server_has_leader 1"));
    block_on(async {
        let refused = etcd_client::Client::connect([&url], None).await.unwrap().get("a", None).await;
        assert!(refused.is_err(), "{refused:?}");
    });
}

#[test]
fn a_web_page_cannot_call() {
    // what a browser sends without asking first: HTTP/1 with a form's content type, or with any to the page's own name
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    for kind in ["application/grpc", "application/grpc+proto", "text/plain", "application/x-www-form-urlencoded"] {
        let put =
            format!("POST /etcdserverpb.KV/Put HTTP/1.1\r\nContent-Type: {kind}\r\nTE: trailers\r\nContent-Length: 0");
        let answer = ask(&server.tcp, &put);
        assert_eq!(answer.status, "HTTP/1.1 404 Not Found", "{answer:?}");
    }
    let curl = Command::new("curl")
        .args(["--silent", "--http2-prior-knowledge", "--data", "", "--write-out", "%{http_code}"])
        .arg(format!("{}/etcdserverpb.KV/Put", server.tcp))
        .output()
        .expect("this test runs curl: install the package curl");
    assert_eq!(String::from_utf8_lossy(&curl.stdout), "application/grpc is expected\n415", "{curl:?}");
}
