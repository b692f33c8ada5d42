//! Runs another IPAM plugin, such as `host-local`, as the CNI specification delegates.

use super::call::Call;
use super::error::CniError;
use super::output::Added;
use serde::Deserialize;
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
}

#[derive(Deserialize)]
struct Route {
    dst: String,
}

/// Runs `plugin` with `command` and the same environment and input; DEL's result is empty.
pub(crate) fn run(plugin: &str, command: &str, call: &Call, input: &[u8]) -> Result<Added, CniError> {
    let path = find(plugin, call)?;
    let failed = |reason: String| CniError::failed(format!("IPAM plugin {}: {reason}", path.display()));
    let mut child = Command::new(&path)
        .env("CNI_COMMAND", command)
        .env("CNI_ARGS", format!("IgnoreUnknown=1;{}", call.raw_args))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input).map_err(|error| failed(error.to_string()))?;
    }
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
    if output.stdout.is_empty() {
        return Ok(Added::default());
    }
    let answer: Answer = serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))?;
    let texts = answer
        .ips
        .into_iter()
        .map(|ip| ip.address)
        .chain([answer.ip4, answer.ip6].into_iter().flatten().map(|old| old.ip));
    let parse =
        |text: String| text.parse().map_err(|_| failed(format!("{text:?} is not an address with prefix length")));
    let ips = texts.map(parse).collect::<Result<_, _>>()?;
    Ok(Added { ips, routes: answer.routes.into_iter().map(|route| route.dst).collect(), ..Added::default() })
}

fn find(plugin: &str, call: &Call) -> Result<PathBuf, CniError> {
    let found = call.path.iter().map(|folder| folder.join(plugin)).find(|path| path.is_file());
    found.ok_or_else(|| {
        let folders: Vec<String> = call.path.iter().map(|path| path.display().to_string()).collect();
        CniError::failed(format!("failed to find plugin {plugin:?} in path [{}]", folders.join(" ")))
    })
}
