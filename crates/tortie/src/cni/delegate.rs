//! Runs another IPAM plugin, such as `host-local`, as the CNI specification delegates.

use super::call::Call;
use super::error::{CniError, Code};
use super::output::Added;
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The parts of a result that matter: of versions from 0.3.0, and of those before.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    ips: Vec<Address>,
    ip4: Option<Old>,
    ip6: Option<Old>,
    #[serde(default)]
    routes: Vec<Route>,
}

#[derive(Deserialize)]
struct Address {
    address: String,
}

#[derive(Deserialize)]
struct Old {
    ip: String,
    #[serde(default)]
    routes: Vec<Route>,
}

#[derive(Deserialize)]
struct Route {
    dst: String,
}

/// Has `plugin` assign addresses; nothing stays assigned if its answer makes no sense.
pub(crate) fn add(plugin: &str, call: &Call, input: &[u8]) -> Result<Added, CniError> {
    let output = run(plugin, "ADD", call, input)?;
    let answer = parse(&output);
    answer.map_err(|reason| {
        let undone = del(plugin, call, input).map_or_else(|error| format!("; DEL: {}", error.msg), |()| String::new());
        CniError::failed(format!("IPAM plugin {plugin}: {reason}{undone}"))
    })
}

/// Has `plugin` release a container's addresses.
pub(crate) fn del(plugin: &str, call: &Call, input: &[u8]) -> Result<(), CniError> {
    run(plugin, "DEL", call, &without_pod_cidr(plugin, input)).map(|_| ())
}

/// Has `plugin` check a container's addresses.
pub(crate) fn check(plugin: &str, call: &Call, input: &[u8]) -> Result<(), CniError> {
    run(plugin, "CHECK", call, &without_pod_cidr(plugin, input)).map(|_| ())
}

/// Asks `plugin` whether it could assign addresses.
pub(crate) fn status(plugin: &str, call: &Call, input: &[u8]) -> Result<(), CniError> {
    run(plugin, "STATUS", call, input).map(|_| ())
}

/// Has `plugin` release what belongs to no attachment that the configuration lists.
pub(crate) fn collect(plugin: &str, call: &Call, input: &[u8]) -> Result<(), CniError> {
    run(plugin, "GC", call, &without_pod_cidr(plugin, input)).map(|_| ())
}

/// A configuration whose subnets were to be the node's in Kubernetes, as `host-local` can read it: what is assigned
/// already, it finds by the container alone. Calico's plugin does the same (dataplane reference §1.7).
fn without_pod_cidr<'a>(plugin: &str, input: &'a [u8]) -> Cow<'a, [u8]> {
    let Ok(mut conf) = serde_json::from_slice::<Value>(input) else { return input.into() };
    let Some(ipam) = conf.get_mut("ipam").filter(|_| plugin == "host-local") else { return input.into() };
    let mut replaced = false;
    let mut replace = |object: &mut Value| {
        let word = object["subnet"].as_str().unwrap_or_default().to_lowercase();
        let any = match word.as_str() {
            "usepodcidr" => "0.0.0.0/0",
            "usepodcidripv6" => "::/0",
            _ => return,
        };
        object["subnet"] = any.into();
        replaced = true;
    };
    let sets = ipam.get_mut("ranges").and_then(Value::as_array_mut).into_iter().flatten();
    sets.filter_map(Value::as_array_mut).flatten().filter(|range| range.is_object()).for_each(&mut replace);
    if ipam.is_object() {
        replace(ipam);
    }
    if replaced { conf.to_string().into_bytes().into() } else { input.into() }
}

/// Runs `plugin` with `command` and the same environment and input; returns what it printed.
fn run(plugin: &str, command: &str, call: &Call, input: &[u8]) -> Result<Vec<u8>, CniError> {
    let path = find(plugin, call)?;
    let failed = |reason: String| CniError::failed(format!("IPAM plugin {}: {reason}", path.display()));
    // it does not know Kubernetes' arguments, and refuses an empty one
    let own = call.raw_args.split(';').filter(|pair| !pair.is_empty());
    let args = std::iter::once("IgnoreUnknown=1").chain(own).collect::<Vec<_>>().join(";");
    let mut child = Command::new(&path)
        .env("CNI_COMMAND", command)
        .env("CNI_ARGS", args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    // the write's own failure says little: the plugin's answer tells why it did not read
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input));
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        #[derive(Deserialize)]
        struct Failure {
            msg: String,
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let reason =
            serde_json::from_str::<Failure>(&text).map_or_else(|_| text.trim().to_owned(), |failure| failure.msg);
        return Err(CniError::failed(reason));
    }
    match written {
        // it did not need its input
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(failed(error.to_string())),
        _ => Ok(output.stdout),
    }
}

fn parse(output: &[u8]) -> Result<Added, String> {
    let answer: Answer = serde_json::from_slice(output).map_err(|error| error.to_string())?;
    let old: Vec<Old> = [answer.ip4, answer.ip6].into_iter().flatten().collect();
    let routes = old.iter().flat_map(|old| &old.routes).chain(&answer.routes).map(|route| route.dst.clone()).collect();
    let texts = answer.ips.into_iter().map(|ip| ip.address).chain(old.into_iter().map(|old| old.ip));
    let parse = |text: String| text.parse().map_err(|_| format!("{text:?} is not an address with prefix length"));
    Ok(Added { ips: texts.map(parse).collect::<Result<_, _>>()?, routes, ..Added::default() })
}

/// Where a plugin lies among the folders of CNI_PATH.
/// Finds the program of a plugin in `CNI_PATH`; the name alone leads nowhere else.
fn find(plugin: &str, call: &Call) -> Result<PathBuf, CniError> {
    if plugin.contains('/') || matches!(plugin, "." | "..") {
        let msg = format!("invalid plugin name: {plugin:?}: ipam.type names a program in CNI_PATH");
        return Err(CniError::new(Code::INVALID_CONFIG, msg));
    }
    let found = call.path.iter().map(|folder| folder.join(plugin)).find(|path| path.is_file());
    found.ok_or_else(|| {
        let folders: Vec<String> = call.path.iter().map(|path| path.display().to_string()).collect();
        CniError::failed(format!("failed to find plugin {plugin:?} in path [{}]", folders.join(" ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pod_cidrs_become_any_address() {
        let input = json!({"name": "n", "ipam": {
            "type": "host-local", "subnet": "UsePodCidr", "foo": [1],
            "ranges": [[{"subnet": "usePodCidrIPv6", "rangeStart": "::5"}], [{"subnet": "10.0.0.0/24"}], null],
        }});
        let text = input.to_string();
        let mut expect = input.clone();
        expect["ipam"]["subnet"] = "0.0.0.0/0".into();
        expect["ipam"]["ranges"][0][0]["subnet"] = "::/0".into();
        let changed = without_pod_cidr("host-local", text.as_bytes());
        assert_eq!(serde_json::from_slice::<Value>(&changed).expect("JSON"), expect);
        for (plugin, text) in
            [("other", text.as_str()), ("host-local", r#"{"ipam": {"subnet": "10.0.0.0/8"}}"#), ("host-local", "[")]
        {
            assert_eq!(without_pod_cidr(plugin, text.as_bytes()), text.as_bytes());
        }
    }
}
