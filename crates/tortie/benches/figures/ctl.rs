//! calicoctl on a datastore with many objects. Calico's figures were recorded elsewhere, of version 3.32.1 with etcd 3.4 on
//! a machine of the same kind, and are printed as such.

use crate::sample::{MEASURE, Times};
use crate::table::{Aim, head, ms, row};
use crate::world::{Cluster, Namespace, TORTIE};
use api::resource::Kind;
use serde_json::json;
use std::fmt::Write;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

/// How many workload endpoints are listed.
const LISTED: usize = 5000;
/// How many objects are applied at once.
const APPLIED: usize = 1000;
/// Of how many runs a time is the median.
const RUNS: usize = 5;
/// Where the peer's figures are from.
const PEER: &str = "Calico 3.32.1, recorded elsewhere";
/// The most of the peer's time that ours may take.
const AIM: Aim = Aim::Ratio(0.25);
/// The most memory, in MiB: 30 MB.
const MEMORY: f64 = 28.6;

pub(crate) fn run() {
    head("calicoctl");
    let node = Namespace::new("ctl");
    let pool = json!({"cidr": "10.244.0.0/16", "ipipMode": "Never", "natOutgoing": true, "blockSize": 26});
    let cluster = Cluster::start(&node, &pool);
    let dir = cluster.dir.path();
    let endpoint = cluster.endpoint.as_str();
    cluster.create(Kind::Node, "", "node1", &json!({"bgp": {"ipv4Address": "192.0.2.1/24"}}));

    let mut times = Times::default();
    for _ in 0..RUNS {
        times.time(|| call(&["version", "--client"], endpoint, None));
    }
    row("version --client, median of 5", "ms", ms(times.percentile(50)), Some((PEER, 30.0)), &AIM);

    let endpoints = |from: usize, count: usize| (from..from + count).map(endpoint_document).collect::<String>();
    let file = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).expect("a file of objects");
        path
    };
    let mut apply = Times::default();
    for round in 0..RUNS {
        let path = file("endpoints", &endpoints(round * APPLIED, APPLIED));
        apply.time(|| call(&["apply", "-f", "-"], endpoint, Some(&path)));
    }
    seconds(&format!("apply of {APPLIED} endpoints"), &mut apply, 1.2);
    let mut policies = Times::default();
    for round in 0..RUNS {
        let text: String = (0..APPLIED).map(|index| policy_document(round * APPLIED + index)).collect();
        let path = file("policies", &text);
        policies.time(|| call(&["apply", "-f", "-"], endpoint, Some(&path)));
    }
    seconds(&format!("apply of {APPLIED} policies"), &mut policies, 2.4);

    // what was applied is what is listed
    assert_eq!(RUNS * APPLIED, LISTED, "as many as are listed");
    for (form, words, time, memory) in [
        ("a table", &["get", "wep", "-A"] as &[&str], 0.25, 82.0),
        ("YAML", &["get", "wep", "-A", "-o", "yaml"], 0.77, 285.0),
    ] {
        let mut times = Times::default();
        for _ in 0..RUNS {
            times.time(|| call(words, endpoint, None));
        }
        seconds(&format!("{LISTED} endpoints as {form}"), &mut times, time);
        let peer = Some((PEER, memory / 1.048_576));
        row("the same, peak of resident memory", "MiB", peak(words, endpoint), peer, &Aim::AtMost(MEMORY));
    }
}

fn seconds(figure: &str, times: &mut Times, peer: f64) {
    let ours = times.percentile(50).as_secs_f64();
    row(&format!("{figure}, median of {}", times.count()), "s", ours, Some((PEER, peer)), &AIM);
}

fn command(program: &str, endpoint: &str) -> Command {
    let mut command = Command::new(program);
    command.env("DATASTORE_TYPE", "etcdv3").env("ETCD_ENDPOINTS", endpoint);
    command
}

fn call(words: &[&str], endpoint: &str, input: Option<&Path>) {
    let mut command = command(TORTIE, endpoint);
    let input = input.map_or_else(Stdio::null, |path| File::open(path).expect("the file just written").into());
    let output = command.arg("ctl").args(words).stdin(input).output().expect("the binary");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The most memory that a call had, in MiB.
fn peak(words: &[&str], endpoint: &str) -> f64 {
    let own = std::env::current_exe().expect("this program");
    let mut command = command(&own.display().to_string(), endpoint);
    let output = command.args([MEASURE, TORTIE, "ctl"]).args(words).stderr(Stdio::inherit()).output();
    let output = output.expect("this program");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.trim().parse::<f64>().expect("a number of KiB") / 1024.0
}

fn endpoint_document(index: usize) -> String {
    let (high, low) = (index / 256, index % 256);
    let mut text = String::new();
    write!(
        text,
        "---\napiVersion: projectcalico.org/v3\nkind: WorkloadEndpoint\nmetadata:\n  name: node1-k8s-pod--{index}-eth0\n  \
         namespace: default\n  labels: {{app: web, projectcalico.org/namespace: default, projectcalico.org/orchestrator: \
         k8s, tier: front}}\nspec:\n  node: node1\n  orchestrator: k8s\n  pod: pod-{index}\n  endpoint: eth0\n  \
         interfaceName: cali{index:08x}\n  mac: ee:ee:ee:ee:ee:ee\n  ipNetworks: [10.244.{high}.{low}/32]\n  profiles: \
         [kns.default, ksa.default.default]\n"
    )
    .expect("a text");
    text
}

fn policy_document(index: usize) -> String {
    format!(
        "---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: p{index}}}\nspec:\n  order: \
         {index}\n  selector: app == 'a{index}'\n  ingress:\n  - {{action: Allow, protocol: TCP, source: {{selector: \
         role == 'client'}}, destination: {{ports: [80, 443]}}}}\n  - {{action: Deny}}\n"
    )
}
