//! `tortie lab get pods`, in kubectl's columns and in Kubernetes' own form of objects.

use super::args::{GetArguments, GetOutput, Kind};
use super::{columns, say};
use anyhow::Result;
use lab::Lab;
use lab::pod::{PodName, PodRecord, State};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) fn run(lab: &Lab, arguments: &GetArguments) -> Result<()> {
    let Kind::Pods = arguments.kind;
    let pods = if arguments.names.is_empty() {
        let mut pods = lab.pods()?;
        pods.retain(|record| arguments.all_namespaces || record.pod.name.namespace == arguments.namespace);
        pods
    } else {
        let named =
            arguments.names.iter().map(|name| PodName { namespace: arguments.namespace.clone(), name: name.clone() });
        named.map(|name| lab.pod(&name)).collect::<Result<_>>()?
    };
    let mut stdout = io::stdout();
    match arguments.output {
        Some(GetOutput::Json) => writeln!(stdout, "{}", serde_json::to_string_pretty(&list(&pods))?)?,
        Some(GetOutput::Yaml) => write!(stdout, "{}", serde_saphyr::to_string(&list(&pods))?)?,
        None | Some(GetOutput::Wide) if pods.is_empty() && arguments.all_namespaces => say("No resources found"),
        None | Some(GetOutput::Wide) if pods.is_empty() => {
            say(&format!("No resources found in {} namespace.", arguments.namespace));
        }
        None | Some(GetOutput::Wide) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
            let wide = arguments.output == Some(GetOutput::Wide);
            writeln!(stdout, "{}", table(&pods, wide, arguments.all_namespaces, now))?;
        }
    }
    Ok(())
}

fn table(pods: &[PodRecord], wide: bool, namespaces: bool, now: u64) -> String {
    let mut rows = vec![["NAME", "READY", "STATUS", "RESTARTS", "AGE"].map(str::to_owned).to_vec()];
    for record in pods {
        let since = |moment: u64| age(Duration::from_secs(now.saturating_sub(moment)));
        let restarts = match record.restarts {
            0 => "0".to_owned(),
            count => format!("{count} ({} ago)", since(record.started)),
        };
        let ready = if record.state == State::Running { "1/1" } else { "0/1" };
        let name = record.pod.name.name.clone();
        rows.push(vec![name, ready.to_owned(), format!("{:?}", record.state), restarts, since(record.created)]);
    }
    if wide {
        rows[0].extend(["IP", "NODE", "NOMINATED NODE", "READINESS GATES"].map(str::to_owned));
        for (row, record) in rows[1..].iter_mut().zip(pods) {
            let none = "<none>".to_owned();
            let address = record.addresses.first().map_or_else(|| none.clone(), ToString::to_string);
            row.extend([address, record.node.clone(), none.clone(), none]);
        }
    }
    if namespaces {
        rows[0].insert(0, "NAMESPACE".to_owned());
        for (row, record) in rows[1..].iter_mut().zip(pods) {
            row.insert(0, record.pod.name.namespace.clone());
        }
    }
    columns(&rows)
}

/// Writes a time span as kubectl does: two units where the first alone would say too little.
fn age(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let two = |large: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit}{small}{small_unit}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        _ => format!("{days}d"),
    }
}

/// Returns pods as Kubernetes' API would list them.
fn list(pods: &[PodRecord]) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": pods.iter().map(object).collect::<Vec<_>>()})
}

fn object(record: &PodRecord) -> Value {
    let mut object = record.pod.manifest.clone();
    object["metadata"]["namespace"] = json!(record.pod.name.namespace);
    object["metadata"]["uid"] = json!(record.uid);
    object["metadata"]["creationTimestamp"] = json!(timestamp(record.created));
    object["spec"]["nodeName"] = json!(record.node);
    let running = record.state == State::Running;
    let (phase, state) = match record.state {
        State::ContainerCreating => ("Pending", json!({"waiting": {"reason": "ContainerCreating"}})),
        State::Running | State::Terminating => {
            ("Running", json!({"running": {"startedAt": timestamp(record.started)}}))
        }
        State::CrashLoopBackOff => ("Running", json!({"waiting": {"reason": "CrashLoopBackOff"}})),
        State::Completed => ("Succeeded", json!({"terminated": {"reason": "Completed"}})),
        State::Error => ("Failed", json!({"terminated": {"reason": "Error"}})),
    };
    let addresses: Vec<Value> = record.addresses.iter().map(|address| json!({"ip": address})).collect();
    object["status"] = json!({
        "phase": phase,
        "conditions": [{"type": "Ready", "status": if running { "True" } else { "False" }}],
        "containerStatuses": [{
            "name": record.pod.container.name,
            "image": record.pod.container.image,
            "containerID": format!("lab://{}", record.container_id),
            "ready": running,
            "started": running,
            "restartCount": record.restarts,
            "state": state,
        }],
        "podIP": record.addresses.first(),
        "podIPs": addresses,
        "startTime": timestamp(record.created),
    });
    object
}

/// Writes seconds of Unix time as RFC 3339 in UTC.
fn timestamp(seconds: u64) -> String {
    jiff::Timestamp::from_second(i64::try_from(seconds).unwrap_or_default())
        .map(|moment| moment.to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_as_kubectl_prints_them() {
        // k8s.io/apimachinery's duration.HumanDuration
        for (seconds, expect) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_860, "3h1m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (180_000, "2d2h"),
            (700_000, "8d"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), expect, "{seconds}");
        }
    }
}
