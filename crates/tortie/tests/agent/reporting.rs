//! Metrics and health, served where FelixConfiguration says.

use crate::cluster::{Cluster, SOON, eventually};
use crate::host::Host;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

/// Asks a server on the host; the status code and the body, or why there is no answer.
fn get(host: &Host, address: &str, path: &str) -> Result<(u16, String), String> {
    host.run(|| {
        let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
        let question = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        stream.write_all(question.as_bytes()).map_err(|error| error.to_string())?;
        let mut text = String::new();
        stream.read_to_string(&mut text).map_err(|error| error.to_string())?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or("no head")?;
        let status = head.split_whitespace().nth(1).and_then(|word| word.parse().ok()).ok_or("no status")?;
        Ok((status, body.to_owned()))
    })
}

fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("a sample: {line:?}"));
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("a number: {line:?}")))
        })
        .collect()
}

#[test]
fn metrics_follow_the_configuration() {
    let cluster = Cluster::new();
    let (one, _two) = cluster.pair();
    let refused = "Connection refused (os error 111)";
    assert_eq!(get(&one, "127.0.0.1:9091", "/metrics"), Err(refused.to_owned()));
    cluster.patch("felixconfiguration", "default", r#"{"spec": {"prometheusMetricsEnabled": true}}"#);
    let text = eventually(SOON, || match get(&one, "192.168.10.1:9091", "/metrics")? {
        (200, text) => Ok(text),
        other => Err(format!("{other:?}")),
    });
    let samples = samples(&text);
    for (name, value) in [
        ("felix_active_local_endpoints", 0.0),
        ("felix_cluster_num_hosts", 2.0),
        ("felix_cluster_num_workload_endpoints", 0.0),
        ("felix_resync_state", 3.0),
        ("felix_resyncs_started", 1.0),
        ("felix_int_dataplane_failures", 0.0),
        (r#"felix_host{host="n1"}"#, 1.0),
    ] {
        assert_eq!(samples.get(name), Some(&value), "{name} in\n{text}");
    }
    assert!(samples["felix_int_dataplane_apply_time_seconds_count"] >= 1.0, "{text}");
    assert!(samples.contains_key(r#"felix_int_dataplane_apply_time_seconds{quantile="0.99"}"#), "{text}");
    assert!(samples["felix_int_dataplane_initial_resync_time_seconds"] > 0.0, "{text}");
    assert_eq!(get(&one, "127.0.0.1:9091", "/").map(|(status, _)| status), Ok(404));

    let elsewhere = r#"{"spec": {"prometheusMetricsHost": "127.0.0.1", "prometheusMetricsPort": 9191}}"#;
    cluster.patch("felixconfiguration", "default", elsewhere);
    eventually(SOON, || get(&one, "127.0.0.1:9191", "/metrics"));
    assert_eq!(get(&one, "127.0.0.1:9091", "/metrics"), Err(refused.to_owned()));
    assert_eq!(get(&one, "192.168.10.1:9191", "/metrics"), Err(refused.to_owned()));
    cluster.patch("felixconfiguration", "default", r#"{"spec": {"prometheusMetricsEnabled": false}}"#);
    eventually(SOON, || match get(&one, "127.0.0.1:9191", "/metrics") {
        Err(error) if error == refused => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn health_before_and_after_the_datastore_is_there() {
    let mut cluster = Cluster::without_store();
    let mut one = cluster.host(1);
    one.set("FELIX_HEALTHENABLED", "true");
    one.set("CALICO_IPV4POOL_CIDR", "172.16.0.0/16");
    one.start_agent();
    let probe = |path: &str| get(&one, "127.0.0.1:9099", path);
    let (status, _) = eventually(SOON, || probe("/liveness"));
    assert_eq!(status, 200);
    let (status, table) = probe("/readiness").expect("an answer");
    assert_eq!(status, 503);
    for part in ["FelixStartup", "CalculationGraph", "InternalDataplaneMainLoop"] {
        assert!(table.lines().any(|line| line.starts_with(part) && line.contains("not ready")), "{table}");
    }
    cluster.start_store();
    eventually(SOON, || match probe("/readiness")? {
        (200, _) => Ok(()),
        (status, table) => Err(format!("{status}\n{table}")),
    });
    assert_eq!(probe("/").map(|(status, _)| status), Ok(404));
    assert!(get(&one, "192.168.10.1:9099", "/liveness").is_err(), "localhost alone");
}
